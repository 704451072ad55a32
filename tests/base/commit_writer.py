"""Writes versions of one dataset until it is killed; `test_commit_kill` starts it by `tests.writers`.

Words: folder of the buckets, kind of sink, number of versions (0: until killed), name of a call to die in and when.
Each row carries the version that it is of and how many rows that has, so that a reader recognises a mix.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
from collections.abc import Callable
from typing import Any

import polars as pl

from glacier_prefect.providers import LocalProvider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import datasets
from glacier_prefect.sources.base import Sink

KEYS = 3


def make_sink(base: str, kind: str) -> Sink:
    provider = LocalProvider(base_path=base)
    if kind == "single":
        return provider.bucket_sink("b", "daily.parquet")
    if kind == "once":
        return provider.bucket_sink("b", "daily.parquet", mode="error")
    return provider.bucket_sink("b", "daily", partition_by="key")


def context(base: str) -> RunContext:
    """A place in a run that is the same in each process."""
    return RunContext(run_id="run", node="write", exchange=f"{base}/.glacier/exchange/run")


def make_version(version: int, rows: int) -> pl.LazyFrame:
    return pl.LazyFrame({"row": range(rows)}).select(
        "row", version=pl.lit(version), rows=pl.lit(rows), key=pl.col("row") % KEYS
    )


def die_at(step: int) -> None:
    """Kill this process just before the given one of the calls that change the disk."""
    left = [step]

    def counted(module: Any, name: str) -> None:
        call = getattr(module, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        setattr(module, name, wrapped)

    for module, name in [
        (os, "rename"), (os, "replace"), (os, "link"), (os, "mkdir"), (os, "open"), (os, "unlink"), (os, "rmdir"),
        (os, "fsync"), (shutil, "rmtree"),
    ]:  # fmt: skip
        counted(module, name)


def main(ready: Callable[[], object], base: str, kind: str, versions: str, step: str) -> None:
    datasets.GRACE_SECONDS = 0.0  # the hardest for readers: a version goes as soon as it is replaced
    sink, done = make_sink(base, kind), 0
    ready()
    if int(step):
        die_at(int(step))
    with entered(context(base)) if kind == "once" else contextlib.nullcontext():
        while not int(versions) or done < int(versions):
            twin = sink.write(make_version(random.getrandbits(40), random.randrange(1, 60_000)))
            if not int(step):  # reading leaves snapshots behind, and has steps of its own
                twin.scan().select(pl.len()).collect()
            done += 1
