"""Run with `python flow.py`; the second task runs on the executor of `detached.py`."""

import os

import detached  # noqa: F401  # registers the executor
import polars as pl

from glacier_prefect import pipeline, task


@task
def numbers(count: int) -> pl.LazyFrame:
    """Make numbers, here."""
    return pl.LazyFrame({"number": range(count)})


@task(executor="detached", retries=1)
def squares(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Square them, in a process of its own."""
    print("squares in process", os.getpid())
    return frame.with_columns(square=pl.col("number") ** 2)


@pipeline
def custom_executor(count: int = 5):
    """Say which process does what."""
    return squares(numbers(count))


if __name__ == "__main__":
    print("this process is", os.getpid())
    print(custom_executor.run().collect())
