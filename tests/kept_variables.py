"""The environment's variables in memory that stays, so that tests may change them while a library's thread reads them.

`os.environ[...] = ...` calls `setenv`, and glibc before 2.41 frees the list of variables when it has moved it. Polars
calls `getenv` on threads of its own, after the first use of a store ten times a second for as long as the process
lives. One that is reading just then reads freed memory, and the process ends with a segmentation fault in a thread
that Python does not know. Imports neither Glacier nor Polars.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import Any

ROOM = 4096  # variables

_libc = ctypes.CDLL(None)
_libc.calloc.restype = _libc.strdup.restype = ctypes.c_void_p


class Kept:
    """The list of variables as C sees it; it is never moved, and nothing that was ever in it is freed."""

    def __init__(self) -> None:
        self._environ = ctypes.c_void_p.in_dll(_libc, "environ")
        self._list = (ctypes.c_void_p * ROOM).from_address(_libc.calloc(ROOM, ctypes.sizeof(ctypes.c_void_p)))
        self._lock = threading.Lock()

    def put(self, name: Any, value: Any) -> None:
        """Set a variable; stands in for `os.putenv`."""
        with self._lock:
            place = self._place(os.fsencode(name))
            self._list[place] = _libc.strdup(os.fsencode(name) + b"=" + os.fsencode(value))

    def remove(self, name: Any) -> None:
        """Remove a variable; stands in for `os.unsetenv`."""
        with self._lock:
            place = self._place(os.fsencode(name))
            while self._list[place]:
                self._list[place] = self._list[place + 1]
                place += 1

    def _place(self, name: bytes) -> int:
        """Return where a variable is, or where the list ends."""
        if self._environ.value != ctypes.addressof(self._list):  # at first, and when a library has called `setenv`
            self._take_over()
        for place in range(ROOM - 1):
            if (text := self._list[place]) is None or ctypes.string_at(text).startswith(name + b"="):
                return place
        raise MemoryError(f"There are {ROOM} variables.")

    def _take_over(self) -> None:
        theirs = ctypes.cast(self._environ, ctypes.POINTER(ctypes.c_void_p))
        place = 0
        while (text := theirs[place]) is not None:
            self._list[place] = text
            place += 1
        self._list[place] = None
        self._environ.value = ctypes.addressof(self._list)


def keep() -> None:
    """Keep the variables of this process from now on; to be called before a library starts threads."""
    if sys.platform == "linux":
        kept = Kept()
        os.putenv, os.unsetenv = kept.put, kept.remove  # `os.environ` calls them
