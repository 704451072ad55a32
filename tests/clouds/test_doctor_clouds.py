"""`glacier doctor` for clouds: what it says of credentials, buckets and what is left, by asking real emulators."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import obstore
import pytest

from glacier_prefect import doctor_clouds
from glacier_prefect.cli import main
from glacier_prefect.doctor import CheckResult, diagnose
from glacier_prefect.emulators import GCS, S3, Azure
from tests.clouds.proxy import Fault, Proxy

Cloud = S3 | Azure | GCS
PROVIDERS = {"s3": "aws", "azure": "azure", "gcs": "gcp"}
FLOW = """
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()

@task
def load(source):
    return source.scan()

@pipeline(name="daily")
def daily():
    return provider.bucket_sink("{bucket}", "out/data.parquet").write(
        load(provider.bucket_source("{bucket}", "in/*.parquet"))
    )
"""


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Cloud, str], dict[str, CheckResult]]:
    """Does all checks in a project whose pipeline reads and writes a bucket of an emulator."""

    def checks(cloud: Cloud, bucket: str) -> dict[str, CheckResult]:
        (tmp_path / "flow.py").write_text(FLOW.format(bucket=bucket))
        (tmp_path / "glacier.toml").write_text(
            f'project = "acme"\n[environments.dev]\nprovider = "{PROVIDERS[cloud.name]}"\n'
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
            monkeypatch.delenv(name)
        for name, value in cloud.env.items():
            monkeypatch.setenv(name, value)
        return {each.id: each for each in diagnose()}

    return checks


def name_of(cloud: Cloud, bucket: str) -> str:
    return f"{PROVIDERS[cloud.name]} {bucket}"


def test_a_bucket_that_can_be_read_and_written_is_well_and_nothing_is_left_in_it(
    cloud: Cloud, bucket: str, doctor: Any
) -> None:
    found = doctor(cloud, bucket)
    assert (found["credentials"].status, found["buckets"].status) == ("ok", "ok")
    assert found["credentials"].seen.startswith(f"{PROVIDERS[cloud.name]}: the variable ")
    assert found["buckets"].seen == f"{name_of(cloud, bucket)}: readable, writable"
    assert found["left_behind"] == CheckResult(id="left_behind", status="ok", seen="none")
    assert found["work_pool"].status == "skipped"
    assert [each["path"] for each in obstore.list(cloud.store(bucket)).collect()] == []


def test_a_bucket_that_is_not_there_is_a_failure_that_names_it(cloud: Cloud, doctor: Any) -> None:
    found = doctor(cloud, "no-such-bucket")
    assert found["buckets"].status == "failed"
    assert "no-such-bucket" in found["buckets"].seen
    assert "no such bucket" in found["buckets"].seen
    assert found["buckets"].fix


def test_a_bucket_that_may_be_read_and_not_written_is_a_failure(
    cloud: Cloud, bucket: str, proxy: Proxy, doctor: Any
) -> None:
    for method in ("PUT", "POST"):
        proxy.fail(Fault(kind="answer", status=403), method=method, times=None)
    found = doctor(cloud.at(proxy.port), bucket)
    assert found["buckets"].status == "failed"
    assert bucket in found["buckets"].seen


def test_an_address_that_nobody_answers_at_is_a_failure_in_time(
    cloud: Cloud, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_clouds, "SECONDS", 2.0)
    start = time.monotonic()
    found = doctor(cloud.at(1), "bucket")
    assert found["buckets"].status == "failed"
    assert time.monotonic() - start < 15


def test_what_runs_have_left_is_told_when_it_is_old(
    cloud: Cloud, bucket: str, doctor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = cloud.store(bucket)
    obstore.put(store, ".glacier/exchange/run/frame.parquet", b"x" * 2000)
    obstore.put(store, ".glacier/writes/sink/run/x.parquet", b"x" * 3000)
    assert doctor(cloud, bucket)["left_behind"].status == "ok"  # a run may be at it
    monkeypatch.setattr(doctor_clouds, "EXCHANGE_TTL_DAYS", 0)
    monkeypatch.setattr(doctor_clouds, "ABANDONED", doctor_clouds.timedelta(0))
    time.sleep(1.1)  # a store's clock may show whole seconds
    found = doctor(cloud, bucket)["left_behind"]
    assert found.status == "warning"
    assert found.seen == f"{name_of(cloud, bucket)}: expired frames 2.0 kB, unfinished writes 3.0 kB"
    assert found.fix


def test_no_credentials_and_no_pipelines_are_findings_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "glacier.toml").write_text('[environments.dev]\nprovider = "aws"\nregion = "us-east-1"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "No credentials of AWS were found." in shown
    assert "use no bucket of a cloud" in shown
