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

@task
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
ENTRYPOINTS = {
    "daily": "daily.flow",
    "retried": "retried.flow",
    "by-hand": "by_hand.flow",
    "declared-for-worker": "declared.flow",
}


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
    """The finished runs of a worker, by name."""
    (project.folder / "broken").touch()
    made = {name: api.post(f"/deployments/{deployment}/create_flow_run")["id"] for name, deployment in deployed.items()}
    late = {"state": scheduled("Scheduled", "2026-01-05T20:30:00Z"), "parameters": {"count": 7}}
    made["late"] = api.post(f"/deployments/{deployed['daily']}/create_flow_run", **late)["id"]
    worker = ("-m", "prefect", "worker", "start", "--pool", "processes")
    with project.running(*worker, PREFECT_WORKER_QUERY_SECONDS="1") as output:
        ended = {name: api.finished(run) for name, run in made.items()}
        ended["first try"] = ended["by-hand"]
        again = scheduled("AwaitingRetry", datetime.now(UTC).isoformat())
        api.post(f"/flow_runs/{made['by-hand']}/set_state", state=again, force=True)
        ended["by-hand"] = api.finished(made["by-hand"])
        print(output())  # shown if a test fails
    return ended


def scheduled(name: str, moment: str) -> dict[str, Any]:
    return {"type": "SCHEDULED", "name": name, "state_details": {"scheduled_time": moment}}


@pytest.mark.parametrize("name", ENTRYPOINTS)
def test_a_worker_completes_a_run(name: str, runs: dict[str, dict[str, Any]]) -> None:
    assert runs[name]["state_type"] == "COMPLETED", runs[name]["state"]


def test_a_worker_gives_the_parameters_of_the_run(runs: dict[str, dict[str, Any]], project: Any) -> None:
    heights = {pl.read_parquet(file).height for file in (project.folder / "data/out/dated").iterdir()}
    assert runs["late"]["state_type"] == "COMPLETED"
    assert heights == {3, 7}


def test_the_date_of_a_run_is_its_scheduled_start_in_the_timezone_of_the_pipeline(
    runs: dict[str, dict[str, Any]], project: Any
) -> None:
    assert runs["late"]["state_type"] == "COMPLETED"
    assert (project.folder / "data/out/dated/2026-01-06_0530.parquet").exists()


def test_a_flow_that_prefect_tries_again_may_replace_what_its_first_try_wrote(
    runs: dict[str, dict[str, Any]], project: Any
) -> None:
    assert (runs["retried"]["state_type"], runs["retried"]["run_count"]) == ("COMPLETED", 2)
    assert pl.read_parquet(project.folder / "data/out/once.parquet").height == 2


def test_a_run_that_is_sent_to_a_worker_again_may_replace_what_it_wrote_before(
    runs: dict[str, dict[str, Any]], project: Any
) -> None:
    assert runs["first try"]["state_type"] == "FAILED"
    assert "broken" in runs["first try"]["state"]["message"]
    assert (runs["by-hand"]["state_type"], runs["by-hand"]["run_count"]) == ("COMPLETED", 2)
    assert pl.read_parquet(project.folder / "data/out/twice.parquet").height == 4


def test_a_given_date_is_a_tag_of_the_run(project: Any, api: Any) -> None:
    project.write(
        "dated.py",
        FLOW.replace("def daily(", "def given(").replace("dated/", "given/")
        + """
if __name__ == "__main__":
    given.run(run_date="2026-02-03T04:05")
""",
    )
    project.run("dated.py")
    (run,) = api.flow_runs("given")
    assert run["tags"] == ["glacier:run_date=2026-02-03T04:05:00+09:00"]
    assert (project.folder / "data/out/given/2026-02-03_0405.parquet").exists()


def test_a_run_with_the_tag_of_a_date_is_run_for_that_date(project: Any, api: Any) -> None:
    project.write("tagged.py", FLOW.replace("def daily(", "def tagged(").replace("dated/", "tagged/"))
    flow_id = api.post("/flows/", name="tagged")["id"]
    made = api.post("/flow_runs/", flow_id=flow_id, tags=["glacier:run_date=2026-03-04T05:06:00+09:00"])
    code = f"""
import uuid
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from tagged import tagged
with get_client(sync_client=True) as client:
    run = client.read_flow_run(uuid.UUID({made["id"]!r}))
run_flow(tagged.flow, flow_run=run, parameters={{"count": 1}})
"""
    project.run("-c", code)
    assert (project.folder / "data/out/tagged/2026-03-04_0506.parquet").exists()


def test_prefects_own_deploy_command_registers_a_pipeline(deployed: dict[str, str], project: Any, api: Any) -> None:
    command = ("-m", "prefect", "--no-prompt", "deploy", "flow.py:daily.flow", "--name", "by-command")
    project.run(*command, "--pool", "processes")
    made = api.get("/deployments/name/daily/by-command")
    assert made["entrypoint"] == "flow.py:daily.flow"
    assert made["parameter_openapi_schema"]["properties"]["count"]["default"] == 3
