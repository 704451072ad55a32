"""A GitHub on loopback for the calls that the action makes, with the answers of the true one: status codes, messages,
headers, pages, rate limits. It keeps what it is told and hands it out; faults are put before its answers.

What it cannot show is how soon the true one shows a comment to a second reader.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DOCS = "https://docs.github.com/rest"
LIMIT = 65_536


@dataclass(kw_only=True)
class Token:
    """Who a token is and what it may.

    Attributes:
        login: The user's or the app's.
        installation: Whether it is an app's, as a job's own is.
        writes: Whether it may write to pull requests.
    """

    login: str = "github-actions[bot]"
    installation: bool = True
    writes: bool = True


@dataclass(kw_only=True)
class Fault:
    """An answer in place of the true one, or after it.

    Attributes:
        method: Of the request that it is for; any if empty.
        status: 0 closes the connection.
        message: Of the answer.
        headers: Of the answer.
        after: Whether the request is carried out before.
    """

    method: str = ""
    status: int = 502
    message: str = "Server Error"
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False


class GitHub(ThreadingHTTPServer):
    """One repository."""

    daemon_threads = True

    def __init__(self, repository: str = "acme/shop") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repository = repository
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.tokens = {"job-token": Token()}
        self.pulls: dict[int, dict[str, Any]] = {}
        self.comments: dict[int, dict[str, Any]] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], object] = lambda method, path: None
        self.lock = threading.RLock()
        self.last_id = 1000
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def open_pull(self, number: int) -> None:
        self.pulls[number] = {"number": number, "state": "open", "merged_at": None, "merge_commit_sha": "0" * 40}

    def merge_pull(self, number: int, sha: str) -> None:
        self.pulls[number].update(state="closed", merged_at="2026-11-27T06:00:00Z", merge_commit_sha=sha)

    def add_comment(self, pull: int, body: str, login: str = "github-actions[bot]") -> dict[str, Any]:
        with self.lock:
            self.last_id += 1
            comment = {
                "id": self.last_id,
                "body": body,
                "user": {"login": login, "type": "Bot" if login.endswith("[bot]") else "User"},
                "issue": pull,
                "html_url": f"https://github.com/{self.repository}/pull/{pull}#issuecomment-{self.last_id}",
            }
            self.comments[self.last_id] = comment
            return comment

    def of(self, pull: int) -> list[dict[str, Any]]:
        return [each for each in self.comments.values() if each["issue"] == pull]

    def count(self, method: str) -> int:
        return sum(each == method for each, _ in self.requests)


class Handler(BaseHTTPRequestHandler):
    server: GitHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self) -> None:
        github = self.server
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        github.requests.append((self.command, self.path))
        github.before(self.command, self.path)
        with github.lock:
            fault = next((each for each in github.faults if each.method in ("", self.command)), None)
            if fault is not None:
                github.faults.remove(fault)
            if fault is None or fault.after:
                status, answer, headers = self.answered(content)
            if fault is not None:
                status, answer, headers = fault.status, {"message": fault.message}, fault.headers
        if status == 0:
            self.close_connection = True
            return
        sent = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**self.usual(), **headers, "Content-Length": str(len(sent))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST = do_PATCH = do_DELETE = answer

    def usual(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json; charset=utf-8",
            "X-RateLimit-Limit": "1000",
            "X-RateLimit-Remaining": "990",
            "X-RateLimit-Reset": str(int(time.time()) + 3600),
        }

    def answered(self, content: bytes) -> tuple[int, Any, dict[str, str]]:
        github = self.server
        scheme, _, secret = self.headers.get("Authorization", "").partition(" ")
        token = github.tokens.get(secret) if scheme.lower() in ("bearer", "token") else None
        if token is None:
            return self.refused(401, "Bad credentials" if secret else "Requires authentication")
        path, _, query = self.path.partition("?")
        if (self.command, path) == ("POST", "/graphql"):
            if "".join(json.loads(content)["query"].split()) not in ("{viewer{login}}", "query{viewer{login}}"):
                return 200, {"errors": [{"message": "this stand-in answers no other query"}]}, {}
            return 200, {"data": {"viewer": {"login": token.login}}}, {}
        if (self.command, path) == ("GET", "/user"):
            if token.installation:
                return self.refused(403, "Resource not accessible by integration")
            return 200, {"login": token.login}, {}
        prefix = f"/repos/{github.repository}"
        if not path.startswith(prefix + "/"):
            return self.refused(404, "Not Found")
        match self.command, *path.removeprefix(prefix + "/").split("/"):
            case "GET", "issues", number, "comments" if int(number) in github.pulls:
                return self.page(path, query, github.of(int(number)))
            case "GET", "commits", sha, "pulls":
                merged = [each for each in github.pulls.values() if each["merge_commit_sha"] == sha]
                return self.page(path, query, merged)
            case (method, *_) if method != "GET" and not token.writes:
                return self.refused(403, "Resource not accessible by integration")
            case "POST", "issues", number, "comments" if int(number) in github.pulls:
                if refused := self.checked(content):
                    return refused
                return 201, github.add_comment(int(number), json.loads(content)["body"], token.login), {}
            case "PATCH", "issues", "comments", number if int(number) in github.comments:
                if refused := self.checked(content):
                    return refused
                github.comments[int(number)]["body"] = json.loads(content)["body"]
                return 200, github.comments[int(number)], {}
            case "DELETE", "issues", "comments", number if int(number) in github.comments:
                del github.comments[int(number)]
                return 204, None, {}
        return self.refused(404, "Not Found")

    def checked(self, content: bytes) -> tuple[int, Any, dict[str, str]] | None:
        body = json.loads(content).get("body")
        if not isinstance(body, str) or not body.strip():
            said = "Body cannot be blank"
        elif len(body.encode("utf-16-le")) // 2 > LIMIT:
            said = f"Body is too long (maximum is {LIMIT} characters)"
        else:
            return None
        error = {"resource": "IssueComment", "code": "unprocessable", "field": "data", "message": said}
        return 422, {"message": "Validation Failed", "errors": [error], "documentation_url": DOCS, "status": "422"}, {}

    def page(self, path: str, query: str, found: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        given = dict(urllib.parse.parse_qsl(query))
        size, number = min(int(given.get("per_page", 30)), 100), int(given.get("page", 1))
        link = f'<{self.server.url}{path}?per_page={size}&page={number + 1}>; rel="next"'
        more = len(found) > size * number
        return 200, found[size * (number - 1) : size * number], {"Link": link} if more else {}

    def refused(self, status: int, message: str) -> tuple[int, Any, dict[str, str]]:
        return status, {"message": message, "documentation_url": DOCS, "status": str(status)}, {}


@contextmanager
def running(repository: str = "acme/shop") -> Iterator[GitHub]:
    server = GitHub(repository)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
