"""The role that the root gives a pipeline in AWS is enough for its run, S3 denying all else as it does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import obstore
import polars as pl
import pytest

from glacier_prefect import infrastructure
from glacier_prefect.emulators import S3
from glacier_prefect.modules import expression
from tests.clouds.conftest import s3
from tests.clouds.role_front import RoleFront
from tests.terraform import roots
from tests.terraform.plugins import Terraform

__all__ = ["s3"]
pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
one = provider.bucket_source("raw", "in/one.parquet")
folder = provider.bucket_source("raw", "in/folder", format="parquet")
glob = provider.bucket_source("raw", "in/d-*/x.parquet")
sinks = (
    provider.bucket_sink("out", "top.parquet"),
    provider.bucket_sink("out", "a/strict.parquet", mode="error"),
    provider.bucket_sink("out", "a/checked.parquet", checks=[pl.col("a") >= 0]),
    provider.bucket_sink("out", "a/parts", partition_by="a"),
    provider.bucket_sink("out", "y/{run_date:%Y}/x.ndjson"),
    provider.bucket_sink("out", "b/x.csv", mode="error"),
    provider.bucket_sink("tables", "a/table", format="delta"),
)

@task
def load(sources):
    return pl.concat([each.scan() for each in sources])

@pipeline(name="daily")
def daily():
    rows = load([one, folder, glob])
    for sink in sinks:
        sink.write(rows)

if __name__ == "__main__":
    daily.run()
"""
ROWS = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})


def policy_of(folder: Path, terraform: Terraform, root: Path, who: str = "daily") -> dict[str, Any]:
    """Return the policy of the runs of the pipeline in a project's folder, or of previews of it."""
    with roots.entered(folder) as (project, pipelines):
        [(provider, needs)] = infrastructure.needs(pipelines, project)
        call = next(each for each in provider.modules(needs) if each.source == "aws/work_pool")
    source = str(infrastructure.modules_folder() / call.source)
    inputs = {name: expression(call.inputs[name]) for name in ("name", "pipelines")}
    root.mkdir()
    document = {"provider": {"aws": {"region": "eu-west-1"}}, "module": {"pool": {"source": source, **inputs}}}
    (root / "main.tf.json").write_text(json.dumps(document))
    terraform(root, "init")
    terraform(root, "plan", "-out=plan")
    planned = json.loads(terraform(root, "show", "-json", "plan"))["planned_values"]["root_module"]["child_modules"]
    of_runs = [each["values"] for each in planned[0]["resources"] if each.get("index") == who]
    [policy] = [each["policy"] for each in of_runs if "policy" in each]
    return json.loads(re.sub(r"arn:[^:]+:s3", "arn:aws:s3", policy))  # the stand-in makes up a partition


def ran(folder: Path, s3: S3, port: int, **more: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "GLACIER_"))}
    keys = {"AWS_ACCESS_KEY_ID": s3.access_key_id, "AWS_SECRET_ACCESS_KEY": s3.secret_access_key}
    env |= {"GLACIER_ENV": "prod", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **keys, **more}
    return subprocess.run([sys.executable, "flow.py"], cwd=folder, env=env, capture_output=True, text=True)


def test_a_run_does_all_with_its_role_and_a_second_one_with_mode_error_says_what_is_there(
    s3: S3, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    raw, out, tables = (f"{name}-{tmp_path.name.replace('_', '-').lower()[-30:]}" for name in ("raw", "out", "tables"))
    flow = FLOW
    for name, bucket in (("raw", raw), ("out", out), ("tables", tables)):
        flow = flow.replace(f'"{name}"', f'"{bucket}"')
        s3.make_bucket(bucket)
    (folder / "flow.py").write_text(flow)
    (folder / "glacier.toml").write_text(roots.toml("acme", "aws", "previews = true\n"))
    for key in ("in/one.parquet", "in/folder/1.parquet", "in/d-1/x.parquet", "other/x.parquet"):
        ROWS.write_parquet(f"s3://{raw}/{key}", storage_options=s3.storage_options)
    policy = policy_of(folder, terraforms["newer"], tmp_path / "root")
    with RoleFront(policy, behind=s3.port) as front:
        done = ran(folder, s3, front.server_port)
        assert done.returncode == 0, done.stderr
        assert {each.action for each in front.denied} <= {"s3:GetObject", "s3:ListBucket"}  # it looks beside, too
        again = ran(folder, s3, front.server_port)
        assert "there is data at 'a/strict.parquet' already" in again.stderr
    written = pl.read_parquet(f"s3://{out}/top.parquet", storage_options=s3.storage_options)
    assert written.height == 6
    other = f"s3://{raw}/other/x.parquet"
    with RoleFront(policy, behind=s3.port) as front, pytest.raises(Exception, match=r"403|[Dd]enied|[Pp]ermission"):
        pl.read_parquet(other, storage_options=s3.at(front.server_port).storage_options)
    # Previews of it: with their own role all of it works too, on top of what is there, and nothing else is written.
    policy = policy_of(folder, terraforms["newer"], tmp_path / "previews", "preview")
    stores = {name: s3.store(name) for name in (raw, out, tables)}

    def etags() -> dict[str, str]:
        found = (each for store in stores.values() for page in obstore.list(store) for each in page)
        return {each["path"]: each["e_tag"] for each in found if not each["path"].startswith(".glacier/preview/pr-1/")}

    before = etags()
    with RoleFront(policy, behind=s3.port) as front:
        done = ran(folder, s3, front.server_port, GLACIER_PREVIEW="pr-1")
        assert done.returncode == 0, done.stderr
        assert {each.action for each in front.denied} <= {"s3:GetObject", "s3:ListBucket"}
    assert etags() == before
