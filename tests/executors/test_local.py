"""Bodies in processes of their own on this machine: what ends with them, and what they wait for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect import LocalExecutor, run_context
from glacier_prefect.executors import Body
from glacier_prefect.executors.local import ProcessError


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Runs a body as a node of a run does."""
    context = run_context.RunContext(run_id="r", node="body", exchange=str(tmp_path / ".glacier" / "exchange" / "r"))

    def run(executor: LocalExecutor, body: Callable[..., Any], timeout: float | None = None, **inputs: Any) -> Any:
        with run_context.entered(context):
            return executor.run(Body(function=body, inputs=inputs, timeout=timeout))

    return run


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z" if Path("/proc").exists() else True


def ends(process: int) -> bool:
    """Whether a process ends within some seconds."""
    end = time.monotonic() + 5
    while lives(process) and time.monotonic() < end:
        time.sleep(0.05)
    return not lives(process)


def with_background(mark: str, seconds: float, session: bool) -> int:
    background = subprocess.Popen(["sleep", "30"], start_new_session=session)
    Path(mark).write_text(str(background.pid))
    time.sleep(seconds)
    return background.pid


@pytest.mark.parametrize("session", [False, True])
def test_what_a_body_leaves_in_the_background_does_not_hold_up_its_node(
    session: bool, run: Callable[..., Any], tmp_path: Path
) -> None:
    start = time.monotonic()
    left = run(LocalExecutor(processes=1), with_background, mark=str(tmp_path / "mark"), seconds=0, session=session)
    assert time.monotonic() - start < 15
    if session:  # it holds the output of the body open, and is meant to go on
        assert lives(left)
        os.kill(left, 9)
    else:
        assert ends(left)


def test_a_timeout_kills_what_the_body_has_started_too(run: Callable[..., Any], tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"Task 'body' \(executor 'local'\) was stopped after 5 s"):
        run(
            LocalExecutor(processes=1),
            with_background,
            timeout=5,
            mark=str(tmp_path / "mark"),
            seconds=30,
            session=False,
        )
    assert time.monotonic() - start < 15
    assert ends(int((tmp_path / "mark").read_text()))


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {here!r})
from test_local import with_background
from glacier_prefect import LocalExecutor, run_context
from glacier_prefect.executors import Body

with run_context.entered(run_context.RunContext(run_id="r", node="body", exchange="data/.glacier/exchange/r")):
    inputs = {{"mark": "mark", "seconds": 60, "session": False}}
    LocalExecutor(processes=1).run(Body(function=with_background, inputs=inputs, finish=str))
"""


def test_what_a_body_has_started_ends_when_the_process_of_the_run_is_killed(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(KILLED.format(here=str(Path(__file__).parent)))
    with subprocess.Popen([sys.executable, "run.py"], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 30
        while not ((mark := tmp_path / "mark").exists() and mark.read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        process.kill()
    assert ends(int(mark.read_text()))


def test_a_body_that_waits_for_its_turn_is_stopped_by_its_timeout_and_with_the_run(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    executor, stop, mark = LocalExecutor(processes=1), threading.Event(), tmp_path / "mark"

    def until_stopped() -> Any:
        run_context.stop.set(stop)
        return run(executor, with_background, mark=str(mark), seconds=60, session=False)

    with ThreadPoolExecutor(2) as pool:
        try:
            first = pool.submit(until_stopped)
            end = time.monotonic() + 30
            while not mark.exists() and time.monotonic() < end:
                time.sleep(0.05)
            start = time.monotonic()
            with pytest.raises(TimeoutError, match=r"was stopped after 0\.5 s"):
                run(executor, with_background, timeout=0.5, mark=str(mark), seconds=0, session=False)
            second = pool.submit(until_stopped)
            time.sleep(0.3)
        finally:
            stop.set()
        for each in (first, second):
            with pytest.raises(ProcessError, match="was stopped, because the run ended"):
                each.result()
        assert time.monotonic() - start < 15
