"""Credentials of each cloud, found when they are first used, and secrets of users' own."""

from __future__ import annotations

from glacier_prefect.credentials.aws import AWSCredentials
from glacier_prefect.credentials.azure import AzureCredentials
from glacier_prefect.credentials.base import Credentials, Used
from glacier_prefect.credentials.gcp import GCPCredentials
from glacier_prefect.credentials.secrets import Secret

__all__ = ["AWSCredentials", "AzureCredentials", "Credentials", "GCPCredentials", "Secret", "Used"]
