"""Writes versions of one dataset to a store until it is killed; `test_cloud_commit` starts it by `tests.writers`.

Words: name of the emulator, its bucket, kind of sink, number of versions (0: until killed). Each row carries the
version that it is of and how many rows that has, so that a reader recognises a mix.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

import polars as pl

from glacier_prefect.run_context import entered
from glacier_prefect.sources import Sink, datasets
from tests.base.commit_writer import context, make_version
from tests.clouds.provided import KINDS


def make_sink(cloud: str, bucket: str, kind: str) -> Sink:
    provider = KINDS[cloud].from_env()
    if kind == "partitioned":
        return provider.bucket_sink(bucket, "x/daily", partition_by="key")
    checks = [pl.len() > 0] if kind == "checked" else []  # what is checked is staged first
    return provider.bucket_sink(
        bucket, "x/daily.parquet", mode="error" if kind == "once" else "overwrite", checks=checks
    )


def main(ready: Callable[[], object], cloud: str, bucket: str, kind: str, versions: str) -> None:
    datasets.GRACE_SECONDS = 5.0  # what a reader that has just begun may still need
    sink, done = make_sink(cloud, bucket, kind), 0
    with entered(context("unused")) if kind == "once" else contextlib.nullcontext():
        sink.twin().exists()  # it is logged in
        ready()
        while not int(versions) or done < int(versions):
            sink.write(make_version(random.getrandbits(40), random.randrange(1, 60_000)))
            done += 1
            if kind != "partitioned":  # a query over it is computed again only a few times
                time.sleep(random.uniform(0.1, 0.3))
