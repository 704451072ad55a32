"""Hands HTTP requests on to a server behind, streaming both ways: what Google's XML front and the tests' proxy share.

Knows nothing of Glacier or of any cloud.
"""

from __future__ import annotations

import contextlib
import http.client
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from typing import Any

BLOCK = 256 * 1024

# They are about one connection, not about the request (RFC 9110, section 7.6.1). `Expect` is answered where it is read.
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect"}


class Server(ThreadingHTTPServer):
    """A server on loopback whose requests end up at the server with port `behind`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, behind: int, handler: type[Forwarder]) -> None:
        super().__init__(("127.0.0.1", port), handler)
        self.behind = behind

    def server_bind(self) -> None:
        # HTTPServer's own asks for the name of the machine, which may take seconds where no name server answers.
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away, or was sent away


class Forwarder(BaseHTTPRequestHandler):
    """One client's connection. Requests go on as they came, the Host header too, since signatures may cover it."""

    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet,
    disable_nagle_algorithm = True  # and at once: else each call waits 40 ms

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def parse_request(self) -> bool:
        if not super().parse_request():
            return False
        self.path = self.requestline.split()[1]  # as it came: the base class shortens slashes at the beginning
        self.body = self.read_body()
        return True

    def respond(self) -> None:
        with self.ask(self.command, self.path, self.passed_on(), self.body) as response:
            self.relay(response)

    def do_any(self) -> None:
        self.respond()
        for _ in self.body:
            pass  # the next request on this connection begins after this one's body

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_any

    def read_body(self) -> Iterator[bytes]:
        """Yield the body of the request, whichever way it is framed."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield from _exactly(self.rfile, size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            yield from _exactly(self.rfile, int(self.headers.get("Content-Length") or 0))

    def passed_on(self) -> dict[str, str]:
        """Return the headers that go on to the server behind."""
        return {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}

    @contextlib.contextmanager
    def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: Iterable[bytes] = ()
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request to the server behind. A connection each: a kept one may be closed when it is needed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=300)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            chunked = method in ("POST", "PUT", "PATCH") and "content-length" not in {name.lower() for name in headers}
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            for block in body:
                connection.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
            if chunked:
                connection.send(b"0\r\n\r\n")
            yield connection.getresponse()
        finally:
            connection.close()

    def relay(self, response: http.client.HTTPResponse, extra: Mapping[str, str] | None = None) -> None:
        """Send the client what the server behind answered."""
        self.send_response_only(response.status, response.reason)
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP_BY_HOP]
        for name, value in [*headers, *(extra or {}).items()]:
            self.send_header(name, value)
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        chunked = not bodiless and response.getheader("Content-Length") is None
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for block in () if bodiless else self.answered(response):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def answered(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the body of an answer as it comes."""
        while block := response.read1(BLOCK):
            yield block

    def reply(self, status: int, headers: Mapping[str, str] | None = None, content: bytes = b"") -> None:
        """Answer without asking the server behind."""
        for _ in self.body:
            pass  # a client that is still sending would not read the answer
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def split_path(path: str) -> tuple[str, str, dict[str, str]]:
    """Return bucket, key and query of a path "/bucket/key?query", all decoded."""
    whole, _, query = path.partition("?")
    bucket, _, key = whole.lstrip("/").partition("/")
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    return urllib.parse.unquote(bucket), urllib.parse.unquote(key), dict(pairs)


def _exactly(file: BufferedIOBase, size: int) -> Iterator[bytes]:
    while size:
        block = file.read1(min(size, BLOCK))
        if not block:
            raise ConnectionResetError("the client went away in the middle of its request")
        size -= len(block)
        yield block
