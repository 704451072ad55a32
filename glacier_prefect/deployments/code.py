"""How code reaches the worker, and which code a pipeline is: pull steps, and the hash that says whether it changed.

Loads pipelines' modules no further than they are; runs git, nothing else.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
import urllib.parse
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect.deployments.packages import LOCKS, STEPS, digest, install_steps
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.graph.references import is_user_code, referred
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.tasks import Task

if TYPE_CHECKING:
    from glacier_prefect.deployments.changes import Change
    from glacier_prefect.deployments.state import State


class Code(ABC):
    """How code reaches the worker."""

    @abstractmethod
    def pull_steps(self, pipeline: Pipeline) -> list[dict[str, Any]]:
        """Return Prefect's pull steps."""

    @abstractmethod
    def identity(self, pipeline: Pipeline) -> dict[str, str]:
        """Return what else makes a deployment another one: where the code comes from, and files beside the modules."""

    def job_variables(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the job variables by which a run finds the code, as far as it is known where that is.

        Args:
            outputs: What Terraform knows of the infrastructure.
        """
        return {}


class Delivery(Code):
    """Code that a deploy brings to where workers find it."""

    @abstractmethod
    def deliver(self, changes: Sequence[Change], outputs: Mapping[str, Any]) -> bool:
        """Bring code to where workers find it; return whether more is known of what is wanted now.

        Args:
            changes: What is going to be done in Prefect.
            outputs: What Terraform knows of the infrastructure.
        """

    @abstractmethod
    def tidy(self, state: State) -> None:
        """Remove what no deployment and no record within reach names, after a deploy."""


class LocalCode(Code):
    """`code = "local"`: the worker runs in the project's folder, on the same machine.

    Args:
        folder: The project's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pull_steps(self, pipeline: Pipeline) -> list[dict[str, Any]]:
        return [
            {f"{STEPS}.set_working_directory": {"directory": str(self.folder)}},
            *install_steps(self.folder),
        ]

    def identity(self, pipeline: Pipeline) -> dict[str, str]:
        return {"code": "local", "folder": str(self.folder)}


class GitCode(Code):
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

    def pull_steps(self, pipeline: Pipeline) -> list[dict[str, Any]]:
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

    def identity(self, pipeline: Pipeline) -> dict[str, str]:
        return {"code": "git", "repository": self.repository, "files": self._others}

    @cached_property
    def _others(self) -> str:
        """A hash of the files that are not Python. Nobody knows who reads them; each counts for every pipeline, so that
        none is left at an older commit.
        """
        listed = self._git("ls-files", "--stage", "--", ".").splitlines()
        return digest("\n".join(line for line in listed if not line.endswith((".py", ".md"))).encode())

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


def code_hash(pipeline: Pipeline, folder: Path, also: Mapping[str, Any]) -> str:
    """Return a hash of what a pipeline is: its modules and those of the user's that they import, the lock, and more.

    Args:
        pipeline: The pipeline.
        folder: The project's folder.
        also: What else makes it another one: settings, outputs.
    """
    found = {
        os.path.relpath(file, folder): digest(Path(file).read_bytes()) for file in sorted(user_files(pipeline, folder))
    }
    locks = {name: digest((folder / name).read_bytes()) for name in LOCKS if (folder / name).is_file()}
    document = {"modules": found, "locks": locks, "also": also}
    return digest(json.dumps(document, sort_keys=True).encode())[:16]


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
