"""Sources and sinks by store; users get them from a provider."""

from glacier_prefect.sources.azure import AzureBlobSink, AzureBlobSource
from glacier_prefect.sources.base import Location, Sink, Source
from glacier_prefect.sources.gcs import GCSSink, GCSSource
from glacier_prefect.sources.local import LocalSink, LocalSource
from glacier_prefect.sources.s3 import S3Sink, S3Source

__all__ = [
    "AzureBlobSink",
    "AzureBlobSource",
    "GCSSink",
    "GCSSource",
    "LocalSink",
    "LocalSource",
    "Location",
    "S3Sink",
    "S3Source",
    "Sink",
    "Source",
]
