"""A Prefect server of the project's own: `glacier ui` starts and stops it, and later runs find it by its note.

The note is `.glacier/ui.json` in the project's folder; the server keeps its database and its log in `.glacier/ui/`.
Every run without a configured API looks for the note, so this imports neither Prefect nor anything else that is slow.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from glacier_prefect.disk import locked
from glacier_prefect.errors import ApiUnreachable

MARKERS = ("glacier.toml", "pyproject.toml", ".git")
NOTE = ".glacier/ui.json"
START_SECONDS = 180.0  # a first start makes the database, which takes a slow machine a minute
STOP_SECONDS = 10.0  # it waits for the pages that are open in browsers
ANSWER_SECONDS = 2.0
START_MOMENT = 1.0  # in which a process that is being started has no words yet

_POLL = 0.25


@dataclass(frozen=True, kw_only=True)
class Server:
    """What the note says of a server.

    Attributes:
        url: Where its pages are; its API is below it.
        pid: Its process.
        started: When, in UTC.
        prefect: Its version.
    """

    url: str
    pid: int
    started: str
    prefect: str

    @property
    def api(self) -> str:
        """The URL of its API."""
        return f"{self.url}/api"

    def is_alive(self) -> bool:
        """Whether its process runs, and is that server: the number of one that ended may be another's by now."""
        return f" {_words(str(urlsplit(self.url).port))} " in _command_line(self.pid)

    def answers(self, seconds: float = ANSWER_SECONDS) -> bool:
        """Whether its API says that it is well."""
        import urllib.request

        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.api}/health", timeout=seconds) as answer:
                return bool(answer.read(16) == b"true")
        except (OSError, ValueError):
            return False


def project_folder(start: Path) -> Path:
    """Return the nearest folder upwards with a `glacier.toml`, `pyproject.toml` or `.git`, else `start` itself."""
    return next((each for each in (start, *start.parents) if any((each / name).exists() for name in MARKERS)), start)


def read_note(folder: Path) -> Server | None:
    """Return the server that a project's note names, running or not; None if there is no note that can be trusted."""
    try:
        with open(folder / NOTE, "rb") as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                return None  # in a folder that others write to, it could send runs anywhere
            note = json.load(file)
        server = Server(
            url=str(note["url"]), pid=int(note["pid"]), started=str(note["started"]), prefect=str(note["prefect"])
        )
        return server if urlsplit(server.url).hostname == "127.0.0.1" else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_server(*starts: Path) -> Server | None:
    """Return the noted server that runs are reported to, None if none answers.

    The note of a server that is gone is removed. What keeps a noted server from being used is said on stderr.

    Args:
        starts: Folders in whose projects to look for a note.
    """
    for folder in dict.fromkeys(map(project_folder, starts)):
        if (server := read_note(folder)) is None:
            continue
        if not server.is_alive():
            _forget(folder, server)
            print(f"The server of `glacier ui`, {server.url}, is gone; running without it.", file=sys.stderr)
        elif not server.answers():
            print(f"The server of `glacier ui`, {server.url}, does not answer; running without it.", file=sys.stderr)
        else:
            return server
    return None


def start(folder: Path, on_wait: Callable[[float], object] = lambda seconds: None) -> tuple[Server, bool]:
    """Start a project's server, unless it runs, and return it and whether it was started now.

    Args:
        folder: The project's.
        on_wait: Called now and then with the seconds waited so far.

    Raises:
        ApiUnreachable: It ended, or does not answer in time. The message has the end of its log.
    """
    home = folder / ".glacier" / "ui"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(home / "lock"):  # by another `glacier ui` that is starting one
        server = read_note(folder)
        if server is not None and server.is_alive():
            _wait(server, home, on_wait)
            return server, False
        server = _spawn(home)
        try:
            _write_note(folder, server)
            _wait(server, home, on_wait)
        except BaseException:
            _end(server)
            _forget(folder, server)
            raise
        return server, True


def stop(folder: Path) -> Server | None:
    """Stop a project's server and remove its note; return it, None if there was none."""
    server = read_note(folder)
    if server is None:
        return None
    was_alive = _end(server)
    _forget(folder, server)
    return server if was_alive else None


def _words(port: str) -> str:
    """Return what Python is started with for a server."""
    return f"-m glacier_prefect.prefect_server server start --host 127.0.0.1 --port {port}"


def _spawn(home: Path) -> Server:
    from datetime import UTC, datetime
    from importlib.metadata import version

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    settings = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",  # as on the command line; the pages are told the API's address by these
        "PREFECT_SERVER_API_PORT": port,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
    }
    with open(home / "server.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, *_words(port).split()],
            cwd=home,  # settings of the user's that are files in the project's folder or variables are not for it
            env={name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | settings,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process.returncode = 0  # it outlives this object, which would warn of that
    return Server(
        url=f"http://127.0.0.1:{port}",
        pid=process.pid,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        prefect=version("prefect"),
    )


def _wait(server: Server, home: Path, on_wait: Callable[[float], object]) -> None:
    began = time.monotonic()
    while not server.answers():
        waited = time.monotonic() - began
        if not (alive := server.is_alive()) or waited > START_SECONDS:
            how = f"does not answer after {waited:.0f} s" if alive else "ended while it started"
            log = home / "server.log"
            said = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise ApiUnreachable(
                "\n  ".join([f"The Prefect server {server.url} {how}; it said last:", *(said or ["nothing"])])
                + f"\nHint: the whole log is {log}; `glacier ui --stop` stops a server that hangs."
            )
        on_wait(waited)
        time.sleep(_POLL)


def _end(server: Server) -> bool:
    """End a server's process, and return whether it was alive."""
    was_alive = server.is_alive()
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        end = time.monotonic() + seconds
        if server.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, number)
        while server.is_alive() and time.monotonic() < end:
            time.sleep(0.05)
    return was_alive


def _write_note(folder: Path, server: Server) -> None:
    note = folder / NOTE
    unfinished = note.with_name(f"ui.json.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(server), file)
    os.replace(unfinished, note)


def _forget(folder: Path, server: Server) -> None:
    if read_note(folder) == server:
        (folder / NOTE).unlink(missing_ok=True)


def _command_line(pid: int) -> str:
    """Return the words of a process, empty if there is none or it has ended and nobody has asked how."""
    if Path("/proc/self/cmdline").exists():
        try:
            end = time.monotonic() + START_MOMENT
            while not (words := Path(f"/proc/{pid}/cmdline").read_bytes()):
                if _state(pid) in "ZX" or time.monotonic() > end:
                    return ""
                time.sleep(0.01)
        except OSError:
            return ""
        return words.replace(b"\0", b" ").decode(errors="replace")
    listed = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)
    return f"{listed.stdout.strip()} "


def _state(pid: int) -> str:
    """Return the letter of a process's state, as in "R" for one that runs and "Z" for one that has ended."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
