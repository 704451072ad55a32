"""The process in which `DbtExecutor` runs dbt: `python -P dbt_child.py JOB`.

A process of its own, because dbt changes the working directory and keeps its state in globals, and because it can be
interrupted as dbt's command line is. It reads the job, says on its standard output what happens, a JSON object a line,
and ends when its parent does. Run by its path, so that nothing of Glacier has to be imported: it imports dbt only.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import fcntl
import gc
import io
import itertools
import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCE = "glacier"
FROM_DBT = {"model", "seed", "snapshot"}
GRACE_SECONDS = 10.0
SKIPPED = {"target", "logs", "dbt_packages", "venv"}
_alone = threading.Event()  # set when the parent is gone
_READS = re.compile(r"""source\(\s*['"]glacier['"]\s*,\s*['"](\w+)['"]""")


class Refused(Exception):
    """What the job asks for is not possible."""


class Wire:
    """Where events go: the standard output that the process was started with; what is printed goes to stderr."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        self._lock = threading.Lock()
        os.dup2(2, 1)

    def send(self, what: str, **facts: Any) -> None:
        """Send one event."""
        line = json.dumps({"what": what, **facts}).encode() + b"\n"
        with self._lock, contextlib.suppress(OSError):  # nobody listens any more
            while line:
                line = line[self._out.write(line) or 0 :]


class Printed(io.TextIOBase):
    """A standard output whose lines are events; Python models print."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def write(self, text: str) -> int:
        """Send the lines of a text."""
        for line in text.splitlines():
            self._wire.send("line", id="", level="info", text=line)
        return len(text)


class Job:
    """One invocation of dbt."""

    def __init__(self, job: dict[str, Any], wire: Wire) -> None:
        self.job, self.wire = job, wire
        self.announced = False

    def run(self) -> None:
        """Run dbt, write the models that are asked for to files, and say how it ended."""
        gc.disable()  # an import makes no garbage worth looking for, which takes a fifth of its time
        from dbt.cli.main import dbtRunner

        gc.enable()
        job = self.job
        if tables := {*job["inputs"], *_read_inputs(Path(job["project_dir"]))}:
            _declare_inputs(Path(job["folder"]), tables)
        if job["inputs"]:
            _place_inputs(job["inputs"])
        options = ["--project-dir", job["project_dir"], *self._profile()]
        for option in ("target", "threads"):
            options += [f"--{option}", str(job[option])] if job[option] is not None else []
        options += ["--vars", json.dumps(job["vars"])] if job["vars"] else []
        if job["retry"]:
            command = ["retry", "--state", job["state"], *options]
        else:
            command = ["build", *options, *(["--full-refresh"] if job["full_refresh"] else [])]
            command += ["--select", *job["select"]] if job["select"] else []
            command += ["--exclude", *job["exclude"]] if job["exclude"] else []
        # Nothing is printed, since all that dbt says comes to the callback.
        done = dbtRunner(callbacks=[self.observe]).invoke(["--no-use-colors", "--quiet", *command])
        interrupted = isinstance(done.exception, KeyboardInterrupt | SystemExit)
        results = getattr(done.result, "results", None)
        if not done.success and not interrupted and results:
            with contextlib.suppress(OSError):
                shutil.copy(self._target() / "run_results.json", Path(job["state"]) / "run_results.json")
        error = None if done.exception is None else str(done.exception).strip() or type(done.exception).__name__
        if done.success and job["returns"]:
            self._export()
        self.wire.send("end", success=done.success, error=error, interrupted=interrupted, nodes=len(results or ()))

    def observe(self, event: Any) -> None:
        """Send on what matters of one of dbt's events; called in dbt's threads."""
        info = event.info
        name = info.name
        if name == "NodeStart":
            node = event.data.node_info
            if not self.announced:
                self.announced = True
                self.wire.send("manifest", path=str(self._target() / "manifest.json"))
            self.wire.send("start", id=node.unique_id, name=f"{node.resource_type} {node.node_name}", at=time.time())
        elif name == "NodeFinished":
            result = event.data.run_result
            self.wire.send(
                "finish",
                id=event.data.node_info.unique_id,
                status=result.status,
                message=result.message,
                at=time.time(),
            )
        elif name == "GenericExceptionOnRun":  # the result of a batch, or of what dbt did not expect, has no reason
            self.wire.send("reason", id=event.data.node_info.unique_id, text=event.data.exc)
        elif name == "AdapterRegistered":
            adapter = event.data.adapter_name
            if self.job["inputs"] and adapter != "duckdb":
                raise Refused(
                    f"frames cannot become sources of dbt's adapter {adapter!r}; only dbt-duckdb reads the "
                    f"Parquet files that they are ({', '.join(self.job['inputs'])}).\n"
                    "Hint: load the frame into the warehouse in a task before, and name that task in depends_on."
                )
        elif name == "FoundStats":
            self._check_returns()
        if info.level not in ("debug", "test"):
            node = getattr(event.data, "node_info", None)
            self.wire.send("line", id=getattr(node, "unique_id", ""), level=info.level, text=info.msg)

    def _profile(self) -> list[str]:
        """Return the options that choose a profile; where there is none, that of an embedded DuckDB."""
        from dbt.clients.yaml_helper import load_yaml_text

        project = Path(self.job["project_dir"])
        given = self.job["profiles_dir"]
        if given:
            return ["--profiles-dir", given]
        settings = load_yaml_text((project / "dbt_project.yml").read_text()) or {}
        files = [project / "profiles.yml", Path.home() / ".dbt" / "profiles.yml"]
        named = settings.get("profile")
        if os.environ.get("DBT_PROFILES_DIR") or (named and any(file.is_file() for file in files)):
            return []
        name, target = named or SOURCE, self.job["target"] or "dev"
        file = Path(self.job["databases"]) / f"{settings.get('name', SOURCE)}.duckdb"
        file.parent.mkdir(parents=True, exist_ok=True)
        output = {"type": "duckdb", "path": str(file), "threads": 4}
        profile = {name: {"target": target, "outputs": {target: output}}}
        (Path(self.job["folder"]) / "profiles.yml").write_text(json.dumps(profile))  # which is YAML, too
        self.wire.send("line", id="", level="info", text=f"The project has no profile: DuckDB in {file} is used.")
        return ["--profiles-dir", self.job["folder"], "--profile", name]

    def _adapter(self) -> Any:
        from dbt.adapters.factory import FACTORY

        return next(iter(FACTORY.adapters.values()))

    def _target(self) -> Path:
        return Path(self._adapter().config.project_target_path)

    def _check_returns(self) -> None:
        """Raise if a model that is to be returned is none: before anything is built, as soon as dbt knows its nodes."""
        if not self.job["returns"]:
            return
        nodes = json.loads((self._target() / "manifest.json").read_text())["nodes"].values()
        known = {node["name"]: node for node in nodes if node["resource_type"] in FROM_DBT}
        for each in self.job["returns"]:
            node = known.get(each["model"])
            if node is None:
                near = difflib.get_close_matches(each["model"], known, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(map(repr, sorted(known)))}."
                raise Refused(f"returns names {each['model']!r}, which is no model of the project. {hint}")
            if not node.get("relation_name"):
                raise Refused(
                    f"returns names {each['model']!r}, which is {node['config']['materialized']} and so in no table."
                )
            each["relation"] = node["relation_name"]

    def _export(self) -> None:
        """Write the models that are to be returned to Parquet files."""
        adapter = self._adapter()
        with adapter.connection_named(SOURCE):
            for each in self.job["returns"]:
                query, file = f"select * from {each['relation']}", each["file"]
                if adapter.type() == "duckdb":
                    adapter.execute(f"copy ({query}) to {_quoted(file)} (format parquet)")
                else:
                    _fetch(adapter.connections.get_thread_connection().handle.cursor(), query, file)


def _fetch(cursor: Any, query: str, file: str) -> None:
    """Write the rows of a query to a file, through what every database driver has."""
    import polars as pl

    cursor.execute(query)
    names = [column[0] for column in cursor.description]
    rows = [tuple(row) for row in cursor.fetchall()]
    pl.DataFrame(rows, schema=names, orient="row", infer_schema_length=None).write_parquet(file)


def _read_inputs(project: Path) -> Iterator[str]:
    """Yield the tables of the source `glacier` that the project's files read: other tasks give it more than this one.

    Without it, dbt could not parse the models that this task does not even select.
    """
    for folder, folders, files in os.walk(project):
        folders[:] = [each for each in folders if each not in SKIPPED and not each.startswith(".")]
        for name in files:
            if name.endswith((".sql", ".py", ".yml", ".yaml")):
                text = Path(folder, name).read_text(errors="replace")
                if SOURCE in text:
                    yield from _READS.findall(text)


def _declare_inputs(folder: Path, names: set[str]) -> None:
    """Declare tables of the source `glacier`, in a package beside the project, so that nothing in the project changes.

    Where the project declares them itself, dbt takes its own declaration.
    """
    from dbt.config.runtime import RuntimeConfig

    package = folder / "inputs"
    (package / "models").mkdir(parents=True, exist_ok=True)
    (package / "dbt_project.yml").write_text("name: glacier_inputs\nversion: '1.0'\nconfig-version: 2\n")
    tables = [{"name": name} for name in sorted(names)]
    (package / "models" / "sources.yml").write_text(
        json.dumps({"version": 2, "sources": [{"name": SOURCE, "tables": tables}]})
    )
    load = RuntimeConfig.load_projects

    def load_projects(self: Any, paths: Any) -> Any:
        return load(self, itertools.chain(paths, [package]))

    RuntimeConfig.load_projects = load_projects


def _place_inputs(inputs: dict[str, str]) -> None:
    """Let dbt-duckdb read the tables of the source `glacier` from files, whoever declares them."""
    from dbt.adapters.duckdb.relation import DuckDBRelation

    create = DuckDBRelation.create_from_source.__func__

    def create_from_source(cls: Any, /, quoting: Any, source: Any, **options: Any) -> Any:
        relation = create(cls, quoting, source, **options)
        file = inputs.get(source.name) if source.source_name == SOURCE else None
        return relation if file is None else relation.replace(external=_quoted(file))

    DuckDBRelation.create_from_source = classmethod(create_from_source)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent closes its end, or is gone
    _alone.set()
    os.kill(os.getpid(), signal.SIGINT)  # dbt cancels its queries and closes the warehouse
    time.sleep(GRACE_SECONDS)
    _end_all()


def _end_all() -> None:
    """End this process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpid(), signal.SIGKILL)  # the group that the parent has made it the leader of
    os._exit(1)


def main(file: str) -> None:
    """Run the job in `file`."""
    wire = Wire()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        with open(Path(file).with_name("lock"), "w") as lock, contextlib.redirect_stdout(Printed(wire)):
            fcntl.flock(lock, fcntl.LOCK_EX)  # dbt of an attempt that was killed may still be about to end
            Job(json.loads(Path(file).read_text()), wire).run()
    except Exception as error:
        wire.send("end", success=False, error=f"{type(error).__name__}: {error}", interrupted=False, nodes=0)
    atexit._run_exitfuncs()  # adapters close their warehouse there
    sys.stderr.flush()
    if _alone.is_set():
        _end_all()
    os._exit(0)  # libraries of warehouses complain, or hang, when the interpreter ends


if __name__ == "__main__":
    main(sys.argv[1])
