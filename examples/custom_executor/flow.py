"""Run with `python flow.py`; the second task runs on the executor of `detached.py`."""

import os

import polars as pl
from detached import DetachedExecutor

from glacier_prefect import pipeline, task
from glacier_prefect.executors import register_executor

register_executor("detached", DetachedExecutor)


@task
def numbers(count: int) -> pl.LazyFrame:
    """Make numbers, here."""
    return pl.LazyFrame({"number": range(count)})


@task(executor="detached", retries=1)
def squares(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Square them, in a process of its own."""
    return frame.with_columns(square=pl.col("number") ** 2, process=os.getpid())


@pipeline
def custom_executor(count: int = 5):
    """Square numbers in another process."""
    return squares(numbers(count))


if __name__ == "__main__":
    print("this process is", os.getpid())
    print(custom_executor.run().collect())
