"""A worker whose environment has only Prefect runs a pipeline from git, with the packages of the project's lock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import pytest

ROOT = Path(__file__).parents[2]
GLACIER = "from glacier_prefect.cli import main; main()"
FLOW = """
import sys
import polars as pl
import prefect
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()

@task
def where() -> pl.LazyFrame:
    files = {each: sys.modules[each].__file__ for each in ("prefect", "polars", "glacier_prefect")}
    return pl.LazyFrame({"module": list(files), "file": list(files.values())})

out = provider.bucket_sink(bucket="out", path="where.parquet")

@pipeline(name="bare")
def flow():
    return out.write(where())
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("bare")]


def run(*command: object, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bare_environment(folder: Path, *packages: str) -> Path:
    """Make an environment that has these packages and what they need, nothing else, and return its Python."""
    uv = Path(sys.executable).with_name("uv")
    run(sys.executable, "-m", "venv", folder / "bare", cwd=folder)
    python = folder / "bare" / "bin" / "python"
    wanted = [f"{name}=={version(name)}" for name in packages]
    run(uv, "pip", "install", "--python", python, *wanted, "--constraint", ROOT / "requirements.lock", cwd=folder)
    return python


def write_lock(folder: Path, extra: str = "") -> None:
    """Write a lock with this Glacier (and an extra, as in "[aws]"), a wheel, and the versions of its tests."""
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    [wheel] = folder.glob("*.whl")
    shutil.copyfile(ROOT / "requirements.lock", folder / "constraints.txt")
    (folder / "requirements.txt").write_text(f"--constraint constraints.txt\n./{wheel.name}{extra}\n")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return bare_environment(tmp_path, "prefect")


@contextmanager
def worker(python: Path, env: dict[str, str], folder: Path) -> Iterator[Path]:
    log = folder / "worker.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [python, "-m", "prefect", "worker", "start", "--pool", "glacier-bare-dev-pool"],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield log
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_worker_that_has_only_prefect_runs_the_flight_example_from_git(
    bare: Path, project: Any, api: Any, tmp_path: Path
) -> None:
    folder = project.folder
    for name in ("flow.py", "prepare.py"):
        shutil.copyfile(ROOT / "examples" / "flight_delays" / name, folder / name)
    project.write("where.py", FLOW)
    project.write("glacier.toml", 'project = "bare"\n[environments.dev]\nprovider = "local"\ncode = "git"\n')
    project.run("prepare.py")
    project.write(".gitignore", ".glacier\ndata\n__pycache__\n")
    write_lock(folder)
    run("git", "init", "--quiet", cwd=folder)
    run("git", "add", ".", cwd=folder)
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    run("git", *identity, "commit", "--quiet", "-m", "first", cwd=folder)
    project.run("-c", GLACIER, "deploy", "--yes")

    env = {**project.env, "GLACIER_CACHE": str(tmp_path / "cache"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    ended = []
    with worker(bare, env, tmp_path) as log:
        for name in ("bare/dev", "flight-delays/dev"):
            flow_run = api.post(f"/deployments/{api.deployment(name)['id']}/create_flow_run")["id"]
            ended.append(api.finished(flow_run, timeout=240))
    assert [each["state_type"] for each in ended] == ["COMPLETED"] * 2, log.read_text()
    [cached] = (tmp_path / "cache" / "packages").iterdir()
    assert pl.read_parquet(folder / "data/nyc-reports/routes.parquet").height > 50
    files = dict(pl.read_parquet(folder / "data/out/where.parquet").rows())
    assert all(Path(file).is_relative_to(cached) for file in files.values()), files
    missing = "import importlib.util; print(importlib.util.find_spec('glacier_prefect'))"
    assert run(bare, "-c", missing, cwd=tmp_path) == "None\n", "nothing was installed into the worker's environment"
    project.run("-c", GLACIER, "destroy", "--yes", "--allow-data-loss")
