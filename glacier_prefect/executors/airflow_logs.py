"""The lines of Airflow's logs that people want to read, of what Airflow writes as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# What Airflow says of its own bookkeeping around a task.
CHATTER = (
    "airflow.api_fastapi",
    "airflow.dag_processing",
    "airflow.migrations",
    "airflow.models",
    "airflow.sdk.definitions",
    "airflow.serialization",
    "airflow.utils",
    "alembic",
    "py.warnings",
)
INSIDE = "/site-packages/airflow/sdk/"  # frames of every task
BOOKKEEPING = ("::group::", "::endgroup::", "Pushing xcom", "Worker startup parse complete")


def lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of an entry: its text with the tracebacks that it has; none of Airflow's own bookkeeping."""
    text, logger = str(entry.get("event", "")), str(entry.get("logger") or "")
    if "level" not in entry or text.startswith(BOOKKEEPING):
        return
    if logger.startswith(CHATTER) and entry["level"] not in ("error", "critical"):
        return
    yield from text.splitlines()
    for error in entry.get("error_detail") or entry.get("exception") or ():
        yield "Traceback (most recent call last):"
        for frame in error.get("frames") or ():
            if INSIDE not in frame["filename"]:
                yield f'  File "{frame["filename"]}", line {frame["lineno"]}, in {frame["name"]}'
        yield f"{error.get('exc_type')}: {error.get('exc_value')}"
