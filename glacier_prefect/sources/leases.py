"""Folders that belong to a living process, and the removal of those whose process is gone.

A lease is a locked file in the folder; the operating system drops the lock when its process ends, however it ends, so nobody has
to guess by age or process id. Imports nothing of Glacier.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

LOCK = "lease"


@dataclass(frozen=True)
class Lease:
    """A folder that this process holds.

    Attributes:
        folder: The folder; it is removed by `release`, or by `sweep` after the process has ended.
    """

    folder: Path
    _descriptor: int

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Make `folder` and hold it; `FileExistsError` if it is there."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        while True:
            folder.mkdir()
            try:
                descriptor = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:  # a sweep took the folder between the two calls
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if (folder / LOCK).exists():
                return cls(folder, descriptor)
            os.close(descriptor)

    def release(self) -> None:
        """Remove the folder and let go of it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._descriptor)


def sweep(parent: Path) -> None:
    """Remove each folder below `parent` that was left behind by a process that has ended."""
    try:
        folders = list(parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for folder in folders:
        _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        with contextlib.suppress(OSError):  # empty: its process ended, or is about to find it gone and make it again
            folder.rmdir()
        return
    except NotADirectoryError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)  # while the lock is held, so that nobody takes the folder meanwhile
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
