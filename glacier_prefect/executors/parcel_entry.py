"""What runs on the remote machine: `python parcel_entry.py FOLDER [VERSION]`, FOLDER being a path or the address of a
bucket, VERSION that of the Python that pickled the job, as in "3.11".

It is sent there as one file, so it imports nothing of Glacier. It reads the job, opens its frames with Polars or Spark,
calls the function, and writes the result, or the error with its traceback, as Parquet, which each side can read and
write wherever the folder is.
"""

from __future__ import annotations

import inspect
import io
import os
import pickle
import sys
import traceback
from collections import OrderedDict
from typing import Any

FRAME = "__glacier_frame__"
JOB = "job.parquet"
RESULT = "result.parquet"


def content_of(parquet: bytes | str) -> bytes:
    """Return the bytes that `write_content` has written, given the bytes of the Parquet file or its address."""
    import polars as pl

    read = pl.read_parquet(io.BytesIO(parquet) if isinstance(parquet, bytes) else parquet)
    return bytes(read["content"][0])


def write_content(content: bytes, file: str) -> None:
    """Write bytes as a Parquet file of one row, which appears whole."""
    import polars as pl

    draft = file if "://" in file else f"{file}.part"  # what is written to a bucket appears whole by itself
    pl.DataFrame({"content": [content]}, schema={"content": pl.Binary}).write_parquet(draft)
    if draft != file:
        os.replace(draft, file)


class Job:
    """One body."""

    def __init__(self, folder: str, version: str = "") -> None:
        self.folder, self.version, self.frames = folder.rstrip("/"), version, 0
        self.session: Any = None

    def at(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.folder}/{name}"

    def spark(self) -> Any:
        """Return the Spark session."""
        if self.session is None:
            from pyspark.sql import SparkSession

            self.session = SparkSession.builder.getOrCreate()
        return self.session

    def opened(self, value: Any) -> Any:
        """Return an input with its frames opened."""
        if type(value) is dict and FRAME in value:
            if value["engine"] == "spark":
                return self.spark().read.parquet(self.at(value[FRAME]))
            import polars as pl

            scan = pl.scan_parquet(self.at(value[FRAME]), glob=False)
            return scan.collect() if value["engine"] == "eager" else scan
        if type(value) is dict:
            return {key: self.opened(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.opened(item) for item in value)
        return value

    def kept(self, value: Any) -> Any:
        """Return a result with its frames written to files."""
        polars = sys.modules.get("polars")
        if type(value) is dict:
            return {key: self.kept(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.kept(item) for item in value)
        if polars is not None and isinstance(value, (polars.LazyFrame, polars.DataFrame)):
            value.lazy().sink_parquet(self.at(name := self.named(".parquet")))
            return {FRAME: name, "engine": "lazy" if isinstance(value, polars.LazyFrame) else "eager"}
        if type(value).__module__.startswith("pyspark.") and hasattr(value, "write"):
            value.write.parquet(self.at(name := self.named("")))
            return {FRAME: name + "/", "engine": "lazy"}
        return value

    def named(self, suffix: str) -> str:
        """Return the name of the next frame of the result."""
        self.frames += 1
        return f"output-{self.frames}{suffix}"

    def run(self) -> None:
        """Run it and write what came out."""
        try:
            if self.version not in ("", here := f"{sys.version_info.major}.{sys.version_info.minor}"):
                raise RuntimeError(
                    f"The function was pickled by Python {self.version} and cannot run on Python {here}, since pickled "
                    "functions are of one version: choose another one here or there."
                )
            job = pickle.loads(content_of(self.at(JOB)))
            inputs = {name: self.opened(value) for name, value in job["inputs"].items()}
            inputs.update({name: self.spark() for name in job["spark"]})
            bound = inspect.BoundArguments(inspect.signature(job["function"]), OrderedDict(inputs))
            value = job["function"](*bound.args, **bound.kwargs)
            if inspect.iscoroutine(value):
                import asyncio

                value = asyncio.run(value)
            import cloudpickle

            made: dict[str, Any] = {"value": cloudpickle.dumps(self.kept(value))}
        except BaseException as error:
            last = "".join(traceback.format_exception_only(type(error), error)).strip()
            made = {"error": last, "trace": traceback.format_exc()}
        write_content(pickle.dumps(made), self.at(RESULT))
        if "error" in made:
            sys.exit(made["trace"])


if __name__ == "__main__":
    Job(*sys.argv[1:3]).run()
