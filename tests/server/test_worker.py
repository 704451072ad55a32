"""An ordinary Prefect worker runs a pipeline by its entrypoint: `flow.py:name.flow`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("worker")]

FLOW = """
from pathlib import Path
import polars as pl
from glacier_prefect import Pipeline, pipeline, task
from glacier_prefect.providers import LocalProvider

FOLDER = Path(__file__).parent
provider = LocalProvider(base_path=str(FOLDER / "data"))

@task
def rows(count: int) -> pl.LazyFrame:
    return pl.LazyFrame({"a": list(range(count))})

dated = provider.bucket_sink(bucket="out", path="dated/{run_date:%Y-%m-%d_%H%M}.parquet")

@pipeline(timezone="Asia/Tokyo")
def daily(count: int = 3):
    return dated.write(rows(count))

once = provider.bucket_sink(bucket="out", path="once.parquet", mode="error")

@task(depends_on=[])
def fail_once(written):
    marker = FOLDER / "failed"
    if not marker.exists():
        marker.touch()
        raise RuntimeError("only this time")

@pipeline(retries=1, retry_delay_seconds=0)
def retried():
    fail_once(once.write(rows(2)))

@task
def again(written):
    if (marker := FOLDER / "broken").exists():
        marker.unlink()
        raise RuntimeError("broken")

twice = provider.bucket_sink(bucket="out", path="twice.parquet", mode="error")

@pipeline
def by_hand():
    again(twice.write(rows(4)))

@task
def numbers(): return [1, 2]

@task(depends_on=[numbers])
def total(numbers): return sum(numbers)

declared = Pipeline("declared-for-worker", tasks=[total])
"""
ENTRYPOINTS = {"daily": "daily.flow", "retried": "retried.flow", "by-hand": "by_hand.flow", "declared-for-worker": "declared.flow"}


@pytest.fixture(scope="module")
def deployed(project: Any, api: Any) -> dict[str, str]:
    """Deployments to a process pool, made by calls of the API alone; gives their ids."""
    project.write("flow.py", FLOW)
    api.post("/work_pools/", name="processes", type="process")
    made = {}
    for name, entrypoint in ENTRYPOINTS.items():
        flow = api.post("/flows/", name=name)["id"]
        pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(project.folder)}}]
        made[name] = api.post(
            "/deployments/",
            name="d",
            flow_id=flow,
            work_pool_name="processes",
            entrypoint=f"flow.py:{entrypoint}",
            pull_steps=pull,
        )["id"]
    return made


@pytest.fixture(scope="module")
def runs(deployed: dict[str, str], project: Any, api: Any) -> dict[str, dict[str, Any]]:
    """The finished runs of one worker that polled once."""
    scheduled = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2031-05-06T20:30:00Z"}}
    (project.folder / "broken").touch()
    made = {}
    for name, deployment in deployed.items():
        made[name] = api.post(f"/deployments/{deployment}/create_flow_run")["id"]
    made["scheduled"] = api.post(f"/deployments/{deployed['daily']}/create_flow_run", state=scheduled)["id"]
    # A scheduler would wait until then; this is what it does when the time has come, which leaves the scheduled start.
    with project.running("-m", "prefect", "worker", "start", "--pool", "processes", PREFECT_WORKER_QUERY_SECONDS="1") as output:
        ended = {name: api.finished(run) for name, run in made.items() if name not in ("scheduled",)}
        api.post(f"/flow_runs/{made['by-hand']}/set_state", state={"type": "SCHEDULED", "name": "AwaitingRetry"}, force=True)
        ended["by hand again"] = api.finished(made["by-hand"])
        ended["output"] = {"text": output()}
    return ended
