"""What the contract of executors does to runs of served pipelines: cancel, terminate, interrupt and kill them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
FLOWS = """
import contextlib, os, signal
from pathlib import Path
from glacier_prefect import pipeline, run_context, task
from glacier_prefect.executors import RemoteExecutor
import bodies

HERE = Path(__file__).parent

@task
def noted():
    (HERE / f"{run_context.current().run_id}.pid").write_text(str(os.getpid()))

def node(call, name, **options):
    return call.with_options(name=name, depends_on=[noted], **options)

@pipeline(name="PREFIX-cancelled")
def cancelled():
    node(bodies.slow, "cancelled")("cancelled")

@pipeline(name="PREFIX-terminated")
def terminated():
    node(bodies.slow, "terminated")("terminated")

@pipeline(name="PREFIX-interrupted")
def interrupted():
    node(bodies.slow, "interrupted")("interrupted")

@pipeline(name="PREFIX-killed")
def killed():
    node(bodies.brief, "killed")("killed")

@pipeline(name="PREFIX-killed-between")
def killed_between():
    node(bodies.brief, "killed_between")("killed_between")

@pipeline(name="PREFIX-third-time")
def third_time():
    node(bodies.third_time, "third_time", retries=2)("third_time")

if isinstance(bodies.brief.executor, RemoteExecutor):
    kind = type(bodies.brief.executor)
    submit = kind.submit

    def submit_and_die(self, work):
        remote = submit(self, work)
        mark = HERE / "killed_between.done"
        if work.context.node == "killed_between" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return remote

    kind.submit = submit_and_die

def direct():
    with contextlib.suppress(Exception):  # the run says it too
        third_time.run()
    interrupted.run()

if __name__ == "__main__":
    import prefect
    served = (cancelled, terminated, killed, killed_between)
    prefect.serve(*(each.flow.to_deployment("contract") for each in served))
"""


@dataclass(frozen=True, kw_only=True)
class Bodies:
    """How the contract speaks to an executor.

    Attributes:
        source: A module with tasks on the executor, all of them without `retries`: `frames(frame)` returns its frame
            with a column `doubled`, twice its `number`; `same(frame)` returns its frame as it is; `values(number)`
            returns `number + 1`; `failing()` raises an error with "broken on purpose" in a function `deep_inside`;
            `slow(where)` takes a minute or more; `brief(where)` prints "said by the body" and takes five to ten
            seconds; `third_time(where)` fails when it is run for the first and second time. `where` is the name of the
            node. `frames` and `same`, or `values`, are left out if the executor takes none.
        going: Returns how many bodies of a node are running now, where they run, by the node's name.
        begun: Returns how many bodies of a node were begun, by the node's name.
        env: Variables that the tasks need.
    """

    source: str
    going: Callable[[str], int]
    begun: Callable[[str], int]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run under a Prefect server that something was done to.

    Attributes:
        run: The flow run when it was over.
        logged: What it has logged.
        begun: How many bodies were begun.
        meanwhile: What was seen of its body in Prefect while it was running: lines of its log, artifacts.
    """

    run: dict[str, Any]
    logged: list[str]
    begun: int
    meanwhile: list[str] = field(default_factory=list)


def eventually(look: Callable[[], Any], what: str, timeout: float = 90) -> Any:
    """Return the first true answer of `look`."""
    end = time.monotonic() + timeout
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.2)


def run_and_interfere(bodies: Bodies, prefect_api_url: str, folder: Path, *, outlives: bool) -> dict[str, Ended]:
    """Serve the pipelines of `FLOWS`, run them all at once, do something to each, and return how they ended.

    Args:
        bodies: The tasks.
        prefect_api_url: API of a Prefect server.
        folder: An empty folder.
        outlives: Whether bodies outlive the process that submitted them.
    """
    server = Server(prefect_api_url)
    prefix = f"contract-{time.monotonic_ns()}"
    (folder / "bodies.py").write_text(bodies.source)
    (folder / "flows.py").write_text(FLOWS.replace("PREFIX", prefix))

    def pid(run: str) -> int:
        file = folder / f"{run}.pid"
        return int(eventually(lambda: file.exists() and file.read_text(), f"the process of run {run}"))

    def going(node: str) -> None:
        eventually(lambda: bodies.going(node), f"the body of {node}")

    def again(run: str) -> None:
        eventually(lambda: server.run(run)["state_type"] == "CRASHED", f"the crash of run {run}")
        (folder / f"{run}.pid").unlink()
        server.set_state(run, "SCHEDULED", "AwaitingRetry")

    def said_to_end(run: str) -> bool:
        logs = server.post("/logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        return any(log["task_run_id"] is None and "Finished in" in log["message"] for log in logs)

    env = {**os.environ, **bodies.env, "PREFECT_API_URL": prefect_api_url, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    names = ("cancelled", "terminated", "killed", *(("killed_between",) if outlives else ()))
    with _process(folder, env, "flows.py") as said:
        # The body of "killed" is brief, so it begins when there is time for it.
        runs = {name: server.start(f"{prefix}-{name.replace('_', '-')}") for name in names if name != "killed"}
        with _process(folder, env, "-c", "import flows; flows.direct()") as direct:
            going("cancelled")
            with contextlib.suppress(AssertionError):
                eventually(lambda: server.seen(runs["cancelled"]), "what the body does", 60)
            meanwhile = server.seen(runs["cancelled"])
            server.set_state(runs["cancelled"], "CANCELLING", "Cancelling")
            going("terminated")
            os.kill(pid(runs["terminated"]), signal.SIGTERM)
            try:
                going("interrupted")
                direct.process.send_signal(signal.SIGINT)
                direct.process.wait(120)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{direct.read()}") from None
            except subprocess.TimeoutExpired:
                raise AssertionError(f"it goes on after Ctrl-C\n{direct.read()}") from None
        third = server.one("flow_runs", flows={"name": {"any_": [f"{prefix}-third-time"]}})
        assert third is not None
        runs["third_time"] = str(third["id"])
        runs["killed"] = server.start(f"{prefix}-killed")
        eventually(lambda: bodies.begun("killed") and bodies.going("killed"), "the body of killed")
        os.kill(pid(runs["killed"]), signal.SIGKILL)
        for name in ("killed", "killed_between"):
            if name in runs:
                again(runs[name])
        found = {}
        for name, run in runs.items():
            try:
                over = server.finished(run)
            except AssertionError as error:
                raise AssertionError(f"{error}\n{said.read()}") from None
            if over["state_type"] == "COMPLETED":  # its last lines may be on their way
                eventually(partial(said_to_end, run), "its last lines")
            found[name] = Ended(run=over, logged=server.logged(run), begun=bodies.begun(name))
    found["cancelled"] = replace(found["cancelled"], meanwhile=meanwhile)
    state = {"state_type": str(direct.process.returncode)}
    return found | {"interrupted": Ended(run=state, logged=[direct.read()], begun=bodies.begun("interrupted"))}


class Server:
    """A Prefect server, asked over its API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, **body: Any) -> Any:
        """Post to the API; waits while the server is busy."""
        data = json.dumps(body).encode()
        for _ in range(20):
            try:
                request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            except OSError:  # it has too much to do to answer in time
                pass
            time.sleep(0.5)
        raise TimeoutError(path)

    def one(self, kind: str, **filters: Any) -> dict[str, Any] | None:
        """Return the newest object that the filters find."""
        found = self.post(f"/{kind}/filter", **filters)
        return found[0] if found else None

    def start(self, flow: str) -> str:
        """Start a run of a flow's deployment and return its id."""
        deployment = eventually(
            lambda: self.one("deployments", flows={"name": {"any_": [flow]}}), f"deployment of {flow}"
        )
        once = f"{flow}-{time.monotonic_ns()}"  # it may be asked again
        return str(self.post(f"/deployments/{deployment['id']}/create_flow_run", idempotency_key=once)["id"])

    def run(self, run: str) -> dict[str, Any]:
        """Return a flow run."""
        found = self.one("flow_runs", flow_runs={"id": {"any_": [run]}})
        assert found is not None
        return found

    def finished(self, run: str) -> dict[str, Any]:
        """Return a flow run when it is over."""

        def look() -> Any:
            found = self.run(run)
            return found if found["state_type"] in TERMINAL else None

        return dict(eventually(look, f"the end of flow run {run}", 150))

    def set_state(self, run: str, type: str, name: str) -> None:
        """Set the state of a flow run."""
        self.post(f"/flow_runs/{run}/set_state", state={"type": type, "name": name}, force=True)

    def logged(self, run: str) -> list[str]:
        """Return what a flow run has logged so far."""
        logs = self.post("/logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        return [log["message"] for log in logs]

    def seen(self, run: str) -> list[str]:
        """Return what is seen of the body of a flow run, besides that there is one."""
        logs = self.post("/logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        lines = [log["message"] for log in logs if log["task_run_id"] is not None]
        artifacts = self.post("/artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})
        return [
            *(line for line in lines if not line.startswith(("Following ", "Taking up ", "Finished in state "))),
            *(f"{each['type']}: {each['data']}" for each in artifacts),
        ]


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]
    log: Path

    def read(self) -> str:
        """Return what it has said so far."""
        return self.log.read_text(errors="replace")


@contextmanager
def _process(folder: Path, env: dict[str, str], *words: str) -> Iterator[_Process]:
    """Run Python meanwhile."""
    log = folder / f"{time.monotonic_ns()}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield _Process(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
