"""A folder of a Unity Catalog volume as the place of a parcel."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glacier_prefect import run_context
from glacier_prefect.exchange import scan_file
from glacier_prefect.executors.databricks_workspace import Workspace
from glacier_prefect.executors.parcel import Place

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class VolumePlace(Place):
    """A folder of a Unity Catalog volume, a path there and an address of the Files API here."""

    workspace: Workspace
    folder: str

    def uri(self, name: str) -> str:
        return f"{self.folder}/{name}".rstrip("/")

    def put(self, name: str, file: Path) -> None:
        self.workspace.upload(self.uri(name), file)

    def read(self, name: str) -> bytes | None:
        return self.workspace.read(self.uri(name))

    def scan(self, name: str) -> pl.LazyFrame:
        """Return a scan of a copy on this machine, since nothing but Databricks reads a volume in parts."""
        import polars as pl

        context = run_context.current()
        assert context is not None
        here = Path(context.exchange) / f"volume-{hashlib.blake2b(self.folder.encode(), digest_size=8).hexdigest()}"
        if not name.endswith("/"):
            self.workspace.download(self.uri(name), here / name)
            return scan_file(here / name)
        for each in self.workspace.files(self.uri(name)):
            if each.endswith(".parquet"):
                self.workspace.download(self.uri(f"{name}{each}"), here / name / each)
        return pl.scan_parquet(here / name)
