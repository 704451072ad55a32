"""Following a process that leads a process group of its own, so that it ends with all that it has started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

LOOK_SECONDS = 0.2
GRACE_SECONDS = 10.0


def lines(child: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield what a child says, line by line, each with its newline, and an empty one at least each `LOOK_SECONDS`.

    It ends when the child does, even if a process that it has left holds the other end of its output open.

    Args:
        child: Started with `stdout=subprocess.PIPE`.
    """
    assert child.stdout is not None
    output = child.stdout.fileno()
    poller = select.poll()  # select.select takes no descriptor above 1023
    poller.register(output, select.POLLIN)
    rest, over = b"", False
    while not over:
        over = child.poll() is not None
        if poller.poll(0 if over else LOOK_SECONDS * 1000):
            data = os.read(output, 1 << 16)  # as much as a pipe holds
            if not data and not over:  # it has closed its output, and may go on
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(LOOK_SECONDS)
            *whole, rest = (rest + data).split(b"\n")
            yield from (each + b"\n" for each in whole)
        if not over:
            yield b""
    if rest:
        yield rest


def stop(child: subprocess.Popen[bytes], take: Callable[[bytes], object] = lambda line: None) -> None:
    """Close a child's stdin, at which it is to end; kill it, and what it has started, when it has ended or has taken
    `GRACE_SECONDS`.

    Args:
        child: Started with `stdin` and `stdout=subprocess.PIPE`, and `start_new_session=True`.
        take: Gets what it still says, as of `lines`; it must be read, since a child that cannot write does not end.
    """
    assert child.stdin is not None
    end_by = time.monotonic() + GRACE_SECONDS
    try:
        with contextlib.suppress(OSError):
            child.stdin.close()
        for line in lines(child):
            take(line)
            if time.monotonic() > end_by:
                break
    finally:
        kill(child)


def kill(child: subprocess.Popen[bytes]) -> None:
    """Kill a child, and what it has started, at once, and close its streams.

    Args:
        child: Started with `start_new_session=True`.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: not permitted if only zombies are left
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()
