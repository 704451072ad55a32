"""What Glacier keeps on disk about the deployments of one environment: records, a journal, a lock. Knows nothing of
Prefect.

    <folder>/history/<n>.json   what Glacier made, with Prefect's ids; the highest number is the present one
    <folder>/journal.jsonl      each write, noted before and after it is made; gone when a deploy has ended
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
        _sync_folder(file.parent)

    def forget(self) -> None:
        """Remove all records; the lock goes when it is given back."""
        for number in self.numbers():
            (self.folder / "history" / f"{number}.json").unlink()
        with contextlib.suppress(OSError):
            (self.folder / "history").rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the environment's lock.

        Raises:
            DeployLocked: Another deploy holds it.
        """
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
                    f"{who} is deploying this environment. Nothing was done.\nHint: wait until that is finished."
                ) from None
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
            file.close()  # whoever held it has removed the file meanwhile
        with file:
            file.truncate(0)
            command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
            file.write(f"{_user()} on {socket.gethostname()}, process {os.getpid()} ({command})")
            file.flush()
            try:
                yield
            finally:
                if not self.numbers() and not self.journal.exists():
                    path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        self.folder.rmdir()
                        self.folder.parent.rmdir()


class Journal:
    """Each write of a deploy, noted on disk before and after it is made. Only its owner can read it, since it holds
    what it has to restore.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def exists(self) -> bool:
        """Whether a deploy runs, or was killed."""
        return self._path.exists()

    def begin(self, **note: Any) -> None:
        """Start the journal of a deploy."""
        self._path.unlink(missing_ok=True)
        self._count = 0
        self._append({"event": "begin", **note})
        _sync_folder(self._path.parent)

    def intend(self, what: str, undo: Mapping[str, Any] | None) -> int:
        """Note what is going to be done and how to undo it; returns its number."""
        self._count += 1
        self._append({"event": "intend", "number": self._count, "what": what, "undo": undo})
        return self._count

    def done(self, number: int, id: str | None) -> None:
        """Note that it was done, with the id of what it created."""
        self._append({"event": "done", "number": number, "id": id})

    def note(self, event: str, **values: Any) -> None:
        """Note something else."""
        self._append({"event": event, **values})

    def entries(self) -> list[dict[str, Any]]:
        """Return all notes; the last may have been cut off by a kill and is left out then."""
        found: list[dict[str, Any]] = []
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return found
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def end(self) -> None:
        """The deploy has ended; nothing is left to undo or to finish."""
        self._path.unlink(missing_ok=True)
        _sync_folder(self._path.parent)

    def _append(self, entry: Mapping[str, Any]) -> None:
        # A line that a kill cut off ends with no newline: begin on one of our own.
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            cut = b""
            if size:
                file.seek(size - 1)
                cut = b"" if file.read(1) == b"\n" else b"\n"
            file.write(cut + json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def created(entries: Sequence[Mapping[str, Any]]) -> dict[int, str | None]:
    """Return the ids that finished writes noted, by their number."""
    return {each["number"]: each["id"] for each in entries if each["event"] == "done"}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"user {os.getuid()}"


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
