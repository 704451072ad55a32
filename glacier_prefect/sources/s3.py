"""Amazon S3 and compatible stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from glacier_prefect.credentials.aws import AWSCredentials
from glacier_prefect.sources.cloud import CloudLocation, CloudSource
from glacier_prefect.sources.cloud_sink import CloudSink


@dataclass(frozen=True, kw_only=True, eq=False)
class _S3(CloudLocation):
    provider_name: ClassVar[str] = "aws"
    copy_limit: ClassVar[int | None] = 5 * 1024**3

    region: str | None = None
    profile: str | None = None

    @property
    def credentials(self) -> AWSCredentials:
        """What finds the credentials for this location."""
        return AWSCredentials(
            region=self.region,
            profile=self.profile,
            endpoint_url=self.endpoint_url,
            credentials_block=self.credentials_block,
            credentials_secret=self.credentials_secret,
        )

    @property
    def lists_bucket(self) -> bool:
        # deltalake asks for objects that may not be there, which S3 denies to a role that may list some prefixes only
        return self.is_delta

    @property
    def root(self) -> str:
        return f"s3://{self.full_bucket}"


@dataclass(frozen=True, kw_only=True, eq=False)
class S3Source(_S3, CloudSource):
    """A source in an S3 bucket.

    Attributes:
        region: AWS region of the bucket.
        profile: Profile of the AWS configuration files.
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a secret that holds credentials.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class S3Sink(_S3, CloudSink):
    """A sink in an S3 bucket.

    Attributes:
        region: AWS region of the bucket.
        profile: Profile of the AWS configuration files.
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a secret that holds credentials.
    """

    source: ClassVar[type[CloudSource]] = S3Source
