"""Names of providers and executors and where their classes are; listing them imports nothing.

Others come from `register` or from an entry-point group. This module imports only `errors`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from glacier_prefect.errors import NameTakenError, OptionError, nearest


@dataclass(kw_only=True)
class Registry:
    """A table of `name -> "module:Class"`, opened by entry points and by `register`.

    Attributes:
        kind: What is registered, for messages ("executor").
        group: The entry-point group that other distributions use.
        table: The names that Glacier brings.
    """

    kind: str
    group: str
    table: dict[str, str | type]
    _entry_points_read: bool = field(default=False, repr=False)

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted, without importing what they stand for."""
        self._read_entry_points()
        return tuple(sorted(self.table))

    def check(self, name: str, where: str | None = None) -> None:
        """Raise `OptionError` with the nearest match if `name` is not registered.

        Args:
            name: The name.
            where: What names it, for the message.
        """
        if name not in self.table and name not in self.names():
            what = f"{where} has the unknown {self.kind}" if where else f"Unknown {self.kind}"
            raise OptionError(f"{what} {name!r}. {nearest(name, self.names())}")

    def is_own(self, name: str) -> bool:
        """Whether a name stands for what is loaded already, or for a class of Glacier's, which is cheap to load."""
        target = self.table[name]
        return not isinstance(target, str) or target.startswith("glacier_prefect.")

    def load(self, name: str) -> Any:
        """Import and return the class that `name` stands for."""
        self.check(name)
        target = self.table[name]
        if isinstance(target, str):
            module, _, attribute = target.partition(":")
            target = getattr(importlib.import_module(module), attribute)
        return target

    def register(self, name: str, target: str | type) -> None:
        """Add a name; taking one that exists is a `NameTakenError`.

        Args:
            name: The new name.
            target: The class, or `"module:Class"` to be imported at first use.
        """
        if name in self.names() and self.table[name] != target:
            raise NameTakenError(f"The {self.kind} {name!r} is registered already, as {self.table[name]!r}.")
        self.table[name] = target

    def _read_entry_points(self) -> None:
        if not self._entry_points_read:
            self._entry_points_read = True
            for point in entry_points(group=self.group):
                self.table.setdefault(point.name, point.value)
