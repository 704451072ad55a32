"""Azure Blob Storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from glacier_prefect.credentials.azure import AzureCredentials
from glacier_prefect.sources.cloud import CloudLocation, CloudSource
from glacier_prefect.sources.cloud_sink import CloudSink


@dataclass(frozen=True, kw_only=True, eq=False)
class _Azure(CloudLocation):
    provider_name: ClassVar[str] = "azure"
    separate_uploads: ClassVar[bool] = False  # the blocks of two uploads to one name are mixed up, or one is refused

    storage_account: str | None = None
    resource_group: str | None = None
    location: str | None = None

    @property
    def credentials(self) -> AzureCredentials:
        """What finds the credentials for this location."""
        return AzureCredentials(
            storage_account=self.storage_account,
            endpoint_url=self.endpoint_url,
            credentials_block=self.credentials_block,
            credentials_secret=self.credentials_secret,
        )

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
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a secret that holds credentials.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class AzureBlobSink(_Azure, CloudSink):
    """A sink in an Azure container; `bucket` is the container.

    Attributes:
        storage_account: Name of the storage account.
        resource_group: Resource group of the account.
        location: Azure region, as in "eastus".
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a secret that holds credentials.
    """

    source: ClassVar[type[CloudSource]] = AzureBlobSource
