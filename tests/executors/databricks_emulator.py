"""A Databricks workspace on this machine: its API over HTTP, and runs that are real processes.

A run's process has a disk of its own, on which there are the volumes, the workspace's files, Python, and the packages
that the run asked for, linked from this environment as if pip had installed them; nothing else of this machine's disk
can be seen there. Clusters have no volumes unless they have a security mode, uploads need their folder, tokens end,
runs of one token are one run, answers have the words and codes of Databricks. What no emulator can bring about by
itself is told to it: `faults`, `endings`.
"""

from __future__ import annotations

import base64
import contextlib
import email
import functools
import importlib.metadata
import itertools
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from packaging.requirements import Requirement

RUNTIME = "16.4"
CUT, UNHEARD = 0, -1  # statuses of a `Fault`
USER = "someone@example.com"
IN_EVERY_IMAGE = ("pyspark", "pandas", "numpy", "pyarrow")  # neither Polars nor cloudpickle
PACKAGES = Path(importlib.metadata.distribution("cloudpickle").locate_file("")).resolve()
PYTHON = os.path.realpath(sys.executable)

# Makes the disk of a run below the folder $1 and runs the command from $6 on in it, within mounts of its own.
DISK = r"""
set -e
root=$1 volumes=$2 workspace=$3 driver=$4 packages=$5; shift 5
mount -t tmpfs none "$root"
for each in /usr /bin /sbin /lib /lib32 /lib64 /etc PREFIX; do
    if [ -L "$each" ]; then cp -P "$each" "$root$each"
    elif [ -d "$each" ]; then mkdir -p "$root$each"; mount --bind "$each" "$root$each"; fi
done
for each in /proc /dev /sys; do mkdir "$root$each"; mount --rbind "$each" "$root$each"; done
mkdir -p "$root/tmp" "$root/Workspace" "$root/databricks/driver" "$root/databricks/packages"
mount --bind "$workspace" "$root/Workspace"
mount --bind "$driver" "$root/databricks/driver"
mount --bind "$packages" "$root/databricks/packages"
if [ -n "$volumes" ]; then mkdir "$root/Volumes"; mount --bind "$volumes" "$root/Volumes"; fi
exec chroot "$root" "$@"
""".replace("PREFIX", os.path.realpath(sys.base_prefix))

# What runs there: a file as a script, or as a notebook with `dbutils`.
RUNNER = """
import json, os, runpy, sys, traceback, types
os.chdir("/databricks/driver")
sys.path.append("/databricks/driver/lib")
kind, file, *arguments = sys.argv[1:]

class Exit(BaseException): pass

def leave(value):
    raise Exit(str(value))

def widget(name):
    if name not in parameters:
        raise RuntimeError(f"InputWidgetNotDefined: No input widget named {name} is defined")
    return parameters[name]

made = {}
try:
    if kind == "notebook":
        parameters = json.loads(arguments[0])
        notebook = types.SimpleNamespace(exit=leave)
        dbutils = types.SimpleNamespace(widgets=types.SimpleNamespace(get=widget), notebook=notebook)
        runpy.run_path(file, init_globals={"dbutils": dbutils}, run_name="__main__")
    else:
        sys.argv = [file, *arguments]
        runpy.run_path(file, run_name="__main__")
except Exit as left:
    made["result"] = left.args[0]
except BaseException as error:
    if not isinstance(error, SystemExit) or error.code:
        made["error"] = "".join(traceback.format_exception_only(type(error), error)).strip()
        made["error_trace"] = traceback.format_exc()
with open("/databricks/driver/outcome.json", "w") as opened:
    json.dump(made, opened)
"""


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.content = status, {"error_code": code, "message": message}


def invalid(message: str) -> Refused:
    return Refused(400, "INVALID_PARAMETER_VALUE", message)


@dataclass(kw_only=True)
class Fault:
    """What happens to the next calls of a path instead of their answers.

    Attributes:
        path: Pattern that the beginning of the path below `/api/2.x/` fits.
        status: The answer's status; `CUT` ends the connection before the call is looked at, `UNHEARD` after it was
            carried out.
        times: How many calls.
        retry_after: Seconds in the header `Retry-After`.
        hit: When it happened.
    """

    path: str
    status: int
    times: int = 1
    retry_after: int | None = None
    hit: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run is to end without being run."""

    life: str = "TERMINATED"
    result: str | None = None
    code: str | None = None
    message: str = ""


@dataclass(kw_only=True)
class TaskRun:
    """The run of one task.

    Attributes:
        id: Its id.
        spec: The task as submitted.
        process: The process that it runs in.
        output: What get-output says of it.
        result: Its result state.
    """

    id: int
    spec: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    output: dict[str, Any] = field(default_factory=dict)
    result: str | None = None


@dataclass(kw_only=True)
class Run:
    """A run."""

    id: int
    name: str
    kind: str
    tasks: list[TaskRun]
    environments: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    timeout: int = 0
    job: int | None = None
    life: str = "PENDING"
    result: str | None = None
    code: str | None = None
    message: str = ""
    cancelled: bool = False

    @property
    def over(self) -> bool:
        return self.life in ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")


class Databricks:
    """The workspace.

    Attributes:
        url: Its address.
        volumes: Folder of this machine with what is below `/Volumes` there.
        workspace: The same for `/Workspace`.
        tokens: When each token ends, by `time.monotonic`.
        clients: Secrets of service principals by their ids.
        lifetime: Seconds that their tokens are good for.
        clusters: State of each cluster, "RUNNING" or why it does not start.
        jobs: Settings of each job.
        faults: What is to go wrong.
        endings: How the next runs end without being run.
        env: Variables of the processes of runs, as the roles of clusters give them.
        refused: Paths of calls whose token was not good.
        runs: All runs.
        calls: All calls: method, path below `/api/2.x/`, JSON body.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.volumes, self.workspace = folder, folder / "volumes", folder / "workspace"
        (self.volumes / "main/default/exchange").mkdir(parents=True)
        (self.workspace / "Users" / USER).mkdir(parents=True)
        self.tokens: dict[str, float] = {}
        self.clients: dict[str, str] = {}
        self.lifetime = 3600.0
        self.clusters: dict[str, str] = {"0101-120000-abcdefgh": "RUNNING"}
        self.jobs: dict[int, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.endings: list[Ending] = []
        self.env: dict[str, str] = {}
        self.refused: list[str] = []
        self.runs: dict[int, Run] = {}
        self.calls: list[tuple[str, str, Any]] = []
        self._by_token: dict[str, int] = {}
        self._parts: dict[str, dict[int, bytes]] = {}
        self._ids = itertools.count(1001)
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._serving.start()

    def close(self) -> None:
        """End all runs and the server."""
        for run in list(self.runs.values()):
            self._stop(run)
        for thread in self._threads:
            thread.join(20)
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()

    def new_token(self, seconds: float = 3600) -> str:
        """Return a token that is good for so long."""
        token = f"dapi{uuid.uuid4().hex}"
        self.tokens[token] = time.monotonic() + seconds
        return token

    def notebook(self, path: str, source: str) -> None:
        """Put a notebook into the workspace."""
        file = self.workspace / path.removeprefix("/Workspace").lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Databricks notebook source\n{source}")

    def called(self, path: str) -> list[Any]:
        """Return the bodies of the calls of a path."""
        return [body for _, each, body in self.calls if each == path]

    # -- who calls -----------------------------------------------------------------------------------------------------

    def authenticate(self, header: str, path: str) -> None:
        if self.tokens.get(header.removeprefix("Bearer "), 0) < time.monotonic():
            self.refused.append(path)
            raise Refused(403, "403", "Invalid access token.")

    def client_token(self, header: str) -> dict[str, Any]:
        """Answer a service principal that asks for a token."""
        client, _, secret = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        if not secret or self.clients.get(client) != secret:
            raise Refused(401, "invalid_client", "Client authentication failed")
        return {"access_token": self.new_token(self.lifetime), "token_type": "Bearer", "expires_in": int(self.lifetime)}

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if (known := self._known(body)) is not None:
                return {"run_id": known}
            environments = {each["environment_key"]: each["spec"] for each in body.get("environments", ())}
            for task in body["tasks"]:
                self._check_compute(task, environments)
            return {"run_id": self._start(body, "SUBMIT_RUN", body["tasks"], environments=environments).id}

    def run_now(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if (known := self._known(body)) is not None:
                return {"run_id": known}
            job = self.jobs.get(body["job_id"])
            if job is None:
                raise invalid(f"Job {body['job_id']} does not exist.")
            defaults = {each["name"]: each["default"] for each in job.get("parameters", ())}
            parameters = {**defaults, **body.get("job_parameters", {})}
            active = [run for run in self.runs.values() if run.job == body["job_id"] and not run.over]
            if len(active) >= job.get("max_concurrent_runs", 1):
                words = "MAXIMUM_CONCURRENT_RUNS_REACHED"
                self.endings.insert(0, Ending(life="SKIPPED", result=words, code="MAX_CONCURRENT_RUNS_EXCEEDED"))
            run = self._start(
                body, "JOB_RUN", job["tasks"], parameters=parameters, job=body["job_id"], name=job["name"]
            )
            return {"run_id": run.id, "number_in_job": run.id}

    def _known(self, body: dict[str, Any]) -> int | None:
        token = body.get("idempotency_token")
        if token and len(token) > 64:
            raise invalid("The idempotency token is longer than 64 characters.")
        return self._by_token.get(token) if token else None

    def _check_compute(self, task: dict[str, Any], environments: dict[str, Any]) -> None:
        kinds = [key for key in ("existing_cluster_id", "new_cluster", "environment_key") if key in task]
        if len(kinds) > 1:
            raise invalid(f"Task {task['task_key']} has {' and '.join(kinds)}.")
        if "existing_cluster_id" in task and task["existing_cluster_id"] not in self.clusters:
            raise invalid(f"Cluster {task['existing_cluster_id']} does not exist")
        if "new_cluster" in task and not {"spark_version", "node_type_id"} <= task["new_cluster"].keys():
            raise invalid("Missing required field: settings.cluster_spec.new_cluster.spark_version or node_type_id")
        if "environment_key" in task and task["environment_key"] not in environments:
            raise invalid(f"Environment key {task['environment_key']} is not defined.")
        if not kinds and "spark_python_task" in task:
            raise invalid("An environment is required for serverless task: please provide environment_key.")
        if "environment_key" in task and "libraries" in task:
            raise invalid(
                "Libraries field is not supported for serverless task, please specify libraries in environment."
            )
        for spec in environments.values():
            if spec.get("environment_version") not in ("1", "2", "3", "4"):
                raise invalid(f"Environment version {spec.get('environment_version')} is not supported.")

    def _start(self, body: dict[str, Any], kind: str, tasks: list[Any], *, name: str = "", **fields: Any) -> Run:
        run = Run(
            id=next(self._ids),
            name=name or body.get("run_name", "Untitled"),
            kind=kind,
            tasks=[TaskRun(id=next(self._ids), spec=spec) for spec in tasks],
            timeout=body.get("timeout_seconds", 0),
            **fields,
        )
        self.runs[run.id] = run
        if token := body.get("idempotency_token"):
            self._by_token[token] = run.id
        if self.endings:
            self._end(run, self.endings.pop(0))
        else:
            thread = threading.Thread(target=self._drive, args=(run,))
            self._threads.append(thread)
            thread.start()
        return run

    def _end(self, run: Run, ending: Ending) -> None:
        with self._lock:
            run.life, run.result, run.code, run.message = ending.life, ending.result, ending.code, ending.message

    def _drive(self, run: Run) -> None:
        """Run the tasks of a run, one after the other."""
        end = time.monotonic() + run.timeout if run.timeout else None
        for task in run.tasks:
            before = [each["task_key"] for each in task.spec.get("depends_on", ())]
            if any(each.result != "SUCCESS" for each in run.tasks if each.spec["task_key"] in before):
                task.result = "UPSTREAM_FAILED"
            elif not self._run_task(run, task, end):
                return
        failed = [task.spec["task_key"] for task in run.tasks if task.result == "FAILED"]
        if failed:
            said = f"Task {failed[0]} failed with message: Workload failed, see run output for details."
            self._end(run, Ending(result="FAILED", code="RUN_EXECUTION_ERROR", message=said))
        else:
            self._end(run, Ending(result="SUCCESS", code="SUCCESS"))

    def _run_task(self, run: Run, task: TaskRun, end: float | None) -> bool:
        """Run one task; return whether its run goes on after it."""
        cluster = self.clusters.get(task.spec.get("existing_cluster_id", ""), "RUNNING")
        if cluster != "RUNNING":
            said = f"Cluster {task.spec['existing_cluster_id']} was terminated. Reason: {cluster}"
            self._end(run, Ending(life="INTERNAL_ERROR", result="FAILED", code="CLUSTER_ERROR", message=said))
            return False
        driver = self.folder / f"driver-{task.id}"
        try:
            self._install(run, task.spec, driver / "lib")
        except importlib.metadata.PackageNotFoundError as error:
            said = f"Library installation failed: No matching distribution found for {error.args[0]}"
            self._end(
                run, Ending(life="INTERNAL_ERROR", result="FAILED", code="LIBRARY_INSTALLATION_ERROR", message=said)
            )
            return False
        with self._lock:
            if run.cancelled:
                self._end(run, Ending(result="CANCELED", code="USER_CANCELED", message="Run cancelled."))
                return False
            run.life = "RUNNING"
            task.process = self._process(run, task.spec, driver)
        with open(driver / "log", "rb") as log:
            try:
                task.process.wait(None if end is None else max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._kill(task.process)
                said = f"Run timed out after {run.timeout} seconds."
                self._end(run, Ending(result="TIMEDOUT", code="RUN_EXECUTION_TIMEOUT", message=said))
                return False
            outcome = driver / "outcome.json"
            made = (
                json.loads(outcome.read_text()) if outcome.exists() else {"error": "The Python kernel is unresponsive."}
            )
            notebook = "notebook_task" in task.spec
            task.output = {key: made[key] for key in ("error", "error_trace") if key in made}
            task.output |= (
                {"notebook_output": {"result": made.get("result")}} if notebook else {"logs": log.read().decode()}
            )
        if run.cancelled:
            self._end(run, Ending(result="CANCELED", code="USER_CANCELED", message="Run cancelled."))
            return False
        task.result = "FAILED" if "error" in made else "SUCCESS"
        return True

    def _install(self, run: Run, task: dict[str, Any], lib: Path) -> None:
        lib.mkdir(parents=True)
        spec = run.environments.get(task.get("environment_key", ""), {})
        wanted = [each["pypi"]["package"] for each in task.get("libraries", ()) if "pypi" in each]
        for name in {
            each for one in (*IN_EVERY_IMAGE, *wanted, *spec.get("dependencies", ())) for each in closure(one)
        }:
            for top in tops(name):
                with contextlib.suppress(FileExistsError):
                    (lib / top).symlink_to(f"/databricks/packages/{top}")

    def _process(self, run: Run, task: dict[str, Any], driver: Path) -> subprocess.Popen[bytes]:
        script, notebook = task.get("spark_python_task"), task.get("notebook_task")
        if script is not None:
            words = ["script", script["python_file"], *script.get("parameters", ())]
        else:
            parameters = {**notebook.get("base_parameters", {}), **run.parameters}
            path = notebook["notebook_path"]
            words = [
                "notebook",
                path if path.startswith("/Workspace/") else f"/Workspace{path}",
                json.dumps(parameters),
            ]
        sees_volumes = (
            task.get("new_cluster", {}).get("data_security_mode", "NONE") != "NONE" or "new_cluster" not in task
        )
        root = self.folder / f"root-{task['task_key']}-{run.id}"
        root.mkdir(exist_ok=True)
        places = [root, self.volumes if sees_volumes else "", self.workspace, driver, PACKAGES]
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/databricks",
            "LANG": "C.UTF-8",
            "DATABRICKS_RUNTIME_VERSION": RUNTIME,
            "SPARK_HOME": "/databricks/driver/lib/pyspark",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_PYTHON": PYTHON,
            **self.env,
        }
        with open(driver / "log", "wb") as log:
            return subprocess.Popen(
                [
                    *("unshare", "--mount", "--propagation", "private"),
                    *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
                    *("sh", "-c", DISK, "disk", *map(str, places)),
                    *(PYTHON, "-I", "-S", "-u", "-c", RUNNER, *words),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                cwd="/",
                start_new_session=True,
            )

    def _kill(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _stop(self, run: Run) -> None:
        with self._lock:
            if run.over:
                return
            run.cancelled = True
            processes = [task.process for task in run.tasks]
        for process in processes:
            self._kill(process)

    def _run(self, run: Any) -> Run:
        found = self.runs.get(int(run))
        if found is None:
            raise invalid(f"Run {run} does not exist.")
        return found

    def cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        self._stop(self._run(body["run_id"]))
        return {}

    def get(self, query: dict[str, str]) -> dict[str, Any]:
        return self._described(self._run(query["run_id"]))

    def _described(self, run: Run) -> dict[str, Any]:
        with self._lock:
            state = {"life_cycle_state": run.life, "result_state": run.result, "state_message": run.message}
            details = {"code": run.code, "type": "SUCCESS" if run.code == "SUCCESS" else "CLIENT_ERROR"}
            status = {"state": "TERMINATED", "termination_details": {**details, "message": run.message}}
            tasks = [
                {**task.spec, "run_id": task.id, "attempt_number": 0, "state": {"result_state": task.result}}
                for task in run.tasks
            ]
            return {
                "run_id": run.id,
                "run_name": run.name,
                "run_type": run.kind,
                "run_page_url": f"{self.url}/?o=1#job/{run.job or run.id}/run/{run.id}",
                "state": {key: value for key, value in state.items() if value is not None},
                "status": status if run.over else {"state": run.life},
                "tasks": tasks,
            }

    def get_output(self, query: dict[str, str]) -> dict[str, Any]:
        for run in self.runs.values():
            if run.id == int(query["run_id"]) and len(run.tasks) > 1:
                raise invalid("Retrieving the output of runs with multiple tasks is not supported.")
            for task in run.tasks:
                if task.id == int(query["run_id"]):
                    return {"metadata": self._described(run), **task.output}
        raise invalid(f"Run {query['run_id']} does not exist.")

    def list(self, query: dict[str, str]) -> dict[str, Any]:
        found = [
            run
            for run in sorted(self.runs.values(), key=lambda run: -run.id)
            if not (query.get("active_only") == "true" and run.over) and query.get("run_type") in (None, run.kind)
        ]
        start, size = int(query.get("page_token", 0)), min(int(query.get("limit", 20)), 26)
        page = {"runs": [self._described(run) for run in found[start : start + size]], "has_more": False}
        if start + size < len(found):
            page |= {"has_more": True, "next_page_token": str(start + size)}
        return page

    # -- files ---------------------------------------------------------------------------------------------------------

    def in_volume(self, path: str) -> Path:
        """Return the place of a path below `/Volumes`."""
        parts = path.strip("/").split("/")
        file = self.volumes.joinpath(*parts[1:])
        if ".." in parts or parts[0] != "Volumes" or not self.volumes.joinpath(*parts[1:4]).is_dir() or len(parts) < 4:
            raise Refused(404, "NOT_FOUND", f"Volume '{'.'.join(parts[1:4])}' does not exist.")
        return file

    def put_file(self, path: str, content: bytes, overwrite: bool) -> None:
        file = self.in_volume(path)
        if not file.parent.is_dir():
            raise Refused(404, "NOT_FOUND", f"The parent directory of {path} does not exist.")
        if file.exists() and not overwrite:
            raise Refused(409, "ALREADY_EXISTS", f"The file being created already exists: {path}")
        draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        draft.write_bytes(content)
        draft.replace(file)

    def post_file(self, path: str, query: dict[str, str], body: Callable[[], Any]) -> Any:
        """Begin or complete an upload in parts."""
        if query.get("action") == "initiate-upload":
            self._parts[token := uuid.uuid4().hex] = {}
            return {"multipart_upload": {"session_token": token}}
        parts = self._parts.pop(query["session_token"])
        if [(each["part_number"], each["etag"]) for each in body()["parts"]] != [
            (n, f"etag-{n}") for n in sorted(parts)
        ]:
            raise invalid("The parts are not those that were uploaded.")
        self.put_file(path, b"".join(parts[number] for number in sorted(parts)), overwrite=True)

    def part_urls(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return where parts go without credentials."""
        numbers = range(body["start_part_number"], body["start_part_number"] + body["count"])
        place = f"{self.url}/signed/{body['session_token']}"
        return {
            "upload_part_urls": [{"url": f"{place}/{each}", "part_number": each, "headers": []} for each in numbers]
        }

    def put_part(self, token: str, number: int, content: bytes) -> None:
        self._parts[token][number] = content

    def get_file(self, path: str) -> bytes:
        file = self.in_volume(path)
        if not file.is_file():
            raise Refused(404, "NOT_FOUND", f"The file being accessed is not found: {path}")
        return file.read_bytes()

    def delete_file(self, path: str) -> None:
        self.get_file(path)
        self.in_volume(path).unlink()

    def list_folder(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        folder = self.in_volume(path)
        if not folder.is_dir():
            raise Refused(404, "NOT_FOUND", f"The directory being accessed is not found: {path}")
        names = sorted(file.name for file in folder.iterdir())
        start, size = int(query.get("page_token", 0)), min(int(query.get("page_size", 1000)), 1000)
        entries = []
        for name in names[start : start + size]:
            entry: dict[str, Any] = {"name": name, "path": f"{path.rstrip('/')}/{name}"}
            entry["is_directory"] = (folder / name).is_dir()
            if not entry["is_directory"]:
                entry |= {"file_size": (folder / name).stat().st_size, "last_modified": int(time.time() * 1000)}
            entries.append(entry)
        more = {"next_page_token": str(start + size)} if start + size < len(names) else {}
        return {"contents": entries, **more}

    def delete_folder(self, path: str) -> None:
        try:
            self.in_volume(path).rmdir()
        except FileNotFoundError:
            raise Refused(404, "NOT_FOUND", f"The directory being accessed is not found: {path}") from None
        except OSError:
            raise Refused(400, "DIRECTORY_NOT_EMPTY", f"The directory is not empty: {path}") from None

    def in_workspace(self, path: str) -> Path:
        return self.workspace / path.removeprefix("/Workspace").lstrip("/")

    def import_file(self, fields: dict[str, bytes]) -> None:
        file = self.in_workspace(fields["path"].decode())
        if not file.parent.is_dir():
            raise Refused(404, "RESOURCE_DOES_NOT_EXIST", f"The parent folder ({file.parent.name}) does not exist.")
        if file.exists() and fields.get("overwrite") != b"true":
            raise Refused(400, "RESOURCE_ALREADY_EXISTS", f"{fields['path'].decode()} already exists.")
        file.write_bytes(fields["content"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    routes: ClassVar[list[tuple[str, str, Callable[..., Any]]]] = [
        ("POST", "jobs/runs/submit", lambda self, _: self.home.submit(self.json())),
        ("POST", "jobs/run-now", lambda self, _: self.home.run_now(self.json())),
        ("POST", "jobs/runs/cancel", lambda self, _: self.home.cancel(self.json())),
        ("GET", "jobs/runs/get", lambda self, _: self.home.get(self.query)),
        ("GET", "jobs/runs/get-output", lambda self, _: self.home.get_output(self.query)),
        ("GET", "jobs/runs/list", lambda self, _: self.home.list(self.query)),
        ("GET", "preview/scim/v2/Me", lambda self, _: {"id": "1", "userName": USER}),
        (
            "POST",
            "workspace/mkdirs",
            lambda self, _: self.home.in_workspace(self.json()["path"]).mkdir(parents=True, exist_ok=True),
        ),
        ("POST", "workspace/import", lambda self, _: self.home.import_file(self.form())),
        (
            "PUT",
            "fs/files(/.*)",
            lambda self, path: self.home.put_file(path, self.content, self.query.get("overwrite") == "true"),
        ),
        ("POST", "fs/files(/.*)", lambda self, path: self.home.post_file(path, self.query, self.json)),
        ("POST", "fs/create-upload-part-urls", lambda self, _: self.home.part_urls(self.json())),
        ("GET", "fs/files(/.*)", lambda self, path: self.home.get_file(path)),
        ("HEAD", "fs/files(/.*)", lambda self, path: self.home.get_file(path)),
        ("DELETE", "fs/files(/.*)", lambda self, path: self.home.delete_file(path)),
        (
            "PUT",
            "fs/directories(/.*)",
            lambda self, path: self.home.in_volume(path).mkdir(parents=True, exist_ok=True),
        ),
        ("GET", "fs/directories(/.*)", lambda self, path: self.home.list_folder(path, self.query)),
        ("HEAD", "fs/directories(/.*)", lambda self, path: self.home.list_folder(path, {}) and None),
        ("DELETE", "fs/directories(/.*)", lambda self, path: self.home.delete_folder(path)),
    ]

    def __init__(self, home: Databricks, *args: Any) -> None:
        self.home = home
        super().__init__(*args)

    def log_message(self, *_: Any) -> None: ...

    def json(self) -> Any:
        return json.loads(self.content)

    def form(self) -> dict[str, bytes]:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = email.message_from_bytes(head + self.content).get_payload()
        return {part.get_param("name", header="content-disposition"): part.get_payload(decode=True) for part in parts}

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that was killed
            super().handle()

    def answer(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = re.sub(r"^/api/2\.\d/", "", unquote(url.path))
        fault = None
        with self.home._lock:
            fault = next((each for each in self.home.faults if each.times and re.match(each.path, path)), None)
            if fault is not None:
                fault.times -= 1
                fault.hit.append(time.monotonic())
        if fault is not None and fault.status == CUT:
            return self.cut()
        if fault is not None and fault.status > 0:
            after = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return self.send(fault.status, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "not now"}, after)
        if self.command == "PUT" and (
            match := re.fullmatch(r"/signed/(\w+)/(\d+)", path)
        ):  # the store's, not Databricks'
            self.home.put_part(match[1], int(match[2]), self.content)
            return self.send(200, b"", {"ETag": f"etag-{match[2]}"})
        try:
            made = self.routed(path)
        except Refused as refused:
            return self.send(refused.status, refused.content)
        if fault is not None:
            return self.cut()
        self.send(200, {} if made is None else made)

    def routed(self, path: str) -> Any:
        base = {"oidc_endpoint": f"{self.home.url}/oidc", "workspace_id": "1", "host_type": "workspace"}
        if path == "/.well-known/databricks-config":
            return base
        if path == "/oidc/.well-known/oauth-authorization-server":
            oidc = f"{self.home.url}/oidc/v1"
            return {"authorization_endpoint": f"{oidc}/authorize", "token_endpoint": f"{oidc}/token"}
        if path == "/oidc/v1/token":
            return self.home.client_token(self.headers.get("Authorization", ""))
        self.home.authenticate(self.headers.get("Authorization", ""), path)
        body = self.json() if self.headers.get("Content-Type") == "application/json" and self.content else None
        self.home.calls.append((self.command, path, body))
        for method, pattern, route in self.routes:
            if method == self.command and (match := re.fullmatch(pattern, path)):
                return route(self, match[1] if match.lastindex else "")
        raise Refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{self.command} {self.path}'")

    def send(self, status: int, made: Any, headers: dict[str, str] | None = None) -> None:
        content = made if isinstance(made, bytes) else json.dumps(made).encode()
        self.send_response(status)
        kind = "application/octet-stream" if isinstance(made, bytes) else "application/json"
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        if isinstance(made, bytes):
            self.send_header("Last-Modified", self.date_time_string())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def cut(self) -> None:
        """End the connection as a network does that loses it."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = answer


def closure(requirement: str) -> Iterator[str]:
    """Yield the names of a package and of all that it needs.

    Raises:
        PackageNotFoundError: It is not here, or not in a version that fits.
    """
    seen: set[str] = set()
    todo = [Requirement(requirement)]
    while todo:
        one = todo.pop()
        if one.name in seen or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(one.name)
        found = importlib.metadata.distribution(one.name)
        if not one.specifier.contains(found.version, prereleases=True):
            raise importlib.metadata.PackageNotFoundError(str(one))
        yield one.name
        todo.extend(map(Requirement, found.requires or ()))


@functools.cache
def tops(name: str) -> tuple[str, ...]:
    """Return what a package has in the folder of packages."""
    files = importlib.metadata.distribution(name).files or ()
    return tuple({file.parts[0] for file in files} - {"..", "__pycache__"})


def usable() -> bool:
    """Whether a process can have a disk of its own here."""
    if shutil.which("unshare") is None:
        return False
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    done = subprocess.run(["unshare", "--mount", *user, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return done.returncode == 0
