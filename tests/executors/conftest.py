"""The Prefect server of the run, for the contracts of executors, and a bucket."""

from __future__ import annotations

from tests.server.conftest import api, make_bucket, offline, project, s3, server, wait_until

__all__ = ["api", "make_bucket", "offline", "project", "s3", "server", "wait_until"]
