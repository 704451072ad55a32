"""File formats: which suffix means which, and how Polars scans and writes them.

Adding one is a line in `FORMATS`. Imports Polars only inside functions, and of Glacier only `errors`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from glacier_prefect.errors import FormatError, NotAvailableError, OptionError, nearest

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format.

    Attributes:
        name: As in `format=` and in Polars' `scan_<name>` and `sink_<name>`.
        suffixes: File suffixes that mean it, the first one is used for writing.
        typed: Whether a file carries the types of its columns.
        hive: Whether Polars reads `key=value` folders of it.
        available: False for what a later version brings.
    """

    name: str
    suffixes: tuple[str, ...]
    typed: bool = True
    hive: bool = False
    available: bool = True

    def options(self, direction: str) -> frozenset[str]:
        """Names of the options that Polars takes for this format; `direction` is "scan" or "sink"."""
        import polars as pl

        function = getattr(pl if direction == "scan" else pl.LazyFrame, f"{direction}_{self.name}")
        own = {"self", "source", "path", "schema", "hive_partitioning", "hive_schema", "lazy", "mkdir", "engine", "sync_on_close"}
        return frozenset(name for name in inspect.signature(function).parameters if not name.startswith("_")) - own

    def check(self, options: Mapping[str, Any], direction: str, where: str) -> None:
        """Raise `OptionError` for an option that Polars does not have for this format."""
        if not self.available or not options:
            return
        for name in options:
            if name not in (known := self.options(direction)):
                raise OptionError(f"{where} has the option {name!r}, which Polars' {direction}_{self.name} does not. {nearest(name, known)}")

    def require(self, where: str) -> None:
        """Raise `NotAvailableError` if this version cannot read or write the format."""
        if not self.available:
            raise NotAvailableError(f"{where}: the format {self.name!r} is not available in this version of Glacier.")

    def scan(self, files: list[Any], *, schema: Mapping[str, Any] | None, hive_schema: Mapping[str, Any] | None, **options: Any) -> pl.LazyFrame:
        """Scan files of one dataset.

        Args:
            files: Paths, or open binary files.
            schema: Types of columns that are declared; used while parsing where the files carry none.
            hive_schema: Types of the keys of `key=value` folders; empty to infer them, None if there are none.
            options: Options of Polars' scan function.
        """
        import polars as pl

        if schema and not self.typed:
            options["schema_overrides"] = {**schema, **options.get("schema_overrides", {})}
        if hive_schema is not None and self.hive:
            options |= {"hive_partitioning": True, "hive_schema": hive_schema or None}
        elif self.hive:
            options["hive_partitioning"] = False
        if "glob" in inspect.signature(getattr(pl, f"scan_{self.name}")).parameters:
            options["glob"] = False
        frame: pl.LazyFrame = getattr(pl, f"scan_{self.name}")(files, **options)
        return frame

    def sink(self, frame: pl.LazyFrame, target: Any, **options: Any) -> None:
        """Run `frame` and write it to `target`, a path or a `pl.PartitionBy`, synced to disk."""
        getattr(frame, f"sink_{self.name}")(target, mkdir=True, sync_on_close="data", **options)


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(name="parquet", suffixes=(".parquet", ".pq"), hive=True),
        Format(name="csv", suffixes=(".csv",), typed=False),
        Format(name="ndjson", suffixes=(".ndjson", ".jsonl"), typed=False),
        Format(name="ipc", suffixes=(".ipc", ".arrow", ".feather"), hive=True),
        Format(name="delta", suffixes=(".delta",), available=False),
    )
}
_COMPRESSED = {".gz", ".zst", ".zip"}


def format_of(path: str, name: str | None) -> Format:
    """Return the format of a path: the one named, else by suffix, else Parquet for a folder.

    Args:
        path: A path inside a bucket, with fields or globs.
        name: The user's `format=`, None if not given.

    Raises:
        FormatError: The name or the suffix is not known.
    """
    if name is not None:
        if name not in FORMATS:
            raise FormatError(f"Unknown format {name!r} for path {path!r}. {nearest(name, FORMATS)}")
        return FORMATS[name]
    last = PurePosixPath(path)
    suffix = last.suffix.lower()
    if suffix in _COMPRESSED:
        suffix = last.with_suffix("").suffix.lower()
    for known in FORMATS.values():
        if suffix in known.suffixes:
            return known
    if path.endswith(("/", "*", "}")) or not suffix or "=" in last.name:
        return FORMATS["parquet"]
    suffixes = [each for known in FORMATS.values() for each in known.suffixes]
    raise FormatError(f"Path {path!r} has the unknown suffix {suffix!r}. {nearest(suffix, suffixes)}\nHint: or name it with format=.")
