"""What `glacier doctor` checks. It looks, and changes nothing but for one object that it removes again.

The list is closed, each check has an id that stays:

- `python`: this Python is new enough.
- `glacier`: its version, and that pip knows of it.
- `prefect`, `polars`: their versions are within Glacier's bounds.
- `packages`: so are the versions of all other packages that Glacier needs, and of the extras that are installed.
- `environment`: `glacier.toml` and the variables make an environment and its provider.
- `api`: the Prefect API, if one is configured, answers; or that of `glacier ui`.
- `api_version`: its major version is that of the Prefect here.
- `terraform`: Terraform or OpenTofu, whichever the environment uses, is there and new enough.
- `base_path`: the folder of local data can be written to.
- `disk`: there is room on its disk.
- `hard_links`: its file system has hard links, under which local files are read.
- `leftovers`: how much space handed-over frames and cached results take.
- `credentials`: which credentials of each cloud would be used, and until when.
- `buckets`: pipelines can read and write the buckets that they use; a small object is written and removed.
- `left_behind`: how much expired frames and unfinished writes take in these buckets.
- `work_pool`: the environment's work pool takes runs and has a worker.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from glacier_prefect import __version__, doctor_clouds
from glacier_prefect.doctor_clouds import Status
from glacier_prefect.environments import find_project, shown
from glacier_prefect.errors import ConfigurationError, GlacierError, TerraformMissing
from glacier_prefect.providers import LocalProvider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider
from glacier_prefect.ui import project_folder, read_note

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "glacier-prefect"
SMALL_DISK, FULL_DISK = 2 << 30, 100 << 20  # bytes that are free
MANY_LEFTOVERS = 10 << 30

_REASONS = {
    "fastapi": "the server of Prefect 3.8 refuses calls with 0.154 and cannot start with 0.155 and later",
    "sqlalchemy": "with 2.1 the server of Prefect 3.8 gave foreign-key errors",
    "prefect": "Glacier leans on parts of Prefect's engine that change with its minor versions",
}


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What one check saw.

    Attributes:
        id: The check's; see the module's docstring.
        status: "ok", "warning" (works, but look at it), "failed", or "skipped" where it does not matter.
        seen: What was found.
        fix: What to do about it; empty if nothing.
    """

    id: str
    status: Status
    seen: str
    fix: str = ""


def diagnose() -> list[CheckResult]:
    """Do all checks for the project of the working directory, and return what each saw, in the order of the list."""
    patient = _Patient()
    results = []
    for name, check in _CHECKS.items():
        try:
            status, seen, fix = check(patient)
        except Exception as error:  # an installation that is broken breaks anything, and that is what is to be said
            status, (seen, fix) = "failed", _parts(error)
        results.append(CheckResult(id=name, status=status, seen=seen, fix=fix))
    return results


_Found = tuple[Status, str, str]


@dataclass(frozen=True)
class _Api:
    shown: str
    version: str | None = None
    """None for Prefect Cloud, and if it could not be asked."""
    found: _Found | None = None
    """What is wrong with it."""


class _Patient:
    """What more than one check looks at."""

    @cached_property
    def api(self) -> _Api | None:
        """The Prefect API that runs use, None if there is none."""
        from glacier_prefect import prefect_api

        if (url := prefect_api.configured_api()) is not None:
            shown = prefect_api.public(url)
            try:
                prefect_api.check_api(url)
                return _Api(shown, prefect_api.server_version(url))
            except GlacierError as error:
                return _Api(shown, found=("failed", *_parts(error)))
        server = read_note(project_folder(Path.cwd()))
        if server is None:
            return None
        shown = f"{server.api}, of `glacier ui`"
        if server.is_alive() and server.answers():
            return _Api(shown, server.prefect)
        state = "does not answer" if server.is_alive() else "is gone"
        return _Api(shown, found=("warning", f"{shown}, {state}; runs go without it", "glacier ui --stop, glacier ui"))

    @cached_property
    def clouds(self) -> dict[str, CloudProvider]:
        """Providers of the environment that are clouds; none if it cannot be made, which `environment` says."""
        try:
            return doctor_clouds.cloud_providers(*doctor_clouds.environment_of(Path.cwd()))
        except GlacierError:
            return {}

    @cached_property
    def buckets(self) -> list[doctor_clouds.Bucket]:
        """Buckets in clouds that the project's pipelines use."""
        return doctor_clouds.project_buckets()

    @cached_property
    def base(self) -> Path | None:
        """The folder of local data, None if the environment keeps its data elsewhere or cannot be made."""
        try:
            provider = environment_provider(find_project(Path.cwd()))
        except GlacierError:
            return None
        return Path(provider.base_path).absolute() if isinstance(provider, LocalProvider) else None


# -- what is installed -------------------------------------------------------------------------------------------------


def _python(patient: _Patient) -> _Found:
    from packaging.specifiers import SpecifierSet

    here = platform.python_version()
    needed = _metadata_of_glacier()["Requires-Python"]
    if not SpecifierSet(needed).contains(here, prereleases=True):
        return "failed", f"{here}, and Glacier needs {needed}", "make a virtual environment with a newer Python"
    return "ok", here, ""


def _glacier(patient: _Patient) -> _Found:
    noted = _metadata_of_glacier()["Version"]
    if noted != __version__:
        seen = f"{__version__} is imported, and pip has installed {noted}"
        return "warning", seen, f"install it again: pip install {DISTRIBUTION}"
    return "ok", noted, ""


def _within_bounds(name: str) -> Callable[[_Patient], _Found]:
    def checked(patient: _Patient) -> _Found:
        requirement = next(each for each in _requirements() if each.name == name)
        if problem := _problem(requirement):
            return "failed", problem, f"pip install '{name}{requirement.specifier}'"
        return "ok", metadata.version(name), ""

    return checked


def _packages(patient: _Patient) -> _Found:
    failed = {each: problem for each in _requirements() if (problem := _problem(each))}
    extras = {
        each: f"{problem} (for the extra {name})"
        for name in _metadata_of_glacier().get_all("Provides-Extra") or ()
        if name != "all" and all(map(_installed, needed := _requirements(name)))
        for each in needed
        if (problem := _problem(each))
    }
    if not failed and not extras:
        return "ok", f"{len(_requirements())} packages are within Glacier's bounds", ""
    words = " ".join(sorted({f"'{each.name}{each.specifier}'" for each in (*failed, *extras)}))
    seen = "\n".join([*failed.values(), *extras.values()])
    return "failed" if failed else "warning", seen, f"pip install {words}"


def _metadata_of_glacier() -> metadata.PackageMetadata:
    try:
        return metadata.metadata(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise ConfigurationError(
            f"Glacier {__version__} is imported, and pip knows of no {DISTRIBUTION}, so its bounds are not known.\n"
            f"Hint: pip install {DISTRIBUTION}"
        ) from None


def _requirements(extra: str = "") -> list[Requirement]:
    """Return what Glacier requires, or what one of its extras adds."""
    from packaging.requirements import Requirement

    found = []
    for line in _metadata_of_glacier().get_all("Requires-Dist") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        always = marker is None or marker.evaluate({"extra": ""})
        if always if not extra else not always and marker is not None and marker.evaluate({"extra": extra}):
            found.append(requirement)
    return found


def _installed(requirement: Requirement) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(requirement.name))
    return False


def _problem(requirement: Requirement) -> str:
    if not _installed(requirement):
        return f"{requirement.name} is not installed; Glacier needs {requirement.specifier}"
    here = metadata.version(requirement.name)
    if requirement.specifier.contains(here, prereleases=True):
        return ""
    reason = _REASONS.get(requirement.name)
    return f"{requirement.name} {here} is outside {requirement.specifier}" + (f": {reason}" if reason else "")


# -- settings and services ---------------------------------------------------------------------------------------------


def _environment(patient: _Patient) -> _Found:
    project = find_project(Path.cwd())
    environment = project.environment()
    provider = environment_provider(project)
    where = environment.where or (f"no [environments.{environment.name}]" if project.file else "no glacier.toml")
    return "ok", f"{environment.name}, provider {provider.name} ({where})", ""


def _api(patient: _Patient) -> _Found:
    if (api := patient.api) is None:
        return "skipped", "none is configured, and runs need none", ""
    return api.found or ("ok", f"{api.shown}, {f'Prefect {api.version}' if api.version else 'Prefect Cloud'}", "")


def _api_version(patient: _Patient) -> _Found:
    from packaging.version import Version

    if patient.api is None or patient.api.found:
        return "skipped", "there is no API that answers", ""
    if patient.api.version is None:
        return "ok", "Prefect Cloud fits all versions", ""
    here, there = Version(metadata.version("prefect")), Version(patient.api.version)
    seen = f"the API runs Prefect {there}, here is {here}"
    if there.major != here.major:
        return "failed", f"{seen}; the major versions have to be equal", f"upgrade the server to {here}"
    if there < here:
        return "warning", f"{seen}; an older server may not know all that is asked of it", f"upgrade it to {here}"
    return "ok", seen, ""


def _terraform(patient: _Patient) -> _Found:
    from glacier_prefect.terraform_cli import TerraformCLI

    try:
        binary = find_project(Path.cwd()).environment().terraform
    except ConfigurationError:  # said by the check of the environment
        binary = "terraform"
    with tempfile.TemporaryDirectory(prefix="glacier-doctor-") as folder:
        try:
            version = TerraformCLI(folder, binary=binary).version()
        except TerraformMissing as error:
            seen, fix = _parts(error)
            other = "tofu" if binary == "terraform" else "terraform"
            if shutil.which(other):
                fix = f'write terraform = "{other}" into the environment in glacier.toml, or {fix}'
            return "warning", f"{seen} Deploying needs it.", fix
    return "ok", f"{version.binary} {version.number}", ""


# -- the disk ----------------------------------------------------------------------------------------------------------


def _there(folder: Path) -> Path:
    """Return a folder, or the nearest above it that exists."""
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def _on_disk(check: Callable[[Path], _Found]) -> Callable[[_Patient], _Found]:
    def checked(patient: _Patient) -> _Found:
        return check(patient.base) if patient.base else ("skipped", "the environment has no local data", "")

    return checked


def _base_path(base: Path) -> _Found:
    place = _there(base)
    fix = "set base_path in glacier.toml, or GLACIER_BASE_PATH, to a folder that you may write to"
    if not place.is_dir():
        return "failed", f"{shown(base)} cannot be a folder: {shown(place)} is none", fix
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return "failed", f"{shown(place)} cannot be written to: {error.strerror}", fix
    return "ok", shown(base) if place == base else f"{shown(base)}, not made yet", ""


def _disk(base: Path) -> _Found:
    free = shutil.disk_usage(_there(base)).free
    seen = f"{_size(free)} free"
    if free < SMALL_DISK:
        return "failed" if free < FULL_DISK else "warning", seen, f"make room on the disk of {shown(base)}"
    return "ok", seen, ""


def _hard_links(base: Path) -> _Found:
    place = _there(base)
    try:
        with tempfile.TemporaryDirectory(prefix=".glacier-doctor-", dir=place) as folder:
            file = Path(folder, "file")
            file.touch()
            try:
                os.link(file, Path(folder, "link"))
            except OSError as error:
                seen = f"{shown(place)} has none ({error.strerror}): a file that is replaced while it is read can break"
                return "warning", f"{seen} the reader", "put base_path on a file system with hard links"
    except OSError:
        return "skipped", f"{shown(place)} cannot be written to", ""
    return "ok", f"{shown(place)} has them", ""


def _leftovers(base: Path) -> _Found:
    own = base / ".glacier"
    sizes = {name: sum(_sizes(own / name)) for name in ("exchange", "cache")}
    if not any(sizes.values()):
        return "ok", "none", ""
    seen = f"{shown(own)}: handed-over frames {_size(sizes['exchange'])}, cached results {_size(sizes['cache'])}"
    if sum(sizes.values()) > MANY_LEFTOVERS:
        return "warning", seen, f"while nothing runs, delete {shown(own / 'exchange')} or {shown(own / 'cache')}"
    return "ok", seen, ""


def _sizes(folder: Path) -> Iterator[int]:
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # a run has just removed it
                file = os.lstat(os.path.join(path, name))
                yield file.st_size if file.st_nlink == 1 else 0  # a hard link is the data's own file


# -- clouds ------------------------------------------------------------------------------------------------------------


def _in_clouds(check: Callable[[_Patient], _Found]) -> Callable[[_Patient], _Found]:
    def checked(patient: _Patient) -> _Found:
        return check(patient) if patient.clouds else ("skipped", "the environment has no provider that is a cloud", "")

    return checked


@_in_clouds
def _credentials(patient: _Patient) -> _Found:
    return doctor_clouds.check_credentials(patient.clouds)


@_in_clouds
def _buckets(patient: _Patient) -> _Found:
    return doctor_clouds.check_buckets(patient.buckets)


@_in_clouds
def _left_behind(patient: _Patient) -> _Found:
    return doctor_clouds.check_leftovers(patient.buckets, _size)


@_in_clouds
def _work_pool(patient: _Patient) -> _Found:
    from glacier_prefect import prefect_api

    if (url := prefect_api.configured_api()) is None:
        return "skipped", "no Prefect API is configured", ""
    if patient.api is not None and patient.api.found is not None:
        return "skipped", "the Prefect API cannot be used", ""
    return doctor_clouds.check_work_pool(*doctor_clouds.environment_of(Path.cwd()), url)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _parts(error: BaseException) -> tuple[str, str]:
    """Return an error's message and its hint."""
    text = str(error) if isinstance(error, GlacierError) else f"{type(error).__name__}: {error}"
    seen, _, fix = text.partition("\nHint: ")
    return seen, fix


_CHECKS: dict[str, Callable[[_Patient], _Found]] = {
    "python": _python,
    "glacier": _glacier,
    "prefect": _within_bounds("prefect"),
    "polars": _within_bounds("polars"),
    "packages": _packages,
    "environment": _environment,
    "api": _api,
    "api_version": _api_version,
    "terraform": _terraform,
    "base_path": _on_disk(_base_path),
    "disk": _on_disk(_disk),
    "hard_links": _on_disk(_hard_links),
    "leftovers": _on_disk(_leftovers),
    "credentials": _credentials,
    "buckets": _buckets,
    "left_behind": _left_behind,
    "work_pool": _work_pool,
}
