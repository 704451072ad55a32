"""What Glacier keeps on disk about the deployments of one environment: records, a lock, and the journal. Knows nothing
of Prefect.

    <folder>/history/<n>.json   what Glacier made, with Prefect's ids; the highest number is the present one
    <folder>/journal.jsonl      each write, noted before and after it is made; gone when a deploy has ended
    <folder>/agreed             the digest of the plan that a deploy carries out; gone when it has ended well
    <folder>/lock               held while a deploy runs
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from glacier_prefect.deployments.journal import Journal
from glacier_prefect.disk import naming, sync_folder
from glacier_prefect.errors import ConfigurationError, DeployLocked, UsageError

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

    def find(self, kind: str, name: str) -> Owned | None:
        """Return an object of the record, None if it is not in it."""
        return next((each for each in self.objects if (each.kind, each.name) == (kind, name)), None)


NOTHING = Record(number=0, deploy="", command="", objects=(), time="")


class State:
    """The folder of one environment.

    Args:
        folder: `.glacier/<environment>`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "journal.jsonl")
        self._held = False

    def numbers(self) -> list[int]:
        """Return the numbers of all records, oldest first."""
        return sorted(int(file.stem) for file in (self.folder / "history").glob("*.json") if file.stem.isdecimal())

    def record(self, number: int | None = None) -> Record:
        """Return the record of that number, the present one if None.

        Raises:
            UsageError: There is none of that number.
            ConfigurationError: It cannot be read.
        """
        numbers = self.numbers()
        if number is None:
            if not numbers:
                return NOTHING
            number = numbers[-1]
        if number not in numbers:
            known = f"there are {numbers[0]} to {numbers[-1]}" if numbers else "nothing was deployed yet"
            raise UsageError(f"There is no record {number}: {known}.")
        file = self.folder / "history" / f"{number}.json"
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise ConfigurationError(
                    f"{file} has version {document['version']}; this Glacier reads {VERSION}.\n"
                    "Hint: use the Glacier that deployed last, or a newer one."
                )
            values = {name: document[name] for name in ("number", "deploy", "command", "time")}
            return Record(objects=tuple(Owned(**each) for each in document["objects"]), **values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(
                f"The deploy record {file} cannot be read: {type(error).__name__}: {error}\n"
                "Hint: restore that file; without it Glacier does not know what it made."
            ) from error

    def write(self, record: Record) -> None:
        """Write a record; it is there as a whole or not at all."""
        document = {"version": VERSION, **asdict(record)}
        file = self.folder / "history" / f"{record.number}.json"
        with naming(file):
            self._write(file, document)

    def _write(self, file: Path, document: Mapping[str, Any]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as temporary:
                json.dump(document, temporary, indent=1, sort_keys=True)
                temporary.flush()
                os.fsync(temporary.fileno())
            os.replace(made, file)
        except BaseException:
            Path(made).unlink(missing_ok=True)
            raise
        sync_folder(file.parent)

    def agreed(self) -> str | None:
        """Return the digest of the plan that a deploy began to carry out and did not finish, None if there is none."""
        try:
            return str(json.loads((self.folder / "agreed").read_text(encoding="utf-8"))["digest"])
        except FileNotFoundError:
            return None

    def agree(self, digest: str | None) -> None:
        """Note which plan a deploy carries out, or that it is done."""
        if digest is not None:
            self._write(self.folder / "agreed", {"digest": digest})
        else:
            (self.folder / "agreed").unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove all records; the lock goes when it is given back."""
        self.agree(None)
        for number in self.numbers():
            (self.folder / "history" / f"{number}.json").unlink()
        with contextlib.suppress(OSError):
            (self.folder / "history").rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the environment's lock; within itself once more.

        Raises:
            DeployLocked: Another deploy holds it.
        """
        if self._held:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "lock"
        while True:
            file = open(path, "a+", encoding="utf-8")  # noqa: SIM115  it is closed below; leaving it open keeps the lock
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read().strip() or "another process"
                file.close()
                raise DeployLocked(
                    f"{who} is deploying this environment. Nothing was done.\n"
                    "Hint: wait until that is finished; a process that is gone holds nothing."
                ) from None
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()  # whoever held it has removed the file meanwhile
        with file:
            command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
            since = datetime.now(UTC).isoformat(" ", "seconds")
            who = f"{_user()} on {socket.gethostname()}, process {os.getpid()} ({command}), since {since},"
            with contextlib.suppress(OSError):  # on a full disk nobody can be told, but the lock holds
                os.truncate(path, 0)
                os.write(file.fileno(), who.encode())
            self._held = True
            try:
                yield
            finally:
                self._held = False
                if not self.numbers() and not self.journal.exists():
                    path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        self.folder.rmdir()
                        self.folder.parent.rmdir()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"user {os.getuid()}"
