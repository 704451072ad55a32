"""Providers: each makes its own sources and sinks and loads no SDK."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect import sources
from glacier_prefect.environments import loading
from glacier_prefect.errors import ConfigurationError, OptionError
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider, LocalProvider, Provider
from glacier_prefect.providers.azure import account_name
from glacier_prefect.providers.base import PROVIDERS

EXAMPLES = {
    "aws": AWSProvider(region="us-east-1", profile="prod"),
    "azure": AzureProvider(resource_group="my-rg", location="eastus", storage_account="mystorageacct"),
    "gcp": GCPProvider(project_id="my-project", region="us-central1"),
    "local": LocalProvider(base_path="/data"),
}
CLASSES: dict[str, tuple[type[sources.Source], type[sources.Sink]]] = {
    "aws": (sources.S3Source, sources.S3Sink),
    "azure": (sources.AzureBlobSource, sources.AzureBlobSink),
    "gcp": (sources.GCSSource, sources.GCSSink),
    "local": (sources.LocalSource, sources.LocalSink),
}
URIS = {
    "aws": "s3://my-data/x/data.parquet",
    "azure": "abfss://my-data@mystorageacct.dfs.core.windows.net/x/data.parquet",
    "gcp": "gs://my-data/x/data.parquet",
    "local": "file:///data/my-data/x/data.parquet",
}
SETTINGS = {
    "aws": {"region": "us-east-1", "profile": "prod"},
    "azure": {"resource_group": "my-rg", "location": "eastus", "storage_account": "mystorageacct"},
    "gcp": {"project_id": "my-project", "region": "us-central1"},
    "local": {"base_path": "/data"},
}


def test_the_constructors_of_the_architecture_document_construct() -> None:
    AWSProvider(region="us-east-1")
    AWSProvider(region="us-west-2")
    AWSProvider(region="us-east-1", profile="prod")
    AzureProvider(resource_group="my-rg", location="eastus")
    AzureProvider(resource_group="dr-rg")
    AzureProvider(resource_group="my-rg", location="eastus", storage_account="mystorageacct")
    GCPProvider(project_id="my-project", region="us-central1")
    LocalProvider()
    LocalProvider(base_path="./data")
    assert set(EXAMPLES) == set(PROVIDERS.names())


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_provider_makes_its_own_source_and_sink_without_a_warning(name: str) -> None:
    provider = EXAMPLES[name]
    source = provider.bucket_source(bucket="my-data", path="x/data.parquet")
    sink = provider.bucket_sink(bucket="my-data", path="x/data.parquet")
    assert (type(source), type(sink)) == CLASSES[name]
    assert type(sink.twin()) is type(source)
    assert source.uri == sink.uri == sink.twin().uri == URIS[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_metadata_is_what_is_known_without_a_call(name: str) -> None:
    metadata = EXAMPLES[name].bucket_source("my-data", "x/data.parquet").metadata()
    common = {"provider": name, "bucket": "my-data", "path": "x/data.parquet", "format": "parquet", "uri": URIS[name]}
    assert metadata == common | SETTINGS[name]
    sink = EXAMPLES[name].bucket_sink("my-data", "x/data.parquet", partition_by="day").metadata()
    assert sink == metadata | {"mode": "overwrite", "partition_by": ("day",)}


def test_a_missing_setting_is_an_error_at_its_first_use_that_names_argument_and_variable(tmp_path: Path) -> None:
    with loading(tmp_path / "flow.py"), contextlib.chdir(tmp_path):  # where there is no project to derive it from
        source = AzureProvider(resource_group="my-rg", location="eastus").bucket_source("c", "data.parquet")
    with pytest.raises(ConfigurationError, match=r"AzureProvider needs storage_account=.*AZURE_STORAGE_ACCOUNT_NAME"):
        _ = source.uri
    assert source.metadata()["uri"] is None


def test_a_missing_storage_account_is_derived_from_project_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "glacier.toml").write_text('project = "Acme-Data.Lake"\n[environments.prod]\nprovider = "azure"\n')
    monkeypatch.chdir(tmp_path)
    names = []
    for environment in ("dev", "prod", "prod"):
        monkeypatch.setenv("GLACIER_ENV", environment)
        with loading(tmp_path / "flow.py"):
            source = AzureProvider(resource_group="my-rg").bucket_source("c", "data.parquet")
        names.append(source.metadata()["storage_account"])
        assert source.uri == f"abfss://c@{names[-1]}.dfs.core.windows.net/data.parquet"
    assert names[0].startswith("acmedatalakedev")
    assert names[1] == names[2] != names[0]


@pytest.mark.parametrize("environment", ["", "é", "dev", "a" * 60])
@pytest.mark.parametrize("project", ["é", "x", "A_b-C.9", "acme" * 20])
def test_a_derived_storage_account_is_allowed_by_azure(project: str, environment: str) -> None:
    assert re.fullmatch(r"[a-z0-9]{3,24}", account_name(project, environment))


def test_derived_storage_accounts_differ_where_their_beginnings_do_not() -> None:
    made = {account_name("acme" * 20, each) for each in ("production-eu", "production-us")}
    made |= {account_name("a", "bc"), account_name("ab", "c")}
    assert len(made) == 4


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("kind", [0, 1])
def test_a_source_or_sink_made_directly_works_and_points_to_the_provider(name: str, kind: int) -> None:
    made = CLASSES[name][kind]
    with pytest.warns(DeprecationWarning, match=r"made directly.*use provider\.bucket_(source|sink)\(") as caught:
        location = made(bucket="my-data", path="x/data.parquet", **SETTINGS[name])  # type: ignore[arg-type]
    assert location.uri == URIS[name]
    assert [Path(each.filename) for each in caught] == [Path(__file__)]  # the caller's line, not one of Glacier
    line = Path(__file__).read_text().splitlines()[caught[0].lineno - 1]
    assert "location = made(" in line


def test_the_old_way_of_the_architecture_document_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="S3Source"):
        source = sources.S3Source(bucket="my-bucket", path="data.parquet", region="us-east-1")
    assert source.metadata()["region"] == "us-east-1"


@pytest.mark.parametrize(
    ("provider", "variables", "expected"),
    [
        (AWSProvider, {"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, AWSProvider(region="a")),
        (AWSProvider, {"AWS_DEFAULT_REGION": "b", "AWS_PROFILE": "p"}, AWSProvider(region="b", profile="p")),
        (AWSProvider, {"AWS_ENDPOINT_URL": "http://x"}, AWSProvider(endpoint_url="http://x")),
        (AzureProvider, {"AZURE_STORAGE_ACCOUNT_NAME": "s"}, AzureProvider(storage_account="s")),
        (AWSProvider, {"AWS_ENDPOINT_URL_S3": "http://y", "AWS_ENDPOINT_URL": "http://x"},
         AWSProvider(endpoint_url="http://y")),
        (AWSProvider, {"GLACIER_AWS_CREDENTIALS_BLOCK": "b"}, AWSProvider(credentials_block="b")),
        (AzureProvider, {"AZURE_STORAGE_ACCOUNT": "s", "AZURE_STORAGE_SERVICE_ENDPOINT": "http://x"},
         AzureProvider(storage_account="s", endpoint_url="http://x")),
        (AzureProvider, {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=s;AccountKey=k==;BlobEndpoint=http://x/s"},
         AzureProvider(storage_account="s", endpoint_url="http://x/s")),
        (AzureProvider, {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=s", "AZURE_STORAGE_ACCOUNT_NAME": "t"},
         AzureProvider(storage_account="t")),
        (AzureProvider, {"AZURE_KEY_VAULT_URL": "v"}, AzureProvider(key_vault="v")),
        (GCPProvider, {"GOOGLE_CLOUD_PROJECT": "p"}, GCPProvider(project_id="p")),
        (GCPProvider, {"STORAGE_EMULATOR_HOST": "127.0.0.1:9"}, GCPProvider(endpoint_url="http://127.0.0.1:9")),
        (LocalProvider, {"GLACIER_BASE_PATH": "/x"}, LocalProvider(base_path="/x")),
        (LocalProvider, {}, LocalProvider(base_path="data")),
        (Provider, {}, LocalProvider()),
        (Provider, {"GLACIER_PROVIDER": "gcp", "GOOGLE_CLOUD_PROJECT": "p"}, GCPProvider(project_id="p")),
    ],
)  # fmt: skip
def test_each_provider_reads_its_usual_variables(
    monkeypatch: pytest.MonkeyPatch, provider: type[Provider], variables: dict[str, str], expected: Provider
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "STORAGE_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert provider.from_env() == expected


def test_an_unknown_provider_is_an_error_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLACIER_PROVIDER", "awss")
    with pytest.raises(OptionError, match=r"'awss'.*Did you mean 'aws'"):
        Provider.from_env()


@pytest.mark.parametrize("value", [None, "", 5])
def test_a_base_path_is_a_folder(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="base_path"):
        LocalProvider(base_path=value)


@pytest.mark.parametrize("name", EXAMPLES)
def test_providers_and_what_they_make_cannot_be_changed(name: str) -> None:
    source: Any = EXAMPLES[name].bucket_source("b", "a.parquet")
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.path = "b.parquet"


def test_the_storage_block_of_a_bucket_reads_what_a_sink_wrote(tmp_path: Path) -> None:
    from prefect.filesystems import LocalFileSystem

    provider = LocalProvider(base_path=tmp_path)
    provider.bucket_sink("b", "x/a.csv").write(pl.DataFrame({"v": [1]}))
    block = provider.storage_block("b")
    assert isinstance(block, LocalFileSystem)
    assert asyncio.run(block.aread_path("x/a.csv")) == b"v\n1\n"


def test_describing_a_pipelines_data_loads_neither_prefect_nor_a_cloud_sdk() -> None:
    script = """
import sys
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider, LocalProvider
for provider in (AWSProvider(), AzureProvider(), GCPProvider(), LocalProvider()):
    provider.bucket_source("b", "a/{run_date:%Y}/*.parquet").metadata()
    provider.bucket_sink("b", "a/{run_date:%Y}.csv", partition_by="day").metadata()
print(sorted({"prefect", "polars", "boto3", "azure", "google", "adlfs", "s3fs", "gcsfs"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
