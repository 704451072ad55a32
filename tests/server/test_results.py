"""Results in the deployment's bucket: a retry on a worker with another disk takes what an earlier worker has done."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.forked import Forks
from tests.server.conftest import new_project
from tests.server.own_blocks import save_own, variables_of

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

@pipeline(name="NAME-inner")
def inner():
    return number(), inside()

@pipeline(name="NAME")
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
target = Target(project="NAME", env="dev", folder=here, code="git", git=str(here))
with Api() as api:
    deploy(api, State(here / ".glacier" / "dev"), lambda outputs: desired([retried], target, outputs))
"""
DONE_FIRST = ["eager", "frame", "inside", "item 1", "item 2", "number"]


PROVIDERS = {
    "s3": ("aws", "s3-bucket"),
    "azure": ("azure", "azure-blob-storage-container"),
    "gcs": ("gcp", "gcs-bucket"),
}


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """A deployment whose runs keep their results in a bucket of a cloud.

    Attributes:
        name: Its project and flow.
        project: Its folder.
        bucket: The bucket.
        env: Variables with the credentials of a worker.
    """

    name: str
    project: Any
    bucket: str
    env: dict[str, str]


@pytest.fixture(scope="module")
def deployed(
    server: str, forks: Forks, cloud: Any, make_bucket: Callable[[Any], str], tmp_path_factory: pytest.TempPathFactory
) -> Deployed:
    name, bucket = f"retried-{cloud.name}", make_bucket(cloud)
    project = new_project(tmp_path_factory, forks, PREFECT_API_URL=server)
    env = variables_of(cloud, tmp_path_factory.mktemp("key"))
    environment = f'provider = "{PROVIDERS[cloud.name][0]}"'
    if cloud.name != "s3":  # whose clients read all that they need from variables
        save_own(project, cloud, f"{name}-own")
        environment += f'\ncredentials_block = "{name}-own"'
        env |= {"STORAGE_EMULATOR_HOST": cloud.url} if cloud.name == "gcs" else {}
    project.write("retried.py", FLOW.replace("BUCKET", bucket).replace("NAME", name))
    project.write("deploy.py", DEPLOY.replace("NAME", name))
    project.write("glacier.toml", f'project = "{name}"\n[environments.dev]\n{environment}\n')
    project.write(".gitignore", ".glacier\n*.log\n__pycache__\nworker-*\nran\n")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], cwd=project.folder, check=True)
    project.run("deploy.py", **env)
    return Deployed(name=name, project=project, bucket=bucket, env=env)


def worker(deployed: Deployed, which: str, **env: str) -> Any:
    """Return an ordinary worker with a home, a temporary folder and a working directory of its own."""
    project = deployed.project
    own: Path = project.folder / f"worker-{which}"
    for folder in ("home", "tmp", "work"):
        (own / folder).mkdir(parents=True)
    places = {"HOME": str(own / "home"), "PREFECT_HOME": str(own / "home/.prefect"), "TMPDIR": str(own / "tmp")}
    start = "import os, sys, runpy; os.chdir(sys.argv.pop(1)); runpy.run_module('prefect', run_name='__main__')"
    command = ("-c", start, str(own / "work"), "worker", "start", "--pool", f"glacier-{deployed.name}-dev-pool")
    common = {"RAN": str(project.folder / "ran"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    return project.running(*command, **deployed.env, **places, **common, **env)


def test_a_retry_on_another_disk_takes_what_the_killed_run_has_done(deployed: Deployed, cloud: Any, api: Any) -> None:
    deployment, folder = api.deployment(f"{deployed.name}/dev"), deployed.project.folder
    block = deployment["job_variables"]["env"]["PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"]
    assert block == f"{PROVIDERS[cloud.name][1]}/glacier-{deployed.name}-dev-results-{deployed.name}"
    ran = folder / "ran"
    run = api.post(f"/deployments/{deployment['id']}/create_flow_run")
    with worker(deployed, "first", KILL="1") as output:
        ended = api.finished(run["id"])
    assert ended["state_type"] == "CRASHED", output()
    assert f"-{signal.SIGKILL}" in ended["state"]["message"] or "SIGKILL" in output(), output()
    lines = ran.read_text().split("\n")[:-1]
    assert set(lines) - {"lazy"} == {*DONE_FIRST, "kill_once"}
    keys = {meta["path"] for page in cloud.store(deployed.bucket).list() for meta in page}
    assert any(key.startswith(f".glacier/results/{deployed.name}/") for key in keys)
    assert any(key.startswith(f".glacier/exchange/{deployed.name}/{run['id']}/") for key in keys)
    subprocess.run(["rm", "-rf", str(folder / "worker-first")], check=True)

    ran.write_text("")
    api.post(f"/flow_runs/{run['id']}/set_state", state={"type": "SCHEDULED", "name": "AwaitingRetry"}, force=True)
    with worker(deployed, "second") as output:
        ended = api.finished(run["id"])
    assert ended["state_type"] == "COMPLETED", output()
    assert ended["run_count"] == 2
    again = set(ran.read_text().split("\n")[:-1])
    assert "kill_once" in again
    assert not again & set(DONE_FIRST), "what was done is not done again"
    key = cloud.uri(deployed.bucket, "joined.parquet")
    written = pl.read_parquet(key, storage_options=cloud.storage_options).row(0, named=True)
    assert written == {"rows": 1000, "b": 7, "c": 1, "number": 5, "items": 30, "last": 999}
    secrets = {cloud.env.get(name) for name in ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY")} - {None}
    assert not [secret for secret in (*secrets, "PRIVATE KEY") if secret in output()]
