"""Microsoft Azure as a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.environments import first_variable
from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.azure import AzureBlobSink, AzureBlobSource
from glacier_prefect.sources.base import Sink, Source


@dataclass(frozen=True, kw_only=True)
class AzureProvider(Provider):
    """Microsoft Azure; a bucket is a container of the storage account.

    Attributes:
        resource_group: Resource group of the storage account.
        location: Azure region, as in "eastus".
        storage_account: Name of the storage account.
    """

    name: ClassVar[str] = "azure"

    resource_group: str | None = None
    location: str | None = None
    storage_account: str | None = None

    @classmethod
    def from_env(cls) -> AzureProvider:
        """Return the provider for `AZURE_RESOURCE_GROUP`, `AZURE_LOCATION` and `AZURE_STORAGE_ACCOUNT_NAME`."""
        return cls(
            resource_group=first_variable("AZURE_RESOURCE_GROUP"),
            location=first_variable("AZURE_LOCATION"),
            storage_account=first_variable("AZURE_STORAGE_ACCOUNT_NAME"),
        )

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
