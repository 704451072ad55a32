"""What the contracts are tried on: a provider, and ways around it to look into its store and to put something there."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import polars as pl
import pytest

from glacier_prefect.providers import Provider
from glacier_prefect.run_context import RunContext
from glacier_prefect.sources import Source
from glacier_prefect.sources.steady import steadily

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FORMATS = ("parquet", "csv", "ndjson", "ipc")
NAMES = (
    "ünï 日本", "a b", " a ", "a+b", "a%2Fb", "a%20b", "%2e%2e", "100%", "a?b", "a#b", "a[b]", "a*b", "a{b}", "a&b=c",
    "a@b:c;d", "~'\"$", "a..b", "\U0001f9ca",
)  # fmt: skip
"""Names of objects that something on the way may take for something else."""
LONG = "/".join(["x" * 99] * 8) + "/" + "y" * 92 + ".parquet"
"""900 characters."""
OUTSIDE = (
    "/a.parquet", "//a.parquet", "../a.parquet", "x/../../a.parquet", "x/..", "./a.parquet", "x//a.parquet",
    "x\\a.parquet", "x\0.parquet", ".glacier/a.parquet", "x/_glacier/a.parquet",
)  # fmt: skip
"""Paths that lead out of a bucket, that two stores understand differently, or that Glacier keeps for itself."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """A provider and its store.

    Attributes:
        provider: The provider that is tried, with credentials that work.
        make_bucket: Makes an empty bucket of that name in the store.
        put: Writes an object: its bucket, its key, its content.
        keys: Returns the keys of all objects in a bucket.
        secrets: Texts that stand in the credentials and may be found nowhere else.
    """

    provider: Provider
    make_bucket: Callable[[str], None]
    put: Callable[[str, str, bytes], None]
    keys: Callable[[str], list[str]]
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def on_disk(cls, provider: Provider, folder: Callable[[str], Path]) -> Self:
        """Return a store whose buckets are folders.

        Args:
            provider: The provider.
            folder: Returns the folder of a bucket.
        """

        def put(bucket: str, key: str, content: bytes) -> None:
            file = folder(bucket) / key
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

        def keys(bucket: str) -> list[str]:
            top = folder(bucket)
            return sorted(each.relative_to(top).as_posix() for each in top.rglob("*") if each.is_file())

        def make_bucket(bucket: str) -> None:
            folder(bucket).mkdir(parents=True, exist_ok=True)

        return cls(provider=provider, make_bucket=make_bucket, put=put, keys=keys)

    @classmethod
    def by_obstore(
        cls,
        provider: Provider,
        open: Callable[[str], ObjectStore],
        make_bucket: Callable[[str], None],
        *,
        secrets: tuple[str, ...] = (),
    ) -> Self:
        """Return a store that obstore can look into.

        Args:
            provider: The provider.
            open: Returns obstore's store of a bucket.
            make_bucket: Makes an empty bucket.
            secrets: Texts that stand in the credentials and may be found nowhere else.
        """
        import obstore

        def put(bucket: str, key: str, content: bytes) -> None:
            obstore.put(open(bucket), key, content)

        def keys(bucket: str) -> list[str]:
            return sorted(each["path"] for page in obstore.list(open(bucket)) for each in page)

        return cls(provider=provider, make_bucket=make_bucket, put=put, keys=keys, secrets=secrets)

    def new_bucket(self, prefix: str = "") -> str:
        """Make a new bucket and return its name.

        Args:
            prefix: What its name begins with in the store; it is not part of what is returned.
        """
        name = f"contract-{uuid.uuid4().hex[:12]}"
        self.make_bucket(prefix + name)
        return name

    def put_rows(self, bucket: str, key: str, *values: Any, **columns: list[Any]) -> None:
        """Write an object as plain Polars does.

        Args:
            bucket: Its bucket.
            key: Its key; the suffix is its format.
            values: Values of a column `v`.
            columns: More columns.
        """
        body = io.BytesIO()
        frame = pl.DataFrame({"v": list(values), **columns} if values else columns)
        getattr(frame, f"write_{key.rpartition('.')[2]}")(body)
        self.put(bucket, key, body.getvalue())


class Contract:
    """What all contracts have: a new bucket for each test. A subclass gives the fixture `store`."""

    @pytest.fixture
    def bucket(self, store: Store) -> str:
        """Return a new bucket."""
        return store.new_bucket()


def rows(source: Source) -> pl.DataFrame:
    """Return what a source has, in order of its column `v`, as a node of a pipeline computes it."""
    return steadily(source.scan(), lambda frame: frame.collect()).sort("v")


def values(source: Source) -> list[Any]:
    """Return the column `v` of what a source has, in the order in which it is read."""
    return steadily(source.scan(), lambda frame: frame.collect())["v"].to_list()


def run(node: str = "node", run_id: str = "run", **parameters: Any) -> RunContext:
    """Return a place in a run, of the last day of 2024."""
    date = datetime(2024, 12, 31)
    return RunContext(run_id=run_id, node=node, parameters=parameters, run_date=date, exchange="unused/exchange/run")


def literal(name: str, *, sink: bool = False) -> str:
    """Return a name as a path spells it: letters of globs and fields stand for themselves.

    Args:
        name: Name of an object.
        sink: Whether the path is a sink's, which has no globs.
    """
    spelled = {"{": "{{", "}": "}}"} | ({} if sink else {"[": "[[]", "*": "[*]", "?": "[?]"})
    return "".join(spelled.get(letter, letter) for letter in name)
