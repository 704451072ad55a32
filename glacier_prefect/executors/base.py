"""What every executor is: something that runs a task's function with its inputs and returns its value."""

from __future__ import annotations

import dis
import inspect
import json
import logging
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from glacier_prefect import run_context
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import OptionError, TravelError

if TYPE_CHECKING:
    from glacier_prefect.modules import ModuleCall

DEPLOYED = "GLACIER_EXECUTORS"
"""Variable with what infrastructure made for the executors of a deployment, as JSON: settings by name of executor."""


def call(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    """Call `function` with arguments by parameter name: `*args` as a tuple, `**kwargs` as a dict, as `inspect` binds
    them.

    A coroutine function is run to its end.
    """
    bound = inspect.BoundArguments(inspect.signature(function), OrderedDict(inputs))
    value = function(*bound.args, **bound.kwargs)
    if inspect.iscoroutine(value):
        import asyncio

        value = asyncio.run(value)
    refuse_secret(value, "The result", function)  # it would stand in result files, caches and the exchange location
    return value


@dataclass(frozen=True, kw_only=True)
class Body:
    """A task's function, and all that running it takes.

    Attributes:
        function: The user's function.
        inputs: Its arguments by name; frames are scans.
        timeout: Seconds after which it is to be stopped, None for no limit.
        finish: Checks its value and hands frames over; called where the body ran, if that can be.
    """

    function: Callable[..., Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    finish: Callable[[Any], Any] = lambda value: value

    def value(self) -> Any:
        """Run the function here and return its value."""
        return call(self.function, self.inputs)


def task_named(function: Callable[..., Any] | None = None, executor: str = "") -> str:
    """Return the words for the task that is running here, for messages.

    Args:
        function: Its function, which names it outside a run.
        executor: Its executor, if the message is to name it.
    """
    context = run_context.current()
    task = context.node if context else getattr(function, "__name__", "")
    return f"task {task!r}" + (f" on executor {executor!r}" if executor else "")


def refuse_secret(value: Any, what: str, function: Callable[..., Any] | None = None, executor: str = "") -> None:
    """Raise `TravelError` if the value of a secret is in a value that would be written down.

    Args:
        value: Any value.
        what: What it is, for the message.
        function: The function of the task, which names it outside a run.
        executor: The task's executor, if the message is to name it.
    """
    if redaction.holds_secret(value):
        raise secret_error(what, function, executor)


def secret_error(what: str, function: Callable[..., Any] | None = None, executor: str = "") -> TravelError:
    """Return the error for a secret that would be written down; see `refuse_secret`."""
    return TravelError(
        f"{what} of {task_named(function, executor)} has the value of a secret in it.\n"
        "Hint: pass the Secret itself on, and get() its value in the task that needs it."
    )


def is_whole(value: Any, least: int) -> bool:
    """Whether a setting is a whole number, at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_settings(executor: Executor, fitting: Mapping[str, tuple[bool, str]]) -> None:
    """Raise `OptionError` for the first setting that does not fit.

    Args:
        executor: Whose settings they are.
        fitting: By setting: whether it fits, and what is expected.
    """
    for setting, (fits, expected) in fitting.items():
        if not fits:
            value = getattr(executor, setting)
            raise OptionError(f"{type(executor).__name__} has {setting}={value!r}; expected {expected}.")


def returned_constants(function: Callable[..., Any]) -> Iterator[Any]:
    """Yield the constants that a function returns, as far as its code shows them."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    before: Any = None
    for instruction in dis.get_instructions(code) if code else ():
        if instruction.opname == "RETURN_CONST":
            yield instruction.argval
        elif instruction.opname == "RETURN_VALUE" and before and before.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            yield before.argval
        before = instruction


def run_log(shown: Any = None) -> Callable[[int, str], None]:
    """Return what logs a line, given its level, where the task that is running here logs.

    Args:
        shown: What `run_context.inner` made for this task, if that is at hand already.
    """
    if shown is None and (inner := run_context.inner.get()) is not None:
        shown = inner()
    if shown is not None:
        log: Callable[[int, str], None] = shown.log
        return log
    return lambda level, text: logging.getLogger("prefect.glacier").log(level, "%s", text)


@dataclass(frozen=True, kw_only=True)
class Executor(ABC):
    """Runs the bodies of tasks. Its fields are its settings, in code and in `[environments.X.executors.<name>]`.

    What code gives beats the environment's. What `dataclasses.replace` returns was given all of its settings, so none
    is taken from the environment: make a new one with the settings that code is to decide.

    Attributes:
        name: The registry key.
        paths: Settings that are paths; relative ones in `glacier.toml` are taken from its folder.
    """

    name: ClassVar[str]
    paths: ClassVar[tuple[str, ...]] = ()

    def __new__(cls, *_: Any, **given: Any) -> Self:
        made = super().__new__(cls)
        object.__setattr__(made, "_given", frozenset(given))  # which settings of the environment do not change
        return made

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """Return the names of all settings."""
        return tuple(each.name for each in fields(cls) if each.init)

    def completed(self, settings: Mapping[str, Any]) -> Self:
        """Return this executor with further settings; those that were given to it stay."""
        given: frozenset[str] = vars(self)["_given"]
        further = {key: value for key, value in settings.items() if key not in given}
        return replace(self, **further) if further else self

    @property
    def deployed(self) -> Mapping[str, Any]:
        """Settings that this deployment's infrastructure has for executors of this name; empty in any other run.

        They are outputs of the modules that `modules` asks for. What code or the environment says beats them.
        """
        found: Mapping[str, Any] = json.loads(os.environ.get(DEPLOYED) or "{}").get(self.name, {})
        return found

    def check(self, function: Callable[..., Any], where: str) -> None:
        """Raise `OptionError` for a function that this executor would ignore a part of, or cannot run.

        Called at the decorator (of an executor that another distribution registers by its name: when a pipeline is
        made).

        Args:
            function: The user's function.
            where: The task, for messages.
        """
        if self.crosses and (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
            raise OptionError(
                f"{where} is a generator, whose body executor {self.name!r} would not run to its end.\n"
                "Hint: return the result as a whole, as in a list or a LazyFrame."
            )

    def supplied(self, function: Callable[..., Any]) -> tuple[str, ...]:
        """Return the parameters of a function that it fills itself, as with a session; a call in a pipeline gives all
        others.
        """
        return ()

    @property
    def crosses(self) -> bool:
        """Whether the body runs outside this process, so that frames go there and come back through the exchange
        location.
        """
        return True

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that a run of it reads: the values of its settings that end in `_secret`."""
        return tuple(value for name in self.settings() if name.endswith("_secret") and (value := getattr(self, name)))

    def modules(self) -> tuple[ModuleCall, ...]:
        """Return the calls of Terraform modules that it needs."""
        return ()

    @abstractmethod
    def run(self, body: Body) -> Any:
        """Run a body and return `body.finish(value)`."""
