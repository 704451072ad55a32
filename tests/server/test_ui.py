"""`glacier ui`: a Prefect server of the project's own, found by later runs, stopped by its own command.

All tests share one real server, which the last stops.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.ui import _command_line, read_note

GLACIER = ("-c", "from glacier_prefect.cli import main; main()")
FLOW = """
    from glacier_prefect import pipeline, task

    @task(log_prints=True)
    def say(): print("said by the task"); return 5

    @pipeline
    def {name}(): return say()

    if __name__ == "__main__":
        print("result", {name}.run())
"""
DEAD = "http://127.0.0.1:9/api"


@pytest.fixture(scope="module")
def ours(offline: Any) -> Any:
    """A project without any API."""
    offline.write("glacier.toml", 'project = "ours"\npipelines = ["deployed.py"]\n')
    return offline


@pytest.fixture(scope="module")
def both(ours: Any) -> Iterator[list[dict[str, Any]]]:
    """What two `glacier ui --json` said that were called at the same time."""
    command = [sys.executable, *GLACIER, "ui", "--json"]
    called = [subprocess.Popen(command, cwd=ours.folder, env=ours.env, stdout=subprocess.PIPE) for _ in range(2)]
    told = [json.loads(each.communicate(timeout=200)[0]) for each in called]
    yield told
    for server in told:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def started(both: list[dict[str, Any]]) -> dict[str, Any]:
    """What the one of them said that started the server."""
    return min(both, key=lambda told: str(told["state"]) != "started")


def ask(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    end = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > end:  # a busy SQLite; Prefect's own client asks again, too
                raise
            time.sleep(0.5)


def flow_runs(server: dict[str, Any], flow: str) -> list[Any]:
    return list(ask(f"{server['url']}/api/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}}))


# -- starting ----------------------------------------------------------------------------------------------------------


def test_the_server_is_noted_for_its_owner_only(ours: Any, started: dict[str, Any]) -> None:
    note = ours.folder / ".glacier" / "ui.json"
    assert note.stat().st_mode & 0o777 == 0o600
    assert started == {"version": 1, "state": "started", **json.loads(note.read_text())}
    assert (ours.folder / ".glacier/ui").stat().st_mode & 0o777 == 0o700
    assert (ours.folder / ".glacier/ui/prefect.db").exists()
    assert not list(Path(ours.env["PREFECT_HOME"]).iterdir())


def test_the_server_sends_nothing_anywhere_and_only_this_machine_reaches_it(started: dict[str, Any]) -> None:
    settings = ask(f"{started['url']}/api/admin/settings")
    assert settings["server"]["analytics_enabled"] is False
    port = int(started["url"].rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port)):
        pass  # loopback too, so that a server on all addresses would take it


def test_its_pages_are_there_and_know_its_api(started: dict[str, Any]) -> None:
    assert ask(f"{started['url']}/ui-settings")["api_url"] == f"{started['url']}/api"
    with urllib.request.urlopen(started["url"]) as page:
        assert "<html" in page.read().decode().lower()


def test_two_at_the_same_time_start_one_server(both: list[dict[str, Any]]) -> None:
    assert sorted(each["state"] for each in both) == ["running", "started"]
    assert both[0]["pid"] == both[1]["pid"]


def test_a_second_one_says_that_it_is_running(ours: Any, started: dict[str, Any]) -> None:
    again = ours.run(*GLACIER, "ui")
    assert again.stdout == f"{started['url']}\n"
    assert f"It is running since {started['started']}." in again.stderr
    assert json.loads(ours.run(*GLACIER, "ui", "--json").stdout) == {**started, "state": "running"}


def test_it_says_that_a_configured_api_beats_it(ours: Any, started: dict[str, Any]) -> None:
    assert "PREFECT_API_URL is set: runs are reported there" in ours.run(*GLACIER, "ui", PREFECT_API_URL=DEAD).stderr


def test_a_server_that_does_not_start_is_an_error_with_what_it_said(ours: Any, tmp_path: Path) -> None:
    (tmp_path / "broken/prefect").mkdir(parents=True)
    (tmp_path / "broken/prefect/__init__.py").write_text("raise SystemExit('no room on the disk')")
    (tmp_path / "glacier.toml").touch()
    done = subprocess.run(
        [sys.executable, *GLACIER, "ui"],
        cwd=tmp_path,
        env={**ours.env, "PYTHONPATH": str(tmp_path / "broken")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "ended while it started; it said last:\n  no room on the disk\nHint: the whole log is " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".glacier/ui.json").exists()


def test_an_interrupt_while_it_starts_leaves_nothing_behind(ours: Any, tmp_path: Path, wait_until: Any) -> None:
    (tmp_path / "glacier.toml").touch()
    starting = subprocess.Popen([sys.executable, *GLACIER, "ui"], cwd=tmp_path, env=ours.env, start_new_session=True)
    server = wait_until(lambda: read_note(tmp_path), "its note")
    assert server.is_alive()
    starting.send_signal(signal.SIGINT)
    assert starting.wait(30) == 130
    assert not server.is_alive()
    assert read_note(tmp_path) is None


# -- what later runs do ------------------------------------------------------------------------------------------------


def test_a_run_below_the_projects_folder_is_reported_with_its_tasks_and_logs(
    ours: Any, started: dict[str, Any], wait_until: Any
) -> None:
    file = ours.write("flows/deep/reported.py", FLOW.format(name="reported"))
    done = subprocess.run(
        [sys.executable, file.name], cwd=file.parent, env=ours.env, capture_output=True, text=True, check=True
    )
    assert "result 5" in done.stdout
    assert f"{started['url']}/runs/flow-run/" in done.stderr
    (run,) = flow_runs(started, "reported")
    assert run["state_type"] == "COMPLETED"
    of_run = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    tasks = wait_until(lambda: ask(f"{started['url']}/api/task_runs/filter", of_run), "its task run")
    assert [each["name"] for each in tasks] == ["say"]
    logs = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
    wait_until(
        lambda: "said by the task" in [each["message"] for each in ask(f"{started['url']}/api/logs/filter", logs)],
        "its logs",
    )


def test_a_run_from_elsewhere_of_a_file_in_the_project_is_reported_too(
    ours: Any, started: dict[str, Any], tmp_path: Path
) -> None:
    file = ours.write("elsewhere.py", FLOW.format(name="elsewhere"))
    subprocess.run([sys.executable, *GLACIER, "run", str(file)], cwd=tmp_path, env=ours.env, check=True)
    assert len(flow_runs(started, "elsewhere")) == 1


def test_serving_takes_triggered_runs_from_it(ours: Any, started: dict[str, Any], wait_until: Any) -> None:
    ours.write("served.py", FLOW.format(name="served").replace('print("result", served.run())', "served.serve()"))

    def deployment() -> Any:
        found = ask(f"{started['url']}/api/deployments/filter", {"deployments": {"name": {"any_": ["served"]}}})
        return found and found[0]["id"]

    with ours.running("served.py"):
        ask(f"{started['url']}/api/deployments/{wait_until(deployment, 'its deployment')}/create_flow_run", {})
        wait_until(
            lambda: [each["state_type"] for each in flow_runs(started, "served")] == ["COMPLETED"], "the end of its run"
        )


def test_deploying_takes_it_and_says_so(ours: Any, started: dict[str, Any]) -> None:
    ours.write("deployed.py", FLOW.format(name="deployed"))
    assert f"Prefect, {started['url']}/api" in ours.run(*GLACIER, "plan").stdout
    ours.run(*GLACIER, "deploy", "--yes")
    assert ask(f"{started['url']}/api/deployments/name/deployed/dev")["name"] == "dev"
    ours.run(*GLACIER, "destroy", "--yes")


def test_a_configured_api_and_a_profile_beat_the_note(ours: Any, started: dict[str, Any], tmp_path: Path) -> None:
    ours.write("beaten.py", FLOW.format(name="beaten"))
    by_variable = ours.run("beaten.py", check=False, PREFECT_API_URL=DEAD)
    (tmp_path / "profiles.toml").write_text(f'active = "mine"\n[profiles.mine]\nPREFECT_API_URL = "{DEAD}"\n')
    by_profile = ours.run("beaten.py", check=False, PREFECT_HOME=str(tmp_path))
    assert f"The Prefect API {DEAD}, set in the environment variable PREFECT_API_URL" in by_variable.stderr
    assert f"The Prefect API {DEAD}, set in the Prefect profile 'mine'" in by_profile.stderr
    assert flow_runs(started, "beaten") == []


def test_doctor_knows_the_server(ours: Any, started: dict[str, Any]) -> None:
    report = json.loads(ours.run(*GLACIER, "doctor", "--json").stdout)
    seen = {each["id"]: each for each in report["checks"]}
    assert seen["api"]["seen"] == f"{started['url']}/api, of `glacier ui`, Prefect {started['prefect']}"
    assert (seen["api"]["status"], seen["api_version"]["status"]) == ("ok", "ok")


def test_a_server_that_does_not_answer_holds_up_no_run(ours: Any, started: dict[str, Any]) -> None:
    ours.write("quiet.py", FLOW.format(name="quiet"))
    os.kill(started["pid"], signal.SIGSTOP)
    try:
        begun = time.monotonic()
        done = ours.run("quiet.py")
        assert time.monotonic() - begun < 30
        report = ours.run(*GLACIER, "doctor")
    finally:
        os.kill(started["pid"], signal.SIGCONT)
    assert "result 5" in done.stdout
    assert done.stderr.count(f"The server of `glacier ui`, {started['url']}, does not answer; running without it.") == 1
    assert "does not answer; runs go without it" in report.stdout
    assert read_note(ours.folder) is not None


@pytest.mark.parametrize("process", ["ended", "another's"])
def test_the_note_of_a_server_that_is_gone_is_removed_and_its_process_left_alone(
    process: str, ours: Any, tmp_path: Path
) -> None:
    (tmp_path / "flow.py").write_text(
        "from glacier_prefect import Pipeline, task\n@task\ndef one(): return 1\nPipeline('one', tasks=[one]).run()"
    )
    (tmp_path / ".glacier").mkdir()
    note = tmp_path / ".glacier/ui.json"
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if process == "ended":
        other.kill()
        other.wait()
    try:
        text = {"url": "http://127.0.0.1:9", "pid": other.pid, "started": "2026-01-01T00:00:00+00:00", "prefect": "3"}
        for words in (["flow.py"], [*GLACIER, "ui", "--stop"]):
            note.write_text(json.dumps(text))
            done = subprocess.run(
                [sys.executable, *words], cwd=tmp_path, env=ours.env, capture_output=True, text=True, check=True
            )
            assert not note.exists()
            gone = "The server of `glacier ui`, http://127.0.0.1:9, is gone; running without it.\n"
            assert done.stderr.count(gone) == (words == ["flow.py"])
        assert done.stdout == "No server of `glacier ui` is running.\n"
        assert (other.poll() is None) == (process == "another's")
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("text", ["", "[]", '{"url": "http://127.0.0.1:1"}', "elsewhere"])
def test_a_note_that_makes_no_sense_or_leads_elsewhere_is_ignored(text: str, tmp_path: Path) -> None:
    if text == "elsewhere":
        text = json.dumps({"url": "http://example.com:80", "pid": 1, "started": "", "prefect": ""})
    (tmp_path / ".glacier").mkdir()
    (tmp_path / ".glacier/ui.json").write_text(text)
    assert read_note(tmp_path) is None


# -- stopping: the last test ends the server ---------------------------------------------------------------------------


def test_stopping_ends_the_server_and_keeps_its_runs(ours: Any, started: dict[str, Any]) -> None:
    stopped = ours.run(*GLACIER, "ui", "--stop")
    assert stopped.stdout == f"Stopped {started['url']}\n"
    assert not (ours.folder / ".glacier/ui.json").exists()
    with pytest.raises(OSError, match="refused"):
        ask(f"{started['url']}/api/health")
    assert (ours.folder / ".glacier/ui/prefect.db").exists()
    assert json.loads(ours.run(*GLACIER, "ui", "--stop", "--json").stdout) == {"version": 1, "state": "not running"}
    ours.write("after.py", FLOW.format(name="after"))
    assert "result 5" in ours.run("after.py").stdout


def test_a_process_that_is_just_started_is_not_taken_for_one_that_has_ended() -> None:
    for _ in range(100):
        started = subprocess.Popen(["sleep", "60"])
        try:
            assert _command_line(started.pid) == "sleep 60 "
        finally:
            started.kill()
            assert _command_line(started.pid) in ("sleep 60 ", "")
            started.wait()
        assert _command_line(started.pid) == ""
