"""From a pipeline to AWS with `code = "bucket"`, and a run in an environment that has only Prefect and prefect-aws.

Terraform is real, AWS is not: its provider is a stand-in (tests/terraform), and S3 and ECS are moto, which runs no
container. So the real ECS worker starts a task there, and what ECS would start by it, with the variables that the task
has, is started here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect.emulators import S3
from tests.server.test_deploy_bare_worker import bare_environment, write_lock
from tests.terraform.conftest import mirrors, terraforms
from tests.terraform.plugins import Terraform

__all__ = ["mirrors", "terraforms"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("bare"),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]
GLACIER = ("-c", "from glacier_prefect.cli import main; main()")
SETTINGS = """
project = "archived"
pipelines = ["flows/*.py"]

[environments.prod]
provider = "aws"
region = "us-east-1"
code = "bucket"

[environments.prod.infrastructure]
network = { existing = { id = "VPC", subnets = ["SUBNET"] } }
"""
FLOW = """
import sys
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

out = Provider.from_env().bucket_sink(bucket="BUCKET", path="NAME/where.parquet")

@task
def where() -> pl.LazyFrame:
    files = {each: sys.modules[each].__file__ for each in ("prefect", "polars", "glacier_prefect", __name__)}
    return pl.LazyFrame({"module": list(files), "file": list(files.values())})

@pipeline(name="NAME")
def flow():
    return out.write(where())
"""


class Shop:
    """The project, its emulated AWS, and the command line in it."""

    def __init__(self, project: Any, s3: S3, bucket: str, terraform: Terraform, settings: str = SETTINGS) -> None:
        import boto3

        self.name = settings.split('"')[1]
        self.project, self.s3, self.bucket, self.folder = project, s3, bucket, project.folder
        self.env = {"GLACIER_ENV": "prod", **terraform.environment(), **s3.env}
        keys = {"aws_access_key_id": s3.access_key_id, "aws_secret_access_key": s3.secret_access_key}
        self.ecs, self.ec2 = (
            boto3.client(each, endpoint_url=s3.url, region_name=s3.region, **keys) for each in ("ecs", "ec2")
        )
        vpc = self.ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        of_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
        subnet = self.ec2.describe_subnets(Filters=of_vpc)["Subnets"][0]["SubnetId"]
        project.write("glacier.toml", settings.replace("VPC", vpc).replace("SUBNET", subnet))
        project.write(".gitignore", ".glacier\n__pycache__\n*.log\n")
        self.flow("one")
        self.flow("two")
        self.git("init", "--quiet")

    def flow(self, name: str, more: str = "") -> None:
        text = FLOW.replace("BUCKET", self.bucket).replace("NAME", f"{self.name}-{name}") + more
        self.project.write(f"flows/flow_{name}.py", text)

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True)

    def glacier(self, *words: str, check: bool = True) -> str:
        done = self.project.run(*GLACIER, *words, check=check, **self.env)
        assert "Traceback" not in done.stderr, done.stderr
        return str(done.stdout + done.stderr)

    def archives(self) -> set[str]:
        """The folders with archives in the bucket."""
        keys = [meta["path"] for page in self.s3.store(self.bucket).list(".glacier/code/") for meta in page]
        assert all(key.endswith("/code.tar.gz") for key in keys)
        return {key.removesuffix("code.tar.gz") for key in keys}


def archive_of(deployment: dict[str, Any]) -> dict[str, Any]:
    [settings] = [
        dict(step["prefect_aws.deployments.steps.pull_from_s3"])
        for step in deployment["pull_steps"]
        if "prefect_aws.deployments.steps.pull_from_s3" in step
    ]
    return settings


def started(shop: Shop, api: Any, bare: Path, deployment: str, folder: Path) -> dict[str, Any]:
    """Start a run by the real ECS worker, and return command and variables of the container that ECS would start."""
    pool = api.get("/work_pools/glacier-archived-prod-pool")
    template = pool["base_job_template"]  # moto refuses a container without memory, which Fargate has by the task
    template["job_configuration"]["task_definition"]["containerDefinitions"][0]["memory"] = 512
    api.call("PATCH", f"/work_pools/{pool['name']}", {"base_job_template": template})
    api.post(f"/deployments/{api.deployment(deployment)['id']}/create_flow_run")
    worker = [bare, "-m", "prefect", "worker", "start", "--pool", pool["name"], "--type", "ecs", "--run-once"]
    done = subprocess.run(
        list(map(str, worker)),
        cwd=folder,
        env={**shop.project.env, **shop.s3.env, "PREFECT_WORKER_PREFETCH_SECONDS": "60"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Exception" not in done.stderr, done.stderr
    cluster = "glacier-archived-prod-pool"
    of = {"cluster": cluster}
    tasks = shop.ecs.list_tasks(**of)["taskArns"] + shop.ecs.list_tasks(**of, desiredStatus="STOPPED")["taskArns"]
    [task] = shop.ecs.describe_tasks(cluster=cluster, tasks=tasks)["tasks"]
    outputs = json.loads((shop.folder / ".glacier/prod/terraform/terraform.tfstate").read_text())["outputs"]
    role = outputs["pipeline_job_variables"]["value"]["archived-one"]["task_role_arn"]
    assert task["overrides"]["taskRoleArn"] == role
    [container] = task["overrides"]["containerOverrides"]
    return {
        "command": container["command"],
        "env": {each["name"]: each["value"] for each in container["environment"]},
    }


def test_code_gets_by_the_bucket_into_a_run_that_has_only_prefect_and_prefect_aws(
    project: Any,
    api: Any,
    s3: S3,
    make_bucket: Callable[[Any], str],
    terraforms: dict[str, Terraform],
    tmp_path: Path,
) -> None:
    shop = Shop(project, s3, make_bucket(s3), terraforms["newer"])
    write_lock(shop.folder, "[aws]")
    shop.git("add", ".")
    shop.ecs.create_cluster(clusterName="glacier-archived-prod-pool")

    shop.glacier("deploy", "--yes")
    [first] = shop.archives()
    one, two = api.deployment("archived-one/prod"), api.deployment("archived-two/prod")
    assert archive_of(one) == {
        "id": "pull",
        "requires": "prefect-aws",
        "bucket": shop.bucket,
        "folder": first,
        "credentials": {"region_name": "us-east-1"},
        "client_parameters": {"endpoint_url": s3.url},
    }

    # what Terraform has made is in the blocks, the pool and the deployments
    state = json.loads((shop.folder / ".glacier/prod/terraform/terraform.tfstate").read_text())
    outputs = {name: each["value"] for name, each in state["outputs"].items()}
    pool = api.get(f"/work_pools/{outputs['work_pool']['name']}")
    assert pool["type"] == outputs["work_pool"]["type"] == "ecs"
    for name, deployment in {"archived-one": one, "archived-two": two}.items():
        block = api.get(f"/block_types/slug/s3-bucket/block_documents/name/glacier-archived-prod-results-{name}")
        assert block["data"]["bucket_name"] == shop.bucket
        wanted = outputs["job_variables"] | outputs["pipeline_job_variables"][name]
        assert {key: deployment["job_variables"][key] for key in wanted if key != "env"} == {
            key: value for key, value in wanted.items() if key != "env"
        }

    bare = bare_environment(tmp_path, "prefect", "prefect-aws")
    task = started(shop, api, bare, "archived-one/prod", tmp_path)
    assert task["command"] == ["prefect", "flow-run", "execute"]
    assert task["env"]["GLACIER_ENV"] == "prod"
    run = task["env"]["PREFECT__FLOW_RUN_ID"]
    container = tmp_path / "container"
    container.mkdir()
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "uv").symlink_to(Path(sys.executable).with_name("uv"))
    taken = ("PIP_", "UV_", "SSL_", "REQUESTS_", "HOME", "LANG")  # of the machine, so that packages are to be had
    own = {name: value for name, value in os.environ.items() if name.startswith(taken)}
    own["PATH"] = f"{bare.parent}:{tmp_path / 'tools'}:{os.environ['PATH']}"
    own["GLACIER_CACHE"] = str(tmp_path / "cache")
    done = subprocess.run(
        task["command"],
        cwd=container,
        env={**own, **s3.env, **task["env"]},
        capture_output=True,
        text=True,
        timeout=400,
    )
    ended = api.finished(run)
    assert ended["state_type"] == "COMPLETED", done.stdout + done.stderr
    [cached] = (tmp_path / "cache" / "packages").iterdir()
    files = dict(
        pl.read_parquet(f"s3://{shop.bucket}/archived-one/where.parquet", storage_options=s3.storage_options).rows()
    )
    assert all(Path(files.pop(name)).is_relative_to(cached) for name in ("prefect", "polars", "glacier_prefect"))
    [code] = files.values()
    assert code.endswith("/code/flows/flow_one.py")
    assert not code.startswith(str(shop.folder))

    # a changed flow writes only its own deployment; rollback brings its older archive back
    shop.flow("one", "# changed\n")
    shop.glacier("deploy", "--yes")
    changed = api.deployment("archived-one/prod")
    assert archive_of(changed)["folder"] != archive_of(one)["folder"]
    assert archive_of(api.deployment("archived-two/prod")) == archive_of(two), "it stays at the older archive"
    assert len(shop.archives()) == 2
    shop.glacier("rollback", "--to", "1", "--yes")
    assert archive_of(api.deployment("archived-one/prod")) == archive_of(one)
    shop.glacier("destroy", "--yes", "--allow-data-loss")
    assert shop.archives() == set()
