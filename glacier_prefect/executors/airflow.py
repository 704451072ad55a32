"""Runs Airflow's operators in its own environment, and DAG runs of an existing Airflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.errors import NotAvailableError
from glacier_prefect.executors.base import Executor


@dataclass(frozen=True, kw_only=True)
class AirflowExecutor(Executor):
    """Airflow."""

    name: ClassVar[str] = "airflow"

    def run(
        self,
        function: Callable[..., Any],
        inputs: Mapping[str, Any],
        *,
        timeout: float | None,
        finish: Callable[[Any], Any],
    ) -> Any:
        raise NotAvailableError(f"The executor {self.name!r} is not available in this version of Glacier.")
