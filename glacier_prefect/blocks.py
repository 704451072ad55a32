"""Prefect's blocks as plain values: what a provider says of a bucket, to save in Prefect or to make the block of here.

They hold no secrets: where a bucket is, and whose credentials are used. Importing this loads neither Prefect nor a
cloud SDK; making a block does, so it happens where the block is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from glacier_prefect.credentials.base import check_installed, required


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of block.

    Attributes:
        place: Its class, as in "prefect_aws:S3Bucket".
        slug: Prefect's name of the type.
        extra: The extra of Glacier that brings it; None for what Prefect itself has.
    """

    place: str
    slug: str
    extra: str | None = None

    def check(self) -> None:
        """Make sure that the class is installed, without importing it.

        Raises:
            NotAvailableError: It is not; says which extra to install.
        """
        check_installed(self.place.partition(":")[0], self.extra or "local")

    def load(self) -> Any:
        """Return the class.

        Raises:
            NotAvailableError: It is not installed; says which extra to install.
        """
        module, _, name = self.place.partition(":")
        return getattr(required(module, self.extra or "local"), name)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block that Glacier describes.

    Attributes:
        kind: Its type.
        data: Its fields; one may be a block itself, or a `Saved` one.
    """

    kind: Kind
    data: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return its fields as Prefect's API takes them, but for references to saved blocks: these are by name."""
        return {name: _plain(value) for name, value in self.data.items()}

    def make(self) -> Any:
        """Return the block itself; it is not saved."""
        values = {
            name: value.make() if isinstance(value, Block | Saved) else value for name, value in self.data.items()
        }
        return self.kind.load()(**values)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A block that the user has saved in Prefect.

    Attributes:
        kind: Its type.
        name: Its name.
    """

    kind: Kind
    name: str

    @property
    def reference(self) -> dict[str, Any]:
        """What stands for it in the fields of another block, and in the defaults of a work pool."""
        return {"$ref": {"block_document_slug": f"{self.kind.slug}/{self.name}"}}

    def make(self) -> Any:
        """Return the block itself."""
        return self.kind.load().load(self.name)


def _plain(value: Any) -> Any:
    if isinstance(value, Saved):
        return value.reference
    if isinstance(value, Block):
        return {**value.document(), "block_type_slug": value.kind.slug}  # by which Prefect knows a block inside a block
    return value


LOCAL = Kind(place="prefect.filesystems:LocalFileSystem", slug="local-file-system")
