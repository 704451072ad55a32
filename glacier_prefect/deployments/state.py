"""What Glacier knows of the deployments of one environment: records, a lock, and the journal. Knows nothing of Prefect,
nor of where they are kept.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glacier_prefect.deployments.journal import Journal
from glacier_prefect.deployments.kept import Kept, KeptFolder
from glacier_prefect.errors import ConfigurationError, DeployLocked, GlacierError, UsageError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Owned:
    """An object in Prefect that Glacier made.

    Attributes:
        kind: block, work_pool or deployment.
        name: Its name; of a deployment "<flow>/<environment>".
        id: Prefect's id.
        fields: The fields that code owns, as they were written.
    """

    kind: str
    name: str
    id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Record:
    """What Glacier made, after one deploy. Holds no secrets.

    Attributes:
        number: 1 for the first deploy.
        deploy: Id of the deploy that wrote it.
        command: What wrote it: "deploy" or "rollback to 3".
        objects: All that Glacier made and that is still there.
        time: When it was written.
    """

    number: int
    deploy: str
    command: str
    objects: tuple[Owned, ...]
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def names(self) -> set[tuple[str, str]]:
        """Kind and name of all of these."""
        return {(each.kind, each.name) for each in self.objects}

    def find(self, kind: str, name: str) -> Owned | None:
        """Return an object of the record, None if it is not in it."""
        return next((each for each in self.objects if (each.kind, each.name) == (kind, name)), None)


NOTHING = Record(number=0, deploy="", command="", objects=(), time="")


class State:
    """Records, lock and journal of one environment.

    Args:
        kept: Where they are kept; a folder if it is a path.
        before: Where records were kept until they moved; they are read from there until the first is written here.

    Attributes:
        kept: Where they are kept.
        journal: That of a deploy that runs or was killed.
        is_held: Whether this holds the lock.
    """

    def __init__(self, kept: Kept | Path, before: Kept | None = None) -> None:
        self.kept = KeptFolder(kept) if isinstance(kept, Path) else kept
        self.journal = Journal(self.kept)
        self.is_held = False
        self._before = before

    def numbers(self) -> list[int]:
        """Return the numbers of all records, oldest first."""
        return self._found()[1]

    def record(self, number: int | None = None) -> Record:
        """Return the record of that number, the present one if None.

        Raises:
            UsageError: There is none of that number.
            ConfigurationError: It cannot be read.
        """
        kept, numbers = self._found()
        if number is None:
            if not numbers:
                return NOTHING
            number = numbers[-1]
        if number not in numbers:
            known = f"there are {numbers[0]} to {numbers[-1]}" if numbers else "nothing was deployed yet"
            raise UsageError(f"There is no record {number}: {known}.")
        name = kept.name(number)
        try:
            document = json.loads(kept.read(number))
            if document["version"] != VERSION:
                raise ConfigurationError(
                    f"{name} has version {document['version']}; this Glacier reads {VERSION}.\n"
                    "Hint: use the Glacier that deployed last, or a newer one."
                )
            values = {key: document[key] for key in ("number", "deploy", "command", "time")}
            return Record(objects=tuple(Owned(**each) for each in document["objects"]), **values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, GlacierError):
                raise
            raise ConfigurationError(
                f"The deploy record {name} cannot be read: {type(error).__name__}: {error}\n"
                "Hint: restore it; without it Glacier does not know what it made."
            ) from error

    def write(self, record: Record) -> None:
        """Write a record; it is there as a whole or not at all.

        Raises:
            DeployLocked: Another deploy has written one of that number.
        """
        kept, numbers = self._found()
        if kept is not self.kept:
            for number in reversed(numbers):  # the present one first, lest an older one is taken for it
                self.kept.create(number, kept.read(number))
        document = {"version": VERSION, **asdict(record)}
        if not self.kept.create(record.number, json.dumps(document, indent=1, sort_keys=True).encode()):
            raise DeployLocked(
                f"There is a record {record.number} already: another deploy of this environment has written it.\n"
                "Hint: deploy again."
            )

    def agreed(self) -> str | None:
        """Return the digest of the plan that a deploy began to carry out and did not finish, None if there is none."""
        return self.kept.agreed()

    def agree(self, digest: str | None) -> None:
        """Note which plan a deploy carries out, or that it is done."""
        self.kept.agree(digest)

    def forget(self) -> None:
        """Remove all records; the lock goes when it is given back."""
        self.kept.agree(None)
        if self.kept.has_journal():
            self.kept.end_journal()
        for each in (self.kept, self._before):
            if each is not None:
                each.forget()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the environment's lock; within itself once more.

        Raises:
            DeployLocked: Another deploy holds it.
        """
        if self.is_held:
            yield
            return
        with self.kept.locked():
            self.is_held = True
            try:
                yield
            finally:
                self.is_held = False

    def _found(self) -> tuple[Kept, list[int]]:
        """Return where the records are, and their numbers."""
        numbers = self.kept.numbers()
        if not numbers and self._before is not None and (old := self._before.numbers()):
            return self._before, old
        return self.kept, numbers
