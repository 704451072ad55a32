"""A scan over what a path stands for: its types, and its `key=value` folders as columns; the same on every store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect.errors import FormatError
from glacier_prefect.sources import hive
from glacier_prefect.sources.listing import Listing, Tree

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.sources.base import Source

_FILE = "\0file"


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Files as Polars opens them.

    Attributes:
        files: Each file's path or URI, in the listing's order.
        shown: What the user sees in place of each, who asks for the files' names.
        keyed: The folder of them, or the files, if Polars itself would read the same keys from their paths; else None.
        sizes: The bytes of each file, if it is known.
        options: Further options of Polars' scan function.
    """

    files: Sequence[Path] | Sequence[str]
    shown: Sequence[str]
    keyed: Path | Sequence[str] | None
    sizes: Sequence[int] | None = None
    options: Mapping[str, Any]


def read(source: Source, listing: Listing, tree: Tree, open_files: Callable[[list[str]], Opened]) -> pl.LazyFrame:
    """Scan the files of a listing that has any files or datasets.

    Args:
        source: What is read.
        listing: What its path stands for.
        tree: The bucket.
        open_files: Makes the files ready; gets for each a name by which Polars would know its keys and format.

    Raises:
        FormatError: A dataset is of another format.
        SchemaError: The files do not lie below folders of the same keys.
    """
    import polars as pl

    for each in listing.datasets:
        if each.format != source.file_format.name:
            raise FormatError(
                f"{source}: the dataset {each.version.parents[1]} is {each.format}, not {source.file_format.name}.\n"
                f"Hint: name it with format={each.format!r}."
            )
    if not listing.files:
        return pl.LazyFrame(schema=tree.schema(listing.datasets[0]))
    types: dict[str, Any] = {}
    if not source.file_format.typed:
        for each in listing.datasets:
            types |= tree.schema(each)
    whole = bool(types) and all(each.dataset for each in listing.files)
    types |= source.schema or {}
    hive.check_same(listing.keys, [each.name for each in listing.files], str(source))

    keyed = bool(listing.keys[0])
    columns = hive.columns(listing.keys, source.schema or {}) if keyed else []
    names = []
    for place, (found, keys) in enumerate(zip(listing.files, listing.keys, strict=True)):
        folder = f"{hive.folder_of(keys)}/" if keyed else ""
        names.append(f"{folder}{place:07d}{''.join(found.path.suffixes[-2:])[-40:]}")
    opened = open_files(names)

    # Polars itself reads the keys of Parquet and IPC, and skips the files that a filter rules out. It takes any
    # `key=value` folder of a path for one, and it loses keys that are "".
    lost = any(value == "" for keys in listing.keys for _, value in keys)
    by_polars = opened.keyed if keyed and source.file_format.typed and not lost else None
    shown = source.options.get("include_file_paths")
    options = {**source.options, **opened.options}
    if keyed and by_polars is None:
        options["include_file_paths"] = shown or _FILE
        types = {name: dtype for name, dtype in types.items() if name not in {each.name for each in columns}}
    frame = source.file_format.scan(
        opened.files if by_polars is None else by_polars,
        types=types,
        whole=whole,
        hive=None if by_polars is None else {each.name: each.dtype for each in columns},
        options=options,
        sizes=opened.sizes,
    )
    paths = pl.Series([str(file) for file in opened.files])
    if keyed and by_polars is None:
        path = pl.col(shown or _FILE)
        frame = frame.with_columns(path.replace_strict(paths, each).alias(each.name) for each in columns)
        frame = frame if shown else frame.drop(_FILE)
    if shown and (seen := pl.Series(opened.shown)).to_list() != paths.to_list():
        frame = frame.with_columns(pl.col(shown).replace(paths, seen))
    return frame
