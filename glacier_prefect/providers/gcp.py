"""Google Cloud as a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.gcs import GCSSink, GCSSource


@dataclass(frozen=True, kw_only=True)
class GCPProvider(Provider):
    """Google Cloud.

    Attributes:
        project_id: Google Cloud project (`GOOGLE_CLOUD_PROJECT`).
        region: Region, as in "us-central1" (`GOOGLE_CLOUD_REGION`).
    """

    name: ClassVar[str] = "gcp"
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "project_id": ("GOOGLE_CLOUD_PROJECT",),
        "region": ("GOOGLE_CLOUD_REGION",),
    }

    project_id: str | None = None
    region: str | None = None

    def _source(self, **settings: Any) -> Source:
        return GCSSource(**settings, project_id=self.project_id, region=self.region)

    def _sink(self, **settings: Any) -> Sink:
        return GCSSink(**settings, project_id=self.project_id, region=self.region)
