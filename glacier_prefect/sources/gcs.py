"""Google Cloud Storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from glacier_prefect.credentials.gcp import GCPCredentials
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.sources.cloud import CloudLocation, CloudSource
from glacier_prefect.sources.cloud_sink import CloudSink
from glacier_prefect.sources.delta import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class _GCS(CloudLocation):
    provider_name: ClassVar[str] = "gcp"

    project_id: str | None = None
    region: str | None = None

    @property
    def credentials(self) -> GCPCredentials:
        """What finds the credentials for this location."""
        return GCPCredentials(
            project_id=self.project_id,
            endpoint_url=self.endpoint_url,
            credentials_block=self.credentials_block,
            credentials_secret=self.credentials_secret,
        )

    @property
    def root(self) -> str:
        return f"gs://{self.full_bucket}"

    def _table(self, path: str, within: str) -> Table:
        if not self.credentials.found_by_deltalake:
            raise ConfigurationError(
                f"{self}: deltalake finds Google's credentials itself. It takes none of credentials_block= or "
                "credentials_secret=, and no federated or impersonated ones.\n"
                "Hint: use the service account of the machine or job, or GOOGLE_APPLICATION_CREDENTIALS with its key."
            )
        return super()._table(path, within)


@dataclass(frozen=True, kw_only=True, eq=False)
class GCSSource(_GCS, CloudSource):
    """A source in a GCS bucket.

    Attributes:
        project_id: Google Cloud project.
        region: Location of the bucket.
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a secret that holds credentials.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class GCSSink(_GCS, CloudSink):
    """A sink in a GCS bucket.

    Attributes:
        project_id: Google Cloud project.
        region: Location of the bucket.
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a secret that holds credentials.
    """

    source: ClassVar[type[CloudSource]] = GCSSource
