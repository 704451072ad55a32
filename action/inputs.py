"""The action's inputs, read once from the environment and checked. No input is ever part of a command's text but
`install`, which is a command.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NoReturn

from action.failures import Failed, Reason

COMMANDS = ("auto", "plan", "deploy", "destroy")
LONGEST = 100_000  # letters; Linux hands no variable of more than 131,071 bytes to a process
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the workflow gives; see action.yml.

    Attributes:
        environment: The environment in glacier.toml.
        paths: Globs of the files with pipelines; empty for what glacier.toml says.
        command: auto, plan, deploy or destroy.
        prefect: Variables of Prefect's client.
        terraform_binary: terraform or tofu.
        install: A command that installs the project; None to find its lock.
        folder: The working directory.
        directory: The same, relative to the repository.
        comment: Whether a plan is told in the pull request.
        prune: Whether deployments are deleted whose pipelines are gone, and how many at most.
        on_drift: stop or apply.
        preview: Whether pull requests get preview deployments.
        allow_data_loss: Whether what holds data may be destroyed or replaced.
        token: For GitHub's API.
        secrets: All values that must not be shown.
    """

    environment: str
    paths: tuple[str, ...]
    command: str
    prefect: Mapping[str, str]
    terraform_binary: str
    install: str | None
    folder: Path
    directory: str
    comment: bool
    prune: bool | int
    on_drift: str
    preview: bool
    allow_data_loss: bool
    token: str
    secrets: tuple[str, ...]


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the secret inputs, before anything is checked, so that no message can show one."""
    found = []
    for name in ("prefect-api-key", "prefect-api-auth-string", "prefect-headers", "github-token"):
        if value := _given(environ, name):
            found.append(value)
    if auth := _given(environ, "prefect-api-auth-string"):
        found.append(auth.partition(":")[2])
    try:
        headers = json.loads(_given(environ, "prefect-headers") or "{}")
        found += [str(value) for value in headers.values()]
    except (ValueError, AttributeError):
        pass  # `read` says what is wrong with it
    return tuple(each for each in found if each)


def read(environ: Mapping[str, str]) -> Inputs:
    """Return the inputs.

    Args:
        environ: The environment; input `a-b` is its variable `INPUT_A_B`.

    Raises:
        Failed: One of them cannot be.
    """
    given = {name: _given(environ, name) for name in NAMES}
    for name, value in given.items():
        if len(value) > LONGEST:
            _refuse(name, f"has {len(value):,} letters; {LONGEST:,} are the most")
        if "\0" in value:
            _refuse(name, "has a NUL character")
    if not _NAME.fullmatch(given["environment"]):
        _refuse("environment", "is no name of an environment in glacier.toml, as in 'prod'", given["environment"])
    folder, directory = _folder(given["working-directory"] or ".", Path(environ.get("GITHUB_WORKSPACE") or "."))
    return Inputs(
        environment=given["environment"],
        paths=_paths(given["paths"]),
        command=_one_of("command", given["command"] or "auto", COMMANDS),
        prefect=_prefect(given),
        terraform_binary=_one_of("terraform-binary", given["terraform-binary"] or "terraform", ("terraform", "tofu")),
        install=given["install"] if given["install"].strip() else None,
        folder=folder,
        directory=directory,
        comment=_truth("comment", given["comment"] or "true"),
        prune=_prune(given["prune"] or "true"),
        on_drift=_one_of("on-drift", given["on-drift"] or "stop", ("stop", "apply")),
        preview=_truth("preview", given["preview"] or "false"),
        allow_data_loss=_truth("allow-data-loss", given["allow-data-loss"] or "false"),
        token=given["github-token"],
        secrets=secrets_in(environ),
    )


NAMES = (
    "environment",
    "paths",
    "command",
    "prefect-api-url",
    "prefect-api-key",
    "prefect-api-auth-string",
    "prefect-headers",
    "terraform-binary",
    "install",
    "working-directory",
    "comment",
    "prune",
    "on-drift",
    "preview",
    "allow-data-loss",
    "github-token",
)
"""Inputs that Python reads; `python-version` and `terraform-version` are for the actions that set these up."""


def _given(environ: Mapping[str, str], name: str) -> str:
    return environ.get("INPUT_" + name.upper().replace("-", "_"), "")


def _refuse(name: str, problem: str, value: Any = None) -> NoReturn:
    shown = "" if value is None else f": {str(value)[:80]!r}"
    raise Failed(Reason.BAD_INPUT, f"The input {name} {problem}{shown}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        _refuse(name, f"is none of {', '.join(known)}", value)
    return value


def _truth(name: str, value: str) -> bool:
    return _one_of(name, value, ("true", "false")) == "true"


def _prune(value: str) -> bool | int:
    if re.fullmatch(r"[0-9]{1,4}", value):
        return int(value)
    if value not in ("true", "false"):
        _refuse("prune", "is neither true nor false nor how many deployments may be deleted", value)
    return value == "true"


def _paths(text: str) -> tuple[str, ...]:
    globs = tuple(line.strip() for line in text.splitlines() if line.strip())
    for glob in globs:
        if PurePath(glob).is_absolute() or ".." in PurePath(glob).parts:
            _refuse("paths", "leaves the project's folder", glob)
    return globs


def _folder(text: str, workspace: Path) -> tuple[Path, str]:
    root = workspace.resolve()
    folder = (root / text).resolve()
    if not folder.is_relative_to(root):
        _refuse("working-directory", "leaves the repository", text)
    if not folder.is_dir():
        _refuse("working-directory", "is no folder of the repository", text)
    return folder, folder.relative_to(root).as_posix()


def _prefect(given: Mapping[str, str]) -> dict[str, str]:
    """Return variables of Prefect's client; those that are not given are left as the job has them."""
    url, key = given["prefect-api-url"].strip(), given["prefect-api-key"].strip()
    auth, headers = given["prefect-api-auth-string"].strip(), given["prefect-headers"].strip()
    if url:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"[\s\x00-\x1f\x7f]", url):
            _refuse("prefect-api-url", "is no address, as in 'https://prefect.example.com/api'", url)
    for name, value in (("prefect-api-key", key), ("prefect-api-auth-string", auth)):
        if not value.isprintable():
            _refuse(name, "has a line break or another control character")
    if headers:
        try:
            known = json.loads(headers)
        except ValueError:
            known = None
        if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
            _refuse("prefect-headers", 'is no JSON object of texts, as in {"X-Access": "…"}')
    values = {
        "PREFECT_API_URL": url,
        "PREFECT_API_KEY": key,
        "PREFECT_API_AUTH_STRING": auth,
        "PREFECT_CLIENT_CUSTOM_HEADERS": headers,
    }
    return {name: value for name, value in values.items() if value}
