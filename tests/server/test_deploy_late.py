"""A deploy that is stopped while Prefect works on its request: it waits for the answer, or what comes late is known."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.emulators.forward import Forwarder, Server
from tests.served import Served

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deploy")]

GLACIER = str(Path(sys.executable).with_name("glacier"))
FLOW = """
import polars as pl
from glacier_prefect import pipeline, task

@task
def rows() -> pl.LazyFrame:
    return pl.LazyFrame({"a": [1]})

@pipeline(name="NAME")
def flow():
    return rows()
"""


class Slow(Served, Server):
    """Stands before the Prefect server, which works on a creation of a deployment when it is let.

    Attributes:
        came: Set when one has come.
        go: To be set to let it be worked on.
        done: Set when it is answered.
        status: Of that answer.
    """

    def __init__(self, url: str) -> None:
        behind = urllib.parse.urlsplit(url)
        assert behind.port is not None
        super().__init__(0, behind.port, _Slow)
        self.url = f"http://127.0.0.1:{self.server_port}{behind.path}"
        self.came, self.go, self.done = threading.Event(), threading.Event(), threading.Event()
        self.status = 0


class _Slow(Forwarder):
    server: Slow

    def respond(self) -> None:
        if (self.command, self.path.rstrip("/")) != ("POST", "/api/deployments"):
            return super().respond()
        body = b"".join(self.body)  # before its client may go
        self.server.came.set()
        self.server.go.wait()
        while True:
            with self.ask(self.command, self.path, self.passed_on(), [body]) as response:
                if response.status == 503:  # its database is busy
                    continue
                self.server.status = response.status
                self.server.done.set()
                return self.relay(response)  # though its client may have gone


@pytest.fixture
def slow(server: str) -> Iterator[Slow]:
    with Slow(server) as made:
        yield made
        made.go.set()


class Stopped:
    """A project whose second deploy is stopped while Prefect works on the creation of its deployment."""

    def __init__(self, project: Any, api: Any, name: str, slow: Slow) -> None:
        self.project, self.name, self.slow = project, name, slow
        self.folder: Path = project.folder / name
        (self.folder / "flows").mkdir(parents=True)
        settings = f'project = "{name}"\npipelines = ["flows/*.py"]\n[environments.dev]\nprovider = "local"\n'
        (self.folder / "glacier.toml").write_text(f'{settings}terraform = "terraform"\n')
        self.flow("kept")
        self.run("deploy", "--yes")
        self.flow("late")
        api.post("/flows/", name=f"{name}-late")  # one that a deploy makes is gone with its undoing
        command = [GLACIER, "deploy", "--yes"]
        env = {**project.env, "PREFECT_API_URL": slow.url}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdout=pipe, stderr=pipe, text=True)
        assert slow.came.wait(20)

    def flow(self, name: str) -> None:
        (self.folder / f"flows/{name}.py").write_text(FLOW.replace("NAME", f"{self.name}-{name}"))

    def run(self, *words: str, code: int = 0) -> str:
        done = self.project.forks.run(GLACIER, *words, cwd=self.folder, env=self.project.env, timeout=120)
        assert done.returncode == code, done.stdout + done.stderr
        return str(done.stdout + done.stderr)

    def late(self, api: Any) -> Any:
        return api.deployment(f"{self.name}-late/dev")

    def let_it_come(self, api: Any) -> str:
        """Let Prefect do what it was asked for before; returns the id of the deployment."""
        assert self.late(api) is None
        self.slow.go.set()
        assert self.slow.done.wait(30)
        assert self.slow.status in (200, 201), self.slow.status
        return str(self.late(api)["id"])


def test_an_interrupt_waits_for_the_answer_and_all_is_undone(project: Any, api: Any, slow: Slow) -> None:
    stopped = Stopped(project, api, "waits", slow)
    stopped.process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        stopped.process.wait(1)
    slow.go.set()
    _, said = stopped.process.communicate(timeout=30)
    assert "Waiting for Prefect's answer; Ctrl-C again does not wait." in said
    assert stopped.process.returncode == 130, said
    assert "Interrupted. What this deploy had changed in Prefect is restored." in said
    assert stopped.late(api) is None
    assert not (stopped.folder / ".glacier/dev/journal.jsonl").exists()
    stopped.run("deploy", "--yes")
    assert stopped.late(api)


@pytest.mark.parametrize("how", ["a second interrupt", "killed"])
@pytest.mark.parametrize("then", ["wanted", "unwanted"])
def test_what_comes_after_all_was_undone_is_known_as_ones_own(
    project: Any, api: Any, slow: Slow, how: str, then: str
) -> None:
    stopped = Stopped(project, api, f"late-{how.split()[0]}-{then}", slow)
    if how == "a second interrupt":
        stopped.process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            stopped.process.wait(0.5)
    stopped.process.send_signal(signal.SIGKILL if how == "killed" else signal.SIGINT)
    _, said = stopped.process.communicate(timeout=30)
    assert "Traceback" not in said
    (stopped.folder / "flows/late.py").unlink()
    stopped.run("deploy", "--yes")  # undoes what was killed, and there is nothing of it yet
    id = stopped.let_it_come(api)

    if then == "wanted":
        stopped.flow("late")
    assert ("nothing changes" in stopped.run("plan")) == (then == "unwanted")
    assert stopped.late(api)["id"] == id, "a plan changes nothing"
    said = stopped.run("deploy", "--yes")
    assert f"only after the deploy was undone, and it is deleted: deployment {stopped.name}-late/dev." in said
    assert bool(stopped.late(api)) == (then == "wanted")
    stopped.run("deploy", "--yes")
    assert bool(stopped.late(api)) == (then == "wanted")
    stopped.run("destroy", "--yes")
    assert stopped.late(api) is None
    assert not (stopped.folder / ".glacier").exists()


def test_a_strangers_deployment_of_that_name_is_left_alone(project: Any, api: Any, slow: Slow) -> None:
    stopped = Stopped(project, api, "late-stranger", slow)
    stopped.process.kill()
    stopped.process.communicate()
    flow = api.post("/flows/", name=f"{stopped.name}-late")["id"]
    theirs = api.post("/deployments/", name="dev", flow_id=flow, version="theirs")["id"]
    assert "did not make" in stopped.run("plan", code=1)
    assert "did not make" in stopped.run("deploy", "--yes", code=1)
    assert stopped.late(api)["id"] == theirs
    slow.go.set()


def test_a_plan_after_a_killed_deploy_shows_what_the_next_one_makes(project: Any, api: Any, slow: Slow) -> None:
    stopped = Stopped(project, api, "half", slow)
    stopped.process.kill()
    stopped.process.communicate()
    id = stopped.let_it_come(api)
    said = stopped.run("plan")
    assert "1 to create, an unfinished deploy to finish or undo" in said
    assert f"{stopped.name}-late" in said
    assert stopped.late(api)["id"] == id
    stopped.run("deploy", "--yes")
    assert stopped.late(api)["id"] != id
