"""Processes that write until they are killed: forks of one process, which has imported what they need once.

`python -m tests.writers MODULE` imports the module and then reads a JSON line a command. `start` forks a process that
calls the module's `main(ready, *words)` with further variables, and answers with its number once it has called `ready`,
or has ended; `wait` answers with its exit code (if below 0 the signal).
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Writer:
    """A process that writes."""

    pid: int
    ask: Callable[..., Any]

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)  # until it is waited for, its number is nobody else's
        assert self.wait() == -9

    def wait(self) -> int:
        return int(self.ask(wait=self.pid))


@contextmanager
def writers(module: str) -> Iterator[Callable[..., Writer]]:
    """Yield what starts a writer with words and variables and waits until it is ready."""
    command, root = [sys.executable, "-m", "tests.writers", module], Path(__file__).parents[1]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as forks:

        def ask(**asked: Any) -> Any:
            assert forks.stdin is not None
            assert forks.stdout is not None
            print(json.dumps(asked), file=forks.stdin, flush=True)
            return json.loads(forks.stdout.readline())

        def start(*words: object, env: Mapping[str, str] | None = None) -> Writer:
            return Writer(ask(start=[str(each) for each in words], env=dict(env or {})), ask)

        yield start


def forked(main: Callable[..., None], words: list[str], env: dict[str, str]) -> int:
    reads, writes = os.pipe()
    process = os.fork()
    if process == 0:
        os.environ.update(env)
        main(lambda: os.write(writes, b"."), *words)
        sys.exit()  # as a process of its own ends
    os.close(writes)
    os.read(reads, 1)
    os.close(reads)
    return process


if __name__ == "__main__":
    main = importlib.import_module(sys.argv[1]).main
    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            print(forked(main, asked["start"], asked["env"]), flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1]), flush=True)
    os.killpg(0, signal.SIGKILL)  # the test is over, or gone, and so is what still writes
