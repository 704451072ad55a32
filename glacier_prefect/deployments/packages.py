"""How the packages of the project's lock reach the flow's process: pull steps that any worker can run. Runs nothing."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any

LOCKS = ("uv.lock", "pylock.toml", "requirements.lock", "requirements.txt")
STEPS = "prefect.deployments.steps"


def install_steps(folder: Path) -> list[dict[str, Any]]:
    """Return pull steps that run the flow with the packages of the project's lock; none if it has no lock.

    Pull steps run in the worker's environment, which need not have more than Prefect, so they use only what is there.
    The packages go into a folder of their own, cached by the lock's hash, platform and Python. `site.addsitedir` then
    puts it on the path; Prefect hands what a pull step adds there to the flow's process, before the worker's packages.
    So that process has the user's packages, Prefect included, and nothing is installed into the worker's environment.
    """
    lock = next((name for name in LOCKS if (folder / name).is_file()), None)
    if lock is None:
        return []
    key = digest((folder / lock).read_bytes())[:16]
    exported = 'uv export --quiet --frozen --no-dev --no-emit-project --output-file "$made.txt" && '
    uv = 'uv pip install --quiet --python "$python" --target "$made" -r '
    pip = '"$python" -m pip install --quiet --disable-pip-version-check --target "$made" -r '
    with_uv = f'{exported}{uv}"$made.txt"' if lock == "uv.lock" else f"{uv}{lock}"
    without = 'echo "uv.lock needs uv on the PATH of the worker." && false' if lock == "uv.lock" else f"{pip}{lock}"
    # The step runs one line at a time, so this is one line. The parent process is Prefect's, in the worker's Python.
    script = "; ".join(
        [
            "set -eu",
            "if [ -r /proc/$PPID/cmdline ]",
            r"then python=$(tr '\0' '\n' < /proc/$PPID/cmdline | head -n 1)",
            "else python=$(ps -o comm= -p $PPID)",
            "fi",
            'home="${GLACIER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/glacier}/packages"',
            "names='import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform(), sep=\"-\")'",
            f'folder="$home/{key}-$("$python" -c "$names")"',
            'if [ ! -d "$folder" ]',
            'then mkdir -p "$home"',
            'made=$(mktemp -d "$home/.new-XXXXXX")',
            """trap 'rm -rf "$made" "$made.txt"' EXIT""",
            f"if command -v uv > /dev/null; then {with_uv}; else {without}; fi >&2",
            # fails if another run was quicker, which is as good
            """"$python" -c 'import os, sys; os.rename(*sys.argv[1:])' "$made" "$folder" || [ -d "$folder" ]""",
            "fi",
            'printf %s "$folder"',
        ]
    )
    install = {"id": "install", "script": shlex.join(["sh", "-c", script]), "stream_output": False}
    return [
        {f"{STEPS}.run_shell_script": install},
        {"site.addsitedir": {"sitedir": "{{ install.stdout }}"}},
    ]


def digest(data: bytes) -> str:
    """Return the hash of some bytes."""
    return hashlib.sha256(data).hexdigest()
