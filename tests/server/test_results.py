"""Results in the deployment's bucket: a retry on a worker with another disk takes what an earlier worker has done."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("results")]

FLOW = """
import os, signal
from datetime import timedelta
from pathlib import Path
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

out = Provider.from_env().bucket_sink(bucket="BUCKET", path="joined.parquet")

def ran(name):
    with open(os.environ["RAN"], "a") as log:
        log.write(name + "\\n")

@task
def frame():
    ran("frame")
    return pl.LazyFrame({"a": range(1000)})

@task
def eager():
    ran("eager")
    return pl.DataFrame({"b": [7]})

@task
def number():
    ran("number")
    return 5

@task
def item(place):
    ran(f"item {place}")
    return place * 10

@task
def lazy():
    ran("lazy")
    return pl.LazyFrame({"c": [1]})

@task
def kill_once(frame, other, number, items, inside):
    assert frame.collect().equals(inside.collect())
    ran("kill_once")
    if "KILL" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return frame.select(pl.len().alias("rows")), other, number, sum(items)

@task
def joined(parts, frame, lazy):
    rows, other, number, items = parts
    return pl.concat([rows.cast(pl.Int64), other.lazy(), lazy], how="horizontal").with_columns(
        number=number, items=items, last=frame.select(pl.col("a").max()).collect().item()
    )

@task
def inside():
    ran("inside")
    return pl.LazyFrame({"a": range(1000)})

@pipeline(name="retried-inner")
def inner():
    return number(), inside()

@pipeline(name="retried")
def retried():
    counted = inner()
    data = frame()
    parts = kill_once(data, eager(), counted[0], item.map([1, 2]), counted[1])
    return out.write(joined(parts, data, lazy()))
"""
DEPLOY = """
from pathlib import Path
from retried import retried
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.deploying import deploy
from glacier_prefect.deployments.desired import Target, desired
from glacier_prefect.deployments.state import State

here = Path(__file__).parent
target = Target(project="retried", env="dev", folder=here, code="git", git=str(here))
with Api() as api:
    deploy(api, State(here / ".glacier" / "dev"), lambda outputs: desired([retried], target, outputs))
"""
DONE_FIRST = ["eager", "frame", "inside", "item 1", "item 2", "number"]


@pytest.fixture(scope="module")
def emulator(s3: Any) -> dict[str, str]:
    return dict(s3.env)


@pytest.fixture(scope="module")
def bucket(s3: Any, make_bucket: Callable[[Any], str]) -> str:
    return make_bucket(s3)


@pytest.fixture(scope="module")
def deployment(project: Any, api: Any, emulator: dict[str, str], bucket: str) -> dict[str, Any]:
    project.write("retried.py", FLOW.replace("BUCKET", bucket))
    project.write("deploy.py", DEPLOY)
    project.write("glacier.toml", 'project = "retried"\n[environments.dev]\nprovider = "aws"\n')
    project.write(".gitignore", ".glacier\n*.log\n__pycache__\nworker-*\nran\n")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], cwd=project.folder, check=True)
    project.run("deploy.py", **emulator)
    return dict(api.deployment("retried/dev"))


def worker(project: Any, name: str, emulator: dict[str, str], **env: str) -> Any:
    """Return an ordinary worker with a home, a temporary folder and a working directory of its own."""
    own: Path = project.folder / f"worker-{name}"
    for folder in ("home", "tmp", "work"):
        (own / folder).mkdir(parents=True)
    places = {"HOME": str(own / "home"), "PREFECT_HOME": str(own / "home/.prefect"), "TMPDIR": str(own / "tmp")}
    start = "import os, sys, runpy; os.chdir(sys.argv.pop(1)); runpy.run_module('prefect', run_name='__main__')"
    command = ("-c", start, str(own / "work"), "worker", "start", "--pool", "glacier-retried-dev-pool")
    common = {"RAN": str(project.folder / "ran"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    return project.running(*command, **emulator, **places, **common, **env)


def test_a_retry_on_another_disk_takes_what_the_killed_run_has_done(
    deployment: dict[str, Any], project: Any, api: Any, s3: Any, emulator: dict[str, str], bucket: str
) -> None:
    block = deployment["job_variables"]["env"]["PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"]
    assert block == "s3-bucket/glacier-retried-dev-results-retried"
    ran = project.folder / "ran"
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run")
    with worker(project, "first", emulator, KILL="1") as output:
        ended = api.finished(run["id"])
    assert ended["state_type"] == "CRASHED", output()
    assert f"-{signal.SIGKILL}" in ended["state"]["message"] or "SIGKILL" in output(), output()
    lines = ran.read_text().split("\n")[:-1]
    assert set(lines) - {"lazy"} == {*DONE_FIRST, "kill_once"}
    keys = {meta["path"] for page in s3.store(bucket).list() for meta in page}
    assert any(key.startswith(".glacier/results/retried/") for key in keys)
    assert any(key.startswith(f".glacier/exchange/retried/{run['id']}/") for key in keys)
    subprocess.run(["rm", "-rf", str(project.folder / "worker-first")], check=True)

    ran.write_text("")
    api.post(f"/flow_runs/{run['id']}/set_state", state={"type": "SCHEDULED", "name": "AwaitingRetry"}, force=True)
    with worker(project, "second", emulator) as output:
        ended = api.finished(run["id"])
    assert ended["state_type"] == "COMPLETED", output()
    assert ended["run_count"] == 2
    again = set(ran.read_text().split("\n")[:-1])
    assert "kill_once" in again
    assert not again & set(DONE_FIRST), "what was done is not done again"
    key = s3.uri(bucket, "joined.parquet")
    written = pl.read_parquet(key, storage_options=s3.storage_options).row(0, named=True)
    assert written == {"rows": 1000, "b": 7, "c": 1, "number": 5, "items": 30, "last": 999}
    assert emulator["AWS_SECRET_ACCESS_KEY"] not in output()
