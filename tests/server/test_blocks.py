"""The real blocks of each cloud: saved to and loaded from a Prefect server, then used to read what is in a bucket."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.server.own_blocks import OWN, save_own, variables_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("blocks")]

MAKE = """
import sys
import polars as pl
from glacier_prefect.providers import PROVIDERS
cloud, bucket, name, own = sys.argv[1:]
provider = PROVIDERS.load(cloud).from_env(credentials_block=own or None)
provider.bucket_sink(bucket, "folder/data.parquet").write(pl.LazyFrame({"a": [1, 2, 3]}))
provider.storage_block(bucket, "folder").save(name)
"""
READ = """
import io, sys
import polars as pl
from prefect.blocks.core import Block
import prefect_aws, prefect_azure.blob_storage, prefect_gcp.cloud_storage
block = Block.load(sys.argv[1])
print(type(block).__module__, type(block).__name__)
print(pl.read_parquet(io.BytesIO(block.read_path("data.parquet")))["a"].to_list())
block.write_path("written.txt", b"by the block")
"""
BLOCKS = {
    "s3": ("aws", "s3-bucket", "prefect_aws.s3 S3Bucket"),
    "azure": ("azure", "azure-blob-storage-container", "prefect_azure.blob_storage AzureBlobStorageContainer"),
    "gcs": ("gcp", "gcs-bucket", "prefect_gcp.cloud_storage GcsBucket"),
}
DEPLOY = """
import sys
from pathlib import Path
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.deploying import deploy
from glacier_prefect.deployments.desired import Target, desired
from glacier_prefect.deployments.state import State
from glacier_prefect.providers import AWSProvider

provider = AWSProvider(region=sys.argv[1], bucket_prefix="acme-", credentials_block=sys.argv[2] or None)
out = provider.bucket_sink(bucket="deployed", path="a.parquet")

@task
def rows():
    return pl.LazyFrame({"a": [1]})

@pipeline(name="blocks-deployed")
def daily():
    return out.write(rows())

here = Path(__file__).parent
target = Target(project="blocks", env="dev", folder=here)
with Api() as api:
    done = deploy(api, State(here / "state"), lambda outputs: desired([daily], target, outputs))
    print(api.writes, [(each.action, each.kind) for each in done.changes if each.action != "keep"])
"""


@pytest.fixture(scope="module")
def keys(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables by which a process finds the emulator, and the credentials that are its own."""
    return variables_of(cloud, tmp_path_factory.mktemp("key"))


@pytest.mark.parametrize("own", [False, True], ids=["as-the-process-is", "own-block"])
def test_a_block_reads_in_another_process_what_a_sink_wrote(
    own: bool, cloud: Any, keys: dict[str, Any], project: Any, api: Any, make_bucket: Callable[[Any], str]
) -> None:
    provider, slug, shown = BLOCKS[cloud.name]
    bucket, name = make_bucket(cloud), f"blocks-{cloud.name}-{'own' if own else 'plain'}"
    secrets = save_own(project, cloud, f"{name}-credentials") if own else []
    project.run("-c", MAKE, provider, bucket, name, f"{name}-credentials" if own else "", **keys)
    saved = api.get(f"/block_types/slug/{slug}/block_documents/name/{name}?include_secrets=true")
    if own:
        assert [each["block_document"]["name"] for each in saved["block_document_references"].values()] == [
            f"{name}-credentials"
        ]
    else:
        text = json.dumps(saved["data"])
        assert cloud.env.get("AWS_SECRET_ACCESS_KEY", "PRIVATE KEY") not in text
        assert cloud.env.get("AZURE_STORAGE_ACCOUNT_KEY", "PRIVATE KEY") not in text
        if (
            cloud.name == "azure"
        ):  # prefect-azure finds tokens by itself, but no account key, and an emulator has no other
            assert saved["data"]["credentials"]["account_url"] == cloud.url
            return
    clients = {"STORAGE_EMULATOR_HOST": cloud.url} if cloud.name == "gcs" else {}
    said = project.run("-c", READ, f"{slug}/{name}", **(clients if own else keys)).stdout
    assert said.splitlines() == [shown, "[1, 2, 3]"]
    assert cloud.store(bucket).get("folder/written.txt").bytes() == b"by the block"
    assert all(secret not in said for secret in secrets)


def test_a_deploy_makes_the_block_of_a_cloud_bucket_and_changes_it_in_place(project: Any, api: Any) -> None:
    project.write("deployed.py", DEPLOY)
    project.run("-c", OWN["s3"], "blocks-deployed-own", "key", "planted-secret", "http://127.0.0.1:1")

    def deployed(region: str, own: str = "") -> tuple[str, dict[str, Any]]:
        said = project.run("deployed.py", region, own).stdout
        return said.strip(), api.get(
            "/block_types/slug/s3-bucket/block_documents/name/glacier-blocks-dev-acme-deployed"
        )

    both = "2 [('update', 'block'), ('update', 'block')]"
    said, first = deployed("us-east-1")
    assert said.startswith("5 "), "block of the bucket, block for results, pool, flow, deployment"
    assert (first["data"]["bucket_name"], first["data"]["credentials"]["region_name"]) == ("acme-deployed", "us-east-1")
    assert first["block_schema"]["version"] == installed("prefect-aws")
    assert deployed("us-east-1")[0] == "0 []"
    said, second = deployed("eu-west-3")
    assert (said, second["id"]) == (both, first["id"])
    assert second["data"]["credentials"]["region_name"] == "eu-west-3"
    said, third = deployed("eu-west-3", "blocks-deployed-own")
    assert (said, third["id"]) == (both, first["id"])
    assert third["block_document_references"]["credentials"]["block_document"]["name"] == "blocks-deployed-own"
    assert deployed("eu-west-3", "blocks-deployed-own")[0] == "0 []"
    assert all(b"planted-secret" not in file.read_bytes() for file in Path(project.folder).rglob("*") if file.is_file())
    said, last = deployed("eu-west-3")
    assert (said, last["block_document_references"]) == (both, {})
    failed = project.run("deployed.py", "eu-west-3", "nobodys", check=False).stderr
    assert "There is no block 'nobodys' of type 'aws-credentials' in Prefect" in failed
    assert deployed("eu-west-3")[0] == "0 []"


def installed(package: str) -> str:
    from importlib.metadata import version

    return version(package)
