"""A proxy in front of an emulator that counts what goes through and lets things go wrong, as told.

    with Proxy(behind=s3.port) as proxy:
        store = s3.at(proxy.port).store("bucket")
        rule = proxy.fail(ERROR_503, method="PUT", path=r"^/bucket/", skip=1, times=2)
        ...
        proxy.count(method="PUT"), proxy.received(method="PUT"), rule.hits

It runs in threads of the test's own process. Headers pass unchanged, Host too, so signatures stay good.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from glacier_prefect.emulators.forward import Forwarder, Server
from tests.served import Served

Kind = Literal["answer", "reset", "reset request", "reset response", "lose answer", "truncate", "delay"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong with a request.

    Args:
        kind: "answer" answers in the server's place; "reset" cuts the connection before the body is read, "reset
            request" in the middle of it, "reset response" in the middle of the answer's; "lose answer" carries the
            request out and cuts the connection then; "truncate" ends the answer's body early, orderly and with its
            Content-Length; "delay" waits first. The server behind sees nothing of what the first three hit.
        status: For "answer", as are headers and content.
        headers: Those besides Content-Length.
        content: The body.
        carried_out: For "answer": the server behind carries the request out nevertheless.
        seconds: For "delay".
        after: For those in the middle of a body: after how many bytes; None is half of it.
    """

    kind: Kind
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    carried_out: bool = False
    seconds: float = 0
    after: int | None = None


@dataclass
class Rule:
    """Which requests a fault happens to, and how many it has happened to."""

    fault: Fault
    method: str | None
    path: re.Pattern[str]
    skip: int
    times: int | None
    seen: int = 0
    hits: int = 0

    def takes(self, method: str, path: str) -> bool:
        if self.method not in (None, method) or not self.path.search(path):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


@dataclass(kw_only=True)
class Request:
    """A request that came, with the bytes of both bodies that went through."""

    method: str
    path: str
    headers: dict[str, str]
    status: int | None = None  # None: it got no answer
    received: int = 0
    sent: int = 0
    fault: Fault | None = None


class Proxy(Served, Server):
    """A proxy in front of the server with port `behind`; runs while its `with` block does."""

    def __init__(self, *, behind: int) -> None:
        super().__init__(0, behind, _Connection)
        self.port = self.server_port
        self.lock = threading.Lock()
        self.requests: list[Request] = []
        self.rules: list[Rule] = []

    def fail(
        self, fault: Fault, *, method: str | None = None, path: str = "", skip: int = 0, times: int | None = 1
    ) -> Rule:
        """Let a fault happen to requests that match; of several rules the first that takes a request has it.

        Args:
            fault: What goes wrong.
            method: Only requests with this method.
            path: A regular expression that path and query contain.
            skip: How many matching requests go well first.
            times: How many fail then; None is all.
        """
        rule = Rule(fault, method, re.compile(path), skip, times)
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget all requests and rules."""
        with self.lock:
            self.requests.clear()
            self.rules.clear()

    def seen(self, method: str | None = None, path: str = "") -> list[Request]:
        """Return the requests so far with this method and a path and query that contain the regular expression."""
        with self.lock:
            return [each for each in self.requests if method in (None, each.method) and re.search(path, each.path)]

    def count(self, method: str | None = None, path: str = "") -> int:
        """Return how many such requests came."""
        return len(self.seen(method, path))

    def received(self, method: str | None = None, path: str = "") -> int:
        """Return how many bytes the bodies of such requests had."""
        return sum(each.received for each in self.seen(method, path))

    def sent(self, method: str | None = None, path: str = "") -> int:
        """Return how many bytes the bodies of their answers had."""
        return sum(each.sent for each in self.seen(method, path))


class _Cut(Exception):
    """The connection ends here, as a fault wants it."""


class _Connection(Forwarder):
    server: Proxy
    request_now: Request

    def respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.request_now = request = Request(method=self.command, path=self.path, headers=headers)
        with self.server.lock:
            self.server.requests.append(request)
            request.fault = next((r.fault for r in self.server.rules if r.takes(self.command, self.path)), None)
        self.body = self.counted(self.body)
        try:
            self.carry_out(request.fault)
        except _Cut as how:
            self.cut(orderly=str(how) == "orderly")

    def carry_out(self, fault: Fault | None) -> None:
        match fault and fault.kind:
            case "answer":
                assert fault
                self.request_now.status = fault.status
                if fault.carried_out:
                    with self.ask(self.command, self.path, self.passed_on(), self.body) as response:
                        response.read()
                return self.reply(fault.status, fault.headers, fault.content)
            case "reset":
                raise _Cut("reset")
            case "reset request":
                assert fault
                size = int(self.headers.get("Content-Length") or 0)
                self.request_now.received = len(self.rfile.read(size // 2 if fault.after is None else fault.after))
                raise _Cut("reset")
            case "delay":
                assert fault
                time.sleep(fault.seconds)
        with self.ask(self.command, self.path, self.passed_on(), self.body) as response:
            if fault and fault.kind == "lose answer":
                response.read()
                raise _Cut("reset")
            self.request_now.status = response.status
            self.relay(response)

    def answered(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        fault = self.request_now.fault
        left = None
        if fault and fault.kind in ("reset response", "truncate"):
            left = int(response.getheader("Content-Length") or 2) // 2 if fault.after is None else fault.after
        for block in super().answered(response):
            if left is not None:
                block, left = block[:left], left - len(block)
            self.request_now.sent += len(block)
            yield block
            if left is not None and left <= 0:
                assert fault
                raise _Cut("orderly" if fault.kind == "truncate" else "reset")

    def counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.request_now.received += len(block)
            yield block

    def cut(self, *, orderly: bool) -> None:
        """End the connection: orderly after what was written, or by a reset."""
        self.body = iter(())
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
            if orderly:
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())  # now; close() would wait for the files that were made of it
