"""Each snippet of the architecture document that shows the new way: it constructs, is analysed and validated.

What it names that this version does not run says so when it is run, and not before. The snippets stand here as they
were written, with `glacier` read as `glacier_prefect`; bodies that were `pass` stay so.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.cli import main
from glacier_prefect.errors import ConfigurationError, DependencyError, NotAvailableError
from glacier_prefect.loading import load_pipelines

PROVIDER = """
    from glacier_prefect.providers import AWSProvider

    provider = AWSProvider(region="us-east-1")
    data_source = provider.bucket_source(
        bucket="my-data",
        path="file.parquet"
    )
    aws_source = data_source

    # Same pipeline code, different provider!
    from glacier_prefect.providers import AzureProvider

    provider = AzureProvider(resource_group="my-rg", location="eastus")
    data_source = provider.bucket_source(
        bucket="my-data",
        path="file.parquet"
    )
    # Creates AzureBlobSource instead, but pipeline code unchanged!
"""
CONFIGURATION = """
    from glacier_prefect.providers import AWSProvider

    # Explicit configuration
    provider = AWSProvider(region="us-east-1", profile="prod")
    explicit = provider.bucket_source(bucket="my-data", path="file.parquet")

    # From environment variables (12-factor app)
    provider = AWSProvider.from_env()  # Reads AWS_REGION, AWS_PROFILE, etc.
    data_source = provider.bucket_source(bucket="my-data", path="file.parquet")
"""
DEPENDENCIES = """
    @task
    def load_data():
        pass

    @task(depends_on=[load_data])  # Pass the actual task object!
    def process():
        pass

    task1, task2, task3 = (load_data.with_options(name=f"task{number}") for number in (1, 2, 3))

    # Multiple dependencies
    @task(depends_on=[task1, task2, task3])
    def final_step():
        pass
"""
EXECUTORS = """
    @task
    def load_data():
        '''Runs locally'''
        pass

    @task(depends_on=[load_data], executor="dbt")
    def run_dbt_models():
        '''Runs on DBT'''
        pass

    @task(depends_on=[run_dbt_models], executor="databricks")
    def transform_on_databricks():
        '''Runs on Databricks'''
        pass

    @task(depends_on=[transform_on_databricks], executor="spark")
    def aggregate_on_spark():
        '''Runs on Spark cluster'''
        pass
"""
TYPING = """
    from typing import Any

    @task
    def my_func(x: str | None = None, config: dict[str, Any] = {}) -> list[int]:
        pass
"""
AZURE = """
    from glacier_prefect.providers import AzureProvider

    provider = AzureProvider(
        resource_group="my-rg",
        location="eastus",
        storage_account="mystorageacct"
    )

    source = provider.bucket_source(
        bucket="mycontainer",
        path="data.parquet"
    )
    # Creates AzureBlobSource with Azure-specific metadata
"""
GCP = """
    from glacier_prefect.providers import GCPProvider

    provider = GCPProvider(
        project_id="my-project",
        region="us-central1"
    )

    source = provider.bucket_source(
        bucket="my-gcs-bucket",
        path="data.parquet"
    )
    # Creates GCSSource with GCP-specific metadata
"""
MIGRATED = """
    from glacier_prefect.providers import AWSProvider

    provider = AWSProvider(region="us-east-1")
    data_source = provider.bucket_source(
        bucket="my-bucket",
        path="data.parquet"
    )

    @task
    def load_data():
        pass

    @task(depends_on=[load_data])  # Task object
    def process():
        pass

    # Add executor specification where needed
    @task(depends_on=[load_data], executor="databricks")
    def heavy_transform():
        pass
"""
ENVIRONMENTS = """
    from glacier_prefect.providers import AWSProvider, AzureProvider, LocalProvider

    # Dev environment
    dev_provider = LocalProvider()

    # Staging environment
    staging_provider = AWSProvider(region="us-west-2")

    # Production (multi-cloud)
    prod_provider_primary = AWSProvider(region="us-east-1")
    prod_provider_dr = AzureProvider(resource_group="dr-rg")
    providers = [dev_provider, staging_provider, prod_provider_primary, prod_provider_dr]
    sources = [each.bucket_source(bucket="my-data", path="file.parquet") for each in providers]
"""
READING = """
    @task
    def load(source):
        return source.scan()
"""
# The snippet, the rest that makes a pipeline of it, and the locations and executors that analysis finds.
SNIPPETS: dict[str, tuple[str, str, list[str], list[str]]] = {
    "provider abstraction": (
        PROVIDER + READING,
        "return load(aws_source), load(data_source)",
        ["aws", "azure"],
        ["local"],
    ),
    "provider configuration": (CONFIGURATION + READING, "return load(data_source)", ["aws"], ["local"]),
    "task objects as dependencies": (DEPENDENCIES, "process()\n    final_step()", [], ["local"]),
    "an executor for each task": (EXECUTORS, "aggregate_on_spark()", [], ["databricks", "dbt", "local", "spark"]),
    "modern typing": (TYPING, "return my_func()", [], ["local"]),
    "azure": (AZURE + READING, "return load(source)", ["azure"], ["local"]),
    "google": (GCP + READING, "return load(source)", ["gcp"], ["local"]),
    "migrated": (
        MIGRATED + READING,
        "process()\n    heavy_transform()\n    return load(data_source)",
        ["aws"],
        ["databricks", "local"],
    ),
    "a provider for each environment": (
        ENVIRONMENTS + READING,
        "return [load(source) for source in sources]",
        ["aws", "azure", "local"],
        ["local"],
    ),
}
KINDS = {"aws": "S3Source", "azure": "AzureBlobSource", "gcp": "GCSSource", "local": "LocalSource"}


def written(folder: Path, snippet: str, body: str) -> str:
    file = folder / "seed_flow.py"
    head = "from glacier_prefect import Pipeline, pipeline, task\n"
    file.write_text(f"{head}{textwrap.dedent(snippet)}\n@pipeline\ndef flow():\n    {body}\n")
    return str(file)


@pytest.mark.parametrize(("snippet", "body", "providers", "executors"), SNIPPETS.values(), ids=SNIPPETS)
def test_a_snippet_constructs_is_analysed_and_validated(
    snippet: str,
    body: str,
    providers: list[str],
    executors: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = written(tmp_path, snippet, body)
    made = load_pipelines(file)["flow"]
    main(["validate", file])
    assert "flow is valid" in capsys.readouterr().out
    main(["analyze", file, "--json"])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert sorted({location["provider"] for location in report["locations"]}) == providers
    assert [executor["name"] for executor in report["executors"]] == executors
    assert {type(each).__name__ for each in made.graph.locations} == {KINDS[provider] for provider in providers}


def test_the_snippet_with_a_string_is_the_error_that_the_document_promises() -> None:
    from glacier_prefect import task

    @task
    def load_data() -> None:
        pass

    with pytest.raises(DependencyError, match="pass the function decorated with @task, not its name"):

        @task(depends_on=["load_data"])  # String! Typo-prone, no IDE support
        def process() -> None:
            pass


def test_a_source_made_directly_still_works_with_a_warning_that_points_to_the_provider() -> None:
    from glacier_prefect.sources import S3Source

    with pytest.warns(DeprecationWarning, match=r"provider.bucket_source\(bucket=..., path=...\)") as caught:
        source = S3Source(bucket="my-data", path="file.parquet", region="us-east-1")
    assert caught[0].filename == __file__
    assert source.metadata()["region"] == "us-east-1"


def test_azure_and_google_sources_carry_their_own_metadata() -> None:
    from glacier_prefect.providers import AzureProvider, GCPProvider

    azure = AzureProvider(resource_group="my-rg", location="eastus", storage_account="mystorageacct")
    assert azure.bucket_source(bucket="mycontainer", path="data.parquet").metadata() == {
        "provider": "azure",
        "bucket": "mycontainer",
        "path": "data.parquet",
        "format": "parquet",
        "uri": "abfss://mycontainer@mystorageacct.dfs.core.windows.net/data.parquet",
        "storage_account": "mystorageacct",
        "resource_group": "my-rg",
        "location": "eastus",
    }
    google = GCPProvider(project_id="my-project", region="us-central1")
    metadata = google.bucket_source(bucket="my-gcs-bucket", path="data.parquet").metadata()
    assert (metadata["uri"], metadata["project_id"], metadata["region"]) == (
        "gs://my-gcs-bucket/data.parquet",
        "my-project",
        "us-central1",
    )


@pytest.mark.parametrize("name", ["task objects as dependencies", "modern typing"])
def test_snippets_of_this_version_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    snippet, body, *_ = SNIPPETS[name]
    main(["run", written(tmp_path, snippet, body)])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("an executor for each task", "Task 'run_dbt_models' .executor 'dbt'.: there is no dbt_project.yml in "),
        ("migrated", r"No credentials of AWS were found|pip install 'glacier-prefect\[aws\]'"),
        ("azure", r"No credentials of Azure were found|pip install 'glacier-prefect\[azure\]'"),
        ("google", r"No credentials of Google Cloud were found|pip install 'glacier-prefect\[gcp\]'"),
    ],
)
def test_what_is_not_here_says_so_when_it_is_run(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    snippet, body, *_ = SNIPPETS[name]
    file = written(tmp_path, snippet, body)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in [each for each in os.environ if each.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(variable)
    with pytest.raises((NotAvailableError, ConfigurationError), match=reason):
        load_pipelines(file)["flow"].run()
    with pytest.raises(SystemExit) as ended:
        main(["run", file])
    assert ended.value.code in (1, 2)
    assert re.search(reason, capsys.readouterr().err)
