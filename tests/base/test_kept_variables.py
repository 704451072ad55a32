"""The memory of the environment's variables while tests run: where it is, and what C and other processes see of it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other memory of variables")
LIBC = ctypes.CDLL(None)
LIBC.getenv.restype = ctypes.c_char_p
LIBC.getenv.argtypes = [ctypes.c_char_p]


def seen_by_c(name: str) -> str | None:
    value: bytes | None = LIBC.getenv(name.encode())
    return None if value is None else value.decode()


def address() -> int | None:
    return ctypes.c_void_p.in_dll(LIBC, "environ").value


def test_variables_come_and_go_in_one_place_so_that_a_thread_may_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = address()
    for round in range(3):
        with monkeypatch.context() as patch:
            for number in range(100):
                patch.setenv(f"KEPT_{number}", f"ü {round}")
            assert [seen_by_c(f"KEPT_{number}") for number in range(100)] == [f"ü {round}"] * 100
            patch.delenv("KEPT_50")
            assert [seen_by_c(f"KEPT_{number}") for number in (49, 50, 51)] == [f"ü {round}", None, f"ü {round}"]
        assert [seen_by_c(f"KEPT_{number}") for number in range(100)] == [None] * 100
        assert address() == before


def test_a_child_process_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT", "1")
    monkeypatch.setenv("KEPT", "2")
    code = "import os; print(os.environ['KEPT'], os.environ['PATH'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == f"2 {os.environ['PATH']}\n"


def test_what_a_library_sets_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = address()
    LIBC.setenv(b"KEPT_BY_LIBRARY", b"1", 1)
    try:
        monkeypatch.setenv("KEPT", "2")
        assert (seen_by_c("KEPT_BY_LIBRARY"), seen_by_c("KEPT")) == ("1", "2")
        assert address() == before
    finally:
        os.unsetenv("KEPT_BY_LIBRARY")
    assert seen_by_c("KEPT_BY_LIBRARY") is None
