"""Amazon S3 and compatible stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from glacier_prefect.sources.base import CloudLocation, CloudSink, CloudSource


@dataclass(frozen=True, kw_only=True, eq=False)
class _S3(CloudLocation):
    provider_name: ClassVar[str] = "aws"

    region: str | None = None

    @property
    def root(self) -> str:
        return f"s3://{self.full_bucket}"


@dataclass(frozen=True, kw_only=True, eq=False)
class S3Source(_S3, CloudSource):
    """A source in an S3 bucket.

    Attributes:
        region: AWS region of the bucket.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class S3Sink(_S3, CloudSink):
    """A sink in an S3 bucket.

    Attributes:
        region: AWS region of the bucket.
    """

    def twin(self) -> S3Source:
        return S3Source(
            bucket=self.bucket,
            path=self.path,
            format=self.format,
            bucket_prefix=self.bucket_prefix,
            region=self.region,
            managed=True,
        )
