"""What a trivial task costs: with a Prefect server against hand-written flows, and with none."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from measure import PAIRS, Line, compared, lines_of, note

TASKS = 300
SERVER = Path(__file__).parents[1] / "server" / "server_process.py"
START_SECONDS = 120


def measure() -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="glacier-bench-") as name:
        folder = Path(name)
        with server(folder / "server") as url:
            reported = _runs(folder, PREFECT_API_URL=url)
        alone = _runs(folder)
    lines = []
    for shape, aim in {"independent": 0.8, "chained": 0.6}.items():
        ours, theirs = reported["glacier", shape], reported["submit", shape]
        lines.append(compared(f"{shape} task with a server, against .submit", ours, theirs, aim, "ms"))
    for shape in ("independent", "chained"):
        ours = reported["glacier", shape]
        direct = reported["direct", shape][0]
        lines.append(
            Line(
                what=f"{shape} task with a server, against plain calls",
                figures=f"{median(ours):.2f} ms to {direct:.2f} ms",
                value=median(ours) / direct,
            )
        )
    for shape in ("independent", "chained"):
        cost = median(alone["glacier", shape])
        lines.append(Line(what=f"{shape} task without a server", figures="", value=cost, unit=" ms", aim=1))
    return lines


def _runs(folder: Path, **settings: str) -> dict[tuple[str, str], list[float]]:
    """Return the milliseconds for a task of each run, by name and shape."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for text in lines_of("many.py", folder, str(TASKS), str(PAIRS), **settings):
        each: dict[str, Any] = json.loads(text)
        cost = each["seconds"] * 1000 / TASKS
        found[each["name"], each["shape"]].append(cost)
        told = [f"{cost:.2f} ms a task"]
        if "wrong_edges" in each:
            told.append(f"{each['wrong_edges']} wrong edges, stored after another {each['stored_seconds']:.1f} s")
        note(f"{each['shape']}, {each['name']}, {'with' if settings else 'without'} a server: {', '.join(told)}")
    return found


@contextmanager
def server(home: Path) -> Iterator[str]:
    """Run a Prefect server meanwhile, on SQLite, and yield the URL of its API."""
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keeper = subprocess.Popen([sys.executable, str(SERVER), str(os.getpid()), str(home), str(port)])
    url = f"http://127.0.0.1:{port}/api"
    try:
        _wait_for(url)
        yield url
    finally:
        keeper.terminate()
        keeper.wait()


def _wait_for(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            if time.monotonic() > end:
                raise SystemExit(f"No Prefect server within {START_SECONDS} s.") from None
            time.sleep(0.3)
