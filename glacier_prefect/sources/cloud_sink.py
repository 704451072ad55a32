"""Writing to a cloud's object store: what is the same on all of them.

A write stages and publishes. One file: staged beside its target and copied onto it by the store in one step; or, where
the store keeps an upload apart until it is whole and nothing has to be found out in between, by the end of its upload.
Many files: put where they stay, and published by one conditional write of the manifest (see `datasets`). What a killed
writer has left goes with the next write of the same node and run; that of others when it is a day old by the store's
clock.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect import run_context
from glacier_prefect.errors import DataError, SinkExistsError, StoreError
from glacier_prefect.sources import datasets
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.checks import check_rows
from glacier_prefect.sources.cloud import OWN, CloudLocation, CloudSource
from glacier_prefect.sources.datasets import MANIFEST, SCHEMA_FILE, VERSIONS, Dataset
from glacier_prefect.sources.objects import Meta, Objects, Upload
from glacier_prefect.sources.paths import escaped
from glacier_prefect.sources.steady import steadily

if TYPE_CHECKING:
    import polars as pl

# Each file of a partitioned dataset has one part of 6 MB on its way while the next is filled. Polars would let several
# wait in memory; it takes the number from a variable only, and may read that once.
os.environ.setdefault("POLARS_PARTITIONED_UPLOAD_CONCURRENCY", "1")
ABANDONED = timedelta(hours=24)
PUBLISH_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class CloudSink(CloudLocation, Sink):
    """A sink on a cloud's store."""

    source: ClassVar[type[CloudSource]]

    def twin(self) -> CloudSource:
        same = {each.name for each in fields(self.source)} & {each.name for each in fields(self)}
        taken = {name: getattr(self, name) for name in same - {"schema", "checks", "options", "managed", "format"}}
        return self.source(**taken, format=self.file_format.name, options=self.read_options, managed=True)

    @property
    def prefixes(self) -> tuple[str, ...]:
        return (self.prefix, *(f"{self.own_folder(what)}/" for what in ("writes", "published")))

    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        context = run_context.current()
        token = context.token if context else uuid.uuid4().hex
        key = path.rstrip("/")
        objects = self.objects
        own = self._allow(objects, key, token)
        twin = replace(self.twin(), path=escaped(path))
        with self._explaining(key):
            if self.partition_by:
                self._publish_many(objects, frame, schema, key, token, twin)
                return twin
            self._publish_one(objects, frame, schema, key, token, twin, own)
            return self.knowing(twin, schema)

    def _publish_one(
        self,
        objects: Objects,
        frame: pl.LazyFrame,
        schema: pl.Schema,
        key: str,
        token: str,
        twin: CloudSource,
        own: Meta | None,
    ) -> None:
        options = self.file_format.sink_options(key, self.options)
        straight = self.mode == "overwrite" and not self.checks and self.separate_uploads
        writes = self.own_folder("writes")
        staged_key = f"{writes}/{token}/{uuid.uuid4().hex}{self.file_format.suffix(options)}"
        uploaded = key if straight else staged_key
        # Not by Polars' own upload: it may end a query that fails as an object with the rows that had come before.
        steadily(frame, lambda frame: self._uploaded(objects, frame, uploaded, options)).finish()
        if straight:
            return
        there = {meta.key: meta for meta in objects.below(writes)}
        if (staged := there.get(staged_key)) is None:
            raise self._taken_over()
        own_left = f"{writes}/{token}/"
        gone = [
            meta.key
            for meta in there.values()
            if meta is not staged and (meta.key.startswith(own_left) or staged.modified - meta.modified > ABANDONED)
        ]
        try:
            if self.checks:
                reading, uri = {**twin.options, **self._polars}, self._uri(staged_key)
                scan = self.file_format.scan([uri], types=schema, whole=True, options=reading, sizes=[staged.size])
                check_rows(scan, self.checks, str(self))
            if self.mode == "error":
                left = [meta for meta in there.values() if meta is not staged and meta.key.startswith(own_left)]
                self._publish_once(objects, staged, key, token, own, left)
            elif not objects.copy(staged, key, overwrite=True, limit=self.copy_limit):
                raise self._exists(key)
            gone.append(staged_key)
        except (DataError, SinkExistsError):
            gone.append(staged_key)
            raise
        finally:  # after another error it is not known what was published: what is staged tells the retry
            objects.delete(gone)

    def _uploaded(self, objects: Objects, frame: pl.LazyFrame, key: str, options: Mapping[str, Any]) -> Upload:
        upload = objects.upload(key)
        self.file_format.sink(frame, upload, **options)
        return upload

    def _publish_once(
        self, objects: Objects, staged: Meta, key: str, token: str, own: Meta | None, left: Sequence[Meta]
    ) -> None:
        """Publish where nothing is, or only what this node wrote itself in this run.

        It is noted before and after, so that a retry after a crash in between knows its own object again. The last
        request of an attempt that was killed may even arrive after this one has looked: `left` is what such attempts
        have staged.
        """
        mine = f"{self._notes(key)}/{token}"
        etags = [own.etag] if own else []
        objects.write(mine, json.dumps({"etags": etags, "staged": staged.key}).encode())
        if not objects.copy(staged, key, overwrite=own is not None, limit=self.copy_limit):
            there = objects.head(key)  # the copy may have been made, and only its answer been lost
            if there is None or not any(objects.same(each, there) for each in (staged, *left)):
                objects.delete([mine])
                raise self._exists(key)
            if not objects.same(staged, there):
                objects.copy(staged, key, overwrite=True, limit=self.copy_limit)
        if (published := objects.head(key)) is not None:
            objects.write(mine, json.dumps({"etags": [published.etag], "staged": None}).encode())
        objects.delete(meta.key for meta in objects.below(self._notes(key)) if meta.key != mine)

    def _publish_many(
        self, objects: Objects, frame: pl.LazyFrame, schema: pl.Schema, key: str, token: str, twin: CloudSource
    ) -> None:
        versions = f"{key}/{VERSIONS}"
        mark = f"{zlib.crc32(token.encode()):08x}"
        version = f"{mark}-{uuid.uuid4().hex}"
        folder, polars = f"{versions}/{version}", self._polars
        options = {**self.options, **polars}
        files = datasets.write_files(frame, self.file_format, self.partition_by, self._uri(folder), options)
        objects.write(f"{folder}/{SCHEMA_FILE}", datasets.schema_bytes(schema))
        staged = Dataset(version=PurePosixPath(folder), run=token, format=self.file_format.name, files=files)
        there = {meta.key: meta for meta in objects.below(versions)}
        if not {*map(str, map(staged.path, files)), str(staged.schema_file)} <= there.keys():
            raise self._taken_over()
        now = there[str(staged.schema_file)].modified  # by the store's clock
        try:
            if self.checks:
                self._check_many(staged, schema, there, twin)
            keep = self._publish_manifest(objects, staged, versions, token, now)
        except BaseException:
            objects.delete(each for each in there if each.startswith(f"{folder}/"))
            raise
        groups: dict[str, list[Meta]] = {}
        for meta in there.values():
            name, slash, _ = meta.key.removeprefix(f"{versions}/").partition("/")
            if slash:
                groups.setdefault(name, []).append(meta)
        gone = {name for name, _ in keep.superseded} - keep.stay
        for name, metas in groups.items():
            old = all(now - meta.modified > ABANDONED for meta in metas)
            if name not in keep.stay and (name in gone or old or name.startswith(f"{mark}-")):
                objects.delete(meta.key for meta in metas)

    def _check_many(self, staged: Dataset, schema: pl.Schema, there: dict[str, Meta], twin: CloudSource) -> None:
        import polars as pl

        keys = [str(staged.path(each)) for each in staged.files]
        scan = pl.LazyFrame(schema=schema)
        if keys:
            scan = self.file_format.scan(
                [self._uri(each) for each in keys],
                types=schema,
                whole=not self.file_format.typed,
                options={**twin.options, **self._polars},
                sizes=[there[each].size for each in keys],
            )
        check_rows(scan, self.checks, str(self))

    def _publish_manifest(self, objects: Objects, staged: Dataset, versions: str, token: str, now: datetime) -> _Kept:
        name = f"{versions}/{MANIFEST}"
        version = staged.version.name
        for _ in range(PUBLISH_ATTEMPTS):
            there = objects.get(name)
            old = _dated(datasets.parsed(there[1], PurePosixPath(versions)), there[0].modified) if there else None
            if old and old.version.name == version:  # it was published, and only the answer was lost
                return _Kept(stay={version, *(each for each, _ in old.superseded)}, superseded=old.superseded)
            if self.mode == "error" and old and old.run != token:
                raise self._exists(versions.rpartition("/")[0])
            made, stay = datasets.manifest(staged, version=version, run=token, old=old, now=now.timestamp())
            if objects.put(name, made.encode(), replaces=there[0] if there else None):
                superseded = (*old.superseded, (old.version.name, 0.0)) if old else ()
                return _Kept(stay=stay, superseded=superseded)
        raise StoreError(
            f"{self._where}: {name!r} was replaced by others {PUBLISH_ATTEMPTS} times while it was written."
        )

    def _allow(self, objects: Objects, key: str, token: str) -> Meta | None:
        """Raise `SinkExistsError` if this sink may not write here: by its mode, or because something else is there.

        Returns:
            With mode "error" and without partitions: the object that this node wrote itself in this run.
        """
        above = [str(each) for each in PurePosixPath(key).parents[:-1]]
        with ThreadPoolExecutor(max_workers=4) as pool:  # the calls wait for the store, not for each other
            head = partial(objects.head, beside=True)
            manifests = pool.map(head, [f"{each}/{VERSIONS}/{MANIFEST}" for each in above])
            asked = self.partition_by or self.mode == "error"
            target = pool.submit(objects.head, key, beside=bool(self.partition_by)) if asked else None
            below = pool.submit(self._below, objects, key)
            mine = pool.submit(objects.get, f"{self._notes(key)}/{token}") if self.mode == "error" else None
        for folder, dataset in zip(above, manifests, strict=True):
            if dataset is not None:
                raise SinkExistsError(
                    f"{self._where}: {folder!r} is a partitioned dataset, in which no reader would see another file.\n"
                    "Hint: write to a path outside it."
                )
        there, (manifest, others) = target.result() if target else None, below.result()
        if self.partition_by and there is not None:
            raise SinkExistsError(
                f"{self._where}: {key!r} is a file; a partitioned dataset cannot replace it.\nHint: remove it."
            )
        if self.partition_by and not manifest and others:
            raise SinkExistsError(
                f"{self._where}: {key!r} holds files that Glacier did not write there as a dataset "
                f"({', '.join(map(repr, others))}, ...); it would hide them, not replace them.\n"
                "Hint: remove them, or write to a folder of its own."
            )
        if not self.partition_by and (manifest or others):
            what = "a partitioned dataset" if manifest else "a folder"
            raise SinkExistsError(
                f"{self._where}: {key!r} is {what}; a file cannot replace it.\nHint: remove it, or write beside it."
            )
        if self.mode != "error":
            return None
        if manifest:
            found = objects.get(f"{key}/{VERSIONS}/{MANIFEST}")
            if found and datasets.parsed(found[1], PurePosixPath(key)).run != token:
                raise self._exists(key)
        if there is not None and not self._is_own(objects, there, mine.result() if mine else None):
            raise self._exists(key)
        return there

    def _below(self, objects: Objects, key: str) -> tuple[bool, list[str]]:
        """Return whether there is a dataset in the folder `key`, and the names of a few other files there."""
        others = []
        manifest = False
        for meta in objects.below(key):
            name = meta.key.removeprefix(f"{key}/")
            if name.startswith(f"{VERSIONS}/"):
                manifest = manifest or name == f"{VERSIONS}/{MANIFEST}"
            elif not any(part.startswith((".", "_")) for part in name.split("/")):
                others.append(name)
            if len(others) == 3:
                break
        return manifest, others

    def _is_own(self, objects: Objects, there: Meta, note: tuple[Meta, bytes] | None) -> bool:
        """Whether the object was published by an earlier attempt of this node in this run."""
        if note is None:
            return False
        noted = json.loads(note[1])
        if there.etag in noted["etags"]:
            return True
        staged = objects.head(noted["staged"]) if noted["staged"] else None
        return staged is not None and objects.same(staged, there)

    def _exists(self, key: str) -> SinkExistsError:
        return SinkExistsError(
            f"{self._where}: there is data at {key!r} already, and mode is 'error'.\n"
            "Hint: remove it, or use mode='overwrite'."
        )

    def own_folder(self, what: str) -> str:
        """Return this sink's folder for `what`, at the root of the bucket, where one rule of its lifecycle finds all.

        No other sink has it, so that a role for this one need not reach what others do.
        """
        return f"{OWN}/{what}/{hashlib.sha256(self.path.encode()).hexdigest()[:16]}"

    def _notes(self, key: str) -> str:
        return f"{self.own_folder('published')}/{hashlib.sha256(key.encode()).hexdigest()[:32]}"

    def _taken_over(self) -> StoreError:
        return StoreError(f"{self._where}: what was staged is gone; another attempt of the same run has taken over.")


@dataclass(frozen=True, kw_only=True)
class _Kept:
    stay: set[str]
    superseded: tuple[tuple[str, float], ...]


def _dated(dataset: Dataset, published: datetime) -> Dataset:
    """Return a dataset that says by the store's clock when its last version was superseded: when it was published."""
    *before, last = dataset.superseded or [None]
    if last is None:
        return dataset
    return replace(dataset, superseded=(*before, (last[0], published.timestamp())))
