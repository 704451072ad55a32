"""Programs that the action runs, each stopped when the job is cancelled."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from action.failures import Failed, Reason

_running: list[subprocess.Popen[str]] = []
_cancelled = threading.Event()


@contextlib.contextmanager
def cancelling() -> Iterator[None]:
    """Hand the interrupt of a cancelled job on to the program that runs, once, and wait for its end.

    GitHub interrupts a step, terminates it 7.5 s later, and kills it 2.5 s after that. A second interrupt would have
    Glacier kill Terraform, which then may lose what it just made, so what comes after the first is not handed on: what
    is not finished when the kill comes is made good by the next deploy.
    """

    def stop(*_: Any) -> None:
        if not _cancelled.is_set():
            _cancelled.set()
            for each in _running:
                each.send_signal(signal.SIGINT)

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _cancelled.clear()


def run(
    words: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    on_line: Callable[[str], object],
    keep: bool = False,
) -> tuple[int, str]:
    """Run a program and return its exit code and, if it is kept, what it wrote to its standard output.

    Args:
        words: The program and its arguments.
        folder: Where it runs.
        environment: All of its environment.
        on_line: Called with each line that it prints.
        keep: Whether its standard output is kept and not handed to `on_line`.

    Raises:
        Failed: The job is cancelled, or there is no such program.
    """
    check_cancelled()
    try:
        process = subprocess.Popen(
            list(words),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if keep else subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # an interrupt comes from here only
        )
    except FileNotFoundError:
        raise Failed(Reason.INSTALL_FAILED, f"There is no program {words[0]!r} on PATH.") from None
    _running.append(process)
    if _cancelled.is_set():  # since `check_cancelled`
        process.send_signal(signal.SIGINT)
    kept: list[str] = []
    assert process.stdout is not None
    reader = None
    if keep:
        reader = threading.Thread(target=lambda stream=process.stdout: kept.append(stream.read()), daemon=True)
        reader.start()
    try:
        for line in process.stderr or process.stdout if keep else process.stdout:
            on_line(line.rstrip("\n"))
        code = process.wait()
        if reader is not None:
            reader.join()
    finally:
        _running.remove(process)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
    return code, "".join(kept)


def check_cancelled() -> None:
    """Raise if the job is cancelled."""
    if _cancelled.is_set():
        raise Failed(Reason.CANCELLED, "The job was cancelled.")


def is_cancelled() -> bool:
    """Whether the job is cancelled."""
    return _cancelled.is_set()
