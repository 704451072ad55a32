"""The server of `glacier ui`: why garbage is collected beside its event loop, and that it is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

COLLECTED = """
import gc, threading, time
from glacier_prefect import prefect_server

prefect_server.SECONDS = 0.05
prefect_server.collect_beside()
freed = []

class Open:
    def __init__(self): self.itself = self
    def __del__(self): freed.append(threading.current_thread().name)

for _ in range(100_000):
    Open()
while len(freed) < 100_000:
    time.sleep(0.01)
print(gc.isenabled(), set(freed))
"""


def test_who_frees_an_open_cursor_waits_with_who_waits_for_the_database(tmp_path: Path) -> None:
    holder, waiting = (sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False) for _ in "12")
    waiting.execute("PRAGMA busy_timeout = 1500")
    opened = waiting.execute("SELECT 1 UNION SELECT 2")
    opened.fetchone()
    holder.execute("PRAGMA journal_mode = WAL")
    holder.execute("BEGIN IMMEDIATE")
    failed: list[str] = []

    def wait() -> None:
        try:
            waiting.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            failed.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    del opened
    assert time.monotonic() - began > 0.7, "it waits no more: the server of `glacier ui` needs no collector of its own"
    thread.join()
    assert failed == ["database is locked"]
    holder.close()
    waiting.close()


def test_garbage_is_collected_in_a_thread_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", COLLECTED], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False {'garbage'}\n", done.stderr


def test_it_is_prefects_own_command_line() -> None:
    command = [sys.executable, "-m", "glacier_prefect.prefect_server", "server", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "start" in done.stdout
