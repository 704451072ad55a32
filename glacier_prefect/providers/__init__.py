"""Providers: a cloud or the local disk."""

from __future__ import annotations

from glacier_prefect.providers.aws import AWSProvider
from glacier_prefect.providers.azure import AzureProvider
from glacier_prefect.providers.base import PROVIDERS, Provider
from glacier_prefect.providers.gcp import GCPProvider
from glacier_prefect.providers.local import LocalProvider

__all__ = ["PROVIDERS", "AWSProvider", "AzureProvider", "GCPProvider", "LocalProvider", "Provider"]
