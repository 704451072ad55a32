"""Runs bodies against Spark sessions, and as jobs of Spark services."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.errors import NotAvailableError
from glacier_prefect.executors.base import Executor


@dataclass(frozen=True, kw_only=True)
class SparkExecutor(Executor):
    """Spark."""

    name: ClassVar[str] = "spark"

    def run(
        self,
        function: Callable[..., Any],
        inputs: Mapping[str, Any],
        *,
        timeout: float | None,
        finish: Callable[[Any], Any],
    ) -> Any:
        raise NotAvailableError(f"The executor {self.name!r} is not available in this version of Glacier.")
