"""The dbt executor with real dbt on a real DuckDB, without a Prefect server."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect import DbtExecutor, Pipeline, pipeline, run_context, task
from glacier_prefect.errors import ArgumentsError, ConfigurationError, NotAvailableError, OptionError
from glacier_prefect.executors import Body
from glacier_prefect.executors.dbt import DbtError

pytestmark = pytest.mark.skipif(importlib.util.find_spec("dbt") is None, reason="needs the extra dbt")
PROJECT = Path(__file__).with_name("dbt_project")
ORDERS = {
    "order_id": [1, 2, 3],
    "customer_id": [1, 1, 2],
    "cents": [100, 250, 1000],
    "ordered_at": [datetime(2026, 1, day) for day in (1, 2, 3)],
}
SLOW = "{{ config(materialized='table') }} select sleep_ms(100000) as n"  # which can be cancelled, and costs nothing


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a copy of the project; no profile of the machine's user is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shutil.copytree(PROJECT, tmp_path / "shop")
    return tmp_path


@pytest.fixture
def small(folder: Path) -> Path:
    """A project of one model, which parses sooner."""
    project = folder / "small"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: small\nversion: '1.0'\nconfig-version: 2\nprofile: small\n")
    (project / "models" / "one.sql").write_text("select 1 as a")
    return project


@task
def orders() -> pl.LazyFrame:
    return pl.LazyFrame(ORDERS)


def run_of(project: Path | str, *, retries: int = 0, timeout: float | None = None, **settings: Any) -> Any:
    """Run a pipeline of one dbt task without a function of its own."""

    @task(executor=DbtExecutor(project_dir=project, **settings), retries=retries, timeout_seconds=timeout)
    def models() -> None: ...

    return Pipeline("alone", tasks=[models]).run()


def last_run(project: Path) -> dict[str, str]:
    """Return the statuses of the nodes of dbt's last run, by the last part of their names."""
    results = json.loads((project / "target" / "run_results.json").read_text())["results"]
    return {each["unique_id"]: each["status"] for each in results}


def digest(project: Path) -> dict[str, str]:
    files = [file for file in project.rglob("*") if file.is_file() and file.parts[len(project.parts)] in USERS]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


USERS = {"dbt_project.yml", "models", "seeds", "snapshots", "macros", "tests"}


@contextmanager
def database(file: Path) -> Iterator[Any]:
    """Open a DuckDB file, which no other process may have open."""
    import duckdb

    connection = duckdb.connect(str(file))
    try:
        yield connection
    finally:
        connection.close()


# -- what it does ------------------------------------------------------------------------------------------------------


def test_a_project_of_realistic_shape_runs_unchanged_and_a_frame_goes_in_and_comes_out(folder: Path) -> None:
    """Seeds, staging views, marts, an ephemeral and an incremental model, tests, a unit test, a snapshot, a macro."""
    before = digest(folder / "shop")
    given: list[pl.LazyFrame] = []

    @task
    def today() -> pl.LazyFrame:
        return given[-1]

    @task(executor=DbtExecutor(project_dir="shop", returns=["customers_by_amount", "all_orders", "engine"]))
    def models(orders: pl.LazyFrame) -> None: ...

    @pipeline
    def daily() -> Any:
        return models(today())

    given.append(pl.LazyFrame(ORDERS))
    first = daily.run()
    expected = (
        pl.DataFrame(ORDERS)
        .group_by("customer_id")
        .agg(pl.len().cast(pl.Int64).alias("orders"), (pl.col("cents").sum() / 100).alias("amount"))
    )
    got = first["customers_by_amount"].filter(pl.col("orders") > 0).select("customer_id", "orders", "amount")
    assert got.cast({"amount": pl.Float64}).collect().sort("customer_id").equals(expected.sort("customer_id"))
    assert first["engine"].collect().rows() == [("dbt-duckdb", "none")]
    ran = last_run(folder / "shop")
    kinds = {name.split(".")[0] for name in ran}
    assert kinds == {"model", "seed", "snapshot", "test", "unit_test"}
    assert set(ran.values()) == {"success", "pass"}

    given.append(
        pl.LazyFrame({**ORDERS, "order_id": [3, 4, 5], "ordered_at": [datetime(2026, 1, d) for d in (1, 4, 5)]})
    )
    second = daily.run()
    assert second["all_orders"].collect()["order_id"].sort().to_list() == [1, 2, 3, 4, 5]  # 3 is old, so not again
    assert digest(folder / "shop") == before
    with database(folder / "data/.glacier/dbt/shop.duckdb") as opened:
        assert opened.execute("select count(*) from customer_history where dbt_valid_to is null").fetchone() == (3,)


def test_what_the_function_returns_is_the_selection_and_beats_the_executors_own(folder: Path) -> None:
    @task(executor=DbtExecutor(project_dir="shop", select="customers", vars={"marker": "here"}, returns="engine"))
    def models() -> list[str]:
        return ["engine", "countries"]

    assert Pipeline("alone", tasks=[models]).run().collect().rows() == [("dbt-duckdb", "here")]
    assert set(last_run(folder / "shop")) == {"model.shop.engine", "seed.shop.countries"}
    assert run_of("shop", select=["customers", "countries"], exclude="countries") is None
    assert set(last_run(folder / "shop")) == {"seed.shop.customers"}


def test_an_empty_frame_keeps_its_schema_and_a_source_of_the_projects_own_gets_the_frame(small: Path) -> None:
    (small / "models" / "one.sql").write_text("select * from {{ source('glacier', 'orders') }}")
    (small / "models" / "sources.yml").write_text("sources: [{name: glacier, tables: [{name: orders}]}]")

    @task
    def nothing() -> pl.LazyFrame:
        return pl.LazyFrame(ORDERS).clear()

    @task(executor=DbtExecutor(project_dir=small, returns={"kept": "one"}))
    def models(orders: pl.LazyFrame) -> None: ...

    @pipeline
    def daily() -> Any:
        return models(nothing())

    frame = daily.run()["kept"].collect()
    assert frame.schema == pl.Schema(
        {**dict.fromkeys(["order_id", "customer_id", "cents"], pl.Int64), "ordered_at": pl.Datetime("us")}
    )
    assert frame.height == 0


def test_a_project_with_a_profile_uses_it_and_a_database_in_memory_is_read_back(small: Path) -> None:
    (small / "profiles.yml").write_text("small: {target: a, outputs: {a: {type: duckdb, path: ':memory:'}}}")
    assert run_of(small, returns="one").collect().rows() == [(1,)]
    assert not Path("data/.glacier/dbt").exists()


OTHER = """
from dataclasses import dataclass
from pathlib import Path
from dbt.adapters.base import AdapterPlugin
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.impl import DuckDBAdapter

class Manager(DuckDBConnectionManager):
    TYPE = "other"

@dataclass
class Credentials(DuckDBCredentials):
    @property
    def type(self):
        return "other"

class OtherAdapter(DuckDBAdapter):
    ConnectionManager = Manager

include = str(Path(__file__).parent / "include")
Plugin = AdapterPlugin(OtherAdapter, Credentials, include_path=include, dependencies=["duckdb"])
"""


def test_any_other_adapter_works_but_frames_do_not_go_into_its_warehouse(
    small: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real adapter of another name (of another warehouse there is none here): rows come back by its driver."""
    adapter = folder / "packages" / "dbt" / "adapters" / "other"
    (adapter / "include" / "macros").mkdir(parents=True)
    (adapter / "__init__.py").write_text(OTHER)
    (adapter / "__version__.py").write_text("version = '1.0.0'")
    (adapter / "include" / "dbt_project.yml").write_text("name: dbt_other\nversion: '1.0'\nconfig-version: 2\n")
    monkeypatch.setenv("PYTHONPATH", str(folder / "packages"))
    (small / "profiles.yml").write_text("small: {target: a, outputs: {a: {type: other, path: other.duckdb}}}")
    (small / "models" / "one.sql").write_text(
        "select 1 as a, 2.50::decimal(9, 2) as b, date '2026-01-31' as c, null as d"
    )
    rows = [(1, Decimal("2.50"), date(2026, 1, 31), None)]
    assert run_of(small, returns="one").collect().rows() == rows

    @task(executor=DbtExecutor(project_dir=small))
    def models(orders: pl.LazyFrame) -> None: ...

    @pipeline
    def daily() -> Any:
        return models(orders())

    with pytest.raises(DbtError, match=r"frames cannot become sources of dbt's adapter 'other'; .* \(orders\)"):
        daily.run()


def test_the_batches_of_a_microbatch_model_count_as_one_node(small: Path, folder: Path) -> None:
    seen: list[tuple[str, str]] = []

    class Shown:
        """What `engine.InnerRuns` is with a server."""

        def log(self, *_: Any) -> None: ...
        def close(self) -> None: ...

        def start(self, node: str, *_: Any) -> None:
            seen.append(("start", node))

        def end(self, node: str, at: float, outcome: str, *_: Any) -> None:
            seen.append((outcome, node))

    (small / "models" / "one.sql").write_text("{{ config(event_time='moment') }} select current_timestamp as moment")
    (small / "models" / "parts.sql").write_text(
        "{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='moment',"
        " batch_size='day', begin=(modules.datetime.datetime.now() - modules.datetime.timedelta(days=2))"
        ".strftime('%Y-%m-%d')) }}"
        "select * from {{ ref('one') }}"
    )
    context = run_context.RunContext(run_id="r", node="models", exchange=str(folder / ".glacier" / "exchange" / "r"))
    shown = run_context.inner.set(Shown)
    try:
        with run_context.entered(context):
            dbt = DbtExecutor(project_dir=small)
            dbt.run(Body(function=lambda: None))
            (small / "models" / "one.sql").write_text("{{ config(event_time='moment') }} select 1 as other")
            with pytest.raises(DbtError, match=r'(?s)model.small.parts: .*column "moment" not found'):
                dbt.run(Body(function=lambda: None))
    finally:
        run_context.inner.reset(shown)
    assert seen[:4] == [(what, f"model.small.{name}") for name in ("one", "parts") for what in ("start", "completed")]


def test_the_executors_name_takes_the_environments_settings(small: Path, folder: Path) -> None:
    (folder / "glacier.toml").write_text('[environments.dev.executors.dbt]\nproject_dir = "small"\nreturns = "one"\n')

    @task(executor="dbt")
    def models() -> None: ...

    assert Pipeline("alone", tasks=[models]).run().collect().rows() == [(1,)]


def test_two_dbt_tasks_of_one_run_do_not_get_into_each_others_way(small: Path) -> None:
    (small / "models" / "two.sql").write_text("select 2 as a")

    def models() -> None: ...

    made = [
        task(name=name, executor=DbtExecutor(project_dir=small, select=name, returns=name))(models)
        for name in ("one", "two")
    ]
    assert [each.collect().rows() for each in Pipeline("both", tasks=made).run()] == [[(1,)], [(2,)]]


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_failing_dbt_test_fails_the_task_with_dbts_own_message(folder: Path) -> None:
    (folder / "shop" / "tests" / "countries_are_few.sql").write_text("select * from {{ ref('countries') }}")
    with pytest.raises(DbtError) as raised:
        run_of("shop", select="countries+")
    message = str(raised.value)
    assert f"dbt failed in task 'models' (executor 'dbt', project {folder / 'shop'}): 1 of " in message
    assert "test.shop.countries_are_few: Got 2 results, configured to fail if != 0" in message


def test_a_retry_runs_only_what_failed_and_was_skipped(small: Path) -> None:
    (small / "models" / "read.sql").write_text("select * from read_csv('late.csv')")
    (small / "models" / "after.sql").write_text("select * from {{ ref('read') }}")
    attempts: list[dict[str, str]] = []

    @task(executor=DbtExecutor(project_dir=small, returns="after"), retries=1)
    def models() -> None:
        if (small / "target" / "run_results.json").exists():
            attempts.append(last_run(small))
            (small / "late.csv").write_text("a\n7\n")

    assert Pipeline("alone", tasks=[models]).run().collect().rows() == [(7,)]
    assert attempts == [{"model.small.one": "success", "model.small.read": "error", "model.small.after": "skipped"}]
    assert last_run(small) == {"model.small.read": "success", "model.small.after": "success"}


def test_a_compile_error_is_told_in_dbts_words(small: Path) -> None:
    (small / "models" / "one.sql").write_text("select * from {{ ref('nowhere') }}")
    with pytest.raises(DbtError) as raised:
        run_of(small)
    message = str(raised.value)
    assert f"task 'models' (executor 'dbt', project {small}): Compilation Error" in message
    assert "'model.small.one' (models/one.sql) depends on a node named 'nowhere' which was not found" in message


def test_a_locked_warehouse_is_told_with_what_to_do(small: Path, folder: Path) -> None:
    file = folder / "locked.duckdb"
    (small / "profiles.yml").write_text(f"small: {{target: a, outputs: {{a: {{type: duckdb, path: {file}}}}}}}")
    code = f"import duckdb; held = duckdb.connect({str(file)!r}); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(
            DbtError, match=r"(?s)lock on file.*Hint: another process has the DuckDB file open"
        ) as raised:
            run_of(small)
        for part in ("task 'models'", "executor 'dbt'", str(file), f"PID {holder.pid}"):
            assert part in str(raised.value)
        holder.kill()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"returns": "onee"}, "returns names 'onee', which is no model of the project. Did you mean 'one'?"),
        ({"returns": "fleeting"}, "returns names 'fleeting', which is ephemeral and so in no table"),
        ({"select": "nothing"}, "had nothing to do in task 'models'.*the selection 'nothing' names no enabled node"),
        ({"target": "prod"}, "The profile 'small' does not have a target named 'prod'"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_built(small: Path, settings: Any, message: str) -> None:
    (small / "profiles.yml").write_text("small: {target: a, outputs: {a: {type: duckdb, path: out.duckdb}}}")
    (small / "models" / "fleeting.sql").write_text("{{ config(materialized='ephemeral') }} select 1 as a")
    with pytest.raises(DbtError, match=f"(?s){message}"):
        run_of(small, **settings)
    assert not (small / "target" / "run_results.json").exists() or last_run(small) == {}


def test_a_missing_project_and_a_missing_package_are_told_with_what_to_do(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match=r"no dbt_project.yml in .*/nowhere.\nHint: say where it is"):
        run_of("nowhere")
    monkeypatch.setitem(sys.modules, "dbt", None)
    with pytest.raises(NotAvailableError, match=r"Hint: pip install 'glacier-prefect\[dbt\]'"):
        run_of(small)


def test_a_function_that_dbt_would_ignore_is_an_error_at_the_decorator_else_when_it_returns(small: Path) -> None:
    with pytest.raises(OptionError, match="task 'five' returns 5, which executor 'dbt' would ignore"):

        @task(executor=DbtExecutor(project_dir=small))
        def five() -> int:
            return 5

    with pytest.raises(OptionError, match="task 'each' is a generator"):

        @task(executor=DbtExecutor(project_dir=small))
        def each() -> Iterator[str]:
            yield "one"

    with pytest.raises(OptionError, match="task 'six' returns 6"):

        @task(executor="dbt")
        def six() -> int:
            return 6

    @task(executor=DbtExecutor(project_dir=small))
    def frame() -> pl.LazyFrame:
        return pl.LazyFrame(ORDERS)

    with pytest.raises(ArgumentsError, match=r"Task 'frame' returned LazyFrame.*\nHint: name the model"):
        Pipeline("alone", tasks=[frame]).run()


@pytest.mark.parametrize(
    "settings", [{"threads": 0}, {"select": 5}, {"vars": []}, {"returns": [1]}, {"project_dir": None}, {"target": 1}]
)
def test_a_setting_of_a_wrong_type_is_an_error_where_it_is_written(settings: Any) -> None:
    with pytest.raises(OptionError, match=f"DbtExecutor has {next(iter(settings))}="):
        DbtExecutor(**settings)


def test_an_unknown_setting_in_the_file_is_an_error_with_the_nearest(folder: Path) -> None:
    (folder / "glacier.toml").write_text('[environments.dev.executors.dbt]\nprojectdir = "small"\n')
    with pytest.raises(ConfigurationError, match=r"unknown setting 'projectdir'. Did you mean 'project_dir'"):

        @task(executor="dbt")
        def models() -> None: ...


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"long": pl.Series([1], dtype=pl.Duration("ns"))}, "'long' of type Duration.*a number without a unit"),
        ({"deep": pl.Series([[{"x": 1}]], dtype=pl.List(pl.Struct({"x": pl.Duration("us")})))}, "'deep' of type List"),
        ({"wide": pl.Series([2**100], dtype=pl.Int128)}, "'wide' of type Int128.*bytes.\nHint: cast it"),
        ({"id": [1], "ID": [2]}, "columns 'id' and 'ID', which are one in DuckDB"),
    ],
)
def test_a_frame_that_duckdb_would_read_as_something_else_is_told_before_dbt_is_run(
    small: Path, columns: Any, message: str
) -> None:
    @task
    def given() -> pl.LazyFrame:
        return pl.LazyFrame(columns)

    @task(executor=DbtExecutor(project_dir=small))
    def models(orders: pl.LazyFrame) -> None: ...

    @pipeline
    def daily() -> Any:
        return models(given())

    with pytest.raises(DbtError, match=f"(?s)The frame 'orders' of task 'models' \\(executor 'dbt'\\) has .*{message}"):
        daily.run()
    assert not (small / "target").exists()


def test_dbt_waits_for_that_of_an_attempt_whose_process_was_killed(small: Path, folder: Path) -> None:
    """It may still be about to close the warehouse."""
    context = run_context.RunContext(run_id="r", node="models", exchange=str(folder / ".glacier" / "exchange" / "r"))
    job = Path(context.exchange) / "dbt-models"
    job.mkdir(parents=True)
    (small / "models" / "one.sql").write_text("select * from read_csv('released.csv')")
    code = f"""
import fcntl, time
with open({str(job / "lock")!r}, "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    time.sleep(5)
    open({str(small / "released.csv")!r}, "w").write("a\\n1\\n")
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with run_context.entered(context):
            DbtExecutor(project_dir=small).run(Body(function=lambda: None))


# -- stopping ----------------------------------------------------------------------------------------------------------

FLOW = """
from glacier_prefect import DbtExecutor, Pipeline, task

@task(executor=DbtExecutor(project_dir="small"))
def models(): ...

alone = Pipeline("alone", tasks=[models])

if __name__ == "__main__":
    alone.run()
"""


def test_a_timeout_stops_dbt_and_the_warehouse_is_free(small: Path, folder: Path) -> None:
    (small / "models" / "one.sql").write_text(SLOW)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"dbt of task 'models' .* was stopped after 8 s"):
        run_of(small, timeout=8)
    assert time.monotonic() - start < 16
    with database(folder / "data/.glacier/dbt/small.duckdb") as opened:
        assert opened.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_signal_to_the_process_stops_dbt_too(name: str, small: Path, folder: Path) -> None:
    (small / "models" / "one.sql").write_text(SLOW)
    (folder / "flow.py").write_text(FLOW)
    with open(folder / "output", "wb") as output:
        process = subprocess.Popen([sys.executable, "flow.py"], stdout=output, stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 40
        while "START sql" not in (folder / "output").read_text():
            assert time.monotonic() < end, (folder / "output").read_text()
            time.sleep(0.1)
        process.send_signal(getattr(signal, name))
        assert process.wait(15) != 0
    finally:
        process.kill()  # dbt, which would go on for ever, ends with it
        process.wait()
    end = time.monotonic() + 15
    while True:
        try:
            with database(folder / "data/.glacier/dbt/small.duckdb") as opened:
                assert opened.execute("select 1").fetchone() == (1,)
            return
        except Exception:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


LEAVING = """
def model(dbt, session):
    import subprocess
    left = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
    with open("left", "w") as file:
        file.write(str(left.pid))
    return session.sql("select 1 as a")
"""


def test_what_a_model_leaves_in_the_background_ends_with_dbt(small: Path) -> None:
    (small / "models" / "one.sql").unlink()
    (small / "models" / "one.py").write_text(LEAVING)
    assert run_of(small, returns="one").collect().rows() == [(1,)]
    left = (small / "left").read_text()
    end = time.monotonic() + 5
    while subprocess.run(["kill", "-0", left], stderr=subprocess.DEVNULL).returncode == 0:
        assert time.monotonic() < end, f"process {left} goes on"
        time.sleep(0.05)


def test_that_nothing_is_selected_is_logged_where_the_task_logs(small: Path, folder: Path) -> None:
    said: list[tuple[int, str]] = []

    class Shown:
        def log(self, level: int, text: str) -> None:
            said.append((level, text))

    context = run_context.RunContext(run_id="r", node="models", exchange=str(folder / ".glacier" / "exchange" / "r"))
    shown = run_context.inner.set(Shown)
    try:
        with run_context.entered(context):
            DbtExecutor(project_dir=small).run(Body(function=lambda: []))
    finally:
        run_context.inner.reset(shown)
    assert said == [(logging.INFO, f"Task 'models' selects nothing of {small}.")]


def test_a_process_that_has_run_dbt_ends_with_0(small: Path, folder: Path) -> None:
    (folder / "flow.py").write_text(FLOW)
    done = subprocess.run([sys.executable, "flow.py"], capture_output=True, text=True, env=dict(os.environ))
    assert (done.returncode, "nanobind" in done.stderr) == (0, False), done.stderr
