"""How the Databricks executor gets credentials, renews them, and keeps them to itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.errors import ConfigurationError, RemoteFailed
from tests.executors.databricks_emulator import Databricks, Fault
from tests.executors.databricks_runs import VOLUME, needs_disk, on, one, run_of
from tests.server.conftest import Project, eventually

pytestmark = [pytest.mark.slow, needs_disk]


def test_credentials_come_from_a_stored_block(workspace: Databricks, project: Project) -> None:
    workspace.clients["a-client"] = "a-client-secret"
    host = f"databricks_instance={workspace.url!r}"
    project.write(
        "flow.py",
        f"""
        from glacier_prefect import DatabricksExecutor, pipeline, task
        from prefect_databricks import DatabricksCredentials

        @task(executor=DatabricksExecutor(volume={VOLUME!r}, credentials_block="by-token"))
        def one():
            return 1

        @task(executor=DatabricksExecutor(volume={VOLUME!r}, credentials_block="by-client"))
        def two(before):
            return before + 1

        @pipeline
        def both():
            return two(one())

        if __name__ == "__main__":
            DatabricksCredentials({host}, token={workspace.new_token()!r}).save("by-token")
            client = dict(client_id="a-client", client_secret="a-client-secret")
            DatabricksCredentials({host}, **client).save("by-client")
            print("made", both.run())
        """,
    )
    done = project.run("flow.py", DATABRICKS_HOST=None, DATABRICKS_TOKEN=None)
    assert "made 2" in done.stdout


def test_without_credentials_the_error_says_which_there_can_be(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(ConfigurationError, match=r"task 'one' has no credentials: .*\n.*DATABRICKS_HOST with"):
        run_of(one)


def test_tokens_of_a_service_principal_are_renewed_while_a_run_goes_on(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits() -> int:
        import time

        time.sleep(3)
        return 1

    workspace.clients["b-client"] = "b-client-secret"
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "b-client")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "b-client-secret")
    monkeypatch.setattr(workspace, "lifetime", 1.5)
    before = len(workspace.tokens)
    workspace.faults.append(Fault(path="/oidc/v1/token", status=503))
    assert run_of(waits) == 1
    assert len(workspace.tokens) - before >= 2


def test_a_token_that_ends_while_polling_is_an_error_and_a_retry_takes_the_run_up(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(file: str) -> int:
        import os
        import time

        while not os.path.exists(file):
            time.sleep(0.1)
        return 1

    def end_token() -> None:
        eventually(lambda: ("GET", "jobs/runs/get", None) in workspace.calls, "a look at the run")
        workspace.tokens[token] = 0.0

    token = workspace.new_token()
    monkeypatch.setenv("DATABRICKS_TOKEN", token)
    ending = threading.Thread(target=end_token)
    ending.start()
    before = len(workspace.runs)
    errors: list[str] = []

    def again(task: Any, task_run: Any, state: Any) -> bool:
        errors.append(state.message)
        monkeypatch.setenv("DATABRICKS_TOKEN", workspace.new_token())
        (workspace.volumes / "main/default/exchange/go").touch()
        return True

    assert run_of(waits, f"{VOLUME}/go", retries=1, retry_condition_fn=again) == 1
    ending.join()
    assert len(workspace.runs) == before + 1
    assert "jobs/runs/cancel" not in workspace.refused  # with good credentials it would have been done
    (said,) = errors
    assert re.search(r"Run \d+ \(\S+\) of task 'waits' on executor 'databricks': Databricks .* does not take", said)
    assert "does not take the credentials (pat): Invalid access token." in said
    assert "takes it up" in said


def test_a_token_that_is_replaced_in_a_profile_is_taken_while_a_run_goes_on(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write_profile() -> str:
        token = workspace.new_token()
        (tmp_path / "profiles").write_text(f"[shop]\nhost = {workspace.url}\ntoken = {token}\n")
        return token

    def replace_token() -> None:
        eventually(lambda: ("GET", "jobs/runs/get", None) in workspace.calls, "a look at the run")
        write_profile()
        workspace.tokens[token] = 0.0

    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "profiles"))
    token = write_profile()
    replacing = threading.Thread(target=replace_token)
    replacing.start()
    assert run_of(lambda: __import__("time").sleep(3), executor=on(profile="shop"), name="waits") is None
    replacing.join()
    assert workspace.refused
    assert not workspace.called("jobs/runs/cancel")


def test_no_secret_is_in_what_is_left_behind_or_said(
    workspace: Databricks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token, secret = workspace.new_token(), "c-client-secret"
    workspace.clients["c-client"] = secret

    def shows() -> None:
        raise ValueError("nothing to see")

    made = [caplog.text]
    monkeypatch.setenv("DATABRICKS_TOKEN", token)
    with pytest.raises(RemoteFailed) as raised:
        run_of(shows)
    made += [str(raised.value), repr(on())]
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "c-client")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", secret)
    with pytest.raises(RemoteFailed) as raised:
        run_of(shows)
    made += [str(raised.value), caplog.text]
    last = list(workspace.runs)[-2:]
    folders = [tmp_path, *(workspace.folder / f"driver-{workspace.runs[run].tasks[0].id}" for run in last)]
    folders += [
        workspace.volumes / workspace.runs[run].tasks[0].spec["spark_python_task"]["parameters"][0][9:] for run in last
    ]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) > 4
    for value in (token, secret, *workspace.tokens):
        assert not [text for text in made if value in text]
        assert not [file for file in files if value.encode() in file.read_bytes()]
        assert value not in json.dumps(workspace.calls)


def test_a_missing_package_names_the_task_the_executor_and_the_extra(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        "import sys\n"
        "sys.modules['databricks.sdk'] = None\n"
        "from glacier_prefect import pipeline, task\n"
        "@task(executor='databricks')\n"
        "def one(): return 1\n"
        "@pipeline\n"
        "def alone(): return one()\n"
        "alone.run()\n"
    )
    done = subprocess.run([sys.executable, "flow.py"], cwd=tmp_path, capture_output=True, text=True)
    said = "databricks.sdk is not installed, which the executor 'databricks' of task 'one' needs.\n"
    assert f"NotAvailableError: {said}Hint: pip install 'glacier-prefect[databricks]'" in done.stderr
