"""Who is late out of New York, and what does bad weather have to do with it?

All flights that left New York's three airports in 2013, with the weather at their hour, the planes, the airlines and
the destinations, become two reports:

* `airlines`: how late each airline was, month by month (a folder of Parquet with one part for each month)
* `routes`: how much longer each route is delayed when the weather is bad (one Parquet file)

    python prepare.py     # once: puts the tables into ./data
    python flow.py
"""

import polars as pl

from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider
from glacier_prefect.sources import Source

# Where data lives is said in glacier.toml and nowhere else: in another environment, all that follows stays as it is.
provider = Provider.from_env()

raw = {
    name: provider.bucket_source(bucket="nyc-flights", path=f"raw/{name}.parquet")
    for name in ("flights", "weather", "planes", "airlines", "airports")
}
airline_report = provider.bucket_sink(bucket="nyc-reports", path="airlines", partition_by=["month"])
route_report = provider.bucket_sink(bucket="nyc-reports", path="routes.parquet", checks=[pl.col("flights") > 0])


@task(materialize=False)  # opening five files computes nothing, so there is nothing to keep
def load_tables(sources: dict[str, Source]) -> dict[str, pl.LazyFrame]:
    """Open the five tables; nothing is read until a task asks for rows."""
    return {name: source.scan() for name, source in sources.items()}


@task
def completed_flights(flights: pl.LazyFrame) -> pl.LazyFrame:
    """Leave out what was cancelled or diverted; late is 15 minutes or more after schedule, as officials count."""
    late = pl.col("arr_delay") >= 15
    arrived = flights.drop_nulls("arr_delay")
    return arrived.select("month", "time_hour", "origin", "dest", "carrier", "tailnum", delay="arr_delay", late=late)


@task
def add_plane_age(flights: pl.LazyFrame, planes: pl.LazyFrame) -> pl.LazyFrame:
    """Look up how old the plane was; one flight in six has a plane that nobody knows."""
    ages = planes.select("tailnum", plane_age=2013 - pl.col("year"))
    return flights.join(ages, on="tailnum", how="left")


@task(retries=2, retry_delay_seconds=1)  # all the flights are read here, so this is where a disk or network may hiccup
def add_weather(flights: pl.LazyFrame, weather: pl.LazyFrame) -> pl.LazyFrame:
    """Look up the weather at the airport and hour of departure; hours without a reading are neither good nor bad."""
    wet, foggy = pl.col("precip") > 0, pl.col("visib") < 3
    stormy = pl.col("wind_speed").is_between(25, 200)  # one reading says 1,048 miles an hour
    readings = weather.select("origin", "time_hour", bad_weather=wet | foggy | stormy)
    return flights.join(readings, on=["origin", "time_hour"], how="left")


@task(checks=[pl.col("late_share").is_between(0, 1)])
def delays_by_airline(flights: pl.LazyFrame, min_flights: int) -> pl.LazyFrame:
    """Measure each airline in each month."""
    delays = flights.group_by("month", "carrier").agg(
        flights=pl.len(),
        late_share=pl.mean("late").round(3),
        mean_delay=pl.mean("delay").round(1),
        mean_plane_age=pl.mean("plane_age").round(1),
    )
    return delays.filter(pl.col("flights") >= min_flights)


@task
def name_airlines(delays: pl.LazyFrame, airlines: pl.LazyFrame) -> pl.LazyFrame:
    """Write the airlines out in full."""
    named = delays.join(airlines.select("carrier", airline="name"), on="carrier", how="left").drop("carrier")
    return named.select("month", "airline", pl.exclude("month", "airline")).sort("month", "airline")


@task
def delays_by_route(flights: pl.LazyFrame, min_flights: int) -> pl.LazyFrame:
    """Compare each route in good and in bad weather, if it has enough flights in bad weather to tell."""
    good = pl.col("delay").filter(~pl.col("bad_weather"))
    bad = pl.col("delay").filter("bad_weather")
    delays = flights.group_by("origin", "dest").agg(
        flights=pl.len(),
        in_bad_weather=bad.len(),
        delay_good=good.mean().round(1),
        delay_bad=bad.mean().round(1),
    )
    return delays.filter(pl.col("in_bad_weather") >= min_flights)


@task
def name_destinations(delays: pl.LazyFrame, airports: pl.LazyFrame) -> pl.LazyFrame:
    """Write the destinations out in full, or as their code where the table has no name, as for Puerto Rico."""
    named = delays.join(airports.select(dest="faa", destination="name"), on="dest", how="left")
    return named.with_columns(pl.coalesce("destination", "dest"))


@task
def rank_routes(delays: pl.LazyFrame) -> pl.LazyFrame:
    """Put the routes first that lose most in bad weather."""
    lost = (pl.col("delay_bad") - pl.col("delay_good")).round(1)
    ranked = delays.with_columns(minutes_lost=lost).sort(-pl.col("minutes_lost"), "origin", "dest")
    return ranked.select("origin", "destination", pl.exclude("origin", "destination", "dest"))


@pipeline(name="flight-delays", schedule="0 6 * * *", timezone="America/New_York")
def flight_delays(min_flights: int = 100) -> dict[str, Source]:
    """Report the delays out of New York.

    Args:
        min_flights: Airlines with fewer flights in a month, and routes with fewer in bad weather, are left out.
    """
    tables = load_tables(raw)
    flights = completed_flights(tables["flights"])
    flights = add_plane_age(flights, tables["planes"])
    flights = add_weather(flights, tables["weather"])  # both branches start here; it is computed once

    airlines = name_airlines(delays_by_airline(flights, min_flights), tables["airlines"])
    routes = rank_routes(name_destinations(delays_by_route(flights, min_flights), tables["airports"]))

    return {"airlines": airline_report.write(airlines), "routes": route_report.write(routes)}


if __name__ == "__main__":
    reports = flight_delays.run()

    print("\nMean delay in minutes out of New York, in good and in bad weather: the ten routes that lose most\n")
    with pl.Config(tbl_rows=10, tbl_width_chars=120, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(reports["routes"].scan().head(10).collect())
    for name, report in reports.items():
        print(f"{name:<9}{report.uri}")
