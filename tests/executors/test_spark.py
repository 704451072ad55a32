"""Spark: the contract on a real Spark Connect server, and bodies on it in this process."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from glacier_prefect import SparkExecutor
from glacier_prefect.errors import ConfigurationError, TravelError
from glacier_prefect.executors import spark_session
from glacier_prefect.executors.spark_session import SparkError
from glacier_prefect.testing import Bodies, ExecutorContract, ValueContract
from tests.executors.contract_bodies import UnderTheServer
from tests.executors.spark_bodies import SparkFrames, bodies_of, run_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),  # the first test waits for servers
    pytest.mark.usefixtures("brief_java"),
]


class TestSparkExecutor(UnderTheServer, ExecutorContract, SparkFrames, ValueContract):
    outlives: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, connect: str, marks: Path) -> Bodies:
        return bodies_of(marks, f"SparkExecutor(master={connect!r})")


class TestFramesByFile(SparkFrames):
    """The same where frames move as Parquet."""

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, connect: str, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        executor = f"SparkExecutor(master={connect!r}, arrow_bytes=0, files=True)"
        return bodies_of(tmp_path_factory.mktemp("marks"), executor)


# -- in this process ---------------------------------------------------------------------------------------------------


def test_a_parameter_gets_the_session_and_others_frames_of_the_kind_they_are_annotated_with(connect: str) -> None:
    def kinds(here: pl.LazyFrame, there, session: SparkSession):  # noqa: F821  # names that only a type checker knows
        return [type(each).__module__.partition(".")[0] for each in (here, there)] + [session.range(3).count()]

    frame = pl.DataFrame({"a": [1]})
    assert run_of(kinds, SparkExecutor(master=connect), frame, frame) == ["polars", "pyspark", 3]


def test_what_cannot_come_back_is_an_error_that_names_the_column(connect: str) -> None:
    def gap(spark):
        return spark.sql("select interval 1 day as gap")

    def twice(spark):
        return spark.sql("select 1 as number, 2 as number")

    for body, named in ((gap, "'gap' of the result of task 'gap' is interval day"), (twice, "columns named 'number'")):
        with pytest.raises(TravelError, match=named):
            run_of(body, SparkExecutor(master=connect))


def test_maps_nulls_and_instants_come_back_as_what_polars_has(connect: str) -> None:
    def made(spark):
        return spark.sql("select map('a', 1) as m, null as n, timestamp '2026-07-01 12:00:00' as t, array(null) as l")

    for arrow_bytes in (8_000_000, 0):
        result = run_of(made, SparkExecutor(master=connect, files=True, arrow_bytes=arrow_bytes))
        assert isinstance(result, pl.LazyFrame)
        assert dict(result.collect_schema()) == {
            "m": pl.Map(pl.String, pl.Int32),
            "n": pl.String,
            "t": pl.Datetime("us", "UTC"),
            "l": pl.List(pl.String),
        }
        assert result.collect().row(0)[2] == datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_an_error_in_spark_has_the_task_and_the_python_that_failed_and_no_stack_of_java(connect: str) -> None:
    def broken(spark):
        def fail(batches):
            raise ValueError("broken in the worker")

        return spark.range(1).mapInArrow(fail, "id long")

    with pytest.raises(SparkError, match="broken in the worker") as raised:
        run_of(broken, SparkExecutor(master=connect))
    assert f"task 'broken' (executor 'spark', {connect})" in str(raised.value)
    assert "\tat " not in str(raised.value)


def test_progress_is_told(connect: str, caplog: pytest.LogCaptureFixture) -> None:
    def half(spark):
        def rows(batches):
            for batch in batches:
                time.sleep(9 if batch.column(0)[0].as_py() else 0)
                yield batch

        return spark.range(2, numPartitions=2).mapInArrow(rows, "id long").count()

    with caplog.at_level("INFO", logger="prefect.glacier"):
        assert run_of(half, SparkExecutor(master=connect)) == 2
    assert any(re.search(r"half: \d\d%", line) for line in caplog.messages), caplog.messages


def test_a_process_has_one_session_and_says_so(connect: str) -> None:
    def count(spark):
        return spark.range(3).count()

    assert run_of(count, SparkExecutor(master=connect)) == 3
    for other, what in (
        (SparkExecutor(master="local[1]"), f"master {connect}"),
        (SparkExecutor(master=connect, conf={"spark.sql.shuffle.partitions": 7}), "another spark.sql.shuffle"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(what)):
            run_of(count, other)
    spark_session.stop()
    assert run_of(count, SparkExecutor(master=connect)) == 3


def test_without_timeout_seconds_the_deadline_of_the_executor_counts(connect: str) -> None:
    def stays(spark):
        def wait(batches):
            for batch in batches:
                time.sleep(30)
                yield batch

        return spark.range(1).mapInArrow(wait, "id long").count()

    with pytest.raises(TimeoutError, match=r"task 'stays' .* were cancelled after 1 s"):
        run_of(stays, SparkExecutor(master=connect, deadline_seconds=1))
