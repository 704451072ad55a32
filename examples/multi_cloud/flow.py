"""How punctual were the flights out of New York, wherever the data is?

    glacier test flow.py              # on all four providers: the clouds are emulators on this machine
    python load.py; python flow.py    # on this machine
    export GLACIER_ENV=aws            # the same on AWS, in buckets of your own account
    python load.py; python flow.py

Nothing below knows where it runs.
"""

import polars as pl

from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider
from glacier_prefect.sources import Source

provider = Provider.from_env()
flights = provider.bucket_source(bucket="nyc-flights", path="raw/flights.parquet")
airlines = provider.bucket_source(bucket="nyc-flights", path="raw/airlines.parquet")
by_airline = provider.bucket_sink(bucket="nyc-reports", path="punctuality", partition_by=["origin"])
by_day = provider.bucket_sink(bucket="nyc-reports", path="days.parquet", checks=[pl.col("flights") > 0])


@task
def arrivals(source: Source) -> pl.LazyFrame:
    """Leave out what was cancelled or diverted."""
    return source.scan().drop_nulls("arr_delay").with_columns(late=pl.col("arr_delay") >= 15)


@task
def airline_punctuality(flights: pl.LazyFrame, airlines: Source) -> pl.LazyFrame:
    """Measure each airline at each of the three airports."""
    measured = flights.group_by("origin", "carrier").agg(flights=pl.len(), late=pl.mean("late").round(4))
    return measured.join(airlines.scan(), on="carrier").drop("carrier").sort("origin", "name")


@task
def daily_punctuality(flights: pl.LazyFrame) -> pl.LazyFrame:
    """Measure each day."""
    days = flights.group_by("month", "day").agg(flights=pl.len(), late=pl.mean("late").round(4))
    return days.sort("month", "day")


@pipeline(name="punctuality", schedule="0 5 * * *", timezone="America/New_York")
def punctuality() -> dict[str, Source]:
    """Report how punctual flights out of New York were."""
    arrived = arrivals(flights)
    return {
        "airlines": by_airline.write(airline_punctuality(arrived, airlines)),
        "days": by_day.write(daily_punctuality(arrived)),
    }


if __name__ == "__main__":
    for name, report in punctuality.run().items():
        print(f"{name:<9}{report.scan().select(pl.len()).collect().item():>4} rows  {report.uri}")
