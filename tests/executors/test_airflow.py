"""The settings of the Airflow executor, and operators that Airflow executes in an environment of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from glacier_prefect import AirflowExecutor, Pipeline, pipeline, task
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import (
    ArgumentsError,
    ConfigurationError,
    GlacierError,
    NotAvailableError,
    OptionError,
    RemoteFailed,
    TravelError,
)
from glacier_prefect.testing import Bodies, ExecutorContract, ValueContract
from tests.executors import airflow_server
from tests.executors.contract_bodies import FAIL, LIVE, UnderTheServer, bodies_in
from tests.server.conftest import Project, eventually

slow = pytest.mark.slow

OPERATORS = """
import os, time
from pathlib import Path
from glacier_prefect import AirflowExecutor, task

on = AirflowExecutor(python="PYTHON")

def operator(function, *arguments):
    from airflow.providers.standard.operators.python import PythonOperator
    return PythonOperator(task_id=function.__name__, python_callable=function, op_args=arguments)

FUNCTIONS
def one_more(given):
    return given + 1

@task(executor=on)
def values(number):
    return operator(one_more, number)

@task(executor=on)
def failing():
    return operator(deep_inside)

@task(executor=on)
def slow(where):
    return operator(live, where, 100)

@task(executor=on)
def brief(where):
    return operator(live, where, 6)

@task(executor=on)
def third_time(where):
    return operator(fail_twice, where)
""".replace("FUNCTIONS", LIVE + FAIL.replace("WHERE", "where"))


def run_of(executor: AirflowExecutor, function: Any, *arguments: Any, **options: Any) -> Any:
    """Run a task of a function in a pipeline."""
    node = task(function, executor=executor, **options)

    @pipeline(name="alone")
    def alone() -> Any:
        return node(*arguments)

    return alone.run()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory; no variables of the machine's user are seen."""
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- without Airflow ---------------------------------------------------------------------------------------------------

URL = "http://127.0.0.1:9"


def made_of_nothing() -> None: ...


def an_operator(name: str) -> Any:
    return name


def takes_a_frame(frame: pl.LazyFrame) -> Any:
    return frame


def a_text() -> str:
    return "text"


@pytest.mark.parametrize(
    ("settings", "function", "word"),
    [
        ({}, an_operator, "needs python or dag_id"),
        ({"dag_id": "daily"}, an_operator, "no url"),
        ({"dag_id": "daily", "python": "python"}, an_operator, "expected one of them"),
        ({"dag_id": "daily", "url": "airflow"}, an_operator, "expected one as"),
        ({"dag_id": "daily", "url": "http://u:pass-of-mine@airflow"}, an_operator, "user or password in it"),
        ({"dag_id": "daily", "url": URL}, a_text, "would ignore"),
        ({"python": "python", "task_id": "last"}, an_operator, "no dag_id"),
        ({"python": "python"}, made_of_nothing, "returns an Airflow operator"),
        ({"python": "python"}, a_text, "returns an Airflow operator"),
        ({"python": "python"}, takes_a_frame, "frames do not go to Airflow"),
        ({"python": 3}, an_operator, "python=3"),
        ({"python": "python", "poll_seconds": 0}, an_operator, "poll_seconds=0"),
    ],
)
def test_what_cannot_work_is_an_error_at_the_decorator(
    folder: Path, settings: dict[str, Any], function: Any, word: str
) -> None:
    with pytest.raises(OptionError, match=word) as raised:
        task(function, executor=AirflowExecutor(**settings))
    assert "pass-of-mine" not in str(raised.value)


def test_an_environment_may_have_settings_for_both_ways_and_code_chooses(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "[environments.dev.executors.airflow]\n"
    Path("glacier.toml").write_text(f"{settings}python = 'af/bin/python'\nurl = '{URL}'\n")

    def executor_of(call: Any) -> Any:
        return next(iter(Pipeline("alone", tasks=[call]).graph.nodes.values())).executor

    operators = executor_of(task(lambda: an_operator("x"), name="a", executor="airflow"))
    assert (operators.python, operators.dag_id) == (str(folder / "af/bin/python"), None)
    runs = executor_of(task(made_of_nothing, executor=AirflowExecutor(dag_id="daily")))
    assert (runs.python, runs.dag_id, runs.url) == (None, "daily", URL)
    Path("glacier.toml").write_text(f"{settings}python = 'af/bin/python'\ndag_id = 'daily'\n")
    with pytest.raises(ConfigurationError, match=r"executors.airflow\].*expected one of them"):
        task(an_operator, executor="airflow")


def test_a_user_without_a_password_is_told_what_to_set(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="AIRFLOW_USERNAME") as raised:
        run_of(AirflowExecutor(dag_id="daily", url=URL, username="me"), made_of_nothing)
    assert "AIRFLOW_PASSWORD" in str(raised.value)
    assert "AIRFLOW_TOKEN" in str(raised.value)


def test_a_missing_client_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_TOKEN", "a-token-of-this-test")
    monkeypatch.setitem(sys.modules, "airflow_client.client", None)
    with pytest.raises(NotAvailableError, match=r"'made_of_nothing'.*\n.*glacier-prefect\[airflow\]"):
        run_of(AirflowExecutor(dag_id="daily", url=URL), made_of_nothing)


@pytest.mark.parametrize(("made", "error"), [([1], ArgumentsError), ({"at": {1}}, TravelError)])
def test_what_cannot_be_a_conf_is_an_error_before_airflow_is_asked(
    folder: Path, made: Any, error: type[GlacierError]
) -> None:
    with pytest.raises(error, match="conf"):
        run_of(AirflowExecutor(dag_id="daily", url=URL), lambda: made, name="made")


@pytest.mark.parametrize(
    ("python", "error", "word"),
    [
        (
            "there/python",
            ConfigurationError,
            "names the Python of a virtual environment in which Airflow 3 is installed",
        ),
        (sys.executable, RemoteFailed, "Airflow 3 is not installed in the environment of"),
    ],
)
def test_a_python_that_is_missing_or_without_airflow_says_what_it_should_be(
    folder: Path, python: str, error: type[GlacierError], word: str
) -> None:
    with pytest.raises(error, match="Task 'named' on executor 'airflow'") as raised:
        run_of(AirflowExecutor(python=python), an_operator, "x", name="named")
    assert " ".join(word.split()) in " ".join(str(raised.value).split())
    assert not list(folder.rglob("airflow-*"))


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """The value of a secret that this process has read."""
    monkeypatch.setattr(redaction, "_values", {})  # what is revealed here is masked in no other test
    monkeypatch.setattr(redaction, "_pattern", None)
    redaction.reveal("planted-in-an-operator")
    return "planted-in-an-operator"


def test_the_value_of_a_secret_does_not_go_to_airflow(folder: Path, secret: str) -> None:
    executor = AirflowExecutor(python="python")
    has_it = "of task 'named' on executor 'airflow' has the value of a secret"
    with pytest.raises(TravelError, match=f"The argument 'name' {has_it}"):
        run_of(executor, an_operator, secret, name="named")
    with pytest.raises(TravelError, match=f"The function, or something that it uses, {has_it}"):
        run_of(executor, lambda: an_operator(secret), name="named")
    assert not list(folder.rglob("airflow-*"))


def test_runs_of_an_existing_airflow_need_their_secrets(folder: Path) -> None:
    runs = AirflowExecutor(dag_id="daily", url=URL)
    assert runs.secrets == ("AIRFLOW_PASSWORD", "AIRFLOW_TOKEN")
    assert AirflowExecutor(python="python").secrets == ()
    assert AirflowExecutor(dag_id="daily", credentials_block="of-airflow").secrets == ()
    alone = Pipeline("alone", tasks=[task(made_of_nothing, executor=runs)])
    assert alone.analyze()["nodes"][0]["secrets"] == ["AIRFLOW_PASSWORD", "AIRFLOW_TOKEN"]


# -- operators ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def python() -> str:
    """The Python of Airflow's environment."""
    return airflow_server.airflow_python()


@slow
class TestOperators(UnderTheServer, ExecutorContract, ValueContract):
    outlives: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, python: str, marks: Path) -> Bodies:
        return bodies_in(marks, OPERATORS.replace("PYTHON", python))


@slow
def test_an_operator_is_rendered_connected_deferred_and_retried_by_airflow(
    python: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", "http://reader:hidden-password@warehouse.example/")
    monkeypatch.setenv("AIRFLOW_VAR_SEASON", "winter")

    def steps(number: int) -> Any:
        from airflow.providers.standard.operators.bash import BashOperator
        from airflow.providers.standard.operators.python import PythonOperator
        from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync

        tried = []

        def second_time() -> dict[str, Any]:
            tried.append(1)
            if len(tried) < 2:
                raise ValueError("not yet")
            return {"tries": len(tried), "number": number}

        soon = "{{ macros.datetime.now(macros.dateutil.tz.UTC) + macros.timedelta(seconds=1) }}"
        first = PythonOperator(task_id="first", python_callable=second_time, retries=1, retry_delay=0.5)
        wait = DateTimeSensorAsync(task_id="wait", target_time=soon)
        last = BashOperator(
            task_id="last",
            bash_command="echo {{ params.x }} {{ ti.xcom_pull('first')['tries'] }} {{ conn.warehouse.host }} "
            "{{ var.value.season }} {{ ds | length }}",
            params={"x": number},
        )
        first >> wait >> last
        return last

    assert run_of(AirflowExecutor(python=python), steps, 7) == "7 2 warehouse.example winter 10"
    assert "Running command: ['/usr/bin/bash'" in caplog.text
    assert "hidden-password" not in caplog.text
    assert [each.name for each in (folder / "data/.glacier/airflow").iterdir()] == ["airflow-3.3.2.db"]


@slow
def test_what_is_no_operator_or_not_installed_there_is_an_error_that_says_so(python: str, folder: Path) -> None:
    def given(name: str) -> Any:
        if name == "module":
            import a_module_that_nobody_has  # noqa: F401  # it is enough to try
        return name

    executor = AirflowExecutor(python=python)
    with pytest.raises(RemoteFailed, match=r"Task 'given'.*its function returned str; expected an Airflow operator"):
        run_of(executor, given, "text")
    with pytest.raises(RemoteFailed, match=r"(?s)Task 'given'.*No module named 'a_module_that_nobody_has'"):
        run_of(executor, given, "module")

    @task
    def frame() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]})

    @pipeline
    def with_a_frame() -> Any:
        return task(given, executor=executor)(frame())

    with pytest.raises(TravelError, match="given a frame as 'name'"):
        with_a_frame.run()


@slow
def test_the_value_of_a_secret_does_not_come_back_from_airflow(
    python: str, folder: Path, secret: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_SEASON", secret)

    def telling() -> Any:
        from airflow.providers.standard.operators.bash import BashOperator

        return BashOperator(task_id="telling", bash_command="echo it is {{ var.value.season }}")

    with pytest.raises(
        TravelError, match="The result of task 'telling' on executor 'airflow' has the value of a secret"
    ):
        run_of(AirflowExecutor(python=python), telling)
    assert f"it is {redaction.MASK}" in caplog.text
    assert secret not in caplog.text


KILLED = """
from pathlib import Path
from glacier_prefect import AirflowExecutor, pipeline, task

@task(executor=AirflowExecutor(python=PYTHON))
def sleeping():
    from airflow.sdk import BaseOperator

    class Sleeping(BaseOperator):
        def execute(self, context):
            import os, time
            Path("begun").write_text(str(os.getpid()))
            time.sleep(100)

        def on_kill(self):
            Path("killed").touch()

    return Sleeping(task_id="sleeping")

@pipeline
def killed():
    sleeping()

if __name__ == "__main__":
    killed.run()
"""


@slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_the_operators_on_kill_is_called_when_its_run_is_stopped_or_killed(
    python: str, offline: Project, sent: signal.Signals
) -> None:
    for name in ("begun", "killed"):
        (offline.folder / name).unlink(missing_ok=True)
    flow = offline.write("flow.py", KILLED.replace("PYTHON", repr(python)))
    process = subprocess.Popen(
        [sys.executable, str(flow)],
        cwd=offline.folder,
        env=offline.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        pid = int(
            eventually(
                lambda: (offline.folder / "begun").exists() and (offline.folder / "begun").read_text(),
                "the operator",
                150,
            )
        )
        process.send_signal(sent)
        eventually((offline.folder / "killed").exists, "on_kill", 30)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the operator", 30)
    finally:
        process.kill()
        process.wait()
