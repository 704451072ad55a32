"""What did each customer pay on a day? `python flows/revenue.py` runs it here; a push to main deploys it."""

import polars as pl

from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider
from glacier_prefect.sources import Source

provider = Provider.from_env()
orders = provider.bucket_source(bucket="orders", path="{run_date:%Y-%m-%d}.csv")
revenue = provider.bucket_sink(
    bucket="reports", path="revenue/{run_date:%Y-%m-%d}.parquet", checks=[pl.col("revenue") >= 0]
)


@task
def paid(source: Source) -> pl.LazyFrame:
    """Leave out what was given back."""
    return source.scan().filter(pl.col("amount") > 0)


@task(retries=2)
def by_customer(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Sum up what each customer paid."""
    return frame.group_by("customer").agg(revenue=pl.col("amount").sum()).sort("customer")


@pipeline(schedule="0 6 * * *", timezone="Europe/Berlin")
def daily_revenue():
    """Revenue of each customer on a day."""
    return revenue.write(by_customer(paid(orders)))


if __name__ == "__main__":
    print(daily_revenue.run().scan().collect())
