"""What every executor is: something that runs a task's function with its inputs and returns its value."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from glacier_prefect.modules import ModuleCall


def call(function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
    """Call `function` with arguments by parameter name: `*args` as a tuple, `**kwargs` as a dict, as `inspect` binds
    them.

    A coroutine function is run to its end.
    """
    bound = inspect.BoundArguments(inspect.signature(function), OrderedDict(inputs))
    result = function(*bound.args, **bound.kwargs)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


@dataclass(frozen=True, kw_only=True)
class Executor(ABC):
    """Runs the bodies of tasks.

    Attributes:
        name: The registry key.
    """

    name: ClassVar[str]

    @property
    def crosses(self) -> bool:
        """Whether the body runs outside this process, so that frames go there and come back through the exchange
        location.
        """
        return True

    def modules(self) -> tuple[ModuleCall, ...]:
        """Return the calls of Terraform modules that it needs."""
        return ()

    @abstractmethod
    def run(
        self,
        function: Callable[..., Any],
        inputs: Mapping[str, Any],
        *,
        timeout: float | None,
        finish: Callable[[Any], Any],
    ) -> Any:
        """Run `function` with `inputs` and return `finish(value)`.

        Args:
            function: The user's function.
            inputs: Its arguments by name, for `call`; frames are scans.
            timeout: Seconds after which the body is to be stopped, None for no limit.
            finish: Checks the value and hands its frames over; called where the body ran, if that can be.
        """
