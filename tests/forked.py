"""Python processes that have Prefect and the clouds' clients loaded when they begin, which takes each of them 2 to 4 s
of a core otherwise: forks of one process that has imported these, and nothing of Glacier's.

What they run, they run as `python ARGUMENTS` would, and they can be watched, signalled and killed as any other process.
They share one seed of hashes; what is about that, or about imports, wants `subprocess`.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NoReturn

LOADED = (
    "polars",
    "prefect.flow_engine",
    "prefect.main",
    "prefect.client.orchestration",
    "azure.identity.aio",
    "azure.mgmt.containerinstance",
    "azure.storage.blob.aio",
    "boto3",
    "google.cloud.storage",
    "pandas",
)


@dataclass
class Process:
    """A process, as `subprocess.Popen` has it.

    Attributes:
        args: The arguments of Python.
        pid: Its number.
        returncode: How it ended, None before.
    """

    args: tuple[str, ...]
    pid: int
    returncode: int | None = None
    _ended: int = field(default=-1, repr=False)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with os.fdopen(self._ended) as file:
                self.returncode = int(file.read() or -signal.SIGKILL)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forks:
    """The process that has all this loaded."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GLACIER_"))}
        ready, says = os.pipe()
        self._home = subprocess.Popen(
            [sys.executable, "-u", "-W", "default", __file__, str(theirs.fileno()), str(says)],
            env={**env, "DO_NOT_TRACK": "1", "PREFECT_HOME": os.environ["PREFECT_HOME"]},
            pass_fds=[theirs.fileno(), says],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        os.close(says)
        with os.fdopen(ready) as file:
            assert file.read() == "ready"

    def close(self) -> None:
        self._socket.close()
        self._home.wait(30)

    def start(
        self, *args: str, cwd: Path, env: Mapping[str, str], stdout: IO[Any] | int, stderr: IO[Any] | int
    ) -> Process:
        """Start a process; its standard input is empty.

        Args:
            args: What Python gets: "-c" and code, "-m" and a module, or a file, and then arguments.
            cwd: Its working directory.
            env: All of its environment.
            stdout: A file for its standard output.
            stderr: A file for its standard error.
        """
        asked = json.dumps({"args": args, "cwd": str(cwd), "env": dict(env)}).encode()
        ended, ends = os.pipe()
        files = [each if isinstance(each, int) else each.fileno() for each in (stdout, stderr)]
        # as a file, since what a socket takes at once is limited
        with self._lock, os.fdopen(os.memfd_create("asked"), "w+b") as file:
            file.write(asked)
            file.seek(0)
            socket.send_fds(self._socket, [b"start"], [file.fileno(), *files, ends])
            pid = int(self._socket.recv(64))
        os.close(ends)
        return Process(args=args, pid=pid, _ended=ended)

    def run(self, *args: str, cwd: Path, env: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a process to its end, as `subprocess.run` does with its output captured."""
        with os.fdopen(os.memfd_create("out"), "w+b") as out, os.fdopen(os.memfd_create("err"), "w+b") as err:
            process = self.start(*args, cwd=cwd, env=env, stdout=out, stderr=err)
            try:
                process.wait(timeout)
            finally:
                process.kill()
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode())
        assert process.returncode is not None
        return subprocess.CompletedProcess(args, process.returncode, *said)


def _serve(server: socket.socket, says: int) -> None:
    """Load it all, then fork for whoever asks, and tell how each process ended, until nobody asks any more."""
    for name in LOADED:
        importlib.import_module(name)
    os.write(says, b"ready")
    os.close(says)
    wakes, wake = os.pipe2(os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    running: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([server, wakes], [], [])
        if wakes in ready:
            os.read(wakes, 4096)
        while running and (ended := os.waitpid(-1, os.WNOHANG))[0]:
            ends = running.pop(ended[0])
            with contextlib.suppress(BrokenPipeError):
                os.write(ends, str(os.waitstatus_to_exitcode(ended[1])).encode())
            os.close(ends)
        if server in ready:
            text, files, _, _ = socket.recv_fds(server, 64, 4)
            if not text:
                return
            asked, *output, ends = files
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                with os.fdopen(asked) as file:
                    wanted = json.load(file)
                for number, target in enumerate(output, 1):
                    os.dup2(target, number)
                for each in (server.fileno(), wakes, wake, ends, *output, *running.values()):
                    os.close(each)
                _become(**wanted)
            running[pid] = ends
            for each in (asked, *output):
                os.close(each)
            server.send(str(pid).encode())


def _become(args: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
    """Go on as `python ARGS` does when it has started."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    code = 1
    try:
        from prefect import context

        context.GLOBAL_SETTINGS_CONTEXT = None  # else it says where the profiles are
        context.refresh_global_settings_context()
        sys.path[0] = ""
        sys.path[1:1] = [each for each in env.get("PYTHONPATH", "").split(os.pathsep) if each]
        main = types.ModuleType("__main__")
        main.__dict__["__builtins__"] = builtins
        sys.modules["__main__"] = main
        if args[0] == "-c":
            sys.argv = ["-c", *args[2:]]
            exec(compile(args[1], "<string>", "exec"), main.__dict__)
        elif args[0] == "-m":
            sys.path[0], sys.argv = cwd, ["-m", *args[2:]]
            # what `python -m` itself calls; `run_module` takes __main__ away again while threads may still need it
            runpy._run_module_as_main(args[1])  # type: ignore[attr-defined]
        else:
            file = Path(args[0]).absolute()
            sys.path[0], sys.argv, main.__file__ = str(file.resolve().parent), args, str(file)
            exec(compile(file.read_bytes(), str(file), "exec"), main.__dict__)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the end of an interpreter does
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
