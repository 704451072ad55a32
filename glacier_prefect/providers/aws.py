"""Amazon Web Services as a provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.s3 import S3Sink, S3Source


@dataclass(frozen=True, kw_only=True)
class AWSProvider(Provider):
    """Amazon Web Services.

    Attributes:
        region: AWS region, as in "us-east-1" (`AWS_REGION`, `AWS_DEFAULT_REGION`).
        profile: Profile of the AWS configuration files (`AWS_PROFILE`).
        endpoint_url: Address of an S3-compatible store (`AWS_ENDPOINT_URL`).
    """

    name: ClassVar[str] = "aws"
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
        "profile": ("AWS_PROFILE",),
        "endpoint_url": ("AWS_ENDPOINT_URL",),
    }

    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None

    def _source(self, **settings: Any) -> Source:
        return S3Source(**settings, region=self.region)

    def _sink(self, **settings: Any) -> Sink:
        return S3Sink(**settings, region=self.region)
