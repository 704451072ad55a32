"""What every executor promises: values and frames go there and come back, errors too, and nothing is left running.

An author's class derives from `ExecutorContract`, and from `FrameContract` and `ValueContract` if bodies take frames or
values. Its fixture `bodies` gives tasks on the executor, as the source of a module, since the promises about kills are
tried on processes of their own that import it, and tells how many bodies of a node run, where they run:

    SOURCE = '''
    from batch import BatchExecutor
    from glacier_prefect import task

    on = BatchExecutor(queue="tests", poll_seconds=1)

    @task(executor=on)
    def values(number):
        return number + 1
    ...                                                  # and the others that `Bodies` names
    '''

    class TestBatchExecutor(ExecutorContract, ValueContract):
        @pytest.fixture(scope="class")
        @classmethod
        def bodies(cls):
            return Bodies(
                source=textwrap.dedent(SOURCE),
                going=lambda node: len(jobs(node, state="RUNNING")),
                begun=lambda node: len(jobs(node)),
            )

A real Prefect server is started, to which a process serves the tasks that are to be killed and cancelled; together that
takes a minute. Where bodies end with the process that submitted them, the class says `outlives = False`.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any, ClassVar

import polars as pl
import pytest

from glacier_prefect import ui
from glacier_prefect.errors import GlacierError
from glacier_prefect.pipeline import pipeline
from glacier_prefect.tasks import Task, task
from glacier_prefect.testing.served import Bodies, Ended, eventually, run_and_interfere

EVERY_TYPE = pl.DataFrame(
    {
        "boolean": [True, None],
        "int8": pl.Series([-128, None], dtype=pl.Int8),
        "int16": pl.Series([-32768, None], dtype=pl.Int16),
        "int32": pl.Series([-(2**31), None], dtype=pl.Int32),
        "int64": pl.Series([-(2**63), None], dtype=pl.Int64),
        "uint8": pl.Series([255, None], dtype=pl.UInt8),
        "uint16": pl.Series([65535, None], dtype=pl.UInt16),
        "uint32": pl.Series([2**32 - 1, None], dtype=pl.UInt32),
        "uint64": pl.Series([2**63 - 1, None], dtype=pl.UInt64),
        "float32": pl.Series([1.5, None], dtype=pl.Float32),
        "float64": [float("inf"), None],
        "decimal": pl.Series([Decimal("12345678901234567890.12"), None], dtype=pl.Decimal(38, 2)),
        "string": ["ünï 日本 \U0001f9ca", None],
        "binary": [b"\0\xff", None],
        "date": [date(1969, 12, 31), None],
        "time": [clock(23, 59, 59, 999999), None],
        "datetime": pl.Series([datetime(2026, 3, 29, 2, 30, 0, 1), None], dtype=pl.Datetime("us")),
        "moment": pl.Series([datetime(2026, 3, 29, 1, 30), None], dtype=pl.Datetime("us", "UTC")),
        "duration": pl.Series([timedelta(days=-1, microseconds=1), None], dtype=pl.Duration("us")),
        "category": pl.Series(["a", None], dtype=pl.Categorical),
        "enumeration": pl.Series(["b", None], dtype=pl.Enum(["a", "b"])),
        "list": [[1, None], None],
        "array": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float64, 2)),
        "struct": [{"x": 1, "y": "z"}, None],
        "nested": [[{"x": [date(2026, 1, 1)]}], None],
        "null": pl.Series([None, None], dtype=pl.Null),
    }
)
"""A column of each type that Polars keeps in Parquet, each with a value at its edge and a null."""


class _Contract:
    @pytest.fixture(scope="class")
    @classmethod
    def module(cls, bodies: Bodies, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        """The module of the bodies, imported from a folder of its own, which is the working directory meanwhile."""
        folder = tmp_path_factory.mktemp("bodies")
        name = f"bodies_{time.monotonic_ns()}"
        (folder / f"{name}.py").write_text(bodies.source)
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in bodies.env.items():
                patch.setenv(variable, value)
            patch.syspath_prepend(folder)
            patch.chdir(folder)
            yield importlib.import_module(name)
        sys.modules.pop(name, None)

    def run_of(self, call: Task[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run a task in a pipeline and return what came back; a frame among the arguments comes from a task before."""
        call = call.with_options(**options) if options else call

        @task
        def given() -> Any:
            return next(each.lazy() for each in arguments if isinstance(each, pl.DataFrame))

        @pipeline(name="contract")
        def run() -> Any:
            return call(*(given() if isinstance(each, pl.DataFrame) else each for each in arguments))

        return run.run()


class ValueContract(_Contract):
    """What an executor promises whose bodies take and return values."""

    def test_a_value_goes_in_and_comes_back(self, module: Any) -> None:
        assert self.run_of(module.values, 41) == 42


class FrameContract(_Contract):
    """What an executor promises whose bodies take and return frames.

    Attributes:
        changed: Columns of `EVERY_TYPE` that come back as another type.
        refused: Columns of `EVERY_TYPE` that it cannot take, each with a word of the error that says so.
    """

    changed: ClassVar[dict[str, Any]] = {}
    refused: ClassVar[dict[str, str]] = {}

    def test_a_frame_goes_in_and_comes_back(self, module: Any) -> None:
        frame = pl.DataFrame({"number": range(10_000), "text": [f"ü{each}" for each in range(10_000)]})
        result = self.run_of(module.frames, frame)
        assert isinstance(result, pl.LazyFrame)
        expected = frame.with_columns(doubled=2 * pl.col("number"))
        assert result.collect().select(expected.columns).sort("number").equals(expected)

    def test_an_empty_frame_keeps_its_columns_and_types(self, module: Any) -> None:
        frame = pl.DataFrame(schema={"number": pl.Int64, "text": pl.String})
        result = self.run_of(module.frames, frame).collect()
        assert result.height == 0
        assert frame.schema.items() <= result.schema.items()

    def test_every_type_comes_back_as_it_was_or_as_it_is_written_down(self, module: Any) -> None:
        frame = EVERY_TYPE.drop(self.refused)
        result = self.run_of(module.same, frame).collect().select(frame.columns)
        expected = frame.with_columns(pl.col(name).cast(kind) for name, kind in self.changed.items())
        assert dict(result.schema) == dict(expected.schema)
        assert result.sort("boolean").equals(expected.sort("boolean"))

    def test_a_type_that_it_cannot_take_is_an_error_that_names_the_column(self, module: Any) -> None:
        for name, word in self.refused.items():
            with pytest.raises(GlacierError, match=name) as raised:
                self.run_of(module.same, EVERY_TYPE.select("boolean", name))
            assert word in str(raised.value)


class ExecutorContract(_Contract):
    """What every executor promises; a subclass gives the fixture `bodies` (of scope "class"), and each test is a
    sentence of it. One whose bodies take frames or values derives from `FrameContract` or `ValueContract` too.

    Attributes:
        outlives: Whether bodies outlive the process that submitted them, so that a retry takes them up.
        traced: What stands in the error of `failing` besides its message: a part of the body's own traceback.
    """

    outlives: ClassVar[bool] = True
    traced: ClassVar[str] = "deep_inside"

    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """The API of a Prefect server; one is started here, unless this fixture is overridden."""
        folder = tmp_path_factory.mktemp("server")
        server, _ = ui.start(folder)
        yield server.api
        ui.stop(folder)

    def test_an_error_has_its_message_the_traceback_there_the_executor_and_the_task(self, module: Any) -> None:
        with pytest.raises(Exception, match="broken on purpose") as raised:
            self.run_of(module.failing, name="failing_one")
        said = "\n".join([str(raised.value), *getattr(raised.value, "__notes__", ())])
        for part in (self.traced, "'failing_one'", f"'{module.failing.executor.name}'"):
            assert part in said

    def test_a_body_that_takes_too_long_is_stopped_where_it_runs(self, module: Any, bodies: Bodies) -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="slow_one"):
            self.run_of(module.slow, "slow_one", timeout_seconds=6, name="slow_one")
        assert time.monotonic() - began < 50
        eventually(lambda: not bodies.going("slow_one"), "the end of the body", 20)

    # -- under a Prefect server ----------------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def ended(cls, bodies: Bodies, prefect_api_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
        """Runs of a served pipeline, all at once, each with something done to it."""
        return run_and_interfere(bodies, prefect_api_url, tmp_path_factory.mktemp("served"), outlives=cls.outlives)

    def test_a_run_that_is_cancelled_over_the_api_stops_the_body(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["cancelled"].run["state_type"] == "CANCELLED", ended["cancelled"]
        eventually(lambda: not bodies.going("cancelled"), "the end of the body", 20)

    def test_a_run_whose_process_is_terminated_stops_the_body(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["terminated"].run["state_type"] in ("CRASHED", "CANCELLED"), ended["terminated"]
        eventually(lambda: not bodies.going("terminated"), "the end of the body", 20)

    def test_ctrl_c_stops_the_body(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["interrupted"].run["state_type"] != "0", ended["interrupted"]
        eventually(lambda: not bodies.going("interrupted"), "the end of the body", 20)

    def test_a_retry_after_a_kill_goes_on_with_the_body_that_was_left(self, ended: dict[str, Ended]) -> None:
        for name in ("killed", "killed_between") if self.outlives else ("killed",):
            assert ended[name].run["state_type"] == "COMPLETED", ended[name]
            assert ended[name].run["run_count"] == 2
            assert ended[name].begun == (1 if self.outlives else 2), ended[name]  # a body that ended runs again

    def test_a_retry_after_a_kill_completes(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["killed"].run["state_type"] == "COMPLETED", ended["killed"]
        eventually(lambda: not bodies.going("killed"), "the end of the body", 20)

    def test_retries_submit_anew_after_a_failure(self, ended: dict[str, Ended]) -> None:
        assert ended["third_time"].run["state_type"] == "COMPLETED", ended["third_time"]
        assert ended["third_time"].begun == 3

    def test_how_a_body_goes_on_is_seen_in_prefect_while_it_runs(self, ended: dict[str, Ended]) -> None:
        assert ended["cancelled"].meanwhile

    def test_what_a_body_prints_is_in_the_log_of_the_run(self, ended: dict[str, Ended]) -> None:
        assert any("said by the body" in line for line in ended["killed"].logged), ended["killed"].logged
