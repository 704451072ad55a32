"""Where the documents about the deploys of one environment are kept: what every such place does, and a folder as one.

    <folder>/history/<n>.json   the records
    <folder>/journal.jsonl      the journal; gone when a deploy has ended
    <folder>/agreed             the digest of the plan that a deploy carries out; gone when it has ended well
    <folder>/lock               held while a deploy runs

A bucket, beside Terraform's state, is in `kept_bucket`. Knows nothing of Prefect, nor of what the documents say.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from glacier_prefect.disk import naming, sync_folder
from glacier_prefect.errors import DeployLocked, StateLocked
from glacier_prefect.processes import named, this_process

Entry = Mapping[str, Any]


class Kept(ABC):
    """A place for records, the journal, and the lock without which nobody writes them."""

    @abstractmethod
    def numbers(self) -> list[int]:
        """Return the numbers of all records, the oldest first."""

    @abstractmethod
    def name(self, number: int) -> str:
        """Return what messages call a record."""

    @abstractmethod
    def read(self, number: int) -> bytes:
        """Return a record; `OSError` if that cannot be."""

    @abstractmethod
    def create(self, number: int, content: bytes) -> bool:
        """Write a record, which is there as a whole or not at all; False if there is one of that number."""

    @abstractmethod
    def forget(self) -> None:
        """Remove all records."""

    @abstractmethod
    def has_journal(self) -> bool:
        """Whether there is a journal."""

    @abstractmethod
    def journal(self) -> list[dict[str, Any]]:
        """Return the entries of the journal; the last may have been cut off by a kill and is left out then."""

    @abstractmethod
    def note(self, entries: Sequence[Entry], *, first: bool = False, urgent: bool = True) -> None:
        """Add entries to the journal.

        Args:
            entries: Plain data.
            first: Begin a journal with them, in place of the one that is there.
            urgent: They are safe when this returns; else they may come with the next ones that are.
        """

    @abstractmethod
    def end_journal(self) -> None:
        """Remove the journal."""

    @abstractmethod
    def agreed(self) -> str | None:
        """Return the digest of the plan that a deploy began to carry out and did not finish, None if there is none."""

    @abstractmethod
    def agree(self, digest: str | None) -> None:
        """Note which plan a deploy carries out, or that it is done."""

    @abstractmethod
    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Hold the lock within a `with` block; raises DeployLocked if someone else does."""

    def check(self) -> None:
        """Raise DeployLocked if the lock is no longer held, so that nothing may be written any more."""
        return None

    def was_left_behind(self, locked: StateLocked) -> bool:
        """Whether it surely was a killed deploy that left Terraform's state locked, and its Terraform runs no more."""
        return False

    def unlocked(self) -> None:
        """Terraform's state is known to be locked by no killed deploy any more."""
        return None


class KeptFolder(Kept):
    """A folder on this machine.

    Args:
        folder: `.glacier/<environment>`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._journal = folder / "journal.jsonl"

    def numbers(self) -> list[int]:
        return sorted(int(file.stem) for file in (self.folder / "history").glob("*.json") if file.stem.isdecimal())

    def name(self, number: int) -> str:
        return str(self._record(number))

    def read(self, number: int) -> bytes:
        return self._record(number).read_bytes()

    def create(self, number: int, content: bytes) -> bool:
        file = self._record(number)
        with naming(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                return False
            descriptor, made = tempfile.mkstemp(dir=file.parent)
            try:
                with os.fdopen(descriptor, "wb") as temporary:
                    temporary.write(content)
                    temporary.flush()
                    os.fsync(temporary.fileno())
                os.replace(made, file)
            except BaseException:
                Path(made).unlink(missing_ok=True)
                raise
            sync_folder(file.parent)
        return True

    def forget(self) -> None:
        for number in self.numbers():
            self._record(number).unlink()
        with contextlib.suppress(OSError):
            (self.folder / "history").rmdir()

    def _record(self, number: int) -> Path:
        return self.folder / "history" / f"{number}.json"

    def has_journal(self) -> bool:
        return self._journal.exists()

    def journal(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        try:
            text = self._journal.read_text(encoding="utf-8")
        except FileNotFoundError:
            return found
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def note(self, entries: Sequence[Entry], *, first: bool = False, urgent: bool = True) -> None:
        if not first:
            return self._append(self._journal, entries)
        new = self._journal.with_suffix(".new")
        try:
            self._append(new, entries)
            os.replace(new, self._journal)
        finally:
            new.unlink(missing_ok=True)
        sync_folder(self.folder)

    def _append(self, journal: Path, entries: Sequence[Entry]) -> None:
        # Only its owner can read it, since it holds what it has to restore. A line that a kill cut off ends with no
        # newline: begin on one of our own.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        with (
            naming(self._journal),
            os.fdopen(os.open(journal, flags, 0o600), "r+b", buffering=0) as file,
        ):
            size = file.seek(0, os.SEEK_END)
            cut = b""
            if size:
                file.seek(size - 1)
                cut = b"" if file.read(1) == b"\n" else b"\n"
            lines = cut + b"".join(json.dumps(each).encode() + b"\n" for each in entries)
            while lines:  # on a disk that is nearly full a part may be written first
                lines = lines[file.write(lines) :]
            os.fsync(file.fileno())

    def end_journal(self) -> None:
        self._journal.unlink(missing_ok=True)
        sync_folder(self.folder)

    def agreed(self) -> str | None:
        file = self.folder / "agreed"
        return file.read_text(encoding="utf-8") if file.exists() else None

    def agree(self, digest: str | None) -> None:
        file = self.folder / "agreed"
        with naming(file):
            if digest is None:
                file.unlink(missing_ok=True)
            else:
                file.write_text(digest, encoding="utf-8")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
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
            with contextlib.suppress(OSError):  # on a full disk nobody can be told, but the lock holds
                os.truncate(path, 0)
                os.write(file.fileno(), named(this_process()).encode())
            try:
                yield
            finally:
                if not self.numbers() and not self.has_journal():
                    path.unlink(missing_ok=True)
                    with contextlib.suppress(OSError):
                        self.folder.rmdir()
                        self.folder.parent.rmdir()
