"""Without the extra of a cloud: its first use says which to install, and everything else goes on working."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path


def test_without_the_extra_the_first_use_says_which_to_install_and_all_else_works(tmp_path: Path) -> None:
    script = """
import sys

for name in ("boto3", "botocore", "azure", "google", "obstore", "prefect_aws", "prefect_azure", "prefect_gcp",
             "prefect_kubernetes"):
    sys.modules[name] = None
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.errors import NotAvailableError
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider, LocalProvider

def refused(extra, use):
    try:
        use()
    except NotAvailableError as error:
        assert f"pip install 'glacier-prefect[{extra}]'" in str(error), error
    else:
        raise SystemExit(f"{extra}: {use} worked")

azure = AzureProvider(storage_account="acct", key_vault="acme")
for provider in (AWSProvider(region="r"), azure, GCPProvider(project_id="p")):
    source, sink = provider.bucket_source("b", "x.parquet"), provider.bucket_sink("b", "y.parquet")
    source.metadata(), repr(sink.twin())
    write = lambda: sink.write(pl.DataFrame({"a": [1]}))
    block, pool, push = provider.storage_block, provider.work_pool().template, provider.work_pools[1]
    for use in (source.scan, source.exists, write, provider.credentials.used, provider.make_credentials_block, pool,
                lambda: block("b"), lambda: provider.secret("db"), provider.work_pool(push).template,
                provider.work_pool().check, provider.storage("b").kind.check):
        refused(provider.name, use)
    refused("kubernetes", provider.work_pool("kubernetes").template)
    refused("kubernetes", provider.work_pool("kubernetes").check)

@task
def load():
    return pl.LazyFrame({"a": [1]})

out = LocalProvider(base_path="data").bucket_sink("b", "x.parquet")

@pipeline
def works():
    return out.write(load())

works.run()
print(out.twin().scan().collect().height)
"""
    env = {**os.environ, "PREFECT_HOME": str(tmp_path / "home"), "PREFECT_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stdout + done.stderr


def test_what_the_base_tests_are_installed_with_has_no_extra_in_it() -> None:
    """`make bare` runs them in such an environment."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    asked = [line for name in ("test", "demo") for line in groups[name] if isinstance(line, str)]
    brought = [line for name, lines in extras.items() if name != "testing" for line in lines]  # that is pytest

    def names(lines: list[str]) -> set[str]:
        return {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in lines}

    assert names(asked) & names(brought) == set()
    assert [line for line in groups["test"] if not isinstance(line, str)] == [{"include-group": "demo"}]
