"""The command line of Prefect for a server on SQLite: what is garbage is collected in a thread of its own.

A thread that frees an open cursor of SQLite waits with the thread that waits for the database on the same connection.
Requests that are given up leave such cursors. If the collector finds one in the server's event loop, nothing is
answered any more, and as whoever holds the database does not go on either, that lasts for as long as one waits for it:
60 s. Knows nothing of Glacier.
"""

from __future__ import annotations

import gc
import runpy
import threading
import time

SECONDS = 1.0  # between two collections
FULL = 30  # of these, one is of all there is


def collect_beside() -> None:
    """Collect garbage in a thread of its own from now on, and nowhere else."""
    gc.disable()
    threading.Thread(target=_collect, name="garbage", daemon=True).start()


def _collect() -> None:
    number = 0
    while True:
        time.sleep(SECONDS)
        number += 1
        gc.collect(2 if number % FULL == 0 else 1)


if __name__ == "__main__":
    collect_beside()
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)
