"""What the benchmarks share: alternating runs, lines of the table, and programs run in processes of their own.

Imports neither Glacier nor Prefect.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

PAIRS = 5
FLOWS = Path(__file__).with_name("flows")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table.

    Attributes:
        what: What was measured.
        figures: The absolute figures, which depend on the machine.
        value: What is compared with the aim.
        unit: "" for a ratio.
        aim: The most that it should be, None where nothing is aimed at.
    """

    what: str
    figures: str
    value: float
    unit: str = ""
    aim: float | None = None

    def cells(self) -> tuple[str, ...]:
        if self.aim is None:
            return self.what, self.figures, f"{self.value:.2f}{self.unit}", "", ""
        verdict = "met" if self.value <= self.aim else "MISSED"
        return self.what, self.figures, f"{self.value:.2f}{self.unit}", f"at most {self.aim:g}{self.unit}", verdict


def compared(what: str, ours: list[float], theirs: list[float], aim: float, unit: str = "s") -> Line:
    """Return the median of the ratios of pairs."""
    ratio = median(one / other for one, other in zip(ours, theirs, strict=True))
    return Line(what=what, figures=f"{median(ours):.2f} {unit} to {median(theirs):.2f} {unit}", value=ratio, aim=aim)


def alternate(ours: Callable[[], float], theirs: Callable[[], float], what: str) -> tuple[list[float], list[float]]:
    """Measure both in turn, each first in every other pair."""
    found: tuple[list[float], list[float]] = ([], [])
    for place in range(PAIRS):
        for side in (0, 1) if place % 2 == 0 else (1, 0):
            found[side].append((ours, theirs)[side]())
        note(f"{what}: {found[0][-1]:.3f} s to {found[1][-1]:.3f} s = {found[0][-1] / found[1][-1]:.3f}")
    return found


def note(text: str) -> None:
    print(text, flush=True)


def show_machine() -> None:
    names = ("glacier-prefect", "prefect", "polars", "pydantic", "fastapi", "sqlalchemy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    note(f"Python {platform.python_version()}, {versions}; {platform.machine()}, {os.cpu_count()} cores; load {load}")


def show_table(lines: list[Line]) -> None:
    rows = [("", "median figures", "measured", "aim", ""), *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        note("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@contextlib.contextmanager
def environment(**settings: str) -> Iterator[dict[str, str]]:
    """Yield the variables of a program that finds an empty Prefect home and writes its bytecode where it can."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "GLACIER_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    with tempfile.TemporaryDirectory(prefix="glacier-bench-") as home:
        ours = {"PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        yield {**inherited, **ours, **settings}


def run(program: str, folder: Path, **settings: str) -> float:
    """Run a program of `flows` to its end and return the seconds that it took."""
    with environment(**settings) as variables, open(folder / "output.log", "wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, str(FLOWS / program)],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        code = process.wait()
        seconds = time.perf_counter() - began
        _end_group(process.pid)  # the temporary server of a hand-written flow is still ending
    if code != 0:
        raise SystemExit(f"{program} ended with code {code}:\n{(folder / 'output.log').read_text()}")
    return seconds


def lines_of(program: str, folder: Path, *args: str, **settings: str) -> Iterator[str]:
    """Run a program of `flows` and yield the lines that it prints as they come; what it logs goes to a file."""
    with environment(**settings) as variables, open(folder / "output.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(FLOWS / program), *args],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield from process.stdout
        finally:
            code = process.wait()
        if code != 0:
            raise SystemExit(f"{program} ended with code {code}:\n{(folder / 'output.log').read_text()}")


def _end_group(group: int) -> None:
    end = time.monotonic() + 5
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(group, 0)
            time.sleep(0.1)
        os.killpg(group, signal.SIGKILL)
