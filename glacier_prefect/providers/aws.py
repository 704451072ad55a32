"""Amazon Web Services as a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.environments import first_variable
from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.s3 import S3Sink, S3Source


@dataclass(frozen=True, kw_only=True)
class AWSProvider(Provider):
    """Amazon Web Services.

    Attributes:
        region: AWS region, as in "us-east-1".
        profile: Profile of the AWS configuration files.
        endpoint_url: Address of an S3-compatible store.
    """

    name: ClassVar[str] = "aws"

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None

    @classmethod
    def from_env(cls) -> AWSProvider:
        """Return the provider for `AWS_REGION` or `AWS_DEFAULT_REGION`, `AWS_PROFILE` and `AWS_ENDPOINT_URL`."""
        return cls(
            region=first_variable("AWS_REGION", "AWS_DEFAULT_REGION"),
            profile=first_variable("AWS_PROFILE"),
            endpoint_url=first_variable("AWS_ENDPOINT_URL"),
        )

    def _source(self, **settings: Any) -> Source:
        return S3Source(**settings, region=self.region)

    def _sink(self, **settings: Any) -> Sink:
        return S3Sink(**settings, region=self.region)
