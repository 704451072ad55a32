"""What a path stands for: files, folders, globs, and the partitioned datasets among them.

The same on the disk and on stores, over a `Tree` of folders and files. Only folders that can match are listed. Names
that start with "." or "_" are hidden, as in other readers, unless the path spells them out. A file of a dataset goes by
the name that it would have below the dataset's folder.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

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
    path: PurePath
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


class Tree(ABC):
    """The folders and files of a bucket, named relative to it. A folder's name ends with "/", the bucket's is "".

    Entries are pairs of a name and whether it is that of a folder.
    """

    @abstractmethod
    def path(self, name: str) -> PurePath:
        """Return where a file is."""

    @abstractmethod
    def dataset(self, folder: str) -> Dataset | None:
        """Return the dataset in a folder."""

    @abstractmethod
    def schema(self, dataset: Dataset) -> dict[str, Any]:
        """Return the columns of a dataset and their types."""

    @abstractmethod
    def entries(self, folder: str, deep: bool) -> list[tuple[str, bool]]:
        """Return what is in a folder; nothing if there is no such folder. `deep`: its folders will be asked for too."""

    @abstractmethod
    def entry(self, folder: str, name: str, last: bool) -> tuple[str, bool] | None:
        """Return the entry of a name that the path spells out; `last`: nothing is asked for below it but all."""

    def visible(self, folder: str, deep: bool, also: str = "") -> list[tuple[str, bool]]:
        """Return what is in a folder and not hidden; `also` is the first letter of names that are asked for anyway."""
        return [
            (name, is_folder)
            for name, is_folder in self.entries(folder, deep)
            if (not name.startswith((".", "_")) or name[0] == also) and name not in RESERVED
        ]


@dataclass(frozen=True)
class DiskTree(Tree):
    """A folder of the disk."""

    bucket: Path

    def path(self, name: str) -> Path:
        return self.bucket / name

    def dataset(self, folder: str) -> Dataset | None:
        return datasets.current(self.bucket / folder)

    def schema(self, dataset: Dataset) -> dict[str, Any]:
        return datasets.schema_of(Path(dataset.schema_file).read_bytes())

    def entries(self, folder: str, deep: bool) -> list[tuple[str, bool]]:
        try:
            entries = list(os.scandir(self.bucket / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [
            (entry.name, entry.is_dir())
            for entry in entries
            if (entry.is_dir() or entry.is_file()) and not self._circle(entry)
        ]

    def _circle(self, entry: os.DirEntry[str]) -> bool:
        return entry.is_symlink() and Path(entry.path).parent.resolve().is_relative_to(Path(entry.path).resolve())

    def entry(self, folder: str, name: str, last: bool) -> tuple[str, bool] | None:
        path = self.bucket / folder / name
        return (name, path.is_dir()) if path.is_dir() or path.is_file() else None


class OverlayTree(Tree):
    """Two folders as one: what is in the upper hides what has its name in the lower. A dataset is all of one of them:
    if the upper has anything in its folder, that of the lower is hidden.

    Args:
        upper: What hides.
        lower: What is hidden; it also knows how to read what the upper has.
    """

    def __init__(self, upper: Tree, lower: Tree) -> None:
        self.upper, self.lower = upper, lower
        self._files: set[str] = set()

    def path(self, name: str) -> PurePath:
        return (self.upper if name in self._files else self.lower).path(name)

    def dataset(self, folder: str) -> Dataset | None:
        if (mine := self.upper.dataset(folder)) is not None:
            return mine
        theirs = self.lower.dataset(folder)
        return None if theirs is not None and self._has(folder) else theirs

    def schema(self, dataset: Dataset) -> dict[str, Any]:
        return self.lower.schema(dataset)

    def entries(self, folder: str, deep: bool) -> list[tuple[str, bool]]:
        mine = dict.fromkeys(self.upper.entries(folder, deep))
        self._files |= {folder + name for name, is_folder in mine if not is_folder}
        if self.lower.dataset(folder) is not None and self._has(folder):  # so its files are hidden, as any that it hid
            return list(mine)
        theirs = [
            (name, is_folder)
            for name, is_folder in self.lower.entries(folder, deep)
            if (name, False) not in mine
            and (is_folder or (name, True) not in mine or not self._has(f"{folder}{name}/"))
        ]
        return list(dict.fromkeys([*mine, *theirs]))

    def entry(self, folder: str, name: str, last: bool) -> tuple[str, bool] | None:
        mine = self.upper.entry(folder, name, last)
        if mine == (name, False):
            self._files.add(folder + name)
            return mine
        theirs = self.lower.entry(folder, name, last)
        if theirs == (name, False):
            return mine if mine is not None and self._has(f"{folder}{name}/") else theirs
        return mine or theirs

    def _has(self, folder: str) -> bool:
        """Whether the upper has a file or a dataset in a folder."""
        return bool(names_below(self.upper, folder, 1))


@dataclass
class _Search:
    tree: Tree
    found: list[Found] = field(default_factory=list)
    datasets: list[Dataset] = field(default_factory=list)

    def look(self, folder: str, parts: list[str]) -> None:
        """Find what the parts of a path match below `folder`; all that is there without parts."""
        if (dataset := self.tree.dataset(folder)) is not None:
            below = [
                Found(name=folder + file, path=dataset.path(file), folder=folder, dataset=dataset, spelled=False)
                for file in dataset.files
            ]
            chosen = _matching(below, len(folder), parts)
            self.found += chosen
            if chosen or not below:
                self.datasets.append(dataset)
        elif not parts:
            for entry in self.tree.visible(folder, deep=True):
                self._step(entry, folder, [])
        elif "**" in parts[0]:
            everything = _Search(self.tree)
            everything.look(folder, [])
            self.found += _matching(everything.found, len(folder), parts)
            self.datasets += everything.datasets
        elif is_glob(parts[0]):
            regex = re.compile(glob_regex(parts[0]))
            for entry in self.tree.visible(folder, deep=len(parts) > 1, also=parts[0][0]):
                if regex.fullmatch(entry[0]):
                    self._step(entry, folder, parts)
        elif (there := self.tree.entry(folder, parts[0], last=len(parts) == 1)) is not None:
            self._step(there, folder, parts)

    def _step(self, entry: tuple[str, bool], folder: str, parts: list[str]) -> None:
        name, is_folder = entry
        if is_folder:
            self.look(f"{folder}{name}/", parts[1:])
        elif len(parts) < 2:
            path = self.tree.path(folder + name)
            self.found.append(Found(name=folder + name, path=path, folder=folder, spelled=bool(parts)))


def find(tree: Tree, path: str, matches: Callable[[str], bool]) -> Listing:
    """List what a path stands for.

    Args:
        tree: The bucket.
        path: A file, a folder or a glob; its fields are filled.
        matches: Whether a file of some name has the format that is read; asked where the path names only a folder.
    """
    parts = [part for part in path.split("/") if part]
    search = _Search(tree)
    search.look("", parts)
    spelled = [each for each in search.found if each.spelled and not path.endswith("/")]
    named = "".join(f"{part}/" for part in parts)  # a dataset that the path names is read, whatever its format
    below = [each for each in search.found if not each.spelled]
    files = spelled or [each for each in below if matches(each.name) or (each.dataset and each.folder == named)]
    files.sort(key=lambda each: each.name)
    fixed = fixed_parts(parts)
    start = sum(len(part) + 1 for part in parts[:fixed])
    exact = fixed == len(parts) and bool(spelled)  # one file, by its name
    read = {id(each.dataset) for each in files}
    return Listing(
        files=files,
        keys=[() if exact else hive.keys_of(each.folder[start:]) for each in files],
        datasets=[each for each in search.datasets if id(each) in read or not each.files],
    )


def fixed_parts(parts: list[str]) -> int:
    """Return how many parts of a path come before the first glob."""
    return next((place for place, part in enumerate(parts) if is_glob(part)), len(parts))


def names_below(tree: Tree, folder: str, count: int) -> list[str]:
    """Return the names of a few files below a folder, for messages and to know whether there are any."""

    def walk(folder: str, name: str) -> Iterator[str]:
        if (dataset := tree.dataset(folder)) is not None:
            yield f"{name or './'} (a dataset of {len(dataset.files)} files)"
            return
        for entry, is_folder in sorted(tree.visible(folder, deep=False)):
            if is_folder:
                yield from walk(f"{folder}{entry}/", f"{name}{entry}/")
            else:
                yield name + entry

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
            chosen.append(replace(each, spelled=True))
        elif folder.fullmatch(each.name, skip):
            chosen.append(each)
    return chosen
