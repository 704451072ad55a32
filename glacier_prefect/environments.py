"""Which environment this process is in, by the variables of the process."""

from __future__ import annotations

import os

DEFAULT = "dev"


def environment_name() -> str:
    """Return the environment's name: `GLACIER_ENV`, else "dev"."""
    return os.environ.get("GLACIER_ENV") or DEFAULT


def first_variable(*names: str) -> str | None:
    """Return the value of the first variable that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
