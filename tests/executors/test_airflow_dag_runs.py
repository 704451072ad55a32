"""DAG runs of a real Airflow, which runs in an environment of its own: one for all tests of this file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect import AirflowExecutor, pipeline, task
from glacier_prefect.errors import RemoteDenied, RemoteFailed, RemoteUnreachable
from glacier_prefect.testing import Bodies, ExecutorContract, ValueContract
from tests.executors import airflow_faults, airflow_server
from tests.executors.airflow_server import PASSWORDS, Airflow
from tests.executors.contract_bodies import UnderTheServer, bodies_in
from tests.executors.test_airflow import made_of_nothing, run_of
from tests.server.conftest import Project

pytestmark = pytest.mark.slow
PASSWORD = PASSWORDS["operator"]

DAG_RUNS = """
from glacier_prefect import AirflowExecutor, task

def on(dag):
    return AirflowExecutor(dag_id=dag, url="URL", username="operator", poll_seconds=1)

@task(executor=on("values"))
def values(number):
    return {"number": number}

@task(executor=on("failing"))
def failing():
    pass

@task(executor=on("slow"))
def slow(where):
    return {"where": where, "marks": "MARKS"}

@task(executor=on("brief"))
def brief(where):
    return {"where": where, "marks": "MARKS"}

@task(executor=on("third_time"))
def third_time(where):
    return {"where": where, "marks": "MARKS"}
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """A real Airflow."""
    with airflow_server.running(airflow_server.airflow_python(), tmp_path_factory.mktemp("airflow")) as started:
        yield started


@pytest.fixture
def on(airflow: Airflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes an executor that runs a DAG; no variables of the machine's user are seen."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW_PASSWORD", PASSWORD)

    def made(dag: str, **settings: Any) -> AirflowExecutor:
        return AirflowExecutor(
            **{"dag_id": dag, "url": airflow.url, "username": "operator", "poll_seconds": 1, **settings}
        )

    return made


class TestDagRuns(UnderTheServer, ExecutorContract, ValueContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, airflow: Airflow, marks: Path) -> Bodies:
        return bodies_in(marks, DAG_RUNS.replace("URL", airflow.url), env={"AIRFLOW_PASSWORD": PASSWORD})


def test_the_result_is_what_the_last_tasks_returned_or_the_one_that_is_named(
    on: Any, caplog: pytest.LogCaptureFixture
) -> None:
    whole = task(lambda: {"factor": 2}, name="whole", executor=on("branches"))
    named = task(lambda: None, name="named", executor=on("branches", task_id="doubled"))

    @pipeline
    def both() -> Any:
        return whole(), named()

    assert both.run() == ({"doubled": [4, 8, 12], "silent": None, "total": {"total": 12}}, [2, 4, 6])
    assert "doubled[2]: success" in caplog.text
    assert "numbers: making numbers" in caplog.text
    assert "whole: 100%" in caplog.text


def test_a_failure_names_the_run_its_page_and_the_task_instance_with_its_last_lines(on: Any, airflow: Airflow) -> None:
    with pytest.raises(RemoteFailed) as raised:
        run_of(on("failing"), made_of_nothing, name="report")
    said = str(raised.value)
    for part in (
        f"({airflow.url}/dags/failing/runs/glacier-",
        "task 'report' on executor 'airflow'",
        "1 of 1 task instances failed: failing",
        "in deep_inside",
        "ValueError: broken on purpose",
    ):
        assert part in said


def test_a_dag_that_is_missing_paused_or_lacks_the_task_is_not_run(on: Any, airflow: Airflow) -> None:
    for executor, words in (
        (on("brunches"), ("no DAG 'brunches'", "'branches'")),
        (on("asleep"), ("'asleep' is paused", f"{airflow.url}/dags/asleep")),
        (on("branches", task_id="totals"), ("no task 'totals'", "'total'")),
    ):
        with pytest.raises(RemoteFailed, match="task 'report' on executor 'airflow'") as raised:
            run_of(executor, made_of_nothing, name="report")
        assert all(word in str(raised.value) for word in words), raised.value


def test_who_may_not_is_told_so_without_a_secret(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READERS", PASSWORDS["reader"])
    monkeypatch.setenv("WRONG", "a-wrong-password")
    monkeypatch.setenv("STALE", "not-a-token-any-more")
    for settings, word in (
        ({"username": "reader", "password_secret": "READERS"}, "does not allow it: trigger_dag_run gave 403"),
        ({"username": "operator", "password_secret": "WRONG"}, "does not let the user 'operator' in: 401"),
        ({"token_secret": "STALE"}, "get_dag gave 403, Invalid JWT token"),
    ):
        executor = on("values", **settings)
        with pytest.raises(RemoteDenied, match=word) as raised:
            run_of(executor, lambda: {"number": 1}, name="report")
        for secret in (PASSWORDS["reader"], "a-wrong-password", "not-a-token-any-more"):
            assert secret not in f"{raised.value}{executor!r}"


def test_the_user_may_be_in_a_block_of_prefect(airflow: Airflow, project: Project) -> None:
    project.write(
        "flow.py",
        f"""
        from prefect.blocks.system import Secret
        from glacier_prefect import AirflowExecutor, pipeline, task

        Secret(value={{"username": "operator", "password": {PASSWORD!r}}}).save("airflow", overwrite=True)

        @task(executor=AirflowExecutor(dag_id="values", url={airflow.url!r}, credentials_block="airflow"))
        def values():
            return {{"number": 41}}

        @pipeline
        def by_block():
            return values()

        print("found", by_block.run())
        """,
    )
    assert "found 42" in project.run("flow.py").stdout


def test_one_dag_run_comes_of_a_lost_answer_a_busy_api_and_one_that_is_gone_for_a_while(
    on: Any, airflow: Airflow, tmp_path: Path
) -> None:
    bodies = bodies_in(tmp_path, "")

    def conf() -> dict[str, str]:
        return {"where": "faulty", "marks": str(tmp_path)}

    with airflow_faults.in_front_of(airflow.url) as faults:
        faults.planned["POST", "/dagRuns"] = [503, "lost"]
        faults.planned["GET", "/taskInstances"] = [429, 503, "reset", "lost", 401]
        assert run_of(on("brief", url=faults.url), conf) is None
        posts = [path for method, path in faults.asked if method == "POST" and "/dagRuns" in path]
    assert len(posts) == 3
    assert not any(faults.planned.values())
    assert bodies.begun("faulty") == 1


def test_a_retry_takes_up_the_run_when_the_api_was_gone_for_longer_than_patience(
    on: Any, airflow: Airflow, tmp_path: Path
) -> None:
    bodies, errors = bodies_in(tmp_path, ""), []

    def conf() -> dict[str, str]:
        return {"where": "gone", "marks": str(tmp_path)}

    with airflow_faults.in_front_of(airflow.url) as faults:

        def again(_: Any, __: Any, state: Any) -> bool:
            errors.append(state.result(raise_on_failure=False))
            faults.planned.clear()
            return True

        faults.planned["GET", "/dagRuns/glacier-"] = ["reset"] * 1000
        executor = on("brief", url=faults.url, patience_seconds=3)
        run_of(executor, conf, name="report", retries=1, retry_condition_fn=again)
    assert isinstance(errors[0], RemoteUnreachable)
    assert "of task 'report' on executor 'airflow': airflow did not answer for 3 s" in str(errors[0])
    assert bodies.begun("gone") == 1
