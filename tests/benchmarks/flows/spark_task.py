"""Prints seconds of a Spark task of Glacier, and of the same in bare PySpark, pair by pair."""

from __future__ import annotations

import os
import time
from pathlib import Path

import polars as pl

from glacier_prefect import SparkExecutor, pipeline, task
from glacier_prefect.executors import spark_session

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")
ROWS, PAIRS = 40_000_000, 5
FILE = Path("rows.parquet").absolute()
seconds = 0.0


def aggregated(frame):
    from pyspark.sql import functions as F

    wider = frame.withColumn("root", F.sqrt("value")).withColumn("band", F.floor("root") % 100)
    return wider.groupBy("key", "band").agg(F.sum("value").alias("sum"), F.avg("root").alias("mean"), F.max("value"))


@task
def rows():
    from glacier_prefect.exchange import scan_file

    return scan_file(FILE)  # as the frame of a task before comes, which has been written already


@task(executor=SparkExecutor(conf={"spark.driver.memory": "2g"}))
def summed(frame):
    return aggregated(frame)


@pipeline(name="spark-task")
def glacier():
    return summed(rows())


def ours() -> float:
    began = time.perf_counter()
    result = glacier.run().collect()
    took = time.perf_counter() - began
    assert result.height
    return took


def bare() -> float:
    assert spark_session._started is not None
    spark = spark_session._started.spark
    began = time.perf_counter()
    result = pl.from_arrow(aggregated(spark.read.parquet(str(FILE))).toArrow())
    took = time.perf_counter() - began
    assert len(result)
    return took


if __name__ == "__main__":
    numbers = pl.select(value=pl.int_range(ROWS, eager=False)).lazy()
    numbers.with_columns(key=pl.col("value") % 1000).sink_parquet(FILE)
    for call in (ours, bare):  # starts the session, and lets the JVM compile what both run
        call()
    for place in range(PAIRS):
        first, second = (ours, bare) if place % 2 == 0 else (bare, ours)
        one, other = first(), second()
        print(*((one, other) if place % 2 == 0 else (other, one)), flush=True)
