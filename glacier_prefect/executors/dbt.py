"""Runs dbt for a selection of a dbt project, and shows every model, test, seed and snapshot while it runs.

dbt itself runs in a process of its own (`dbt_child`), which this one follows, stops and takes the results of. Imports
neither dbt nor Prefect.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect import run_context
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import ArgumentsError, ConfigurationError, GlacierError, NotAvailableError, OptionError
from glacier_prefect.exchange import file_of, hand_over, is_frame, scan_file
from glacier_prefect.executors import child_process
from glacier_prefect.executors.base import Body, Executor, check_settings, is_whole, returned_constants, run_log

if TYPE_CHECKING:
    import polars as pl

FAILED = frozenset({"error", "fail", "runtime error", "partial success"})
NAMED_FAILURES = 10
LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
READ_AS = {"Duration": "a number without a unit", "Int128": "bytes", "UInt128": "bytes"}  # by types of Polars
_one_at_a_time = threading.Lock()  # tasks of one process often share a project's target folder and a DuckDB file


class DbtError(GlacierError, RuntimeError):
    """dbt failed, or could not be run."""


@dataclass(frozen=True, kw_only=True)
class DbtExecutor(Executor):
    """dbt: one `dbt build` for the task's selection.

    The task's function runs here first and may return selectors, which beat `select`. LazyFrames that it is given are
    tables of the source `glacier`: the argument `orders` is `{{ source('glacier', 'orders') }}` (dbt-duckdb only).
    DuckDB gives categories and enums back as text, arrays as lists, moments in UTC; it has no Duration of Polars' kind,
    so that is an error.

    dbt is run as its command line runs it, with the project's own profile; it needs neither prefect-dbt's blocks nor a
    server. A password in the profile is `{{ env_var('DBT_ENV_SECRET_PASSWORD') }}`: a variable of the work pool, or one
    that the task's function sets: `os.environ["DBT_ENV_SECRET_PASSWORD"] = Secret("DB_PASSWORD").get()`. Who keeps the
    profile in a block `DbtCliProfile` writes what its `get_profile()` gives to a `profiles.yml` there.

    Attributes:
        project_dir: Folder with `dbt_project.yml`, from the working directory.
        profiles_dir: Folder with `profiles.yml`; if None, where dbt looks. A project that has no profile anywhere gets
            an embedded DuckDB.
        target: Target of the profile.
        select: Selectors, as after `dbt build --select`; the whole project if empty.
        exclude: Selectors of what is left out.
        vars: dbt's variables.
        threads: Number of dbt's threads, the profile's if None.
        full_refresh: Whether incremental models are built anew.
        returns: Model whose rows the task returns as a LazyFrame; a list of models, or a dict of them by the name that
            they get, gives a dict of LazyFrames. None returns None.
    """

    name: ClassVar[str] = "dbt"
    paths: ClassVar[tuple[str, ...]] = ("project_dir", "profiles_dir")

    project_dir: str | os.PathLike[str] = "."
    profiles_dir: str | os.PathLike[str] | None = None
    target: str | None = None
    select: str | Sequence[str] = ()
    exclude: str | Sequence[str] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    full_refresh: bool = False
    returns: str | Sequence[str] | Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        fitting = {
            "project_dir": (isinstance(self.project_dir, str | os.PathLike), "a path"),
            "profiles_dir": (isinstance(self.profiles_dir, str | os.PathLike | None), "a path"),
            "target": (isinstance(self.target, str | None), "a text"),
            "select": (_is_texts(self.select), "a selector or a list of them"),
            "exclude": (_is_texts(self.exclude), "a selector or a list of them"),
            "vars": (isinstance(self.vars, Mapping), "a dict"),
            "threads": (self.threads is None or is_whole(self.threads, 1), "a number of at least 1"),
            "full_refresh": (isinstance(self.full_refresh, bool), "True or False"),
            "returns": (
                self.returns is None
                or _is_texts(list(self.returns.values()) if isinstance(self.returns, Mapping) else self.returns),
                "the name of a model, a list of names, or a dict of them",
            ),
        }
        check_settings(self, fitting)

    def check(self, function: Callable[..., Any], where: str) -> None:
        super().check(function, where)
        for value in returned_constants(function):
            if value is not None and not _is_texts(value):
                raise OptionError(
                    f"{where} returns {value!r}, which executor 'dbt' would ignore: its function returns selectors (a "
                    "str or a list of them) or nothing.\n"
                    "Hint: name the model whose rows the task returns in DbtExecutor(returns=...)."
                )

    def run(self, body: Body) -> Any:
        context = run_context.current()
        assert context is not None
        start = time.monotonic()
        selected = body.value()
        if selected is not None and not _is_texts(selected):
            raise ArgumentsError(
                f"Task {context.node!r} returned {type(selected).__name__}; with executor 'dbt' its function returns "
                "selectors (a str or a list of them) or nothing.\n"
                "Hint: name the model whose rows the task returns in DbtExecutor(returns=...)."
            )
        project = Path(self.project_dir).absolute()
        if not (project / "dbt_project.yml").is_file():
            raise ConfigurationError(
                f"Task {context.node!r} (executor 'dbt'): there is no dbt_project.yml in {project}.\n"
                "Hint: say where it is: DbtExecutor(project_dir=...), or project_dir in "
                "[environments.X.executors.dbt] of glacier.toml."
            )
        if importlib.util.find_spec("dbt") is None or importlib.util.find_spec("dbt.cli") is None:
            raise NotAvailableError(
                f"dbt is not installed, which the executor 'dbt' of task {context.node!r} needs.\n"
                "Hint: pip install 'glacier-prefect[dbt]'"
            )
        frames = dict(_frames(body.inputs))
        for name, frame in frames.items():
            _check_columns(frame, f"The frame {name!r} of task {context.node!r} (executor 'dbt')")
        chosen = _texts(self.select if selected is None else selected)
        returns = _named(self.returns)
        if selected is not None and not chosen and not returns:
            run_log()(logging.INFO, f"Task {context.node!r} selects nothing of {project}.")
            return body.finish(None)
        folder = Path(context.exchange) / f"dbt-{context.token.removeprefix(f'{context.run_id}-')}"
        state = folder / "state"
        state.mkdir(parents=True, exist_ok=True)
        job: dict[str, Any] = {
            "folder": str(folder),
            "project_dir": str(project),
            "profiles_dir": None if self.profiles_dir is None else str(Path(self.profiles_dir).absolute()),
            "target": self.target,
            "select": chosen,
            "exclude": _texts(self.exclude),
            "vars": dict(self.vars),
            "threads": self.threads,
            "full_refresh": self.full_refresh,
            "state": str(state),
            "databases": str(context.cache.parent / "dbt"),
        }
        # What the last attempt was asked for; a retry of something else would be a build of its own.
        # Its digest, since variables may be nobody else's business.
        asked = hashlib.blake2b(json.dumps(job, sort_keys=True, default=str).encode()).hexdigest()
        job["retry"] = (state / "run_results.json").exists() and _text_of(state / "asked") == asked
        (state / "asked").write_text(asked)
        job["inputs"] = {name: file_of(frame) or hand_over(frame).uri for name, frame in frames.items()}
        job["returns"] = [
            {"model": model, "file": str(folder / f"returned-{place}-{os.getpid()}-{time.monotonic_ns()}.parquet")}
            for place, model in enumerate(returns.values())
        ]
        left = None if body.timeout is None else body.timeout - (time.monotonic() - start)
        _Invocation(job, context.node, body.timeout, left).run()
        (state / "run_results.json").unlink(missing_ok=True)
        if not returns:
            return body.finish(None)
        scans = [scan_file(each["file"]) for each in job["returns"]]
        return body.finish(scans[0] if isinstance(self.returns, str) else dict(zip(returns, scans, strict=True)))


class _Invocation:
    """One run of dbt in a process of its own, followed until it ends."""

    def __init__(self, job: dict[str, Any], node: str, timeout: float | None, left: float | None) -> None:
        self.job, self.node, self.timeout = job, node, timeout
        self.end_by = None if left is None else time.monotonic() + left
        shown = run_context.inner.get()
        self.shown = None if shown is None else shown()
        self.log = run_log(self.shown)
        self.lines: dict[str, list[str]] = {}
        self.failures: list[tuple[str, str]] = []
        self.finished: dict[str, str] = {}  # statuses by node; dbt says of a skipped one twice that it is finished
        self.last: dict[str, Any] | None = None
        self.parents: dict[str, list[str]] = {}
        self.open: dict[str, int] = {}  # how many starts of a node have no end yet
        self.reasons: dict[str, list[str]] = {}
        self.started: dict[str, tuple[str, ...]] = {}  # each node that was started: its nearest ones before it

    @property
    def where(self) -> str:
        return f"task {self.node!r} (executor 'dbt', project {self.job['project_dir']})"

    def run(self) -> None:
        """Run it.

        Raises:
            DbtError: It failed or was stopped.
            TimeoutError: The time is over.
        """
        while not _one_at_a_time.acquire(timeout=child_process.LOOK_SECONDS):
            self._look()
        try:
            self._follow()
        finally:
            _one_at_a_time.release()
        self._raise_failures()

    def _follow(self) -> None:
        folder = Path(self.job["folder"])
        file = folder / "job.json"
        file.write_text(json.dumps(self.job, default=str))
        env = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", **os.environ}
        with open(folder / "stderr", "wb") as stderr:
            # In a session of its own, so that Ctrl-C reaches it once: from here. It ends when its stdin does.
            child = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("dbt_child.py")), str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=self.job["project_dir"],
                env=env,
                start_new_session=True,
            )
        try:
            for line in child_process.lines(child):
                if line.endswith(b"\n"):  # else it is cut off, or none
                    self._take(json.loads(line))
                else:
                    self._look()
        finally:
            child_process.stop(child)  # it cancels its queries and closes the warehouse
            file.unlink(missing_ok=True)
            if self.shown is not None:
                self.shown.close()
        self.code = child.returncode

    def _look(self) -> None:
        if run_context.stopping():
            raise DbtError(f"dbt of {self.where} was stopped, because the run ended.")
        if self.end_by is not None and time.monotonic() > self.end_by:
            raise TimeoutError(f"dbt of {self.where} was stopped after {self.timeout:g} s.")

    def _take(self, event: Mapping[str, Any]) -> None:
        what, node = event["what"], event.get("id", "")
        if what in ("start", "finish") and self._is_batch(event):
            return
        if what == "line":
            self._take_line(node, event["level"], redaction.hidden(event["text"]))
        elif what == "manifest" and self.shown is not None:
            self.parents = json.loads(Path(event["path"]).read_text())["parent_map"]
        elif what == "start":
            self.started[node] = self._before(node)
            if self.shown is not None:
                self.shown.start(node, event["name"], event["at"], self.started[node])
        elif what == "finish":
            status = event["status"]
            message = self._message(node, event["message"])
            self.finished[node] = status
            if status in FAILED:
                self.failures.append((node, message))
            if self.shown is not None:
                state = "failed" if status in FAILED else "skipped" if status == "skipped" else "completed"
                self.shown.end(node, event["at"], state, message, "\n".join(self.lines.pop(node, ())))
        elif what == "reason":
            self.reasons.setdefault(node, []).append(event["text"])
        elif what == "end":
            self.last = dict(event)
            for each in self.reasons.keys() & self.started.keys() - self.finished.keys():
                self.open[each] = 1
                self._take({"what": "finish", "id": each, "status": "error", "message": "", "at": time.time()})

    def _is_batch(self, event: Mapping[str, Any]) -> bool:
        """Whether this is the start or end of a batch of a node (microbatch), of which dbt tells under its name."""
        node, starts = event["id"], event["what"] == "start"
        self.open[node] = self.open.get(node, 0) + (1 if starts else -1)
        return self.open[node] != (1 if starts else 0)

    def _message(self, node: str, message: str) -> str:
        """Return what dbt says of a node with the reasons that are not in it."""
        reasons = [each for each in dict.fromkeys(self.reasons.get(node, ())) if each not in message]
        return redaction.hidden("\n".join([*([message] if message else ()), *reasons]))

    def _take_line(self, node: str, level: str, text: str) -> None:
        if not text.strip():
            return
        if self.shown is not None and node in self.started:
            self.lines.setdefault(node, []).append(text)
        else:
            self.log(LEVELS[level], text)

    def _before(self, node: str) -> tuple[str, ...]:
        """Return the nodes of this run that a node comes after, looking through those that are not selected."""
        found: dict[str, None] = {}
        seen: set[str] = set()
        pending = list(self.parents.get(node, ()))
        while pending:
            each = pending.pop()
            if each in self.started:
                found[each] = None
            elif each not in seen:
                seen.add(each)
                pending += self.parents.get(each, ())
        return tuple(found)

    def _raise_failures(self) -> None:
        last = self.last
        if last is None:
            said = _text_of(Path(self.job["folder"]) / "stderr").strip()[-2000:]
            raise DbtError(f"The process of dbt of {self.where} ended with code {self.code}.\n{said}".strip())
        if last["interrupted"]:
            raise DbtError(f"dbt of {self.where} was interrupted.")
        if self.failures:
            named = [f"{node}: {message}" for node, message in self.failures[:NAMED_FAILURES]]
            if len(self.failures) > NAMED_FAILURES:
                named.append(f"and {len(self.failures) - NAMED_FAILURES} more")
            skipped = list(self.finished.values()).count("skipped")
            head = f"dbt failed in {self.where}: {len(self.failures)} of {len(self.finished)} nodes failed"
            head += f", {skipped} skipped." if skipped else "."
            raise DbtError("\n".join([head, *named]))
        if not last["success"]:
            error = redaction.hidden(last["error"] or "it does not say why")
            hint = "\nHint: another process has the DuckDB file open; end it, or use another file." * (
                "lock on file" in error
            )
            raise DbtError(f"dbt failed in {self.where}: {error}{hint}")
        if not last["nodes"] and not self.job["retry"]:
            selected = " ".join(self.job["select"])
            raise DbtError(
                f"dbt had nothing to do in {self.where}: "
                + (f"the selection {selected!r} names no enabled node." if selected else "the project has no nodes.")
            )


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(each, str) for each in value))


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _named(returns: Any) -> dict[str, str]:
    """Return the models that are to be returned by the names that they get."""
    if isinstance(returns, Mapping):
        return dict(returns)
    return {name: name for name in _texts(returns or ())}


def _frames(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the frames among a task's arguments by name; those of `**kwargs` by their own."""
    for name, value in inputs.items():
        if is_frame(value):
            yield name, value
        elif isinstance(value, Mapping):
            yield from ((str(key), each) for key, each in value.items() if is_frame(each))


def _check_columns(frame: pl.LazyFrame | pl.DataFrame, what: str) -> None:
    """Raise for what DuckDB would silently read as something else."""
    schema = frame.lazy().collect_schema()
    seen: dict[str, str] = {}
    for column, kind in schema.items():
        twin = seen.setdefault(column.lower(), column)
        if twin != column:
            raise DbtError(f"{what} has columns {twin!r} and {column!r}, which are one in DuckDB.\nHint: rename one.")
        for name, read in READ_AS.items():
            if re.search(rf"\b{name}\b", repr(kind)):
                raise DbtError(
                    f"{what} has the column {column!r} of type {kind}, which DuckDB would read as {read}.\n"
                    "Hint: cast it in the task before, as in pl.col(...).dt.total_microseconds() or .cast(pl.Int64)."
                )


def _text_of(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except FileNotFoundError:
        return ""
