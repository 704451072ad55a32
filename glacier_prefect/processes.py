"""Who runs here: names for this machine and its processes by which others can tell that one is gone; and what Ctrl-C
waits for.

A process id alone says little: it is used again, and means another process in a container or on another machine.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any


@cache
def machine() -> str:
    """Return a name for where process ids mean what they mean here: this machine since it was started, and in it this
    container.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def begun(process: int) -> str | None:
    """Return what tells a process from a later one with the same id; None where the system does not say."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def is_alive(process: int, when: str | None = None) -> bool:
    """Whether a process of this machine still runs.

    Args:
        process: Its id.
        when: What `begun` said of it.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # of another user
    with contextlib.suppress(OSError, IndexError):
        stat = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return stat[0] != "Z" and when in (None, stat[19])  # a zombie has ended, but nobody has asked how
    return True


def works_in(folder: Path) -> bool:
    """Whether a process of this machine works in a folder, which may be deleted; True where that cannot be seen."""
    if not Path("/proc/self/cwd").exists():
        return True
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                if Path(os.readlink(each / "cwd").removesuffix(" (deleted)")).is_relative_to(folder):
                    return True
            except PermissionError:  # of another user
                with contextlib.suppress(OSError):
                    if (each / "comm").read_text().strip() in ("terraform", "tofu"):
                        return True
            except OSError:
                pass  # it has ended
    return False


def this_process() -> dict[str, Any]:
    """Return plain data about this process, by which others name it and can tell whether it is gone.

    `user` and `host` are as Terraform names whoever locks a state; `hosted` says that this machine is thrown away
    after the job, as GitHub's own runners are (https://docs.github.com/actions/reference/workflows-and-actions/variables).
    """
    return {
        "user": _account(),
        "host": socket.gethostname(),
        "machine": machine(),
        "process": os.getpid(),
        "begun": begun(os.getpid()),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]),
        "since": datetime.now(UTC).isoformat(" ", "seconds"),
        "hosted": os.environ.get("GITHUB_ACTIONS") == "true"
        and os.environ.get("RUNNER_ENVIRONMENT") == "github-hosted",
    }


def named(process: Mapping[str, Any]) -> str:
    """Return for people what `this_process` said of one."""
    where = f"{process['user']} on {process['host']}, process {process['process']} ({process['command']})"
    return f"{where}, since {process['since']},"


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user id without a name, as in containers
        with contextlib.suppress(KeyError, OSError):
            return getpass.getuser()
        return f"user {os.getuid()}"


@contextlib.contextmanager
def interrupts_held(waiting: str | None = None) -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until what this yields is called, or the block is over. Not within itself.

    Args:
        waiting: What the first one says; a second one comes through at once then.
    """
    before, came = signal.getsignal(signal.SIGINT), 0
    holds = threading.current_thread() is threading.main_thread() and callable(before)

    def hold(*_: object) -> None:
        nonlocal came
        came += 1
        if waiting is not None:
            if came > 1:
                let_through()
            else:
                print(waiting, file=sys.stderr, flush=True)

    def let_through() -> None:
        nonlocal holds
        if holds:
            holds = False
            signal.signal(signal.SIGINT, before)
            if came:
                signal.raise_signal(signal.SIGINT)

    if holds:
        signal.signal(signal.SIGINT, hold)
    try:
        yield let_through
    finally:
        let_through()
