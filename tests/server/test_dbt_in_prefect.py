"""What dbt's nodes look like in Prefect while they run and afterwards: task runs, edges, logs, cancellation."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("dbt"),
    pytest.mark.skipif(importlib.util.find_spec("dbt") is None, reason="needs the extra dbt"),
]
PROJECT = Path(__file__).parents[1] / "executors" / "dbt_project"
FLOW = """
from datetime import datetime
import polars as pl
from glacier_prefect import DbtExecutor, Pipeline, pipeline, task

@task
def load() -> pl.LazyFrame:
    return pl.LazyFrame({"order_id": [1], "customer_id": [2], "cents": [5], "ordered_at": [datetime(2026, 1, 1)]})

@task(executor=DbtExecutor(project_dir="shop", returns="customers_by_amount"))
def models(orders): ...

@task
def last(frame):
    assert frame.collect().height == 3

@pipeline
def dbt_shop():
    last(models(load()))

@task(executor=DbtExecutor(project_dir="broken"), retries=1)
def fails(): ...

dbt_broken = Pipeline("dbt-broken", tasks=[fails])

@task(executor=DbtExecutor(project_dir="slow"))
def slow(): ...

dbt_slow = Pipeline("dbt-slow", tasks=[slow])
"""


@pytest.fixture(scope="module")
def written(project: Any) -> Any:
    shutil.copytree(PROJECT, project.folder / "shop")
    for name in ("broken", "slow"):
        project.write(f"{name}/dbt_project.yml", f"name: {name}\nversion: '1.0'\nconfig-version: 2\n")
    project.write("broken/models/fine.sql", "select 1 as a")
    project.write("broken/models/wrong.sql", "select nothing from {{ ref('fine') }}")
    project.write("broken/models/after.sql", "select * from {{ ref('wrong') }}")
    query = "select count(*) as n from range(400000000000) as t(i) where i % 7 = 3"
    project.write("slow/models/endless.sql", "{{ config(materialized='table') }} " + query)
    project.write("flow.py", FLOW)
    return project


def test_every_node_is_a_task_run_with_its_time_log_and_edges(written: Any, api: Any, wait_until: Any) -> None:
    written.run("-c", "import flow; flow.dbt_shop.run()")
    (run,) = api.flow_runs("dbt-shop")
    assert run["state_type"] == "COMPLETED"
    nodes = {
        "seed customers",
        "seed countries",
        "model stg_customers",
        "model stg_orders",
        "model all_orders",
        "model int_customer_orders",  # ephemeral: only compiled, and so without a log
        "model customers_by_amount",
        "model engine",
        "snapshot customer_history",
        "test amounts_are_positive",
        "test unique_stg_orders_order_id",
        "test not_null_stg_orders_order_id",
        "test unique_customers_by_amount_customer_id",
        "test relationships_stg_orders_customer_id__customer_id__ref_stg_customers_",
        "unit_test no_orders_count_as_none",
    }
    found = api.task_runs(run["id"], *nodes)
    assert set(found) == {*nodes, "load", "models", "last"}
    assert {found[name]["state_type"] for name in nodes} == {"COMPLETED"}
    around = found["models"]
    for name in nodes:
        assert around["start_time"] <= found[name]["start_time"] < found[name]["end_time"] <= around["end_time"]
        assert found[name]["total_run_time"] > 0
        assert found[name]["task_inputs"]["__parents__"] == [{"input_type": "task_run", "id": around["id"]}]

    def before(name: str) -> set[str]:
        names = {each["id"]: each["name"] for each in found.values()}
        return {names[each["id"]] for each in found[name]["task_inputs"].get("depends_on", ())}

    assert before("model stg_customers") == {"seed customers"}
    assert before("model int_customer_orders") == {"model stg_orders"}
    upstream = {"model stg_customers", "seed countries", "model int_customer_orders"}
    assert before("model customers_by_amount") == upstream
    assert before("snapshot customer_history") == {"seed customers"}
    assert before("test amounts_are_positive") == {"model stg_orders"}
    assert before("model engine") == set()

    def logged() -> dict[str, list[str]] | None:
        logs = api.post("/logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}}, limit=200)
        texts: dict[str, list[str]] = {}
        for log in logs:
            texts.setdefault(log["task_run_id"], []).append(log["message"])
        logging = nodes - {"model int_customer_orders"}
        return texts if {found[name]["id"] for name in logging} <= texts.keys() else None

    logs = wait_until(logged, "the logs of all nodes")
    (said,) = logs[found["model engine"]["id"]]  # one record for each node
    assert "START sql table model main.engine" in said
    assert "OK created sql table model main.engine" in said
    assert any("Found 6 models" in text for text in logs[around["id"]])


def test_a_failed_node_a_skipped_one_and_a_retry_are_seen_as_such(written: Any, api: Any, wait_until: Any) -> None:
    done = written.run("-c", "import flow; flow.dbt_broken.run()", check=False)
    assert done.returncode == 1
    (run,) = api.flow_runs("dbt-broken")
    assert run["state_type"] == "FAILED"
    assert "dbt failed in task 'fails' (executor 'dbt'" in run["state"]["message"]
    assert "model.broken.wrong: " in run["state"]["message"]

    def ended() -> Any:
        runs = api.post("/task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}})
        states = sorted((each["name"], each["state_name"]) for each in runs if each["name"] != "fails")
        return states if len(states) == 5 and all(state != "Running" for _, state in states) else None

    assert wait_until(ended, "the task runs of both attempts") == [
        ("model after", "Skipped"),
        ("model after", "Skipped"),
        ("model fine", "Completed"),  # which dbt's retry leaves out
        ("model wrong", "Failed"),
        ("model wrong", "Failed"),
    ]


def test_a_run_that_is_cancelled_over_the_api_stops_dbt(written: Any, api: Any, wait_until: Any) -> None:
    import duckdb

    with written.running("-c", "import flow; flow.dbt_slow.serve('d')") as said:
        deployment = wait_until(lambda: api.deployment("dbt-slow/d"), "the deployment")
        created = api.post(f"/deployments/{deployment['id']}/create_flow_run")

        def running() -> Any:
            runs = api.post("/task_runs/filter", flow_runs={"id": {"any_": [created["id"]]}})
            return any(each["name"] == "model endless" and each["state_name"] == "Running" for each in runs)

        wait_until(running, "the endless model to be seen running")
        api.post(
            f"/flow_runs/{created['id']}/set_state", state={"type": "CANCELLING", "name": "Cancelling"}, force=True
        )
        run = api.finished(created["id"], 60)
        assert run["state_type"] == "CANCELLED", (run["state"], said())
        states = {name: each["state_name"] for name, each in api.task_runs(created["id"], "model endless").items()}
        assert states["model endless"] in ("Cancelled", "Failed")
    (file,) = written.folder.rglob("slow.duckdb")

    def is_free() -> bool:
        try:
            duckdb.connect(str(file)).close()
        except duckdb.IOException:  # dbt has it open
            return False
        return True

    wait_until(is_free, "the warehouse to be free", 20)
