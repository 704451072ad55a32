"""Partitioned datasets on the local disk: many files that are published by one manifest.

    <folder>/_glacier/manifest.json      names the current version and its files
    <folder>/_glacier/<version>/<n>...   the files; each has the keys as columns too
    <folder>/_glacier/<version>/_schema  columns and types, so that a dataset without rows has them
    <folder>/_glacier/lock               held while the manifest changes

The manifest names a file by the `key=value` folders that readers see it in, and its number. On the disk the files of a
version are in one folder, since each folder would have to be synced, and a key can be longer than a name may be.
A version that was replaced stays for `GRACE_SECONDS`, for readers that could not pin its files. The keys are read from
the files, since a folder's name cannot tell null from text nor 7 from "007".
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.sources.formats import Format

VERSIONS = "_glacier"
MANIFEST = "manifest.json"
SCHEMA_FILE = "_schema"
GRACE_SECONDS = 600.0
NULL_KEY = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The current version of a dataset.

    Attributes:
        version: The version's folder.
        run: Token of the run and node that wrote it.
        format: Name of the files' format.
        files: Names of the files as readers see them, relative to the dataset's folder.
    """

    version: Path
    run: str
    format: str
    files: tuple[str, ...]

    def path(self, file: str) -> Path:
        """Return where one of the files is."""
        return self.version / file.rpartition("/")[2]

    @property
    def schema_file(self) -> Path:
        """The file without rows that has the dataset's columns."""
        return self.version / SCHEMA_FILE

    def schema(self) -> dict[str, Any]:
        """Return the columns and their types."""
        import polars as pl

        return dict(pl.read_ipc_schema(self.schema_file))


def current(folder: Path) -> Dataset | None:
    """Return the current version of the dataset in `folder`, None if there is no dataset."""
    manifest = _read(folder / VERSIONS)
    if manifest is None:
        return None
    version = folder / VERSIONS / manifest["version"]
    return Dataset(version=version, run=manifest["run"], format=manifest["format"], files=tuple(manifest["files"]))


def stage(
    frame: pl.LazyFrame,
    schema: pl.Schema,
    file_format: Format,
    keys: tuple[str, ...],
    folder: Path,
    options: Mapping[str, Any],
) -> Dataset:
    """Write a frame's partitions to a folder that no reader knows yet.

    Args:
        frame: The rows.
        schema: Their schema.
        file_format: Format of the files.
        keys: The columns to partition by.
        folder: An empty folder on the disk of the dataset.
        options: Options of Polars' sink function.
    """
    import polars as pl

    numbers = itertools.count()
    files = []

    def name(partition: Any) -> str:
        # The second number keeps keys that have one text (null and its marker, 0.0 and -0.0) from sharing a file.
        values = partition.partition_keys.row(0)
        folders = (f"{_text(key)}={_text(value)}" for key, value in zip(keys, values, strict=True))
        file = f"{partition.index_in_partition:06d}-{next(numbers):06d}{file_format.suffix(options)}"
        files.append("/".join((*folders, file)))
        return file

    folder.mkdir()
    pl.DataFrame(schema=schema).write_ipc(folder / SCHEMA_FILE)
    target = pl.PartitionBy(folder, key=list(keys), include_key=True, file_path_provider=name)
    file_format.sink(frame, target, **options)
    return Dataset(version=folder, run="", format=file_format.name, files=tuple(sorted(files)))


def publish(staged: Dataset, folder: Path, *, version: str, run: str, allow: Callable[[], None]) -> None:
    """Make a staged dataset the current version in `folder`, by one step.

    Args:
        staged: What `stage` returned.
        folder: The dataset's folder.
        version: Name of the new version, not used before.
        run: Token of the run and node that writes.
        allow: Called while no other writer can publish here; raises if this one may not.
    """
    sync(staged.version)  # the files were synced by Polars, their names are here
    versions = folder / VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    with locked(versions / "lock"):
        allow()
        old, now = _read(versions), time.time()
        superseded = [*old["superseded"], {"version": old["version"], "at": now}] if old else []
        kept = [each for each in superseded if now - each["at"] < GRACE_SECONDS]
        manifest = {
            "manifest": 1,
            "version": version,
            "run": run,
            "format": staged.format,
            "files": staged.files,
            "superseded": kept,
        }
        os.rename(staged.version, versions / version)  # nobody reads it before the manifest names it
        sync(versions)
        draft = versions / f"{MANIFEST}.new"
        with open(draft, "w") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, versions / MANIFEST)
        sync(versions)
        sync(folder)
        # What the manifest does not name was replaced long ago, or left by a writer that was killed before this.
        keep = {version, *(each["version"] for each in kept)}
        for each in versions.iterdir():
            if each.is_dir() and each.name not in keep:
                shutil.rmtree(each, ignore_errors=True)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Let one process (and one thread) at a time into the block; the lock ends with its process."""
    with open(file, "a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(versions: Path) -> dict[str, Any] | None:
    try:
        manifest: dict[str, Any] = json.loads((versions / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return manifest


def _text(value: Any) -> str:
    """Return a key or its value as a part of a folder's name."""
    if value is None:
        return NULL_KEY
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("%", "%25").replace("/", "%2F")
