"""One real Prefect server for the whole run of the tests, and what they ask it.

With `pytest -n` all processes share it: the first that needs it starts it. Nothing is set in this process's own
environment; what talks to the server is a process of its own with `project.env`.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clouds.conftest import azure, cloud, gcs, make_bucket, s3
from tests.forked import Forks

__all__ = ["azure", "cloud", "gcs", "make_bucket", "s3"]  # the emulators, for tests here too
TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def eventually(look: Callable[[], Any], what: str, timeout: float = 60) -> Any:
    """Return the first true answer of `look`."""
    end = time.monotonic() + timeout
    while True:
        if found := look():
            return found
        assert time.monotonic() < end, f"not within {timeout:g} s: {what}"
        time.sleep(0.2)


@dataclass(frozen=True, kw_only=True)
class Api:
    """The server's API."""

    url: str

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method=method)

        def answered() -> bytes | None:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return bytes(answer.read()) or b"null"
            except urllib.error.HTTPError as error:
                if error.code != 503:  # what a busy SQLite makes of a request; Prefect's own client asks again, too
                    raise
                return None
            except OSError:  # it has too much to do to answer in time
                return None

        return json.loads(eventually(answered, f"an answer to {method} {path}", 120))

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        if path.endswith("/create_flow_run"):  # it may be asked again
            body = {"idempotency_key": uuid.uuid4().hex, **body}
        return self.call("POST", path, body)

    def flow_runs(self, flow: str) -> list[dict[str, Any]]:
        """Return the runs of a flow, oldest first."""
        return self.post("/flow_runs/filter", flows={"name": {"any_": [flow]}}, sort="START_TIME_ASC")

    def finished(self, flow_run: str, timeout: float = 90) -> dict[str, Any]:
        """Return a flow run when it is over."""

        def look() -> Any:
            run = self.get(f"/flow_runs/{flow_run}")
            return run if run["state_type"] in TERMINAL else None

        return eventually(look, f"the end of flow run {flow_run}", timeout)

    def task_runs(self, flow_run: str, *names: str) -> dict[str, dict[str, Any]]:
        """Return the task runs of a flow run by name, once those named are in the database with their last state."""

        def look() -> Any:
            runs = self.post("/task_runs/filter", flow_runs={"id": {"any_": [flow_run]}})
            ended = {
                each["name"] for each in runs if each["state_type"] in TERMINAL or each["state_name"] == "NotReady"
            }
            return {each["name"]: each for each in runs} if ended >= set(names) else None

        return eventually(look, f"the task runs {names} of flow run {flow_run}")

    def edges(self, flow_run: str, *names: str) -> dict[str, set[str]]:
        """Return for each node of a run's graph, by label, the labels of those that it comes after."""
        self.task_runs(flow_run, *names)
        nodes = {key: node for key, node in self.get(f"/flow_runs/{flow_run}/graph-v2")["nodes"]}
        labels = [node["label"] for node in nodes.values()]
        assert len(labels) == len(set(labels)), labels
        return {node["label"]: {nodes[parent["id"]]["label"] for parent in node["parents"]} for node in nodes.values()}

    def deployment(self, name: str) -> Any:
        """Return a deployment by "flow/deployment", None if there is none."""
        try:
            return self.get(f"/deployments/name/{name}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return None


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder of user code, and processes that run it against the server."""

    folder: Path
    env: dict[str, str]
    forks: Forks

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def run(
        self, *args: str, check: bool = True, forked: bool = True, **env: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments to its end; a variable that is None is not set.

        Args:
            args: The arguments.
            check: Whether it has to end well.
            forked: Whether Prefect is loaded when it begins; else it starts as users' processes do.
            env: Variables.
        """
        how: dict[str, Any] = {"cwd": self.folder, "env": self._env(env), "timeout": 280}
        if forked:
            result = self.forks.run(*args, **how)
        else:
            words = [sys.executable, *args]
            result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, **how)
        assert not check or result.returncode == 0, result.stdout + result.stderr
        return result

    @contextmanager
    def running(self, *args: str, **env: str) -> Iterator[Callable[[], str]]:
        """Run Python with these arguments meanwhile; yields what gives its output so far."""
        log = self.folder / f"output-{time.monotonic_ns()}.log"
        with open(log, "wb") as output:
            process = self.forks.start(*args, cwd=self.folder, env=self._env(env), stdout=output, stderr=output)
        try:
            yield log.read_text
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _env(self, changes: dict[str, str | None]) -> dict[str, str]:
        return {name: value for name, value in {**self.env, **changes}.items() if value is not None}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the API of the server that all tests of this run share."""
    shared, owner = tmp_path_factory.getbasetemp(), os.getpid()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared, owner = shared.parent, os.getppid()
    note = shared / "prefect-server.json"
    with open(shared / "prefect-server.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            note.write_text(json.dumps(_start(owner)))
        started = json.loads(note.read_text())
    yield started["url"]
    if owner == os.getpid() and note.exists():  # each folder of tests that has this fixture ends it
        note.unlink()
        os.kill(started["pid"], signal.SIGTERM)
        os.waitpid(started["pid"], 0)


def _start(owner: int) -> dict[str, Any]:
    home = tempfile.mkdtemp(prefix="glacier-server-")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(Path(__file__).with_name("server_process.py")), str(owner), home, str(port)]
    keeper = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    keeper.returncode = 0  # it outlives this object, which would warn of that
    url = f"http://127.0.0.1:{port}/api"

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    eventually(ready, f"a Prefect server; see {home}/server.log", 120)
    return {"pid": keeper.pid, "url": url}


@pytest.fixture(scope="session")
def api(server: str) -> Api:
    return Api(url=server)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Poll until something is true, and return it."""
    return eventually


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """What starts processes that need not import Prefect first."""
    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="module")
def project(server: str, forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder of the module's own, whose processes know the server."""
    return new_project(tmp_path_factory, forks, PREFECT_API_URL=server)


@pytest.fixture(scope="module")
def offline(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder of the module's own, whose processes know of no server."""
    return new_project(tmp_path_factory, forks)


def new_project(tmp_path_factory: pytest.TempPathFactory, forks: Forks, **settings: str) -> Project:
    left_out = ("PREFECT_", "GLACIER_", "PYTEST_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    folder = tmp_path_factory.mktemp("project")
    ours = {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("home")),
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",  # a served flow looks for triggered runs each second instead of each ten
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # files are rewritten within one second, which a cached one would not notice
        "PYTHONWARNINGS": "default",
    }
    return Project(folder=folder, env={**inherited, **ours, **settings}, forks=forks)
