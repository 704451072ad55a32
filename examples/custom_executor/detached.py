"""An executor of one's own: each body runs in a process that outlives this one, as in a batch system."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from glacier_prefect.executors import FolderPlace, RemoteExecutor, RemoteState, parcel, register_executor

# The first that makes the file `pid` goes on, so that a job that is submitted twice runs once.
JOB = """setsid sh -c 'set -C; echo $$ > pid && exec "$@" >> log' sh "$@" < /dev/null > /dev/null 2>&1 &"""


@dataclass(frozen=True, kw_only=True)
class DetachedExecutor(RemoteExecutor):
    """Processes of their own, each in a folder of `folder`."""

    name = "detached"
    folder: str = "/tmp/detached-jobs"

    def submit(self, work):
        job = Path(self.folder, work.token)
        parcel.send(FolderPlace(job), work.function, work.inputs)
        subprocess.run(["sh", "-c", JOB, "sh", sys.executable, "-u", parcel.ENTRY, "."], cwd=job, check=True)
        return str(job)

    def look(self, remote):
        pid, log, made = Path(remote, "pid"), Path(remote, "log"), parcel.receive(FolderPlace(Path(remote)))
        lines = tuple(log.read_text().splitlines()) if log.exists() else ()
        if made is not None:
            return RemoteState.of(made, url=remote, log=lines)
        alive = not pid.exists() or Path("/proc", pid.read_text().strip()).exists()
        return RemoteState(kind="running" if alive else "failed", message="its process died", url=remote, log=lines)

    def fetch(self, remote, work):
        return parcel.receive(FolderPlace(Path(remote))).value

    def cancel(self, remote):
        os.killpg(int(Path(remote, "pid").read_text()), signal.SIGKILL)


register_executor("detached", DetachedExecutor)
