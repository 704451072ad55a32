"""Both ways of installing Glacier: the built wheel alone, as a user gets it, and the lock, as `make` installs it.

The wheel is resolved afresh by pip, so a new release of any dependency that stops Prefect's server shows here first.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("install")]

QUICKSTART = """\
import polars as pl
from glacier_prefect import pipeline, task


@task
def load() -> pl.LazyFrame:
    return pl.LazyFrame({"city": ["Oslo", "Bergen", "Oslo"], "snow": [3, 0, 4]})


@task(depends_on=[load])
def total(frame: pl.LazyFrame) -> int:
    return frame.filter(pl.col("city") == "Oslo").select(pl.col("snow").sum()).collect().item()


@pipeline(name="snow")
def snow():
    return total(load())


if __name__ == "__main__":
    print("snow in Oslo:", snow.run())
"""

# Written so that this file does not match itself.
REGISTRIES = re.compile(
    rb"(?:pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org|/sim"
    rb"ple/|--(?:extra-)?index"
    rb"-url[ =]\S*/|--find"
    rb"-links[ =]\S*/)"
)
MACHINE_PATHS = re.compile(
    rb"(?<![\w.])/(?:ro" rb"ot|ho" rb"me/\w+|Us" rb"ers/\w+|op" rb"t/(?:pypi|wheels)|wo" rb"rk/(?:main|shared))\b"
)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the built sdist, and the wheel built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--outdir", folder, ROOT])
    return folder


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    [wheel] = distributions.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment that has the wheel and what pip finds for it, nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    run([sys.executable, "-m", "venv", folder])
    quick = ["--quiet", "--disable-pip-version-check", "--no-compile"]  # a third of what is installed is never imported
    run([folder / "bin" / "python", "-m", "pip", "install", *quick, wheel])
    return folder / "bin"


def test_the_wheel_alone_runs_the_quickstart(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(QUICKSTART)
    environment = clean_environment(tmp_path)
    assert "snow in Oslo: 7" in run([fresh / "python", "flow.py"], cwd=tmp_path, env=environment)
    assert "run" in run([fresh / "glacier", "--help"], cwd=tmp_path, env=environment)


def test_the_wheel_alone_starts_a_prefect_server_that_takes_a_run(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(QUICKSTART)
    environment = clean_environment(tmp_path)
    with prefect_server(fresh, tmp_path, environment) as api:
        run([fresh / "python", "flow.py"], cwd=tmp_path, env=environment | {"PREFECT_API_URL": api})
        request = urllib.request.Request(
            f"{api}/flow_runs/filter", data=b"{}", headers={"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert [each["state_name"] for each in json.load(answer)] == ["Completed"]


def test_what_is_installed_here_is_what_the_lock_says() -> None:
    """Here all tests with a Prefect server run."""
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    installed = json.loads(run([sys.executable, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]))
    versions = {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in installed}
    versions.pop(
        "setuptools", None
    )  # venv itself brings one before Python 3.12; nothing that is installed here asks for it
    differing = {
        name: (versions[name], version) for name, version in locked.items() if versions.get(name, version) != version
    }
    assert differing == {}, "these are installed in another version than the lock has; `make test` installs the lock"


def test_the_wheel_holds_the_modules_the_page_and_the_type_marker(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = [file for file in tracked_files() if file.startswith("terraform_modules/")]
    assert modules
    assert {f"glacier_prefect/{file}" for file in modules} <= names
    assert {"glacier_prefect/py.typed", "glacier_prefect/report/page.html"} <= names


def test_wheel_and_sdist_hold_nothing_that_git_does_not(distributions: Path, wheel: Path) -> None:
    tracked = set(tracked_files())
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        shipped = {member.name.partition("/")[2] for member in archive if member.isfile()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name.replace("glacier_prefect/terraform_modules", "terraform_modules") for name in archive.namelist()}
    assert shipped - tracked == {"PKG-INFO"}
    assert {name for name in packed if ".dist-info/" not in name} <= tracked


def test_no_file_names_a_package_registry_or_a_place_on_one_machine(distributions: Path, wheel: Path) -> None:
    files = {file: (ROOT / file).read_bytes() for file in tracked_files()}
    [sdist] = distributions.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        files |= {f"{wheel.name}/{name}": archive.read(name) for name in archive.namelist()}
    with tarfile.open(sdist) as archive:
        for member in archive:
            if content := archive.extractfile(member):
                files[f"{sdist.name}/{member.name}"] = content.read()
    places = [str(place).encode() for place in {ROOT, Path.home()} if len(place.parts) > 2]
    found = [
        f"{name}: {match.group().decode()}"
        for name, content in files.items()
        for match in (*REGISTRIES.finditer(content), *MACHINE_PATHS.finditer(content))
    ]
    found += [f"{name}: {place.decode()}" for name, content in files.items() for place in places if place in content]
    assert found == []


@contextmanager
def prefect_server(bin_folder: Path, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Yield the API address of a server of its own home and port; it is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api, log = f"http://127.0.0.1:{port}/api", folder / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [bin_folder / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that the server's own children can be stopped with it
        )
    try:
        wait_until_healthy(server, api, log)
        yield api
    finally:
        server.terminate()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_until_healthy(server: subprocess.Popen[bytes], api: str, log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, f"the server ended with {server.returncode}:\n{log.read_text()[-4000:]}"
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            pass
        time.sleep(0.5)
    pytest.fail(f"no answer from {api}/health in two minutes:\n{log.read_text()[-4000:]}")


def clean_environment(home: Path) -> dict[str, str]:
    """This environment without settings of Prefect, Glacier or Python, and with a home of its own."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GLACIER_", "PYTHON"))
    }
    return kept | {
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }


def tracked_files() -> list[str]:
    """The files that are, or will be with the next commit, in the git tree."""
    listed = run(
        ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT
    )
    return [file for file in listed.split("\0") if file and (ROOT / file).is_file()]


def run(command: list[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout
