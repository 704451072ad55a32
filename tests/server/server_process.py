"""Runs a Prefect server for a run of the tests and stops it when those end, however they end.

Called as `server_process.py OWNER HOME PORT`: the server lives as long as the process OWNER, or until this one gets
SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    owner, home, port = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = ["-m", "glacier_prefect.prefect_server", "server", "start", "--host", "127.0.0.1", "--port", port]
    with open(home / "server.log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, *command],
            env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        while not stop.wait(0.3) and server.poll() is None and is_alive(owner):
            pass
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
        server.kill()
        server.wait()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
