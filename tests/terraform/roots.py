"""The roots that tests look at: of each example, and of a shop that needs most of what there is, in each cloud."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from glacier_prefect import Pipeline, infrastructure
from glacier_prefect.environments import Project
from glacier_prefect.executors import EXECUTORS
from glacier_prefect.loading import load_project
from tests.terraform.mirror import REPOSITORY

SNAPSHOTS = Path(__file__).with_name("snapshots")
EXAMPLES = tuple(
    sorted(
        each.name
        for each in (REPOSITORY / "examples").iterdir()
        if each.is_dir() and not each.name.startswith((".", "_"))
    )
)
PLACES = {
    "local": 'provider = "local"\nbase_path = "data"',
    "aws": 'provider = "aws"\nregion = "eu-west-1"',
    "azure": 'provider = "azure"\nlocation = "westeurope"\nresource_group = "acme"',
    "gcp": 'provider = "gcp"\nproject_id = "acme-data"\nregion = "europe-west1"',
}
AZURE_TOO = 'provider = "azure"\nlocation = "northeurope"\nresource_group = "acme-dr"\nstorage_account = "acmedr"'
SPARK = {
    "aws": 'service = "emr-serverless"\narchive = "s3://acme-code/environment.tar.gz"',
    "azure": 'service = "databricks"\nvolume = "/Volumes/main/default/exchange"',
    "gcp": 'service = "dataproc-serverless"\ncontainer_image = "registry.example.com/jobs:1"',
}
STATES = {"aws": "acme-state", "azure": "acmestate/state", "gcp": "acme-state"}
INFRASTRUCTURE = """
[environments.ENV.infrastructure]
worker = "service"
image = "IMAGE"
monthly_budget = 100
billing_account = "012345-6789AB-CDEF01"
network = { public = true }
server = { api_url = "https://prefect.example.com/api", api_key_secret = "prefect-api-key" }
notify = { data = "data@example.com" }
"""
SHOP = """
import polars as pl
from glacier_prefect import Secret, pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
orders = provider.bucket_source(bucket="raw", path="orders/{run_date:%Y/%m/%d}/*.parquet")
prices = provider.bucket_source(bucket="raw", path="prices.csv")
sold = provider.bucket_sink(bucket="curated", path="sold", partition_by=["day"])
checked = provider.bucket_sink(bucket="curated", path="totals.parquet", checks=[pl.col("total") > 0])
password = Secret("DB_PASSWORD")

@task
def load(orders, prices):
    return orders.scan().join(prices.scan(), on="item").with_columns(login=pl.lit(len(password.get())))

@task(executor="spark")
def summed(frame):
    return frame.groupBy("day").agg({"price": "sum"}).withColumnRenamed("sum(price)", "total")

@pipeline(name="daily", schedule="0 6 * * *")
def daily():
    rows = load(orders, prices)
    sold.write(rows)
    checked.write(summed(rows))

@task
def copied(source):
    return source.scan()

@pipeline(name="copy")
def copy():
    COPY.write(copied(checked.twin()))
"""
HERE = 'provider.bucket_sink(bucket="copies", path="totals.parquet")'
ELSEWHERE = 'Provider.from_env("dr").bucket_sink(bucket="copies", path="totals.parquet")'


def toml(name: str, environment: str, more: str = "") -> str:
    """Return the settings of a project in an environment, as in "aws+azure"."""
    own, _, further = environment.partition("+")
    written = f'project = "{name}"\n\n[environments.prod]\n{PLACES[own]}\n'
    if further:
        written += f"\n[environments.prod.providers.dr]\n{AZURE_TOO}\n"
    return written.replace("[environments.prod]\n", f"[environments.prod]\n{more}", 1) if more else written


def example(name: str, environment: str, folder: Path) -> Path:
    """Copy an example, with the settings of an environment."""
    made = shutil.copytree(REPOSITORY / "examples" / name, folder, ignore=shutil.ignore_patterns("data", ".glacier"))
    own = made / "glacier.toml"
    files = tomllib.loads(own.read_text()).get("pipelines", ["flow.py"]) if own.exists() else ["flow.py"]
    own.write_text(f"pipelines = {json.dumps(files)}\n{toml(name.replace('_', '-'), environment)}")
    return made


def shop(environment: str, folder: Path, *, hardened: bool = False) -> Path:
    """Write the shop, whose root has each module that pipelines need."""
    folder.mkdir(parents=True)
    own = environment.partition("+")[0]
    more = f'state = "{STATES[own]}"\n' if own in STATES else ""
    image = "registry.example.com/shop:1"
    infra = INFRASTRUCTURE.replace("ENV", "prod").replace("IMAGE", image) if own != "local" else ""
    if hardened:
        infra = infra.replace('worker = "service"', 'worker = "service"\nhardened = true')
    infra += f"\n[environments.prod.executors.spark]\n{SPARK[own]}\n" if own in SPARK else ""
    secrets = '\n[environments.prod.secrets]\nDB_PASSWORD = "shop-db-password"\n'
    (folder / "glacier.toml").write_text(toml("shop", environment, more) + infra + secrets)
    (folder / "flow.py").write_text(SHOP.replace("COPY", ELSEWHERE if "+" in environment else HERE))
    return folder


@contextlib.contextmanager
def entered(folder: Path) -> Iterator[tuple[Project, list[Pipeline]]]:
    """Be in the environment "prod" of a project meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "GLACIER_"))]:
            patch.delenv(name)
        patch.setenv("GLACIER_ENV", "prod")
        patch.chdir(folder)
        for known in (EXECUTORS.table, sys.modules):  # an example registers its executor each time
            patch.delitem(known, "detached", raising=False)
        yield load_project([str(folder / "flow.py")] if (folder / "flow.py").exists() else (), start=folder)


def text_of(folder: Path) -> str:
    """Return the text of a project's root."""
    with entered(folder) as (project, pipelines):
        return infrastructure.rendered(infrastructure.root(pipelines, project)[1])


def generated(folder: Path) -> Path:
    """Generate the root of a project and return its folder."""
    with entered(folder) as (project, pipelines):
        return infrastructure.generate(pipelines, project).folder
