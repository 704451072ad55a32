"""`glacier init`: the project that it writes runs, is tested and clean, and nothing of the user's is overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

GLACIER = ("-c", "from glacier_prefect.cli import main; main()")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    hidden = ("GLACIER_", "PREFECT_", "PYTEST_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("init")
    done = run(folder, *GLACIER, "init", "My Shop")
    assert done.returncode == 0, done.stderr
    assert "flows/revenue.py" in done.stdout
    assert "Now: cd My Shop && python flows/revenue.py" in done.stderr
    return Path(folder) / "My Shop"


def test_the_project_is_named_after_its_folder_and_its_pipeline_runs(made: Path) -> None:
    assert 'project = "my-shop"' in (made / "glacier.toml").read_text()
    done = run(made, "flows/revenue.py")
    assert done.returncode == 0, done.stderr
    (report,) = (made / "data/reports/revenue").glob("*.parquet")
    assert pl.read_parquet(report).rows() == [("ada", 15.5), ("grace", 7.25)]


def test_its_test_passes_and_its_files_are_valid(made: Path) -> None:
    tested = run(made, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout
    assert run(made, *GLACIER, "validate", "flows/revenue.py").returncode == 0


def test_its_workflow_is_yaml_that_deploys_pushes_to_main_and_plans_pull_requests(made: Path) -> None:
    import yaml

    workflow = yaml.safe_load((made / ".github/workflows/deploy.yml").read_text())
    assert workflow[True] == {"push": {"branches": ["main"]}, "pull_request": {}}  # YAML reads the key `on` as true
    steps = workflow["jobs"]["deploy"]["steps"]
    assert [each["uses"].partition("@")[0] for each in steps] == ["actions/checkout", "glacier/deploy"]


def test_nothing_is_written_where_one_of_the_files_is(tmp_path: Path) -> None:
    (tmp_path / "glacier.toml").write_text("mine")
    done = run(tmp_path, *GLACIER, "init")
    assert (done.returncode, done.stdout) == (2, "")
    assert "has glacier.toml already. Nothing was written." in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["glacier.toml"]


def test_a_name_without_a_letter_or_digit_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, *GLACIER, "init", "--name", "_")
    assert done.returncode == 2
    assert "The project has no name." in done.stderr
