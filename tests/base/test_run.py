"""Running a pipeline here: parameters, the run's date, timeouts, stopping, and what reaches Prefect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from glacier_prefect import LocalExecutor, pipeline, task
from glacier_prefect.errors import ArgumentsError, PathError, UsageError
from glacier_prefect.providers import LocalProvider


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@task
def one_row() -> pl.LazyFrame:
    return pl.LazyFrame({"a": [1]})


def test_a_path_is_filled_with_the_date_and_the_parameters_of_the_run() -> None:
    out = LocalProvider().bucket_sink("out", "{shop}/{run_date:%Y/%m/%d}-{limit:03}.parquet")

    @pipeline(timezone="Europe/Paris")
    def dated(shop: str, limit: int = 5):
        return out.write(one_row())

    assert dated.run("north", run_date="2026-01-31").path == "north/2026/01/31-005.parquet"
    assert dated.run(shop="a/b", limit=12, run_date=date(2026, 2, 1)).path == "a/b/2026/02/01-012.parquet"


@pytest.mark.parametrize(
    ("timezone", "day"), [("UTC", "2026-03-28"), ("Asia/Tokyo", "2026-03-29"), ("America/Los_Angeles", "2026-03-28")]
)
def test_the_date_is_that_of_the_pipelines_timezone(timezone: str, day: str) -> None:
    out = LocalProvider().bucket_sink("out", "{run_date:%Y-%m-%d}.parquet")

    @pipeline(timezone=timezone)
    def dated():
        return out.write(one_row())

    assert dated.run(run_date=datetime(2026, 3, 28, 20, tzinfo=UTC)).path == f"{day}.parquet"


def test_without_a_date_the_run_is_for_its_start() -> None:
    out = LocalProvider().bucket_sink("out", "{run_date:%Y-%m-%d}.parquet")

    @pipeline
    def dated():
        return out.write(one_row())

    before = datetime.now(UTC).date()
    assert dated.run().path in {f"{before}.parquet", f"{datetime.now(UTC).date()}.parquet"}


def test_a_subflow_has_the_date_of_its_parent() -> None:
    out = LocalProvider().bucket_sink("out", "{run_date:%Y-%m-%d}.parquet")

    @pipeline
    def inner():
        return out.write(one_row())

    @pipeline
    def outer():
        return inner()

    assert outer.run(run_date="2020-02-29").path == "2020-02-29.parquet"


def test_a_source_used_inside_a_task_has_its_path_filled_too() -> None:
    provider = LocalProvider()
    provider.bucket_sink("raw", "2026-01-01.parquet").write(pl.DataFrame({"a": [7]}))
    source = provider.bucket_source("raw", "{run_date:%Y-%m-%d}.parquet")

    @task(executor=LocalExecutor(processes=1))
    def load() -> pl.LazyFrame:
        return source.scan()

    @pipeline
    def dated():
        return load()

    assert dated.run(run_date="2026-01-01").collect()["a"].to_list() == [7]


@pytest.mark.parametrize("value", ["../other", "/etc/passwd", "a/../../b", "*", "", "a\\b"])
def test_a_value_that_leaves_the_fixed_prefix_fails_the_run_and_writes_nothing(value: str, tmp_path: Path) -> None:
    out = LocalProvider().bucket_sink("out", "daily/{shop}/a.parquet")

    @pipeline
    def dated(shop: str):
        return out.write(one_row())

    with pytest.raises(PathError, match="shop"):
        dated.run(shop=value)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_run_that_fails_says_nothing_of_results_that_could_not_be_stored(caplog: pytest.LogCaptureFixture) -> None:
    @task
    def bad() -> None:
        raise ValueError("on purpose")

    @pipeline
    def failing():
        return bad()

    with pytest.raises(ValueError, match="on purpose"):
        failing.run()
    assert not [each.getMessage() for each in caplog.records if "Failed to write result" in each.getMessage()]


@pytest.mark.parametrize("declared", [False, True])
def test_what_is_read_and_written_besides_the_graph_is_warned_of_once(
    declared: bool, caplog: pytest.LogCaptureFixture
) -> None:
    provider = LocalProvider()
    provider.bucket_sink("raw", "1.parquet").write(pl.LazyFrame({"a": [1]}))
    options = {
        "reads": [provider.bucket_source("raw", "*.parquet")],
        "writes": [provider.bucket_sink("out", "{run_date:%Y}.parquet")],
    }

    @task(**(options if declared else {}))
    def hidden(number: int) -> int:
        frame = provider.bucket_source("raw", f"{number}.parquet").scan()
        return provider.bucket_sink("out", "{run_date:%Y}.parquet").write(frame).scan().collect().height

    @pipeline
    def touching():
        return hidden.map([1, 1, 1])

    assert touching.run(run_date="2026-01-31") == [1, 1, 1]
    warned = [each.getMessage() for each in caplog.records if "graph does not show" in each.getMessage()]
    if declared:
        assert warned == []
    else:
        assert [each.partition(", which")[0] for each in warned] == [
            "Task 'hidden' reads raw/1.parquet",
            "Task 'hidden' writes out/2026.parquet",
        ]
        assert "declare it with @task(reads=[...])" in warned[0]


def test_a_cached_result_is_that_of_the_declared_sources(tmp_path: Path) -> None:
    provider = LocalProvider()
    sink = provider.bucket_sink("raw", "a.parquet")
    sink.write(pl.LazyFrame({"a": [1]}))

    @task(cache=True, reads=[sink.twin()])
    def hidden() -> int:
        return provider.bucket_source("raw", "a.parquet").scan().collect().height

    @pipeline
    def counted():
        return hidden()

    assert counted.run() == 1
    sink.write(pl.LazyFrame({"a": [1, 2]}))
    assert counted.run() == 2


def test_wrong_parameters_are_an_error_before_anything_runs() -> None:
    @pipeline
    def limited(limit: int = 1):
        return one_row()

    with pytest.raises(ArgumentsError, match="Did you mean 'limit'"):
        limited.run(limt=3)
    with pytest.raises(UsageError, match="'2026-02-30' is not a date"):
        limited.run(run_date="2026-02-30")


def test_a_thread_that_is_too_slow_is_timed_out_when_it_returns() -> None:
    @task(timeout_seconds=0.2)
    def slow() -> int:
        time.sleep(0.5)
        return 1

    @pipeline
    def late():
        return slow()

    with pytest.raises(TimeoutError) as caught:
        late.run()
    assert "In task 'slow'" in caught.value.__notes__[-1]


def test_a_pipeline_is_called_like_a_function_and_runs_twice_in_one_process() -> None:
    @task
    def double(number: int) -> int:
        return number * 2

    @pipeline
    def twice(number: int = 4):
        return double(number)

    assert twice() == 8
    assert twice(5) == 10


def test_calling_the_flow_inside_a_prefect_flow_makes_it_a_subflow() -> None:
    import prefect

    from glacier_prefect import engine

    @task
    def double(number: int) -> int:
        return number * 2

    @pipeline
    def inner(number: int):
        return double(number)

    @prefect.flow
    def outer() -> int:
        return inner.run(3) + inner.flow(4)

    with engine.serverless():
        assert outer() == 14


def test_text_annotations_are_read_with_the_names_of_the_users_module() -> None:
    @pipeline
    def typed(day: date, folder: Path):
        return one_row()

    schema = typed.flow.parameters.model_dump_for_openapi()["properties"]
    assert (schema["day"]["format"], schema["folder"]["format"]) == ("date", "path")


STOPPED = """
import os, sys, time
from pathlib import Path
from glacier_prefect import LocalExecutor, pipeline, task

@task(executor=LocalExecutor(processes={processes}))
def wait():
    Path("started").write_text(str(os.getpid()))
    time.sleep(60)

@task
def after(number):
    Path("after").touch()

@pipeline
def endless():
    return after(wait())

endless.run()
"""


@pytest.mark.parametrize("processes", [0, 1])
def test_ctrl_c_stops_the_run_and_its_processes_at_once(processes: int, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(STOPPED.format(processes=processes))
    run = subprocess.Popen([sys.executable, "flow.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        started = tmp_path / "started"
        deadline = time.monotonic() + 60
        while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        worker = int(started.read_text())
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=10)
    finally:
        run.kill()
        run.communicate()
    assert run.returncode in (130, -signal.SIGINT)
    if processes:
        assert not _alive(worker)
    assert not (tmp_path / "after").exists()
    assert not [each for each in (tmp_path / "data").rglob("*") if each.is_file()]


def test_a_process_of_a_task_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(STOPPED.format(processes=1))
    run = subprocess.Popen([sys.executable, "flow.py"], cwd=tmp_path, stderr=subprocess.DEVNULL)
    started = tmp_path / "started"
    deadline = time.monotonic() + 60
    while not (started.exists() and started.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(started.read_text())
    run.kill()
    run.wait()
    deadline = time.monotonic() + 5
    while _alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(worker)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True


def test_tags_of_a_pipeline_are_the_flow_runs_and_not_those_of_its_tasks() -> None:
    seen: list[set[str]] = []

    @task(tags={"mine"})
    def look() -> int:
        from prefect.context import FlowRunContext, TaskRunContext

        flow, own = FlowRunContext.get(), TaskRunContext.get()
        assert flow is not None
        assert own is not None
        seen.extend([set(flow.flow_run.tags), set(own.task_run.tags)])
        return 1

    @pipeline(tags=["team:a"])
    def tagged():
        return look()

    tagged.run(run_date="2026-01-01")
    assert seen == [{"team:a", "glacier:run_date=2026-01-01T00:00:00+00:00"}, {"mine"}]


def test_a_pipeline_run_inside_a_task_gives_frames_that_can_be_read() -> None:
    @pipeline
    def inner():
        return one_row()

    @task
    def call() -> int:
        return int(inner.run().collect()["a"].sum())

    @pipeline
    def outer():
        return call()

    assert outer.run() == 1


def test_a_flow_is_tried_again_with_the_same_run_id() -> None:
    runs: list[str] = []

    @task
    def flaky() -> int:
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
        assert context is not None
        runs.append(str(context.flow_run.id))
        if len(runs) == 1:
            raise ValueError("once")
        return len(runs)

    @pipeline(retries=1)
    def retried():
        return flaky()

    assert retried.run() == 2
    assert runs[0] == runs[1]
