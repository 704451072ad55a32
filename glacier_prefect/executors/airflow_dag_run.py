"""A run of a DAG of an existing Airflow: how it goes, what its tasks log, and the XComs that they leave."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from glacier_prefect import run_context
from glacier_prefect.errors import RemoteFailed, RemoteUnreachable
from glacier_prefect.executors import airflow_logs
from glacier_prefect.executors.airflow_api import AirflowApi
from glacier_prefect.executors.remote import RemoteState

OVER = frozenset({"success", "failed"})  # states of DAG runs; those below are of task instances
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
WAITING = frozenset({None, "none", "scheduled", "queued"})
LOG_LINES = 200  # of each attempt of a task instance, the last ones
FAILED_LINES = 20
NAMED_FAILURES = 5


@dataclass(frozen=True, kw_only=True)
class DagRun:
    """One run of a DAG.

    Attributes:
        api: The Airflow that has it.
        dag: The DAG's id.
        run: The run's id.
    """

    api: AirflowApi
    dag: str
    run: str

    def found(self) -> dict[str, Any] | None:
        """Return what Airflow says of it, None if there is none."""
        status, said = self.api.ask("DagRunApi", "get_dag_run", self.dag, self.run, expected=(404,))
        return None if status == 404 else dict(said)

    def state(self) -> RemoteState:
        """Return how it goes, with the states and logs of its task instances as lines."""
        said = self.found()
        url = f"{self.api.url}/dags/{quote(self.dag)}/runs/{quote(self.run)}"
        if said is None:
            return RemoteState(kind="gone", url=url)
        instances = sorted(
            self._instances(), key=lambda each: (each["start_date"] or "~", each["task_id"], each["map_index"])
        )
        report = _reports.get({}).setdefault(self, _Report())
        for each in instances:
            report.take(each, self._log_of)
        if said["state"] not in OVER:
            if all(each["state"] in WAITING | ENDED for each in instances):
                _, dag = self.api.ask("DAGApi", "get_dag", self.dag, expected=(404,))
                report.say("paused", f"DAG {self.dag!r} is paused in Airflow, so its run waits.", dag.get("is_paused"))
            done = sum(each["state"] in ENDED for each in instances)
            progress = done / len(instances) if instances else None
            return RemoteState(kind="running", url=url, progress=progress, log=tuple(report.lines))
        if said["state"] == "success":
            return RemoteState(kind="succeeded", url=url, progress=1.0, log=tuple(report.lines))
        message, trace = self._failure(instances)
        return RemoteState(kind="failed", url=url, log=tuple(report.lines), message=message, trace=trace)

    def fail(self) -> None:
        """Set it to failed, which ends its task instances too; nothing happens if it is over."""
        said = self.found()
        if said is None or said["state"] in OVER:
            return
        from airflow_client.client import DAGRunPatchBody

        body = DAGRunPatchBody.from_dict({"state": "failed"})
        self.api.ask("DagRunApi", "patch_dag_run", self.dag, self.run, body, update_mask=["state"], expected=(404,))

    def xcom(self, task: str) -> Any:
        """Return the XCom of a task; a list of them, by the place of each instance, if the task is mapped."""
        places = sorted(each["map_index"] for each in self._instances(task_id=task) if each["task_id"] == task)
        values = []
        for place in places:
            arguments = (self.dag, task, self.run, "return_value")
            status, content = self.api.ask("XComApi", "get_xcom_entry", *arguments, map_index=place, expected=(404,))
            values.append(None if status == 404 else content["value"])
        if not places or places[0] >= 0:
            return values
        return values[0]

    def _instances(self, **options: Any) -> Iterator[dict[str, Any]]:
        call = ("TaskInstanceApi", "get_task_instances")
        return self.api.pages(*call, self.dag, self.run, items="task_instances", **options)

    def _failure(self, instances: list[dict[str, Any]]) -> tuple[str, str]:
        """Return which task instances failed, and the last lines that each of them has logged."""
        failed = [each for each in instances if each["state"] == "failed"]
        if not failed:
            return f"DAG {self.dag!r}: the run was set to failed, or a task could not run", ""
        names = ", ".join(_name(each) for each in failed[:NAMED_FAILURES])
        if len(failed) > NAMED_FAILURES:
            names += f" and {len(failed) - NAMED_FAILURES} more"
        traces = []
        for each in failed[:NAMED_FAILURES]:
            lines = list(self._log_of(each, each["try_number"]))[-FAILED_LINES:]
            traces.append("\n".join([f"{_name(each)} (attempt {each['try_number']}):", *lines]))
        return f"DAG {self.dag!r}: {len(failed)} of {len(instances)} task instances failed: {names}", "\n".join(traces)

    def _log_of(self, instance: Mapping[str, Any], attempt: int) -> Iterator[str]:
        """Yield the last lines of what an attempt of a task instance has logged."""
        kept: deque[str] = deque(maxlen=LOG_LINES)
        asked = ("TaskInstanceApi", "get_log", self.dag, self.run, instance["task_id"], attempt)
        token: dict[str, Any] = {}
        while True:
            try:
                _, content = self.api.ask(*asked, map_index=instance["map_index"], **token)
            except (RemoteFailed, RemoteUnreachable) as error:  # a log is not worth the run
                kept.append(f"(its log cannot be read: {error})")
                break
            entries = content.get("content") or ()
            for entry in entries:
                kept.extend([entry] if isinstance(entry, str) else airflow_logs.lines(entry))
            token = {"token": content["continuation_token"]} if content.get("continuation_token") else {}
            if not token or not entries:
                break
        yield from kept


def reporting() -> AbstractContextManager[None]:
    """Keep, within a `with` block, what each DAG run has logged, since lines stay where they were among those that were
    told.
    """
    return run_context.setting(_reports, {})


@dataclass
class _Report:
    """What a DAG run has logged so far. Lines are only added, whatever the clocks of Airflow's workers say."""

    lines: list[str] = field(default_factory=list)
    said: set[Any] = field(default_factory=set)
    logged: dict[str, int] = field(default_factory=dict)  # attempts of a task instance whose logs are among the lines

    def say(self, fact: Any, text: str, true: bool = True) -> None:
        """Add a line, once."""
        if true and fact not in self.said:
            self.said.add(fact)
            self.lines.append(text)

    def take(self, instance: Mapping[str, Any], log_of: Callable[[Mapping[str, Any], int], Iterator[str]]) -> None:
        """Add what is new of a task instance: the logs of attempts that are over, and its state."""
        name, state, attempt = _name(instance), instance["state"], instance["try_number"]
        over = attempt if state in ENDED or state == "up_for_retry" else attempt - 1
        if instance["start_date"] is not None:
            for each in range(self.logged.get(name, 0) + 1, over + 1):
                self.lines += [f"{name}: {line}" for line in log_of(instance, each)]
                self.logged[name] = each
        if state not in WAITING:
            again = f" (attempt {attempt})" if attempt > 1 else ""
            took = f" after {instance['duration']:.1f} s" if state in ENDED and instance["duration"] else ""
            self.say((name, attempt, state), f"{name}: {state}{again}{took}")


_reports: ContextVar[dict[DagRun, _Report]] = ContextVar("reports")


def _name(instance: Mapping[str, Any]) -> str:
    place = instance["map_index"]
    return instance["task_id"] if place < 0 else f"{instance['task_id']}[{place}]"
