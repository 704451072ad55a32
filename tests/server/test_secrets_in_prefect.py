"""Secrets and credentials where runs are reported to a server: blocks give them, and nothing that it keeps has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FLOW = """
import os
import polars as pl
from glacier_prefect import Secret, pipeline, task
from glacier_prefect.providers import LocalProvider
from prefect import get_run_logger
from pydantic import SecretStr

password = Secret("DB_PASSWORD")
out = LocalProvider(base_path="data").bucket_sink(bucket="curated", path="out.parquet")

@task(log_prints=True, persist_result=True)
def load(secret):
    get_run_logger().warning("logged %s", secret.get())
    print("printed", secret.get())
    return pl.LazyFrame({"length": [len(secret.get())]})

@task
def fails(frame, secret):
    raise ValueError("cannot log in with " + secret.get())

@task(log_prints=True)
def login(key, text):
    print("login with", key.get(), text.get_secret_value())

@pipeline
def secretive(key: Secret, text: SecretStr):
    return out.write(load(password)), fails(load(password), password), login(key, text)

if __name__ == "__main__":
    secretive.run(key=Secret("API_KEY"), text=SecretStr(os.environ["TEXT"]))
"""

BLOCKS = """
import json, sys
from prefect_aws import AwsCredentials
from prefect_azure import AzureBlobStorageCredentials
from prefect_gcp import GcpCredentials
from glacier_prefect.errors import GlacierError
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider

AwsCredentials(aws_access_key_id="id", aws_secret_access_key="planted-aws").save("lake")
AwsCredentials().save("empty")
AzureBlobStorageCredentials(connection_string="AccountName=a;AccountKey=planted-azure").save("lake")
GcpCredentials(service_account_info=json.loads(sys.argv[1])).save("lake")
for kind in (AWSProvider, AzureProvider, GCPProvider):
    credentials = kind(credentials_block="lake").credentials
    print(credentials._source(), repr(credentials))
print(AWSProvider(credentials_block="lake").credentials()[0]["aws_secret_access_key"] == "planted-aws")
print(AzureProvider(credentials_block="lake").credentials()[0] == {"account_key": "planted-azure"})
for name in ("empty", "nothing"):
    try:
        AWSProvider(credentials_block=name).credentials.used()
    except (GlacierError, ValueError) as error:
        print(error)
"""


def test_nothing_that_the_server_keeps_of_a_run_has_a_secret_in_it(project: Any, api: Any, wait_until: Any) -> None:
    project.write("secretive.py", FLOW)
    done = project.run(
        "secretive.py",
        check=False,
        DB_PASSWORD="planted-Zx9/+ value",
        API_KEY="planted-Zx9 key",
        TEXT="planted-Zx9 text",
    )
    assert done.returncode != 0
    assert "cannot log in with ********" in done.stderr
    (run,) = api.flow_runs("secretive")
    api.task_runs(run["id"], "load", "load-2", "fails", "login")
    assert run["parameters"] == {"key": {"name": "API_KEY"}, "text": "**********"}

    def logged() -> Any:
        logs = api.post("/logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
        return logs if {"logged ********", "printed ********"} <= {each["message"].strip() for each in logs} else None

    kept = [
        wait_until(logged, "the logs"),
        api.post("/flow_runs/filter", flows={"name": {"any_": ["secretive"]}}),
        api.post("/task_runs/filter", flow_runs={"id": {"any_": [run["id"]]}}),
        api.get(f"/flow_run_states/?flow_run_id={run['id']}"),
        api.post("/artifacts/filter", artifacts={"flow_run_id": {"any_": [run["id"]]}}),
        api.post("/events/filter", filter={"related": {"id": [f"prefect.flow-run.{run['id']}"]}}),
    ]
    assert "cannot log in with ********" in json.dumps(kept)
    assert "Zx9" not in json.dumps(kept) + done.stdout + done.stderr
    places = (project.folder, Path(project.env["PREFECT_HOME"]))
    left = [file for place in places for file in place.rglob("*") if file.is_file()]
    assert not [file for file in left if b"Zx9" in file.read_bytes()]


def test_credentials_come_from_prefect_blocks_by_name(project: Any) -> None:
    from glacier_prefect.emulators import GCS

    account = json.dumps({**GCS(port=1).service_account, "token_uri": "http://127.0.0.1:1/token"})
    project.write("blocks.py", BLOCKS)
    done = project.run("blocks.py", account, AWS_REGION="us-east-1", HOME=str(project.folder))
    lines = done.stdout.splitlines()
    assert [line.partition(")")[0] for line in lines[:3]] == ["Found(source=\"Prefect block 'lake'\""] * 3
    assert lines[3:5] == ["True", "True"]
    assert lines[5] == "The Prefect block 'empty' (AwsCredentials) has no credentials in it."
    assert "nothing" in lines[6]
    assert "planted" not in done.stdout + done.stderr
