"""`key=value` folders written by others: which keys a file has, and of which types they are.

Glacier's own partitioned datasets do not need this; see `datasets`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from glacier_prefect.errors import SchemaError
from glacier_prefect.sources.datasets import NULL_KEY

if TYPE_CHECKING:
    import polars as pl

Keys = tuple[tuple[str, str | None], ...]


def keys_of(folder: str) -> Keys:
    """Return the keys in a folder's path, in order; a value is None for the marker of null."""
    split = [part.partition("=") for part in folder.split("/") if "=" in part]
    return tuple((key, None if value == NULL_KEY else unquote(value)) for key, _, value in split if key)


def folder_of(keys: Keys) -> str:
    """Return the path that `keys_of` reads as these keys, and that has no letter of special meaning in a value."""
    return "/".join(f"{key}={NULL_KEY if value is None else quote(value, safe='')}" for key, value in keys)


def check_same(keys: Sequence[Keys], names: Sequence[str], where: str) -> None:
    """Raise `SchemaError` if two files do not lie below folders of the same keys."""
    for each, name in zip(keys, names, strict=True):
        if [key for key, _ in each] != [key for key, _ in keys[0]]:
            first, other = (", ".join(repr(key) for key, _ in one) or "no key" for one in (keys[0], each))
            raise SchemaError(
                f"{where}: the 'key=value' folders differ: {names[0]!r} has {first}, {name!r} has {other}.\n"
                "Hint: read a narrower path, or the two as two sources."
            )


def columns(keys: Sequence[Keys], declared: Mapping[str, Any]) -> list[pl.Series]:
    """Return a column for each key, with a value for each file.

    Types that are not declared are inferred as Polars does it for Parquet.
    """
    import polars as pl

    made = []
    for place, (key, _) in enumerate(keys[0]):
        text = pl.Series(key, [each[place][1] for each in keys], dtype=pl.String)
        known = text.drop_nulls()
        dtype = declared.get(key)
        if dtype is None and len(known) and not (known == "").any():
            body = io.BytesIO(known.to_frame().write_csv().encode())
            dtype = pl.read_csv(body, try_parse_dates=True, infer_schema_length=None).dtypes[0]
        if dtype is None or dtype == pl.String:
            made.append(text)
            continue
        # With a second column, because a line without anything would be skipped.
        body = io.BytesIO(text.to_frame().with_columns(pl.lit(1).alias(f"{key}#")).write_csv().encode())
        try:
            made.append(pl.read_csv(body, schema_overrides={key: dtype})[key])
        except pl.exceptions.PolarsError as error:
            raise SchemaError(f"The folders of key {key!r} do not have the declared type {dtype}: {error}") from None
    return made
