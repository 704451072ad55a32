"""Storage servers that speak a cloud's own protocol on this machine, for tests: of Glacier and of users' pipelines.

`with S3.start() as s3:` runs one on a free port of loopback until the block ends, or this process, however it does;
`s3` says how to reach it. Importing this loads nothing but the standard library, and nothing here knows of Glacier's
other modules.
"""

from __future__ import annotations

from .azure import Azure
from .gcs import GCS
from .s3 import S3
from .start import Unavailable

__all__ = ["GCS", "S3", "Azure", "Unavailable"]
