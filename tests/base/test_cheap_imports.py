"""Importing Glacier, declaring and analysing a pipeline, and the command line's help load neither Prefect nor a cloud
SDK.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = [
    *["prefect", "fastapi", "boto3", "botocore", "azure", "google", "obstore", "dbt", "databricks", "pyspark"],
    *["airflow_client", "dask", "distributed", "ray", "deltalake", "pyarrow", "pandas", "pytest"],
]
ADDED = f"""
import sys
heavy = sorted({{name.partition(".")[0] for name in sys.modules}} & set({HEAVY!r}))
print("LOADED", *heavy, file=sys.stderr)
"""
FLOW = """
import polars as pl
from glacier_prefect import pipeline, task, Pipeline, unmapped, LocalExecutor
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider, LocalProvider, Provider

provider = Provider.from_env()
sources = [
    each.bucket_source(bucket="data", path="{run_date:%Y}/a.parquet")
    for each in (AWSProvider(), AzureProvider(), GCPProvider(), LocalProvider(), provider)
]
out = provider.bucket_sink(bucket="out", path="a.parquet", checks=[pl.col("a") > 0], schema={"a": pl.Int64})

@task(retries=1, cache=True)
def load(source) -> pl.LazyFrame:
    return source.scan()

@task(executor="dbt")
def models(frames): ...

@task(depends_on=[models], executor=LocalExecutor(processes=1), timeout_seconds=5)
def last(frame): ...

@pipeline(schedule="0 6 * * *", timezone="Europe/Paris", retries=1)
def daily(limit: int = 5):
    return out.write(last(models(load.map(sources))))

@task
def first(): ...

declared = Pipeline("declared", tasks=[models.with_options(depends_on=[first])])
"""


@pytest.fixture
def flow(tmp_path: Path) -> str:
    (tmp_path / "flow.py").write_text(FLOW)
    return str(tmp_path / "flow.py")


def loaded(code: str, folder: Path) -> list[str]:
    """Return which heavy packages a fresh process has loaded at the end of `code`."""
    guarded = f"try:\n    {code}\nexcept SystemExit as error:\n    assert not error.code, error.code\n{ADDED}"
    done = subprocess.run([sys.executable, "-c", guarded], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stderr.rpartition("LOADED")[2].split()


@pytest.mark.parametrize(
    "code",
    [
        "import glacier_prefect",
        "import glacier_prefect.providers, glacier_prefect.sources, glacier_prefect.executors, glacier_prefect.report",
        "import glacier_prefect.cli, glacier_prefect.loading, glacier_prefect.pipeline, glacier_prefect.analysis",
        "import flow",
        "import flow; flow.daily.analyze(); flow.declared.analyze()",
    ],
)
def test_importing_declaring_and_analysing_load_nothing_heavy(code: str, flow: str) -> None:
    assert loaded(code, Path(flow).parent) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["validate", "flow.py"],
        ["validate", "--json", "flow.py"],
        *(["analyze", "flow.py:daily", "--format", kind] for kind in ("text", "json", "mermaid", "html")),
    ],
    ids=" ".join,
)
def test_commands_that_run_nothing_load_nothing_heavy(words: list[str], flow: str) -> None:
    assert loaded(f"from glacier_prefect.cli import main; main({words!r})", Path(flow).parent) == []


def test_importing_glacier_loads_neither_polars_nor_asyncio() -> None:
    code = "import glacier_prefect, glacier_prefect.executors, sys; print({'polars', 'asyncio'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
