"""A bucket of a store as a tree of folders, searched with as few calls as a path allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from glacier_prefect.errors import SourceNotFoundError
from glacier_prefect.sources import datasets
from glacier_prefect.sources.datasets import MANIFEST, VERSIONS, Dataset
from glacier_prefect.sources.listing import Tree
from glacier_prefect.sources.objects import Meta, Objects


class StoreTree(Tree):
    """A bucket of a store.

    Folders below the first glob are listed: all below at once, or only their own entries where nothing more is asked.
    """

    def __init__(
        self,
        objects: Objects,
        path: str,
        matches: Callable[[str], bool],
        *,
        above: bool = False,
        within: str = "",
    ) -> None:
        """Make the tree.

        Args:
            objects: The bucket.
            path: What is searched for.
            matches: Whether a file of some name has the format that is read.
            above: Whether the folders that the path names may be in a dataset.
            within: Folder of the bucket that stands for the bucket.
        """
        self.objects, self.matches, self.above = objects, matches, above
        self.metas: dict[str, Meta] = {}
        self._within = f"{within}/" if within else ""
        self._asked = path.rstrip("/") + "/"
        self._is_folder = path.endswith("/")
        self._entries: dict[str, dict[tuple[str, bool], None]] = {}
        self._whole: list[str] = []
        self._datasets: dict[str, Dataset | None] = {}

    def path(self, name: str) -> PurePosixPath:
        return PurePosixPath(self._within + name)

    def dataset(self, folder: str) -> Dataset | None:
        if folder not in self._datasets:
            if (known := self._known(folder)) is not None:
                ask = (VERSIONS, True) in known
            else:
                ask = self.above or folder == self._asked
            above = not folder.startswith(self._asked)
            found = self.objects.get(f"{self._within}{folder}{VERSIONS}/{MANIFEST}", beside=above) if ask else None
            versions = PurePosixPath(self._within + folder, VERSIONS)
            self._datasets[folder] = datasets.parsed(found[1], versions) if found else None
        return self._datasets[folder]

    def schema(self, dataset: Dataset) -> dict[str, Any]:
        found = self.objects.get(str(dataset.schema_file))
        if found is None:
            raise SourceNotFoundError(f"{self.objects.where}: {str(dataset.schema_file)!r} is gone; read it again.")
        return datasets.schema_of(found[1])

    def entries(self, folder: str, deep: bool) -> list[tuple[str, bool]]:
        if (known := self._known(folder)) is None:
            known = self._entries[folder] = {}
            if deep:
                for meta in self.objects.below(self._within + folder):
                    self._add(folder, meta)
                self._whole.append(folder)
            else:
                folders, metas = self.objects.children(self._within + folder)
                known |= dict.fromkeys((name, True) for name in folders)
                for meta in metas:
                    self._add(folder, meta)
        return list(known)

    def entry(self, folder: str, name: str, last: bool) -> tuple[str, bool] | None:
        if (known := self._known(folder)) is not None:
            return next((each for each in ((name, False), (name, True)) if each in known), None)
        if last and not self._is_folder:
            likely = self.matches(name)  # a file or a dataset is found by the first call
            if (likely or self.dataset(f"{folder}{name}/") is None) and (
                meta := self.objects.head(self._within + folder + name, beside=not likely)
            ):
                self.metas[meta.key] = meta
                return name, False
        return name, True  # a store has no folders: any name may be one

    def _known(self, folder: str) -> dict[tuple[str, bool], None] | None:
        if folder not in self._entries and any(folder.startswith(whole) for whole in self._whole):
            return {}
        return self._entries.get(folder)

    def _add(self, below: str, meta: Meta) -> None:
        if meta.size == 0 and not self.matches(meta.key):  # what some programs put in place of a folder
            return
        self.metas[meta.key] = meta
        name, is_folder = meta.key.removeprefix(self._within), False
        while name.startswith(below) and len(name) > len(below):
            parent, _, own = name.rpartition("/")
            parent = f"{parent}/" if parent else ""
            entries = self._entries.setdefault(parent, {})
            if (own, is_folder) in entries:
                break
            entries[own, is_folder] = None
            name, is_folder = parent.rstrip("/"), True
