"""Prefect's own engine without a Prefect server: the one file of Glacier that leans on Prefect's private parts.

The engine keeps its flow runs in an API. `serverless()` puts the loopback endpoint in place of that API. Retries of
tasks, timeouts, caching, hooks, logs and task runners are Prefect's and work as they are; the retry of a flow, which a
Prefect server decides, is decided by the endpoint. Its address is in the settings of the running context only, never in
an environment variable.

What is private in Prefect, so that an upgrade knows where to look (tests/base/test_engine.py holds each): the calls
that `loopback.Endpoint.answer` answers, `EventsWorker.instance`, `task_engine.emit_task_run_state_change_event`,
`PrefectResponse.raise_for_status`, `ResultStore.create_result_record`, `run_flow`, `run_task_sync` with `dependencies`,
`_QueueServiceBase._instances`, `_no_limits_cache`, `analytics.try_mark_milestone`,
`ThreadPoolTaskRunner._max_workers`, `SyncClientContext._httpx_settings`, and for `InnerRuns` (held by
tests/server/test_dbt_in_prefect.py) `uuid7` and a `TaskRun` made by hand.

This module imports Prefect, so nothing imports it before something is run; it must not import Glacier's pipelines.
"""

from __future__ import annotations

import contextlib
import logging
import re
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from glacier_prefect import prefect_import  # noqa: F401  # before Prefect, which it loads
from glacier_prefect.errors import ApiRequired
from glacier_prefect.exchange import Pick, map_leaves
from glacier_prefect.loopback import Endpoint
from glacier_prefect.tasks import Unmapped

# isort: split

from prefect import flow_engine, task_engine
from prefect._internal import analytics
from prefect._internal.concurrency.services import _QueueServiceBase
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect._internal.uuid7 import uuid7
from prefect.client.base import PrefectResponse
from prefect.client.schemas import FlowRunResult, State, TaskRunResult
from prefect.client.schemas.objects import RunInput, StateDetails, StateType, TaskRun
from prefect.concurrency import services as concurrency_services
from prefect.context import FlowRunContext, SettingsContext, SyncClientContext, TaskRunContext, get_settings_context
from prefect.events.clients import EventsClient, NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.logging.loggers import task_run_logger
from prefect.results import ResultStore, should_persist_result
from prefect.settings import Profile
from prefect.utilities.annotations import quote
from prefect.utilities.callables import get_call_parameters

if TYPE_CHECKING:
    import prefect
    from prefect.events import Event
    from prefect.task_runners import TaskRunner

_PROFILE = "glacier-serverless"  # travels with the settings, to Dask workers too, and says where a context belongs


# -- running -----------------------------------------------------------------------------------------------------------


def run_flow(flow: prefect.Flow[Any, Any], parameters: dict[str, Any]) -> State[Any]:
    """Run a flow that is not async and return its final state.

    Like `flow(..., return_state=True)` without what a call does besides: loading Prefect's drawing of flows.

    Args:
        flow: The flow.
        parameters: Its arguments by name; defaults are filled in.
    """
    parameters = get_call_parameters(flow.fn, (), parameters)
    state = flow_engine.run_flow(flow, parameters=parameters, return_type="state")
    return cast("State[Any]", state)


def run_task(
    task: prefect.Task[Any, Any], parameters: Mapping[str, Any], wait_for: Sequence[State[Any]] = ()
) -> State[Any]:
    """Run a task in this thread as a task run of the current flow run, and return its final state.

    A `State` among the parameters, alone or inside lists, tuples and dicts, stands for its result and makes an edge of
    the run's graph; one in `wait_for` makes an edge only. If one of them did not complete, the task does not run and
    the state is `NotReady`.

    Args:
        task: The task; not async.
        parameters: Its arguments by name, with the states of upstream task runs in place of their results.
        wait_for: States of further task runs that must have completed.
    """
    # Prefect would look into every field of every State and fetch each result through another thread. Where the
    # result is at hand it is given as it is, quoted, and the edge is named: half the time of a task in a chain.
    inputs: dict[str, set[RunInput]] = {}
    values = {}
    waits: list[Any] = list(wait_for)
    for name, value in parameters.items():
        edges: set[RunInput] = set()
        try:
            values[name] = quote(_replace_states(value, edges))
        except _NotCompleted as upstream:
            # As something to wait for: Prefect then gives the task run its name before it finds that it cannot run.
            values[name] = quote(None)
            waits.append(upstream.args[0])
        except LookupError:
            values[name] = value
        if edges:
            inputs[name] = edges
    if waits:
        edges = set()
        with contextlib.suppress(LookupError):
            _replace_states(waits, edges)
            inputs["wait_for"] = edges
            waits = [quote(None)]  # the key must be there for Prefect to add the edges to
    state = task_engine.run_task_sync(
        task, parameters=values, wait_for=waits or None, dependencies=inputs, return_type="state"
    )
    return cast("State[Any]", state)


def run_subflow(
    flow: prefect.Flow[Any, Any], parameters: Mapping[str, Any], wait_for: Sequence[State[Any]]
) -> State[Any]:
    """Run a flow in this thread as a sub-flow of the current flow run, and return its final state.

    Args:
        flow: The flow; not async.
        parameters: Its arguments by name, with the states of upstream task runs in place of their results.
        wait_for: States of all task runs that must have completed.
    """
    values: Any = get_call_parameters(flow.fn, (), dict(parameters))
    waits: list[Any] = list(wait_for)  # declared for futures, made for states as well
    state = flow_engine.run_flow(flow, parameters=values, wait_for=waits or None, return_type="state")
    return cast("State[Any]", state)


def value_of(state: State[Any]) -> Any:
    """Return the result of a completed run; from memory where it is there."""
    if isinstance(state.data, ResultRecord):
        return state.data.result
    return state.result(_sync=True)  # type: ignore[call-overload]


def max_workers(runner: TaskRunner[Any]) -> int | None:
    """Return how many threads a task runner of Prefect uses at most, None if it has no such number."""
    return cast("int | None", getattr(runner, "_max_workers", None))


def is_serverless() -> bool:
    """Whether the current context runs without a Prefect server."""
    return get_settings_context().profile.name == _PROFILE


class InnerRuns:
    """Task runs that stand for what a tool runs inside the current task run, as dbt its models.

    The server makes task runs of the events that are emitted of them, so none is run by Prefect: one event for the
    start and one for the end is all that it takes.
    """

    def __init__(self) -> None:
        attempt = TaskRunContext.get()
        assert attempt is not None
        self._around = attempt.task_run
        self._logger = task_run_logger(self._around, attempt.task)
        self._runs: dict[str, tuple[TaskRun, State[Any], Event | None]] = {}
        self._ended: dict[str, TaskRun] = {}
        self._artifacts: dict[str, Any] = {}

    def log(self, level: int, text: str) -> None:
        """Log what belongs to no inner run."""
        self._logger.log(level, "%s", text)

    def progress(self, name: str, done: float) -> None:
        """Show how much of something is done, from 0 to 1, as a progress artifact of the task run."""
        from prefect.artifacts import create_progress_artifact, update_progress_artifact

        key = "glacier-progress-" + (re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "task")
        try:
            if (artifact := self._artifacts.get(name)) is None:
                self._artifacts[name] = create_progress_artifact(100 * done, key=key, description=name)
            else:
                update_progress_artifact(artifact, 100 * done)
        except Exception as error:  # what is shown of a run must not fail it
            self._logger.debug("The progress could not be shown: %s", error)

    def start(self, key: str, name: str, at: float, after: Iterable[str]) -> None:
        """Show that something is running.

        Args:
            key: What names it among the inner runs of this task run.
            name: Name of its task run.
            at: When it began, in seconds since 1970.
            after: Keys of those that it comes after, which have ended.
        """
        inputs: dict[str, list[Any]] = {"__parents__": [TaskRunResult(id=self._around.id)]}
        if before := [TaskRunResult(id=self._ended[each].id) for each in after if each in self._ended]:
            inputs["depends_on"] = before
        moment = datetime.fromtimestamp(at, UTC)
        run = TaskRun(
            id=uuid7(),
            name=name,
            flow_run_id=self._around.flow_run_id,
            task_key=key,
            dynamic_key=f"{self._around.id}-{self._around.run_count}",  # (flow run, task key, dynamic key) is unique
            run_count=1,
            start_time=cast("Any", moment),
            expected_start_time=cast("Any", moment),
            task_inputs=cast("Any", inputs),
        )
        state = self._state(run, StateType.RUNNING, None, moment, None)
        self._runs[key] = (run, state, _emit_task_run_event(run, None, state))

    def end(self, key: str, at: float, outcome: str, message: str | None, log: str) -> None:
        """Show that something has ended.

        Args:
            key: As for `start`.
            at: When it ended.
            outcome: "completed", "failed", "skipped" or "cancelled".
            message: What its state says.
            log: What it logged: one record for all, since a record for each line costs more than a small run.
        """
        if (found := self._runs.pop(key, None)) is None:
            return
        run, before, event = found
        moment = datetime.fromtimestamp(at, UTC)
        kind = StateType.CANCELLED if outcome == "skipped" else StateType(outcome.upper())
        state = self._state(run, kind, outcome.capitalize(), moment, message)
        run.end_time = cast("Any", moment)
        run.total_run_time = moment - cast("datetime", run.start_time)
        if log:
            level = logging.ERROR if kind is StateType.FAILED else logging.INFO
            task_run_logger(run, None).log(level, "%s", log)
        _emit_task_run_event(run, before, state, follows=event)
        self._ended[key] = run

    def close(self) -> None:
        """Show what has not ended as cancelled."""
        for key in list(self._runs):
            self.end(key, time.time(), "cancelled", None, "")

    @staticmethod
    def _state(run: TaskRun, kind: StateType, name: str | None, at: datetime, message: str | None) -> State[Any]:
        details = StateDetails(task_run_id=run.id, flow_run_id=run.flow_run_id)
        return State(
            id=uuid7(), type=kind, name=name, timestamp=cast("Any", at), message=message, state_details=details
        )


class _NotCompleted(LookupError):
    """An upstream run that has no result; its state is the argument."""


def _replace_states(value: Any, edges: set[RunInput]) -> Any:
    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, State):
            if not item.is_completed():
                edges.update(_edge(item.state_details))
                raise _NotCompleted(item)
            if not isinstance(item.data, ResultRecord):
                raise LookupError  # a result that has to be fetched: Prefect knows what to do
            edges.update(_edge(item.state_details))
            return item.data.result
        if type(item) is Pick:
            return Pick(_replace_states(item.value, edges), item.path)
        if type(item) is Unmapped:
            return Unmapped(_replace_states(item.value, edges))
        return item

    return map_leaves(value, leaf)


def _edge(details: StateDetails) -> Iterator[RunInput]:
    context = FlowRunContext.get()
    here = context.flow_run.id if context and context.flow_run else None
    if details.flow_run_id is not None and details.flow_run_id != here:
        # A sub-flow. A server gives its states the id of a task run, too, that stands for it and is not in the graph.
        yield FlowRunResult(id=details.flow_run_id)
    elif details.task_run_id is not None:
        yield TaskRunResult(id=details.task_run_id)


# -- without a server --------------------------------------------------------------------------------------------------

_lock = threading.Lock()
_endpoint: Endpoint | None = None
_users = 0


@contextmanager
def serverless() -> Iterator[None]:
    """Let Prefect's engine run in this context with no Prefect server.

    Runs inside one another and at the same time in several threads share one endpoint; it is gone after the last.
    """
    if is_serverless():
        yield
        return
    with ExitStack() as stack:
        endpoint = stack.enter_context(_shared_endpoint())
        stack.enter_context(_settings(endpoint.url))
        stack.enter_context(_client())
        yield


@contextmanager
def _shared_endpoint() -> Iterator[Endpoint]:
    global _endpoint, _users
    with _lock:
        if _endpoint is None:
            _endpoint = Endpoint()
        endpoint = _endpoint
        _users += 1
    try:
        yield endpoint
    finally:
        with _lock:
            _users -= 1
            last = _users == 0
            if last:
                _endpoint = None
        if last:
            try:
                _forget_services(endpoint.url)
            finally:
                endpoint.stop()


@contextmanager
def _settings(url: str) -> Iterator[None]:
    """Point the current context, and only it, to the endpoint."""
    current = get_settings_context()
    settings = current.settings
    settings = changed(
        settings,
        api=changed(settings.api, url=url, key=None, auth_string=None),
        client=changed(
            settings.client, csrf_support_enabled=False, server_version_check_enabled=False, custom_headers={}
        ),
        flows=changed(settings.flows, heartbeat_frequency=None),  # a flow's end waits up to a second for its thread
        logging=changed(settings.logging, to_api=changed(settings.logging.to_api, enabled=False)),
        ui_url="",  # else derived from the API's URL and logged as a link
    )
    profile = Profile(name=_PROFILE, settings=current.profile.settings)
    with SettingsContext(profile=profile, settings=settings):
        yield


@contextmanager
def _client() -> Iterator[None]:
    """Give all sync code of the run one client, without certificates (20 ms to load) and without a proxy."""
    client = SyncClientContext(httpx_settings={"verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "trust_env": False})
    client._httpx_settings = None  # Prefect hands the client only to those who ask with equal settings
    with client:
        yield


def changed(model: Any, **values: object) -> Any:
    """Return a copy of Prefect's settings, or of a group of them, with other values."""
    # Not Settings.copy_with_update: it reads environment and profile files again, and cannot set None over a variable.
    return model.model_copy(update=values)


def _forget_services(url: str) -> None:
    """Stop the services that Prefect keeps for the whole process with a client of the endpoint that ends now."""
    services: dict[int, Any] = vars(_QueueServiceBase)["_instances"]
    for service in list(services.values()):
        client = getattr(service, "_client", None)
        if str(getattr(client, "api_url", "")).startswith(url):
            service.drain()
    concurrency_services._no_limits_cache.clear()


# -- what is changed in Prefect; each falls through to Prefect's own outside of `serverless()` -------------------------


class _ApiRequired(PrefectHTTPStatusError, ApiRequired):
    """`ApiRequired` out of Prefect's client, still an HTTP error for the code of Prefect that expects one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return ApiRequired, (str(self),)


class _NoEvents(EventsWorker):
    """Stands for the worker that sends events; `emit_event` emits nothing to a client of this type."""

    def __init__(self) -> None:
        super().__init__(NullEventsClient, cast("tuple[tuple[str, Any]]", ()))

    def send(self, item: Any) -> None:
        """Drop what a process pool forwards."""


_no_events = _NoEvents()
_events_worker = EventsWorker.instance
_mark_milestone = analytics.try_mark_milestone
_emit_task_run_event = vars(task_engine)["emit_task_run_state_change_event"]
_raise_for_status = PrefectResponse.raise_for_status
_create_result_record = ResultStore.create_result_record


def _events_worker_of_context(cls: type[EventsWorker], client_type: type[EventsClient] | None = None) -> EventsWorker:
    # Not set_client_override: that holds for the process, so for a run that reports to an API in another thread, too.
    if client_type is None and is_serverless():
        return _no_events
    return _events_worker(client_type)


def _emit_task_run_event_of_context(*args: Any, **kwargs: Any) -> Any:
    # Only spares the making of events that would not be sent: a tenth of a trivial task.
    if is_serverless():
        return None
    return _emit_task_run_event(*args, **kwargs)


def _create_result_record_of_context(
    self: ResultStore, obj: Any, key: str | None = None, expiration: Any = None
) -> ResultRecord[Any]:
    # Only spares looking up, on disk, the path of a result that will not be stored: a tenth of a trivial task. What a
    # flow failed with Prefect stores whatever is asked for.
    if should_persist_result() or not is_serverless() or isinstance(obj, BaseException):
        return _create_result_record(self, obj, key, expiration)
    metadata = ResultRecordMetadata(
        serializer=self.serializer, expiration=expiration, storage_key=key or self.storage_key_fn()
    )
    return ResultRecord(result=obj, metadata=metadata)


def _mark_milestone_if_allowed(milestone: Any) -> bool:
    # Prefect asks for DO_NOT_TRACK only before it sends, after it has written to the user's Prefect home.
    return analytics.is_telemetry_enabled() and _mark_milestone(milestone)


def _raise_api_required(self: PrefectResponse) -> Any:
    if self.status_code == 501 and self.request.url.host == "127.0.0.1":
        body = self.json()
        if isinstance(body, dict) and body.get("glacier"):
            raise _ApiRequired(body["detail"], request=self.request, response=self)
    return _raise_for_status(self)


analytics.try_mark_milestone = _mark_milestone_if_allowed
EventsWorker.instance = classmethod(_events_worker_of_context)  # type: ignore[method-assign, assignment]
PrefectResponse.raise_for_status = _raise_api_required  # type: ignore[method-assign]
ResultStore.create_result_record = _create_result_record_of_context  # type: ignore[method-assign]
vars(task_engine)["emit_task_run_state_change_event"] = _emit_task_run_event_of_context
