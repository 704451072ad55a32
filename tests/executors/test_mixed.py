"""One pipeline over all engines, in one flow run: here, dbt, Databricks, Spark, and here again."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyspark
import pytest

from tests.executors.databricks_emulator import RUNTIME, Databricks
from tests.executors.databricks_runs import VOLUME

pytestmark = pytest.mark.slow
SETTINGS = f"""
project = "mixed"

[environments.dev]
provider = "local"

[environments.dev.executors.dbt]
project_dir = "shop"
returns = ["customers_by_amount", "engine"]

[environments.dev.executors.databricks]
volume = "{VOLUME}"

[environments.dev.executors.spark]
master = "local[1]"
"""
FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
orders = provider.bucket_source(bucket="shop", path="orders.parquet")
report = provider.bucket_sink(bucket="reports", path="countries.parquet")


@task
def load_data(source) -> pl.LazyFrame:
    return source.scan()


@task(depends_on=[load_data], executor="dbt")
def run_dbt_models(orders): ...


@task(depends_on=[run_dbt_models], executor="databricks")
def transform_on_databricks(models) -> pl.LazyFrame:
    import os

    customers = models["customers_by_amount"].filter(pl.col("orders") > 0)
    there = pl.lit(os.environ["DATABRICKS_RUNTIME_VERSION"])
    return customers.join(models["engine"], how="cross").with_columns(databricks=there, net=pl.col("amount") / 2)


@task(depends_on=[transform_on_databricks], executor="spark")
def aggregate_on_spark(frame, spark):
    from pyspark.sql import functions as F

    grouped = frame.groupBy("country_name", "engine", "databricks")
    sums = grouped.agg(F.sum("net").alias("net"), F.sum("orders").alias("orders"))
    return sums.withColumn("spark", F.lit(spark.version))


@task(depends_on=[aggregate_on_spark])
def finish(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.sort("country_name")


@pipeline
def heterogeneous():
    return report.write(finish(aggregate_on_spark(transform_on_databricks(run_dbt_models(load_data(orders))))))


if __name__ == "__main__":
    heterogeneous.run()
"""
ORDERS = pl.DataFrame(
    {
        "order_id": range(1, 9),
        "customer_id": [1, 1, 2, 3, 2, 1, 3, 3],
        "cents": [100, 250, 1000, 75, 20, 330, 5000, 1],
        "ordered_at": [datetime(2026, 1, 1 + day) for day in range(8)],
    }
)


@pytest.fixture(scope="module")
def mixed(project: Any, databricks: Databricks) -> Any:
    shutil.copytree(Path(__file__).with_name("dbt_project"), project.folder / "shop")
    project.write("glacier.toml", SETTINGS)
    project.write("flow.py", FLOW)
    (project.folder / "data/shop").mkdir(parents=True)
    ORDERS.write_parquet(project.folder / "data/shop/orders.parquet")
    return project


def in_polars(folder: Path) -> pl.DataFrame:
    """Return what the pipeline computes, by Polars alone."""
    customers, countries = (pl.read_csv(folder / f"shop/seeds/{name}.csv") for name in ("customers", "countries"))
    per = ORDERS.group_by("customer_id").agg(orders=pl.len().cast(pl.Int64), cents=pl.col("cents").sum())
    joined = customers.join(per, on="customer_id").join(countries, left_on="country", right_on="code")
    grouped = joined.group_by("country_name").agg(pl.col("orders").sum(), net_cents=pl.col("cents").sum() // 2)
    return grouped.sort("country_name")


def test_each_step_runs_on_its_engine_and_the_result_is_that_of_polars(
    mixed: Any, databricks: Databricks, api: Any
) -> None:
    mixed.run("flow.py", DATABRICKS_HOST=databricks.url, DATABRICKS_TOKEN=databricks.new_token())
    found = pl.read_parquet(mixed.folder / "data/reports/countries.parquet")
    result = found.select("country_name", "orders", net_cents=(pl.col("net") * 100).cast(pl.Int64))
    assert result.equals(in_polars(mixed.folder))
    assert found.select("engine", "databricks", "spark").unique().rows() == [
        ("dbt-duckdb", RUNTIME, pyspark.__version__)
    ]
    assert len(databricks.called("jobs/runs/submit")) == 1

    (run,) = api.flow_runs("heterogeneous")
    assert run["state_type"] == "COMPLETED"
    nodes = ("load_data", "run_dbt_models", "transform_on_databricks", "aggregate_on_spark", "finish")
    runs = api.task_runs(run["id"], *nodes, "model customers_by_amount", "test amounts_are_positive")
    assert {each["state_type"] for each in runs.values()} == {"COMPLETED"}
    edges = api.edges(run["id"])
    for before, after in pairwise(nodes):
        assert edges[after] == {before}


def test_analysis_says_what_each_executor_needs_and_no_root_calls_what_is_not_there_yet(mixed: Any) -> None:
    glacier = ("-c", "from glacier_prefect.cli import main; main()")
    said = json.loads(mixed.run(*glacier, "analyze", "flow.py", "--json").stdout)
    needs = {each["name"]: each.get("modules", []) for each in said["executors"]}
    assert needs == {
        "databricks": ["databricks/exchange", "databricks/job_policy"],
        "dbt": [],
        "local": [],
        "spark": [],
    }
    mixed.run(*glacier, "generate")
    root = json.loads((mixed.folder / ".glacier/dev/terraform/main.tf.json").read_text())
    assert {call["source"].rpartition("modules/")[2] for call in root["module"].values()} <= {
        "local/bucket",
        "local/work_pool",
    }
