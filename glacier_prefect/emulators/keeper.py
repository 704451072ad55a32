"""Runs a server for as long as the process that asked for it, however that ends. Imports nothing of Glacier.

Called as `keeper.py FOLDER COMMAND...`. Its standard input is a pipe that nobody writes to and that ends with the
process at its other end. FOLDER/server.log has the server's output; FOLDER is removed at the end, unless the server
ended by itself.
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


def main() -> None:
    """Run the server until nobody wants it."""
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    threading.Thread(target=_read_to_end, args=[stop], daemon=True).start()
    while not stop.wait(0.2):
        if server.poll() is not None:
            return
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(3)
    server.kill()
    server.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _read_to_end(stop: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    stop.set()


if __name__ == "__main__":
    main()
