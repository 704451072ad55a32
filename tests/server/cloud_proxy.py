"""Stands in front of a Prefect server and behaves as Prefect Cloud does, as far as its clients notice.

One workspace below its account's path; a key with each call, for websockets too; now and then "too many requests" with
when to try again; nothing for administrators of a server, and neither /health nor /version in a workspace; ids for
workers; push pools among the types of work pools. What is behind it is the open-source server: it does not prove what
Prefect Cloud itself does with what it gets.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import uuid
from typing import Any

from glacier_prefect.emulators.forward import BLOCK, Forwarder, Server
from tests.served import Served

ACCOUNT, WORKSPACE = str(uuid.uuid4()), str(uuid.uuid4())
ROOT = f"/api/accounts/{ACCOUNT}/workspaces/{WORKSPACE}"
EVERY = 15  # the how many-th call is one too many


class CloudProxy(Served, Server):
    """Prefect Cloud on loopback, while the block runs.

    Attributes:
        key: The one key that it takes.
        calls: Method, path and status of each call that came, in order.
    """

    def __init__(self, behind: int) -> None:
        super().__init__(0, behind, _Handler)
        self.key = f"pnu_{uuid.uuid4().hex}"
        self.calls: list[tuple[str, str, int]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/api"

    @property
    def env(self) -> dict[str, str]:
        """Variables of a process that uses it."""
        workspace = f"{self.url}/accounts/{ACCOUNT}/workspaces/{WORKSPACE}"
        return {"PREFECT_CLOUD_API_URL": self.url, "PREFECT_API_URL": workspace, "PREFECT_API_KEY": self.key}

    def count(self, status: int) -> int:
        """Return how often it answered so."""
        return sum(each[2] == status for each in self.calls)


class _Handler(Forwarder):
    server: CloudProxy  # type: ignore[assignment]

    def respond(self) -> None:
        inside = self.path.removeprefix(ROOT) if self.path.startswith(f"{ROOT}/") else None
        socketed = self.headers.get("Upgrade", "").lower() == "websocket"
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        told_inside = socketed and not scheme and self.headers.get("Sec-WebSocket-Protocol") == "prefect"
        if not told_inside and (scheme.lower(), key) != ("bearer", self.server.key):
            self.say(401, {"detail": "Unauthorized"})
        elif self.path.rstrip("/") == "/api/me/workspaces":
            self.say(200, [_workspace()])
        elif inside is None or re.match(r"/(health|hello|ready|version|admin/version|csrf-token)\b", inside):
            self.say(404, {"detail": "Not Found"})
        elif inside.startswith("/admin/"):
            self.say(403, {"detail": "Forbidden"})
        elif socketed:
            self.pump(f"/api{inside}")
        elif len(self.server.calls) % EVERY == EVERY - 1:
            self.say(429, {"detail": "Too Many Requests"}, {"Retry-After": "1"})
        elif inside.startswith("/collections/work_pool_types"):
            with self.ask("GET", "/api/collections/views/aggregate-worker-metadata", {"Host": "127.0.0.1"}) as response:
                self.say(200, _with_push(json.load(response)))
        elif inside.endswith("/workers/heartbeat"):
            self.heartbeat(f"/api{inside}")
        else:
            self.path = f"/api{inside}"
            headers = {name: value for name, value in self.passed_on().items() if name != "Authorization"}
            with self.ask(self.command, self.path, headers, self.body) as response:
                self.note(response.status)
                self.relay(response)

    def heartbeat(self, path: str) -> None:
        sent = json.loads(b"".join(self.body))
        known = json.dumps({"name": sent["name"], "heartbeat_interval_seconds": sent.get("heartbeat_interval_seconds")})
        headers = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(known))}
        with self.ask("POST", path, headers, [known.encode()]) as response:
            self.note(200)
            assert response.status == 204, response.read()
        self.reply(200, {}, str(uuid.uuid5(uuid.NAMESPACE_URL, sent["name"])).encode())

    def pump(self, path: str) -> None:
        """Carry a websocket both ways until either side ends."""
        self.note(101)
        head = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        with socket.create_connection(("127.0.0.1", self.server.behind)) as behind:
            behind.sendall("\r\n".join([*head, "", ""]).encode())
            back = threading.Thread(target=_copy, args=[behind, self.connection], daemon=True)
            back.start()
            while data := self.rfile.read1(BLOCK):  # type: ignore[attr-defined]
                behind.sendall(data)
            behind.shutdown(socket.SHUT_WR)
            back.join(5)  # closing before the answer is read would take back what was sent
        self.close_connection = True

    def say(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self.note(status)
        self.reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())

    def note(self, status: int) -> None:
        self.server.calls.append((self.command, self.requestline.split()[1].partition("?")[0], status))


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(BLOCK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one of the two is gone


def _workspace() -> dict[str, str]:
    account = {"account_id": ACCOUNT, "account_name": "acme", "account_handle": "acme"}
    described = {"workspace_name": "main", "workspace_handle": "main", "workspace_description": ""}
    return {**account, "workspace_id": WORKSPACE, **described}


def _with_push(known: dict[str, Any]) -> dict[str, Any]:
    pushed = {
        f"{name}:push": {**each, "type": f"{each['type']}:push"}
        for workers in known.values()
        for name, each in workers.items()
        if each["type"] in ("ecs", "cloud-run-v2", "azure-container-instance")
    }
    return {**known, "push": pushed}
