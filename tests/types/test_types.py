"""What a type checker sees of a user's tasks and pipelines. Not among the base tests, whose environment has no mypy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_type_checkers_see_the_signature_of_the_function(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "import polars as pl\n"
        "from glacier_prefect import Pipeline, pipeline, task\n"
        "@task\n"
        "def load(source: str, limit: int = 1) -> pl.LazyFrame: return pl.LazyFrame()\n"
        "@task(depends_on=[load], retries=2, executor='spark')\n"
        "def count(frame: pl.LazyFrame) -> int: return 1\n"
        "@task(depends_on=[load, count])\n"
        "def last(frame: pl.LazyFrame, number: int) -> None: ...\n"
        "@pipeline(name='x', schedule='0 6 * * *', retries=1)\n"
        "def daily(limit: int = 5) -> object: return count(load('a', limit))\n"
        "reveal_type(load)\n"
        "reveal_type(load('a'))\n"
        "reveal_type(count.with_options(retries=3)(load('a')))\n"
        "reveal_type(daily)\n"
        "reveal_type(Pipeline('y', tasks=[last]))\n"
        "load(5)\n"
    )
    command = [
        sys.executable,
        "-m",
        "mypy",
        f"--config-file={ROOT / 'pyproject.toml'}",
        f"--cache-dir={ROOT / '.cache/mypy'}",  # in which `make types` leaves what it knows of the package
        "--no-error-summary",
        str(snippet),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    seen = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert [
        each.partition('"')[2].rpartition('"')[0].replace("polars.lazyframe.frame.", "pl.").replace("builtins.", "")
        for each in seen[:5]
    ] == [
        "glacier_prefect.tasks.Task[[source: str, limit: int =], pl.LazyFrame]",
        "pl.LazyFrame",
        "int",
        "glacier_prefect.pipeline.Pipeline",
        "glacier_prefect.pipeline.Pipeline",
    ], done.stdout + done.stderr
    assert len(seen) == 6, done.stdout
    assert seen[5].startswith('error: Argument 1 to "__call__" of "Task" has incompatible type "int"'), done.stdout
