"""The few calls of GitHub's REST API that the action makes: the one comment of a pull request, and which pull request
made a commit. Waits where GitHub says so, and repeats what failed for a moment.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TRIES = 6
PAUSE = 1.0  # seconds before the second try, twice as long before each further
LIMIT_PAUSE = 60.0  # what GitHub asks for where it does not say how long


class ApiError(Exception):
    """GitHub refused a call, or did not answer it.

    Attributes:
        status: Of HTTP; None if there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Comment:
    """A comment of the action.

    Attributes:
        id: GitHub's.
        body: Its text.
        url: Its page.
    """

    id: int
    body: str
    url: str


class Api:
    """GitHub's REST API, for one repository.

    Args:
        token: Input `github-token`.
        repository: As in "owner/name", from `GITHUB_REPOSITORY`.
        url: From `GITHUB_API_URL`.
        patience: For how many seconds it may wait in all.
        clock: Seconds since 1970.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        token: str,
        repository: str,
        url: str = "https://api.github.com",
        *,
        patience: float = 300.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.repository = repository
        self._url = url.rstrip("/")
        self._token = token
        self._left = patience
        self._clock, self._sleep = clock, sleep
        self._login: str | None = None
        # no redirect is followed: the token would go along
        self._opener = urllib.request.build_opener(_NoRedirect)

    def comment_of(self, pull: int, key: str) -> Comment | None:
        """Return the action's own comment whose first line is `key`, the oldest if there are several."""
        return next(iter(self._own_comments(pull, key)), None)

    def upsert_comment(self, pull: int, body: str) -> str:
        """Write the one comment with this first line, in place if it is there; return its address.

        GitHub cannot create a comment only if there is none. So who has created one looks again: of several that raced,
        the oldest stays, with the text of who looked last, and whoever sees the others deletes them.

        Args:
            pull: Number of the pull request.
            body: The text; its first line is `comment.key`.

        Raises:
            ApiError: GitHub refused it, or does not answer.
        """
        key = body.partition("\n")[0]
        if not (there := self._own_comments(pull, key)):
            self._create(pull, key, body)
            there = self._own_comments(pull, key)
        if not there:
            raise ApiError(f"GitHub took the comment on pull request {pull}, but does not show it.")
        for other in there[1:]:
            self._call("DELETE", f"/issues/comments/{other.id}", gone=True)
        if there[0].body != body:
            self._call("PATCH", f"/issues/comments/{there[0].id}", {"body": body})
        return there[0].url

    def pull_of_commit(self, sha: str) -> int | None:
        """Return the number of the pull request whose merge made a commit, None for a commit that was pushed."""
        for pull in self._pages(f"/commits/{sha}/pulls"):
            if pull["merged_at"] is not None and pull["merge_commit_sha"] == sha:
                return int(pull["number"])
        return None

    def _own_comments(self, pull: int, key: str) -> list[Comment]:
        found = [
            Comment(id=each["id"], body=each["body"].replace("\r\n", "\n"), url=each["html_url"])
            for each in self._pages(f"/issues/{pull}/comments")
            if each["body"].splitlines()[:1] == [key] and each["user"] and each["user"]["login"] == self._me()
        ]
        return sorted(found, key=lambda comment: comment.id)

    def _me(self) -> str:
        """Return who the token is; only GraphQL tells it of a job's own token, too. Asked at the first comment only."""
        if self._login is None:
            address = self._url.removesuffix("/v3") + "/graphql"  # GitHub Enterprise: …/api/v3 and …/api/graphql
            answer, _ = self._request("POST", address, {"query": "{ viewer { login } }"})
            if not answer.get("data"):
                raise ApiError(f"GitHub does not say whose token the input github-token is: {answer.get('errors')}")
            self._login = str(answer["data"]["viewer"]["login"])
        return self._login

    def _create(self, pull: int, key: str, body: str) -> None:
        """Create the comment. A try without a clear answer may have done so, and is not repeated blindly."""
        for number in range(TRIES):
            try:
                self._call("POST", f"/issues/{pull}/comments", {"body": body}, tries=1)
                return
            except ApiError as error:
                if (error.status or 500) < 500 or number == TRIES - 1:
                    raise
                self._wait(_pause(number), str(error))
                if self._own_comments(pull, key):
                    return

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        for page in range(1, 1000):
            answer, headers = self._request("GET", f"{self._repository}{path}?per_page=100&page={page}")
            yield from answer
            if 'rel="next"' not in headers.get("Link", ""):
                return

    @property
    def _repository(self) -> str:
        return f"{self._url}/repos/{self.repository}"

    def _call(self, method: str, path: str, body: Any = None, *, tries: int = TRIES, gone: bool = False) -> Any:
        try:
            return self._request(method, self._repository + path, body, tries=tries)[0]
        except ApiError as error:
            if gone and error.status == 404:
                return None
            raise

    def _request(self, method: str, url: str, body: Any = None, *, tries: int = TRIES) -> tuple[Any, Mapping[str, str]]:
        """Return the decoded answer and its headers.

        Waiting for a rate limit is no try: GitHub has not done what it answers so.
        """
        number = limits = 0
        while True:
            try:
                with self._opener.open(self._prepared(method, url, body), timeout=30) as answer:
                    content = answer.read()
                    return (json.loads(content) if content else None), answer.headers
            except urllib.error.HTTPError as error:
                with error:
                    said = _message(error.read())
                pause = _limited(error, said, self._clock(), limits)
                where = f"{method} {urllib.parse.urlsplit(url).path}"
                problem = f"GitHub answered {error.code} to {where}: {said}"
                if pause is not None:
                    limits += 1
                    self._wait(pause, problem)
                    continue
                if error.code < 500:
                    raise ApiError(problem + _hint(error.code, said), error.code) from None
                status = error.code
            except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
                reason = getattr(error, "reason", None) or error
                problem, status = f"GitHub at {self._url} does not answer: {reason}", None
            number += 1
            if number >= tries:
                raise ApiError(problem, status)
            self._wait(_pause(number - 1), problem)

    def _prepared(self, method: str, url: str, body: Any) -> urllib.request.Request:
        request = urllib.request.Request(url, method=method)
        request.add_header("Accept", "application/vnd.github+json")
        request.add_header("X-GitHub-Api-Version", "2022-11-28")
        request.add_header("User-Agent", "glacier-deploy")
        request.add_unredirected_header("Authorization", f"Bearer {self._token}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        return request

    def _wait(self, seconds: float, problem: str) -> None:
        if seconds > self._left:
            raise ApiError(f"{problem}\nHint: it has to be waited {seconds:.0f} s more; run the job again later.", 429)
        self._left -= seconds
        self._sleep(seconds)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _pause(number: int) -> float:
    """Return how long to wait after a failed try; a part is random, so that jobs that failed together do not again."""
    return PAUSE * (1 << number) * random.uniform(0.75, 1.25)


def _limited(error: urllib.error.HTTPError, said: str, now: float, before: int) -> float | None:
    """Return how long GitHub wants to be left alone, None if the answer is no rate limit.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
    """
    if error.code not in (403, 429):
        return None
    if (after := error.headers.get("Retry-After", "")).isdecimal():
        return float(after)
    if error.headers.get("X-RateLimit-Remaining") == "0":
        return max(1.0, float(error.headers.get("X-RateLimit-Reset", now + LIMIT_PAUSE)) - now + 1)
    if error.code == 429 or "rate limit" in said.lower():
        return LIMIT_PAUSE * (1 << before)
    return None


def _message(content: bytes) -> str:
    """Return what an answer says, in a line."""
    try:
        said = json.loads(content)
        details = [str(each["message"]) for each in said.get("errors", ()) if "message" in each]
        return ". ".join([str(said["message"]), *details])
    except (ValueError, KeyError, TypeError, AttributeError):
        return " ".join(content.decode(errors="replace").split())[:200] or "nothing"


def _hint(status: int, said: str) -> str:
    if status == 401:
        return "\nHint: the input github-token is not, or not any more, a token of this GitHub."
    if status in (403, 404):
        return "\nHint: the job needs `permissions: { contents: read, pull-requests: write }`."
    if 300 <= status < 400:
        return "\nHint: the repository was renamed or moved; run the workflow from its new place."
    return ""
