"""Starts a server of one's own, waits until it answers, and stops it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")


class Unavailable(RuntimeError):
    """An emulator cannot run here; the message says why and what to do."""


@contextmanager
def server(
    name: str, command: Callable[[int, Path], Sequence[str]], *, env: Mapping[str, str] | None = None, wait: float = 60
) -> Iterator[int]:
    """Run a server while the block runs; yields its port once it takes connections.

    Args:
        name: What messages call it.
        command: Given a free port and an empty folder, the command that runs it.
        env: Variables that it gets besides this process's.
        wait: Seconds after which it should answer.
    """
    for attempt in (1, 2, 3):
        port, folder = free_port(), Path(tempfile.mkdtemp(prefix=f"glacier-{name}-"))
        keeper = subprocess.Popen(
            [sys.executable, str(KEEPER), str(folder), *command(port, folder)],
            env={**os.environ, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C means the tests, which still tidy up
        )
        try:
            if _answers(port, keeper, wait):
                yield port
                return
            log = folder / "server.log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
        finally:
            assert keeper.stdin
            keeper.stdin.close()
            keeper.wait()
            shutil.rmtree(folder, ignore_errors=True)
        if attempt == 3 or "in use" not in said:  # else something took the port in the meantime
            raise Unavailable(f"The emulator {name!r} did not start. It said:\n{said}")


def free_port() -> int:
    """Return a port of loopback that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _answers(port: int, keeper: subprocess.Popen[bytes], wait: float) -> bool:
    end = time.monotonic() + wait
    while keeper.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return keeper.poll() is None
    return False
