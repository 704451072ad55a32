"""What goes wrong at Databricks, and all the ways in which a run can end there."""

from __future__ import annotations

import re
import shutil

import pytest

from glacier_prefect.errors import RemoteFailed, RemoteUnreachable
from glacier_prefect.executors import databricks_workspace
from tests.executors.databricks_emulator import CUT, UNHEARD, USER, Databricks, Ending, Fault
from tests.executors.databricks_runs import needs_disk, on, one, run_of

pytestmark = [pytest.mark.slow, needs_disk]


@pytest.mark.parametrize(
    "faults",
    [
        {"jobs/runs/submit": [429, 503], "jobs/runs/get$": [429, 503, 500, 502], "fs/files/": [503]},
        {"jobs/runs/submit": [CUT, CUT], "jobs/runs/get$": [CUT, CUT], "fs/files/.*result": [CUT]},
        {"workspace/import": [UNHEARD], "jobs/runs/submit": [UNHEARD, UNHEARD], "fs/directories": [UNHEARD]},
    ],
    ids=["it refuses", "the connection is cut before the call", "the answer is lost"],
)
def test_a_run_outlives_faults_and_is_one_run(
    workspace: Databricks, faults: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databricks_workspace, "_connected", {})  # which knows that its file is in the workspace
    shutil.rmtree(workspace.workspace / "Users" / USER / ".glacier", ignore_errors=True)
    workspace.faults += [Fault(path=path, status=status) for path, each in faults.items() for status in each]
    before = len(workspace.runs)
    assert run_of(one) == 1
    assert len(workspace.runs) == before + 1


def test_databricks_is_left_alone_for_as_long_as_it_asks_for(workspace: Databricks) -> None:
    fault = Fault(path="jobs/runs/get$", status=429, times=2, retry_after=2)
    workspace.faults.append(fault)
    assert run_of(one) == 1
    assert fault.hit[1] - fault.hit[0] >= 2


def test_patience_ends_with_an_error_that_names_the_run_and_leaves_it(workspace: Databricks) -> None:
    fault = Fault(path="jobs/runs/get$", status=503, times=100)
    workspace.faults.append(fault)
    with pytest.raises(
        RemoteUnreachable, match=r"Run \d+ of task 'one' on executor 'databricks': .* did not answer for"
    ):
        run_of(one, executor=on(patience_seconds=2))
    fault.times = 0
    assert not workspace.called("jobs/runs/cancel")


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (
            Ending(result="FAILED", code="DRIVER_ERROR", message="driver gone"),
            "failed: FAILED, DRIVER_ERROR: driver gone",
        ),
        (Ending(result="TIMEDOUT", code="RUN_EXECUTION_TIMEOUT"), "failed: TIMEDOUT, RUN_EXECUTION_TIMEOUT"),
        (Ending(result="CANCELED", code="USER_CANCELED", message="by ann"), "was cancelled there: .*: by ann"),
        (Ending(result="UPSTREAM_CANCELED"), "was cancelled there: UPSTREAM_CANCELED"),
        (Ending(result="UPSTREAM_FAILED"), "failed: UPSTREAM_FAILED"),
        (Ending(result="EXCLUDED"), "failed: EXCLUDED"),
        (Ending(result="DISABLED"), "failed: DISABLED"),
        (Ending(result="A_NEW_WORD"), "failed: A_NEW_WORD"),
        (Ending(), "failed: TERMINATED"),
        (Ending(life="SKIPPED", message="it was off"), "failed: SKIPPED: it was off"),
        (Ending(life="INTERNAL_ERROR", result="FAILED", code="CLOUD_FAILURE"), "INTERNAL_ERROR, FAILED, CLOUD_FAILURE"),
        (Ending(result="SUCCESS", code="SUCCESS"), "it has put no result into its folder"),
    ],
    ids=lambda value: value.result or value.life if isinstance(value, Ending) else "",
)
def test_each_way_to_end_is_told_with_the_run_and_its_page(workspace: Databricks, ending: Ending, message: str) -> None:
    workspace.endings.append(ending)
    with pytest.raises(RemoteFailed, match=message) as raised:
        run_of(one)
    assert re.search(r"Run \d+ \(http://\S+/run/\d+\) of task 'one' on executor 'databricks'", str(raised.value))


def test_a_job_that_runs_as_often_as_it_may_is_an_error_that_says_so(workspace: Databricks) -> None:
    workspace.notebook("/Shared/long", "import time; time.sleep(60)")
    notebook = {"task_key": "first", "notebook_task": {"notebook_path": "/Shared/long"}}
    workspace.jobs[11] = {"name": "long", "tasks": [notebook]}
    running = workspace.run_now({"job_id": 11})["run_id"]

    def nothing() -> None: ...

    with pytest.raises(RemoteFailed, match="SKIPPED, MAXIMUM_CONCURRENT_RUNS_REACHED"):
        run_of(nothing, executor=on(job_id=11))
    workspace.cancel({"run_id": running})


def test_a_run_that_was_submitted_is_found_by_its_token_among_many(workspace: Databricks) -> None:
    executor = on()
    workspace.notebook("/Shared/long", "import time; time.sleep(60)")
    body = {"tasks": [{"task_key": "a", "notebook_task": {"notebook_path": "/Shared/long"}}]}
    first = workspace.submit({**body, "run_name": "it token-1"})["run_id"]
    others = [workspace.submit({**body, "run_name": f"other {number}"})["run_id"] for number in range(30)]
    try:
        assert executor.find("token-1") == str(first)
        assert executor.find("token-2") is None
    finally:
        for run in (first, *others):
            workspace.cancel({"run_id": run})
