"""A proxy in front of a real service that loses, delays or refuses what a test says."""

from __future__ import annotations

import contextlib
import http.server
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.served import Served


@dataclass
class Faults:
    """What goes wrong, and where the proxy is.

    Attributes:
        planned: For a method and a part of the path, what becomes of the next requests, first to last: a status is
            answered in the service's place, "reset" ends the connection, "lost" does so when the service has done it.
        gone: Whether no request is answered at all.
        asked: Method and path of all requests.
    """

    url: str = ""
    planned: dict[tuple[str, str], list[int | str]] = field(default_factory=dict)
    gone: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    def next(self, method: str, path: str) -> int | str | None:
        """Return what becomes of a request."""
        self.asked.append((method, path))
        for (of, part), plan in self.planned.items():
            if method == of and part in path and plan:
                return plan.pop(0)
        return "reset" if self.gone else None


@contextlib.contextmanager
def in_front_of(service: str) -> Iterator[Faults]:
    """Run a proxy in front of `service`."""
    faults = Faults()

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            fault = faults.next(self.command, self.path)
            if isinstance(fault, int):
                return self.answer(fault, b'{"detail": "by the proxy"}')
            if fault == "reset":
                return self.connection.close()
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            try:
                asked = urllib.request.Request(service + self.path, body, headers, method=self.command)
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    status, data = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, data = error.code, error.read()
            if fault == "lost":
                return self.connection.close()
            return self.answer(status, data)

        do_GET = do_POST = do_PATCH = handle_any

        def answer(self, status: int, data: bytes) -> None:
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    class Server(Served, http.server.ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None: ...

    with Server(("127.0.0.1", 0), Handler) as server:
        faults.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield faults
