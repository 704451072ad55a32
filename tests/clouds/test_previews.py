"""Previews in the three clouds, of Delta tables on all stores, and under a role that may write nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import obstore
import polars as pl
import pytest

from glacier_prefect.deployments import previews
from glacier_prefect.deployments.desired import Target, desired
from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.environments import PREVIEWS
from glacier_prefect.errors import PreviewError
from glacier_prefect.loading import load_pipeline
from glacier_prefect.pools import Pool
from glacier_prefect.providers import LocalProvider, Provider
from glacier_prefect.providers.environment import exchange_location
from glacier_prefect.run_context import entered
from glacier_prefect.sources import delta
from glacier_prefect.sources.shared import Shared
from glacier_prefect.testing.store import Store, rows, run
from tests.clouds.conftest import new_bucket
from tests.clouds.provided import KINDS, provider_of, variables
from tests.clouds.role_front import RoleFront
from tests.previews import OWN, Place, PreviewCases

Cloud = S3 | Azure | GCS
POLICY: Mapping[str, Any] = {
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
            "Resource": f"arn:aws:s3:::*/{PREVIEWS}pr-7/*",
        },
    ]
}


def place_of(cloud: Cloud, patch: pytest.MonkeyPatch) -> Place:
    for name, value in {**variables(cloud), "GLACIER_PROVIDER": KINDS[cloud.name].name}.items():
        patch.setenv(name, value)
    store = Store.by_obstore(provider_of(cloud), cloud.store, cloud.make_bucket)

    def contents(bucket: str) -> dict[str, bytes]:
        return {key: bytes(obstore.get(cloud.store(bucket), key).bytes()) for key in store.keys(bucket)}

    return Place(store=store, contents=contents)


class TestOnOtherClouds(PreviewCases):
    @pytest.fixture(params=["azure", "gcs"])
    def place(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
        return place_of(request.getfixturevalue(request.param), monkeypatch)


class TestOnS3(PreviewCases):
    """All of it by a role to which S3 denies each write outside the folder of the preview."""

    @pytest.fixture
    def place(self, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Place:
        return place_of(s3, monkeypatch)

    @pytest.fixture
    def preview(self, env: Provider, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Any:
        with RoleFront(POLICY, behind=s3.port) as front:
            monkeypatch.setenv("GLACIER_PREVIEW", "pr-7")
            yield Provider.from_env(endpoint_url=f"http://127.0.0.1:{front.server_port}")
            assert not front.denied, front.denied


def tabled(provider: Provider, bucket: str, mode: Any, *numbers: int, run_id: str = "run") -> None:
    """Write a Delta table, as the node of a run."""
    sink = provider.bucket_sink(bucket, "t/table", format="delta", mode=mode, partition_by="k")
    with entered(run(run_id=run_id)):
        sink.write(pl.LazyFrame({"v": numbers, "k": [f"{number % 2} x" for number in numbers]}))


@pytest.mark.parametrize("kind", ["local", "s3", "azure", "gcs"])
def test_a_delta_table_is_hidden_as_a_whole_and_appended_to_as_a_copy(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "local":
        monkeypatch.setenv("GLACIER_BASE_PATH", str(tmp_path))
        env: Provider = LocalProvider(base_path=tmp_path)
        bucket = "bucket"
        files = Store.on_disk(env, lambda name: tmp_path / name)
        place = Place(store=files, contents=lambda b: {k: (tmp_path / b / k).read_bytes() for k in files.keys(b)})
    else:
        place = place_of(cloud := request.getfixturevalue(kind), monkeypatch)
        env, bucket = place.store.provider, new_bucket(cloud)
    tabled(env, bucket, "overwrite", 1, 2)
    tabled(env, bucket, "append", 3, run_id="second")
    before = place.contents(bucket)
    monkeypatch.setenv("GLACIER_PREVIEW", "pr-7")
    preview = Provider.from_env()
    source = preview.bucket_source(bucket, "t/table", format="delta")
    assert (rows(source)["v"].to_list(), source.exists()) == ([1, 2, 3], True)

    with monkeypatch.context() as patch:
        patch.setattr(delta, "COPY_LIMIT", source.size() - 1)
        with pytest.raises(PreviewError, match=r"appends to a copy of .* it copies .* at most. Nothing was written"):
            tabled(preview, bucket, "append", 4)
    assert place.contents(bucket) == before
    for _ in range(2):  # an attempt and its repetition
        tabled(preview, bucket, "append", 4)
    assert rows(source)["v"].to_list() == [1, 2, 3, 4]
    assert place.outside(bucket) == before
    tabled(preview, bucket, "overwrite", 6)
    assert rows(source)["v"].to_list() == [6]
    twin = preview.bucket_sink(bucket, "t/table", format="delta").twin()
    assert (rows(twin)["v"].to_list(), twin.fingerprint()) == ([6], source.fingerprint())
    assert rows(env.bucket_source(bucket, "t/table", format="delta"))["v"].to_list() == [1, 2, 3]
    assert place.outside(bucket) == before
    preview.bucket_sink(bucket, "any").discard()
    assert place.contents(bucket) == before
    assert rows(source)["v"].to_list() == [1, 2, 3]


FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()

@task
def load():
    return pl.LazyFrame({"v": [1]})

@pipeline(name="stored", schedule="0 6 * * *")
def flow():
    return provider.bucket_sink("BUCKET", "a.parquet").write(load())
"""


def test_runs_of_a_preview_keep_their_results_in_its_folder_and_have_its_identity(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place_of(s3, monkeypatch)
    monkeypatch.setenv("GLACIER_PREVIEW", "pr-7")
    (tmp_path / "stored_flow.py").write_text(FLOW.replace("BUCKET", bucket := new_bucket(s3)))
    stored = load_pipeline(str(tmp_path / "stored_flow.py"))
    target = Target(project="acme", env="prod", folder=tmp_path, pool=Pool(type="process"), preview="pr-7")
    outputs = {
        "work_pool": {"name": "pool", "type": "process"},
        "job_variables": {"env": {"A": "1"}},
        "pipeline_job_variables": {"stored": {"role": "theirs"}, "preview": {"role": "previews"}},
    }
    results, deployment = desired([stored], target, outputs)
    assert (results.kind, results.name) == ("block", "glacier-acme-prod-pr-7-results-stored")
    assert results.fields["data"]["bucket_folder"] == f"{OWN}.glacier/results/stored"
    fields = deployment.fields
    assert (deployment.name, fields["schedule"], fields["work_pool_name"]) == ("stored/pr-7", None, "pool")
    assert fields["job_variables"]["role"] == "previews"
    variables = fields["job_variables"]["env"]
    assert variables["PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"] == f"s3-bucket/{results.name}"
    named = Provider.from_env().bucket_source(bucket, "kept/*.parquet")
    for given in (None, named):
        location, base = exchange_location(stored.graph.locations, given) or pytest.fail("there is a bucket")
        shared = Shared(location=location, folder=f"{base}.glacier/exchange/stored")
        shared.put(tmp_path / "stored_flow.py")
        assert shared.names() == ["stored_flow.py"]
    keys = [each["path"] for page in obstore.list(s3.store(bucket)) for each in page]
    assert keys == [
        f"{OWN}.glacier/exchange/stored/stored_flow.py",
        f"{OWN}kept/.glacier/exchange/stored/stored_flow.py",
    ]
    monkeypatch.delenv("GLACIER_PREVIEW")
    assert previews.discard([variables[previews.VARIABLE]], "pr-7") == 2
    assert s3.secret_access_key not in json.dumps(fields)
