"""Google Cloud Storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from glacier_prefect.sources.base import CloudLocation, CloudSink, CloudSource


@dataclass(frozen=True, kw_only=True, eq=False)
class _GCS(CloudLocation):
    provider_name: ClassVar[str] = "gcp"

    project_id: str | None = None
    region: str | None = None

    @property
    def root(self) -> str:
        return f"gs://{self.full_bucket}"


@dataclass(frozen=True, kw_only=True, eq=False)
class GCSSource(_GCS, CloudSource):
    """A source in a GCS bucket.

    Attributes:
        project_id: Google Cloud project.
        region: Location of the bucket.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class GCSSink(_GCS, CloudSink):
    """A sink in a GCS bucket.

    Attributes:
        project_id: Google Cloud project.
        region: Location of the bucket.
    """

    def twin(self) -> GCSSource:
        return GCSSource(
            bucket=self.bucket,
            path=self.path,
            format=self.format,
            bucket_prefix=self.bucket_prefix,
            project_id=self.project_id,
            region=self.region,
            managed=True,
        )
