"""`glacier test`: a user's pipeline on all four providers, the clouds on emulators, and what it publishes compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.slow
GLACIER = ("-c", "from glacier_prefect.cli import main; main()")
FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import LocalProvider, Provider

provider = Provider.from_env()
orders = provider.bucket_source(bucket="shop", path="orders/{run_date:%Y}/*.parquet")
report = provider.bucket_sink(bucket="reports", path="paid/{run_date:%Y-%m-%d}.parquet")
parts = provider.bucket_sink(bucket="reports", path="by-customer", partition_by=["customer"])

@task
def paid(minimum: int) -> pl.LazyFrame:
    return orders.scan().filter(pl.col("amount") >= minimum).group_by("customer").agg(pl.col("amount").sum())

@pipeline
def daily(minimum: int = 0):
    frame = paid(minimum)
    return report.write(frame), parts.write(frame)
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for year in (2025, 2026):
        folder = tmp_path / f"data/shop/orders/{year}"
        folder.mkdir(parents=True)
        for number in range(2):
            rows = {"customer": ["ada", "bob", "eve"], "amount": [number, year, -1]}
            pl.DataFrame(rows).write_parquet(folder / f"{number} a+b.parquet")
    (tmp_path / "glacier.toml").write_text('project = "shop"\n')
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


def run(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GLACIER_", "PREFECT_"))}
    command = [sys.executable, *GLACIER, "test", *words]
    return subprocess.run(command, cwd=folder, env={**inherited, **env}, capture_output=True, text=True)


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {each["provider"]: each for each in json.loads(done.stdout)["outcomes"]}


def test_it_publishes_the_same_on_all_four_and_leaves_nothing(shop: Path) -> None:
    before = {str(file) for file in shop.rglob("*")}
    done = run(shop, "flow.py", "-p", "minimum=0", "--date", "2026-03-04", "--json")
    assert done.returncode == 0, done.stderr
    found = outcomes(done)
    assert list(found) == ["local", "aws", "azure", "gcp"]
    for each in found.values():
        assert each["good"], each
        assert each["rows"] == {"reports/paid/2026-03-04.parquet": 2, "reports/by-customer": 2}
    assert {str(file) for file in shop.rglob("*") if "__pycache__" not in str(file)} == before


def test_a_difference_is_told_by_column_and_ends_with_1(shop: Path) -> None:
    text = FLOW.replace("minimum)", "minimum + (provider.name == 'aws') * 2000)", 1)
    (shop / "flow.py").write_text(text)
    done = run(shop, "flow.py", "--date", "2026-03-04", "--on", "local", "--on", "aws")
    assert done.returncode == 1
    assert "different" in done.stdout
    assert "equal" in done.stdout  # the first is what the others are compared with


def test_a_location_written_for_one_provider_is_refused_before_anything_is_called(shop: Path) -> None:
    text = FLOW.replace("report = provider.", 'report = LocalProvider(base_path="data").')
    (shop / "flow.py").write_text(text)
    done = run(shop, "flow.py", "--date", "2026-03-04", "--on", "aws", "--json")
    assert done.returncode == 1
    assert "sink reports/paid/{run_date:%Y-%m-%d}.parquet (local)" in outcomes(done)["aws"]["error"]
    assert not (shop / "data/reports").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--on", "asw"), "There is no emulator of a provider 'asw'. Did you mean 'aws'?"),
        (("--max-gb", "0.000001"), "The pipeline reads more than 1e-06 GB"),
        (("-p", "minimun=1"), "Did you mean 'minimum'?"),
    ],
)
def test_a_mistake_is_told_before_anything_is_started(words: tuple[str, ...], told: str, shop: Path) -> None:
    done = run(shop, "flow.py", "--date", "2026-03-04", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
