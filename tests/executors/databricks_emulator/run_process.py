"""The process of a task run, which has a disk of its own.

On it there are the volumes, the workspace's files, Python, and the packages that the run asked for, linked from this
environment as if pip had installed them; nothing else of this machine's disk can be seen there.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement

RUNTIME = "16.4"
IN_EVERY_IMAGE = ("pyspark", "pandas", "numpy", "pyarrow")  # neither Polars nor cloudpickle
PACKAGES = Path(importlib.metadata.distribution("cloudpickle").locate_file("")).resolve()
PYTHON = os.path.realpath(sys.executable)

# Makes the disk of a run below the folder $1 and runs the command from $6 on in it, within mounts of its own.
DISK = r"""
set -e
root=$1 volumes=$2 workspace=$3 driver=$4 packages=$5; shift 5
mount -t tmpfs none "$root"
for each in /usr /bin /sbin /lib /lib32 /lib64 /etc PREFIX; do
    if [ -L "$each" ]; then cp -P "$each" "$root$each"
    elif [ -d "$each" ]; then mkdir -p "$root$each"; mount --bind "$each" "$root$each"; fi
done
for each in /proc /dev /sys; do mkdir "$root$each"; mount --rbind "$each" "$root$each"; done
mkdir -p "$root/tmp" "$root/Workspace" "$root/databricks/driver" "$root/databricks/packages"
mount --bind "$workspace" "$root/Workspace"
mount --bind "$driver" "$root/databricks/driver"
mount --bind "$packages" "$root/databricks/packages"
if [ -n "$volumes" ]; then mkdir "$root/Volumes"; mount --bind "$volumes" "$root/Volumes"; fi
exec chroot "$root" "$@"
""".replace("PREFIX", os.path.realpath(sys.base_prefix))

# What runs there: a file as a script, or as a notebook with `dbutils`.
RUNNER = """
import json, os, runpy, sys, traceback, types
os.chdir("/databricks/driver")
sys.path.append("/databricks/driver/lib")
kind, file, *arguments = sys.argv[1:]

class Exit(BaseException): pass

def leave(value):
    raise Exit(str(value))

def widget(name):
    if name not in parameters:
        raise RuntimeError(f"InputWidgetNotDefined: No input widget named {name} is defined")
    return parameters[name]

made = {}
try:
    if kind == "notebook":
        parameters = json.loads(arguments[0])
        notebook = types.SimpleNamespace(exit=leave)
        dbutils = types.SimpleNamespace(widgets=types.SimpleNamespace(get=widget), notebook=notebook)
        runpy.run_path(file, init_globals={"dbutils": dbutils}, run_name="__main__")
    else:
        sys.argv = [file, *arguments]
        runpy.run_path(file, run_name="__main__")
except Exit as left:
    made["result"] = left.args[0]
except BaseException as error:
    if not isinstance(error, SystemExit) or error.code:
        made["error"] = "".join(traceback.format_exception_only(type(error), error)).strip()
        made["error_trace"] = traceback.format_exc()
with open("/databricks/driver/outcome.json", "w") as opened:
    json.dump(made, opened)
"""


def install(requirements: Iterable[str], lib: Path) -> None:
    """Link packages, those of every image too, and all that they need.

    Raises:
        PackageNotFoundError: One is not here.
    """
    lib.mkdir(parents=True)
    for name in {each for one in (*IN_EVERY_IMAGE, *requirements) for each in closure(one)}:
        for top in tops(name):
            with contextlib.suppress(FileExistsError):
                (lib / top).symlink_to(f"/databricks/packages/{top}")


def start(
    words: Iterable[str], *, root: Path, volumes: Path | None, workspace: Path, driver: Path, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a process.

    Args:
        words: "script" or "notebook", the file, and its arguments.
        root: Folder on which its disk is mounted.
        volumes: What is below `/Volumes` there; None for a cluster that sees none.
        workspace: What is below `/Workspace`.
        driver: Its working directory, with what `install` linked; gets its log, and its outcome at the end.
        env: Variables besides those of every image.
    """
    root.mkdir(exist_ok=True)
    places = [root, volumes or "", workspace, driver, PACKAGES]
    with open(driver / "log", "wb") as log:
        return subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private"),
                *(() if os.geteuid() == 0 else ("--user", "--map-root-user")),
                *("sh", "-c", DISK, "disk", *map(str, places)),
                *(PYTHON, "-I", "-S", "-u", "-c", RUNNER, *words),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "HOME": "/databricks",
                "LANG": "C.UTF-8",
                "DATABRICKS_RUNTIME_VERSION": RUNTIME,
                "SPARK_HOME": "/databricks/driver/lib/pyspark",
                "SPARK_LOCAL_IP": "127.0.0.1",
                "SPARK_SUBMIT_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
                "PYSPARK_PYTHON": PYTHON,
                **env,
            },
            cwd="/",
            start_new_session=True,
        )


def kill(process: subprocess.Popen[bytes] | None) -> None:
    """End a process and all that it has started."""
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def closure(requirement: str) -> Iterator[str]:
    """Yield the names of a package and of all that it needs.

    Raises:
        PackageNotFoundError: It is not here, or not in a version that fits.
    """
    seen: set[str] = set()
    todo = [Requirement(requirement)]
    while todo:
        one = todo.pop()
        if one.name in seen or (one.marker is not None and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add(one.name)
        found = importlib.metadata.distribution(one.name)
        if not one.specifier.contains(found.version, prereleases=True):
            raise importlib.metadata.PackageNotFoundError(str(one))
        yield one.name
        todo.extend(map(Requirement, found.requires or ()))


@functools.cache
def tops(name: str) -> tuple[str, ...]:
    """Return what a package has in the folder of packages."""
    files = importlib.metadata.distribution(name).files or ()
    return tuple({file.parts[0] for file in files} - {"..", "__pycache__"})


def usable() -> bool:
    """Whether a process can have a disk of its own here."""
    if shutil.which("unshare") is None:
        return False
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    done = subprocess.run(["unshare", "--mount", *user, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return done.returncode == 0
