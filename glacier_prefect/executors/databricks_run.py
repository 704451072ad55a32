"""A run of Databricks' Jobs API: how it goes, how it ended, and what it has put out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from glacier_prefect.errors import RemoteFailed
from glacier_prefect.executors.databricks_workspace import Workspace
from glacier_prefect.executors.remote import RemoteState

OVER = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})
SUCCEEDED = frozenset({"SUCCESS", "SUCCESS_WITH_FAILURES"})
CANCELLED = frozenset({"CANCELED", "UPSTREAM_CANCELED", "USER_CANCELED"})


@dataclass(frozen=True)
class JobRun:
    """One run.

    Attributes:
        workspace: The workspace that has it.
        said: What the Jobs API says of it.
    """

    workspace: Workspace
    said: Mapping[str, Any]

    def state(self) -> RemoteState:
        """Return how it goes, or how Databricks says that it ended."""
        url, words = str(self.said.get("run_page_url", "")), self._ended()
        if not words:
            return RemoteState(kind="running", url=url, message=self._going_on())
        outputs = dict(self._outputs())
        log = tuple(line for each in outputs.values() for line in (each.get("logs") or "").splitlines())
        if SUCCEEDED.intersection(words):
            return RemoteState(kind="succeeded", url=url, log=log)
        said = [*(each.get("error") or "" for each in outputs.values()), self._message()]
        kind: Literal["cancelled", "failed"] = "cancelled" if CANCELLED.intersection(words) else "failed"
        message = ": ".join([", ".join(words), *dict.fromkeys(each for each in said if each)])
        trace = "\n".join(each["error_trace"] for each in outputs.values() if each.get("error_trace"))
        return RemoteState(kind=kind, message=message, trace=trace, url=url, log=log)

    @property
    def parcel(self) -> str:
        """Address of the folder with the parcel of its body, "" if it has none."""
        tasks = self.said.get("tasks") or [{}]
        folder, *_ = (tasks[-1].get("spark_python_task") or {}).get("parameters") or [""]
        return str(folder)

    def exit_values(self) -> str | dict[str, str] | None:
        """Return what its notebook has given to `dbutils.notebook.exit`; a dict by task if it has several tasks."""
        values: dict[str, str] = {
            key: _exit_value(key, output["notebook_output"])
            for key, output in self._outputs()
            if (output.get("notebook_output") or {}).get("result") is not None
        }
        several = len({each["task_key"] for each in self.said.get("tasks", ())}) > 1
        if several or not values:
            return values or None
        return next(iter(values.values()))

    def _ended(self) -> tuple[str, ...]:
        """Return the words for how it ended, none while it goes on."""
        state, status = self.said.get("state") or {}, self.said.get("status") or {}
        life = state.get("life_cycle_state") or status.get("state")
        if life not in OVER:
            return ()
        code = (status.get("termination_details") or {}).get("code")
        words = (None if life == "TERMINATED" else life, state.get("result_state"), code)
        return tuple(dict.fromkeys(each for each in words if each)) or (life,)

    def _message(self) -> str:
        details = (self.said.get("status") or {}).get("termination_details") or {}
        return str((self.said.get("state") or {}).get("state_message") or details.get("message") or "")

    def _going_on(self) -> str:
        """Return what it is about while it is not over, as "PENDING: Waiting for cluster"."""
        state, status = self.said.get("state") or {}, self.said.get("status") or {}
        life = state.get("life_cycle_state") or status.get("state") or ""
        return ": ".join(each for each in (str(life), self._message()) if each)

    def _outputs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the outputs of its tasks by their keys, of the last attempt of each."""
        last = {each["task_key"]: each["run_id"] for each in self.said.get("tasks", ())}
        for key, task_run in last.items():
            yield key, self.workspace.output(task_run)


def _exit_value(key: str, output: Mapping[str, Any]) -> str:
    if output.get("truncated"):
        raise RemoteFailed(f"the value of its task {key!r} has more than 5 MB, of which Databricks keeps a part only.")
    return str(output["result"])
