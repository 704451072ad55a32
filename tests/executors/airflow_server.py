"""A real Airflow for the tests, in a virtual environment of its own under `.cache`.

Together with Prefect it cannot be installed. It is made of an API server, a scheduler and a DAG processor on SQLite,
with users and passwords of the simple auth manager, and tokens that are good for seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
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
from dataclasses import dataclass
from pathlib import Path

VERSION = "3.3.2"
REPOSITORY = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("airflow_requirements.txt")  # `pip freeze` of that environment
DAGS = Path(__file__).with_name("airflow_dags")
PASSWORDS = {"operator": "the-operators-own", "reader": "for-reading-only"}
ENDS_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"  # Linux
)
COMPONENTS = ("api-server", "scheduler", "dag-processor")


def airflow_python() -> str:
    """Return the Python of an environment with Airflow, which is made if it is not there."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    home = REPOSITORY / ".cache" / f"airflow-{VERSION}-py{version}"
    python, done = home / "bin" / "python", home / "done"
    home.parent.mkdir(exist_ok=True)
    with open(home.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            run = [sys.executable, "-m", "uv"]
            subprocess.run([*run, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
            packages = ["--constraint", REQUIREMENTS, f"apache-airflow=={VERSION}"]
            subprocess.run([*run, "pip", "install", "--quiet", "--python", python, *packages], check=True)
            done.touch()
    return str(python)


@dataclass(frozen=True, kw_only=True)
class Airflow:
    """An Airflow that runs here."""

    url: str
    home: Path


@contextlib.contextmanager
def running(python: str, home: Path) -> Iterator[Airflow]:
    """Run Airflow meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    (home / "passwords.json").write_text(json.dumps(PASSWORDS))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    settings = {
        "API__BASE_URL": url,
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__WORKERS": "1",
        "API_AUTH__JWT_EXPIRATION_TIME": "10",
        "API_AUTH__JWT_LEEWAY": "0",
        "API_AUTH__JWT_SECRET": "known-to-all-components-of-this-airflow",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__DAGS_FOLDER": str(DAGS),
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PARALLELISM": "6",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "operator:admin,reader:viewer",
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    }
    env = {
        **inherited,
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        "AIRFLOW_HOME": str(home),
        "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}",
    }
    started: list[subprocess.Popen[bytes]] = []
    try:
        _start(started, python, home, env, "db", "migrate")
        assert started.pop().wait(240) == 0, (home / "db.log").read_text()
        for component in COMPONENTS:
            _start(started, python, home, env, component)
        end = time.monotonic() + 240
        while not _ready(url):
            assert time.monotonic() < end, (home / "api-server.log").read_text()
            assert all(each.poll() is None for each in started), home
            time.sleep(0.5)
        yield Airflow(url=url, home=home)
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _start(started: list[subprocess.Popen[bytes]], python: str, home: Path, env: dict[str, str], *words: str) -> None:
    with open(home / f"{words[0]}.log", "wb") as log:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", ENDS_WITH_PARENT, python, "-m", "airflow", *words],
                env=env,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # with workers of its own
            )
        )


def _ready(url: str) -> bool:
    """Whether the API answers and the DAGs are known to it."""
    try:
        login = json.dumps({"username": "operator", "password": PASSWORDS["operator"]}).encode()
        asked = urllib.request.Request(f"{url}/auth/token", login, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            token = json.load(answer)["access_token"]
        asked = urllib.request.Request(f"{url}/api/v2/dags/branches", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=10):
            return True
    except (OSError, urllib.error.HTTPError):
        return False


if __name__ == "__main__":  # by hand: an Airflow to look at, until Ctrl-C
    import tempfile

    with tempfile.TemporaryDirectory() as folder, running(airflow_python(), Path(folder)) as airflow:
        print(airflow.url, airflow.home, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
