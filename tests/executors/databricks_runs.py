"""How tests run functions on the emulated workspace."""

from __future__ import annotations

from typing import Any

import pytest

from glacier_prefect import DatabricksExecutor, pipeline, task
from tests.executors.databricks_emulator import usable

needs_disk = pytest.mark.skipif(not usable(), reason="needs Linux, where a process can have a disk of its own")
VOLUME = "/Volumes/main/default/exchange"
NEW_CLUSTER = {"spark_version": "16.4.x-scala2.12", "node_type_id": "i3.xlarge", "num_workers": 0}


def on(**settings: Any) -> DatabricksExecutor:
    return DatabricksExecutor(**{"volume": VOLUME, "poll_seconds": 0.3, **settings})


def run_of(function: Any, *arguments: Any, executor: DatabricksExecutor | None = None, **options: Any) -> Any:
    """Run a function as the one task of a pipeline."""
    body = task(executor=executor or on(), **options)(function)

    @pipeline(name="alone")
    def alone() -> Any:
        return body(*arguments)

    return alone.run()


def one() -> int:
    return 1
