"""Runs bodies on this machine: in the thread of the node, or in processes of their own that can be stopped."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from glacier_prefect import exchange, run_context
from glacier_prefect.errors import GlacierError
from glacier_prefect.executors import child_process
from glacier_prefect.executors.base import Body, Executor, check_settings, is_whole, run_log
from glacier_prefect.executors.by_value import by_value

CHILD = "glacier_prefect.executors.local_child"


class ProcessError(GlacierError, RuntimeError):
    """The process of a task ended without a result."""


@dataclass(frozen=True, kw_only=True)
class LocalExecutor(Executor):
    """Local Python.

    Attributes:
        processes: 0 runs bodies in threads of this process. A number runs each in a process of its own, at most so many
            at once; such a process is killed when the task's `timeout_seconds` are over or the run ends.
    """

    name: ClassVar[str] = "local"

    processes: int = 0

    def __post_init__(self) -> None:
        check_settings(self, {"processes": (is_whole(self.processes, 0), "a whole number, 0 for threads")})

    @property
    def crosses(self) -> bool:
        return self.processes > 0

    def run(self, body: Body) -> Any:
        if not self.processes:
            return body.finish(body.value())
        return _Process(self, body).value()


@lru_cache
def _places(processes: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(processes)


class _Process:
    """A body in a process of its own, from the wait for its turn to its result."""

    def __init__(self, executor: LocalExecutor, body: Body) -> None:
        context = run_context.current()
        assert context is not None
        self.context, self.body = context, body
        self.end_by = math.inf if body.timeout is None else time.monotonic() + body.timeout
        self.places = _places(executor.processes)
        self.where = f"Task {context.node!r} (executor {executor.name!r})"

    def value(self) -> Any:
        """Run the body and return its value, finished there.

        Raises:
            ProcessError: It ended without a result, or was stopped.
            TimeoutError: The time is over.
        """
        while not self.places.acquire(timeout=child_process.LOOK_SECONDS):
            self._look()
        try:
            outcome = self._outcome()
        finally:
            self.places.release()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome[0]

    def _look(self) -> None:
        if run_context.stopping():
            raise ProcessError(f"{self.where} was stopped, because the run ended.")
        if time.monotonic() > self.end_by:
            raise TimeoutError(f"{self.where} was stopped after {self.body.timeout:g} s.")

    def _outcome(self) -> Any:
        folder = Path(self.context.exchange)
        folder.mkdir(parents=True, exist_ok=True)
        with by_value(_unimportable(self.body.function)):
            job = exchange.dumps({"context": self.context, "body": self.body})
        name = f"job-{os.getpid()}-{threading.get_ident()}"
        job_file, result_file = folder / name, folder / f"{name}.result"
        job_file.write_bytes(job)
        try:
            code = self._follow(job_file, result_file)
            if not result_file.exists():
                raise ProcessError(f"{self.where}: its process ended with code {code} and without a result.")
            return exchange.loads(result_file.read_bytes())
        finally:
            job_file.unlink(missing_ok=True)
            result_file.unlink(missing_ok=True)

    def _follow(self, job_file: Path, result_file: Path) -> int:
        """Run the child to its end and log what it says; stop it when the time or the run is over."""
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        log = run_log()
        # Streams of its own: a child that held the flow's would keep it looking alive after it is gone. It ends when
        # its stdin does.
        child = subprocess.Popen(
            [sys.executable, "-m", CHILD, str(job_file), str(result_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        try:
            for line in child_process.lines(child):
                if line:
                    log(logging.INFO, f"{self.context.node}: {line.decode(errors='replace').rstrip()}")
                else:
                    self._look()
        finally:
            child_process.kill(child)
        return child.returncode


def _unimportable(function: Callable[..., Any]) -> list[ModuleType]:
    """Return the module of a function, if another process could not import it by its name."""
    import importlib.util

    module = sys.modules.get(function.__module__)
    spec = None
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(function.__module__)
    importable = spec is not None and module is not None and spec.origin == getattr(module, "__file__", None)
    return [] if module is None or importable or function.__module__ == "__main__" else [module]
