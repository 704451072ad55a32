"""What a pull request of a fork is told when its base branch cannot be had."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

from action import inputs, outside
from action.events import Event
from action.glacier import Glacier

MADE = {"project": "shop", "root": {"module": {"bucket": {"name": "orders"}}}, "prefect": {}}


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def told(tmp_path: Path, origin: bool) -> str:
    """Return what is said of a repository whose base commit can be fetched or not."""
    base, work = tmp_path / "base", tmp_path / "work"
    base.mkdir()
    git(base, "init", "--quiet")
    (base / "glacier.toml").write_text('project = "shop"\n')
    git(base, "add", ".")
    git(base, "commit", "--quiet", "-m", "base")
    git(tmp_path, "clone", "--quiet", str(base), str(work))
    if not origin:
        git(work, "remote", "set-url", "origin", str(tmp_path / "gone"))

    def glacier(*words: str, folder: Path | None = None) -> dict[str, Any]:
        return {**MADE, "root": {}} if folder is not None else MADE

    given = inputs.read({"INPUT_ENVIRONMENT": "prod", "GITHUB_WORKSPACE": str(work)})
    event = Event(name="pull_request", base=git(base, "rev-parse", "HEAD"))
    return outside.compare(cast(Glacier, glacier), given, event, work)


def test_what_is_new_is_shown(tmp_path: Path) -> None:
    text = told(tmp_path, origin=True)
    assert '+ "name": "orders"' in text
    assert "cannot be compared" not in text


def test_without_the_base_nothing_is_called_new(tmp_path: Path) -> None:
    text = told(tmp_path, origin=False)
    assert "The base branch cannot be compared with: " in text
    assert "orders" not in text
    assert "Nothing of what is generated changes" not in text
