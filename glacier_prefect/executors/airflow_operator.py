"""Runs an operator in Airflow's own environment: the process there (`airflow_child`), followed until it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from glacier_prefect import run_context
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import ConfigurationError, RemoteFailed, TravelError
from glacier_prefect.exchange import is_frame, map_leaves
from glacier_prefect.executors import airflow_child, airflow_logs, child_process, parcel
from glacier_prefect.executors.base import refuse_secret, run_log

EXECUTOR = "airflow"
LEVELS = {"debug": logging.DEBUG, "warning": logging.WARNING, "error": logging.ERROR, "critical": logging.ERROR}
LAST_LINES = 20


class OperatorRun:
    """One operator on its way."""

    def __init__(self, python: str, timeout: float | None) -> None:
        context = run_context.current()
        assert context is not None
        self.context, self.python, self.timeout = context, python, timeout
        self.end_by = None if timeout is None else time.monotonic() + timeout
        self.where = f"Task {context.node!r} on executor {EXECUTOR!r} (Airflow of {python})"
        self.log = run_log()
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        """Run the operator that `function` returns there, and return its XCom.

        Raises:
            RemoteFailed: It failed or was stopped.
            TimeoutError: The time is over.
            TravelError: An argument, or the XCom, cannot travel, or has the value of a secret in it.
        """
        self._check_frames(inputs)
        exchange = Path(self.context.exchange)
        exchange.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="airflow-", dir=exchange))
        try:
            self._write_job(folder, function, inputs)
            code = self._follow(folder)
            return self._made(folder, code)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_frames(self, inputs: Mapping[str, Any]) -> None:
        def leaf(value: Any, path: tuple[Any, ...]) -> Any:
            if is_frame(value):
                raise TravelError(
                    f"{self.where} is given a frame as {path[0]!r}; frames do not go to Airflow.\n"
                    "Hint: write it with a sink, and give the operator the address or other plain values."
                )
            return value

        map_leaves(dict(inputs), leaf)

    def _write_job(self, folder: Path, function: Callable[..., Any], inputs: Mapping[str, Any]) -> None:
        import cloudpickle

        job = {"function": function, "inputs": dict(inputs)}
        (folder / airflow_child.JOB).write_bytes(parcel.pickled(job, function, inputs, EXECUTOR))
        library = folder / airflow_child.LIBRARY
        library.mkdir()
        (library / "cloudpickle").symlink_to(Path(cloudpickle.__file__).parent)
        databases = self.context.cache.parent / "airflow"
        settings = {"python": sys.version_info[:2], "databases": str(databases.absolute())}
        (folder / airflow_child.SETTINGS).write_text(json.dumps(settings))

    def _follow(self, folder: Path) -> int:
        """Run the child to its end and log what it says; stop it when the time or the task's run is over."""
        hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")  # of this environment
        env = {name: value for name, value in os.environ.items() if name not in hidden}
        env["PATH"] = os.pathsep.join([str(Path(self.python).parent), env.get("PATH", os.defpath)])
        try:
            # In a session of its own, so that Ctrl-C reaches it once: from here. It ends when its stdin does.
            child = subprocess.Popen(
                [self.python, "-I", "-u", airflow_child.__file__, str(folder.absolute())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        except OSError as error:
            raise ConfigurationError(
                f"{self.where} cannot be run: {error}\nHint: `python` of the executor names the Python of a virtual "
                "environment in which Airflow 3 is installed, as in AirflowExecutor(python='.airflow/bin/python')."
            ) from None
        try:
            for line in child_process.lines(child):
                if line:
                    self._take(line)
                else:
                    self._look()
        finally:
            child_process.stop(child, self._take)  # it calls the operator's on_kill
        return child.returncode

    def _look(self) -> None:
        if run_context.stopping():
            raise RemoteFailed(f"{self.where} was stopped, because the run ended.")
        if self.end_by is not None and time.monotonic() > self.end_by:
            raise TimeoutError(f"{self.where} was stopped after {self.timeout:g} s.")

    def _take(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if not text:
            return
        level, shown = logging.INFO, [text]
        if text.startswith("{"):
            with contextlib.suppress(ValueError, AttributeError):
                entry = json.loads(text)
                if "event" in entry:
                    level, shown = LEVELS.get(entry.get("level"), logging.INFO), list(airflow_logs.lines(entry))
        for each in shown:
            said = redaction.hidden(each)
            self.last.append(said)
            self.log(level, said)

    def _made(self, folder: Path, code: int) -> Any:
        try:
            made = pickle.loads((folder / airflow_child.RESULT).read_bytes())  # of the process that was started above
        except FileNotFoundError:
            said = "\n".join(self.last)
            raise RemoteFailed(f"{self.where}: its process ended with code {code}.\n{said}".rstrip()) from None
        except (ImportError, AttributeError) as error:
            raise TravelError(
                f"{self.where}: its XCom is of a type that is not installed here: {error}\n"
                "Hint: let the operator return plain values."
            ) from None
        if "value" in made:
            refuse_secret(made["value"], "The result", executor=EXECUTOR)
            return made["value"]
        if "refused" in made:
            raise RemoteFailed(redaction.hidden(f"{self.where}: {made['refused']}."))
        raise RemoteFailed(redaction.hidden(f"{self.where} failed: {made['error']}\nIn Airflow:\n{made['trace']}"))
