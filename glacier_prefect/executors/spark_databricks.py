"""Databricks on Azure as a service that runs Spark jobs: as `DatabricksExecutor`, with the run's own identity."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from glacier_prefect.credentials.azure import AzureCredentials
from glacier_prefect.executors.databricks import DatabricksExecutor
from glacier_prefect.executors.databricks_credentials import Access
from glacier_prefect.executors.remote import RemoteState, Work
from glacier_prefect.executors.spark_service import SparkService, engines_of
from glacier_prefect.modules import ModuleCall

OTHERS = ("DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CONFIG_PROFILE")  # credentials that somebody chose


class Databricks(SparkService):
    """Databricks: runs of the Jobs API on serverless compute."""

    name: ClassVar[str] = "databricks"
    provider: ClassVar[str] = "azure"
    place_settings: ClassVar[tuple[str, ...]] = ("host",)
    needs: ClassVar[tuple[str, ...]] = ("host", "volume")
    takes: ClassVar[tuple[str, ...]] = ()

    def modules(self) -> tuple[ModuleCall, ...]:
        volume = {"volume": self.settings.volume}
        return (
            *super().modules(),
            ModuleCall(name="azure_spark_policy", source="databricks/job_policy"),
            ModuleCall(name="azure_spark_exchange", source="databricks/exchange", inputs=volume),
        )

    def start(self, work: Work) -> str:
        return self._executor.submit(work)

    def state(self, remote: str) -> RemoteState:
        return self._executor.look(remote)

    def value(self, remote: str, work: Work) -> Any:
        return self._executor.fetch(remote, work)

    def cancel(self, remote: str) -> None:
        self._executor.cancel(remote)

    def find(self, token: str) -> str | None:
        return self._executor.find(token)

    @property
    def _executor(self) -> DatabricksExecutor:
        given = self.settings
        return _OfRun(host=given.host, volume=given.volume, deadline_seconds=given.deadline_seconds)


@dataclass(frozen=True, kw_only=True)
class _OfRun(DatabricksExecutor):
    """Takes frames as Spark does, and goes to the workspace as the identity that the run has in Azure."""

    def _engines(self, work: Work) -> dict[str, str]:
        return engines_of(work.function, work.inputs)

    @property
    def _access(self) -> Access:
        chosen = any(os.environ.get(name) for name in OTHERS)
        return replace(super()._access, entra=None if chosen else AzureCredentials())
