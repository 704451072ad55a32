"""Sources and sinks on the local disk: a bucket is a folder.

Reading takes a snapshot: Polars opens a file more than once for one query, so a file that is replaced meanwhile would
be read half old and half new. Each file is therefore read under a hard link of its own (see `snapshots`).

Writing stages and publishes: one file by rename, many files by one manifest (see `datasets`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from glacier_prefect import run_context
from glacier_prefect.disk import locked, sync_folder
from glacier_prefect.errors import SinkExistsError, SourceNotFoundError, UnreadableError, nearest
from glacier_prefect.sources import datasets, snapshots
from glacier_prefect.sources.base import Location, Sink, Source
from glacier_prefect.sources.checks import check_rows
from glacier_prefect.sources.leases import Lease, sweep
from glacier_prefect.sources.listing import DiskTree, Listing, OverlayTree, Tree, find, names_below
from glacier_prefect.sources.objects import explained
from glacier_prefect.sources.paths import escaped
from glacier_prefect.sources.reading import Opened, read
from glacier_prefect.sources.steady import steadily

if TYPE_CHECKING:
    import polars as pl

OWN = ".glacier"
ATTEMPTS = 200
CLOCK_TICK = 0.02  # seconds; more than the time in which a file can change twice and keep its modification time

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Local(Location):
    provider_name: ClassVar[str] = "local"
    has_previews: ClassVar[bool] = True

    base_path: str = field(default="data")

    @property
    def bucket_folder(self) -> Path:
        """The bucket's folder."""
        return Path(self.base_path).absolute() / self.full_bucket

    @property
    def folder(self) -> Path:
        """The folder that its path is relative to: the bucket's, or the one that stands for it."""
        return self.bucket_folder / self.within

    @property
    def root(self) -> str:
        return self.bucket_folder.as_uri()

    @property
    def tree(self) -> Tree:
        """The bucket's folder, to be searched."""
        tree = DiskTree(self.folder)
        return OverlayTree(DiskTree(self.bucket_folder / self.overlay), tree) if self.overlay else tree

    def _discard(self) -> int:
        removed = sum(each.is_file() for each in self.folder.rglob("*"))
        for bucket in (self.bucket_folder, Path(self.base_path).absolute()):  # beside the buckets is what runs hand on
            shutil.rmtree(bucket / self.within, ignore_errors=True)
            for folder in list((bucket / self.within).relative_to(bucket).parents)[:-1]:
                with contextlib.suppress(OSError):  # another preview is in it, or something else
                    (bucket / folder).rmdir()
        return removed

    def overlaps(self, other: Location) -> bool:
        if not isinstance(other, _Local) or not self.template.overlaps(other.template):
            return False
        return self.bucket_folder == other.bucket_folder


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSource(_Local, Source):
    """A source in a folder of the local disk.

    Attributes:
        base_path: Folder that holds the buckets.
    """

    def _open(self, path: str) -> pl.LazyFrame:
        return _while_it_changes(lambda: self._open_once(path))

    def _open_once(self, path: str) -> pl.LazyFrame:
        listing = self._list(path)
        if not listing.files and not listing.datasets:
            raise SourceNotFoundError(self._not_found(path))
        frame = read(self, listing, self.tree, lambda names: self._pin(names, listing))
        try:
            frame.collect_schema()  # what is wrong with the first file shows here, where its name is known
        except Exception as error:
            if not isinstance(meant := explained(error, f"{self} ({self.provider_name})", path), UnreadableError):
                raise
            raise meant from None
        return frame

    def _pin(self, names: list[str], listing: Listing) -> Opened:
        originals = [Path(each.path) for each in listing.files]
        home = snapshots.pin(zip(names, originals, strict=True), Path(self.base_path).absolute(), self.folder)
        files = [home / name for name in names] if home else originals
        # Where there is no snapshot, Polars would also take the folders above the bucket for keys.
        return Opened(files=files, shown=[str(file) for file in originals], keyed=home, options={})

    def _objects(self, path: str) -> list[tuple[str, int, str]]:
        return _while_it_changes(lambda: self._objects_once(path))

    def _objects_once(self, path: str) -> list[tuple[str, int, str]]:
        listing = self._list(path)
        files = [(each.name, Path(each.path)) for each in listing.files]
        files += [(f"{each.version.name}/{datasets.SCHEMA_FILE}", Path(each.schema_file)) for each in listing.datasets]
        stats = [(name, file.stat(), file) for name, file in files]
        if any(abs(time.time() - stat.st_mtime) < CLOCK_TICK for _, stat, _ in stats):
            time.sleep(CLOCK_TICK)  # a file that changes once more from now on gets another time
            stats = [(name, file.stat(), file) for name, _, file in stats]
        return [(name, stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}") for name, stat, _ in stats]

    def _list(self, path: str) -> Listing:
        return find(self.tree, path, self.file_format.matches)

    def _not_found(self, path: str) -> str:
        where = self.folder / path
        what = f"{self} ({self.provider_name})"
        if not self.folder.is_dir():
            buckets = [each.name for each in self.folder.parent.glob("[!.]*") if each.is_dir()]
            hint = nearest(self.full_bucket, buckets)
            return f"{what}: there is no bucket {self.full_bucket!r} in {self.folder.parent}. {hint}"
        if self.template.is_glob:
            return f"{what}: no file matches {path!r} in {self.folder}. Files there: {_some(self.folder)}."
        if where.is_dir():
            return f"{what}: the folder {where} holds no {self.file_format.name} file. Files there: {_some(where)}."
        parent = where.parent
        while not parent.is_dir():
            parent = parent.parent
        return f"{what}: there is no file {where}. Files in {parent}: {_some(parent)}."


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSink(_Local, Sink):
    """A sink in a folder of the local disk.

    Attributes:
        base_path: Folder that holds the buckets.
    """

    def twin(self) -> LocalSource:
        return LocalSource(
            bucket=self.bucket,
            path=self.path,
            format=self.file_format.name,
            base_path=self.base_path,
            bucket_prefix=self.bucket_prefix,
            within=self.within,
            options=self.read_options,
            managed=True,
        )

    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        context = run_context.current()
        token = context.token if context else uuid.uuid4().hex
        target = self.folder / path.rstrip("/")
        self._allow(target, token)
        writes = _disk_of(target, self.folder) / OWN / "writes"
        sweep(writes)
        lease = Lease.take(writes / uuid.uuid4().hex)
        twin = replace(self.twin(), path=escaped(path))
        try:
            if self.partition_by:
                self._publish_many(frame, schema, target, token, lease, twin)
                return twin
            self._publish_one(frame, schema, target, token, lease, twin)
            return self.knowing(twin, schema)
        finally:
            lease.release()

    def _publish_one(
        self, frame: pl.LazyFrame, schema: pl.Schema, target: Path, token: str, lease: Lease, twin: LocalSource
    ) -> None:
        options = self.file_format.sink_options(target.name, self.options)
        staged = lease.folder / f"data{self.file_format.suffix(options)}"
        steadily(frame, lambda frame: self.file_format.sink(frame, staged, **options))
        if self.checks:
            reread = self.file_format.scan([staged], types=schema, whole=True, options=twin.options)
            check_rows(reread, self.checks, str(self))
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.mode == "error":
            # Who publishes here is noted first, so that a retry after a crash in between knows its own file again.
            note = self._note(target)
            note.parent.mkdir(parents=True, exist_ok=True)
            with locked(note):
                self._allow(target, token)
                own = self._is_own(target, token)
                note.write_text("\n".join([*(_lines(note) if own else [token]), _stamp(staged)]))
                if own:
                    os.replace(staged, target)
                else:
                    os.link(staged, target)  # FileExistsError if a program other than Glacier was quicker
        else:
            self._allow(target, token)
            os.replace(staged, target)
        sync_folder(target.parent)

    def _publish_many(
        self, frame: pl.LazyFrame, schema: pl.Schema, target: Path, token: str, lease: Lease, twin: LocalSource
    ) -> None:
        folder = lease.folder / "data"
        folder.mkdir()
        (folder / datasets.SCHEMA_FILE).write_bytes(datasets.schema_bytes(schema))
        written = datasets.write_files(frame, self.file_format, self.partition_by, folder, self.options)
        staged = datasets.Dataset(version=folder, run=token, format=self.file_format.name, files=written)
        if self.checks:
            import polars as pl

            files = [Path(staged.path(each)) for each in staged.files]
            whole = not self.file_format.typed
            scan = self.file_format.scan(files, types=schema, whole=whole, options=twin.options) if files else None
            check_rows(pl.LazyFrame(schema=schema) if scan is None else scan, self.checks, str(self))
        datasets.publish(staged, target, version=lease.folder.name, run=token, allow=lambda: self._allow(target, token))

    def _allow(self, target: Path, token: str) -> None:
        """Raise `SinkExistsError` if this sink may not write here: by its mode, or because something else is there."""
        for folder in target.relative_to(self.folder).parents[:-1]:
            if (above := self.folder / folder).is_file():
                raise SinkExistsError(f"{self}: {above} is a file; nothing can be written below it.")
            if datasets.current(above) is not None:
                raise SinkExistsError(
                    f"{self}: {above} is a partitioned dataset, in which no reader would see another file.\n"
                    "Hint: write to a path outside it."
                )
        dataset = datasets.current(target)
        if self.partition_by and target.is_file():
            raise SinkExistsError(
                f"{self}: {target} is a file; a partitioned dataset cannot replace it.\nHint: remove it."
            )
        if not self.partition_by and target.is_dir():
            what = "a partitioned dataset" if dataset else "a folder"
            raise SinkExistsError(
                f"{self}: {target} is {what}; a file cannot replace it.\nHint: remove it, or write beside it."
            )
        if (
            self.partition_by
            and dataset is None
            and (others := names_below(self.tree, f"{target.relative_to(self.folder)}/", 3))
        ):
            raise SinkExistsError(
                f"{self}: {target} holds files that Glacier did not write there as a dataset "
                f"({', '.join(map(repr, others))}, ...); it would hide them, not replace them.\n"
                "Hint: remove them, or write to a folder of its own."
            )
        if self.mode == "error" and os.path.lexists(target):
            own = dataset.run == token if dataset else self._is_own(target, token)
            if not own and (dataset or not target.is_dir()):
                raise SinkExistsError(
                    f"{self}: there is data at {target} already, and mode is 'error'.\n"
                    "Hint: remove it, or use mode='overwrite'."
                )

    def _note(self, target: Path) -> Path:
        return self.folder / OWN / "published" / hashlib.sha256(str(target).encode()).hexdigest()[:32]

    def _is_own(self, target: Path, token: str) -> bool:
        """Whether the file at `target` was published by an earlier attempt of this node in this run."""
        try:
            noted = _lines(self._note(target))
            return noted[:1] == [token] and _stamp(target) in noted[1:]
        except FileNotFoundError:
            return False


def _while_it_changes(read: Callable[[], T]) -> T:
    """Return what `read` does, again if a file vanished between listing and reading because it was replaced.

    Many times: a writer that keeps no superseded version may be quicker than every second attempt.
    """
    for _ in range(ATTEMPTS):
        try:
            return read()
        except SourceNotFoundError:
            raise
        except FileNotFoundError:
            continue
    return read()


def _disk_of(target: Path, bucket: Path) -> Path:
    """Return the bucket's folder, or one above `target` where that is on another disk: a rename stays on its disk."""
    there = target.parent
    while not there.exists():
        there = there.parent
    return there if bucket.exists() and there.stat().st_dev != bucket.stat().st_dev else bucket


def _lines(note: Path) -> list[str]:
    return note.read_text().split("\n")


def _stamp(file: Path) -> str:
    stat = file.stat()
    return f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"


def _some(folder: Path) -> str:
    return ", ".join(map(repr, names_below(DiskTree(folder), "", 5))) or "none"
