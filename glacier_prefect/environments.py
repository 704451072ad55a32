"""Environments: a named choice of provider and settings, from `glacier.toml`, the process's variables, or both.

`glacier.toml` (or `[tool.glacier]` of `pyproject.toml`) is looked for from the user's file upwards, else from the
working directory. What a provider's settings are called is the provider's business: see `providers.environment`.
Imports only `errors` and `modules`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any

from glacier_prefect.errors import ConfigurationError, nearest
from glacier_prefect.modules import Infrastructure

DEFAULT = "dev"
PREVIEWS = ".glacier/preview/"
"""Folder of a bucket in which each preview has one of its own."""
PREVIEW_IDENTITY = "preview"
"""What the identity of all previews of an environment is called among those of its pipelines."""
FILE = "glacier.toml"
PROJECT_KEYS = ("project", "pipelines", "environments")
ENVIRONMENT_KEYS = (
    "provider",
    "bucket_prefix",
    "code",
    "git",
    "image",
    "terraform",
    "secrets",
    "providers",
    "executors",
    "work_pool",
    "work_pool_credentials",
    "exchange",
    "infrastructure",
    "state",
    "previews",
    "preview_secrets",
)
CODE = ("local", "git", "bucket", "image")
TERRAFORM = ("terraform", "tofu")
SKIPPED = frozenset({"tests", "venv", "node_modules"})
"""Folders in which no pipelines are looked for, beside hidden ones and virtual environments."""

_PREVIEW = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
_IMPORTS_GLACIER = re.compile(rb"^\s*(?:from\s+glacier_prefect\b|import\s[^#\n]*\bglacier_prefect\b)", re.MULTILINE)
_loading: ContextVar[Path | None] = ContextVar("glacier_loading", default=None)


@dataclass(frozen=True, kw_only=True)
class Image:
    """What an environment says of the image with the code, `image = { ... }`.

    Attributes:
        repository: Where it is pushed to; the registry that the environment makes if None.
        dockerfile: What it is built by, from the project's folder.
        platform: Of the machines that run it.
    """

    repository: str | None = None
    dockerfile: str = "Dockerfile"
    platform: str = "linux/amd64"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One environment of a project.

    Attributes:
        name: As in `--env` and `GLACIER_ENV`.
        provider: Registry key of its provider.
        settings: The provider's settings in the file.
        bucket_prefix: Put before each bucket's name in code.
        providers: Further providers by name: `provider`, their kind, and their settings.
        executors: Settings of executors by registry key; what code gives beats them.
        secrets: Name in a secret store by name in code.
        code: How code reaches the worker: local, git, bucket or image.
        git: Address of the repository for `code = "git"`, that of the remote `origin` if None.
        image: What it says of the image for `code = "image"`.
        terraform: "terraform" or "tofu".
        work_pool: Prefect's type of the work pool; the provider's usual one if None.
        work_pool_credentials: Name of the block with the credentials that start runs in the pool; the worker's own
            identity if None.
        exchange: Bucket and folder through which runs on several machines hand frames on; a pipeline's first bucket if
            None.
        infrastructure: What it says of its infrastructure.
        state: Where Terraform keeps its state: a bucket, in Azure "storage-account/container"; beside the root if None.
        previews: Whether previews of it may be deployed.
        preview_secrets: Names in code of the secrets that previews may read too.
        where: Its place in the file, for messages.
    """

    name: str
    provider: str = "local"
    settings: Mapping[str, Any] = field(default_factory=dict)
    bucket_prefix: str = ""
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    executors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    code: str = "local"
    git: str | None = None
    image: Image = field(default_factory=Image)
    terraform: str = "terraform"
    work_pool: str | None = None
    work_pool_credentials: str | None = None
    exchange: str | None = None
    infrastructure: Infrastructure = field(default_factory=Infrastructure)
    state: str | None = None
    previews: bool = False
    preview_secrets: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Project:
    """What `glacier.toml` says.

    Attributes:
        folder: Where it is; relative paths in it are relative to this. Without one, where `pyproject.toml` is, else the
            working directory.
        file: The file, None if there is none.
        pyproject: The nearest `pyproject.toml`, for the name of a project that the file does not name.
        named: The name in the file.
        pipelines: Globs of the files with pipelines; None for all that import Glacier.
        environments: By name.
    """

    folder: Path
    file: Path | None = None
    pyproject: Path | None = None
    named: str | None = None
    pipelines: tuple[str, ...] | None = None
    environments: Mapping[str, Environment] = field(default_factory=dict)

    @cached_property
    def name(self) -> str | None:
        """The project's name, None if neither file has one."""
        if self.named is not None or self.pyproject is None:
            return self.named
        name = _table(_read(self.pyproject).get("project")).get("name")
        return None if name is None else _checked_name(name, f"{shown(self.pyproject)}: name of [project]")

    def require_name(self) -> str:
        """Return the project's name.

        Raises:
            ConfigurationError: It has none.
        """
        if self.name is None:
            file = self.file or self.folder / FILE
            raise ConfigurationError(
                f"The project in {self.folder} has no name, which all that is deployed is named after.\n"
                f'Hint: write project = "my-project" into {shown(file)}.'
            )
        return self.name

    def environment(self, name: str | None = None) -> Environment:
        """Return an environment: the named one, else that of `GLACIER_ENV`, else "dev", which need not be in the file.

        Raises:
            ConfigurationError: The file has no such environment.
        """
        name = name or environment_name()
        if name in self.environments:
            found = self.environments[name]
            binary = os.environ.get("GLACIER_TERRAFORM") or found.terraform
            if binary not in TERRAFORM:
                raise ConfigurationError(f"GLACIER_TERRAFORM is {binary!r}. {nearest(binary, TERRAFORM)}")
            return found if binary == found.terraform else replace(found, terraform=binary)
        if name == DEFAULT:
            return Environment(name=name, where=shown(self.file) if self.file else "")
        if self.file is None:
            raise ConfigurationError(
                f"There is no environment {name!r}, since there is no {FILE} in {self.folder} or above it.\n"
                f"Hint: write [environments.{name}] into one."
            )
        raise ConfigurationError(
            f"{shown(self.file)} has no environment {name!r}. {nearest(name, {*self.environments, DEFAULT})}"
        )

    def files(self) -> list[Path]:
        """Return the files that have pipelines: those that the globs of `GLACIER_PIPELINES` (one a line) or of the file
        name, else all that import Glacier.

        Raises:
            ConfigurationError: A glob names no file.
        """
        given = tuple(filter(None, os.environ.get("GLACIER_PIPELINES", "").split("\n")))
        where = "GLACIER_PIPELINES" if given else f"{shown(self.file or self.folder)}: pipelines"
        globs = given or self.pipelines
        if globs is None:
            return [file for file in _python_files(self.folder) if _IMPORTS_GLACIER.search(file.read_bytes())]
        found: set[Path] = set()
        for glob in globs:
            files = {file for file in self.folder.glob(glob) if file.suffix == ".py" and file.is_file()}
            if not files:
                raise ConfigurationError(f"{where} has {glob!r}, which names no Python file in {self.folder}.")
            found |= files
        return sorted(found)


def environment_name() -> str:
    """Return the environment's name: `GLACIER_ENV`, else "dev"."""
    return os.environ.get("GLACIER_ENV") or DEFAULT


def preview_name() -> str | None:
    """Return the name of the preview that this process is in, `GLACIER_PREVIEW`; None if it is in none.

    Raises:
        ConfigurationError: It is no name.
    """
    name = os.environ.get("GLACIER_PREVIEW") or None
    if name is not None and not _PREVIEW.fullmatch(name):
        raise ConfigurationError(
            f"The preview {name!r} (--preview, GLACIER_PREVIEW) has to have 1 to 30 small letters, digits and '-', "
            "beginning with a letter or digit, as in pr-42."
        )
    return name


def preview_folder() -> str:
    """Return the folder of a bucket into which the preview of this process writes, "" if it is in none."""
    return "" if (name := preview_name()) is None else PREVIEWS + name


def first_variable(*names: str) -> str | None:
    """Return the value of the first variable that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


@contextmanager
def loading(file: Path) -> Iterator[None]:
    """Make `file` the user's file within a `with` block, whatever it imports."""
    reset = _loading.set(file)
    try:
        yield
    finally:
        _loading.reset(reset)


def find_project(file: str | os.PathLike[str] | None = None) -> Project:
    """Return the project of a file or folder.

    Args:
        file: The user's file; if None the file that is being loaded, else the one that calls Glacier.

    Raises:
        ConfigurationError: `glacier.toml` cannot be read or says what it cannot say.
    """
    start = Path(file) if file is not None else _loading.get() or _calling_file()
    starts = [Path.cwd()] if start is None else [start.resolve(), Path.cwd()]
    for each in starts:
        for folder in (each, *each.parents):
            if (found := _declared(folder)) is not None:
                return found
    for each in starts:
        if (pyproject := _pyproject(each)) is not None:
            return Project(folder=pyproject.parent, pyproject=pyproject)
    return Project(folder=Path.cwd())


def check_registered(file: str | None) -> None:
    """Raise if this process was registered to run in another project or environment than its files say.

    Args:
        file: The pipeline's file.

    Raises:
        ConfigurationError: The project has another name, or no such environment.
    """
    registered = os.environ.get("GLACIER_PROJECT")
    if not registered and not os.environ.get("GLACIER_ENV"):
        return
    project = find_project(file)
    if registered and project.name != registered:
        raise ConfigurationError(
            f"This run was registered for project {registered!r} (GLACIER_PROJECT), and the files that it runs are of "
            f"{f'project {project.name!r}' if project.name else 'no project with a name'} in {project.folder}.\n"
            f"Hint: {FILE} has to be delivered with the code; deploy again."
        )
    try:
        project.environment()
    except ConfigurationError as error:
        if registered:
            error.add_note(f"This run was registered for environment {environment_name()!r} (GLACIER_ENV).")
        raise


def shown(path: Path) -> str:
    """Return a path as messages show it: relative if it is below the working directory."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _calling_file() -> Path | None:
    """Return the file of the nearest caller that is the user's own; None in a console and on the command line."""
    installed = [f"{os.path.dirname(each)}/" for each in (os.__file__, sys.executable) if each]  # library, commands
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name, file = str(frame.f_globals.get("__name__")), frame.f_code.co_filename
        if not (
            name.startswith("glacier_prefect.")
            or file.startswith(("<frozen", *installed))
            or not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)
        ):
            return Path(file) if os.path.isfile(file) else None
        frame = frame.f_back
    return None


def _declared(folder: Path) -> Project | None:
    """Return what a folder's files say of Glacier, None if they say nothing."""
    file, pyproject = folder / FILE, folder / "pyproject.toml"
    tool = None
    if pyproject.is_file() and b"glacier" in _bytes(pyproject):  # reading TOML takes a while
        tool = _table(_read(pyproject).get("tool")).get("glacier")
    if file.is_file():
        if tool is not None:
            raise ConfigurationError(
                f"Both {shown(file)} and [tool.glacier] of {shown(pyproject)} describe the project.\n"
                "Hint: keep one of them."
            )
        return _project(file, _read(file), shown(file))
    return None if tool is None else _project(pyproject, tool, f"{shown(pyproject)} [tool.glacier]")


def _pyproject(start: Path) -> Path | None:
    files = (folder / "pyproject.toml" for folder in (start, *start.parents))
    return next((file for file in files if file.is_file()), None)


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{shown(file)} cannot be read: {error.strerror}.") from None


def _read(file: Path) -> dict[str, Any]:
    import tomllib  # a process without such a file does not need it

    text = ""
    try:
        text = _bytes(file).decode()
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{shown(file)} is not UTF-8 text, as TOML has to be: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        reason = str(error).replace("at end of document", f"at the end, line {text.count(chr(10)) + 1}")
        raise ConfigurationError(f"{shown(file)} is not valid TOML: {reason}.") from None


def _project(file: Path, table: Any, where: str) -> Project:
    _check_table(table, where)
    for key in table:
        if key not in PROJECT_KEYS:
            raise ConfigurationError(f"{where} has the unknown key {key!r}. {nearest(key, PROJECT_KEYS)}")
    globs = table.get("pipelines")
    if globs is not None and (
        not isinstance(globs, list) or not globs or not all(isinstance(each, str) and each for each in globs)
    ):
        raise ConfigurationError(f'{where}: pipelines is a list of globs, as in ["flows/*.py"].')
    for glob in globs or ():
        if Path(glob).is_absolute() or ".." in Path(glob).parts:
            raise ConfigurationError(f"{where}: pipelines has {glob!r}, which leaves the project's folder.")
    environments = table.get("environments", {})
    _check_table(environments, f"{where}: environments")
    return Project(
        folder=file.parent,
        file=file,
        pyproject=_pyproject(file.parent),
        named=None if table.get("project") is None else _checked_name(table["project"], f"{where}: project"),
        pipelines=None if globs is None else tuple(globs),
        environments={name: _environment(name, each, where) for name, each in environments.items()},
    )


def _environment(name: str, table: Any, file: str) -> Environment:
    _checked_name(name, f"{file}: the name of an environment")
    where = f"{file}: [environments.{name}]"
    _check_table(table, where)
    for key in (
        "provider",
        "bucket_prefix",
        "code",
        "git",
        "terraform",
        "work_pool",
        "work_pool_credentials",
        "exchange",
        "state",
    ):
        if key in table and not isinstance(table[key], str):
            raise ConfigurationError(f"{where} has {key} as {type(table[key]).__name__}; expected a text.")
    for key, words in (("code", CODE), ("terraform", TERRAFORM)):
        if table.get(key, words[0]) not in words:
            raise ConfigurationError(f"{where} has {key} = {table[key]!r}. {nearest(table[key], words)}")
    secrets, providers = table.get("secrets", {}), table.get("providers", {})
    _check_table(secrets, f"{where}: secrets")
    if wrong := [key for key, value in secrets.items() if not isinstance(value, str)]:  # never shows the value
        raise ConfigurationError(f"{where}: secret {wrong[0]!r} has to be a text, its name in the secret store.")
    _check_table(providers, f"{where}: providers")
    for other, each in providers.items():
        _check_table(each, f"{where}: provider {other!r}")
        if not isinstance(each.get("provider"), str):
            raise ConfigurationError(f'{where}: provider {other!r} does not say its kind, as in provider = "azure".')
    if not isinstance(table.get("previews", False), bool):
        raise ConfigurationError(f"{where} has previews = {table['previews']!r}; expected true or false.")
    previewed = table.get("preview_secrets", [])
    if not isinstance(previewed, list) or not all(isinstance(each, str) for each in previewed):
        raise ConfigurationError(f'{where}: preview_secrets is a list of names in code, as in ["DB_READER"].')
    if unknown := [each for each in previewed if each not in secrets]:
        raise ConfigurationError(
            f"{where}: preview_secrets has {unknown[0]!r}, which is not in secrets. {nearest(unknown[0], secrets)}"
        )
    executors = table.get("executors", {})
    _check_table(executors, f"{where}: executors")
    for other, each in executors.items():
        _check_table(each, f"{where}: executor {other!r}")
    known = {key: table[key] for key in ENVIRONMENT_KEYS if key in table}
    known["preview_secrets"] = tuple(previewed)
    known["infrastructure"] = _infrastructure(table.get("infrastructure", {}), f"{where}: infrastructure")
    known["image"] = _image(table.get("image", {}), f"{where}: image")
    settings = {key: value for key, value in table.items() if key not in ENVIRONMENT_KEYS}
    return Environment(name=name, **known, settings=settings, where=where)


def _image(table: Any, where: str) -> Image:
    _check_table(table, where)
    for key, value in table.items():
        if key not in (known := [each.name for each in fields(Image)]):
            raise ConfigurationError(f"{where} has the unknown key {key!r}. {nearest(key, known)}")
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{where} has {key} = {value!r}; expected a text.")
    image = Image(**table)
    if image.repository is not None and not _REPOSITORY.fullmatch(image.repository):
        raise ConfigurationError(
            f"{where} has repository = {image.repository!r}; expected the name of an image without tag or digest, as "
            "in 'registry.example.com/shop'."
        )
    if not re.fullmatch(r"[a-z0-9]+/[a-z0-9]+(/v\d+)?", image.platform):
        raise ConfigurationError(f"{where} has platform = {image.platform!r}; expected one, as in 'linux/arm64'.")
    return image


def _infrastructure(table: Any, where: str) -> Infrastructure:
    _check_table(table, where)
    kinds: dict[str, tuple[type | tuple[type, ...], str]] = {
        "hardened": (bool, "true or false"),
        "worker": (str, "'service' or 'none'"),
        "image": (str, "a text"),
        "network": (dict, "a table"),
        "server": (dict, "a table"),
        "monthly_budget": ((int, float), "a number"),
        "notify": (dict, "a table of e-mail addresses"),
        "billing_account": (str, "a text"),
    }
    for key, value in table.items():
        if key not in kinds:
            raise ConfigurationError(f"{where} has the unknown key {key!r}. {nearest(key, kinds)}")
        kind, expected = kinds[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ConfigurationError(f"{where} has {key} = {value!r}; expected {expected}.")
    if table.get("worker", "none") not in ("none", "service"):
        raise ConfigurationError(f"{where} has worker = {table['worker']!r}; expected 'service' or 'none'.")
    return Infrastructure(**table)


def _table(value: Any) -> dict[str, Any]:
    """Return a table of `pyproject.toml` that is not ours to check, empty if it is none."""
    return value if isinstance(value, dict) else {}


def _check_table(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where} is {type(value).__name__}; expected a table.")


def _checked_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where} is {name!r}; expected letters, digits, '-', '_' and '.', beginning with a letter or digit."
        )
    return name


def _python_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in SKIPPED:
            continue
        if path.is_dir() and not path.is_symlink() and not (path / "pyvenv.cfg").exists():
            yield from _python_files(path)
        elif path.suffix == ".py" and path.is_file():
            yield path
