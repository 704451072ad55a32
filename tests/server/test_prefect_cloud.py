"""Deploying to Prefect Cloud, and runs by an ordinary worker there: through a proxy that behaves as it does."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from tests.server.cloud_proxy import CloudProxy

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prefect-cloud")]

FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

out = Provider.from_env().bucket_sink(bucket="out", path="a.parquet")

@task(retries=1, retry_delay_seconds=0)
def rows(count: int):
    return pl.LazyFrame({"a": range(count)})

@pipeline(name="in-the-cloud", schedule="0 6 * * *")
def daily(count: int = 3):
    return out.write(rows(count))

if __name__ == "__main__":
    daily.run(count=2)
"""
GLACIER = "import sys; from glacier_prefect.cli import main; main(sys.argv[1:])"
ADMIN = ("/health", "/version", "/csrf-token")


@pytest.fixture(scope="module")
def proxy(server: str) -> Iterator[CloudProxy]:
    port = urllib.parse.urlsplit(server).port
    assert port is not None
    with CloudProxy(behind=port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def written(project: Any) -> Any:
    project.write("daily.py", FLOW)
    project.write(
        "glacier.toml", 'project = "cloud"\npipelines = ["daily.py"]\n[environments.dev]\nprovider = "local"\n'
    )
    return project


def glacier(project: Any, *words: str, code: int = 0, **env: str | None) -> str:
    done = project.run("-c", GLACIER, *words, check=False, **env)
    said = str(done.stdout + done.stderr)
    assert done.returncode == code, said
    assert "Traceback" not in said, said
    return said


def test_deploy_a_run_by_an_ordinary_worker_and_destroy_go_through_prefect_cloud(
    written: Any, proxy: CloudProxy, api: Any
) -> None:
    said = glacier(written, "deploy", "--yes", **proxy.env)
    assert proxy.key not in said
    deployment = api.deployment("in-the-cloud/dev")
    assert not deployment["paused"]
    assert "nothing changes" in glacier(written, "deploy", "--yes", **proxy.env)

    run = api.post(f"/deployments/{deployment['id']}/create_flow_run")
    worker = ("-m", "prefect", "worker", "start", "--pool", "glacier-cloud-dev-pool")
    with written.running(*worker, PREFECT_WORKER_QUERY_SECONDS="1", **proxy.env) as output:
        finished = api.finished(run["id"])
        api.task_runs(run["id"], "rows", "write-a")  # their events come after the run's end, from its process
    assert finished["state_type"] == "COMPLETED", output()
    assert proxy.key not in output()
    assert pl.read_parquet(written.folder / "data/out/a.parquet").height == 3

    glacier(written, "destroy", "--yes", "--allow-data-loss", **proxy.env)
    assert api.deployment("in-the-cloud/dev") is None
    assert proxy.count(429) > 1
    assert proxy.count(401) == 0
    asked = [path for _, path, status in proxy.calls if status in (403, 404)]
    assert not [path for path in asked if path.endswith(ADMIN)], asked
    assert proxy.count(403) == sum(path.endswith("/admin/storage") for path in asked), (
        "which Prefect's engine asks itself"
    )
    for file in written.folder.rglob("*"):
        assert not file.is_file() or proxy.key.encode() not in file.read_bytes(), file


def test_a_run_here_is_reported_to_prefect_cloud(written: Any, proxy: CloudProxy, api: Any) -> None:
    before = {each["id"] for each in api.flow_runs("in-the-cloud")}
    written.run("daily.py", **proxy.env)
    run = next(each for each in api.flow_runs("in-the-cloud") if each["id"] not in before)
    assert run["state_type"] == "COMPLETED"
    api.task_runs(run["id"], "rows", "write-a")


@pytest.mark.parametrize("key", [None, "pnu_of-somebody-else"])
def test_without_the_right_key_nothing_runs_and_the_message_says_why(
    key: str | None, written: Any, proxy: CloudProxy
) -> None:
    said = glacier(written, "plan", code=1, **{**proxy.env, "PREFECT_API_KEY": key})
    assert "set in the environment variable PREFECT_API_URL, cannot be used" in said
    assert "401" in said
    assert "PREFECT_API_KEY" in said
    assert "somebody" not in said


def test_another_workspace_is_an_error_too(written: Any, proxy: CloudProxy) -> None:
    url = f"{proxy.url}/accounts/a/workspaces/b"
    said = glacier(written, "plan", code=1, **{**proxy.env, "PREFECT_API_URL": url})
    assert url in said
    assert "404" in said


def test_too_many_requests_is_no_reason_to_give_up(written: Any, proxy: CloudProxy) -> None:
    while len(proxy.calls) % 15 != 14:  # so that the next call is the one too many
        proxy.calls.append(("", "", 0))
    before = proxy.count(429)
    glacier(written, "plan", **proxy.env)
    assert proxy.count(429) > before


def test_doctor_finds_prefect_cloud(written: Any, proxy: CloudProxy) -> None:
    said = written.run("-c", GLACIER, "doctor", check=False, **proxy.env).stdout
    assert f"{proxy.url}/accounts/" in said
    assert "cannot be used" not in said
