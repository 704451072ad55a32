"""Runs a pipeline of ten tasks over LazyFrames and the same as one Polars query, in turn; prints seconds as JSON.

`frames.py FOLDER ROWS ROUNDS`. The first run of each is not counted: it loads what both need.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from glacier_prefect import pipeline, task
from glacier_prefect.providers import LocalProvider

FOLDER, ROWS, ROUNDS = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
STATIONS = 5_000

provider = LocalProvider(base_path=FOLDER)
trips_source = provider.bucket_source(bucket="raw", path="trips.parquet")
stations_source = provider.bucket_source(bucket="raw", path="stations.parquet")
summary_sink = provider.bucket_sink(bucket="out", path="summary.parquet")
trips_sink = provider.bucket_sink(bucket="out", path="trips.parquet")


def make_data() -> None:
    """Write trips, as many as asked for, and the stations that they begin at."""
    row = pl.col("trip")
    spread = (row * 2_654_435_761) % 1_000_003  # numbers in no order, the same in each run
    start = datetime(2026, 1, 1)
    trips = pl.LazyFrame({"trip": pl.int_range(ROWS, eager=True)}).select(
        row,
        station=(spread % STATIONS).cast(pl.Int32),
        bike=(spread % 40_000).cast(pl.Int32),
        started=pl.lit(start) + pl.duration(seconds=row * 3),
        minutes=pl.when(spread % 97 == 0).then(None).otherwise((spread % 1800) / 10),
        metres=(spread % 21_000).cast(pl.Float64),
        price=(spread % 2_500) / 100,
        member=spread % 3 == 0,
        kind=pl.concat_str(pl.lit("kind-"), (spread % 7).cast(pl.String)),
    )
    stations = pl.DataFrame({"station": pl.int_range(STATIONS, eager=True)}).select(
        pl.col("station").cast(pl.Int32),
        district=pl.concat_str(pl.lit("district-"), (pl.col("station") % 60).cast(pl.String)),
        opened=pl.lit(start) - pl.duration(days=pl.col("station")),
    )
    (FOLDER / "raw").mkdir()
    (FOLDER / "plain").mkdir()
    trips.sink_parquet(FOLDER / "raw" / "trips.parquet")
    stations.write_parquet(FOLDER / "raw" / "stations.parquet")


def valid(trips: pl.LazyFrame) -> pl.LazyFrame:
    return trips.drop_nulls("minutes").filter(pl.col("minutes") > 1)


def with_speed(trips: pl.LazyFrame) -> pl.LazyFrame:
    return trips.with_columns(speed=pl.col("metres") / pl.col("minutes") * 0.06)


def plausible(trips: pl.LazyFrame) -> pl.LazyFrame:
    return trips.filter(pl.col("speed") < 60)


def with_day(trips: pl.LazyFrame) -> pl.LazyFrame:
    return trips.with_columns(day=pl.col("started").dt.date(), hour=pl.col("started").dt.hour())


def with_fare(trips: pl.LazyFrame) -> pl.LazyFrame:
    discount = pl.when("member").then(0.8).otherwise(1.0)
    return trips.with_columns(fare=pl.col("price") * discount)


def in_district(trips: pl.LazyFrame, stations: pl.LazyFrame) -> pl.LazyFrame:
    return trips.join(stations.select("station", "district"), on="station")


def by_day(trips: pl.LazyFrame) -> pl.LazyFrame:
    return trips.group_by("day", "district", "kind").agg(
        trips=pl.len(), fares=pl.col("fare").sum(), speed=pl.col("speed").max(), bikes=pl.col("bike").n_unique()
    )


def in_order(summary: pl.LazyFrame) -> pl.LazyFrame:
    return summary.sort("day", "district", "kind")


@task
def load(source) -> pl.LazyFrame:
    return source.scan()


steps = {step.__name__: task(step) for step in (valid, with_speed, plausible, with_day, with_fare, by_day, in_order)}
join = task(in_district)


def joined():
    trips = load(trips_source)
    for name in ("valid", "with_speed", "plausible", "with_day", "with_fare"):
        trips = steps[name](trips)
    return join(trips, load(stations_source))


@pipeline
def summary():
    """Ten tasks (two loads, eight steps) into a small result."""
    return summary_sink.write(steps["in_order"](steps["by_day"](joined())))


@pipeline
def cleaned():
    """Eight of them into a result with most of the rows."""
    return trips_sink.write(joined())


def query() -> pl.LazyFrame:
    """Return the join as one Polars query."""
    trips = pl.scan_parquet(FOLDER / "raw" / "trips.parquet")
    for function in (valid, with_speed, plausible, with_day, with_fare):
        trips = function(trips)
    return in_district(trips, pl.scan_parquet(FOLDER / "raw" / "stations.parquet"))


def plain_summary() -> None:
    in_order(by_day(query())).sink_parquet(FOLDER / "plain" / "summary.parquet")


def plain_cleaned() -> None:
    query().sink_parquet(FOLDER / "plain" / "trips.parquet")


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main() -> None:
    make_data()
    print(json.dumps({"megabytes": (FOLDER / "raw" / "trips.parquet").stat().st_size / 1e6}), flush=True)
    for name, ours, theirs in (("summary", summary.run, plain_summary), ("cleaned", cleaned.run, plain_cleaned)):
        ours()
        theirs()
        for number in range(ROUNDS):
            sides = [("ours", ours), ("theirs", theirs)]
            found = {side: seconds(call) for side, call in (sides if number % 2 == 0 else reversed(sides))}
            print(json.dumps({"name": name, **found}), flush=True)
    result, plain = summary_sink.twin().scan().collect(), pl.read_parquet(FOLDER / "plain" / "summary.parquet")
    assert_frame_equal(result, plain)


if __name__ == "__main__":
    main()
