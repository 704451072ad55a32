"""Whose credentials a Databricks workspace is reached with, and Databricks' client with them.

Databricks' SDK finds them; a Prefect block may hold them. Both are imported by `Access.client`, so that this module can
be imported without them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from glacier_prefect import run_context
from glacier_prefect.credentials.azure import AzureCredentials
from glacier_prefect.credentials.base import required
from glacier_prefect.credentials.redaction import hidden, reveal
from glacier_prefect.errors import ConfigurationError, NotAvailableError, RemoteUnreachable

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

PREFIXES = ("DATABRICKS_", "ARM_", "AZURE_", "GOOGLE_", "IDENTITY_")
SCOPE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default"  # Databricks' application in every tenant of Entra
SECRETS = ("token", "client_secret", "azure_client_secret", "password", "google_credentials")


@dataclass(frozen=True, kw_only=True)
class Access:
    """Which workspace, and whose credentials.

    Attributes:
        host: The workspace's address; None for what Databricks' SDK finds.
        profile: Profile of `.databrickscfg`.
        credentials_block: Name of a Prefect block of prefect-databricks.
        entra: Credentials of Azure, whose identity is one of the workspace's too; in place of what the SDK finds.
    """

    host: str | None = None
    profile: str | None = None
    credentials_block: str | None = None
    entra: AzureCredentials | None = None

    def key(self) -> tuple[Any, ...]:
        """Return what decides which credentials are found: itself, and the variables that Databricks' SDK reads."""
        variables = frozenset((name, value) for name, value in os.environ.items() if name.startswith(PREFIXES))
        return self, hash(variables)

    def client(self, where: str) -> WorkspaceClient:
        """Return Databricks' client, with the credentials that are found now.

        Args:
            where: Who needs it, for messages.

        Raises:
            NotAvailableError: Databricks' SDK, or prefect-databricks, is not installed.
            ConfigurationError: There are no credentials.
            RemoteUnreachable: Who gives them does not answer just now.
        """
        try:
            required("databricks.sdk", "databricks")
            block = {} if self.credentials_block is None else _of_block(self.credentials_block)
        except NotAvailableError as error:
            package = str(error).partition(" is not installed")[0]
            raise NotAvailableError(
                f"{package} is not installed, which the executor 'databricks' of {where} needs.\n"
                "Hint: pip install 'glacier-prefect[databricks]'"
            ) from None
        settings = {"host": self.host, "profile": self.profile, **block}
        if self.entra is not None:
            settings["credentials_strategy"] = _entra(self.entra.identity())
        try:
            return _client({name: value for name, value in settings.items() if value is not None})
        except ValueError as error:  # of which the SDK makes many, all with words for whoever configures it
            if isinstance(error.__cause__ or error.__context__, OSError):
                raise RemoteUnreachable(hidden(str(error))) from None
            raise ConfigurationError(
                f"The executor 'databricks' of {where} has no credentials: {hidden(str(error))}\n"
                "Hint: set DATABRICKS_HOST with DATABRICKS_TOKEN, or with DATABRICKS_CLIENT_ID and "
                "DATABRICKS_CLIENT_SECRET, or name a Prefect block: credentials_block=..."
            ) from None


def _client(settings: Mapping[str, Any]) -> WorkspaceClient:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.clock import Clock
    from databricks.sdk.config import Config

    # Whoever calls asks again for minutes, looking at whether the run is to end; so the SDK need not.
    config = Config(
        clock=cast(Clock, _Clock()),
        retry_timeout_seconds=1,
        http_timeout_seconds=30,
        disable_async_token_refresh=True,
        **settings,
    )
    for name in SECRETS:
        reveal(str(getattr(config, name, None) or ""))
    return WorkspaceClient(config=config)


def _entra(identity: Any) -> Any:
    """Return what gives the SDK the tokens of an identity of Azure, which caches and renews them."""
    from databricks.sdk.credentials_provider import credentials_strategy

    def headers() -> dict[str, str]:
        token = str(identity.get_token(SCOPE).token)
        reveal(token)
        return {"Authorization": f"Bearer {token}"}

    made: Any = credentials_strategy("azure-identity", ["host"])
    return made(lambda _: headers)


def _of_block(name: str) -> dict[str, Any]:
    """Return the SDK's settings of a stored block."""
    block = required("prefect_databricks", "databricks").DatabricksCredentials.load(name)

    def text(secret: Any) -> str | None:
        return None if secret is None else str(secret.get_secret_value())

    host, secret = block.databricks_instance, text(block.client_secret)
    for value in (secret, text(block.token)):
        reveal(value or "")
    if block.token is not None:
        return {"host": host, "token": text(block.token), "auth_type": "pat"}
    if block.tenant_id is None:
        return {"host": host, "client_id": block.client_id, "client_secret": secret, "auth_type": "oauth-m2m"}
    azure = {"azure_tenant_id": block.tenant_id, "azure_client_id": block.client_id, "azure_client_secret": secret}
    return {"host": host, **azure, "auth_type": "azure-client-secret"}


class _Clock:
    """The clock of the SDK, whose sleep ends with the run."""

    def time(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        stop = run_context.stop.get()
        if stop is None or stop.is_set():
            time.sleep(min(seconds, 1) if stop else seconds)
        else:
            stop.wait(seconds)
