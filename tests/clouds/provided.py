"""The provider of an emulator, as a user's environment variables would make it."""

from __future__ import annotations

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider, Provider

KINDS: dict[str, type[Provider]] = {"s3": AWSProvider, "azure": AzureProvider, "gcs": GCPProvider}


def variables(cloud: S3 | Azure | GCS) -> dict[str, str]:
    """The variables of a cloud's environment."""
    return {**cloud.env, "NO_PROXY": "127.0.0.1"}


def provider_of(cloud: S3 | Azure | GCS) -> Provider:
    """The provider that follows from them."""
    return KINDS[cloud.name].from_env()
