"""Snapshots of local files: hard links that keep a file's content while a frame over it may still be read.

They live in the folder of the run that reads (its exchange folder), or of the process where there is no run, and vanish with it.
Where the file system has no hard links, the file itself is read.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import shutil
import threading
import uuid
from pathlib import Path

from glacier_prefect import run_context
from glacier_prefect.sources.leases import Lease, sweep

_numbers = itertools.count()
_process_folders: dict[Path, Lease] = {}
_lock = threading.Lock()


def pin(files: list[tuple[str, Path]], base_path: str) -> list[Path]:
    """Return paths under which the files keep their present content.

    Args:
        files: For each file the name under which it is to be seen (with its `key=value` folders) and where it is.
        base_path: Folder that holds the buckets; used where the run's own folder is on another disk.

    Raises:
        FileNotFoundError: A file vanished meanwhile.
    """
    if (context := run_context.current()) is not None:
        with contextlib.suppress(_NoLinks):
            return _link(files, Path(context.exchange))
    try:
        return _link(files, process_folder(Path(base_path).absolute()))
    except _NoLinks:
        return [file for _, file in files]


class _NoLinks(Exception):
    """The folder cannot be written, is on another disk, or on one without hard links."""


def _link(files: list[tuple[str, Path]], home: Path) -> list[Path]:
    place = home / "snapshots" / f"{os.getpid()}-{next(_numbers)}"
    pinned = []
    try:
        for name, file in files:
            link = place / name
            link.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, link)
            pinned.append(link)
    except FileNotFoundError:
        raise
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise _NoLinks from error
    return pinned


def process_folder(base: Path) -> Path:
    """Return a folder under `base` that is removed when this process ends, or by a later one if it is killed."""
    parent = base / ".glacier" / "exchange"
    with _lock:
        if parent not in _process_folders or not _process_folders[parent].folder.exists():
            sweep(parent)
            try:
                _process_folders[parent] = lease = Lease.take(parent / f"process-{uuid.uuid4().hex}")
            except OSError as error:
                raise _NoLinks from error
            atexit.register(lease.release)
        return _process_folders[parent].folder
