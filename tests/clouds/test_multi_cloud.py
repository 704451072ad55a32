"""`examples/multi_cloud`: one pipeline file on four providers, chosen by `GLACIER_ENV` alone, with equal results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider, LocalProvider
from tests.clouds.proxy import Proxy

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).parents[2] / "examples"
REPORTS = {"airlines": "punctuality", "days": "days.parquet"}


@pytest.fixture(scope="module")
def example(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    for name in ("multi_cloud", "flight_delays"):
        shutil.copytree(EXAMPLES / name, folder / name, ignore=shutil.ignore_patterns("data", ".glacier"))
    return Path(folder) / "multi_cloud"


def run(example: Path, program: str, home: Path, **env: str) -> str:
    """Run a program of the example in a fresh process with an empty HOME."""
    hidden = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_", "GLACIER_", "PREFECT_", "XDG_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    assert not list(home.iterdir())
    done = subprocess.run(
        [sys.executable, program],
        cwd=example,
        env={**inherited, "HOME": str(home), **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def expected(example: Path, tmp_path_factory: Any) -> dict[str, pl.DataFrame]:
    """What the run on the disk publishes."""
    for program in ("load.py", "flow.py"):
        run(example, program, tmp_path_factory.mktemp("home"))
    provider = LocalProvider(base_path=str(example / "data"))
    return {name: provider.bucket_source("nyc-reports", path).scan().collect() for name, path in REPORTS.items()}


def test_what_the_disk_has_is_right(expected: dict[str, pl.DataFrame]) -> None:
    assert expected["days"]["flights"].sum() == expected["airlines"]["flights"].sum() == 327_346
    assert expected["days"].height == 365


@pytest.mark.parametrize("environment", ["aws", "azure", "gcp"])
def test_the_environment_alone_moves_it_to_a_cloud(
    environment: str, example: Path, expected: dict[str, pl.DataFrame], tmp_path_factory: Any, request: Any
) -> None:
    emulator: S3 | Azure | GCS
    if environment == "azure":
        emulator = request.getfixturevalue("acme_flights")
    else:
        emulator = request.getfixturevalue({"aws": "s3", "gcp": "gcs"}[environment])
    prefix = "" if environment == "azure" else "acme-"
    for bucket in ("nyc-flights", "nyc-reports"):
        emulator.make_bucket(prefix + bucket)
    run(example, "load.py", tmp_path_factory.mktemp("home"), GLACIER_ENV=environment, **emulator.env)
    before = {file for file in example.rglob("*") if "__pycache__" not in str(file)}
    with Proxy(behind=emulator.port) as proxy:
        said = run(
            example,
            "flow.py",
            tmp_path_factory.mktemp("home"),
            GLACIER_ENV=environment,
            **emulator.at(proxy.port).env,
        )
        assert proxy.count(method="GET") > 0
        assert proxy.count(method="PUT") > 0
    scheme = {"aws": "s3://acme-nyc-reports/", "azure": "abfss://nyc-reports@", "gcp": "gs://acme-nyc-reports/"}
    assert said.count(scheme[environment]) == 2
    assert {file for file in example.rglob("*") if "__pycache__" not in str(file)} == before  # nothing on the disk
    found = _read(environment, emulator, request)
    for name, frame in expected.items():
        assert_frame_equal(found[name], frame, check_row_order=False)


@pytest.fixture(scope="module")
def acme_flights() -> Any:
    """An emulator whose account is that of the example's `glacier.toml`."""
    with Azure.start(account_name="acmeflights", installed_in=Path(__file__).parents[2] / ".cache") as started:
        yield started


def _read(environment: str, emulator: S3 | Azure | GCS, request: Any) -> dict[str, pl.DataFrame]:
    provider: AWSProvider | AzureProvider | GCPProvider
    with pytest.MonkeyPatch.context() as patched:
        for name, value in emulator.env.items():
            patched.setenv(name, value)
        if environment == "aws":
            provider = AWSProvider.from_env(bucket_prefix="acme-")
        elif environment == "azure":
            provider = AzureProvider.from_env()
        else:
            provider = GCPProvider.from_env(bucket_prefix="acme-")
        return {name: provider.bucket_source("nyc-reports", path).scan().collect() for name, path in REPORTS.items()}
