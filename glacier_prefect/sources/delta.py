"""Delta tables, on the disk and in the clouds: `deltalake` commits, Polars reads one version.

A write computes its query into a file of this machine first, so that a query or check that fails leaves nothing in the
table, and hands that over in one commit. The commit carries the token of its run and node: a node that runs again finds
it, so it appends once. Its first rows stay, whatever it would append now: what was built on them, or compacted with
them, would be wrong without. What a commit replaces stays until the table is vacuumed, as older versions are read from
it.
Imports deltalake and Polars only inside functions.
"""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from glacier_prefect import run_context
from glacier_prefect.errors import (
    PathError,
    PreviewError,
    SchemaError,
    SinkExistsError,
    SourceNotFoundError,
    StoreError,
)
from glacier_prefect.sources.objects import explained
from glacier_prefect.sources.steady import steadily

if TYPE_CHECKING:
    import polars as pl
    from deltalake import DeltaTable

ATTEMPTS = 20
COPY_LIMIT = 2_000_000_000  # bytes of a table that a preview copies to append to it
MARK = "glacier_run"
log = logging.getLogger("prefect.glacier.delta")  # below "prefect", whose loggers are shown in a run
_lock = threading.Lock()
_SAFE = re.compile(r"[A-Za-z0-9._~=/-]*")
_SAFE_ROOT = re.compile(r"[A-Za-z0-9._~=/:@+-]*")


def check_path(path: str, where: str) -> None:
    """Raise `PathError` for a path, filled or with fields, that deltalake would read as another one.

    Args:
        path: Path in the bucket.
        where: The source or sink, for the message.
    """
    if not _SAFE.fullmatch(fixed := re.sub(r"\{[^{}]*\}", "", path)):
        wrong = sorted(set(_SAFE.sub("", fixed)))
        raise PathError(
            f"{where}: the path {path!r} of a delta table has {', '.join(map(repr, wrong))} in it, and may have only "
            "letters of ASCII, digits and . _ ~ = / -\n"
            "Hint: name the folder otherwise; values of partition_by may be any text."
        )


@dataclass(frozen=True, kw_only=True)
class Table:
    """The place of a delta table; nothing needs to be there.

    Attributes:
        root: URI of the bucket.
        path: Filled path of the table's folder in it.
        reach: Options by which Polars reaches the store.
        origin: In a preview the table of the environment, which is copied before the first rows are appended here.
        where: The source or sink, provider and bucket, for messages.
    """

    root: str
    path: str
    where: str
    origin: Table | None = None
    reach: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_path(self.path, self.where)
        if not _SAFE_ROOT.fullmatch(root := unquote(self.root)):
            raise PathError(
                f"{self.where}: deltalake cannot open a table below {root!r}: it takes letters of ASCII, digits and "
                "a few signs, and no spaces.\n"
                "Hint: use another base_path or bucket."
            )

    @property
    def uri(self) -> str:
        """Address of the folder."""
        return f"{self.root}/{self.path.strip('/')}"

    def exists(self) -> bool:
        """Whether there is a table."""
        return self._opened() is not None

    def scan(self, version: int | None = None) -> pl.LazyFrame:
        """Scan one version, the newest if None; it stays the same however long the frame is kept.

        Raises:
            SourceNotFoundError: There is no table, or no such version.
        """
        import polars as pl

        if (table := self._opened(version)) is None:
            raise SourceNotFoundError(
                f"{self.where}: there is no delta table at {self.path!r}"
                + (".\nHint: write it first, or correct the path." if version is None else f" with version {version}.")
            )
        with self._explaining():
            return pl.scan_delta(self.uri, version=table.version(), **self.reach)

    def objects(self, version: int | None = None) -> list[tuple[str, int, str]]:
        """Return name, bytes and change time of each file of a version, and first its number; nothing if none is."""
        import polars as pl

        if (table := self._opened(version)) is None:
            return []
        found: list[tuple[str, int, str]] = [("_delta_log", 0, f"{table.metadata().id} {table.version()}")]
        columns = ["path", "size_bytes", "modification_time"]
        files = pl.DataFrame(table.get_add_actions(flatten=True)).select(columns)
        return [*found, *((str(path), int(size), str(at)) for path, size, at in files.iter_rows())]

    def write(
        self, frame: pl.LazyFrame, mode: str, keys: tuple[str, ...], check: Callable[[pl.LazyFrame], None]
    ) -> None:
        """Write a frame by one commit.

        Args:
            frame: The rows.
            mode: "overwrite", "error" or "append".
            keys: Columns to partition by.
            check: Called with the computed rows; raises if they may not be published.
        """
        import polars as pl

        token = self._token(mode)
        if mode == "append" and self.origin is not None:
            self._copy(self.origin)
        if self._settled(self._opened(), mode, token):
            log.info("%s: this run has appended to it already, and does so once", self.where)
            return
        with tempfile.TemporaryDirectory(prefix="glacier-delta-") as folder:
            staged = Path(folder) / "rows.parquet"
            frame = frame.cast({name: _stored(dtype) for name, dtype in frame.collect_schema().items()})
            steadily(frame, lambda frame: frame.sink_parquet(staged))
            rows = pl.scan_parquet(staged, glob=False, hive_partitioning=False)
            check(rows)
            with self._explaining():
                self._commit(rows, mode, keys, token)

    def _copy(self, origin: Table) -> None:
        """Begin as another table is now, unless there is a table here: by one commit, so that it is there whole or not.

        The rows come through this machine, as `deltalake` has no copy that a reader could not see half of.

        Raises:
            PreviewError: It is too large for that.
        """
        if self.exists() or (table := origin._opened()) is None:
            return
        size = sum(size for _, size, _ in origin.objects(table.version()))
        if size > COPY_LIMIT:
            raise PreviewError(
                f"{self.where}: a preview appends to a copy of the environment's table {self.path!r}, which has "
                f"{size / 1e9:.1f} GB; it copies {COPY_LIMIT / 1e9:g} GB at most. Nothing was written.\n"
                "Hint: try it in an environment with less data, or with mode='overwrite', which copies nothing."
            )
        log.info("%s: copies the environment's table, %.1f MB, to append to the copy", self.where, size / 1e6)
        about = table.metadata()
        options: dict[str, Any] = {
            "partition_by": about.partition_columns or None,
            "configuration": about.configuration,
            "name": about.name,
            "description": about.description,
        }
        with self._explaining():
            try:
                origin.scan(table.version()).sink_delta(
                    self.uri,
                    mode="error",
                    delta_write_options=options,
                    storage_options=self._options,
                    credential_provider=None,
                )
            except Exception as error:  # another node of the preview was quicker
                if not re.search("already exists", str(error)):
                    raise

    def _token(self, mode: str) -> str:
        """Return what the commit is known by: the run, the node, and the how many-th of its appends it is."""
        if (context := run_context.current()) is None:
            return uuid.uuid4().hex
        if mode != "append":
            return context.token
        with _lock:  # each attempt of a node has a context of its own, so that its counts begin anew
            counts = vars(context).setdefault("_appends", {})
            counts[self.uri] = number = counts.get(self.uri, 0) + 1
        return context.token if number == 1 else f"{context.token}-{number}"

    def _commit(self, rows: pl.LazyFrame, mode: str, keys: tuple[str, ...], token: str) -> None:
        from deltalake import CommitProperties, Transaction
        from deltalake.exceptions import CommitFailedError

        marks = CommitProperties(custom_metadata={MARK: token}, app_transactions=[Transaction(token, 1)])
        options: dict[str, Any] = {"partition_by": list(keys) or None, "commit_properties": marks}
        for _ in range(ATTEMPTS):
            table = self._opened()
            if self._settled(table, mode, token):
                return
            if mode != "append" and table is not None:
                options["schema_mode"] = "overwrite"
            if mode == "append" and table is not None:
                self._check_columns(rows, table)
            doing: Any = "error" if table is None else "append" if mode == "append" else "overwrite"
            try:
                target: Any = self.uri if table is None else table
                reach: dict[str, Any] = (
                    {"storage_options": self._options, "credential_provider": None} if table is None else {}
                )
                rows.sink_delta(target, mode=doing, delta_write_options=options, **reach)
            except CommitFailedError:
                continue  # another writer was quicker: what is there now decides again
            except Exception as error:
                if doing == "error" and re.search("already exists", str(error)):
                    continue
                raise
            return
        raise StoreError(f"{self.where}: others wrote to {self.path!r} {ATTEMPTS} times while it was committed.")

    def _check_columns(self, rows: pl.LazyFrame, table: DeltaTable) -> None:
        """Raise `SchemaError` if rows do not fit a table: deltalake would cast them, or fail oddly."""
        import polars as pl

        there = pl.scan_delta(self.uri, version=table.version(), **self.reach).collect_schema()
        coming = rows.collect_schema()
        wrong = sorted(name for name in {*there, *coming} if there.get(name) != coming.get(name))
        if wrong:
            told = ", ".join(f"{name!r} ({there.get(name)} there, {coming.get(name)} here)" for name in wrong)
            raise SchemaError(
                f"{self.where}: the table at {self.path!r} has other columns: {told}.\n"
                "Hint: cast or select them, or write the table anew with mode='overwrite'."
            )

    def _settled(self, table: DeltaTable | None, mode: str, token: str) -> bool:
        """Whether this run has appended already; raises `SinkExistsError` if another one's table is in the way."""
        if table is None or mode == "overwrite":
            return False
        if mode == "append":
            return table.transaction_version(token) is not None
        if table.history(1)[0].get(MARK) != token:
            raise SinkExistsError(
                f"{self.where}: there is a delta table at {self.path!r} already, and mode is 'error'.\n"
                "Hint: remove it, or use mode='overwrite' or mode='append'."
            )
        return False

    @property
    def _options(self) -> dict[str, str]:
        """What deltalake takes: it knows no provider of credentials, so it gets those of this moment."""
        options = dict(self.reach.get("storage_options", {}))
        if provider := self.reach.get("credential_provider"):
            options |= provider()[0]
        return {name: str(value) for name, value in options.items() if value is not None}

    def _opened(self, version: int | None = None) -> DeltaTable | None:
        """Return the table, None if there is none."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        with self._explaining():
            try:
                return DeltaTable(self.uri, version=version, storage_options=self._options)
            except (TableNotFoundError, FileNotFoundError):
                return None
            except Exception as error:
                if re.search("No such file or directory|not the same as the specified end version", str(error)):
                    return None
                raise

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:  # a panic is not an Exception
            if (meant := explained(error, self.where, self.path)) is None:
                raise
            raise meant from None


def _stored(dtype: Any) -> Any:
    """Return the type that a column has in a delta table, which knows none unsigned and microseconds only."""
    import polars as pl

    if isinstance(dtype, pl.List):
        return pl.List(_stored(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({each.name: _stored(each.dtype) for each in dtype.fields})
    if isinstance(dtype, pl.Datetime):
        return pl.Datetime("us", "UTC" if dtype.time_zone else None)
    wider = {
        pl.UInt8: pl.Int16,
        pl.UInt16: pl.Int32,
        pl.UInt32: pl.Int64,
        pl.Categorical: pl.String,
        pl.Enum: pl.String,
    }
    return wider.get(dtype.base_type(), dtype)
