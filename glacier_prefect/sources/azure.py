"""Azure Blob Storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from glacier_prefect.sources.base import CloudLocation, CloudSink, CloudSource


@dataclass(frozen=True, kw_only=True, eq=False)
class _Azure(CloudLocation):
    provider_name: ClassVar[str] = "azure"

    storage_account: str | None = None
    resource_group: str | None = None
    location: str | None = None

    @property
    def root(self) -> str:
        account = self._require(self.storage_account, "storage_account", "AZURE_STORAGE_ACCOUNT_NAME", "AzureProvider")
        return f"abfss://{self.full_bucket}@{account}.dfs.core.windows.net"


@dataclass(frozen=True, kw_only=True, eq=False)
class AzureBlobSource(_Azure, CloudSource):
    """A source in an Azure container; `bucket` is the container.

    Attributes:
        storage_account: Name of the storage account.
        resource_group: Resource group of the account.
        location: Azure region, as in "eastus".
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class AzureBlobSink(_Azure, CloudSink):
    """A sink in an Azure container; `bucket` is the container.

    Attributes:
        storage_account: Name of the storage account.
        resource_group: Resource group of the account.
        location: Azure region, as in "eastus".
    """

    def twin(self) -> AzureBlobSource:
        return AzureBlobSource(
            bucket=self.bucket,
            path=self.path,
            format=self.format,
            bucket_prefix=self.bucket_prefix,
            storage_account=self.storage_account,
            resource_group=self.resource_group,
            location=self.location,
            managed=True,
        )
