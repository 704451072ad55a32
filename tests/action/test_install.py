"""The user's environment, made by the real uv of packages that need no index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from action import inputs, processes
from action.failures import Failed, Reason
from action.install import install, own_version

BACKEND = """
import zipfile
def build_wheel(folder, settings=None, metadata=None):
    name = "NAME-VERSION-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        info = "NAME-VERSION.dist-info"
        wheel.writestr("NAME/__init__.py", "")
        extras = "".join(f"Provides-Extra: {each}" + chr(10) for each in ("aws", "gcp"))
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: NAME\\nVersion: VERSION\\n" + extras)
        lines = "Wheel-Version: 1.0", "Generator: x", "Root-Is-Purelib: true", "Tag: py3-none-any", ""
        wheel.writestr(f"{info}/WHEEL", chr(10).join(lines))
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""


def package(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(
        f'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "{version}"\nrequires-python = ">=3.11"\n'
        "[project.optional-dependencies]\naws = []\ngcp = []\n"
    )
    text = BACKEND.replace("NAME", name.replace("-", "_")).replace("VERSION", version)
    (folder / "backend.py").write_text(text)
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = package(tmp_path / "checkout", "glacier-prefect", "0.7.1")
    (folder / "glacier_prefect").mkdir()
    (folder / "glacier_prefect/__init__.py").write_text('__version__ = "0.7.1"\n')
    return folder


def installed(tmp_path: Path, checkout: Path, **given: str) -> tuple[str, list[str]]:
    """Return which of the packages the environment has, and what was said."""
    workspace, said = tmp_path / "work", list[str]()
    workspace.mkdir(exist_ok=True)
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_WORKSPACE": str(workspace),
        "RUNNER_TEMP": str(tmp_path),
        "UV_OFFLINE": "1",
        "UV_NO_CONFIG": "1",
        "INPUT_ENVIRONMENT": "prod",
        "INPUT_GITHUB_TOKEN": "not-for-installers",
        **given,
    }
    read = inputs.read(environ)
    python = install(read, workspace=workspace, checkout=checkout, environ=environ, say=said.append)
    listed = "import importlib.metadata as m; print(*sorted(d.name + d.version for d in m.distributions()))"
    done = subprocess.run([python, "-I", "-c", listed], capture_output=True, text=True, check=True)
    return done.stdout.strip().replace("_", "-"), said


def test_a_project_without_a_lock_gets_the_actions_own_glacier_for_its_provider(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work/glacier.toml").write_text('[environments.prod]\nprovider = "gcp"\n')
    found, said = installed(tmp_path, checkout)
    assert found == "glacier-prefect0.7.1"
    assert "glacier-prefect is not among the project's packages; the action's own is installed[gcp]." in said


def test_requirements_are_found_above_the_working_directory_and_keep_their_glacier(
    tmp_path: Path, checkout: Path
) -> None:
    theirs = package(tmp_path / "theirs", "glacier-prefect", "0.7.9")
    (tmp_path / "work/shop").mkdir(parents=True)
    (tmp_path / "work/requirements.txt").write_text(f"glacier-prefect @ {theirs.as_uri()}\n")
    (tmp_path / "requirements.lock").write_text("not of this repository\n")
    assert installed(tmp_path, checkout, INPUT_WORKING_DIRECTORY="shop")[0] == "glacier-prefect0.7.9"


def test_a_lock_of_uv_is_synced_as_it_is(tmp_path: Path, checkout: Path) -> None:
    work, theirs = tmp_path / "work", package(tmp_path / "theirs", "glacier-prefect", "0.7.9")
    work.mkdir()
    (work / "pyproject.toml").write_text(
        '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["glacier-prefect"]\n'
        f"[tool.uv.sources]\nglacier-prefect = {{ path = {str(theirs)!r} }}\n"
    )
    env = {**os.environ, "UV_OFFLINE": "1", "UV_NO_CONFIG": "1"}
    uv = str(Path(sys.executable).parent / "uv")
    subprocess.run([uv, "lock", "--quiet", "--python", sys.executable], cwd=work, env=env, check=True)
    lock = (work / "uv.lock").read_bytes()
    found, _ = installed(tmp_path, checkout, UV_PYTHON=sys.executable)
    assert found == "glacier-prefect0.7.9"
    assert (work / "uv.lock").read_bytes() == lock
    assert (work / ".venv/bin/python").exists()


def test_a_command_installs_without_the_actions_inputs_in_its_environment(tmp_path: Path, checkout: Path) -> None:
    command = "uv venv --quiet .venv\nenv > seen"
    found, _ = installed(tmp_path, checkout, INPUT_INSTALL=command)
    assert found == "glacier-prefect0.7.1"
    assert "not-for-installers" not in (tmp_path / "work/seen").read_text()


def test_what_cannot_be_installed_or_is_of_another_minor_version_has_its_reason(tmp_path: Path, checkout: Path) -> None:
    with pytest.raises(Failed, match="ended with 4") as failed:
        installed(tmp_path, checkout, INPUT_INSTALL="exit 4")
    assert failed.value.reason is Reason.INSTALL_FAILED
    (tmp_path / "work/requirements.txt").write_text(
        f"glacier-prefect @ {package(tmp_path / 'older', 'glacier-prefect', '0.6.0').as_uri()}\n"
    )
    with pytest.raises(Failed, match=r"has glacier-prefect 0\.6\.0, and this action is 0\.7\.1") as mismatch:
        installed(tmp_path, checkout)
    assert mismatch.value.reason is Reason.VERSION_MISMATCH


def test_a_job_that_is_cancelled_while_the_version_is_asked_for_is_cancelled(tmp_path: Path, checkout: Path) -> None:
    script = f"#!/bin/sh\\nkill -INT {os.getpid()}; exec sleep 60"
    made = f"mkdir -p .venv/bin; printf '{script}' > .venv/bin/python; chmod +x .venv/bin/python"
    with processes.cancelling(), pytest.raises(Failed) as failed:
        installed(tmp_path, checkout, INPUT_INSTALL=made)
    assert failed.value.reason is Reason.CANCELLED


def test_the_version_of_this_action_is_the_packages() -> None:
    import glacier_prefect

    assert own_version(Path(glacier_prefect.__file__).parent.parent) == glacier_prefect.__version__
