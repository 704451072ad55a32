"""Partitioned datasets: many files that are published by one manifest.

    <folder>/_glacier/manifest.json      names the current version and its files
    <folder>/_glacier/<version>/<n>...   the files; each has the keys as columns too
    <folder>/_glacier/<version>/_schema  columns and types, so that a dataset without rows has them
    <folder>/_glacier/lock               on the disk: held while the manifest changes

The manifest names a file by the `key=value` folders that readers see it in, and its number. On the disk the files of a
version are in one folder, since each folder would have to be synced, and a key can be longer than a name may be.
What a store does in place of rename and lock is in `cloud`; everything else is the same.
A version that was replaced stays for `GRACE_SECONDS`, for readers that could not pin its files. The keys are read from
the files, since a folder's name cannot tell null from text nor 7 from "007".
"""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from glacier_prefect.disk import locked, sync_folder
from glacier_prefect.sources.steady import steadily

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
        superseded: Versions that were replaced, and when, in epoch seconds.
    """

    version: PurePath
    run: str
    format: str
    files: tuple[str, ...]
    superseded: tuple[tuple[str, float], ...] = ()

    def path(self, file: str) -> PurePath:
        """Return where one of the files is."""
        return self.version / file.rpartition("/")[2]

    @property
    def schema_file(self) -> PurePath:
        """The file without rows that has the dataset's columns."""
        return self.version / SCHEMA_FILE


def parsed(manifest: str | bytes, versions: PurePath) -> Dataset:
    """Return the dataset that a manifest names as current; `versions` is the folder that the manifest is in."""
    read = json.loads(manifest)
    return Dataset(
        version=versions / read["version"],
        run=read["run"],
        format=read["format"],
        files=tuple(read["files"]),
        superseded=tuple((each["version"], each["at"]) for each in read["superseded"]),
    )


def manifest(staged: Dataset, *, version: str, run: str, old: Dataset | None, now: float) -> tuple[str, set[str]]:
    """Return the manifest that makes a staged dataset the current one, and the names of the versions that stay.

    Args:
        staged: The files.
        version: Name of the new version.
        run: Token of the run and node that writes.
        old: What is current.
        now: The time, in epoch seconds.
    """
    superseded = [*old.superseded, (old.version.name, now)] if old else []
    kept = [(name, at) for name, at in superseded if now - at < GRACE_SECONDS]
    made = {
        "manifest": 1,
        "version": version,
        "run": run,
        "format": staged.format,
        "files": staged.files,
        "superseded": [{"version": name, "at": at} for name, at in kept],
    }
    return json.dumps(made, indent=1), {version, *(name for name, _ in kept)}


def schema_bytes(schema: Mapping[str, Any]) -> bytes:
    """Return the content of the file that has a dataset's columns."""
    import polars as pl

    body = io.BytesIO()
    pl.DataFrame(schema=schema).write_ipc(body)
    return body.getvalue()


def schema_of(content: bytes) -> dict[str, Any]:
    """Return the columns and types that `schema_bytes` was made of."""
    import polars as pl

    return dict(pl.read_ipc_schema(io.BytesIO(content)))


def current(folder: Path) -> Dataset | None:
    """Return the current version of the dataset in a folder of the disk, None if there is no dataset."""
    try:
        return parsed((folder / VERSIONS / MANIFEST).read_bytes(), folder / VERSIONS)
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_files(
    frame: pl.LazyFrame,
    file_format: Format,
    keys: tuple[str, ...],
    folder: Path | str,
    options: Mapping[str, Any],
) -> tuple[str, ...]:
    """Write a frame's partitions and return the names of the files as readers see them.

    Args:
        frame: The rows.
        file_format: Format of the files.
        keys: The columns to partition by.
        folder: A folder that no reader knows yet, or its URI.
        options: Options of Polars' sink function.
    """
    import polars as pl

    numbers = itertools.count()
    files: list[str] = []

    def name(partition: Any) -> str:
        # The second number keeps keys that have one text (null and its marker, 0.0 and -0.0) from sharing a file.
        values = partition.partition_keys.row(0)
        folders = (f"{_text(key)}={_text(value)}" for key, value in zip(keys, values, strict=True))
        file = f"{partition.index_in_partition:06d}-{next(numbers):06d}{file_format.suffix(options)}"
        files.append("/".join((*folders, file)))
        return file

    def sink(frame: pl.LazyFrame) -> None:
        files.clear()
        target = pl.PartitionBy(folder, key=list(keys), include_key=True, file_path_provider=name)
        file_format.sink(frame, target, **options)

    steadily(frame, sink)
    return tuple(sorted(files))


def publish(staged: Dataset, folder: Path, *, version: str, run: str, allow: Callable[[], None]) -> None:
    """Make a dataset that is staged on the disk the current version in `folder`, by one step.

    Args:
        staged: The files, in a folder of their own on the disk of the dataset.
        folder: The dataset's folder.
        version: Name of the new version, not used before.
        run: Token of the run and node that writes.
        allow: Called while no other writer can publish here; raises if this one may not.
    """
    staging = Path(staged.version)
    sync_folder(staging)  # the files were synced by Polars, their names are here
    versions = folder / VERSIONS
    versions.mkdir(parents=True, exist_ok=True)
    with locked(versions / "lock"):
        allow()
        old = current(folder)
        made, keep = manifest(staged, version=version, run=run, old=old, now=time.time())
        os.rename(staging, versions / version)  # nobody reads it before the manifest names it
        sync_folder(versions)
        draft = versions / f"{MANIFEST}.new"
        with open(draft, "w") as file:
            file.write(made)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, versions / MANIFEST)
        sync_folder(versions)
        sync_folder(folder)
        # What the manifest does not name was replaced long ago, or left by a writer that was killed before this.
        for each in versions.iterdir():
            if each.is_dir() and each.name not in keep:
                shutil.rmtree(each, ignore_errors=True)


def _text(value: Any) -> str:
    """Return a key or its value as a part of a folder's name."""
    if value is None:
        return NULL_KEY
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text.replace("%", "%25").replace("/", "%2F")
