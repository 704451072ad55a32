"""The local disk as a provider: a bucket is a folder below `base_path`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.environments import first_variable
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.local import LocalSink, LocalSource

if TYPE_CHECKING:
    from prefect.filesystems import LocalFileSystem

    from glacier_prefect.sources.base import Sink, Source


@dataclass(frozen=True, kw_only=True)
class LocalProvider(Provider):
    """The local disk.

    Attributes:
        base_path: Folder that holds the buckets; relative to the working directory.

    Example:
        `LocalProvider(base_path="./data").bucket_source(bucket="my-data", path="orders/*.parquet")` reads `data/my-
        data/orders/`.
    """

    name: ClassVar[str] = "local"

    base_path: str | os.PathLike[str] = "data"

    def __post_init__(self) -> None:
        if not isinstance(self.base_path, str | os.PathLike) or not str(self.base_path):
            raise ConfigurationError(
                f"LocalProvider has base_path={self.base_path!r}; expected a folder, as in base_path='./data'."
            )
        object.__setattr__(self, "base_path", os.fspath(self.base_path))

    @classmethod
    def from_env(cls) -> LocalProvider:
        """Return the provider for `GLACIER_BASE_PATH`, "data" if that is not set."""
        return cls(base_path=first_variable("GLACIER_BASE_PATH") or "data")

    def storage_block(self, bucket: str) -> LocalFileSystem:
        """Return Prefect's `LocalFileSystem` block for the bucket's folder; it is not saved."""
        from prefect.filesystems import LocalFileSystem

        return LocalFileSystem(
            basepath=str(LocalSource(bucket=bucket, path="", base_path=str(self.base_path), managed=True).folder)
        )

    def _source(self, **settings: Any) -> Source:
        return LocalSource(**settings, base_path=str(self.base_path))

    def _sink(self, **settings: Any) -> Sink:
        return LocalSink(**settings, base_path=str(self.base_path))
