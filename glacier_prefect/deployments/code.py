"""How code reaches the worker, and which code a pipeline is: pull steps, and the hash that says whether it changed.

Loads pipelines' modules no further than they are; runs git, nothing else.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import urllib.parse
from collections import deque
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from glacier_prefect.errors import ConfigurationError
from glacier_prefect.graph.references import is_user_code, referred
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.tasks import Task

LOCKS = ("uv.lock", "pylock.toml", "requirements.lock", "requirements.txt")
STEPS = "prefect.deployments.steps"


class LocalCode:
    """`code = "local"`: the worker runs in the project's folder, on the same machine.

    Args:
        folder: The project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pull_steps(self) -> list[dict[str, Any]]:
        """Return Prefect's pull steps."""
        return [{f"{STEPS}.set_working_directory": {"directory": str(self.folder)}}]

    def identity(self) -> dict[str, str]:
        """Return what else makes a deployment another one: where the code comes from, and files beside the modules."""
        return {"code": "local", "folder": str(self.folder)}


class GitCode:
    """`code = "git"`: the worker clones the repository at the commit that was deployed.

    Args:
        folder: The project's folder, inside a repository.
        repository: Where to clone from; the remote `origin` if None, the repository itself if it has no remote.
    """

    def __init__(self, folder: Path, repository: str | None = None) -> None:
        self.folder = folder
        self._given = repository

    @cached_property
    def _top(self) -> Path:
        return Path(self._git("rev-parse", "--show-toplevel"))

    @cached_property
    def repository(self) -> str:
        """Where the worker clones from."""
        remotes = self._git("remote").split()
        url = self._given or (self._git("remote", "get-url", "origin") if "origin" in remotes else str(self._top))
        if urllib.parse.urlsplit(url).password or (
            url.startswith("http") and "@" in url.partition("://")[2].partition("/")[0]
        ):
            raise ConfigurationError(
                "The address of the git repository has a credential in it, which Prefect would give back in clear.\n"
                "Hint: write it without, and let the worker's git have the credential."
            )
        return url

    @cached_property
    def commit(self) -> str:
        """The commit that is deployed.

        Raises:
            ConfigurationError: The project's files differ from it, or no remote has it.
        """
        changed = self._git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".").split(
            "\0"
        )
        # an untracked file that is not Python may be anything, as data of a run
        missing = [line[3:] for line in changed if line and (not line.startswith("??") or line.endswith(".py"))]
        if missing:
            more = f", nor {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ConfigurationError(
                f'With code = "git" the worker gets what is committed, and {missing[0]!r} is not{more}.\n'
                "Hint: commit and push first."
            )
        commit = self._git("rev-parse", "HEAD")
        remote = self._given is None and self.repository != str(self._top)
        if remote and not self._git("for-each-ref", "--contains", commit, "--count=1", "refs/remotes"):
            raise ConfigurationError(
                f"Commit {commit[:10]} is not in the remote that the worker clones from, {self.repository!r}.\n"
                "Hint: push first."
            )
        return commit

    def pull_steps(self) -> list[dict[str, Any]]:
        """Return Prefect's pull steps."""
        clone = {
            "id": "clone",
            "repository": self.repository,
            "commit_sha": self.commit,
            "clone_directory_name": "code",
        }
        inside = self.folder.resolve().relative_to(self._top.resolve()).as_posix()
        directory = "{{ clone.directory }}" + ("" if inside == "." else f"/{inside}")
        return [
            {f"{STEPS}.git_clone": clone},
            {f"{STEPS}.set_working_directory": {"directory": directory}},
            *install_steps(self.folder),
        ]

    def identity(self) -> dict[str, str]:
        """Return what else makes a deployment another one: where the code comes from, and files beside the modules.

        Of files that are not Python nobody knows who reads them; each counts for every pipeline, so that none is left
        at an older commit.
        """
        listed = self._git("ls-files", "--stage", "--", ".").splitlines()
        others = [line for line in listed if not line.endswith((".py", ".md"))]
        return {"code": "git", "repository": self.repository, "files": _digest("\n".join(others).encode())}

    def _git(self, *words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=self.folder, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise ConfigurationError('code = "git" needs git, and there is none on PATH.') from None
        except subprocess.CalledProcessError as error:
            raise ConfigurationError(
                f'code = "git": git {words[0]} failed in {self.folder}: {error.stderr.strip()}'
            ) from error
        return done.stdout.rstrip("\n")


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
    key = _digest((folder / lock).read_bytes())[:16]
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


def code_hash(pipeline: Pipeline, folder: Path, also: Mapping[str, Any]) -> str:
    """Return a hash of what a pipeline is: its modules and those of the user's that they import, the lock, and more.

    Args:
        pipeline: The pipeline.
        folder: The project's folder.
        also: What else makes it another one: settings, outputs.
    """
    found = {
        os.path.relpath(file, folder): _digest(Path(file).read_bytes()) for file in sorted(user_files(pipeline, folder))
    }
    locks = {name: _digest((folder / name).read_bytes()) for name in LOCKS if (folder / name).is_file()}
    document = {"modules": found, "locks": locks, "also": also}
    return _digest(json.dumps(document, sort_keys=True).encode())[:16]


def user_files(pipeline: Pipeline, folder: Path) -> set[str]:
    """Return the files of the user's modules that a pipeline needs, found by their imports and by what its tasks refer
    to. An import inside a function counts too.
    """
    names = {pipeline.module}
    for node in pipeline.graph.nodes.values():
        if isinstance(node.call, Task):
            names |= {each.__module__ for each in referred(node.call.fn) if hasattr(each, "__module__")}
        elif node.kind == "flow":
            names.add(node.call.module)
    pending, seen, files = deque(sorted(names)), set(names), set()
    if pipeline.file:
        files.add(pipeline.file)
    while pending:
        name = pending.popleft()
        file = _file_of(name, folder)
        if file is None:
            continue
        files.add(file)
        for other in _imports(file, name):
            if other not in seen:
                seen.add(other)
                pending.append(other)
    return files


def _file_of(name: str, folder: Path) -> str | None:
    """Return the file of a user's module, None for any other."""
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return file if file and file.endswith(".py") and is_user_code(name) else None
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or (top in sys.modules and not is_user_code(top)):
        return None
    try:
        spec = importlib.util.find_spec(name)  # an import inside a function, which has not happened
    except (ImportError, ValueError, AttributeError):
        return None
    origin = spec.origin if spec else None
    return origin if origin and origin.endswith(".py") and Path(origin).is_relative_to(folder) else None


def _imports(file: str, name: str) -> Iterator[str]:
    """Yield the names of all modules that a file may import."""
    package = name if file.endswith("__init__.py") else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(Path(file).read_bytes())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, *([base] if base else [])])
            found = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for each in found:
            parts = each.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1) if parts[0])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
