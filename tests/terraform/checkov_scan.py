"""Checkov over Terraform, in a virtual environment of its own under `.cache`: it pins what Prefect needs newer.

`python -m tests.terraform.checkov_scan` prints the table of skipped checks for `terraform_modules/README.md`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.terraform.mirror import REPOSITORY

VERSION = "3.3.30"
REQUIREMENTS = Path(__file__).with_name("checkov_requirements.txt")  # `pip freeze` of that environment
SKIP = re.compile(r"#\s*checkov:skip=(\w+):?(.*)$", re.M)


@dataclass(frozen=True, order=True)
class Skip:
    """A check that a file skips, and why."""

    check: str
    module: str
    reason: str


def checkov_python() -> str:
    """Return the Python of an environment with Checkov, which is made if it is not there."""
    home = REPOSITORY / ".cache" / f"checkov-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, done = home / "bin" / "python", home / "done"
    home.parent.mkdir(exist_ok=True)
    with open(home.with_name(f"{home.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            run = [sys.executable, "-m", "uv"]
            subprocess.run([*run, "venv", "--quiet", "--clear", "--python", sys.executable, home], check=True)
            packages = ["--constraint", REQUIREMENTS, f"checkov=={VERSION}"]
            subprocess.run([*run, "pip", "install", "--quiet", "--python", python, *packages], check=True)
            done.touch()
    return str(python)


def failures(python: str, folder: Path) -> set[tuple[str, str, str]]:
    """Return the checks that fail in the Terraform of a folder: file from there, check, resource."""
    words = ["--framework=terraform", "--skip-download", "--soft-fail", "--compact", "--output=json"]
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BC_", "CKV_", "CHECKOV_", "LOG_", "PYTHON"))
    }
    command = [python, "-P", REPOSITORY / "tests/terraform/checkov_memory.py", *words, f"--directory={folder}"]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(done.stdout).get("results")
    if results is None:  # there is nothing that a check is about
        return set()
    assert results["parsing_errors"] == []
    return {(each["file_path"].lstrip("/"), each["check_id"], each["resource"]) for each in results["failed_checks"]}


def skips(modules: Path) -> Iterator[Skip]:
    """Yield the checks that modules skip."""
    for file in sorted(modules.glob("*/*/*.tf")):
        for check, reason in SKIP.findall(file.read_text()):
            yield Skip(check, file.parent.relative_to(modules).as_posix(), reason.strip())


def table(found: Iterator[Skip]) -> str:
    """Return skips as the rows of a Markdown table, one for each check and reason."""
    rows: dict[tuple[str, str], set[str]] = {}
    for each in found:
        rows.setdefault((each.check, each.reason), set()).add(f"`{each.module}`")
    lines = [
        f"| {check} | {', '.join(sorted(modules))} | {reason} |" for (check, reason), modules in sorted(rows.items())
    ]
    return "\n".join(["| check | modules | why it is skipped |", "| --- | --- | --- |", *lines])


if __name__ == "__main__":
    print(table(skips(REPOSITORY / "terraform_modules")))
