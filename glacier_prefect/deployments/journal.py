"""The journal of a deploy that runs or was killed: what the next command needs to undo or to finish it. Knows nothing
of Prefect.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from glacier_prefect.deployments.kept import Kept

LATE = 600.0  # seconds in which a server may still do what was asked of it by a client that has gone


class Journal:
    """Each write of a deploy, noted before and after it is made, and what may come of it later.

    Args:
        kept: Where.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._count = 0

    def exists(self) -> bool:
        """Whether a deploy runs, or was killed."""
        noted = self._kept.journal()
        return any(each["event"] != "late" for each in noted) if noted else self._kept.has_journal()

    def begin(self, **note: Any) -> None:
        """Start the journal of a deploy."""
        self._count = 0
        self._kept.note([{"event": "begin", **note}, *self.late()], first=True)

    def intend(self, steps: Sequence[tuple[str, Mapping[str, Any]]]) -> list[int]:
        """Note what is going to be done and how to undo it; returns the numbers of these steps."""
        numbers = [self._count + at for at, _ in enumerate(steps, 1)]
        self._count += len(steps)
        noted = zip(numbers, steps, strict=True)
        self._kept.note(
            [{"event": "intend", "number": number, "what": what, "undo": undo} for number, (what, undo) in noted]
        )
        return numbers

    def done(self, number: int, id: str | None) -> None:
        """Note that it was done, with the id of what it created; without this it is found by its name."""
        self._kept.note([{"event": "done", "number": number, "id": id}], urgent=False)

    def undone(self, numbers: Sequence[int]) -> None:
        """Note that this was certainly not done: refused, or not come to."""
        self._kept.note([{"event": "undone", "number": number} for number in numbers])

    def entries(self) -> list[dict[str, Any]]:
        """Return the notes of that deploy; the last may have been cut off by a kill and is left out then."""
        return [each for each in self.all() if each["event"] != "late"]

    def late(self) -> list[dict[str, Any]]:
        """Return what deploys of the last minutes asked for and nobody knows whether it was done: it may yet be."""
        return [each for each in self.all() if each["event"] == "late"]

    def all(self) -> list[dict[str, Any]]:
        """Return all notes but late ones that are too old."""
        now = time.time()
        return [each for each in self._kept.journal() if each["event"] != "late" or each["until"] > now]

    def expect(self, creations: Sequence[Mapping[str, Any]]) -> None:
        """Note creations that may come late, each by how to undo it."""
        if creations:
            until = time.time() + LATE
            self._kept.note([{"event": "late", "until": until, "undo": each} for each in creations])

    def end(self, made: Collection[tuple[str, str]] = ()) -> None:
        """The deploy has ended; nothing is left to undo or to finish but what may come late.

        Args:
            made: Kind and name of what is there: of these nothing comes late any more.
        """
        late = [each for each in self.late() if (each["undo"]["kind"], each["undo"]["name"]) not in made]
        if late:
            self._kept.note(late, first=True)
        else:
            self._kept.end_journal()


def created(entries: Sequence[Mapping[str, Any]]) -> dict[int, str | None]:
    """Return the ids that finished writes noted, by their number."""
    return {each["number"]: each["id"] for each in entries if each["event"] == "done"}


def not_done(entries: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the numbers of writes that certainly were not made."""
    return {each["number"] for each in entries if each["event"] == "undone"}
