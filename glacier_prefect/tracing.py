"""Whether a pipeline function is being traced just now, and by whom.

Sources, sinks, tasks and pipelines ask here what a call means: a node of the graph, or the work itself. Imports only
`errors`.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from glacier_prefect.errors import PlaceholderError


class Tracer(Protocol):
    """What the trace of a pipeline function offers to those who are called in it."""

    def call_task(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call of a task and return the placeholder of its result."""

    def map_task(self, task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], batch: int | None) -> Any:
        """Record a mapped call of a task."""

    def call_pipeline(self, pipeline: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the call of another pipeline as a sub-flow."""

    def write(self, sink: Any, frame: Any) -> Any:
        """Record the write of a sink and return the placeholder of its twin source."""


active: ContextVar[Tracer | None] = ContextVar("glacier_trace", default=None)


def refuse(what: str, hint: str = "pass the source to a task and call it there.") -> None:
    """Raise `PlaceholderError` if a pipeline function is being traced.

    Args:
        what: The call that does work, for the message ("scan() of source my-data/a.parquet").
        hint: What to do instead.
    """
    if active.get() is not None:
        raise PlaceholderError(
            f"{what} is called in a pipeline function, which only describes the pipeline and does no work.\n"
            f"Hint: {hint}"
        )
