"""File formats: which suffix means which, and how Polars scans and writes them.

Adding one is a line in `FORMATS`. Files are paths of the disk or URIs of a store. Imports Polars only inside functions,
and of Glacier only `errors`.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from glacier_prefect.errors import FormatError, NotAvailableError, OptionError, TravelError, nearest

if TYPE_CHECKING:
    import polars as pl


_OURS = frozenset(
    {"self", "source", "path", "schema", "hive_partitioning", "hive_schema", "glob", "lazy", "mkdir", "engine"}
    | {"sync_on_close", "storage_options", "credential_provider"}
)
"""Options that Glacier sets itself, or that hold credentials, which belong to the provider."""
_SUFFIX_OF = {"gzip": ".gz", "zstd": ".zst"}
_COMPRESSION_OF = {suffix: name for name, suffix in _SUFFIX_OF.items()}


@dataclass(frozen=True, kw_only=True)
class Format:
    """One file format.

    Attributes:
        name: As in `format=` and in Polars' `scan_<name>` and `sink_<name>`.
        suffixes: File suffixes that mean it, the first one is used for writing.
        typed: Whether a file carries the types of its columns; if not, it may be compressed as a whole (`.csv.gz`).
        lacks: Names of the Polars types that it cannot hold.
    """

    name: str
    suffixes: tuple[str, ...]
    typed: bool = True
    lacks: frozenset[str] = frozenset()

    def options(self, direction: str) -> frozenset[str]:
        """Names of the options that Polars takes for this format; `direction` is "scan" or "sink"."""
        import polars as pl

        if self.name == "delta":
            return frozenset({"version"} if direction == "scan" else ())
        function = getattr(pl if direction == "scan" else pl.LazyFrame, f"{direction}_{self.name}")
        return frozenset(name for name in inspect.signature(function).parameters if not name.startswith("_")) - _OURS

    def check(self, options: Mapping[str, Any], direction: str, where: str) -> None:
        """Raise `OptionError` for an option that Polars does not have for this format."""
        for name in options:
            if name not in (known := self.options(direction)):
                raise OptionError(
                    f"{where} has the option {name!r}, which Polars' {direction}_{self.name} does not have or Glacier "
                    f"sets itself. {nearest(name, known)}"
                )

    def require(self, where: str) -> None:
        """Raise `NotAvailableError` if the format needs a package that is not installed."""
        if self.name == "delta" and importlib.util.find_spec("deltalake") is None:
            raise NotAvailableError(
                f"{where}: deltalake is not installed, which Glacier needs for the format 'delta'.\n"
                "Hint: pip install 'glacier-prefect[delta]'"
            )

    def check_types(self, schema: Mapping[str, pl.DataType], where: str) -> None:
        """Raise `TravelError` if a column has a type that cannot be written to this format, or not be read back."""
        for name, dtype in schema.items():
            if wrong := self.lacks & set(_types_in(dtype)):
                raise TravelError(
                    f"Column {name!r} of {where} has the type {dtype}, and a {self.name} file cannot hold "
                    f"{', '.join(sorted(wrong))}.\nHint: cast it, or use format='parquet'."
                )

    def matches(self, name: str) -> bool:
        """Whether a file of this name has this format."""
        name = name.lower()
        if not self.typed:
            name = name.removesuffix(".gz").removesuffix(".zst")
        return name.endswith(self.suffixes)

    def suffix(self, options: Mapping[str, Any]) -> str:
        """Suffix of a file that is written with these options."""
        return self.suffixes[0] + ("" if self.typed else _SUFFIX_OF.get(str(options.get("compression")), ""))

    def scan(
        self,
        files: Sequence[Path] | Sequence[str] | Path,
        *,
        types: Mapping[str, Any] | None = None,
        whole: bool = False,
        hive: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> pl.LazyFrame:
        """Scan files of one dataset.

        Args:
            files: The files; with `hive` the folder that holds them in `key=value` folders.
            types: Types of columns; used while parsing where the files carry none.
            whole: Whether `types` has all columns, so that nothing needs to be inferred.
            hive: Types of the keys of `key=value` folders.
            options: Options of Polars' scan function.
            sizes: The bytes of each file; asked of the disk if None.
        """
        import polars as pl

        options = dict(options or {})
        if self.name == "ndjson":
            listed = [*files] if isinstance(files, Sequence) else [files]
            sizes = [Path(file).stat().st_size for file in listed] if sizes is None else sizes
            return _scan_ndjson(list(zip(map(str, listed), sizes, strict=True)), types or {}, whole, options)
        options["glob"] = False
        if self.typed:
            options |= {"hive_partitioning": hive is not None, "hive_schema": hive}
        elif whole:
            options["schema"] = types
        elif types:
            options["schema_overrides"] = {**types, **options.get("schema_overrides", {})}
        frame: pl.LazyFrame = getattr(pl, f"scan_{self.name}")(files, **options)
        return frame

    def sink(self, frame: pl.LazyFrame, target: Any, **options: Any) -> None:
        """Run `frame` and write it to `target`: a path, URI, `pl.PartitionBy` or open file; on a disk it is synced."""
        if "storage_options" not in options and not hasattr(target, "write"):
            # The folder of a file is there; to make it would bring it back after a query that failed was cleaned up.
            options |= {"mkdir": not isinstance(target, Path), "sync_on_close": "data"}
        getattr(frame, f"sink_{self.name}")(target, **options)

    def sink_options(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return `options` of a sink with what the name of its file says of them: its compression."""
        if self.typed or (compression := compression_of(name)) is None:
            return dict(options)
        return {"compression": compression, **options}


def _scan_ndjson(
    files: list[tuple[str, int]], types: Mapping[str, Any], whole: bool, options: dict[str, Any]
) -> pl.LazyFrame:
    """Scan NDJSON, around what Polars' reader cannot do: files without rows, and most types as types to parse to."""
    import polars as pl

    there_is = {name: options[name] for name in ("storage_options", "credential_provider") if name in options}
    paths = [_escaped(file) for file, size in files if _has_rows(file, size, there_is)]  # there is no glob=False
    if not paths:
        return pl.LazyFrame(schema=types)
    types = {**types, **options.pop("schema_overrides", {})}
    parsed = {name: dtype for name, dtype in types.items() if _parses(dtype)}
    if whole:
        options["schema"] = {name: _json_type(dtype) for name, dtype in types.items()}
    elif parsed:
        there = pl.scan_ndjson(paths, **options).collect_schema()
        options["schema_overrides"] = {name: _json_type(dtype) for name, dtype in parsed.items() if name in there}
    frame = pl.scan_ndjson(paths, **options)
    casts = {name: dtype for name, dtype in types.items() if not _parses(dtype) or _json_type(dtype) != dtype}
    if not casts:
        return frame
    there = frame.collect_schema()
    return frame.cast({name: dtype for name, dtype in casts.items() if name in there})


def _has_rows(file: str, size: int, options: Mapping[str, Any]) -> bool:
    import polars as pl

    if size == 0 or size > 64 or compression_of(file) is None:  # the frame of a compressed file has a few bytes
        return size > 0
    return pl.scan_ndjson(_escaped(file), schema={"": pl.String()}, **options).head(1).collect().height > 0


def _escaped(file: str) -> str:
    """Return a path or URI as a glob that only it matches, as Polars reads globs on a disk and on a store."""
    if "://" in file:  # a regular expression is made of it, letter by letter
        return re.sub(r"[\[*?]", lambda found: f"[\\x{ord(found[0]):02X}]", file)
    return re.sub(r"[\[*?]", r"[\g<0>]", file)


def _parses(dtype: pl.DataType) -> bool:
    return not {"Time", "Duration", "Binary", "Object", "Unknown"} & set(_types_in(dtype))


def _json_type(dtype: pl.DataType) -> pl.DataType:
    """Return the type that Polars' NDJSON reader parses to where it cannot parse to `dtype` itself."""
    import polars as pl

    if isinstance(dtype, pl.List | pl.Array):
        return pl.List(_json_type(dtype.inner))  # type: ignore[arg-type]  # a field's type is never a class here
    if isinstance(dtype, pl.Struct):
        return pl.Struct({each.name: _json_type(each.dtype) for each in dtype.fields})  # type: ignore[arg-type]
    if isinstance(dtype, pl.Decimal):
        return pl.String()
    if dtype.is_integer() and dtype not in (pl.UInt64, pl.Int128, pl.UInt128):
        return pl.Int64()
    return pl.Float32() if dtype == pl.Float16 else dtype


def _types_in(dtype: Any) -> Iterator[str]:
    """Yield the names of a type and of all types inside it."""
    yield dtype.base_type().__name__
    if (inner := getattr(dtype, "inner", None)) is not None:
        yield from _types_in(inner)
    for each in getattr(dtype, "fields", ()):
        yield from _types_in(each.dtype)


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(name="parquet", suffixes=(".parquet", ".pq")),
        Format(
            name="csv",
            suffixes=(".csv",),
            typed=False,
            lacks=frozenset({"Array", "Binary", "Duration", "List", "Null", "Struct"}),
        ),
        Format(
            name="ndjson",
            suffixes=(".ndjson", ".jsonl"),
            typed=False,
            lacks=frozenset({"Binary", "Duration", "Time"}),
        ),
        Format(name="ipc", suffixes=(".ipc", ".arrow", ".feather")),
        Format(
            name="delta",
            suffixes=(".delta",),
            lacks=frozenset({"Array", "Duration", "Float16", "Int128", "Null", "Time", "UInt128", "UInt64"}),
        ),
    )
}


def compression_of(path: str) -> str | None:
    """Return the compression that a file's last suffix means, None if it means none."""
    return _COMPRESSION_OF.get(PurePosixPath(path).suffix.lower())


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
    inner = last.with_suffix("").suffix.lower() if suffix in _COMPRESSION_OF else suffix
    for known in FORMATS.values():
        if inner in known.suffixes:
            if inner != suffix and known.typed:
                raise FormatError(
                    f"Path {path!r}: a {known.name} file is compressed inside and has no suffix {suffix!r}.\n"
                    "Hint: leave it out; a sink takes options={'compression': ...}."
                )
            return known
    if path.endswith(("/", "*", "}")) or not suffix or "=" in last.name:
        return FORMATS["parquet"]
    suffixes = [each for known in FORMATS.values() for each in known.suffixes]
    raise FormatError(
        f"Path {path!r} has the unknown suffix {suffix!r}. {nearest(suffix, suffixes)}\nHint: or name it with format=."
    )
