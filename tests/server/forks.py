"""Runs commands of `glacier`, each in a fork of this process, which has loaded Prefect once.

Reads one JSON line a command (`words`, `folder`, `env`, and `at`: what breaks) and answers with one: the exit code (if
below 0 the signal), what it said, and its writes to Prefect. What can break: `refuse` is the number of the write that
Prefect refuses; `kill` that of the one after which the process is killed; `journal` and `record` are the disk that is
full when the second write is noted, or the record written.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from glacier_prefect.cli import main
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.journal import Journal
from glacier_prefect.deployments.state import State
from glacier_prefect.errors import DeployFailed


def child(command: dict[str, Any], said: int, writes: int) -> None:
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.environ.update(command["env"])
    os.chdir(command["folder"])
    write, intend, record, at = Api.write, Journal.intend, State.write, dict(command["at"])

    def counted(self: Api, *given: Any) -> Any:
        if at.get("refuse") == self.writes:
            del at["refuse"]  # what undoes it has to work
            raise DeployFailed("Prefect refused it on purpose")
        os.write(writes, " ".join([*given[:2], "\n"]).encode())
        answer = write(self, *given)
        if at.get("kill") == self.writes:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def noted(self: Journal, *given: Any) -> list[int]:
        if "journal" in at and any(each["event"] == "done" for each in self.entries()):
            with Path(".glacier/dev/journal.jsonl").open("ab") as file:  # the rest of a page that is begun has room
                file.write(b"\n" * (-file.tell() % 4096))
            fill(at["journal"])
        return intend(self, *given)

    def recorded(self: State, *given: Any) -> None:
        if "record" in at:
            fill(at["record"])
        record(self, *given)

    Api.write, Journal.intend, State.write = counted, noted, recorded  # type: ignore[method-assign]
    code = 1
    try:
        main(command["words"])
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def fill(disk: str) -> None:
    """Leave no room on a disk."""
    with contextlib.suppress(OSError), open(Path(disk, "fill"), "ab", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def run(command: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as writes:
        process = os.fork()
        if process == 0:
            child(command, said.fileno(), writes.fileno())
        _, status = os.waitpid(process, 0)
        texts = []
        for file in (said, writes):
            file.seek(0)
            texts.append(file.read().decode())
    return {"code": os.waitstatus_to_exitcode(status), "said": texts[0], "writes": texts[1].splitlines()}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
