"""Runs bodies on this machine: in the thread of the node, or in processes of their own that can be stopped."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from glacier_prefect import exchange, run_context
from glacier_prefect.errors import GlacierError, OptionError
from glacier_prefect.executors.base import Executor, call, run_log

CHILD = "glacier_prefect.executors.local_child"
LOOK_SECONDS = 0.2


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
        if not isinstance(self.processes, int) or isinstance(self.processes, bool) or self.processes < 0:
            raise OptionError(
                f"LocalExecutor has processes={self.processes!r}; expected a whole number, 0 for threads."
            )

    @property
    def crosses(self) -> bool:
        return self.processes > 0

    def run(
        self,
        function: Callable[..., Any],
        inputs: Mapping[str, Any],
        *,
        timeout: float | None,
        finish: Callable[[Any], Any],
    ) -> Any:
        if not self.processes:
            return finish(call(function, inputs))
        with _places(self.processes):
            return _run_in_process(function, inputs, timeout, finish)


@lru_cache
def _places(processes: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(processes)


def _run_in_process(
    function: Callable[..., Any], inputs: Mapping[str, Any], timeout: float | None, finish: Callable[[Any], Any]
) -> Any:
    context = run_context.current()
    assert context is not None
    folder = Path(context.exchange)
    folder.mkdir(parents=True, exist_ok=True)
    with by_value(function):
        job = exchange.dumps({"context": context, "function": function, "inputs": dict(inputs), "finish": finish})
    name = f"job-{os.getpid()}-{threading.get_ident()}"
    job_file, result_file = folder / name, folder / f"{name}.result"
    job_file.write_bytes(job)
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    # Streams of its own: a child that held the flow's would keep it looking alive after it is gone. It ends when its
    # stdin does.
    child = subprocess.Popen(
        [sys.executable, "-m", CHILD, str(job_file), str(result_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": path},
    )
    forward = threading.Thread(target=_forward, args=(child, context.node, run_log()), daemon=True)
    forward.start()
    try:
        _wait(child, timeout, context.node)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        child.wait()
        forward.join(1)
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        job_file.unlink(missing_ok=True)
    try:
        outcome = exchange.loads(result_file.read_bytes())
    except FileNotFoundError:
        raise ProcessError(
            f"The process of task {context.node!r} ended with code {child.returncode} and without a result."
        ) from None
    finally:
        result_file.unlink(missing_ok=True)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome[0]


def _wait(child: subprocess.Popen[bytes], timeout: float | None, node: str) -> None:
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        left = LOOK_SECONDS if end is None else min(LOOK_SECONDS, end - time.monotonic())
        if left <= 0:
            raise TimeoutError(f"Task {node!r} was stopped after {timeout:g} s.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(left)
            return
        if run_context.stopping():
            raise ProcessError(f"The process of task {node!r} was stopped, because the run ended.")


@contextlib.contextmanager
def by_value(function: Callable[..., Any]) -> Any:
    """Pickle the module of `function` by value within the block, if another process could not import it by its name."""
    import importlib.util

    import cloudpickle

    module = sys.modules.get(function.__module__)
    spec = None
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(function.__module__)
    importable = spec is not None and module is not None and spec.origin == getattr(module, "__file__", None)
    if module is None or importable or function.__module__ == "__main__":
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _forward(child: subprocess.Popen[bytes], node: str, log: Callable[[int, str], None]) -> None:
    """Log what the child prints, line by line."""
    assert child.stdout is not None
    with contextlib.suppress(ValueError):
        for line in child.stdout:
            log(logging.INFO, f"{node}: {line.decode(errors='replace').rstrip()}")
