"""The action starts in whatever Python a job has, before anything is installed."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import action

ROOT = Path(__file__).parents[2]


def test_the_action_needs_nothing_but_the_standard_library() -> None:
    modules = [f"action.{each.name}" for each in pkgutil.iter_modules(action.__path__) if each.name != "__main__"]
    assert "action.comment" in modules
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {', '.join(modules)}"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, timeout=60)
