"""What a node knows of the run that it is part of: ids, parameters, the run's date.

Carried in a context variable and, where a node runs in another process, beside its inputs. Imports nothing of Glacier.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glacier_prefect.sources.shared import Shared


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """One node's place in a run.

    Attributes:
        run_id: Id of the flow run; the same when Prefect retries that run.
        node: Name of the node, with `[i]` for an item of a mapped task.
        project: Name of the project; "" if it has none.
        parameters: The pipeline's parameters.
        run_date: Scheduled start, in the pipeline's timezone.
        exchange: Folder under which this run hands data on.
        shared: Folder of a bucket into which that goes too, for other machines; None if all of it stays on this one.
        kept: The same for what outlives the run, as part of a cached result.
    """

    run_id: str
    node: str
    project: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    run_date: datetime | None = None
    exchange: str
    shared: Shared | None = None
    kept: Shared | None = None

    @property
    def token(self) -> str:
        """Name of this run and node, the same for each attempt, safe in a file name."""
        safe = "".join(
            letter if (letter.isascii() and letter.isalnum()) or letter in "-_" else "_" for letter in self.node[:80]
        )
        unlike = "" if safe == self.node else f"-{zlib.crc32(self.node.encode()):08x}"
        return f"{self.run_id}-{safe}{unlike}"

    @property
    def cache(self) -> Path:
        """Folder for what outlives the run: results that stand for later ones."""
        return Path(self.exchange).parents[1] / "cache"


_current: ContextVar[RunContext | None] = ContextVar("glacier_run_context", default=None)


stop: ContextVar[threading.Event | None] = ContextVar("glacier_stop", default=None)
"""Set when the run ends early; everything that waits looks at it."""


inner: ContextVar[Callable[[], Any] | None] = ContextVar("glacier_inner", default=None)
"""Makes an `engine.InnerRuns`, which shows what a task's tool runs inside it; None in a run without an API."""


touched: ContextVar[list[tuple[str, Any]] | None] = ContextVar("glacier_touched", default=None)
"""Where a node notes what it has read and published: ("read" or "published", the source)."""


def note(what: str, source: Any) -> None:
    """Note that the node that is running here has read or published a source."""
    if (notes := touched.get()) is not None:
        notes.append((what, source))


def stopping() -> bool:
    """Whether the run that is going on here is to end."""
    event = stop.get()
    return event is not None and event.is_set()


def current() -> RunContext | None:
    """Return the context of the node that is running here, None outside a run."""
    return _current.get()


@contextmanager
def entered(context: RunContext) -> Iterator[RunContext]:
    """Make `context` the current one within a `with` block."""
    with setting(_current, context):
        yield context


@contextmanager
def setting(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    """Set a context variable within a `with` block."""
    reset = variable.set(value)
    try:
        yield
    finally:
        variable.reset(reset)
