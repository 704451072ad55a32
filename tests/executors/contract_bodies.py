"""The contract's bodies, for all executors that run Python, and the Prefect server under which they are tried.

A body leaves a mark: a file NODE-PROCESS in a folder, which tells how many were begun and how many go on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from glacier_prefect.testing import Bodies

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_executor"
LIVE = """
def live(where, seconds):
    Path("MARKS", f"{where}-{os.getpid()}").touch()
    print("said by the body", flush=True)
    time.sleep(seconds)
"""
FAIL = """
def deep_inside():
    raise ValueError("broken on purpose")

def fail_twice(WHERE):
    live(WHERE, 0.1)
    if len(list(Path("MARKS").glob(f"{where}-*"))) < 3:
        raise ValueError("not yet")
"""
TASKS = """
@task(executor=on)
def frames(frame):
    return DOUBLED

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
def slow(WHERE):
    live(WHERE, 100)

@task(executor=on, log_prints=PRINTS)
def brief(WHERE):
    live(WHERE, 6)

@task(executor=on)
def third_time(WHERE):
    fail_twice(WHERE)
"""


def source_of(
    executor: str,
    *,
    imports: str = "",
    live: str = LIVE,
    where: str = "where",
    doubled: str = "frame.with_columns(doubled=2 * pl.col('number'))",
    prints: bool | None = None,
) -> str:
    """Return a module with the contract's bodies.

    Args:
        executor: What makes the executor.
        imports: What it needs to be imported before.
        live: The function that leaves the mark and takes its time.
        where: Its parameters besides the time, and those of the bodies that call it.
        doubled: What `frames` returns.
        prints: Whether Prefect logs what `brief` prints; not needed if the executor does.
    """
    head = "import os, time\nfrom pathlib import Path\nimport polars as pl\nfrom glacier_prefect import task\n"
    tasks = (FAIL + TASKS).replace("WHERE", where).replace("DOUBLED", doubled).replace("PRINTS", str(prints))
    return f"{head}{imports}\non = {executor}\n{live}{tasks}"


def bodies_in(
    marks: Path,
    source: str,
    *,
    there: str | None = None,
    process: Callable[[Path], str] = lambda mark: mark.name.rpartition("-")[2],
    env: dict[str, str] | None = None,
) -> Bodies:
    """Return the bodies of a source that leave marks.

    Args:
        marks: The folder of the marks, which stands in the source as MARKS.
        source: The module.
        there: The folder's path where bodies run.
        process: Returns the number of the process of a mark.
        env: Variables that the tasks need.
    """

    def begun(node: str) -> int:
        return len(list(marks.glob(f"{node}-*")))

    def going(node: str) -> int:
        processes = [process(mark) for mark in marks.glob(f"{node}-*")]
        return sum(bool(pid) and os.path.exists(f"/proc/{pid}") for pid in processes)

    return Bodies(source=source.replace("MARKS", there or str(marks)), going=going, begun=begun, env=env or {})


class UnderTheServer:
    """What classes of the contract share that are tried under the server of all tests, with marks of their own."""

    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, server: str) -> str:
        return server

    @pytest.fixture(scope="class")
    @classmethod
    def marks(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The folder of the marks."""
        return tmp_path_factory.mktemp("marks")
