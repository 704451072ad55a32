"""The contract of executors, kept by local processes and by the example of an executor of one's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import pytest

from glacier_prefect.testing import Bodies, ExecutorContract, FrameContract, ValueContract

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_executor"
SOURCE = """
import os, time
from pathlib import Path
import polars as pl
from glacier_prefect import LocalExecutor, task
IMPORT
on = EXECUTOR

def live(where, seconds):
    mark = Path("MARKS") / f"{where}-{os.getpid()}"
    mark.touch()
    print("said by the body", flush=True)
    time.sleep(seconds)

def deep_inside():
    raise ValueError("broken on purpose")

@task(executor=on)
def frames(frame):
    return frame.with_columns(doubled=2 * pl.col("number"))

@task(executor=on)
def same(frame):
    return frame

@task(executor=on)
def values(number):
    return number + 1

@task(executor=on)
def failing():
    deep_inside()

@task(executor=on)
def slow(where):
    live(where, 100)

@task(executor=on)
def brief(where):
    live(where, 6)

@task(executor=on)
def third_time(where):
    live(where, 0.1)
    if len(list(Path("MARKS").glob(f"{where}-*"))) < 3:
        raise ValueError("not yet")
"""


def bodies_of(marks: Path, executor: str, imported: str = "", there: str | None = None, **env: str) -> Bodies:
    """Return bodies that leave a mark with the number of their process, in a folder that is `there` where they run."""

    def begun(node: str) -> int:
        return len(list(marks.glob(f"{node}-*")))

    def going(node: str) -> int:
        return sum(os.path.exists(f"/proc/{mark.name.rpartition('-')[2]}") for mark in marks.glob(f"{node}-*"))

    source = SOURCE.replace("EXECUTOR", executor).replace("IMPORT", imported).replace("MARKS", there or str(marks))
    return Bodies(source=source, going=going, begun=begun, env=env)


class TestLocalExecutor(ExecutorContract, FrameContract, ValueContract):
    outlives: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, server: str) -> str:
        return server

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        return bodies_of(tmp_path_factory.mktemp("marks"), "LocalExecutor(processes=8)")


class TestDetachedExecutor(ExecutorContract, FrameContract, ValueContract):
    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, server: str) -> str:
        return server

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        marks, jobs = tmp_path_factory.mktemp("marks"), tmp_path_factory.mktemp("jobs")
        executor = f"detached.DetachedExecutor(folder={str(jobs)!r}, poll_seconds=1)"
        return bodies_of(marks, executor, f"import sys; sys.path.insert(0, {str(EXAMPLE)!r}); import detached")
