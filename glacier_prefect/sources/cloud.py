"""Locations on a cloud's object store, and reading from them: what is the same on all of them.

Data is read by Polars' own cloud I/O, everything else is asked of the store by obstore. Writing is in `cloud_sink`.
"""

from __future__ import annotations

import contextlib
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.errors import (
    ConfigurationError,
    GlacierError,
    SourceChangedError,
    SourceNotFoundError,
    UnreadableError,
)
from glacier_prefect.sources.base import Location, Source
from glacier_prefect.sources.listing import Listing, OverlayTree, Tree, find, fixed_parts
from glacier_prefect.sources.objects import Meta, Objects, explained
from glacier_prefect.sources.paths import RESERVED, is_glob
from glacier_prefect.sources.reading import Opened, read
from glacier_prefect.sources.steady import ATTEMPTS, Scan, note
from glacier_prefect.sources.store_tree import StoreTree

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.credentials.base import Credentials

OWN = ".glacier"
RETRIES = {"max_retries": 8, "retry_timeout_ms": 120_000, "retry_init_backoff_ms": 100, "retry_max_backoff_ms": 10_000}
"""How often Polars repeats a call that failed with 429, 5xx or a broken connection."""
FEW = 4  # objects that are asked for one by one rather than by a listing


@dataclass(frozen=True, kw_only=True, eq=False)
class CloudLocation(Location):
    """A location on a cloud's store.

    Attributes:
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a secret that holds credentials.
    """

    has_previews: ClassVar[bool] = True
    copy_limit: ClassVar[int | None] = None
    """The most bytes that the store copies in one step."""
    separate_uploads: ClassVar[bool] = True
    """Whether what is uploaded to one name at the same time stays apart until it is whole."""

    endpoint_url: str | None = None
    credentials_block: str | None = None
    credentials_secret: str | None = None

    @property
    @abstractmethod
    def credentials(self) -> Credentials:
        """What finds the credentials for this location."""

    @property
    def objects(self) -> Objects:
        """The bucket's objects."""
        return Objects(self.credentials.store(self.full_bucket, self.within), self._where)

    def _discard(self) -> int:
        objects = self.objects  # of the folder alone, so that nothing outside it can be reached
        keys = [meta.key for meta in objects.below("")]
        with ThreadPoolExecutor(max_workers=16) as pool:  # the calls wait for the store, not for each other
            list(pool.map(lambda key: objects.delete([key]), keys))
        return len(keys)

    @property
    def _where(self) -> str:
        return f"{self} ({self.provider_name}, bucket {self.full_bucket!r})"

    @property
    def _polars(self) -> dict[str, Any]:
        """Options by which Polars reaches the store."""
        credentials = self.credentials
        return {"storage_options": {**credentials.storage_options(), **RETRIES}, "credential_provider": credentials}

    def _uri(self, key: str | PurePath) -> str:
        """Return the URI of an object as Polars takes it: nothing in it is quoted."""
        return f"{self.home}/{key}"

    @contextlib.contextmanager
    def _explaining(self, key: str) -> Iterator[None]:
        """Raise in place of an error of Polars the one that it means."""
        try:
            yield
        except BaseException as error:  # a panic of Polars is not an Exception
            if (meant := explained(error, self._where, key)) is None:
                raise
            raise meant from None

    def overlaps(self, other: Location) -> bool:
        elsewhere = isinstance(other, CloudLocation) and other.endpoint_url != self.endpoint_url
        return not elsewhere and super().overlaps(other)

    @staticmethod
    def _require(value: str | None, argument: str, variable: str, owner: str) -> str:
        if not value:
            raise ConfigurationError(f"{owner} needs {argument}=, or the environment variable {variable}.")
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class CloudSource(CloudLocation, Source):
    """A source on a cloud's store."""

    def etags(self, keys: Sequence[str]) -> dict[str, str | None]:
        """Return the present etag of each object; None for one that is gone."""
        objects = self.objects
        found: Iterable[Meta | None] = map(objects.head, keys)
        if len(keys) > FEW:
            folders = {key.rpartition("/")[0] for key in keys}
            found = (meta for folder in _outermost(folders) for meta in objects.below(folder))
        present = {meta.key: meta.etag for meta in found if meta}
        return {key: present.get(key) for key in keys}

    def explained(self, error: BaseException) -> Exception | None:
        """Return what is to be raised in place of an error of Polars; None if it is not about reading."""
        if isinstance(error, GlacierError) or re.search(r"Error performing (PUT|POST|DELETE)", str(error)):
            return None
        return explained(error, self._where, self.path)

    def _open(self, path: str) -> pl.LazyFrame:
        for _ in range(ATTEMPTS):
            tree, metas, listing = self._list(path)
            if not listing.files and not listing.datasets:
                raise SourceNotFoundError(self._not_found(path))
            etags = {str(each.path): metas[str(each.path)].etag for each in listing.files if not each.dataset}
            try:
                frame = read(self, listing, tree, partial(self._opened, path, metas, listing, etags))
                frame.collect_schema()  # what is wrong with the first file shows here; Polars does not ask for it again
                return frame
            except BaseException as error:  # a panic of Polars is not an Exception
                if (meant := explained(error, self._where, path)) is None:
                    raise
                if self.etags(list(etags)) == etags:
                    raise meant from None
        raise SourceChangedError(
            f"{self._where}: {path!r} was replaced while it was opened, {ATTEMPTS} times in a row."
        )

    def _opened(
        self, path: str, found: Mapping[str, Meta], listing: Listing, etags: Mapping[str, str], _: list[str]
    ) -> Opened:
        uris = [self._uri(each.path) for each in listing.files]
        if self.file_format.typed and (empty := next((key for key in etags if not found[key].size), None)):
            raise UnreadableError(f"{self._where}, {empty!r}: the file is empty.\nHint: write it again, or remove it.")
        note(uris, Scan(objects=self, etags=etags))
        sizes = None
        if self.file_format.name == "ndjson":
            metas = {**found, **{meta.key: meta for meta in self._of_datasets(listing)}}
            sizes = [metas[str(each.path)].size for each in listing.files]
        # Polars would take the `key=value` folders of the path's fixed part for keys, and those of a dataset too; and
        # it counts on the same folders above all files, which those of an overlay do not have.
        parts = path.split("/")
        own = any("=" in part for part in parts[: fixed_parts(parts)]) or any(
            str(each.path) != each.name for each in listing.files
        )
        return Opened(files=uris, shown=uris, keyed=None if own else uris, sizes=sizes, options=self._polars)

    def _objects(self, path: str) -> list[tuple[str, int, str]]:
        _, found, listing = self._list(path)
        metas = [found[str(each.path)] for each in listing.files if not each.dataset]
        return [(meta.key, meta.size, meta.etag) for meta in [*metas, *self._of_datasets(listing)]]

    def _of_datasets(self, listing: Listing) -> list[Meta]:
        objects = self.objects
        wanted = {str(each.path) for each in listing.files} | {str(each.schema_file) for each in listing.datasets}
        return [meta for each in listing.datasets for meta in objects.below(str(each.version)) if meta.key in wanted]

    def _list(self, path: str) -> tuple[Tree, dict[str, Meta], Listing]:
        """Return the tree that was searched, what it knows of objects by their keys, and what was found."""
        objects, matches = self.objects, self.file_format.matches
        for above in (False, True):
            store = StoreTree(objects, path, matches, above=above)
            over = StoreTree(objects, path, matches, above=True, within=self.overlay)
            tree = OverlayTree(over, store) if self.overlay else store
            listing = find(tree, path, matches)
            if listing.files or listing.datasets or "/" not in path.rstrip("/"):
                break
        return tree, store.metas | over.metas, listing

    def _not_found(self, path: str) -> str:
        folder = path.rstrip("/").rpartition("/")[0]
        while is_glob(folder) or (folder and not self._some(folder)):
            folder = folder.rpartition("/")[0]
        what = f"no object matches {path!r}" if is_glob(path) else f"there is no object {path!r}"
        return (
            f"{self._where}: {what}, and no {self.file_format.name} file below it. Files there: {self._some(folder)}."
        )

    def _some(self, folder: str) -> str:
        keys = (meta.key for meta in self.objects.below(folder) if not {*RESERVED} & {*meta.key.split("/")})
        return ", ".join(repr(key) for key, _ in zip(keys, range(5), strict=False)) or ("none" if not folder else "")


def _outermost(folders: Iterable[str]) -> list[str]:
    """Return the folders that are not below another of them."""
    found: list[str] = []
    for folder in sorted(folders):
        if not any(not each or folder == each or folder.startswith(f"{each}/") for each in found):
            found.append(folder)
    return found
