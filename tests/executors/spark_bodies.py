"""The contract's bodies on Spark, what the types of frames become there, and how tests run a body of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from glacier_prefect import SparkExecutor, pipeline, task
from glacier_prefect.testing import Bodies, FrameContract
from tests.executors.contract_bodies import bodies_in, source_of

IMPORTS = """
import uuid
from pyspark.sql import functions as F
from glacier_prefect import SparkExecutor
"""
LIVE = """
def live(where, spark, seconds):
    print("said by the body")
    mark = str(Path("MARKS") / f"{where}-{uuid.uuid4().hex}")
    def rows(batches):
        for batch in batches:
            Path(mark).write_text(str(os.getpid()))
            time.sleep(seconds)
            Path(mark).write_text("0")
            yield batch
    spark.range(1, numPartitions=1).mapInArrow(rows, "id long").collect()
"""


def bodies_of(marks: Path, executor: str) -> Bodies:
    """Return bodies that leave a mark with the number of Spark's process for as long as Spark runs them."""
    doubled = "frame.withColumn('doubled', 2 * F.col('number'))"
    source = source_of(executor, imports=IMPORTS, live=LIVE, where="where, spark", doubled=doubled, prints=True)
    return bodies_in(marks, source, process=Path.read_text)


class SparkFrames(FrameContract):
    changed: ClassVar[dict[str, Any]] = {
        "uint8": pl.Int16,
        "uint16": pl.Int32,
        "uint32": pl.Int64,
        "uint64": pl.Decimal(20, 0),
        "category": pl.String,
        "enumeration": pl.String,
        "array": pl.List(pl.Float64),
        "null": pl.String,
    }
    refused: ClassVar[dict[str, str]] = {"time": "which Spark does not have", "duration": "which Spark does not have"}


def run_of(body: Callable[..., object], executor: SparkExecutor, *arguments: object, **options: object) -> object:
    """Run a body in a pipeline; a frame among the arguments comes from a task before."""
    call = task(executor=executor, **options)(body)

    @task
    def given() -> pl.LazyFrame:
        return next(each.lazy() for each in arguments if isinstance(each, pl.DataFrame))

    @pipeline(name="spark")
    def run() -> object:
        return call(*(given() if isinstance(each, pl.DataFrame) else each for each in arguments))

    return run.run()
