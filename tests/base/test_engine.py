"""Prefect's engine without a server: what works, what asks for an API, what is left behind, and the facts leaned on."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from prefect import flow, get_run_logger, pause_flow_run, runtime, tags, task
from prefect._internal.result_records import ResultRecord
from prefect.artifacts import create_markdown_artifact
from prefect.blocks.system import Secret
from prefect.cache_policies import INPUTS, NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas import State
from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext, SyncClientContext, get_settings_context
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.results import ResultStore
from prefect.serializers import Serializer
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.variables import Variable

from glacier_prefect import engine
from glacier_prefect.errors import ApiRequired

SCRIPTS = Path(__file__).parent


@task(cache_policy=NO_CACHE)
def one() -> int:
    return 1


@task(cache_policy=NO_CACHE)
def plus(x: Any, y: int = 1) -> Any:
    return x + y


@task(cache_policy=NO_CACHE)
def broken() -> None:
    raise ValueError("this task is broken")


@pytest.fixture
def serverless() -> Iterator[None]:
    with engine.serverless():
        yield


def left_behind() -> tuple[Any, ...]:
    """What a run may not change: settings, client, environment and threads of the endpoint."""
    threads = [thread.name for thread in threading.enumerate() if thread.name == "glacier-endpoint"]
    return get_settings_context(), SyncClientContext.get(), dict(os.environ), threads


def script(name: str, *args: str, **env: str) -> subprocess.Popen[str]:
    """Start a script beside this file in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / name), *args],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent.parent), "PYTHONUNBUFFERED": "1", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# -- what runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("serverless")
def test_tasks_sub_flows_and_submitted_tasks_run_without_a_server() -> None:
    ids = []

    @flow
    def inner(x: int) -> int:
        ids.append(runtime.flow_run.id)
        assert runtime.flow_run.parent_flow_run_id == ids[0]
        return plus(x) + 0

    @flow
    def outer(x: int = 1) -> list[int]:
        ids.append(runtime.flow_run.id)
        mapped = plus.map([x, 10])
        return [*mapped.result(), plus.submit(mapped[0]).result(), inner(5)]

    assert outer() == [2, 11, 3, 6]
    assert len(set(ids)) == 2


@pytest.mark.usefixtures("serverless")
def test_run_flow_takes_defaults_and_converts_parameters_as_a_call_does() -> None:
    @flow
    def defaults(x: int, y: int = 2) -> tuple[int, int]:
        return x, y

    assert engine.run_flow(defaults, {"x": "1"}).result() == (1, 2)
    with pytest.raises(Exception, match="invalid parameters"):
        engine.run_flow(defaults, {"x": "one"}).result()


@pytest.mark.usefixtures("serverless")
def test_async_flows_tasks_and_sub_flows_run() -> None:
    @task(cache_policy=NO_CACHE)
    async def double(x: int) -> int:
        await asyncio.sleep(0)
        return 2 * x

    @flow
    async def inner(x: int) -> int:
        return await double(x)

    @flow
    async def outer() -> list[int]:
        with tags("some-tag"):
            return [*await asyncio.gather(*(double(x) for x in range(3))), await inner(10)]

    assert asyncio.run(outer()) == [0, 2, 4, 20]


@pytest.mark.usefixtures("serverless")
@pytest.mark.timeout(60, method="thread")  # the signal that pytest-timeout takes is the one of Prefect's timeouts
def test_a_task_is_retried_times_out_and_calls_its_hooks() -> None:
    seen: list[Any] = []

    def note(task: Any, run: Any, state: State[Any]) -> None:
        seen.append((task.name, state.name))
        raise RuntimeError("a hook that fails fails nothing")

    @task(retries=2, cache_policy=NO_CACHE, on_completion=[note])
    def third_time() -> int:
        seen.append(runtime.task_run.run_count)
        if runtime.task_run.run_count < 3:
            raise ValueError
        return 3

    @task(timeout_seconds=0.05, cache_policy=NO_CACHE, on_failure=[note])
    def slow() -> None:
        time.sleep(5)

    @flow
    def both() -> Any:
        return engine.run_task(third_time, {}), engine.run_task(slow, {})

    started = time.monotonic()
    assert engine.run_flow(both, {}).is_failed()
    assert time.monotonic() - started < 3
    assert seen == [1, 2, 3, ("third_time", "Completed"), ("slow", "TimedOut")]


@pytest.mark.usefixtures("serverless")
@pytest.mark.parametrize("delay", [0, 1])
def test_a_flow_is_retried_by_the_rule_of_prefects_server(delay: int) -> None:
    attempts = []

    @flow(retries=2, retry_delay_seconds=delay)
    def second_time() -> int:
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        attempts.append((context.flow_run.run_count, context.flow_run.state_name, time.monotonic()))
        if len(attempts) == 1:
            raise ValueError("once")
        return 2

    state = second_time(return_state=True)
    assert state.is_completed()
    assert [attempt[:2] for attempt in attempts] == [(1, "Running"), (2, "Retrying")]
    assert attempts[1][2] - attempts[0][2] >= delay


@pytest.mark.usefixtures("serverless")
def test_a_flow_whose_retries_are_used_up_fails_with_its_own_error() -> None:
    attempts = []

    @flow(retries=1)
    def never() -> None:
        attempts.append(1)
        raise ValueError("still wrong")

    with pytest.raises(ValueError, match="still wrong"):
        never()
    assert len(attempts) == 2


@pytest.mark.usefixtures("serverless")
@pytest.mark.timeout(60, method="thread")
def test_a_flow_times_out() -> None:
    @flow(timeout_seconds=0.1)
    def slow() -> None:
        time.sleep(5)

    started = time.monotonic()
    assert slow(return_state=True).name == "TimedOut"
    assert time.monotonic() - started < 2


@pytest.mark.usefixtures("serverless")
def test_tagged_tasks_pass_prefects_check_of_concurrency_limits() -> None:
    @flow
    def tagged() -> int:
        with tags("database"):
            return plus(plus(1)) + plus.with_options(tags=["other"])(1)

    assert tagged() == 5


def twice(**options: Any) -> tuple[list[str | None], int]:
    """Return the states of two task runs with equal inputs, and how often the body ran."""
    calls = []

    @task(cache_policy=INPUTS, persist_result=True, **options)
    def counted(x: int) -> int:
        calls.append(x)
        return x

    @flow
    def runs() -> list[str | None]:
        return [engine.run_task(counted, {"x": 1}).name for _ in range(2)]

    return runs(), len(calls)


@pytest.mark.usefixtures("serverless")
def test_results_are_persisted_and_cached_where_the_user_says(tmp_path: Path) -> None:
    assert twice(result_storage=tmp_path) == (["Completed", "Cached"], 1)


@pytest.mark.usefixtures("serverless")
def test_the_run_logger_writes_to_the_console_only(caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def logging() -> None:
        get_run_logger().info("a line of the user")

    logging()
    assert "a line of the user" in caplog.text
    assert "127.0.0.1" not in caplog.text  # neither the endpoint's address nor its secret


@pytest.mark.usefixtures("serverless")
def test_events_and_asset_events_go_nowhere_and_start_nothing() -> None:
    assert emit_event("user.event", {"prefect.resource.id": "x"}) is None
    assert EventsWorker.instance() is EventsWorker.instance()
    assert not [thread for thread in threading.enumerate() if "EventsWorker" in thread.name]


# -- what needs an API -------------------------------------------------------------------------------------------------


def _limit() -> None:
    with concurrency("database", occupy=1):
        pass


@pytest.mark.usefixtures("serverless")
@pytest.mark.parametrize(
    ("what", "call"),
    [
        ("A Prefect variable", lambda: Variable.get("name", "fallback")),
        ("A Prefect variable", lambda: Variable.set("name", "value")),
        ("A Prefect block", lambda: Secret.load("password")),
        ("A Prefect block", lambda: Secret(value="x").save("password")),
        ("An artifact", lambda: create_markdown_artifact("text", key="key")),
        ("Pausing or suspending a flow run", lambda: pause_flow_run(timeout=1)),
        ("A deployment", lambda: get_client(sync_client=True).read_deployment_by_name("flow/deployment")),
        ("A search for flow runs", lambda: get_client(sync_client=True).read_flow_runs()),
    ],
)
def test_what_needs_an_api_says_so_in_the_users_code(what: str, call: Any) -> None:
    @flow
    def asks() -> None:
        with pytest.raises(ApiRequired) as error:
            call()
        assert str(error.value) == f"{what} needs a Prefect API; run `glacier ui` or set PREFECT_API_URL"
        assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)

    asks()


@pytest.mark.usefixtures("serverless")
def test_a_concurrency_limit_of_the_user_needs_an_api() -> None:
    @flow
    def limited() -> None:
        _limit()

    with pytest.raises(Exception, match="A concurrency limit needs a Prefect API; run `glacier ui`"):
        limited()


# -- what is left behind -----------------------------------------------------------------------------------------------


def _raise(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_in_the_run_leaves_nothing_behind(error: type[BaseException]) -> None:
    before = left_behind()

    @flow
    def fails() -> None:
        raise error("in the flow")

    with pytest.raises(error, match="in the flow"), engine.serverless():
        fails()
    assert left_behind() == before


@pytest.mark.parametrize("step", ["_shared_endpoint", "_settings", "_client"])
def test_an_exception_on_the_way_in_leaves_nothing_behind(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = left_behind()
    monkeypatch.setattr(engine, step, _raise)
    with pytest.raises(KeyboardInterrupt), engine.serverless():
        pytest.fail("not reached")
    assert left_behind() == before


def test_an_exception_on_the_way_out_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = left_behind()
    monkeypatch.setattr(engine, "_forget_services", _raise)
    with pytest.raises(KeyboardInterrupt), engine.serverless():
        pass
    assert left_behind() == before


def test_an_interrupted_flow_is_reported_as_crashed() -> None:
    seen = []

    @flow(on_crashed=[lambda flow, flow_run, state: seen.append(state.name)])
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), engine.serverless():
        interrupted()
    assert seen == ["Crashed"]


def test_two_runs_one_after_another_both_work_with_tagged_tasks() -> None:
    @flow
    def tagged() -> int:
        with tags("one-name"):  # Prefect keeps a service with a client for the name: it must not outlive the endpoint
            return plus(1)

    for _ in range(2):
        with engine.serverless():
            assert tagged() == 2
            inside = engine._endpoint
            assert inside is not None
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(f"http://127.0.0.1:{inside.port}/guess/health", timeout=5)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", inside.port), timeout=5)


def test_runs_at_the_same_time_in_threads_do_not_disturb_each_other() -> None:
    @flow
    def counts(start: int) -> int:
        with tags("shared"):
            for _ in range(5):
                start = plus(start)
        return start

    def run(start: int) -> int:
        with engine.serverless():
            return counts(start)

    before = left_behind()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(8))) == [start + 5 for start in range(8)]
    assert left_behind() == before


def test_serverless_inside_serverless_is_the_same_one() -> None:
    with engine.serverless():
        outer = get_settings_context().settings.api.url
        with engine.serverless():
            assert get_settings_context().settings.api.url == outer
        assert engine.run_flow(flow(lambda: 1, name="after"), {}).is_completed()


def test_a_run_that_reports_to_an_api_in_another_thread_keeps_its_events() -> None:
    sent = []

    class Recorded:
        def __init__(self, client_type: Any, _: Any) -> None:
            sent.append(client_type.__name__)

    def elsewhere() -> None:
        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.MonkeyPatch.context() as patch:
            patch.setattr(EventsWorker, "_new_instance", classmethod(lambda cls, *args: Recorded(*args)))
            EventsWorker.instance()

    with engine.serverless():
        thread = threading.Thread(target=elsewhere)  # a new thread: a context that is not serverless
        thread.start()
        thread.join()
    assert sent == ["PrefectEventsClient"]


def test_a_proxy_is_not_asked_for_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    before = left_behind()

    @flow
    async def sub() -> int:
        return 1

    @flow
    def tagged() -> int:
        with tags("proxied"):
            return plus(1) + asyncio.run(sub())

    with engine.serverless():
        assert tagged() == 3
    assert left_behind() == before


# -- in processes of their own -----------------------------------------------------------------------------------------


def test_a_run_contacts_only_this_machine_and_its_children_inherit_nothing(tmp_path: Path) -> None:
    process = script("engine_guarded.py", HOME=str(tmp_path), PREFECT_HOME=str(tmp_path / "prefect"))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    seen = json.loads(output)
    assert seen["result"] == 6
    assert seen["elsewhere"] == []
    assert seen["child"] == [None, []]
    assert seen["loaded"] == []
    assert [path.name for path in (tmp_path / "prefect").rglob("*")] == []


def test_ctrl_c_ends_the_process_at_once_with_the_flow_crashed() -> None:
    process = script("engine_interrupted.py", PYTHONFAULTHANDLER="1")
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    try:
        output, errors = process.communicate(timeout=30)  # half of what it would take without the signal
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # upon which it says where each of its threads is
        pytest.fail(f"It goes on after the interrupt:\n{process.communicate()[1]}")
    assert process.returncode in (130, -signal.SIGINT), errors  # a shell shows both as 130
    assert output.splitlines() == ["hook Crashed", "threads []"]


# -- facts of Prefect that Glacier leans on ----------------------------------------------------------------------------


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[Any, dict[str, set[Any]]]:
    """Edges of each task run as Prefect records them: id of the run to parameter to ids of upstream runs."""
    runs: dict[Any, dict[str, set[Any]]] = {}
    create = engine.task_engine._create_task_run_locally

    def create_and_record(*args: Any, **kwargs: Any) -> Any:
        run = create(*args, **kwargs)
        runs[run.id] = {name: {edge.id for edge in edges} for name, edges in run.task_inputs.items()}
        return run

    monkeypatch.setattr(engine.task_engine, "_create_task_run_locally", create_and_record)
    return runs


def id_of(state: State[Any]) -> Any:
    return state.state_details.task_run_id


@pytest.mark.usefixtures("serverless")
def test_states_as_parameters_give_results_and_exactly_their_edges(recorded: dict[Any, dict[str, set[Any]]]) -> None:
    @task(cache_policy=NO_CACHE)
    def collect(x: Any, y: Any, z: Any = 0) -> Any:
        return x, y, z

    @flow
    def edges() -> None:
        # Equal results, one object: by the values Prefect could not tell the two runs apart.
        first, second, third = (engine.run_task(one, {}) for _ in range(3))
        state = engine.run_task(collect, {"x": first, "y": {"k": [second, 7]}, "z": "z"}, wait_for=[third])
        assert state.result() == (1, {"k": [1, 7]}, "z")
        assert recorded[id_of(state)] == {
            "x": {id_of(first)},
            "y": {id_of(second)},
            "z": set(),
            "wait_for": {id_of(third)},
        }

    edges()


@pytest.mark.usefixtures("serverless")
@pytest.mark.parametrize("where", ["parameter", "nested", "wait_for", "after a NotReady"])
def test_a_failed_state_makes_the_downstream_not_ready(where: str, recorded: dict[Any, dict[str, set[Any]]]) -> None:
    @flow
    def failing() -> None:
        state = engine.run_task(broken, {})
        match where:
            case "parameter":
                after = engine.run_task(plus, {"x": state})
            case "nested":
                after = engine.run_task(plus, {"x": [1, {"k": state}]})
            case "wait_for":
                after = engine.run_task(one, {}, wait_for=[engine.run_task(one, {}), state])
            case _:
                state = engine.run_task(plus, {"x": state})
                after = engine.run_task(plus, {"x": state})
        assert (after.name, after.is_completed()) == ("NotReady", False)
        assert any(id_of(state) in edges for edges in recorded[id_of(after)].values())

    failing()


@pytest.mark.usefixtures("serverless")
@pytest.mark.parametrize("persist", [False, True])
def test_a_task_may_name_its_completed_state_and_downstream_gets_the_value(persist: bool, tmp_path: Path) -> None:
    frame = pl.LazyFrame({"a": [1]})

    @task(cache_policy=NO_CACHE, persist_result=persist, result_storage=tmp_path)
    def lazy() -> State[Any]:
        return Completed(name="Lazy", message="computed in 'b'", data=frame)

    @flow
    def named() -> None:
        state = engine.run_task(lazy, {})
        assert (state.name, state.is_completed(), state.message) == ("Lazy", True, "computed in 'b'")
        assert engine.run_task(plus, {"x": 1, "y": 2}, wait_for=[state]).result() == 3

        @task(cache_policy=NO_CACHE)
        def same(x: pl.LazyFrame) -> bool:
            return x is frame

        assert engine.run_task(same, {"x": state}).result()

    named()


@pytest.mark.usefixtures("serverless")
@pytest.mark.parametrize("validate", [False, True])
def test_a_sub_flow_called_with_states_in_a_thread_has_edges_and_values(
    validate: bool, recorded: dict[Any, dict[str, set[Any]]]
) -> None:
    frame = pl.LazyFrame({"a": [1]})

    @task(cache_policy=NO_CACHE)
    def make() -> pl.LazyFrame:
        return frame

    @flow(validate_parameters=validate)
    def inner(x: pl.LazyFrame) -> pl.LazyFrame:
        assert x is frame
        return x

    @flow
    def outer() -> None:
        data, order = engine.run_task(make, {}), engine.run_task(one, {})
        states: list[State[Any]] = []

        def call() -> None:
            states.append(inner(data, wait_for=[order], return_state=True))

        thread = threading.Thread(target=contextvars.copy_context().run, args=(call,))
        thread.start()
        thread.join()
        (state,) = states
        assert state.is_completed()
        assert engine._endpoint is not None
        (parent,) = engine._endpoint.task_runs.values()
        edges = {name: {edge["id"] for edge in found} for name, found in parent["task_inputs"].items()}
        assert str(id_of(data)) in edges["x"]
        assert edges["wait_for"] == {str(id_of(order))}
        assert parent["state"]["name"] == "Completed"
        after = engine.run_task(plus, {"x": 1}, wait_for=[state])
        assert recorded[id_of(after)]["wait_for"] == {state.state_details.flow_run_id}

        failed = engine.run_task(broken, {})
        assert inner(failed, return_state=True).name == "NotReady"
        assert inner(frame, wait_for=[failed], return_state=True).name == "NotReady"

    outer()


class Unreadable(Serializer):  # type: ignore[type-arg]
    """Writes what it cannot read back."""

    type: str = "glacier-test-unreadable"

    def dumps(self, obj: Any) -> bytes:
        return b"x"

    def loads(self, blob: bytes) -> Any:
        raise KeyError("the location is gone")


@pytest.mark.usefixtures("serverless")
def test_a_cached_result_that_cannot_be_read_is_a_cache_miss(tmp_path: Path) -> None:
    assert twice(result_storage=tmp_path, result_serializer=Unreadable()) == (["Completed", "Completed"], 2)


@pytest.mark.usefixtures("serverless")
def test_the_state_of_a_task_holds_its_result_in_memory() -> None:
    @flow
    def held() -> None:
        state = engine.run_task(one, {})
        assert isinstance(state.data, ResultRecord)
        assert state.data.result == 1

    assert held(return_state=True).is_completed()


def test_a_result_record_that_is_not_stored_is_as_prefect_makes_it() -> None:
    """Glacier leaves out the look for a storage path; this compares with what Prefect itself makes."""
    with engine.serverless():
        store = ResultStore()
        ours, theirs = store.create_result_record([1, 2], "key"), engine._create_result_record(store, [1, 2], "key")
    assert ours.result == theirs.result == [1, 2]
    changed = {
        name
        for name, value in theirs.metadata.model_dump(exclude={"prefect_version"}).items()
        if ours.metadata.model_dump()[name] != value
    }
    assert changed <= {"storage_key", "storage_block_id"}
    names = [
        list(inspect.signature(each).parameters)
        for each in (engine._create_result_record, type(store).create_result_record)
    ]
    assert names[0] == names[1]


def test_a_task_runner_says_how_many_threads_it_was_given() -> None:
    assert engine.max_workers(ThreadPoolTaskRunner(max_workers=3)) == 3


def test_a_frame_is_told_from_other_values_while_another_thread_imports_polars() -> None:
    code = """
        import sys, threading, time
        from glacier_prefect.exchange import is_frame, is_lazy

        class Slowly:
            def find_spec(self, name, path=None, target=None):
                if name == "polars.lazyframe":
                    half_way.set()
                    time.sleep(0.5)

        half_way = threading.Event()
        sys.meta_path.insert(0, Slowly())
        importing = threading.Thread(target=__import__, args=("polars",))
        importing.start()
        assert half_way.wait(30)
        assert not is_frame(1) and not is_lazy(1)
        importing.join()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
