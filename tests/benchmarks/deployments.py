"""Deploying: fifty pipelines against `prefect deploy --all`, again with one changed and with none, a plan of a hundred.

Whole commands, each first registration on a fresh server; nothing has a schedule, since many active ones slow a server
on SQLite down for reasons of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from measure import Line, compared, note

PAIRS = 3
SETTLE = 15  # seconds in which a fresh server still starts its services; single calls take two seconds meanwhile
KEEPER = Path(__file__).parents[1] / "server" / "server_process.py"
GLACIER = (
    "import sys, time; began = time.perf_counter(); from glacier_prefect.cli import main\n"
    "from glacier_prefect.deployments.api import Api\n"
    "from glacier_prefect.terraform_cli import TerraformCLI\n"
    "spent, run = [], TerraformCLI._run\n"
    "def timed(*given, **options):\n"
    "    start = time.perf_counter()\n"
    "    try: return run(*given, **options)\n"
    "    finally: spent.append(time.perf_counter() - start)\n"
    "TerraformCLI._run, writes, write = timed, [], Api.write\n"
    "Api.write = lambda self, *given: (writes.append(1), write(self, *given))[1]\n"
    "try: main(sys.argv[1:])\n"
    "finally:\n"
    "    print(time.perf_counter() - began, sum(spent), len(writes), file=open('figures', 'w'))\n"
)
PIPELINES = """
from glacier_prefect import Pipeline, task

@task
def one(): return 1

"""


def measure() -> list[Line]:
    ours, theirs, pairs = [], [], []
    for _ in range(PAIRS):
        with _server() as env, tempfile.TemporaryDirectory() as folder:
            _project(Path(folder), 50)
            seconds, terraform, _ = _glacier(Path(folder), env, "deploy", "--yes")
            note(f"first registration of 50: {seconds:.1f} s, of these Terraform {terraform:.1f} s")
            ours.append(seconds)
            seconds, terraform, writes = _glacier(Path(folder), env, "deploy", "--yes")
            none = seconds - terraform
            assert writes == 0
            _change(Path(folder))
            seconds, terraform, writes = _glacier(Path(folder), env, "deploy", "--yes")
            assert writes == 1
            note(f"again: none changed {none:.1f} s, 1 changed {seconds - terraform:.1f} s, without Terraform")
            pairs.append((none, seconds - terraform))
        with _server() as env, tempfile.TemporaryDirectory() as folder:
            theirs.append(_prefect(Path(folder), env))
            note(f"prefect deploy --all: {theirs[-1]:.1f} s")
    with _server() as env, tempfile.TemporaryDirectory() as folder:
        _project(Path(folder), 100)
        _glacier(Path(folder), env, "deploy", "--yes")
        seconds, terraform, _ = _glacier(Path(folder), env, "plan")
    none, one = (sorted(each)[PAIRS // 2] for each in zip(*pairs, strict=True))
    return [
        compared("first registration of 50, against prefect deploy --all", ours, theirs, aim=0.25),
        Line(what="again with none changed, besides Terraform", figures="whole command", value=none, unit=" s"),
        Line(what="again with 1 of 50 changed, besides Terraform", figures="whole command", value=one, unit=" s"),
        Line(
            what="plan of 100 with nothing changed, besides Terraform",
            figures=f"{seconds:.1f} s in all",
            value=seconds - terraform,
            unit=" s",
            aim=3,
        ),
    ]


def _project(folder: Path, count: int) -> None:
    (folder / "glacier.toml").write_text('project = "bench"\npipelines = ["flow_*.py"]\n')
    for number in range(count):
        text = f"{PIPELINES}pipeline = Pipeline('bench-{number}', tasks=[one])\n"
        (folder / f"flow_{number}.py").write_text(text)


def _change(folder: Path) -> None:
    with open(folder / "flow_7.py", "a") as file:
        file.write("# changed\n")


def _glacier(folder: Path, env: dict[str, str], *words: str) -> tuple[float, float, int]:
    """Run a command: seconds, seconds of these in Terraform, writes to Prefect."""
    done = subprocess.run(
        [sys.executable, "-c", GLACIER, *words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seconds, terraform, writes = (folder / "figures").read_text().split()
    return float(seconds), float(terraform), int(writes)


def _prefect(folder: Path, env: dict[str, str]) -> float:
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    subprocess.run(
        [*prefect, "work-pool", "create", "bench", "--type", "process"], env=env, capture_output=True, check=True
    )
    step = f"- prefect.deployments.steps.set_working_directory:\n    directory: {folder}\n"
    deployments = ""
    for number in range(50):
        text = f"from prefect import flow\n@flow(name='bench-{number}')\ndef run(): pass\n"
        (folder / f"flow_{number}.py").write_text(text)
        deployments += f"- name: dev\n  entrypoint: flow_{number}.py:run\n  work_pool:\n    name: bench\n"
    (folder / "prefect.yaml").write_text(f"name: bench\npull:\n{step}deployments:\n{deployments}")
    began = time.perf_counter()
    subprocess.run([*prefect, "deploy", "--all"], cwd=folder, env=env, capture_output=True, check=True)
    return time.perf_counter() - began


@contextlib.contextmanager
def _server() -> Iterator[dict[str, str]]:
    """Give the environment of processes that use a fresh server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as client:
        home = tempfile.mkdtemp()
        keeper = subprocess.Popen([sys.executable, KEEPER, str(os.getpid()), home, str(port)], stdin=subprocess.DEVNULL)
        api = f"http://127.0.0.1:{port}/api"
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{api}/health", timeout=5):
                    break
                time.sleep(0.2)
            time.sleep(SETTLE)
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            yield {**inherited, "PREFECT_HOME": client, "PREFECT_API_URL": api, "DO_NOT_TRACK": "1"}
        finally:
            keeper.terminate()
            keeper.wait()
