"""Executors whose names are taken and that this version does not run yet: pipelines that name them can be made and
analysed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.errors import NotAvailableError
from glacier_prefect.executors.base import Executor


@dataclass(frozen=True, kw_only=True)
class _LaterExecutor(Executor):
    def run(
        self,
        function: Callable[..., Any],
        inputs: Mapping[str, Any],
        *,
        timeout: float | None,
        finish: Callable[[Any], Any],
    ) -> Any:
        raise NotAvailableError(
            f"The executor {self.name!r} is not available in this version of Glacier.\n"
            "Hint: run the task with executor='local'."
        )


@dataclass(frozen=True, kw_only=True)
class DatabricksExecutor(_LaterExecutor):
    """Databricks jobs."""

    name: ClassVar[str] = "databricks"


@dataclass(frozen=True, kw_only=True)
class SparkExecutor(_LaterExecutor):
    """Spark sessions and jobs."""

    name: ClassVar[str] = "spark"


@dataclass(frozen=True, kw_only=True)
class AirflowExecutor(_LaterExecutor):
    """Airflow operators and DAG runs."""

    name: ClassVar[str] = "airflow"
