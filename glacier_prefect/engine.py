"""Prefect's own engine without a Prefect server: the one file of Glacier that leans on Prefect's private parts.

The engine keeps its flow runs in an API. `serverless()` puts a small endpoint on the loopback address in place of that
API: it answers what the engine itself asks and says of everything else that a Prefect API is needed. Retries of tasks,
timeouts, caching, hooks, logs and task runners are Prefect's and work as they are; the retry of a flow, which a Prefect
server decides, is decided here by the server's rule. The endpoint's address is in the settings of the running context
only, never in an environment variable, and has a secret in its path.

What is private in Prefect, so that an upgrade knows where to look (tests/base/test_engine.py holds each): the paths and
bodies of `_Endpoint.answer`, `EventsWorker.instance`, `task_engine.emit_task_run_state_change_event`,
`PrefectResponse.raise_for_status`, `ResultStore.create_result_record`, `run_flow`, `run_task_sync` with `dependencies`,
`_QueueServiceBase._instances`, `_no_limits_cache`, `analytics.try_mark_milestone` and
`SyncClientContext._httpx_settings`.

This module imports Prefect, so nothing imports it before something is run; it must not import Glacier's pipelines.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import math
import os
import re
import secrets
import socket
import socketserver
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from glacier_prefect.errors import ApiRequired, ApiUnreachable
from glacier_prefect.exchange import Pick, map_leaves
from glacier_prefect.tasks import Unmapped
from glacier_prefect.ui import NOTE, find_server

# In a terminal Prefect reports first uses to its makers, beginning with its import; a variable that is set decides.
os.environ.setdefault("DO_NOT_TRACK", "1")

from prefect import flow_engine, task_engine
from prefect._internal import analytics
from prefect._internal.concurrency.services import _QueueServiceBase
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.client.base import PrefectResponse, ServerType
from prefect.client.orchestration import get_client
from prefect.client.schemas import FlowRunResult, State, TaskRunResult
from prefect.client.schemas.objects import RunInput, StateDetails
from prefect.concurrency import services as concurrency_services
from prefect.context import FlowRunContext, SettingsContext, SyncClientContext, get_settings_context
from prefect.events.clients import EventsClient, NullEventsClient
from prefect.events.worker import EventsWorker
from prefect.exceptions import PrefectHTTPStatusError
from prefect.results import ResultStore, should_persist_result
from prefect.settings import PREFECT_API_URL, Profile
from prefect.utilities.annotations import quote
from prefect.utilities.callables import get_call_parameters
from prefect.utilities.names import generate_slug

if TYPE_CHECKING:
    import prefect
    from prefect.client.orchestration import SyncPrefectClient

__all__ = [
    "check_api",
    "chosen_api",
    "configured_api",
    "public",
    "run_flow",
    "run_task",
    "server_version",
    "serverless",
]

_PROFILE = "glacier-serverless"  # travels with the settings, to Dask workers too, and says where a context belongs
_NOTED = "glacier-ui"  # the same for runs that are reported to the server of `glacier ui`
_HINT = "needs a Prefect API; run `glacier ui` or set PREFECT_API_URL"
_NOUNS = {
    "artifacts": "An artifact",
    "automations": "An automation",
    "block_documents": "A Prefect block",
    "block_schemas": "A Prefect block",
    "block_types": "A Prefect block",
    "concurrency_limits": "A concurrency limit",
    "deployments": "A deployment",
    "v2": "A concurrency limit",
    "variables": "A Prefect variable",
    "work_pools": "A work pool",
}


# -- which API ---------------------------------------------------------------------------------------------------------


def configured_api() -> str | None:
    """Return the URL of the Prefect API that the environment or the active profile names, or None if neither does."""
    context = get_settings_context()
    return None if context.profile.name == _PROFILE else context.settings.api.url


def check_api(url: str) -> None:
    """Make sure that the configured Prefect API answers.

    Args:
        url: What `configured_api()` returned.

    Raises:
        ApiUnreachable: It does not, or it refuses the credentials. The message names the URL and where it is set.
    """
    context = get_settings_context()
    with _short_tempered_client(url) as client:
        problem = client.api_healthcheck()
    if problem is None:
        return
    if os.environ.get("PREFECT_API_URL"):
        where = "the environment variable PREFECT_API_URL"
    elif context.profile.name == _NOTED:
        where = NOTE
    elif PREFECT_API_URL in context.profile.settings:
        where = f"the Prefect profile {context.profile.name!r}"
    else:
        where = "prefect.toml, pyproject.toml or .env"
    reason = str(problem).splitlines()[0].replace(url, public(url)) if str(problem) else type(problem).__name__
    raise ApiUnreachable(
        f"The Prefect API {public(url)}, set in {where}, cannot be used: {reason}\n"
        "Hint: start that server or correct the setting; to run without a server, remove it."
    ) from problem


def server_version(url: str) -> str | None:
    """Return the version of Prefect that an API runs, None for Prefect Cloud, which fits all.

    Args:
        url: What `configured_api()` returned.

    Raises:
        ApiUnreachable: It does not say one; then it may be something else that answers there.
    """
    with _short_tempered_client(url) as client:
        if client.server_type == ServerType.CLOUD:
            return None
        try:
            version = client.api_version()
        except (PrefectHTTPStatusError, ValueError) as error:  # an error page, or text that is no JSON
            version = type(error).__name__
    if re.match(r"\d+\.\d+", str(version)) is None:
        raise ApiUnreachable(
            f"{public(url)} answers, but not as a Prefect API does: asked for its version it says {version!r:.80}.\n"
            "Hint: correct the URL; that of a Prefect server ends in /api."
        )
    return str(version)


@contextmanager
def chosen_api(*folders: Path) -> Iterator[str | None]:
    """Use an API in this context: the configured one, else that of the project's `glacier ui` while it answers.

    Yields its URL; None if there is neither, and in a run without a server.

    Args:
        folders: Where to look for the project's note.

    Raises:
        ApiUnreachable: The configured one does not answer.
    """
    if (url := configured_api()) is not None:
        check_api(url)
        yield url
    elif is_serverless() or (server := find_server(*folders)) is None:
        yield None
    else:
        current = get_settings_context()
        settings = current.settings
        settings = _changed(
            settings,
            api=_changed(settings.api, url=server.api, key=None, auth_string=None),  # meant for another API
            client=_changed(settings.client, custom_headers={}),
            ui_url=server.url,
        )
        profile = Profile(name=_NOTED, settings=current.profile.settings)
        with SettingsContext(profile=profile, settings=settings), _loopback_without_proxy():
            yield server.api


def public(url: str) -> str:
    """Return a URL as it may be shown: without user and password."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def _short_tempered_client(url: str) -> Iterator[SyncPrefectClient]:
    """Yield a client that tries once and not for long; Prefect's defaults would try for minutes."""
    context = get_settings_context()
    settings = context.settings
    settings = _changed(settings, api=_changed(settings.api, url=url, request_timeout=10.0))
    settings = _changed(settings, client=_changed(settings.client, max_retries=0))
    with SettingsContext(profile=context.profile, settings=settings), get_client(sync_client=True) as client:
        yield client


def _changed(model: Any, **values: object) -> Any:
    # Not Settings.copy_with_update: it reads environment and profile files again, and cannot set None over a variable.
    return model.model_copy(update=values)


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


def set_entrypoint(flow: prefect.Flow[Any, Any], entrypoint: str) -> None:
    """Say where a worker finds `flow`: `<file>:<object>`; Prefect would take the file of Glacier's own function."""
    flow._entrypoint = entrypoint


def is_serverless() -> bool:
    """Whether the current context runs without a Prefect server."""
    return get_settings_context().profile.name == _PROFILE


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
_endpoint: _Endpoint | None = None
_users = 0


@contextmanager
def serverless() -> Iterator[None]:
    """Let Prefect's engine run in this context with no Prefect server.

    Runs inside one another and at the same time in several threads share one endpoint; it is gone after the last.
    """
    if get_settings_context().profile.name == _PROFILE:
        yield
        return
    with ExitStack() as stack:
        endpoint = stack.enter_context(_shared_endpoint())
        stack.enter_context(_settings(endpoint.url))
        stack.enter_context(_client())
        yield


@contextmanager
def _shared_endpoint() -> Iterator[_Endpoint]:
    global _endpoint, _users
    with _lock:
        if _endpoint is None:
            _endpoint = _Endpoint()
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
    settings = _changed(
        settings,
        api=_changed(settings.api, url=url, key=None, auth_string=None),
        client=_changed(
            settings.client, csrf_support_enabled=False, server_version_check_enabled=False, custom_headers={}
        ),
        flows=_changed(settings.flows, heartbeat_frequency=None),  # a flow's end waits up to a second for its thread
        logging=_changed(settings.logging, to_api=_changed(settings.logging.to_api, enabled=False)),
        ui_url="",  # else derived from the API's URL and logged as a link
    )
    profile = Profile(name=_PROFILE, settings=current.profile.settings)
    with SettingsContext(profile=profile, settings=settings):
        yield


@contextmanager
def _loopback_without_proxy() -> Iterator[None]:
    """Keep a configured proxy from being asked for the endpoint; Prefect's async clients know no other way."""
    proxies = urllib.request.getproxies()
    exempt = proxies.get("no", "")
    if not proxies.keys() & {"http", "all"} or "*" in exempt or "127.0.0.1" in exempt.split(","):
        yield
        return
    before = os.environ.get("no_proxy")
    os.environ["no_proxy"] = ours = f"{exempt},127.0.0.1".lstrip(",")
    try:
        yield
    finally:
        if os.environ.get("no_proxy") == ours:  # else the user's code has set it
            del os.environ["no_proxy"]
            if before is not None:
                os.environ["no_proxy"] = before


@contextmanager
def _client() -> Iterator[None]:
    """Give all sync code of the run one client, without certificates (20 ms to load) and without a proxy."""
    client = SyncClientContext(httpx_settings={"verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "trust_env": False})
    client._httpx_settings = None  # Prefect hands the client only to those who ask with equal settings
    with client:
        yield


def _forget_services(url: str) -> None:
    """Stop the services that Prefect keeps for the whole process with a client of the endpoint that ends now."""
    services: dict[int, Any] = vars(_QueueServiceBase)["_instances"]
    for service in list(services.values()):
        client = getattr(service, "_client", None)
        if str(getattr(client, "api_url", "")).startswith(url):
            service.drain()
    concurrency_services._no_limits_cache.clear()


# -- the endpoint ------------------------------------------------------------------------------------------------------


class _Unanswered(Exception):
    """A request that only a real API can answer; says what for."""


class _Endpoint(socketserver.ThreadingTCPServer):
    """What Prefect's engine needs of an API for its flow runs, for as long as the process runs them."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.secret = secrets.token_urlsafe(32)
        self.port = int(self.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/{self.secret}"
        self.lock = threading.Lock()
        self.connections: set[socket.socket] = set()
        self.flows: dict[str, dict[str, Any]] = {}
        self.flow_runs: dict[str, dict[str, Any]] = {}
        self.task_runs: dict[str, dict[str, Any]] = {}
        self.task_run_keys: dict[tuple[str, ...], str] = {}
        self.stopping = False
        self.after = ExitStack()
        self.after.enter_context(_loopback_without_proxy())
        self.thread = threading.Thread(target=self.serve, name="glacier-endpoint", daemon=True)
        self.thread.start()

    def serve(self) -> None:
        # Not serve_forever: it looks only now and then whether to stop, which either wakes often or ends late.
        while not self.stopping:
            self.handle_request()
        self.server_close()

    def stop(self) -> None:
        self.after.close()
        self.stopping = True
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            self.thread.join(timeout=1)  # the connection only wakes the thread
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away; anything else reaches the client as an answer

    def answer(self, method: str, path: Sequence[str], body: dict[str, Any]) -> tuple[int, Any]:
        """Return status and body for a request.

        Args:
            method: GET, POST or another.
            path: The parts of the path after the secret.
            body: The decoded JSON.
        """
        match method, *path:
            case "POST", "flows":
                flow = {"id": str(uuid4()), "created": _now(), "updated": _now(), "name": body["name"]}
                return 200, self.flows.setdefault(body["name"], flow)
            case "GET", "flows", key:
                return _found(next((flow for flow in self.flows.values() if flow["id"] == key), None))
            case "POST", "flow_runs":
                return 201, self.create_flow_run(body)
            case "POST", "flow_runs", "filter":
                return 200, self.sub_flow_runs(body)
            case "GET", "flow_runs", key:
                return _found(self.flow_runs.get(key))
            case "PATCH", "flow_runs", key if key in self.flow_runs:
                self.flow_runs[key].update(body)
                return 204, None
            case "PATCH", "flow_runs", key, "labels" if key in self.flow_runs:
                self.flow_runs[key].setdefault("labels", {}).update(body)
                return 204, None
            case "POST", "flow_runs", key, "set_state" if key in self.flow_runs:
                return 201, self.set_state(self.flow_runs[key], body["state"], force=body.get("force", False))
            case "POST", "task_runs":
                return 201, self.create_task_run(body)
            case "GET", "task_runs", key:
                return _found(self.task_runs.get(key))
            case "POST", "v2", "concurrency_limits", "increment-with-lease" if _asked_by_engine(body):
                return 200, {"lease_id": str(uuid4()), "limits": []}
            case "GET", "admin", "storage":
                return 200, {}
            case "GET", "admin", "settings":
                return 200, {"server": {"analytics_enabled": False}}
            case "GET", "health" | "ready" | "hello":
                return 200, True
            case _:
                call = f"{method} /{'/'.join(path)}"
                raise _Unanswered(_NOUNS.get(path[0] if path else "", f"This call of Prefect's API ({call})"))

    def create_flow_run(self, body: dict[str, Any]) -> dict[str, Any]:
        run: dict[str, Any] = {"name": generate_slug(2), "run_count": 0, "created": _now()}
        run["expected_start_time"] = run["created"]
        run |= {key: value for key, value in body.items() if value is not None}
        run |= {"id": str(uuid4()), "state": _stamped(body.get("state") or {"type": "PENDING", "name": "Pending"})}
        run |= {"state_type": run["state"]["type"], "state_name": run["state"]["name"]}
        self.flow_runs[run["id"]] = run
        return run

    def create_task_run(self, body: dict[str, Any]) -> dict[str, Any]:
        """Task runs that stand for sub-flows; the engine keeps all others to itself."""
        key = (str(body.get("flow_run_id")), body["task_key"], body["dynamic_key"])
        if key in self.task_run_keys:  # the flow is tried again
            return self.task_runs[self.task_run_keys[key]]
        run = {name: value for name, value in body.items() if value is not None}
        run |= {"id": body.get("id") or str(uuid4()), "created": _now(), "state": _stamped(body["state"])}
        self.task_run_keys[key] = run["id"]
        self.task_runs[run["id"]] = run
        return run

    def sub_flow_runs(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        match {key: value for key, value in (body.get("flow_runs") or {}).items() if value and key != "operator"}:
            case {"parent_task_run_id": {"any_": [*parents]}, **others} if not others:
                runs = [run for run in self.flow_runs.values() if run.get("parent_task_run_id") in parents]
                return list(reversed(runs))[: body.get("limit")]
        raise _Unanswered("A search for flow runs")

    def set_state(self, run: dict[str, Any], proposed: dict[str, Any], *, force: bool) -> dict[str, Any]:
        """Accept a state, or say what the rules of Prefect's server say instead."""
        current, kind = run["state"], proposed["type"]
        if kind == "PAUSED":
            raise _Unanswered("Pausing or suspending a flow run")
        retries = run.get("empirical_policy") or {}
        left = run["run_count"] <= (retries.get("retries") or 0)
        if kind == "FAILED" and current["type"] == "RUNNING" and left and not force:
            start = datetime.now(UTC) + timedelta(seconds=retries.get("retry_delay") or 0)
            details = {**(proposed.get("state_details") or {}), "scheduled_time": start.isoformat()}
            state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": proposed.get("message")}
            return self.accept(run, {**state, "state_details": details}, status="REJECT")
        if kind == "RUNNING" and not force:
            scheduled = (current.get("state_details") or {}).get("scheduled_time")
            seconds = (datetime.fromisoformat(scheduled) - datetime.now(UTC)).total_seconds() if scheduled else 0
            if seconds > 0:
                wait = {"type": "wait_details", "delay_seconds": math.ceil(seconds)}
                return {"state": None, "status": "WAIT", "details": wait}
            run["run_count"] += 1
            run.setdefault("start_time", _now())
            if current["name"] == "AwaitingRetry":
                proposed = {**proposed, "name": "Retrying"}
        if kind in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            run["end_time"] = _now()
        return self.accept(run, proposed, status="ACCEPT")

    def accept(self, run: dict[str, Any], state: dict[str, Any], *, status: str) -> dict[str, Any]:
        state = _stamped(state)
        run |= {"state": state, "state_id": state["id"], "state_type": state["type"], "state_name": state["name"]}
        if parent := self.task_runs.get(run.get("parent_task_run_id", "")):
            details = {**(state.get("state_details") or {}), "child_flow_run_id": run["id"]}
            parent["state"] = {**state, "state_details": details}
        return {"state": state, "status": status, "details": {"type": f"{status.lower()}_details"}}


class _Request(BaseHTTPRequestHandler):
    """Speaks HTTP for the endpoint."""

    server: _Endpoint
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet,
    disable_nagle_algorithm = True  # and at once: else each call waits 40 ms

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.lock:
            self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def respond(self) -> None:
        _, secret, *path = urllib.parse.urlsplit(self.path).path.split("/")
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if not secrets.compare_digest(secret.encode(), self.server.secret.encode()):
            self.send(403, {"detail": "This endpoint belongs to a run of Glacier."})
            return
        parts = [urllib.parse.unquote(part) for part in path if part]
        if parts == ["events", "in"] and "sec-websocket-key" in self.headers:
            self.swallow_events()
            return
        try:
            with self.server.lock:
                status, answer = self.server.answer(self.command, parts, json.loads(content) if content else {})
            self.send(status, answer)
        except _Unanswered as what:
            self.send(501, {"detail": f"{what} {_HINT}", "glacier": True})

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

    def send(self, status: int, body: Any) -> None:
        content = b"" if status == 204 else json.dumps(body).encode()
        self.send_response(status)
        if content:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def swallow_events(self) -> None:
        """Take the events of other processes (Dask workers) and drop them: WebSocket, as little as the client needs."""
        self.close_connection = True
        guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
        accept = base64.b64encode(hashlib.sha1(self.headers["sec-websocket-key"].encode() + guid).digest()).decode()
        self.send_response(101)
        for name, value in {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept,
            "Sec-WebSocket-Protocol": "prefect",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        greeted = False
        while len(head := self.rfile.read(2)) == 2:
            size = head[1] & 127
            if size > 125:
                size = int.from_bytes(self.rfile.read(2 if size == 126 else 8), "big")
            mask = self.rfile.read(4)
            content = self.rfile.read(size)
            match head[0] & 15:
                case 8:  # close
                    reply = b"\x88\x00"
                case 9:  # ping, at most 125 bytes
                    text = bytes(byte ^ mask[index % 4] for index, byte in enumerate(content))
                    reply = bytes([0x8A, len(text)]) + text
                case _ if not greeted:
                    greeted = True
                    text = b'{"type": "auth_success"}'
                    reply = bytes([0x81, len(text)]) + text
                case _:
                    continue
            self.wfile.write(reply)
            self.wfile.flush()
            if head[0] & 15 == 8:
                return


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _stamped(state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "id": str(uuid4()), "timestamp": _now()}


def _found(thing: dict[str, Any] | None) -> tuple[int, Any]:
    return (404, {"detail": "Not found"}) if thing is None else (200, thing)


def _asked_by_engine(body: dict[str, Any]) -> bool:
    """Whether the engine looks for limits on a task's tags, which has to pass; else the user asks for a limit."""
    return (body.get("holder") or {}).get("type") == "task_run" and all(n.startswith("tag:") for n in body["names"])


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
    if client_type is None and get_settings_context().profile.name == _PROFILE:
        return _no_events
    return _events_worker(client_type)


def _emit_task_run_event_of_context(*args: Any, **kwargs: Any) -> Any:
    # Only spares the making of events that would not be sent: a tenth of a trivial task.
    if get_settings_context().profile.name == _PROFILE:
        return None
    return _emit_task_run_event(*args, **kwargs)


def _create_result_record_of_context(
    self: ResultStore, obj: Any, key: str | None = None, expiration: Any = None
) -> ResultRecord[Any]:
    # Only spares looking up, on disk, the path of a result that will not be stored: a tenth of a trivial task.
    if should_persist_result() or get_settings_context().profile.name != _PROFILE:
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
