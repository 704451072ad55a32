"""What a path stands for on the local disk: files, folders, globs, and the partitioned datasets among them.

Only folders that can match are listed. Names that start with "." or "_" are hidden, as in other readers, unless the
path spells them out. A file of a dataset goes by the name that it would have below the dataset's folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from glacier_prefect.sources import datasets, hive
from glacier_prefect.sources.datasets import Dataset
from glacier_prefect.sources.paths import RESERVED, glob_regex, is_glob


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file.

    Attributes:
        name: The name as readers see it, relative to the bucket.
        path: Where it is.
        folder: The folder, relative to the bucket, that holds it or the dataset that it is of; ends with "/".
        dataset: The dataset that it is of.
        spelled: Whether the path matches its name, rather than a folder above it.
    """

    name: str
    path: Path
    folder: str
    dataset: Dataset | None = None
    spelled: bool


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a path stands for.

    Attributes:
        files: The files, sorted by name.
        keys: For each file the `key=value` folders that it lies in, below the part of the path that has no glob.
        datasets: The datasets that are read, also those without rows.
    """

    files: list[Found]
    keys: list[hive.Keys]
    datasets: list[Dataset]


@dataclass
class _Search:
    found: list[Found] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)

    def look(self, folder: Path, name: str, parts: list[str]) -> None:
        """Find what the parts of a path match below `folder`, whose name is `name`; all that is there without parts."""
        if (dataset := datasets.current(folder)) is not None:
            below = [
                Found(name=name + file, path=dataset.path(file), folder=name, dataset=dataset, spelled=False)
                for file in dataset.files
            ]
            chosen = _matching(below, len(name), parts)
            self.found += chosen
            if chosen or not below:
                self.datasets.append(dataset)
        elif not parts:
            for entry in visible(folder):
                self._step(entry, folder, name, [])
        elif "**" in parts[0]:
            everything = _Search()
            everything.look(folder, name, [])
            self.found += _matching(everything.found, len(name), parts)
            self.datasets += everything.datasets
        elif is_glob(parts[0]):
            regex = re.compile(glob_regex(parts[0]))
            for entry in visible(folder, also=parts[0][0]):
                if regex.fullmatch(entry.name):
                    self._step(entry, folder, name, parts)
        else:
            self._step(folder / parts[0], folder, name, parts)

    def _step(self, entry: os.DirEntry[str] | Path, folder: Path, name: str, parts: list[str]) -> None:
        if entry.is_dir():
            self.look(folder / entry.name, f"{name}{entry.name}/", parts[1:])
        elif len(parts) < 2 and entry.is_file():
            self.found.append(Found(name=name + entry.name, path=folder / entry.name, folder=name, spelled=bool(parts)))


def find(bucket: Path, path: str, matches: Callable[[str], bool]) -> Listing:
    """List what a path stands for.

    Args:
        bucket: The bucket's folder.
        path: A file, a folder or a glob; its fields are filled.
        matches: Whether a file of some name has the format that is read; asked where the path names only a folder.
    """
    parts = [part for part in path.split("/") if part]
    search = _Search()
    search.look(bucket, "", parts)
    spelled = [each for each in search.found if each.spelled and not path.endswith("/")]
    named = "".join(f"{part}/" for part in parts)  # a dataset that the path names is read, whatever its format
    below = [each for each in search.found if not each.spelled]
    files = spelled or [each for each in below if matches(each.name) or (each.dataset and each.folder == named)]
    files.sort(key=lambda each: each.name)
    fixed = next((place for place, part in enumerate(parts) if is_glob(part)), len(parts))
    start = sum(len(part) + 1 for part in parts[:fixed])
    exact = fixed == len(parts) and bool(spelled)  # one file, by its name
    read = {id(each.dataset) for each in files}
    return Listing(
        files=files,
        keys=[() if exact else hive.keys_of(each.folder[start:]) for each in files],
        datasets=[each for each in search.datasets if id(each) in read or not each.files],
    )


def visible(folder: Path, also: str = "") -> list[os.DirEntry[str]]:
    """Return what is in a folder and not hidden; nothing if there is no such folder.

    Args:
        folder: The folder.
        also: First letter of names that are asked for although it would hide them.
    """
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [
        entry
        for entry in entries
        if (not entry.name.startswith((".", "_")) or entry.name[0] == also)
        and entry.name not in RESERVED
        and not (entry.is_symlink() and Path(folder).resolve().is_relative_to(Path(entry.path).resolve()))  # a circle
    ]


def names_below(folder: Path, count: int) -> list[str]:
    """Return the names of a few files below a folder, for messages and to know whether there are any."""

    def walk(folder: Path, name: str) -> Iterator[str]:
        if (dataset := datasets.current(folder)) is not None:
            yield f"{name or './'} (a dataset of {len(dataset.files)} files)"
            return
        for entry in sorted(visible(folder), key=lambda entry: entry.name):
            if entry.is_dir():
                yield from walk(Path(entry.path), f"{name}{entry.name}/")
            else:
                yield name + entry.name

    return [name for name, _ in zip(walk(folder, ""), range(count), strict=False)]


def _matching(below: list[Found], skip: int, parts: list[str]) -> list[Found]:
    """Return the files whose name, without its first `skip` letters, or a folder of it, the parts of a path match."""
    if not parts:
        return below
    regex = re.compile(glob_regex("/".join(parts)))
    folder = re.compile(glob_regex("/".join(parts)) + "/.*")
    chosen = []
    for each in below:
        if regex.fullmatch(each.name, skip):
            chosen.append(_spelled(each))
        elif folder.fullmatch(each.name, skip):
            chosen.append(each)
    return chosen


def _spelled(found: Found) -> Found:
    return Found(name=found.name, path=found.path, folder=found.folder, dataset=found.dataset, spelled=True)
