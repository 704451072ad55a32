"""Without the extra of a cloud: its first use says which to install, and everything else goes on working."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_without_the_extra_the_first_use_says_which_to_install_and_all_else_works(tmp_path: Path) -> None:
    script = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("boto3", "botocore", "azure", "google", "obstore", "prefect_aws", "prefect_azure",
                                  "prefect_gcp"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.errors import NotAvailableError
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider, LocalProvider

for provider in (AWSProvider(region="r"), AzureProvider(storage_account="acct"), GCPProvider(project_id="p")):
    source, sink = provider.bucket_source("b", "x.parquet"), provider.bucket_sink("b", "y.parquet")
    source.metadata(), repr(sink.twin())
    write = lambda: sink.write(pl.DataFrame({"a": [1]}))
    for use in (source.scan, source.exists, write, provider.credentials.used):
        try:
            use()
        except NotAvailableError as error:
            assert f"pip install 'glacier-prefect[{provider.name}]'" in str(error), error
        else:
            raise SystemExit(f"{provider.name}: {use} worked")

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
