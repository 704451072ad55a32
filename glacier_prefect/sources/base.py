"""Sources and sinks: one location, one format; what is the same on every store.

A subclass for a store says how its data is opened and published. Nothing here imports a cloud SDK or Prefect, and
constructing a source or sink makes no call.
"""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

from glacier_prefect import run_context, tracing
from glacier_prefect.environments import PREVIEWS, preview_name
from glacier_prefect.errors import (
    ConfigurationError,
    NotAvailableError,
    OptionError,
    PathError,
    PreviewError,
    nearest,
)
from glacier_prefect.sources import delta
from glacier_prefect.sources.checks import check_rows, check_schema, check_storable, declared_checks, declared_schema
from glacier_prefect.sources.formats import Format, format_of
from glacier_prefect.sources.paths import RUN_DATE, PathTemplate, escaped

if TYPE_CHECKING:
    import polars as pl

Mode = Literal["overwrite", "error", "append"]
MODES: tuple[Mode, ...] = ("overwrite", "error", "append")
S = TypeVar("S", bound="Source")


@dataclass(frozen=True, kw_only=True, eq=False)
class Location(ABC):
    """A place in a bucket and the format of the data there.

    Attributes:
        bucket: Name of the bucket or container as written in code.
        path: Path inside it, with `{field}`s that are filled when a node runs.
        format: parquet, csv, ndjson, ipc or delta; by suffix if None.
        schema: Columns that have to be there and their types; other columns may be there too.
        checks: Polars expressions that have to be true for each row.
        options: Options of Polars' `scan_<format>` (a source) or `sink_<format>` (a sink).
        bucket_prefix: What stands before `bucket` in the store, by the environment.
        managed: Set by providers; a location made without a provider warns.
        within: Folder of the bucket that stands for the bucket: what a preview writes is in one.
        overlay: Folder of the bucket whose objects hide those of the same path outside it: what a preview has written,
            before what its environment has.
    """

    provider_name: ClassVar[str]
    has_previews: ClassVar[bool] = False
    """Whether it reads and writes by `within` and `overlay`."""

    bucket: str
    path: str
    format: str | None = None
    schema: Mapping[str, Any] | None = None
    checks: tuple[pl.Expr, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    bucket_prefix: str = ""
    managed: bool = field(default=False, repr=False)
    within: str = field(default="", repr=False)
    overlay: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.bucket, str) or not re.fullmatch(r"[^./\\\0][^/\\\0]*", self.bucket):
            raise PathError(
                f"Bucket {self.bucket!r} is not a name; it is one word without '/' and does not begin with '.', "
                "as in bucket='my-data'."
            )
        if not isinstance(self.path, str):
            raise PathError(
                f"Path {self.path!r} is {type(self.path).__name__}; expected a str, as in path='orders/*.parquet'."
            )
        if not re.fullmatch(r"(?:[^./\\\0][^/\\\0]*)?", self.bucket_prefix):
            raise PathError(
                f"bucket_prefix {self.bucket_prefix!r} cannot begin the name of a bucket; it has no '/' and does not "
                "begin with '.', as in bucket_prefix='acme-prod-'."
            )
        self._check()
        self.file_format.check(self.options, "scan" if isinstance(self, Source) else "sink", str(self))
        object.__setattr__(self, "schema", declared_schema(self.schema, str(self)))
        object.__setattr__(self, "checks", declared_checks(self.checks, str(self)))
        if not self.managed:
            kind = "source" if isinstance(self, Source) else "sink"
            warnings.warn(
                f"{type(self).__name__}(...) made directly ties the pipeline to one store; "
                f"use provider.bucket_{kind}(bucket=..., path=...) instead.",
                DeprecationWarning,
                stacklevel=3,  # who calls the constructor that dataclass made
            )

    def _check(self) -> None:
        """Raise an error if the path or a setting of the location is wrong; part of making it."""
        self.template.fields  # noqa: B018  reading it parses the path
        if self.is_delta:
            delta.check_path(self.path, str(self))

    def __str__(self) -> str:
        return f"{'source' if isinstance(self, Source) else 'sink'} {self.bucket}/{self.path}"

    @cached_property
    def template(self) -> PathTemplate:
        """The path, parsed."""
        return PathTemplate(self.path)

    @cached_property
    def file_format(self) -> Format:
        """The format, by name or suffix."""
        return format_of(self.path, self.format)

    @property
    def is_delta(self) -> bool:
        """Whether the data is a delta table, which is written and read in its own way on every store."""
        return self.file_format.name == "delta"

    @property
    def _polars(self) -> dict[str, Any]:
        """Options by which Polars reaches the store."""
        return {}

    def _table(self, path: str, within: str) -> delta.Table:
        """Return the place of the delta table at the filled `path` in a folder of the bucket; "" is the bucket."""
        where = f"{self} ({self.provider_name}, bucket {self.full_bucket!r})"
        return delta.Table(root=_below(self.root, within), path=path, where=where, reach=self._polars)

    @property
    def prefix(self) -> str:
        """What the names of all its objects begin with: what analysis shows and grants cover.

        It ends in "/" where a folder is listed. A path that may be a folder is taken for one if it has no suffix of its
        format.
        """
        template = self.template
        if template.is_exact:
            is_folder = (
                self.is_delta or bool(getattr(self, "partition_by", ())) or not self.file_format.matches(self.path)
            )
            return template.prefix.rstrip("/") + "/" * is_folder
        folder = f"{template.prefix}.".rpartition("/")[0]
        return f"{folder}/".lstrip("/") if template.is_listed else template.prefix

    @property
    def lists_bucket(self) -> bool:
        """Whether it works only with the right to list all names of the bucket."""
        return False

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the names of all objects begin with that are touched in reading or writing it."""
        return (self.prefix,)

    @property
    def full_bucket(self) -> str:
        """Name of the bucket in the store."""
        return self.bucket_prefix + self.bucket

    @property
    @abstractmethod
    def root(self) -> str:
        """URI of the bucket, without a trailing slash."""

    @property
    def home(self) -> str:
        """URI of what its path is relative to: of the bucket, or of the folder that stands for it."""
        return _below(self.root, self.within)

    @property
    def uri(self) -> str:
        """URI of the location; inside a node its fields are filled, elsewhere they stand as written."""
        try:
            path = self.filled_path()
        except PathError:
            path = self.path
        return f"{self.home}/{path}"

    def own(self) -> Self:
        """Return where a run may write: this location, in a preview that of the same path in its folder."""
        return replace(self, within=self.overlay, overlay="", managed=True) if self.overlay else self

    def discard(self) -> int:
        """Remove all that a preview wrote to the bucket, and return how many objects these were."""
        if not self.within.startswith(PREVIEWS):
            raise ValueError(f"{self} is of no preview, so nothing of it is removed.")
        return self._discard()

    def _discard(self) -> int:
        """Remove all that is in the folder `within`."""
        raise NotAvailableError(f"{self}: {type(self).__name__} has no previews.")

    def metadata(self) -> dict[str, Any]:
        """Return what is known without a call: provider, bucket, path, format, URI, and the store's own settings."""
        try:
            uri: str | None = self.uri
        except ConfigurationError:  # a setting of the store is not known yet
            uri = None
        own = {each.name for each in fields(Location)}
        extra = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in own}
        return {
            "provider": self.provider_name,
            "bucket": self.bucket,
            "path": self.path,
            "format": self.file_format.name,
            "uri": uri,
            **{name: value for name, value in extra.items() if isinstance(value, str | int | tuple)},
        }

    def filled_path(self) -> str:
        """Return the path with its fields filled from the run that is going on; `PathError` where there is none."""
        context = run_context.current()
        values = {**context.parameters, RUN_DATE: context.run_date} if context else {}
        return self.template.fill(values)

    def filled(self) -> Self:
        """Return this location with the fields of its path filled."""
        return self if not self.template.fields else replace(self, path=escaped(self.filled_path()), managed=True)

    def at(self, values: Mapping[str, Any]) -> Self:
        """Return this location with the fields of its path filled with `values`."""
        return replace(self, path=escaped(self.template.fill(values)), managed=True)

    def overlaps(self, other: Location) -> bool:
        """Whether both can name the same data."""
        if not self.template.overlaps(other.template):  # which is quick: a graph asks it of each pair
            return False
        return (self.provider_name, self.full_bucket) == (other.provider_name, other.full_bucket)


@dataclass(frozen=True, kw_only=True, eq=False)
class Source(Location):
    """Where data is read from.

    Example:
        `provider.bucket_source(bucket="my-data", path="orders/{run_date:%Y/%m/%d}/*.parquet")`
    """

    def scan(self) -> pl.LazyFrame:
        """Return the data as a LazyFrame, after the declared schema and checks are met.

        On the disk, and of a partitioned dataset, what is read is the state of this moment, however long the frame is
        kept. Of other objects in a cloud it is the state of one moment before the frame is computed in Glacier.

        Raises:
            SourceNotFoundError: Nothing is there.
            SchemaError: A declared column is missing or has another type.
            CheckError: A check is false for some row.
        """
        tracing.refuse(f"scan() of {self}")
        self.file_format.require(str(self))
        path = self.filled_path()
        frame = self._seen_table(path).scan(**self.options) if self.is_delta else self._open(path)
        if self.schema:
            check_schema(frame.collect_schema(), self.schema, str(self))
        check_rows(frame, self.checks, str(self))
        run_context.note("read", self.filled())
        return frame

    def exists(self) -> bool:
        """Whether any data is there."""
        tracing.refuse(f"exists() of {self}")
        return bool(self._files())

    def size(self) -> int:
        """Return the bytes that are stored there; 0 if nothing is."""
        tracing.refuse(f"size() of {self}")
        return sum(size for _, size, _ in self._files())

    def fingerprint(self) -> str:
        """Return a text that changes when any object of the source does: names, sizes and etags or mtimes."""
        return repr(sorted(self._files()))

    def _files(self) -> list[tuple[str, int, str]]:
        path = self.filled_path()
        if self.is_delta:
            self.file_format.require(str(self))
            return self._seen_table(path).objects(**self.options)
        return self._objects(path)

    def _seen_table(self, path: str) -> delta.Table:
        """Return the table that is read: of the preview if it has one there, which hides that of the environment."""
        if self.overlay and (mine := self._table(path, self.overlay)).exists():
            return mine
        return self._table(path, self.within)

    @abstractmethod
    def _open(self, path: str) -> pl.LazyFrame:
        """Scan the data at the filled `path`."""

    @abstractmethod
    def _objects(self, path: str) -> list[tuple[str, int, str]]:
        """Return name, size in bytes and etag (or mtime) of each object at the filled `path`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Sink(Location):
    """Where data is written to, by one atomic step at the end.

    Attributes:
        mode: "overwrite" replaces what is there; "error" refuses if something is there; "append" is for delta: what a
            run that is repeated has appended stays as it is, and is not appended again.
        partition_by: Columns whose values become `key=value` folders; the path is then the folder.
    """

    mode: Mode = "overwrite"
    partition_by: tuple[str, ...] = ()

    def _check(self) -> None:
        keys = (self.partition_by,) if isinstance(self.partition_by, str) else tuple(self.partition_by)
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise OptionError(f"{self} has partition_by={self.partition_by!r}; expected names of columns, each once.")
        object.__setattr__(self, "partition_by", keys)
        super()._check()
        if self.mode not in MODES:
            raise OptionError(f"{self} has mode={self.mode!r}. {nearest(str(self.mode), MODES)}")
        if self.mode == "append" and self.file_format.name != "delta":
            raise OptionError(
                f"{self} has mode='append', which only delta can do safely; its format is {self.file_format.name!r}.\n"
                "Hint: use format='delta', or a path with {run_date} so that each run writes a file of its own."
            )
        if self.template.is_glob:
            raise PathError(f"{self} has a glob in its path; a sink writes to one place.")
        if not self.path.strip("/"):
            raise PathError(f"{self} has an empty path; a sink writes to a file or folder inside the bucket.")
        if not self.partition_by and self.path.endswith("/"):
            raise PathError(f"{self} is a folder; give a file name, or partition_by=[...] to write one file per value.")

    @property
    def name(self) -> str:
        """Short name for the node that writes: the last fixed part of the path."""
        fixed = [part for part in self.path.split("/") if part and "{" not in part]
        return fixed[-1].partition(".")[0] or self.bucket if fixed else self.bucket

    def write(self, frame: Any) -> Source:
        """Write a frame and return the source that reads it back.

        In a pipeline function this adds a node that writes. Elsewhere it writes now: to a place of its own first, and
        after the schema and checks are met it is published by one step, so that readers see the old data or the new and
        never half.

        Args:
            frame: A LazyFrame or DataFrame (in a pipeline function: the result of a task).

        Raises:
            SinkExistsError: mode is "error" and another run's data is there.
            SchemaError: A declared column is missing or has another type.
            CheckError: A check is false for some row; nothing is published.
        """
        if (tracer := tracing.active.get()) is not None:
            written: Source = tracer.write(self, frame)
            return written
        import polars as pl

        if isinstance(frame, pl.DataFrame):
            frame = frame.lazy()
        if not isinstance(frame, pl.LazyFrame):
            given = f"{type(frame).__name__}: {frame!r:.80}"
            raise TypeError(f"write() of {self} takes a LazyFrame or DataFrame, not {given}")
        if not self.within and (preview := preview_name()):
            raise PreviewError(
                f"{self} is made by a provider that does not follow the environment, so that preview {preview!r} would "
                "overwrite the environment's data. Nothing was written.\n"
                "Hint: make the sink by Provider.from_env()."
            )
        self.file_format.require(str(self))
        schema = frame.collect_schema()
        check_storable(schema, str(self))
        self.file_format.check_types(schema, str(self))
        check_schema(schema, self.schema, str(self))
        check_schema(schema, {key: schema.get(key, pl.Null()) for key in self.partition_by}, f"{self} (partition_by)")
        path = self.filled_path()
        source = self._commit(frame, path) if self.is_delta else self._publish(frame, schema, path)
        run_context.note("published", source)
        return source

    @abstractmethod
    def twin(self) -> Source:
        """Return the source of the same location; in a preview of what the preview itself has written there."""

    @property
    def read_options(self) -> dict[str, Any]:
        """Options of this sink that its reader has to know too."""
        names = {"null_value": "null_values", "include_header": "has_header"}
        names |= {name: name for name in ("separator", "quote_char", "decimal_comma")}
        if self.file_format.name != "csv":
            return {}
        return {names[name]: value for name, value in self.options.items() if name in names}

    def knowing(self, twin: S, schema: pl.Schema) -> S:
        """Return `twin` with what a file of this sink does not say itself: columns and types of text formats."""
        if self.file_format.typed:
            return twin
        named = {} if twin.options.get("has_header", True) else {"new_columns": list(schema)}
        return replace(twin, schema=schema, options={**twin.options, **named})

    def _commit(self, frame: pl.LazyFrame, path: str) -> Source:
        def check(rows: pl.LazyFrame) -> None:
            check_rows(rows, self.checks, str(self))

        table = self._table(path, self.within)
        if self.within:
            table = replace(table, origin=self._table(path, ""))
        table.write(frame, self.mode, self.partition_by, check)
        return replace(self.twin(), path=escaped(path))

    @abstractmethod
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        """Write `frame` at the filled `path` and return its source."""


def _below(root: str, folder: str) -> str:
    return f"{root}/{folder}" if folder else root
