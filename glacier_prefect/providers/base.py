"""What every provider is: it makes sources and sinks. Constructing one imports no SDK and makes no call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.environments import first_variable
from glacier_prefect.registry import Registry

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.sources.base import Mode, Sink, Source

PROVIDERS = Registry(
    kind="provider",
    group="glacier_prefect.providers",
    table={
        "aws": "glacier_prefect.providers.aws:AWSProvider",
        "azure": "glacier_prefect.providers.azure:AzureProvider",
        "gcp": "glacier_prefect.providers.gcp:GCPProvider",
        "local": "glacier_prefect.providers.local:LocalProvider",
    },
)


@dataclass(frozen=True, kw_only=True)
class Provider(ABC):
    """A cloud, or the local disk.

    Attributes:
        name: The registry key.
    """

    name: ClassVar[str]

    @classmethod
    def from_env(cls) -> Provider:
        """Return the provider that the process's variables describe.

        `Provider.from_env()` takes the kind from `GLACIER_PROVIDER` (aws, azure, gcp, local) and is a LocalProvider if
        nothing is set; each provider's own `from_env()` lists its variables.
        """
        kind: type[Provider] = PROVIDERS.load(first_variable("GLACIER_PROVIDER") or "local")
        return kind.from_env()

    def bucket_source(
        self,
        bucket: str,
        path: str,
        *,
        format: str | None = None,
        schema: Mapping[str, Any] | None = None,
        checks: Iterable[pl.Expr] | pl.Expr = (),
        options: Mapping[str, Any] | None = None,
    ) -> Source:
        """Return a source: where data is read from.

        Args:
            bucket: Name of the bucket.
            path: A file, a folder, or a glob inside it; `{run_date:%Y-%m-%d}` and `{parameter}` are filled when a node
                runs.
            format: parquet, csv, ndjson, ipc or delta; by suffix if None, Parquet for a folder.
            schema: Columns that have to be there, and their types.
            checks: Expressions that have to be true for each row.
            options: Options of Polars' scan function, as in `{"separator": ";"}`.
        """
        given = {
            "bucket": bucket,
            "path": path,
            "format": format,
            "schema": schema,
            "checks": checks,
            "options": options or {},
        }
        return self._source(**given, managed=True)

    def bucket_sink(
        self,
        bucket: str,
        path: str,
        *,
        mode: Mode = "overwrite",
        partition_by: str | Iterable[str] = (),
        format: str | None = None,
        schema: Mapping[str, Any] | None = None,
        checks: Iterable[pl.Expr] | pl.Expr = (),
        options: Mapping[str, Any] | None = None,
    ) -> Sink:
        """Return a sink: where data is written to.

        Args:
            bucket: Name of the bucket.
            path: A file, or with `partition_by` a folder, inside it; may have `{run_date:%Y-%m-%d}` and `{parameter}`
                fields.
            mode: "overwrite", "error" if something is there, or "append" (delta).
            partition_by: Columns whose values become `key=value` folders.
            format: parquet, csv, ndjson, ipc or delta; by suffix if None, Parquet for a folder.
            schema: Columns that have to be there, and their types.
            checks: Expressions that have to be true for each row; else nothing is published.
            options: Options of Polars' sink function, as in `{"compression": "zstd"}`.
        """
        given = {
            "bucket": bucket,
            "path": path,
            "format": format,
            "schema": schema,
            "checks": checks,
            "options": options or {},
        }
        return self._sink(**given, mode=mode, partition_by=partition_by, managed=True)

    @abstractmethod
    def _source(self, **settings: Any) -> Source:
        """Make this provider's source."""

    @abstractmethod
    def _sink(self, **settings: Any) -> Sink:
        """Make this provider's sink."""
