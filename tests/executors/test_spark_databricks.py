"""Bodies of the executor "spark" on Databricks: an emulated workspace, and an emulated identity of Azure."""

from __future__ import annotations

import json

import polars as pl
import pytest

from glacier_prefect import SparkExecutor, pipeline, task
from glacier_prefect.errors import RemoteFailed
from glacier_prefect.executors.databricks_credentials import SCOPE
from tests.clouds.identities import Identities
from tests.executors.databricks_emulator import Databricks
from tests.executors.databricks_runs import VOLUME, needs_disk

pytestmark = [pytest.mark.slow, needs_disk]


def test_a_run_goes_to_the_workspace_that_was_made_as_its_own_identity(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = SparkExecutor(service="databricks", volume=VOLUME, poll_seconds=0.3)

    @task(executor=there)
    def doubled(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.with_columns(b=2 * pl.col("a"))

    @task(executor=there)
    def broken(frame: pl.LazyFrame) -> None:
        raise ValueError("broken on purpose")

    @pipeline(name="doubling")
    def doubling() -> pl.LazyFrame:
        return doubled(pl.LazyFrame({"a": [1, 2]}))

    @pipeline(name="breaking")
    def breaking() -> None:
        broken(pl.LazyFrame({"a": [1, 2]}))

    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("GLACIER_EXECUTORS", json.dumps({"spark": {"service": "databricks", "host": workspace.url}}))
    monkeypatch.setenv("IDENTITY_HEADER", "header-of-the-identity")
    with Identities() as identities:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{identities.url}/msi")
        for number in range(1, 9):
            workspace.tokens[f"issued-token-{number:04}"] = float("inf")
        assert doubling.run().collect().rows() == [(1, 2), (2, 4)]
        with pytest.raises(RemoteFailed, match="ValueError: broken on purpose"):
            breaking.run()
        assert SCOPE.partition("/")[0] in json.dumps(identities.resources)
    (_, submitted) = workspace.called("jobs/runs/submit")
    assert "environments" in submitted, "on serverless compute"
    assert workspace.refused == []
