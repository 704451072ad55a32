"""The journal of a deploy that runs or was killed: what the next command needs to undo or to finish it. Knows nothing
of Prefect.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glacier_prefect.disk import naming, sync_folder


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
        try:
            self._append({"event": "begin", **note})
            sync_folder(self._path.parent)
        except BaseException:
            self._path.unlink(missing_ok=True)
            raise

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
        sync_folder(self._path.parent)

    def _append(self, entry: Mapping[str, Any]) -> None:
        # A line that a kill cut off ends with no newline: begin on one of our own.
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        with naming(self._path), os.fdopen(os.open(self._path, flags, 0o600), "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            cut = b""
            if size:
                file.seek(size - 1)
                cut = b"" if file.read(1) == b"\n" else b"\n"
            line = cut + json.dumps(entry).encode() + b"\n"
            while line:  # on a disk that is nearly full a part may be written first
                line = line[file.write(line) :]
            os.fsync(file.fileno())


def created(entries: Sequence[Mapping[str, Any]]) -> dict[int, str | None]:
    """Return the ids that finished writes noted, by their number."""
    return {each["number"]: each["id"] for each in entries if each["event"] == "done"}
