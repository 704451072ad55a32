"""Secrets of users' own: named in code, kept in the secret store of the environment's provider, known in tasks only."""

from __future__ import annotations

import importlib
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

from glacier_prefect import environments, run_context, tracing
from glacier_prefect.credentials.redaction import reveal
from glacier_prefect.errors import ConfigurationError, nearest

KEPT = 300  # seconds for which a value is not asked for again: a mapped task asks for each of its items

_known: dict[tuple[Any, str], tuple[float, str]] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class Secret:
    """A secret by its name in code; the value is read inside a task and never shown.

    `[environments.prod.secrets] DB_PASSWORD = "name-in-store"` in `glacier.toml` says what it is called in the secret
    store of the environment's provider: AWS Secrets Manager, Azure Key Vault or Google Secret Manager; with
    `LocalProvider` the store is the process's variables. A variable of the secret's own name beats the file, as for all
    settings. What is pickled, printed or hashed is the name.

    Attributes:
        name: Its name in code.

    Example:
        ```python
        password = Secret("DB_PASSWORD")

        @task
        def load():
            return pl.read_database_uri("select 1", f"postgresql://etl:{password.get()}@db/orders").lazy()
        ```
    """

    name: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigurationError("A Secret takes its name, as in Secret('DB_PASSWORD').")

    def get(self) -> str:
        """Return the value; from now on it is masked in logs and errors of this process.

        Outside a run, as in a unit test, only a variable of this name is looked at.

        Raises:
            ConfigurationError: There is no such secret; the message says where it was looked for.
        """
        tracing.refuse(f"get() of {self}")
        return self.read(anywhere=False)

    def read(self, *, anywhere: bool) -> str:
        """Return the value, for Glacier's own use.

        Args:
            anywhere: Whether the store is asked outside a run too, as for credentials.
        """
        value = os.environ.get(self.name) or self._stored(anywhere or run_context.current() is not None)
        reveal(value)
        return value

    def _stored(self, allowed: bool) -> str:
        if not allowed:
            raise ConfigurationError(
                f"{self} is read inside a task; outside a run only the environment variable {self.name} is looked at, "
                "which is not set."
            )
        project = environments.find_project()
        environment = project.environment()
        if self.name not in environment.secrets:
            known = f" {nearest(self.name, environment.secrets)}" if environment.secrets else ""
            raise ConfigurationError(
                f"Environment {environment.name!r} has no secret {self.name!r}.{known}\n"
                f'Hint: write {self.name} = "its-name-in-the-store" under [environments.{environment.name}.secrets] of '
                f"glacier.toml, or set the environment variable {self.name}."
            )
        preview = environments.preview_name()
        if preview is not None and self.name not in environment.preview_secrets:
            raise ConfigurationError(
                f"{self} is not for previews, and this is preview {preview!r}: whoever pushes a branch decides what it "
                f"runs.\nHint: if they may know it, preview_secrets = [{self.name!r}] in "
                f"[environments.{environment.name}] of glacier.toml."
            )
        # providers are above this module and name it; here is only needed which one the environment has
        provider = importlib.import_module("glacier_prefect.providers.environment").environment_provider(project)
        key = (provider, environment.secrets[self.name])
        with _lock:
            kept = _known.get(key)
        if kept is None or kept[0] < time.monotonic():
            kept = (time.monotonic() + KEPT, provider.secret(key[1]))
            with _lock:
                _known[key] = kept
        return kept[1]


def _forget() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget)
