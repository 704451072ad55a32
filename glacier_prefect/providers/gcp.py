"""Google Cloud as a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.environments import first_variable
from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.gcs import GCSSink, GCSSource


@dataclass(frozen=True, kw_only=True)
class GCPProvider(Provider):
    """Google Cloud.

    Attributes:
        project_id: Google Cloud project.
        region: Region, as in "us-central1".
    """

    name: ClassVar[str] = "gcp"

    project_id: str | None = None
    region: str | None = None

    @classmethod
    def from_env(cls) -> GCPProvider:
        """Return the provider for `GOOGLE_CLOUD_PROJECT` and `GOOGLE_CLOUD_REGION`."""
        return cls(project_id=first_variable("GOOGLE_CLOUD_PROJECT"), region=first_variable("GOOGLE_CLOUD_REGION"))

    def _source(self, **settings: Any) -> Source:
        return GCSSource(**settings, project_id=self.project_id, region=self.region)

    def _sink(self, **settings: Any) -> Sink:
        return GCSSink(**settings, project_id=self.project_id, region=self.region)
