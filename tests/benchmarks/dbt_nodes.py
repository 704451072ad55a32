"""dbt with 50 seeds and 180 models, each seen in Prefect, against the dbt command line."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from measure import Line, compared, environment, lines_of, note
from per_task import server

SEEDS, MODELS, ROUNDS = 50, 180, 3
SETTLED_SECONDS = 60


def measure() -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="glacier-bench-") as name:
        folder = Path(name)
        _write_project(folder / "project")
        _command_line(folder)  # the first run parses all, as do those of both below it no more
        ours, theirs = [], []
        with server(folder / "server") as url:
            for place in range(ROUNDS):
                if place % 2:
                    theirs.append(_command_line(folder))
                (text,) = lines_of("dbt_glacier.py", folder, PREFECT_API_URL=url)
                ours.append(float(text))
                settled = _settle(url, (place + 1) * (SEEDS + MODELS + 1))
                if not place % 2:
                    theirs.append(_command_line(folder))
                note(f"dbt: {ours[-1]:.1f} s, command line {theirs[-1]:.1f} s; stored after another {settled:.1f} s")
            # What Prefect sees costs is the difference to this.
            (text,) = lines_of("dbt_glacier.py", folder)
            note(f"dbt without a server: {float(text):.1f} s")
    return [compared(f"{SEEDS} seeds and {MODELS} models, against dbt build", ours, theirs, 1.15)]


def _command_line(folder: Path) -> float:
    dbt = Path(sys.executable).with_name("dbt")
    began = time.perf_counter()
    with environment(DBT_SEND_ANONYMOUS_USAGE_STATS="false") as variables:
        subprocess.run([dbt, "build", "--quiet"], cwd=folder / "project", env=variables, check=True)
    return time.perf_counter() - began


def _settle(url: str, expected: int) -> float:
    """Wait until the server has stored all task runs, so that the next run is not slowed by them."""
    began = time.monotonic()
    body = json.dumps({"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}).encode()
    while time.monotonic() < began + SETTLED_SECONDS:
        request = urllib.request.Request(f"{url}/task_runs/count", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                if int(answer.read()) >= expected:
                    return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"The server has not stored {expected} task runs within {SETTLED_SECONDS} s.")


def _write_project(project: Path) -> None:
    (project / "models").mkdir(parents=True)
    (project / "seeds").mkdir()
    (project / "dbt_project.yml").write_text(
        "name: many\nversion: '1.0'\nconfig-version: 2\nprofile: many\nmodels: {many: {+materialized: table}}\n"
    )
    (project / "profiles.yml").write_text(
        "many: {target: dev, outputs: {dev: {type: duckdb, path: many.duckdb, threads: 4}}}\n"
    )
    for number in range(SEEDS):
        rows = "".join(f"{row},{row * number}\n" for row in range(20))
        (project / "seeds" / f"s_{number}.csv").write_text(f"id,value\n{rows}")
    for number in range(MODELS):
        first = f"s_{number % SEEDS}" if number < SEEDS else f"m_{number - SEEDS}"
        second = f"s_{(number * 7) % SEEDS}" if number < 2 * SEEDS else f"m_{number - 2 * SEEDS}"
        (project / "models" / f"m_{number}.sql").write_text(
            f"select a.id, a.value + b.value as value from {{{{ ref('{first}') }}}} a "
            f"join {{{{ ref('{second}') }}}} b using (id)"
        )
