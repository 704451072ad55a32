"""Sources and sinks on the local disk: a bucket is a folder.

Reading takes a snapshot: Polars opens a file more than once for one query, so a file that is replaced meanwhile would be read
half old and half new. Each file is therefore read under a hard link of its own, which keeps its content whatever becomes of the name.

Writing stages and publishes: one file by rename; many files by one manifest, `<path>/_glacier/manifest.json`, which names the files
of the current version. A version that was replaced stays for `GRACE_SECONDS`, for readers that have it open.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect import run_context
from glacier_prefect.errors import SinkExistsError, SourceNotFoundError, nearest
from glacier_prefect.sources import snapshots
from glacier_prefect.sources.base import Location, Sink, Source
from glacier_prefect.sources.checks import check_rows
from glacier_prefect.sources.leases import Lease, sweep
from glacier_prefect.sources.paths import glob_regex

if TYPE_CHECKING:
    import polars as pl

VERSIONS = "_glacier"
MANIFEST = "manifest.json"
SCHEMA_FILE = "_schema.parquet"
OWN = ".glacier"
GRACE_SECONDS = 600.0
OPEN_ATTEMPTS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class _Local(Location):
    provider_name: ClassVar[str] = "local"

    base_path: str = field(default="data")

    @property
    def folder(self) -> Path:
        """The bucket's folder."""
        return Path(self.base_path).absolute() / self.bucket

    @property
    def root(self) -> str:
        return self.folder.as_uri()


@dataclass(frozen=True)
class _Object:
    """A file as readers see it (`name`, relative to the bucket) and where it is."""

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """What a path stands for.

    Attributes:
        objects: The files, sorted by name.
        anchor: The folder, relative to the bucket, below which `key=value` folders are columns.
        schema_file: A file without rows that has the columns of a partitioned dataset, written by Glacier.
        expanded: Whether the path is a folder or a glob rather than one file.
    """

    objects: list[_Object]
    anchor: str
    schema_file: Path | None
    expanded: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSource(_Local, Source):
    """A source in a folder of the local disk.

    Attributes:
        base_path: Folder that holds the buckets.
    """

    def _open(self, path: str) -> pl.LazyFrame:
        for _ in range(OPEN_ATTEMPTS - 1):
            with contextlib.suppress(FileNotFoundError):  # a version was removed between listing and reading: list again
                return self._open_once(path)
        return self._open_once(path)

    def _open_once(self, path: str) -> pl.LazyFrame:
        listing = self._list(path)
        if not listing.objects and listing.schema_file is None:
            raise SourceNotFoundError(self._not_found(path))
        if not listing.objects:
            import polars as pl

            return pl.scan_parquet(listing.schema_file)  # type: ignore[arg-type]  # one of the two is there
        pins = snapshots.pin([(each.name.removeprefix(listing.anchor), each.path) for each in listing.objects], self.base_path)
        keys = [_keys(each.name.removeprefix(listing.anchor)) for each in listing.objects] if listing.expanded else [{}]
        schema = _schema_of(listing.schema_file) if listing.schema_file else None
        frame = self._scan(pins, keys, schema)
        return frame.select(list(schema)) if schema else frame

    def _scan(self, files: list[Path], keys: list[dict[str, str]], schema: Mapping[str, Any] | None) -> pl.LazyFrame:
        scan = partial(self.file_format.scan, **self.options)
        declared = {**(schema or {}), **(self.schema or {})}
        if self.file_format.hive or not any(keys):
            hive = {key: schema[key] for key in keys[0]} if schema else {}
            return scan(files, schema=declared, hive_schema=hive if any(keys) else None)
        import polars as pl

        # Polars reads key=value folders of these formats not itself; a partitioned dataset of our own has the keys in its files.
        if schema:
            return scan(files, schema=declared, hive_schema=None)
        frames = []
        for file, own in zip(files, keys, strict=True):
            columns = [pl.lit(value).alias(key) for key, value in own.items()]
            frames.append(scan([file], schema={name: declared[name] for name in declared if name not in own}, hive_schema=None).with_columns(columns))
        return pl.concat(frames)

    def _objects(self, path: str) -> list[tuple[str, int, str]]:
        found = []
        for each in self._list(path).objects:
            stat = each.path.stat()
            found.append((each.name, stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}"))
        return found

    def _list(self, path: str) -> _Listing:
        target = self.folder / path
        if not self.template.is_glob and target.is_file():
            return _Listing(objects=[_Object(path, target)], anchor=path.rpartition("/")[0] + "/" if "/" in path else "", schema_file=None, expanded=False)
        prefix = path if not self.template.is_glob else path[: min(path.find(sign) for sign in "*?[" if sign in path)]
        anchor = prefix.rstrip("/") if not self.template.is_glob else prefix.rpartition("/")[0]
        schemas: list[Path] = []
        below = sorted(_walk(self.folder / anchor, f"{anchor}/" if anchor else "", schemas), key=lambda each: each.name)
        suffixes = self.file_format.suffixes
        typed = [each for each in below if any(suffix in each.path.suffixes for suffix in suffixes)]
        if not self.template.is_glob:
            chosen = typed
        else:
            regex = glob_regex(path.rstrip("/"))
            chosen = [] if path.endswith("/") else [each for each in below if re.fullmatch(regex, each.name)]
            chosen = chosen or [each for each in typed if re.fullmatch(regex + "/.*", each.name)]
        own = schemas[0] if schemas and (not chosen or all(VERSIONS in each.path.parts for each in chosen)) else None
        if self.template.is_glob and len(schemas) > 1 and chosen:
            own = None
        return _Listing(objects=chosen, anchor=f"{anchor}/" if anchor else "", schema_file=own, expanded=True)

    def _not_found(self, path: str) -> str:
        where = self.folder / path
        if not self.folder.is_dir():
            buckets = [each.name for each in self.folder.parent.glob("[!.]*") if each.is_dir()]
            return f"{self}: there is no bucket {self.bucket!r} in {self.folder.parent}. {nearest(self.bucket, buckets)}"
        if self.template.is_glob:
            return f"{self}: no file matches {path!r} in {self.folder}. Files there: {_some(self.folder)}."
        if where.is_dir():
            return f"{self}: the folder {where} holds no {self.file_format.name} file. Files there: {_some(where)}."
        parent = where.parent
        while not parent.is_dir():
            parent = parent.parent
        return f"{self}: there is no file {where}. Files in {parent}: {_some(parent)}."


@dataclass(frozen=True, kw_only=True, eq=False)
class LocalSink(_Local, Sink):
    """A sink in a folder of the local disk.

    Attributes:
        base_path: Folder that holds the buckets.
    """

    def twin(self) -> LocalSource:
        return LocalSource(bucket=self.bucket, path=self.path, format=self.file_format.name, base_path=self.base_path, managed=True)

    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        context = run_context.current()
        token = context.token if context else uuid.uuid4().hex
        target = self.folder / path
        self._refuse_existing(target, token)
        writes = self.folder / OWN / "writes"
        sweep(writes)
        lease = Lease.take(writes / f"{token}-{uuid.uuid4().hex[:8]}")
        try:
            publish = self._publish_many if self.partition_by else self._publish_one
            publish(frame, schema, target, token, lease)
        finally:
            lease.release()
        typed = self.file_format.typed or self.partition_by
        return LocalSource(
            bucket=self.bucket,
            path=path,
            format=self.file_format.name,
            base_path=self.base_path,
            schema=None if typed else schema,
            options=_read_options(self.options) if not self.file_format.typed else {},
            managed=True,
        )

    def _publish_one(self, frame: pl.LazyFrame, schema: pl.Schema, target: Path, token: str, lease: Lease) -> None:
        staged = lease.folder / f"data{''.join(target.suffixes)}"
        self.file_format.sink(frame, staged, **self.options)
        reread = self.file_format.scan([staged], schema=schema, hive_schema=None, **_read_options(self.options))
        check_rows(reread, self.checks, str(self))
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.mode == "error" and not self._is_own(target, token):
            # Which file this run published is noted first, so that a retry after a crash in between knows it again.
            note = self._note(target, token)
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(str(staged.stat().st_ino))
            try:
                os.link(staged, target)
            except FileExistsError:
                self._refuse_existing(target, token)
                raise
        else:
            if target.is_dir():
                raise SinkExistsError(f"{self}: {target} is a folder; a file cannot replace it.")
            os.replace(staged, target)
        _sync(target.parent)

    def _publish_many(self, frame: pl.LazyFrame, schema: pl.Schema, target: Path, token: str, lease: Lease) -> None:
        import polars as pl

        if target.is_file():
            raise SinkExistsError(f"{self}: {target} is a file; a partitioned dataset cannot replace it.")
        staged = lease.folder / "data"
        staged.mkdir()
        pl.DataFrame(schema=schema).write_parquet(staged / SCHEMA_FILE)
        self.file_format.sink(frame, pl.PartitionBy(staged, key=list(self.partition_by), include_key=not self.file_format.hive), **self.options)
        files = sorted(each.relative_to(staged).as_posix() for each in staged.rglob("*") if each.is_file() and each.name != SCHEMA_FILE)
        version = lease.folder.name
        versions = target / VERSIONS
        versions.mkdir(parents=True, exist_ok=True)
        if self.checks:
            reader = LocalSource(bucket=self.bucket, path="staged", format=self.file_format.name, base_path=self.base_path, managed=True)
            keys = [_keys(each) for each in files] or [{}]
            staged_frame = (
                reader._scan([staged / each for each in files], keys, schema).select(list(schema)) if files else pl.scan_parquet(staged / SCHEMA_FILE)
            )
            check_rows(staged_frame, self.checks, str(self))
        now = time.time()
        with _locked(versions):
            old = _read_manifest(target)
            if old and self.mode == "error" and old["run"] != token:
                self._refuse_existing(target, token)
            kept = [each for each in (old or {}).get("superseded", ()) if now - each["at"] < GRACE_SECONDS]
            if old:
                kept.append({"version": old["version"], "at": now})
            manifest = {
                "manifest": 1,
                "version": version,
                "run": token,
                "format": self.file_format.name,
                "partition_by": list(self.partition_by),
                "files": files,
                "superseded": kept,
            }
            staged.rename(versions / version)  # nobody reads it before the manifest names it
            draft = lease.folder / MANIFEST
            draft.write_text(json.dumps(manifest, indent=1))
            os.replace(draft, versions / MANIFEST)
            _sync(versions)
            _drop_versions(versions, {version, *(each["version"] for each in kept)})

    def _refuse_existing(self, target: Path, token: str) -> None:
        if self.mode != "error" or not target.exists():
            return
        manifest = _read_manifest(target)
        if manifest is not None and manifest["run"] == token:
            return
        if target.is_file() and self._is_own(target, token):
            return
        if target.is_dir() and manifest is None and not any(target.iterdir()):
            return
        raise SinkExistsError(f"{self}: there is data at {target} already, and mode is 'error'.\nHint: remove it, or use mode='overwrite'.")

    def _note(self, target: Path, token: str) -> Path:
        digest = hashlib.sha256(f"{target}\0{token}".encode()).hexdigest()[:32]
        return self.folder / OWN / "published" / digest

    def _is_own(self, target: Path, token: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self._note(target, token).read_text() == str(target.stat().st_ino)
        return False


def _walk(folder: Path, name: str, schemas: list[Path]) -> Iterator[_Object]:
    """Yield the files below `folder` as readers see them; add the schema file of each dataset with a manifest to `schemas`."""
    manifest = _read_manifest(folder)
    if manifest is not None:
        version = folder / VERSIONS / manifest["version"]
        schemas.append(version / SCHEMA_FILE)
        for file in manifest["files"]:
            yield _Object(f"{name}{file}", version / file)
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{name}{entry.name}/", schemas)
        else:
            yield _Object(f"{name}{entry.name}", Path(entry.path))


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    try:
        manifest: dict[str, Any] = json.loads((folder / VERSIONS / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return manifest


def _keys(name: str) -> dict[str, str]:
    """Return the `key=value` folders of a file's name."""
    from urllib.parse import unquote

    return {part.partition("=")[0]: unquote(part.partition("=")[2]) for part in name.split("/")[:-1] if "=" in part}


def _schema_of(file: Path) -> Mapping[str, Any]:
    import polars as pl

    return pl.read_parquet_schema(file)


def _read_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a CSV sink that its reader has to know too."""
    names = {"separator": "separator", "quote_char": "quote_char", "null_value": "null_values", "decimal_comma": "decimal_comma"}
    found = {names[name]: value for name, value in options.items() if name in names}
    if "include_header" in options:
        found["has_header"] = options["include_header"]
    return found


@contextlib.contextmanager
def _locked(versions: Path) -> Iterator[None]:
    """Let one process at a time change the manifest in this folder."""
    with open(versions / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _drop_versions(versions: Path, keep: set[str]) -> None:
    """Remove versions that the manifest does not name; called with the manifest's lock held."""
    for folder in versions.iterdir():
        if folder.is_dir() and folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _some(folder: Path) -> str:
    names = [each.name for each in _walk(folder, "", [])][:5]
    return ", ".join(repr(name) for name in names) or "none"
