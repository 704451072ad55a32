"""Remote runs in Prefect: their progress is seen, and the hook of a cancelled run stops what a dead process left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("remote")]
DETACHED = Path(__file__).parents[2] / "examples" / "custom_executor" / "detached.py"
FLOW = """
import os, time
from dataclasses import dataclass, field
from pathlib import Path
from glacier_prefect import pipeline, task
from glacier_prefect.executors import RemoteExecutor, RemoteState
from detached import DetachedExecutor

@dataclass(frozen=True, kw_only=True)
class Quarters(RemoteExecutor):
    name = "quarters"
    poll_seconds: float = 0.2
    looks: list = field(default_factory=list)

    def submit(self, work):
        return "run-1"

    def look(self, remote):
        self.looks.append(remote)
        done = min(4, len(self.looks))
        return RemoteState(kind="running" if done < 4 else "succeeded", progress=done / 4, log=("at work",) * done)

    def fetch(self, remote, work):
        return 5

    def cancel(self, remote):
        pass

@task(executor=Quarters())
def by_quarters(): ...

@pipeline(name="remote-progress")
def progress():
    return by_quarters()

on = DetachedExecutor(folder=str(Path(__file__).with_name("jobs")))

def live(name):
    Path("HERE", f"{name}-{os.getpid()}.begun").touch()
    time.sleep(100)

@task(executor=on)
def single():
    live("single")

@task(executor=on)
def item(number):
    live(f"item-{number}")

@task(executor=on, name="single")  # the name of a node of the run around it
def single_inside():
    live("inside")

@pipeline(name="remote-left-inner")
def inner():
    single_inside()

@pipeline(name="remote-left")
def left():
    single()
    item.map([1, 2])
    inner()
"""
HOOKS = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.runner._hook_runner import HookRunner
from prefect.states import Cancelling
import flow

async def main():
    async with get_client() as client:
        run = await client.read_flow_run(sys.argv[1])
    async def resolve(_):
        return flow.left.flow
    await HookRunner(resolve_flow=resolve).run_cancellation_hooks(run, Cancelling())

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def written(project: Any) -> Any:
    shutil.copy(DETACHED, project.folder)
    project.write("flow.py", FLOW.replace("HERE", str(project.folder)))
    project.write("hooks.py", HOOKS)
    return project


def test_the_progress_of_a_remote_run_is_an_artifact_of_its_task_run(written: Any, api: Any, wait_until: Any) -> None:
    written.run("-c", "import flow; assert flow.progress.run() == 5")
    (run,) = api.flow_runs("remote-progress")
    (artifact,) = api.post(
        "/artifacts/filter", flow_runs={"id": {"any_": [run["id"]]}}, artifacts={"type": {"any_": ["progress"]}}
    )
    assert (artifact["type"], artifact["key"], artifact["data"]) == ("progress", "glacier-progress-by-quarters", 100)
    assert artifact["task_run_id"] == api.task_runs(run["id"], "by_quarters")["by_quarters"]["id"]

    def logged() -> Any:
        logs = api.post("/logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}}, limit=200)
        said = [log["message"] for log in logs if log["task_run_id"] == artifact["task_run_id"]]
        return said.count("at work") >= 4 and said

    assert wait_until(logged, "the lines of the remote run").count("at work") == 4


def test_the_hook_stops_what_a_killed_process_has_left_of_items_and_sub_flows_too(
    written: Any, api: Any, wait_until: Any
) -> None:
    def begun() -> Any:
        assert process.poll() is None, (written.folder / "left.log").read_text()
        marks = [file.stem.rpartition("-") for file in written.folder.glob("*.begun")]
        return {name: int(pid) for name, _, pid in marks} if len(marks) == 4 else None

    with open(written.folder / "left.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", "import flow; flow.left.run()"],
            cwd=written.folder,
            env=written.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        bodies = wait_until(begun, "all four bodies", 90)
    except AssertionError as error:
        jobs = "\n".join(f"{file}: {file.read_text(errors='replace')}" for file in written.folder.glob("jobs/*/[lp]*"))
        log = (written.folder / "left.log").read_text()
        raise AssertionError(f"{error}\n{[*written.folder.glob('*.begun')]}\n{jobs}\n{log}") from None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert set(bodies) == {"single", "item-1", "item-2", "inside"}
    assert all(os.path.exists(f"/proc/{pid}") for pid in bodies.values())
    (run,) = api.flow_runs("remote-left")
    for _ in range(2):  # Prefect may call it twice
        done = written.run("hooks.py", run["id"])
        assert "finished running successfully" in done.stdout + done.stderr
        assert "could not be cancelled" not in done.stdout + done.stderr
        wait_until(lambda: not [pid for pid in bodies.values() if os.path.exists(f"/proc/{pid}")], "their end", 10)
