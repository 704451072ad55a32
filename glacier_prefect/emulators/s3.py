"""S3, and all else of AWS that `moto[server]` has: STS, IAM, ECS, ECR, Secrets Manager, logs.

It does not look at signatures: that credentials are right, or expired, it cannot tell.
"""

from __future__ import annotations

import importlib.util
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from .start import Unavailable, server

if TYPE_CHECKING:
    from obstore.store import S3Store


@dataclass(frozen=True, kw_only=True)
class S3:
    """A running emulator of AWS, and how to reach it."""

    name: ClassVar[str] = "s3"
    scheme: ClassVar[str] = "s3"

    port: int
    access_key_id: str = "emulator"
    secret_access_key: str = field(default="emulator-secret", repr=False)
    region: str = "us-east-1"

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Self]:
        """Run it while the block runs.

        Raises:
            Unavailable: moto is not installed, or does not start.
        """
        if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
            raise Unavailable("The emulator of S3 needs moto. Run: pip install 'glacier-prefect[emulators]'")
        with server("s3", lambda port, _: [sys.executable, "-m", f"{__package__}.s3_server", str(port)]) as port:
            yield cls(port=port)

    def at(self, port: int) -> Self:
        """Return the same emulator, reached through a proxy with that port."""
        return replace(self, port=port)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def storage_options(self) -> dict[str, str]:
        """What Polars takes."""
        return {
            "aws_endpoint_url": self.url,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
            "aws_region": self.region,
        }

    @property
    def env(self) -> dict[str, str]:
        """The variables by which AWS's SDKs, Polars, obstore and `AWSProvider.from_env()` find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,  # boto3 looks at this one only
            "AWS_ALLOW_HTTP": "true",  # obstore
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def uri(self, bucket: str, key: str) -> str:
        """Return the address of an object as Polars takes it."""
        return f"s3://{bucket}/{key}"

    def store(self, bucket: str) -> S3Store:
        """Return obstore's store of a bucket."""
        from obstore.store import S3Store

        return S3Store(
            bucket,
            endpoint=self.url,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            region=self.region,
            copy_if_not_exists="multipart",
            client_options={"allow_http": True},
        )

    def make_bucket(self, bucket: str) -> None:
        """Create a bucket, if it is not there."""
        # Unsigned, so from nowhere: for the region us-east-1 S3 wants no body.
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/{bucket}", method="PUT"), timeout=60).close()
