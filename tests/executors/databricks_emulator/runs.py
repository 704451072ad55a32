"""Jobs and their runs, which are real processes; runs of one token are one run."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.executors.databricks_emulator import run_process
from tests.executors.databricks_emulator.answers import invalid
from tests.executors.databricks_emulator.files import Files


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run is to end without being run."""

    life: str = "TERMINATED"
    result: str | None = None
    code: str | None = None
    message: str = ""


@dataclass(kw_only=True)
class TaskRun:
    """The run of one task.

    Attributes:
        id: Its id.
        spec: The task as submitted.
        process: The process that it runs in.
        output: What get-output says of it.
        result: Its result state.
    """

    id: int
    spec: dict[str, Any]
    process: subprocess.Popen[bytes] | None = None
    output: dict[str, Any] = field(default_factory=dict)
    result: str | None = None


@dataclass(kw_only=True)
class Run:
    """A run."""

    id: int
    name: str
    kind: str
    tasks: list[TaskRun]
    environments: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    timeout: int = 0
    job: int | None = None
    life: str = "PENDING"
    result: str | None = None
    code: str | None = None
    message: str = ""
    cancelled: bool = False

    @property
    def over(self) -> bool:
        return self.life in ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")


class Runs(Files):
    """The runs, with the files that their processes see.

    Attributes:
        folder: Folder of this machine for all of it.
        clusters: State of each cluster, "RUNNING" or why it does not start.
        jobs: Settings of each job.
        endings: How the next runs end without being run.
        env: Variables of the processes of runs, as the roles of clusters give them.
        runs: All runs.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder
        self.clusters: dict[str, str] = {"0101-120000-abcdefgh": "RUNNING"}
        self.jobs: dict[int, dict[str, Any]] = {}
        self.endings: list[Ending] = []
        self.env: dict[str, str] = {}
        self.runs: dict[int, Run] = {}
        self._by_token: dict[str, int] = {}
        self._ids = itertools.count(1001)
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []

    def end_runs(self) -> None:
        """End all runs."""
        for run in list(self.runs.values()):
            self._stop(run)
        for thread in self._threads:
            thread.join(20)

    # -- what can be asked ---------------------------------------------------------------------------------------------

    def submit(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if (known := self._known(body)) is not None:
                return {"run_id": known}
            environments = {each["environment_key"]: each["spec"] for each in body.get("environments", ())}
            for task in body["tasks"]:
                self._check_compute(task, environments)
            return {"run_id": self._start(body, "SUBMIT_RUN", body["tasks"], environments=environments).id}

    def run_now(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            if (known := self._known(body)) is not None:
                return {"run_id": known}
            job = self.jobs.get(body["job_id"])
            if job is None:
                raise invalid(f"Job {body['job_id']} does not exist.")
            defaults = {each["name"]: each["default"] for each in job.get("parameters", ())}
            parameters = {**defaults, **body.get("job_parameters", {})}
            active = [run for run in self.runs.values() if run.job == body["job_id"] and not run.over]
            if len(active) >= job.get("max_concurrent_runs", 1):
                words = "MAXIMUM_CONCURRENT_RUNS_REACHED"
                self.endings.insert(0, Ending(life="SKIPPED", result=words, code="MAX_CONCURRENT_RUNS_EXCEEDED"))
            run = self._start(
                body, "JOB_RUN", job["tasks"], parameters=parameters, job=body["job_id"], name=job["name"]
            )
            return {"run_id": run.id, "number_in_job": run.id}

    def _known(self, body: dict[str, Any]) -> int | None:
        token = body.get("idempotency_token")
        if token and len(token) > 64:
            raise invalid("The idempotency token is longer than 64 characters.")
        return self._by_token.get(token) if token else None

    def _check_compute(self, task: dict[str, Any], environments: dict[str, Any]) -> None:
        kinds = [key for key in ("existing_cluster_id", "new_cluster", "environment_key") if key in task]
        if len(kinds) > 1:
            raise invalid(f"Task {task['task_key']} has {' and '.join(kinds)}.")
        if "existing_cluster_id" in task and task["existing_cluster_id"] not in self.clusters:
            raise invalid(f"Cluster {task['existing_cluster_id']} does not exist")
        if "new_cluster" in task and not {"spark_version", "node_type_id"} <= task["new_cluster"].keys():
            raise invalid("Missing required field: settings.cluster_spec.new_cluster.spark_version or node_type_id")
        if "environment_key" in task and task["environment_key"] not in environments:
            raise invalid(f"Environment key {task['environment_key']} is not defined.")
        if not kinds and "spark_python_task" in task:
            raise invalid("An environment is required for serverless task: please provide environment_key.")
        if "environment_key" in task and "libraries" in task:
            raise invalid(
                "Libraries field is not supported for serverless task, please specify libraries in environment."
            )
        for spec in environments.values():
            if spec.get("environment_version") not in ("1", "2", "3", "4"):
                raise invalid(f"Environment version {spec.get('environment_version')} is not supported.")

    def _start(self, body: dict[str, Any], kind: str, tasks: list[Any], *, name: str = "", **fields: Any) -> Run:
        run = Run(
            id=next(self._ids),
            name=name or body.get("run_name", "Untitled"),
            kind=kind,
            tasks=[TaskRun(id=next(self._ids), spec=spec) for spec in tasks],
            timeout=body.get("timeout_seconds", 0),
            **fields,
        )
        self.runs[run.id] = run
        if token := body.get("idempotency_token"):
            self._by_token[token] = run.id
        if self.endings:
            self._end(run, self.endings.pop(0))
        else:
            thread = threading.Thread(target=self._drive, args=(run,))
            self._threads.append(thread)
            thread.start()
        return run

    def _end(self, run: Run, ending: Ending) -> None:
        with self._lock:
            run.life, run.result, run.code, run.message = ending.life, ending.result, ending.code, ending.message

    def _drive(self, run: Run) -> None:
        """Run the tasks of a run, one after the other."""
        end = time.monotonic() + run.timeout if run.timeout else None
        for task in run.tasks:
            before = [each["task_key"] for each in task.spec.get("depends_on", ())]
            if any(each.result != "SUCCESS" for each in run.tasks if each.spec["task_key"] in before):
                task.result = "UPSTREAM_FAILED"
            elif not self._run_task(run, task, end):
                return
        failed = [task.spec["task_key"] for task in run.tasks if task.result == "FAILED"]
        if failed:
            said = f"Task {failed[0]} failed with message: Workload failed, see run output for details."
            self._end(run, Ending(result="FAILED", code="RUN_EXECUTION_ERROR", message=said))
        else:
            self._end(run, Ending(result="SUCCESS", code="SUCCESS"))

    def _run_task(self, run: Run, task: TaskRun, end: float | None) -> bool:
        """Run one task; return whether its run goes on after it."""
        cluster = self.clusters.get(task.spec.get("existing_cluster_id", ""), "RUNNING")
        if cluster != "RUNNING":
            said = f"Cluster {task.spec['existing_cluster_id']} was terminated. Reason: {cluster}"
            self._end(run, Ending(life="INTERNAL_ERROR", result="FAILED", code="CLUSTER_ERROR", message=said))
            return False
        driver = self.folder / f"driver-{task.id}"
        try:
            self._install(run, task.spec, driver / "lib")
        except importlib.metadata.PackageNotFoundError as error:
            said = f"Library installation failed: No matching distribution found for {error.args[0]}"
            self._end(
                run, Ending(life="INTERNAL_ERROR", result="FAILED", code="LIBRARY_INSTALLATION_ERROR", message=said)
            )
            return False
        with self._lock:
            if run.cancelled:
                self._end(run, Ending(result="CANCELED", code="USER_CANCELED", message="Run cancelled."))
                return False
            run.life = "RUNNING"
            task.process = self._process(run, task.spec, driver)
        with open(driver / "log", "rb") as log:
            try:
                task.process.wait(None if end is None else max(0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                run_process.kill(task.process)
                said = f"Run timed out after {run.timeout} seconds."
                self._end(run, Ending(result="TIMEDOUT", code="RUN_EXECUTION_TIMEOUT", message=said))
                return False
            outcome = driver / "outcome.json"
            made = (
                json.loads(outcome.read_text()) if outcome.exists() else {"error": "The Python kernel is unresponsive."}
            )
            notebook = "notebook_task" in task.spec
            task.output = {key: made[key] for key in ("error", "error_trace") if key in made}
            task.output |= (
                {"notebook_output": {"result": made.get("result")}} if notebook else {"logs": log.read().decode()}
            )
        if run.cancelled:
            self._end(run, Ending(result="CANCELED", code="USER_CANCELED", message="Run cancelled."))
            return False
        task.result = "FAILED" if "error" in made else "SUCCESS"
        return True

    def _install(self, run: Run, task: dict[str, Any], lib: Path) -> None:
        spec = run.environments.get(task.get("environment_key", ""), {})
        wanted = [each["pypi"]["package"] for each in task.get("libraries", ()) if "pypi" in each]
        run_process.install([*wanted, *spec.get("dependencies", ())], lib)

    def _process(self, run: Run, task: dict[str, Any], driver: Path) -> subprocess.Popen[bytes]:
        script, notebook = task.get("spark_python_task"), task.get("notebook_task")
        if script is not None:
            words = ["script", script["python_file"], *script.get("parameters", ())]
        else:
            path = notebook["notebook_path"]
            parameters = {**notebook.get("base_parameters", {}), **run.parameters}
            file = path if path.startswith("/Workspace/") else f"/Workspace{path}"
            words = ["notebook", file, json.dumps(parameters)]
        sees_volumes = (
            task.get("new_cluster", {}).get("data_security_mode", "NONE") != "NONE" or "new_cluster" not in task
        )
        return run_process.start(
            words,
            root=self.folder / f"root-{task['task_key']}-{run.id}",
            volumes=self.volumes if sees_volumes else None,
            workspace=self.workspace,
            driver=driver,
            env=self.env,
        )

    def _stop(self, run: Run) -> None:
        with self._lock:
            if run.over:
                return
            run.cancelled = True
            processes = [task.process for task in run.tasks]
        for process in processes:
            run_process.kill(process)

    def _run(self, run: Any) -> Run:
        found = self.runs.get(int(run))
        if found is None:
            raise invalid(f"Run {run} does not exist.")
        return found

    def cancel(self, body: dict[str, Any]) -> dict[str, Any]:
        self._stop(self._run(body["run_id"]))
        return {}

    def get(self, query: dict[str, str]) -> dict[str, Any]:
        return self._described(self._run(query["run_id"]))

    def _described(self, run: Run) -> dict[str, Any]:
        with self._lock:
            state = {"life_cycle_state": run.life, "result_state": run.result, "state_message": run.message}
            details = {"code": run.code, "type": "SUCCESS" if run.code == "SUCCESS" else "CLIENT_ERROR"}
            status = {"state": "TERMINATED", "termination_details": {**details, "message": run.message}}
            tasks = [
                {**task.spec, "run_id": task.id, "attempt_number": 0, "state": {"result_state": task.result}}
                for task in run.tasks
            ]
            return {
                "run_id": run.id,
                "run_name": run.name,
                "run_type": run.kind,
                "run_page_url": f"{self.url}/?o=1#job/{run.job or run.id}/run/{run.id}",
                "state": {key: value for key, value in state.items() if value is not None},
                "status": status if run.over else {"state": run.life},
                "tasks": tasks,
            }

    def get_output(self, query: dict[str, str]) -> dict[str, Any]:
        for run in self.runs.values():
            if run.id == int(query["run_id"]) and len(run.tasks) > 1:
                raise invalid("Retrieving the output of runs with multiple tasks is not supported.")
            for task in run.tasks:
                if task.id == int(query["run_id"]):
                    return {"metadata": self._described(run), **task.output}
        raise invalid(f"Run {query['run_id']} does not exist.")

    def list(self, query: dict[str, str]) -> dict[str, Any]:
        found = [
            run
            for run in sorted(self.runs.values(), key=lambda run: -run.id)
            if not (query.get("active_only") == "true" and run.over) and query.get("run_type") in (None, run.kind)
        ]
        start, size = int(query.get("page_token", 0)), min(int(query.get("limit", 20)), 26)
        page = {"runs": [self._described(run) for run in found[start : start + size]], "has_more": False}
        if start + size < len(found):
            page |= {"has_more": True, "next_page_token": str(start + size)}
        return page
