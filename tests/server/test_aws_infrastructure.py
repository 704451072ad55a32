"""From a pipeline to AWS: `glacier deploy` applies the root and makes the blocks and the ECS work pool of its outputs.

Terraform is real, AWS is not: its provider is a stand-in (tests/terraform), the bucket's store an emulator, and no
container runs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from glacier_prefect.emulators import S3
from tests.terraform.conftest import mirrors, terraforms
from tests.terraform.plugins import Terraform

__all__ = ["mirrors", "terraforms"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]
SETTINGS = """
project = "shop"

[environments.prod]
provider = "aws"
region = "eu-west-1"
code = "git"
git = "https://example.com/shop.git"

[environments.prod.infrastructure]
server = { api_url = "https://prefect.example.com/api", api_key_secret = "prefect-api-key" }

[environments.prod.secrets]
DB_PASSWORD = "shop-db"

[environments.prod.executors.spark]
service = "emr-serverless"
archive = "s3://acme-code/environment.tar.gz"
"""
FLOW = """
import polars as pl
from glacier_prefect import Secret, pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
out = provider.bucket_sink(bucket="BUCKET", path="folder/rows.parquet")
password = Secret("DB_PASSWORD")

@task
def rows():
    password
    return pl.LazyFrame({"a": [1, 2, 3]})

@task(executor="spark")
def doubled(frame):
    return frame

@pipeline(name="aws-daily")
def daily():
    return out.write(doubled(rows()))
"""
USE = """
import io, sys
import polars as pl
import prefect_aws
from prefect.blocks.core import Block
block = Block.load(sys.argv[1])
block.write_path("by-the-block.parquet", sys.stdin.buffer.read() or b"x")
print(type(block).__name__, block.bucket_name, block.read_path("by-the-block.parquet"))
"""


def test_the_root_its_outputs_the_blocks_and_the_pool_fit_together(
    project: Any, api: Any, s3: S3, make_bucket: Callable[[Any], str], terraforms: dict[str, Terraform]
) -> None:
    bucket, folder = make_bucket(s3), project.folder
    project.write("glacier.toml", SETTINGS)
    project.write("flow.py", FLOW.replace("BUCKET", bucket))
    project.write(".gitignore", ".glacier\n__pycache__\n")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    keys = {"AWS_ACCESS_KEY_ID": s3.access_key_id, "AWS_SECRET_ACCESS_KEY": s3.secret_access_key}
    env = {
        "GLACIER_ENV": "prod",
        **terraforms["newer"].environment(),
        "AWS_ENDPOINT_URL": s3.url,
        **keys,
    }
    glacier = ("-c", "from glacier_prefect.cli import main; main()")

    done = project.run(*glacier, "deploy", "--yes", **env)
    assert "aws_bucket" in done.stderr
    root = folder / ".glacier" / "prod" / "terraform"
    outputs = {
        name: each["value"] for name, each in json.loads((root / "terraform.tfstate").read_text())["outputs"].items()
    }
    assert outputs["work_pool"] == {"name": "glacier-shop-prod-pool", "type": "ecs"}

    deployment = api.deployment("aws-daily/prod")
    variables = deployment["job_variables"]
    assert variables["task_role_arn"] == outputs["pipeline_job_variables"]["aws-daily"]["task_role_arn"]
    assert variables["execution_role_arn"].endswith(":role/glacier-shop-prod-pool-execution")
    assert variables["cluster"] == outputs["job_variables"]["cluster"]
    assert variables["network_configuration"]["subnets"] == outputs["job_variables"]["network_configuration"]["subnets"]
    assert variables["prefect_api_key_secret_arn"].endswith(":secret:prefect-api-key")
    assert {"GLACIER_ENV": "prod", "GLACIER_PROJECT": "shop"}.items() <= variables["env"].items()
    executors = json.loads(variables["env"]["GLACIER_EXECUTORS"])
    assert executors == outputs["executors"]["aws-daily"]
    assert set(executors["spark"]) == {"service", "application_id", "role_arn"}
    assert executors["spark"]["role_arn"].endswith(":role/glacier-shop-prod-spark-aws-daily")
    pool = api.get("/work_pools/glacier-shop-prod-pool")
    assert pool["type"] == "ecs"
    assert "shop-db" not in json.dumps(pool), "each run reads its secrets itself, by its role"

    slug, _, name = variables["env"]["PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"].partition("/")
    assert slug == "s3-bucket"
    used = project.run("-c", USE, f"{slug}/{name}", **env)
    assert used.stdout.strip() == f"S3Bucket {bucket} b'x'"
    keys_there = {meta["path"] for page in s3.store(bucket).list() for meta in page}
    assert ".glacier/results/aws-daily/by-the-block.parquet" in keys_there

    assert "nothing changes" in project.run(*glacier, "plan", **env).stdout
    refused = project.run(*glacier, "destroy", "--yes", check=False, **env)
    assert refused.returncode != 0
    assert "--allow-data-loss" in refused.stderr + refused.stdout
    project.run(*glacier, "destroy", "--yes", "--allow-data-loss", **env)
    assert api.deployment("aws-daily/prod") is None
