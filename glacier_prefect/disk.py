"""What processes that share files on the local disk need: a lock that ends with its holder, and names that last."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Let one process (and one thread) at a time into the block; the lock ends with its process."""
    with open(file, "a") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Say in an error of the disk which file it is about; a write that finds no room does not know."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(file)
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_cache() -> Path:
    """Return Glacier's folder in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glacier"
