"""What every executor promises: values and frames go there and come back, errors too, and nothing is left running.

An author's class derives from `ExecutorContract`, and from `FrameContract` and `ValueContract` if bodies take frames or
values. Its fixture `bodies` gives tasks on the executor, as the source of a module, since the promises about kills are
tried on processes of their own that import it, and tells how many bodies of a node run, where they run:

    SOURCE = '''
    from batch import BatchExecutor
    from glacier_prefect import task

    on = BatchExecutor(queue="tests", poll_seconds=1)

    @task(executor=on)
    def values(number):
        return number + 1
    ...                                                  # and the others that `Bodies` names
    '''

    class TestBatchExecutor(ExecutorContract, ValueContract):
        @pytest.fixture(scope="class")
        @classmethod
        def bodies(cls):
            return Bodies(
                source=textwrap.dedent(SOURCE),
                going=lambda node: len(jobs(node, state="RUNNING")),
                begun=lambda node: len(jobs(node)),
            )

A real Prefect server is started, to which a process serves the tasks that are to be killed and cancelled; together that
takes a minute. Where bodies end with the process that submitted them, the class says `outlives = False`.
"""

from __future__ import annotations

import contextlib
import importlib
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
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from glacier_prefect import ui
from glacier_prefect.errors import GlacierError
from glacier_prefect.pipeline import pipeline
from glacier_prefect.tasks import Task, task

EVERY_TYPE = pl.DataFrame(
    {
        "boolean": [True, None],
        "int8": pl.Series([-128, None], dtype=pl.Int8),
        "int16": pl.Series([-32768, None], dtype=pl.Int16),
        "int32": pl.Series([-(2**31), None], dtype=pl.Int32),
        "int64": pl.Series([-(2**63), None], dtype=pl.Int64),
        "uint8": pl.Series([255, None], dtype=pl.UInt8),
        "uint16": pl.Series([65535, None], dtype=pl.UInt16),
        "uint32": pl.Series([2**32 - 1, None], dtype=pl.UInt32),
        "uint64": pl.Series([2**63 - 1, None], dtype=pl.UInt64),
        "float32": pl.Series([1.5, None], dtype=pl.Float32),
        "float64": [float("inf"), None],
        "decimal": pl.Series([Decimal("12345678901234567890.12"), None], dtype=pl.Decimal(38, 2)),
        "string": ["ünï 日本 \U0001f9ca", None],
        "binary": [b"\0\xff", None],
        "date": [date(1969, 12, 31), None],
        "time": [clock(23, 59, 59, 999999), None],
        "datetime": pl.Series([datetime(2026, 3, 29, 2, 30, 0, 1), None], dtype=pl.Datetime("us")),
        "moment": pl.Series([datetime(2026, 3, 29, 1, 30), None], dtype=pl.Datetime("us", "UTC")),
        "duration": pl.Series([timedelta(days=-1, microseconds=1), None], dtype=pl.Duration("us")),
        "category": pl.Series(["a", None], dtype=pl.Categorical),
        "enumeration": pl.Series(["b", None], dtype=pl.Enum(["a", "b"])),
        "list": [[1, None], None],
        "array": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float64, 2)),
        "struct": [{"x": 1, "y": "z"}, None],
        "nested": [[{"x": [date(2026, 1, 1)]}], None],
        "null": pl.Series([None, None], dtype=pl.Null),
    }
)
"""A column of each type that Polars keeps in Parquet, each with a value at its edge and a null."""

TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
FLOWS = """
import os, signal
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

if __name__ == "__main__":
    import prefect
    served = (cancelled, terminated, killed, killed_between, third_time)
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


def eventually(look: Callable[[], Any], what: str, timeout: float = 90) -> Any:
    """Return the first true answer of `look`."""
    end = time.monotonic() + timeout
    while True:
        if found := look():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.2)


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


class _Contract:
    @pytest.fixture(scope="class")
    @classmethod
    def module(cls, bodies: Bodies, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
        """The module of the bodies, imported from a folder of its own, which is the working directory meanwhile."""
        folder = tmp_path_factory.mktemp("bodies")
        name = f"bodies_{time.monotonic_ns()}"
        (folder / f"{name}.py").write_text(bodies.source)
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in bodies.env.items():
                patch.setenv(variable, value)
            patch.syspath_prepend(folder)
            patch.chdir(folder)
            yield importlib.import_module(name)
        sys.modules.pop(name, None)

    def run_of(self, call: Task[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run a task in a pipeline and return what came back; a frame among the arguments comes from a task before."""
        call = call.with_options(**options) if options else call

        @task
        def given() -> Any:
            return next(each.lazy() for each in arguments if isinstance(each, pl.DataFrame))

        @pipeline(name="contract")
        def run() -> Any:
            return call(*(given() if isinstance(each, pl.DataFrame) else each for each in arguments))

        return run.run()


class ValueContract(_Contract):
    """What an executor promises whose bodies take and return values."""

    def test_a_value_goes_in_and_comes_back(self, module: Any) -> None:
        assert self.run_of(module.values, 41) == 42


class FrameContract(_Contract):
    """What an executor promises whose bodies take and return frames.

    Attributes:
        changed: Columns of `EVERY_TYPE` that come back as another type.
        refused: Columns of `EVERY_TYPE` that it cannot take, each with a word of the error that says so.
    """

    changed: ClassVar[dict[str, Any]] = {}
    refused: ClassVar[dict[str, str]] = {}

    def test_a_frame_goes_in_and_comes_back(self, module: Any) -> None:
        frame = pl.DataFrame({"number": range(10_000), "text": [f"ü{each}" for each in range(10_000)]})
        result = self.run_of(module.frames, frame)
        assert isinstance(result, pl.LazyFrame)
        expected = frame.with_columns(doubled=2 * pl.col("number"))
        assert result.collect().select(expected.columns).sort("number").equals(expected)

    def test_an_empty_frame_keeps_its_columns_and_types(self, module: Any) -> None:
        frame = pl.DataFrame(schema={"number": pl.Int64, "text": pl.String})
        result = self.run_of(module.frames, frame).collect()
        assert result.height == 0
        assert frame.schema.items() <= result.schema.items()

    def test_every_type_comes_back_as_it_was_or_as_it_is_written_down(self, module: Any) -> None:
        frame = EVERY_TYPE.drop(self.refused)
        result = self.run_of(module.same, frame).collect().select(frame.columns)
        expected = frame.with_columns(pl.col(name).cast(kind) for name, kind in self.changed.items())
        assert dict(result.schema) == dict(expected.schema)
        assert result.sort("boolean").equals(expected.sort("boolean"))

    def test_a_type_that_it_cannot_take_is_an_error_that_names_the_column(self, module: Any) -> None:
        for name, word in self.refused.items():
            with pytest.raises(GlacierError, match=name) as raised:
                self.run_of(module.same, EVERY_TYPE.select("boolean", name))
            assert word in str(raised.value)


class ExecutorContract(_Contract):
    """What every executor promises; a subclass gives the fixture `bodies` (of scope "class"), and each test is a
    sentence of it. One whose bodies take frames or values derives from `FrameContract` or `ValueContract` too.

    Attributes:
        outlives: Whether bodies outlive the process that submitted them, so that a retry takes them up.
        traced: What stands in the error of `failing` besides its message: a part of the body's own traceback.
    """

    outlives: ClassVar[bool] = True
    traced: ClassVar[str] = "deep_inside"

    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        """The API of a Prefect server; one is started here, unless this fixture is overridden."""
        folder = tmp_path_factory.mktemp("server")
        server, _ = ui.start(folder)
        yield server.api
        ui.stop(folder)

    def test_an_error_has_its_message_the_traceback_there_the_executor_and_the_task(self, module: Any) -> None:
        with pytest.raises(Exception, match="broken on purpose") as raised:
            self.run_of(module.failing, name="failing_one")
        said = "\n".join([str(raised.value), *getattr(raised.value, "__notes__", ())])
        for part in (self.traced, "'failing_one'", f"'{module.failing.executor.name}'"):
            assert part in said

    def test_a_body_that_takes_too_long_is_stopped_where_it_runs(self, module: Any, bodies: Bodies) -> None:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="slow_one"):
            self.run_of(module.slow, "slow_one", timeout_seconds=6, name="slow_one")
        assert time.monotonic() - began < 50
        eventually(lambda: not bodies.going("slow_one"), "the end of the body", 20)

    # -- under a Prefect server ----------------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def ended(cls, bodies: Bodies, prefect_api_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
        """Runs of a served pipeline, all at once, each with something done to it."""
        folder, server = tmp_path_factory.mktemp("served"), Server(prefect_api_url)
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
        names = ("cancelled", "terminated", "killed", "third_time", *(("killed_between",) if cls.outlives else ()))
        with _process(folder, env, "flows.py") as said:
            # The body of "killed" is brief, so it begins when there is time for it.
            runs = {name: server.start(f"{prefix}-{name.replace('_', '-')}") for name in names if name != "killed"}
            with _process(folder, env, "-c", "import flows; flows.interrupted.run()") as direct:
                going("interrupted")
                direct.process.send_signal(signal.SIGINT)
                direct.process.wait(60)
            going("cancelled")
            with contextlib.suppress(AssertionError):
                eventually(lambda: server.seen(runs["cancelled"]), "what the body does", 60)
            meanwhile = server.seen(runs["cancelled"])
            server.set_state(runs["cancelled"], "CANCELLING", "Cancelling")
            going("terminated")
            os.kill(pid(runs["terminated"]), signal.SIGTERM)
            runs["killed"] = server.start(f"{prefix}-killed")
            going("killed")
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

    def test_a_run_that_is_cancelled_over_the_api_stops_the_body(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["cancelled"].run["state_type"] == "CANCELLED", ended["cancelled"]
        eventually(lambda: not bodies.going("cancelled"), "the end of the body", 20)

    def test_a_run_whose_process_is_terminated_stops_the_body(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["terminated"].run["state_type"] in ("CRASHED", "CANCELLED"), ended["terminated"]
        eventually(lambda: not bodies.going("terminated"), "the end of the body", 20)

    def test_ctrl_c_stops_the_body(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["interrupted"].run["state_type"] != "0", ended["interrupted"]
        eventually(lambda: not bodies.going("interrupted"), "the end of the body", 20)

    def test_a_retry_after_a_kill_goes_on_with_the_body_that_was_left(self, ended: dict[str, Ended]) -> None:
        for name in ("killed", "killed_between") if self.outlives else ():
            assert ended[name].run["state_type"] == "COMPLETED", ended[name]
            assert ended[name].run["run_count"] == 2
            assert ended[name].begun == 1, ended[name]

    def test_a_retry_after_a_kill_completes(self, ended: dict[str, Ended], bodies: Bodies) -> None:
        assert ended["killed"].run["state_type"] == "COMPLETED", ended["killed"]
        eventually(lambda: not bodies.going("killed"), "the end of the body", 20)

    def test_retries_submit_anew_after_a_failure(self, ended: dict[str, Ended]) -> None:
        assert ended["third_time"].run["state_type"] == "COMPLETED", ended["third_time"]
        assert ended["third_time"].begun == 3

    def test_how_a_body_goes_on_is_seen_in_prefect_while_it_runs(self, ended: dict[str, Ended]) -> None:
        assert ended["cancelled"].meanwhile

    def test_what_a_body_prints_is_in_the_log_of_the_run(self, ended: dict[str, Ended]) -> None:
        assert any("said by the body" in line for line in ended["killed"].logged), ended["killed"].logged


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
