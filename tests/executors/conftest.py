"""The Prefect server of the run, for the contracts of executors."""

from __future__ import annotations

from tests.server.conftest import api, offline, project, server, wait_until

__all__ = ["api", "offline", "project", "server", "wait_until"]
