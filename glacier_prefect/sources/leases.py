"""Folders that belong to a living process, and the removal of those whose process is gone.

A lease is a locked file in the folder; the operating system drops the lock when its process ends, however it ends, so
nobody has to guess by age or process id. Imports nothing of Glacier.
"""

from __future__ import annotations

import contextlib
import errno
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
    _owner: int

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
            if _is_lock_of(descriptor, folder):
                return cls(folder, descriptor, os.getpid())
            os.close(descriptor)  # a sweep held the lock first and removed the file

    def release(self) -> None:
        """Remove the folder and let go of it; does nothing in a process that was forked from the holder."""
        if os.getpid() == self._owner:
            _remove(self.folder)
            os.close(self._descriptor)


def sweep(parent: Path) -> None:
    """Remove each folder below `parent` that was left behind by a process that has ended."""
    try:
        folders = list(parent.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for folder in folders:
        with contextlib.suppress(OSError):  # a file, or a folder of another user: not ours to remove
            _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        folder.rmdir()  # only if empty: its process ended early, or is about to find it gone and make it again
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its process lives
        if _is_lock_of(descriptor, folder):  # else another sweep was quicker, and the folder may be somebody's again
            _remove(folder)  # while the lock is held, so that nobody takes the folder meanwhile
    finally:
        os.close(descriptor)


def _is_lock_of(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK))
    except FileNotFoundError:
        return False


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last, so that the next sweep goes on with it if this process is killed on the way."""
    with contextlib.suppress(OSError):
        _empty(folder)
        os.unlink(folder / LOCK)
        while True:
            try:
                return folder.rmdir()
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                _empty(folder)  # a query that failed has made its file only now


def _empty(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.name == LOCK:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            os.unlink(entry.path)
