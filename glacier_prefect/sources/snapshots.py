"""Snapshots of local files: hard links that keep a file's content while a frame over it may still be read.

They live in the folder of the run that reads (its exchange folder), or of the process where there is no run, and vanish
with it. A file that is replaced keeps its content under the link; one that a program writes over in place does not.
Where the file system has no hard links, or lets nobody make any, the file itself is read.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from glacier_prefect import run_context
from glacier_prefect.sources.leases import LOCK, Lease, sweep

_numbers = itertools.count()
_process_folders: dict[tuple[int, Path], Lease] = {}
_lock = threading.Lock()


def pin(files: Iterable[tuple[str, Path]], *bases: Path) -> Path | None:
    """Return a folder in which the files keep their present content; None if no folder can have that.

    Args:
        files: For each file the name that it is to have in the folder, and where it is.
        bases: Folders that may hold a folder of this process, tried in this order; a hard link has to be on the disk of
            its file, and the run's own folder, which is tried first, may be on another.

    Raises:
        FileNotFoundError: A file vanished meanwhile.
    """
    files = list(files)
    for home in _homes(bases):
        place = home / "snapshots" / f"{os.getpid()}-{next(_numbers)}"
        try:
            _link(files, place)
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            if isinstance(error, FileNotFoundError):
                raise
            continue
        return place
    return None


def _homes(bases: Iterable[Path]) -> Iterator[Path]:
    context = run_context.current()
    if context is not None and (Path(context.exchange) / LOCK).exists():  # else it outlives the process, for a retry
        yield Path(context.exchange)
    for base in bases:
        try:
            yield process_folder(base)
        except OSError:  # it cannot be written to
            continue


def _link(files: list[tuple[str, Path]], place: Path) -> None:
    made = set()
    for name, file in files:
        link = place / name
        if link.parent not in made:
            link.parent.mkdir(parents=True, exist_ok=True)
            made.add(link.parent)
        os.link(os.path.realpath(file), link)  # the name of a symbolic link may come to mean another file


def process_folder(base: Path) -> Path:
    """Return a folder under `base` that is removed when this process ends, or by a later one if it is killed."""
    parent = base / ".glacier" / "exchange"
    key = (os.getpid(), parent)  # a forked child has one of its own
    with _lock:
        if key not in _process_folders or not _process_folders[key].folder.exists():
            sweep(parent)
            _process_folders[key] = lease = Lease.take(parent / f"process-{uuid.uuid4().hex}")
            atexit.register(lease.release)
        return _process_folders[key].folder


os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))  # another thread may have held it
