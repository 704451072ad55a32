"""The workspace as a server: who calls, which call is answered by what, and what goes wrong with calls."""

from __future__ import annotations

import base64
import contextlib
import email
import functools
import json
import re
import socket
import struct
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.executors.databricks_emulator.answers import CUT, Fault, Refused
from tests.executors.databricks_emulator.files import USER
from tests.executors.databricks_emulator.runs import Runs


class Databricks(Runs):
    """The workspace.

    Attributes:
        tokens: When each token ends, by `time.monotonic`.
        clients: Secrets of service principals by their ids.
        lifetime: Seconds that their tokens are good for.
        faults: What is to go wrong.
        refused: Paths of calls whose token was not good.
        calls: All calls: method, path below `/api/2.x/`, JSON body.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tokens: dict[str, float] = {}
        self.clients: dict[str, str] = {}
        self.lifetime = 3600.0
        self.faults: list[Fault] = []
        self.refused: list[str] = []
        self.calls: list[tuple[str, str, Any]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._serving.start()

    def close(self) -> None:
        """End all runs and the server."""
        self.end_runs()
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()

    def new_token(self, seconds: float = 3600) -> str:
        """Return a token that is good for so long."""
        token = f"dapi{uuid.uuid4().hex}"
        self.tokens[token] = time.monotonic() + seconds
        return token

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
