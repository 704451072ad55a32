"""A folder of a bucket through which machines hand files to each other, beside the disk that each has of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from glacier_prefect.sources.cloud import CloudLocation
from glacier_prefect.sources.objects import explained

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A folder of a bucket; pickled, it has the names of the credentials and no secrets.

    Attributes:
        location: Something in the bucket, which knows how to reach it.
        folder: The folder.
    """

    location: CloudLocation
    folder: str

    def put(self, file: Path, name: str | None = None) -> None:
        """Copy a file into the folder, in parts if it is large; under its own name unless another is given."""
        import obstore

        name = name or file.name
        with self._explaining(name):
            obstore.put(self.location.objects.store, self._key(name), file)

    def get(self, name: str) -> bytes | None:
        """Return the content of a file, None if it is not there."""
        found = self.location.objects.get(self._key(name))
        return None if found is None else found[1]

    def names(self) -> list[str]:
        """Return the names of all files in the folder."""
        return [meta.key.removeprefix(f"{self.folder}/") for meta in self.location.objects.below(self.folder)]

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None if it is not there."""
        found = self.location.objects.head(self._key(name))
        return None if found is None else found.size

    def scan(self, name: str) -> pl.LazyFrame:
        """Return a scan of a Parquet file, or of a folder of them (with a slash at its end) with other files in it."""
        import polars as pl

        credentials = self.location.credentials
        with self._explaining(name):
            return pl.scan_parquet(
                self.uri(f"{name}*.parquet" if name.endswith("/") else name),
                glob=name.endswith("/"),
                hive_partitioning=False,
                storage_options=credentials.storage_options(),
                credential_provider=credentials,
            )

    def uri(self, name: str) -> str:
        """Return the address of a file."""
        return f"{self.location.home}/{self._key(name)}"

    def expire(self, days: float) -> None:
        """Remove files that are older, by the clock of this machine."""
        objects, oldest = self.location.objects, datetime.now(UTC) - timedelta(days=days)
        objects.delete([meta.key for meta in objects.below(self.folder) if meta.modified < oldest])

    def _key(self, name: str) -> str:
        return f"{self.folder}/{name}"

    @contextmanager
    def _explaining(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if (meant := explained(error, self.uri(name), self._key(name))) is None:
                raise
            raise meant from None
