"""The example of an executor of one's own, run as its reader runs it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import eventually

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_executor"
READ = """
import json, os, flow
frame = flow.custom_executor.run(count=4).collect()
print(json.dumps([frame.drop("process").rows(), sorted(set(frame["process"])), os.getpid()]))
"""


def test_it_gives_the_result_from_another_process_and_leaves_none(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "custom_executor")
    (folder / "glacier.toml").write_text(f'[environments.dev.executors.detached]\nfolder = "{tmp_path}/jobs"\n')
    env = {**os.environ, "PREFECT_LOGGING_LEVEL": "ERROR"}
    shown = subprocess.run([sys.executable, "flow.py"], cwd=folder, env=env, capture_output=True, text=True)
    assert (shown.returncode, "square" in shown.stdout) == (0, True), shown.stderr
    done = subprocess.run([sys.executable, "-c", READ], cwd=folder, env=env, capture_output=True, text=True)
    rows, processes, here = json.loads(done.stdout.splitlines()[-1])
    assert rows == [[0, 0], [1, 1], [2, 4], [3, 9]]
    assert len(processes) == 1
    assert here not in processes
    eventually(lambda: not Path("/proc", str(processes[0])).exists(), "the end of the process", 20)
    assert len(list((tmp_path / "jobs").glob("glacier-*"))) == 2, "the environment's setting is used"


def test_a_job_that_is_cancelled_before_it_begins_never_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    detached = importlib.import_module("detached")
    executor = detached.DetachedExecutor(folder=str(tmp_path))
    for _ in range(2):
        executor.cancel(str(tmp_path))
    assert executor.look(str(tmp_path)).kind == "failed"
    begun = subprocess.run(["sh", "-c", detached.JOB.format(sys.executable, "entry.py")], cwd=tmp_path)
    assert begun.returncode != 0
    assert not (tmp_path / "log").exists()


def test_the_executor_has_under_forty_lines() -> None:
    assert len((EXAMPLE / "detached.py").read_text().splitlines()) < 40
