"""Finding pipelines in a user's files, and their project. Imports no more of Glacier than `pipeline` does."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from glacier_prefect.environments import Project, find_project, loading
from glacier_prefect.errors import GlacierError, NameTakenError, UsageError, nearest
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.environment import environment_provider

_loaded: dict[str, Path] = {}  # modules that were loaded from files here, and the folders that they were found in


def load_pipelines(target: str) -> dict[str, Pipeline]:
    """Return the pipelines of a file by the name of their variable.

    Args:
        target: `flows/daily.py`, or `flows/daily.py:daily_orders` for one of several.

    Raises:
        UsageError: The file is missing, cannot be imported, or has no such pipeline.
    """
    file, wanted = _split(target)
    found = _found(Path(file))
    if not found:
        raise UsageError(
            f"{file} has no pipeline.\n"
            "Hint: decorate a function with @pipeline, or bind Pipeline(...) to a name at the top level."
        )
    if wanted is None:
        return found
    chosen = {name: each for name, each in found.items() if wanted in (name, each.name)}
    if not chosen:
        raise UsageError(f"{file} has no pipeline {wanted!r}. {nearest(wanted, found)}")
    return chosen


def load_pipeline(target: str) -> Pipeline:
    """Return the one pipeline of a file; see `load_pipelines`.

    Raises:
        UsageError: There are several and none is chosen.
    """
    found = load_pipelines(target)
    own = {
        name: each
        for name, each in found.items()
        if each.file and Path(each.file) == Path(target.partition(":")[0]).resolve()
    } or found
    if len(own) > 1:
        choices = ", ".join(f"{target}:{name}" for name in own)
        raise UsageError(f"{target} has {len(own)} pipelines; say which: {choices}.")
    return next(iter(own.values()))


def load_project(targets: Sequence[str] = (), start: Path | None = None) -> tuple[Project, list[Pipeline]]:
    """Return a project and its pipelines.

    Args:
        targets: Files, as in `load_pipelines`; all that the project has if there are none.
        start: Where the project is looked for if there are none; the working directory if None.

    Raises:
        UsageError: There is no pipeline, or the files are of several projects.
        NameTakenError: Two pipelines have one name.
    """
    pipelines: list[Pipeline] = []
    if targets:
        project, *others = (find_project(_split(target)[0]) for target in targets)
        for target, other in zip(targets[1:], others, strict=True):
            if (other.folder, other.file) != (project.folder, project.file):
                raise UsageError(
                    f"{targets[0]} is of the project in {project.folder}, {target} of that in {other.folder}.\n"
                    "Hint: name files of one project."
                )
        for target in targets:
            pipelines += load_pipelines(target).values()
    else:
        project = find_project(start or Path.cwd())
        for file in project.files():
            pipelines += [each for each in _found(file).values() if each.file and Path(each.file) == file.resolve()]
        if not pipelines:
            raise UsageError(
                f"There is no pipeline in {project.folder}.\n"
                "Hint: name its file, or run glacier in the project's folder."
            )
    by_name: dict[str, Pipeline] = {}
    for each in pipelines:
        other_one = by_name.setdefault(each.name, each)
        if other_one is not each:
            raise NameTakenError(
                f"Two pipelines are named {each.name!r}, in {other_one.file} and in {each.file}.\n"
                "Hint: give one another name, as in @pipeline(name=...)."
            )
    return project, list(by_name.values())


def _split(target: str) -> tuple[str, str | None]:
    """Return the file and the name in `file.py:name`."""
    file, colon, wanted = target.partition(":")
    return (file, wanted) if colon and wanted and not Path(target).is_file() else (target.removesuffix(":"), None)


def _found(file: Path) -> dict[str, Pipeline]:
    """Return the pipelines of a file by the name of their variable."""
    module = _import(file)
    found: dict[str, Pipeline] = {}
    for name, value in vars(module).items():
        if isinstance(value, Pipeline) and value not in found.values() and not name.startswith("_"):
            found[name] = value
    return found


def _import(file: Path) -> ModuleType:
    if not file.is_file():
        here = sorted(str(each) for each in file.parent.glob("*.py")) if file.parent.is_dir() else []
        raise UsageError(f"There is no file {str(file)!r}. {nearest(str(file), here)}")
    if file.suffix != ".py":
        raise UsageError(f"{str(file)!r} is not a Python file.")
    file = file.resolve()
    environment_provider(find_project(file))  # what is wrong with the environment is said whoever asks for it
    folder, parts = file.parent, [file.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    if parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts)
    _forget_others(name, file)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        with loading(file):
            module = importlib.import_module(name)
    except GlacierError as error:
        if place := _place(error, file):
            error.add_note(f"In {_shown(file)}{place}.")
        raise
    except (Exception, SystemExit) as error:
        text = error.msg if isinstance(error, SyntaxError) else error
        place = _place(error, file)
        raise UsageError(
            f"{_shown(file)} cannot be imported: {type(error).__name__}: {text}"
            + (f" ({file.name}{place})" if place else "")
        ) from error
    if Path(getattr(module, "__file__", None) or "").resolve() != file:
        raise UsageError(
            f"{str(file)!r} has the name of another module, {name!r} "
            f"({getattr(module, '__file__', 'built in')}).\nHint: rename the file."
        )
    _loaded[name] = folder
    return module


def _forget_others(name: str, file: Path) -> None:
    """Make room for a file of the same name as one that was loaded before from another folder, with the modules beside
    that.
    """
    module = sys.modules.get(name)
    if name not in _loaded or module is None or module.__file__ == str(file):
        return
    folder = _loaded.pop(name)
    with contextlib.suppress(ValueError):
        sys.path.remove(str(folder))
    for other, each in list(sys.modules.items()):
        if Path(getattr(each, "__file__", None) or "").is_relative_to(folder) and other != "__main__":
            del sys.modules[other]


def _shown(file: Path) -> str:
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)


def _place(error: BaseException, file: Path) -> str:
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == str(file):
        line = error.lineno
    return f", line {line}" if line else ""
