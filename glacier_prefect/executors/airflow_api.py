"""What `AirflowExecutor` asks Airflow: its REST API v2 by the client that Airflow publishes, and its log-in.

Answers are taken as JSON, not as the client's models, which refuse what a newer Airflow says.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from glacier_prefect import environments, run_context
from glacier_prefect.credentials import Secret
from glacier_prefect.credentials.redaction import reveal
from glacier_prefect.errors import ConfigurationError, NotAvailableError, RemoteDenied, RemoteFailed, RemoteUnreachable

TIMEOUT = (10.0, 60.0)  # seconds to connect, and to answer
PAGE = 100
_tokens: dict[AirflowApi, str] = {}


@dataclass(frozen=True, kw_only=True)
class AirflowApi:
    """The API of one Airflow, as one user; see `AirflowExecutor`."""

    url: str
    username: str | None
    password_secret: str
    token_secret: str
    credentials_block: str | None

    def ask(self, api: str, call: str, *args: Any, expected: tuple[int, ...] = (), **options: Any) -> tuple[int, Any]:
        """Call the API and return status and content.

        Args:
            api: Class of the client, as in "DagRunApi".
            call: Its method.
            args: Its arguments.
            expected: Statuses besides success that the caller makes something of.
            options: Further arguments.

        Raises:
            RemoteUnreachable: It does not answer just now.
            RemoteDenied: It does not take the credentials, or the user may not do it.
            RemoteFailed: It refuses the call.
        """
        client = _client()
        while True:
            kept = _tokens.get(self)
            token = _tokens[self] = kept or self._token()
            configuration = client.Configuration(host=self.url, access_token=token, retries=_no_retries())
            with client.ApiClient(configuration) as connection:
                asked = getattr(getattr(client, api)(connection), f"{call}_without_preload_content")
                status, content = _answer(
                    self.url, functools.partial(asked, *args, _request_timeout=TIMEOUT, **options)
                )
            if status not in (401, 403):
                break
            _tokens.pop(self, None)
            if kept is None:
                break
            # It may have come to its end, or be of an Airflow that has started anew since.
        if status < 300 or status in expected:
            return status, content
        detail = content.get("detail", content) if isinstance(content, dict) else content
        if status in (401, 403):
            raise RemoteDenied(f"Airflow ({self.url}) does not allow it: {call} gave {status}, {detail}.")
        raise RemoteFailed(f"Airflow ({self.url}) refused {call}: {status}, {detail}.")

    def pages(self, api: str, call: str, *args: Any, items: str, **options: Any) -> Iterator[dict[str, Any]]:
        """Yield what a list call gives, page by page."""
        offset = 0
        while True:
            _, content = self.ask(api, call, *args, limit=PAGE, offset=offset, **options)
            yield from content[items]
            offset += PAGE
            if offset >= content["total_entries"]:
                return

    def _token(self) -> str:
        if self.credentials_block is not None:
            return self._token_of_block(self.credentials_block)
        if _is_known(self.token_secret):
            return Secret(self.token_secret).read(anywhere=True)
        username = self.username or os.environ.get("AIRFLOW_USERNAME")
        if username is None or not _is_known(self.password_secret):
            environment = environments.find_project().environment().name
            raise ConfigurationError(
                f"{_who()} needs a user and a password, or a token, for Airflow at {self.url}, and there is none.\n"
                f"Hint: set AIRFLOW_USERNAME and {self.password_secret}, or {self.token_secret}, as variables or (but "
                f"for the user's name) under [environments.{environment}.secrets] of glacier.toml; or name a Prefect "
                "block: AirflowExecutor(credentials_block=...)."
            )
        return self._login(username, Secret(self.password_secret).read(anywhere=True))

    def _token_of_block(self, name: str) -> str:
        from prefect.blocks.system import Secret as Block

        load: Any = Block.load  # its hints do not know of `_sync`
        block = load(name, _sync=True)
        value = block.get()
        if isinstance(value, dict) and {"username", "password"} <= value.keys():
            reveal(value["password"])
            return self._login(value["username"], value["password"])
        if not isinstance(value, str):
            raise ConfigurationError(
                f"{_who()} finds neither a token nor an object with username and password in the Prefect block "
                f"{name!r}."
            )
        reveal(value)
        return value

    def _login(self, username: str, password: str) -> str:
        _client()
        import urllib3

        login = {"username": username, "password": password}
        with urllib3.PoolManager(retries=_no_retries(), timeout=urllib3.Timeout(*TIMEOUT)) as pool:
            ask = functools.partial(pool.request, "POST", f"{self.url}/auth/token", json=login)
            status, content = _answer(self.url, ask)
        if status >= 300 or not isinstance(content, dict) or "access_token" not in content:
            raise RemoteDenied(f"Airflow ({self.url}) does not let the user {username!r} in: {status}.")
        token = str(content["access_token"])
        reveal(token)
        return token


def _who() -> str:
    context = run_context.current()
    return f"The executor 'airflow' of task {context.node if context else None!r}"


def _is_known(secret: str) -> bool:
    return bool(os.environ.get(secret)) or secret in environments.find_project().environment().secrets


def _answer(url: str, ask: Any) -> tuple[int, Any]:
    """Return status and content of an answer."""
    import urllib3

    try:
        response = ask()
        status, data = response.status, response.data if hasattr(response, "release_conn") else response.read()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise RemoteUnreachable(f"{url}: {error}") from None
    if status in (408, 425, 429) or status >= 500:
        raise RemoteUnreachable(f"{url}: {status} {data[:200].decode(errors='replace')}")
    try:
        return status, json.loads(data or b"null")
    except ValueError:
        return status, data[:500].decode(errors="replace")


def _no_retries() -> Any:
    import urllib3

    return urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=3)  # who follows the run asks again


def _client() -> Any:
    try:
        return importlib.import_module("airflow_client.client")
    except ImportError:
        who = _who().replace("The", "the", 1)
        raise NotAvailableError(
            f"apache-airflow-client is not installed, which {who} needs.\nHint: pip install 'glacier-prefect[airflow]'"
        ) from None
