"""An executor of one's own: each body runs in a process that outlives this one, as in a batch system."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from glacier_prefect.executors import FolderPlace, RemoteExecutor, RemoteState, parcel

# The first that makes the file `pid` goes on: a job runs once if submitted twice, and never if cancelled before.
JOB = "echo $$ > $$; ln $$ pid 2> /dev/null && exec '{}' -u '{}' . < /dev/null > log 2>&1"


@dataclass(frozen=True, kw_only=True)
class DetachedExecutor(RemoteExecutor):
    """Processes of their own, each in a folder of `folder`."""

    name = "detached"
    folder: str = "data/jobs"

    def submit(self, work):
        job = Path(self.folder, work.token).absolute()
        parcel.send(FolderPlace(job), work.function, work.inputs)
        subprocess.run(["setsid", "--fork", "sh", "-c", JOB.format(sys.executable, parcel.ENTRY)], cwd=job, check=True)
        return str(job)

    def look(self, remote):
        pid, log = Path(remote, "pid"), Path(remote, "log")
        died = pid.exists() and not Path("/proc", pid.read_text().strip()).exists()
        lines = tuple(log.read_text().splitlines()) if log.exists() else ()
        if made := parcel.receive(FolderPlace(Path(remote))):
            return RemoteState.of(made, url=remote, log=lines)
        return RemoteState(kind="failed" if died else "running", message="it died" * died, url=remote, log=lines)

    def fetch(self, remote, work):
        return parcel.receive(FolderPlace(Path(remote))).value

    def cancel(self, remote):
        subprocess.run("echo no > no; ln no pid; kill -9 -$(cat pid)", shell=True, cwd=remote, capture_output=True)
