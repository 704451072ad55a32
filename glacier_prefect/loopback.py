"""The loopback endpoint: what Prefect's engine needs of an API, answered in this process over HTTP.

It answers the calls that the engine itself makes for its flow runs, by the rules of Prefect's server, and says of
everything else that a Prefect API is needed. Its address has a secret in the path. `engine.serverless()` starts it,
stops it and points Prefect to it; nothing here knows of Glacier or touches Prefect.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import math
import os
import secrets
import socket
import socketserver
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from uuid import uuid4

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


class _Unanswered(Exception):
    """A request that only a real API can answer; says what for."""


class Endpoint(socketserver.ThreadingTCPServer):
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
        self.after.enter_context(without_proxy())
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
        from prefect.utilities.names import (
            generate_slug,  # here, since who imports Prefect first is for `engine` to say
        )

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

    server: Endpoint
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


@contextmanager
def without_proxy() -> Iterator[None]:
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
