"""Prefect's API, as deployments use it: plain data in and out, one call after another, and one place for all writes.

This module loads Prefect, so nothing imports it before something is deployed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from glacier_prefect import prefect_api  # before Prefect, which reports its import unless it is told not to
from glacier_prefect.errors import ApiRequired, DeployFailed

# isort: split

from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError

PAGE = 200  # what a Prefect server gives at most


class Api:
    """The Prefect API: the configured one, else that of the project's `glacier ui` while it answers.

    Attributes:
        url: Where it is, without user and password; known once it is entered.
        writes: How many calls that change something were made.
        guard: Called before each of these; raises where nothing may be written any more.

    Example:
        >>> with Api() as api:
        ...     api.read("GET", "/work_pools/processes")
    """

    def __init__(self) -> None:
        self.writes = 0
        self.guard: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            url = stack.enter_context(prefect_api.chosen_api(Path.cwd()))
            if url is None:
                raise ApiRequired(
                    "Deploying needs a Prefect API, and none is configured.\n"
                    "Hint: set PREFECT_API_URL, choose a Prefect profile that has one, or start a server with "
                    "`glacier ui`."
                )
            self.url = prefect_api.public(url)
            hooks = {"event_hooks": {"response": [_ask_again_soon]}}
            self._client = stack.enter_context(get_client(sync_client=True, httpx_settings=hooks))
            try:
                self._client.raise_for_api_version_mismatch_once()
            except RuntimeError as error:
                raise DeployFailed(
                    f"The Prefect server is of another version: {error}\n"
                    "Hint: use a server and a client of one version."
                ) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the answer to a call that changes nothing, None if there is no such object."""
        return self._call(method, path, body)

    def write(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a call that changes something, None if there is no such object."""
        self.guard()
        self.writes += 1
        return self._call(method, path, body)

    def pages(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield all that a filter finds, page by page."""
        offset = 0
        while True:
            page = self.read("POST", path, {**body, "limit": PAGE, "offset": offset})
            yield from page
            if len(page) < PAGE:
                return
            offset += PAGE

    def _call(self, method: str, path: str, body: Any) -> Any:
        try:
            answer = self._client.request(method, path, json=body)  # type: ignore[arg-type]  # paths are literals there
        except PrefectHTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            code = error.response.status_code
            failed = DeployFailed(f"Prefect refused {method} {path}: {code} {_reason(error)}")
            failed.refused = code < 500
            raise failed from error
        except Exception as error:
            if not type(error).__module__.startswith(("httpx", "httpcore")):  # a timeout, a broken connection
                raise
            raise DeployFailed(f"Prefect did not answer {method} {path}: {type(error).__name__} {error}") from error
        return answer.json() if answer.content else {}


def _ask_again_soon(response: Any) -> None:
    """Say after how many seconds to ask again where a server does not: when its SQLite is locked, that is over in a
    moment, and Prefect's client would wait for two seconds.
    """
    if response.status_code == 503 and "Retry-After" not in response.headers:
        tries = response.request.extensions.setdefault("glacier_tries", [])
        response.headers["Retry-After"] = str(0.1 * 4 ** len(tries))  # 34 s in all, with the five tries of the client
        tries.append(1)


def _reason(error: PrefectHTTPStatusError) -> str:
    """Return why a call was refused, without the body of the request, which the server repeats and which may hold what
    nobody should see.
    """
    try:
        said = error.response.json()
        details = said.get("exception_detail") or said.get("detail") or error.response.reason_phrase
        if isinstance(details, list):
            details = "; ".join(f"{'.'.join(map(str, each.get('loc', ())))}: {each.get('msg')}" for each in details)
    except (ValueError, AttributeError):
        details = error.response.reason_phrase
    return str(details)[:1000]
