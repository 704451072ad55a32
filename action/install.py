"""The user's environment: the packages of the project's lock, and a `glacier` of the action's minor version in it."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from action.failures import Failed, Reason
from action.inputs import Inputs
from action.processes import check_cancelled, run

# uv's own, and files that `uv pip` reads; the first that is found counts. Workers look for the same ones in this order:
# glacier_prefect/deployments/packages.py
LOCKS = ("uv.lock", "pylock.toml", "requirements.lock", "requirements.txt")
_VERSION = (
    "import importlib.metadata as m\ntry: print(m.version('glacier-prefect'))\nexcept m.PackageNotFoundError: pass"
)


def install(
    inputs: Inputs, *, workspace: Path, checkout: Path, environ: Mapping[str, str], say: Callable[[str], object]
) -> Path:
    """Install the project and return the Python that has its packages, Glacier among them.

    Args:
        inputs: The action's inputs.
        workspace: The repository's folder; locks are looked for up to it.
        checkout: The action's own folder, which has the package `glacier_prefect`.
        environ: The environment.
        say: Called with what the installers print.

    Raises:
        Failed: It could not be installed, or has another Glacier than this action is for.
    """
    env = {name: value for name, value in environ.items() if not name.startswith("INPUT_")}

    def do(*words: str, folder: Path = inputs.folder) -> None:
        code, _ = run(words, folder=folder, environment=env, on_line=say)
        check_cancelled()
        if code:
            raise Failed(Reason.INSTALL_FAILED, f"{' '.join(words[:3])} … ended with {code}; the log above says why.")

    lock = _lock(inputs.folder, workspace)
    if inputs.install is not None:
        do("bash", "-e", "-o", "pipefail", "-c", inputs.install)
        python = _python(inputs.folder / ".venv") or _on_path(environ)
    elif lock is not None and lock.name == "uv.lock":
        do("uv", "sync", "--frozen", folder=lock.parent)
        made = Path(environ.get("UV_PROJECT_ENVIRONMENT") or ".venv")
        python = _python(lock.parent / made) or _missing(lock.parent / made)
    else:
        made = Path(environ.get("RUNNER_TEMP") or inputs.folder / ".venv") / "glacier-venv"
        do("uv", "venv", "--quiet", "--clear", "--python", str(_on_path(environ)), str(made))
        python = _python(made) or _missing(made)
        if lock is not None:
            do("uv", "pip", "install", "--python", str(python), "--requirement", str(lock), folder=lock.parent)
    if not (found := _version(python, env)):
        extra = _provider(inputs)
        say(f"glacier-prefect is not among the project's packages; the action's own is installed{extra}.")
        do("uv", "pip", "install", "--python", str(python), f"glacier-prefect{extra} @ {checkout.as_uri()}")
        found = _version(python, env)
    wanted = own_version(checkout)
    if found.split(".")[:2] != wanted.split(".")[:2]:
        raise Failed(
            Reason.VERSION_MISMATCH,
            f"The project has glacier-prefect {found or 'not at all'}, and this action is {wanted}: their minor "
            f"versions have to be equal.\nHint: uses: glacier/deploy@v{found}, or another glacier-prefect in the lock.",
        )
    return python


def own_version(checkout: Path) -> str:
    """Return the version of the action, which is that of the package beside it."""
    text = (checkout / "glacier_prefect" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    assert found, "the action's checkout has no version"
    return found[1]


def _lock(folder: Path, workspace: Path) -> Path | None:
    for each in (folder, *folder.parents):
        for name in LOCKS:
            if (each / name).is_file():
                return each / name
        if each == workspace.resolve():
            break
    return None


def _python(environment: Path) -> Path | None:
    python = environment / "bin" / "python"
    return python if python.exists() else None


def _on_path(environ: Mapping[str, str]) -> Path:
    found = shutil.which("python3", path=environ.get("PATH"))
    if found is None:
        raise Failed(Reason.INSTALL_FAILED, "There is no python3 on PATH.")
    return Path(found)


def _missing(environment: Path) -> NoReturn:
    raise Failed(Reason.INSTALL_FAILED, f"uv has made no environment {os.fspath(environment)!r}.")


def _version(python: Path, env: Mapping[str, str]) -> str:
    """Return the version of Glacier in an environment, nothing if it has none."""
    code, said = run(
        [str(python), "-P", "-c", _VERSION], folder=python.parent, environment=env, on_line=lambda line: None, keep=True
    )
    check_cancelled()
    if code:
        raise Failed(Reason.INSTALL_FAILED, f"{python} does not run; it ended with {code}.")
    return said.strip()


def _provider(inputs: Inputs) -> str:
    """Return the extra of the environment's provider, as in "[aws]"."""
    for name, keys in (("glacier.toml", ()), ("pyproject.toml", ("tool", "glacier"))):
        try:
            table = tomllib.loads((inputs.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # `glacier` itself says what is wrong with it
            continue
        for key in (*keys, "environments", inputs.environment):
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict) and (provider := table.get("provider")) in ("aws", "azure", "gcp"):
            return f"[{provider}]"
    return ""
