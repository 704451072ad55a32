"""Which Prefect API a run or a deployment uses: the configured one, the one of `glacier ui`, or none.

This module loads Prefect, so nothing imports it before something is run.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from glacier_prefect import engine  # before Prefect, which reports its import unless it is told not to
from glacier_prefect.errors import ApiUnreachable
from glacier_prefect.loopback import without_proxy
from glacier_prefect.ui import NOTE, find_server

# isort: split

from prefect.client.base import ServerType
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.context import SettingsContext, get_settings_context
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, Profile

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas import FlowRun

_NOTED = "glacier-ui"  # profile of runs that are reported to the server of `glacier ui`; travels with the settings


def configured_api() -> str | None:
    """Return the URL of the Prefect API that the environment or the active profile names, or None if neither does."""
    return None if engine.is_serverless() else get_settings_context().settings.api.url


def child_runs(flow_run: UUID, flow: str) -> list[FlowRun]:
    """Return the runs of a flow as a sub-flow of a flow run."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run])),
        )


def check_api(url: str) -> None:
    """Make sure that the configured Prefect API answers.

    Args:
        url: What `configured_api()` returned.

    Raises:
        ApiUnreachable: It does not, or it refuses the credentials. The message names the URL and where it is set.
    """
    context = get_settings_context()
    with _short_tempered_client(url) as client:
        problem = _problem(client)
    if problem is None:
        return
    if os.environ.get("PREFECT_API_URL"):
        where = "the environment variable PREFECT_API_URL"
    elif context.profile.name == _NOTED:
        where = NOTE
    elif PREFECT_API_URL in context.profile.settings:
        where = f"the Prefect profile {context.profile.name!r}"
    else:
        where = "prefect.toml, pyproject.toml or .env"
    reason = str(problem).splitlines()[0].replace(url, public(url)) if str(problem) else type(problem).__name__
    hint = "start that server or correct the setting; to run without a server, remove it."
    if _status(problem) in (401, 403):
        key = "PREFECT_API_KEY" if context.settings.api.auth_string is None else "PREFECT_API_AUTH_STRING"
        hint = f"it does not take the credentials; correct {key}, or the setting if another API is meant."
    raise ApiUnreachable(
        f"The Prefect API {public(url)}, set in {where}, cannot be used: {reason}\nHint: {hint}"
    ) from problem


def server_version(url: str) -> str | None:
    """Return the version of Prefect that an API runs, None for Prefect Cloud, which fits all.

    Args:
        url: What `configured_api()` returned.

    Raises:
        ApiUnreachable: It does not say one; then it may be something else that answers there.
    """
    with _short_tempered_client(url) as client:
        if client.server_type == ServerType.CLOUD:
            return None
        try:
            version = client.api_version()
        except (PrefectHTTPStatusError, ValueError) as error:  # an error page, or text that is no JSON
            version = type(error).__name__
    if re.match(r"\d+\.\d+", str(version)) is None:
        raise ApiUnreachable(
            f"{public(url)} answers, but not as a Prefect API does: asked for its version it says {version!r:.80}.\n"
            "Hint: correct the URL; that of a Prefect server ends in /api."
        )
    return str(version)


@contextmanager
def chosen_api(*folders: Path) -> Iterator[str | None]:
    """Use an API in this context: the configured one, else that of the project's `glacier ui` while it answers.

    Yields its URL; None if there is neither, and in a run without a server.

    Args:
        folders: Where to look for the project's note.

    Raises:
        ApiUnreachable: The configured one does not answer.
    """
    if (url := configured_api()) is not None:
        check_api(url)
        yield url
    elif engine.is_serverless() or (server := find_server(*folders)) is None:
        yield None
    else:
        current = get_settings_context()
        settings = current.settings
        settings = engine.changed(
            settings,
            api=engine.changed(settings.api, url=server.api, key=None, auth_string=None),  # meant for another API
            client=engine.changed(settings.client, custom_headers={}),
            ui_url=server.url,
        )
        profile = Profile(name=_NOTED, settings=current.profile.settings)
        with SettingsContext(profile=profile, settings=settings), without_proxy():
            yield server.api


def _problem(client: SyncPrefectClient) -> Exception | None:
    """Return why an API cannot be used, None if it can."""
    if client.server_type != ServerType.CLOUD:
        return client.api_healthcheck()
    try:
        client.read_flows(limit=1)  # a workspace has no health of its own to ask for
    except Exception as error:
        return None if _status(error) == 429 else error  # busy, so it is there; later calls wait for their turn
    return None


def _status(problem: Exception) -> int | None:
    return problem.response.status_code if isinstance(problem, PrefectHTTPStatusError) else None


def public(url: str) -> str:
    """Return a URL as it may be shown: without user and password."""
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def _short_tempered_client(url: str) -> Iterator[SyncPrefectClient]:
    """Yield a client that tries once and not for long; Prefect's defaults would try for minutes."""
    context = get_settings_context()
    settings = context.settings
    settings = engine.changed(settings, api=engine.changed(settings.api, url=url, request_timeout=30.0))
    settings = engine.changed(settings, client=engine.changed(settings.client, max_retries=0))
    with SettingsContext(profile=context.profile, settings=settings), get_client(sync_client=True) as client:
        yield client
