"""When frames are computed, how they travel, and where errors show (DESIGN section 4)."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect import LocalExecutor, Pipeline, pipeline, task, unmapped
from glacier_prefect.errors import ArgumentsError, CheckError, DataError, OptionError, SchemaError, TravelError
from glacier_prefect.providers import LocalProvider


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    return LocalProvider(base_path=tmp_path / "data")


@pytest.fixture
def orders(provider: LocalProvider) -> pl.DataFrame:
    frame = pl.DataFrame({"id": [1, 2, 3, 4], "amount": [10, None, 30, 40], "shop": ["a", "b", "a", "b"]})
    provider.bucket_sink("raw", "orders.parquet").write(frame)
    return frame


class Reads:
    """Counts how often the rows of a frame are really read."""

    def __init__(self) -> None:
        self.count = 0

    def frame(self) -> pl.LazyFrame:
        from polars.io.plugins import register_io_source

        def rows(columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None):
            self.count += 1
            frame = pl.DataFrame({"id": [1, 2, 3], "amount": [10, 20, 30]})
            frame = frame if predicate is None else frame.filter(predicate)
            yield frame if columns is None else frame.select(columns)

        return register_io_source(rows, schema={"id": pl.Int64, "amount": pl.Int64})


def test_a_frame_with_one_consumer_is_read_once_in_one_query_with_it(provider: LocalProvider) -> None:
    reads = Reads()
    out = provider.bucket_sink("out", "a.parquet")

    @task
    def load() -> pl.LazyFrame:
        return reads.frame()

    @task
    def double(frame: pl.LazyFrame) -> pl.LazyFrame:
        assert reads.count == 0, "nothing is read before the query runs"
        return frame.with_columns(pl.col("amount") * 2)

    @pipeline
    def chain():
        return out.write(double(load()))

    assert chain.run().scan().collect()["amount"].to_list() == [20, 40, 60]
    assert reads.count == 1


def test_a_frame_that_two_sinks_take_is_read_once_and_both_see_the_same(provider: LocalProvider) -> None:
    reads = Reads()
    left, right = provider.bucket_sink("out", "left.parquet"), provider.bucket_sink("out", "right.parquet")

    @task
    def load() -> pl.LazyFrame:
        return reads.frame()

    @task
    def sample(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.with_columns(noise=pl.int_range(pl.len()).shuffle())

    @pipeline
    def fork():
        frame = sample(load())
        return left.write(frame), right.write(frame)

    one, two = (source.scan().collect() for source in fork.run())
    assert reads.count == 1
    assert_frame_equal(one, two)


def test_materialize_false_keeps_a_frame_lazy_into_both_consumers(provider: LocalProvider) -> None:
    reads = Reads()
    left, right = provider.bucket_sink("out", "left.parquet"), provider.bucket_sink("out", "right.parquet")

    @task(materialize=False)
    def load() -> pl.LazyFrame:
        return reads.frame()

    @pipeline
    def fork():
        frame = load()
        return left.write(frame), right.write(frame)

    fork.run()
    assert reads.count == 2


def test_an_expression_that_fails_in_a_task_with_retries_is_tried_three_times_and_reported_there(
    provider: LocalProvider,
) -> None:
    tries = []
    out = provider.bucket_sink("out", "a.parquet")

    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"text": ["1", "x"]})

    @task(retries=2)
    def parse(frame: pl.LazyFrame) -> pl.LazyFrame:
        tries.append(1)
        return frame.select(pl.col("text").cast(pl.Int64))

    @task
    def after(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.with_columns(pl.col("text") + 1)

    @pipeline
    def failing():
        return out.write(after(parse(load())))

    with pytest.raises(pl.exceptions.InvalidOperationError, match="load -> parse") as caught:
        failing.run()
    assert len(tries) == 3
    assert "In task 'parse' of pipeline 'failing'." in caught.value.__notes__
    assert not out.twin().exists()


def test_a_value_error_in_a_lazy_chain_names_all_tasks_of_the_query(provider: LocalProvider) -> None:
    out = provider.bucket_sink("out", "a.parquet")

    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"text": ["1", "x"]})

    @task
    def parse(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.select(pl.col("text").cast(pl.Int64))

    @pipeline
    def failing():
        return out.write(parse(load()))

    with pytest.raises(pl.exceptions.InvalidOperationError, match="load -> parse -> write-a") as caught:
        failing.run()
    assert "In task 'write-a'" in caught.value.__notes__[-1]


def test_a_missing_column_fails_in_the_task_that_names_it(provider: LocalProvider) -> None:
    out = provider.bucket_sink("out", "a.parquet")

    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]})

    @task
    def pick(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.select("nope")

    @task
    def after(frame: pl.LazyFrame) -> pl.LazyFrame:
        raise AssertionError("downstream of a failed task does not run")

    @pipeline
    def failing():
        return out.write(after(pick(load())))

    with pytest.raises(pl.exceptions.ColumnNotFoundError) as caught:
        failing.run()
    assert "In task 'pick'" in caught.value.__notes__[-1]


def test_independent_branches_finish_when_one_fails_and_the_traceback_is_the_users(provider: LocalProvider) -> None:
    good = provider.bucket_sink("out", "good.parquet")

    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]})

    @task
    def broken(frame: pl.LazyFrame) -> pl.LazyFrame:
        return 1 / 0  # type: ignore[return-value]

    @pipeline
    def fork():
        frame = load()
        broken(frame)
        return good.write(frame)

    with pytest.raises(ZeroDivisionError) as caught:
        fork.run()
    assert good.twin().exists()
    assert caught.traceback[-1].frame.code.name == "broken"


def test_a_process_with_a_timeout_of_one_second_stops_a_query_of_thirty_within_three(provider: LocalProvider) -> None:
    executor = LocalExecutor(processes=1)

    @task(executor=executor, timeout_seconds=1)
    def endless() -> pl.LazyFrame:
        def wait(frame: pl.DataFrame) -> pl.DataFrame:
            time.sleep(30)
            return frame

        return pl.LazyFrame({"a": [1]}).map_batches(wait)

    @task(executor=executor)
    def warm() -> int:
        return 1

    @pipeline
    def slow():
        return endless()

    @pipeline
    def quick():
        return warm()

    quick.run()
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"Task 'endless' \(executor 'local'\) was stopped after 1 s"):
        slow.run()
    assert time.monotonic() - start < 3


def test_a_body_in_a_process_gets_scans_and_hands_frames_back_as_locations(
    provider: LocalProvider, orders: pl.DataFrame
) -> None:
    raw, out = provider.bucket_source("raw", "orders.parquet"), provider.bucket_sink("out", "a.parquet")
    factor = 3

    @task
    def load(source) -> pl.LazyFrame:
        return source.scan()

    @task(executor=LocalExecutor(processes=2))
    def scale(frame: pl.LazyFrame) -> dict[str, object]:
        import os

        print("printed in the process")
        return {
            "frame": frame.with_columns(pl.col("amount") * factor),
            "pid": os.getpid(),
            "eager": frame.head(1).collect(),
        }

    @pipeline
    def crossing():
        made = scale(load(raw))
        return {"written": out.write(made["frame"]), "pid": made["pid"], "eager": made["eager"]}

    import os

    result = crossing.run()
    assert_frame_equal(result["written"].scan().collect(), orders.with_columns(pl.col("amount") * 3))
    assert result["pid"] != os.getpid()
    assert_frame_equal(result["eager"], orders.head(1))


def test_an_exception_in_a_process_arrives_as_itself(provider: LocalProvider) -> None:
    @task(executor=LocalExecutor(processes=1))
    def broken() -> int:
        raise KeyError("lost")

    @pipeline
    def failing():
        return broken()

    with pytest.raises(KeyError, match="lost") as caught:
        failing.run()
    assert "In task 'broken'" in caught.value.__notes__[-1]


def test_a_process_that_is_killed_is_an_error_that_says_so() -> None:
    @task(executor=LocalExecutor(processes=1))
    def dies() -> int:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return 1

    @pipeline
    def failing():
        return dies()

    with pytest.raises(RuntimeError, match="ended with code -9 and without a result"):
        failing.run()


def test_frames_that_cross_are_written_with_the_needed_columns_only(provider: LocalProvider, tmp_path: Path) -> None:
    seen: list[list[str]] = []
    out = provider.bucket_sink("out", "a.parquet")

    @task
    def wide() -> pl.LazyFrame:
        return pl.LazyFrame({name: [1, 2] for name in "abcdef"})

    @task(columns=["a", "b"])
    def first(frame: pl.LazyFrame) -> int:
        seen.extend(pl.read_parquet_schema(file).names() for file in tmp_path.rglob("wide*.parquet"))
        return frame.collect_schema().len()

    @task(columns={"frame": ["c"]}, executor=LocalExecutor(processes=1))
    def second(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    @pipeline
    def pruned():
        frame = wide()
        return first(frame), out.write(second(frame))

    width, source = pruned.run()
    assert width == 2
    assert source.scan().collect().columns == ["c"]
    assert seen == [["a", "b", "c"]]


def test_a_column_that_a_task_declares_and_its_input_lacks_is_an_error_of_that_task() -> None:
    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"amount": [1]})

    @task(columns=["amuont"])
    def use(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    @pipeline
    def failing():
        return use(load())

    with pytest.raises(SchemaError, match=r"'use' reads column 'amuont' of 'frame'.*Did you mean 'amount'"):
        failing.run()


def test_an_object_column_that_has_to_be_stored_is_an_error_that_names_it() -> None:
    @task(retries=1)
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"good": [1], "bad": pl.Series([object()], dtype=pl.Object)})

    @pipeline
    def failing():
        return load()

    with pytest.raises(TravelError, match="Column 'bad' of the result of task 'load' has the type Object"):
        failing.run()


def test_a_failing_check_on_a_task_shows_column_check_and_rows_and_stops_what_follows(provider: LocalProvider) -> None:
    out = provider.bucket_sink("out", "a.parquet")

    @task(checks=[pl.col("amount") > 0])
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"amount": [1, -5, -6], "shop": ["a", "b", "c"]})

    @pipeline
    def checked():
        return out.write(load())

    with pytest.raises(CheckError, match=r"task 'load'.*'amount'.*false for 2 rows(.|\n)*-5"):
        checked.run()
    assert not out.twin().exists()


def test_a_declared_schema_of_a_task_is_compared() -> None:
    @task(schema={"amount": pl.Float64, "shop": str})
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"amount": [1]})

    @pipeline
    def checked():
        return load()

    with pytest.raises(SchemaError, match="'amount' is Int64, declared as Float64; column 'shop' is missing"):
        checked.run()


def test_an_empty_frame_keeps_its_schema_on_every_way() -> None:
    schema = {"i": pl.Int8, "s": pl.String, "d": pl.Date, "l": pl.List(pl.Int16), "c": pl.Categorical, "n": pl.Null}

    @task(retries=1)
    def load() -> pl.LazyFrame:
        return pl.LazyFrame(schema=schema)

    @task(executor=LocalExecutor(processes=1))
    def across(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    @pipeline
    def empty():
        return across(load())

    assert dict(empty.run().collect().schema) == schema


def test_results_are_in_memory_values_scans_and_twin_sources(provider: LocalProvider, orders: pl.DataFrame) -> None:
    raw = provider.bucket_source("raw", "orders.parquet")

    @task
    def load(source) -> dict[str, object]:
        return {"frame": source.scan(), "eager": source.scan().collect(), "number": 7, "frames": [source.scan()]}

    @pipeline
    def mixed(limit: int = 3):
        made = load(raw)
        return {"all": made, "one": made["frames"][0], "limit": limit, "constant": "x"}

    result = mixed.run(limit=9)
    assert result["limit"] == 9
    assert result["constant"] == "x"
    assert_frame_equal(result["all"]["frame"].collect(), orders)
    assert_frame_equal(result["all"]["eager"], orders)
    assert_frame_equal(result["one"].collect(), orders)


def test_frames_of_a_result_stay_readable_until_the_process_ends_and_then_nothing_is_left(tmp_path: Path) -> None:
    script = tmp_path / "flow.py"
    script.write_text(
        "import polars as pl\n"
        "from pathlib import Path\n"
        "from glacier_prefect import pipeline, task\n"
        "@task\n"
        "def load(): return pl.LazyFrame({'a': range(10)})\n"
        "@pipeline\n"
        "def flow(): return load()\n"
        "if __name__ == '__main__':\n"
        "    frame = flow.run()\n"
        "    import gc; gc.collect()\n"
        "    print(frame.select(pl.col('a').sum()).collect().item(), len(list(Path('data').rglob('*.parquet'))))\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["45", "1"]
    assert not [each for each in (tmp_path / "data").rglob("*") if each.is_file()]


def test_nothing_is_left_of_a_killed_run_after_the_next(tmp_path: Path, provider: LocalProvider) -> None:
    script = tmp_path / "flow.py"
    script.write_text(
        "import os, signal, polars as pl\n"
        "from glacier_prefect import pipeline, task\n"
        "@task(retries=1)\n"
        "def load(): return pl.LazyFrame({'a': range(10)})\n"
        "@task\n"
        "def die(frame): os.kill(os.getpid(), signal.SIGKILL)\n"
        "@pipeline\n"
        "def flow(): return die(load())\n"
        "flow.run()\n"
    )
    assert (
        subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, check=False).returncode == -9
    )
    assert list((tmp_path / "data").rglob("load*.parquet"))

    @task(retries=1)
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]})

    @pipeline
    def again():
        return provider.bucket_sink("out", "a.parquet").write(load())

    again.run()
    assert not list((tmp_path / "data" / ".glacier").rglob("*.parquet"))


def test_a_mapped_task_has_a_run_for_each_item_and_keeps_the_order() -> None:
    running = threading.Semaphore(0)

    @task
    def numbers(count: int) -> list[int]:
        return list(range(count))

    @task
    def square(number: int, factor: int) -> int:
        running.release()
        time.sleep(0.01 * (5 - number))
        return number * number * factor

    @task
    def total(numbers: list[int]) -> list[int]:
        return numbers

    @pipeline
    def mapped(count: int = 5):
        found = square.map(numbers(count), factor=unmapped(10))
        return (
            total(found),
            found[2],
            square.map([], factor=unmapped(1)),
            square.map([1, 2, 3], factor=[1, 2, 3], batch=2),
        )

    ordered, third, none, batched = mapped.run()
    assert ordered == [0, 10, 40, 90, 160]
    assert third == 40
    assert none == []
    assert batched == [1, 8, 27]


def test_mapped_frames_are_handed_on_as_a_list() -> None:
    @task
    def part(number: int) -> pl.LazyFrame:
        return pl.LazyFrame({"n": [number]})

    @task
    def join(frames: list[pl.LazyFrame]) -> pl.LazyFrame:
        return pl.concat(frames)

    @pipeline
    def gathered():
        return join(part.map([3, 1, 2])), join.with_options(name="second")(part.map([5, 6], batch=2))

    first, second = gathered.run()
    assert first.collect()["n"].to_list() == [3, 1, 2]
    assert second.collect()["n"].to_list() == [5, 6]


def test_mapping_over_a_frame_is_an_error_that_says_what_to_do() -> None:
    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1, 2]})

    @task
    def use(row: object) -> object:
        return row

    @pipeline
    def failing():
        return use.map(load())

    with pytest.raises(ArgumentsError, match=r"row is a frame, which is not a list of items(.|\n)*unmapped"):
        failing.run()


def test_one_failing_item_fails_the_run_and_the_others_finish() -> None:
    done = []

    @task
    def work(number: int) -> int:
        if number == 1:
            raise ValueError("one is bad")
        done.append(number)
        return number

    @task
    def gather(numbers: list[int]) -> list[int]:
        raise AssertionError("does not run")

    @pipeline
    def failing():
        return gather(work.map([0, 1, 2, 3]))

    with pytest.raises(ValueError, match="one is bad"):
        failing.run()
    assert sorted(done) == [0, 2, 3]


def test_a_subflow_takes_and_returns_frames(provider: LocalProvider) -> None:
    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1, 2, 3]})

    @task
    def double(frame: pl.LazyFrame, by: int) -> pl.LazyFrame:
        return frame.with_columns(pl.col("a") * by)

    @task
    def add(frame: pl.LazyFrame) -> int:
        return int(frame.select(pl.col("a").sum()).collect().item())

    @pipeline
    def inner(frame: pl.LazyFrame, by: int = 2):
        return {"frame": double(frame, by), "by": by}

    @pipeline
    def outer():
        made = inner(load(), by=3)
        return add(made["frame"]), made["by"]

    assert outer.run() == (18, 3)


def test_a_failing_subflow_fails_the_run_with_its_error() -> None:
    @task
    def broken() -> int:
        raise ValueError("deep down")

    @task
    def after(number: int) -> int:
        raise AssertionError("does not run")

    @pipeline
    def inner():
        return broken()

    @pipeline
    def outer():
        return after(inner())

    with pytest.raises(ValueError, match="deep down"):
        outer.run()


def test_materialize_false_on_a_frame_that_has_to_travel_is_an_error_when_the_pipeline_is_made() -> None:
    @task(materialize=False)
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]})

    @task(executor=LocalExecutor(processes=1))
    def use(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    with pytest.raises(OptionError, match=r"'load' has materialize=False.*'use' runs on 'local'"):
        Pipeline("crossing", tasks=[use.with_options(depends_on=[load])])


def test_a_handed_over_frame_that_is_gone_is_an_error_that_says_so(tmp_path: Path) -> None:
    @task
    def load() -> pl.LazyFrame:
        return pl.LazyFrame({"a": [1]})

    @task
    def remove(frame: pl.LazyFrame) -> int:
        for file in (tmp_path / "data").rglob("load*.parquet"):
            file.unlink()
        return 1

    @task
    def use(frame: pl.LazyFrame, number: int) -> pl.LazyFrame:
        return frame

    out = LocalProvider(base_path=tmp_path / "data").bucket_sink("out", "a.parquet")

    @pipeline
    def failing():
        frame = load()
        return out.write(use(frame, remove(frame)))

    with pytest.raises(DataError, match="is gone"):
        failing.run()


def test_a_polars_panic_is_an_error_of_the_task_and_not_a_crash_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        pass

    PanicException.__module__ = "pyo3_runtime"  # as Polars raises it; a real one would need a bug in Polars

    @task
    def load() -> pl.LazyFrame:
        raise PanicException("assertion failed")

    @pipeline
    def failing():
        return load()

    with pytest.raises(RuntimeError, match="Polars failed inside: assertion failed"):
        failing.run()


def test_async_tasks_run() -> None:
    @task
    async def wait(number: int) -> int:
        import asyncio

        await asyncio.sleep(0)
        return number + 1

    @pipeline
    def flow():
        return wait(wait(1))

    assert flow.run() == 3


def test_a_task_with_variadic_parameters_gets_them() -> None:
    @task
    def numbers() -> list[int]:
        return [1, 2]

    @task
    def gather(first: int, *rest: int, **named: int) -> tuple[object, ...]:
        return first, rest, named

    @pipeline
    def flow():
        found = numbers()
        return gather(found[0], found[1], 5, extra=found[0])

    assert flow.run() == (1, (2, 5), {"extra": 1})
