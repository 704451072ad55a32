"""Microsoft Azure as a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.azure import AzureBlobSink, AzureBlobSource
from glacier_prefect.sources.base import Sink, Source


@dataclass(frozen=True, kw_only=True)
class AzureProvider(Provider):
    """Microsoft Azure; a bucket is a container of the storage account.

    Attributes:
        resource_group: Resource group of the storage account (`AZURE_RESOURCE_GROUP`).
        location: Azure region, as in "eastus" (`AZURE_LOCATION`).
        storage_account: Name of the storage account (`AZURE_STORAGE_ACCOUNT_NAME`).
    """

    name: ClassVar[str] = "azure"
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "resource_group": ("AZURE_RESOURCE_GROUP",),
        "location": ("AZURE_LOCATION",),
        "storage_account": ("AZURE_STORAGE_ACCOUNT_NAME",),
    }

    resource_group: str | None = None
    location: str | None = None
    storage_account: str | None = None

    def _source(self, **settings: Any) -> Source:
        return AzureBlobSource(**settings, **self._place())

    def _sink(self, **settings: Any) -> Sink:
        return AzureBlobSink(**settings, **self._place())

    def _place(self) -> dict[str, Any]:
        return {
            "resource_group": self.resource_group,
            "location": self.location,
            "storage_account": self.storage_account,
        }
