"""What values are made of, and what a function's code refers to: the sources, sinks and secrets in both are what a task
reads and writes.
"""

from __future__ import annotations

import dis
import functools
import inspect
import os
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from types import CodeType
from typing import Any

from glacier_prefect.credentials import Secret
from glacier_prefect.sources import Location
from glacier_prefect.tasks import Task, Unmapped

WHOLE = Location | Secret | str | int | float | bytes | None  # which are not looked into
GLOBALS = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
MAKERS = frozenset({"bucket_sink", "bucket_source"})  # what every provider makes them by


def leaves(value: Any) -> list[Any]:
    """Return all that stands in lists, tuples, sets, dicts, dataclasses and `Unmapped` of `value`."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple | set | frozenset):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, Unmapped):
        return leaves(value.value)
    if is_record(value):
        return [leaf for each in fields(value) for leaf in leaves(getattr(value, each.name, None))]
    return [value]


def is_record(value: Any) -> bool:
    """Whether `value` is an instance of a user's dataclass."""
    kind = type(value)
    return is_dataclass(kind) and not kind.__module__.startswith("glacier_prefect.")


@functools.cache
def referred(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return what a function's code refers to, itself first: functions of the user's, sources, sinks, secrets and plain
    constants.

    They are looked for in its globals, closure and defaults, in modules, classes and objects of the user's that it
    names, and in the same of each function found.

    Args:
        function: A function of the user's.
    """
    found: dict[int, Any] = {}
    seen: dict[tuple[int, frozenset[str]], Any] = {}
    pending: deque[tuple[Any, frozenset[str]]] = deque([(function, frozenset({"__call__"}))])
    while pending:
        given, names = pending.popleft()
        if inspect.isfunction(given):
            if given is not function and not is_user_code(given.__module__):
                continue
            names = _names(given.__code__)
        if given is function or inspect.isfunction(given) or isinstance(given, WHOLE):
            found[id(given)] = given
        if (id(given), names) not in seen and not isinstance(given, WHOLE):
            seen[id(given), names] = given  # kept, so that no other object gets its id
            pending += [(leaf, names) for leaf in leaves(_parts(given, names))]
    return tuple(found.values())


def makers(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names, with file and line, of the functions that code refers to and that make sources or sinks."""
    return tuple(
        f"{each.__qualname__} ({os.path.basename(each.__code__.co_filename)}:{each.__code__.co_firstlineno})"
        for each in referred(function)
        if inspect.isfunction(each) and _names(each.__code__) & MAKERS
    )


def _parts(given: Any, names: frozenset[str]) -> list[Any]:
    """Return what an object is made of, as far as code that uses `names` can reach it."""
    if isinstance(given, Task):
        return [given.fn]
    if inspect.isfunction(given):
        wrapped = [given.__wrapped__] if hasattr(given, "__wrapped__") else []
        closure = [cell.cell_contents for cell in given.__closure__ or () if filled(cell)]
        used = [
            given.__globals__[name] for name in sorted(_names(given.__code__, GLOBALS)) if name in given.__globals__
        ]
        return [*(given.__defaults__ or ()), *(given.__kwdefaults__ or {}).values(), *closure, *used, *wrapped]
    if inspect.ismethod(given):
        return [given.__func__, *_members(given.__self__, names | {given.__func__.__name__})]
    if isinstance(given, functools.partial):
        return [given.func, *given.args, *given.keywords.values()]
    if (function := _unwrapped(given)) is not given:
        return [function]
    return _members(given, names)


def _members(given: Any, names: frozenset[str]) -> list[Any]:
    """Return the attributes of a module, class or object of the user's that are in `names`, or used by its methods that
    are.
    """
    if inspect.ismodule(given):
        return (
            [vars(given)[name] for name in sorted(names) if name in vars(given)] if is_user_code(given.__name__) else []
        )
    kinds = given.__mro__ if isinstance(given, type) else type(given).__mro__
    owners = [each for each in (given, *kinds) if _is_own(each) and hasattr(each, "__dict__")]
    members: dict[str, Any] = {}
    asked: frozenset[str] = frozenset()
    while names - asked:
        new = {
            name: vars(owner)[name]
            for owner in reversed(owners)
            for name in sorted(names - asked)
            if name in vars(owner)
        }
        members |= new
        methods = [each for each in map(_unwrapped, new.values()) if inspect.isfunction(each)]
        asked, names = names, names.union(*(_names(each.__code__) for each in methods))
    return list(members.values())


def _unwrapped(member: Any) -> Any:
    """Return the function of a member of a class, or what else it is."""
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, functools.cached_property):
        return member.func
    return member.fget if isinstance(member, property) else member


def _is_own(given: Any) -> bool:
    return is_user_code((given if isinstance(given, type) else type(given)).__module__)


@functools.cache
def is_user_code(module: str) -> bool:
    """Whether a module belongs to the user: neither the standard library nor an installed distribution."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__":
        return True
    installed = [sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (
        file is not None and module.partition(".")[0] != "glacier_prefect" and not any(map(file.startswith, installed))
    )


def filled(cell: Any) -> bool:
    """Whether a closure's cell has a value yet."""
    try:
        cell.cell_contents  # noqa: B018  reading it tells
    except ValueError:
        return False
    return True


@functools.cache
def _names(code: CodeType, only: frozenset[str] | None = None) -> frozenset[str]:
    """Return the names of globals and attributes that code uses; only those that the operations `only` load, if
    given.
    """
    own = code.co_names if only is None else [each.argval for each in dis.get_instructions(code) if each.opname in only]
    return frozenset(own).union(*(_names(each, only) for each in code.co_consts if inspect.iscode(each)))
