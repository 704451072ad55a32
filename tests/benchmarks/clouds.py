"""A million rows to each cloud's store and back, against bare Polars with the same options; and 2 GB written.

The stores are emulators on this machine, so that a request costs little and a byte much; on a network it is the other
way round, and what Glacier adds is requests (the tests count them).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Line, alternate, compared, note

ROWS = 1_000_000
BIG_SIDE = 8192  # squared: 67 million rows of four columns of eight bytes, 2.1 GB
CACHE = Path(__file__).parents[2] / ".cache"
BIG = """
import resource, sys
import polars as pl
from glacier_prefect.providers import Provider

side = pl.LazyFrame({{"x": range({side})}})
rows = side.join(side.rename({{"x": "y"}}), how="cross").select(
    a=pl.col("x") * {side} + pl.col("y"), b=pl.col("x") * 48_271, c=pl.col("y") * 0.37, d=pl.col("x") ^ pl.col("y")
)
place = dict(path="big.parquet")
if {parts}:
    place, rows = dict(path="big", partition_by="k"), rows.with_columns(k=pl.col("a") % {parts})
Provider.from_env().bucket_sink("bench-bucket", **place, options={{"compression": "uncompressed"}}).write(rows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure() -> list[Line]:
    from glacier_prefect.emulators import GCS, S3, Azure
    from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider

    lines: list[Line] = []
    kinds: dict[str, Any] = {
        "S3": (S3.start(), AWSProvider),
        "Azure": (Azure.start(installed_in=CACHE), AzureProvider),
        "GCS": (GCS.start(), GCPProvider),
    }
    for name, (starting, kind) in kinds.items():
        with starting as cloud:
            os.environ.update(cloud.env)
            cloud.make_bucket("bench-bucket")
            lines += _both_ways(name, cloud, kind.from_env())
            lines += [_big(name, {**os.environ, "GLACIER_PROVIDER": kind.name}, parts) for parts in (0, 16)]
            for variable in cloud.env:
                del os.environ[variable]
    return lines


def _both_ways(name: str, cloud: Any, provider: Any) -> list[Line]:
    import polars as pl

    row = pl.int_range(ROWS)
    columns = {f"hash_{number}": row.hash(number) for number in range(8)}  # which no compression makes smaller: 64 MB
    frame = pl.select(row=row, text="row " + (row % 1000).cast(pl.String), **columns).lazy()

    bare = {"storage_options": cloud.storage_options}

    def seconds(work: Callable[[], object]) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    sink = provider.bucket_sink("bench-bucket", "ours.parquet")
    uri = cloud.uri("bench-bucket", "theirs.parquet")
    source = provider.bucket_source("bench-bucket", "ours.parquet")
    works = {
        "written": (lambda: sink.write(frame), lambda: frame.sink_parquet(uri, **bare)),
        "read": (lambda: source.scan().collect(), lambda: pl.scan_parquet(uri, **bare).collect()),
    }
    lines = []
    for what, (ours, theirs) in works.items():
        ours(), theirs()  # the first of each loads and connects
        text = f"a million rows {what}, {name}, against bare Polars"
        pair = alternate(lambda ours=ours: seconds(ours), lambda theirs=theirs: seconds(theirs), text)  # type: ignore[misc]
        lines.append(compared(text, *pair, 1.05))
    return lines


def _big(name: str, env: dict[str, str], parts: int) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        program = [sys.executable, "-c", BIG.format(side=BIG_SIDE, parts=parts)]
        done = subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        note(f"2 GB to {name}: {done.stderr[-2000:]}")
    megabytes = float(done.stdout) if done.returncode == 0 else float("nan")
    return Line(
        what=f"peak memory of a process that writes 2 GB to {name}" + (f", {parts} partitions" if parts else ""),
        figures=f"{time.perf_counter() - began:.0f} s",
        value=megabytes,
        unit=" MB",
        aim=1000,
    )
