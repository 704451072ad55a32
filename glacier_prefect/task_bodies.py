"""What a task run of a node does: open its inputs, run the body on its executor, settle and show what comes out.

Loads Prefect, so nothing imports it before something is run.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from glacier_prefect import engine  # before Prefect, which reports its import unless it is told not to

# isort: split

import prefect
from prefect.context import TaskRunContext
from prefect.states import Completed
from prefect.transactions import get_transaction

from glacier_prefect import run_context
from glacier_prefect.caching import cache_options, call_fingerprint, mark_lazy, uncached_options
from glacier_prefect.credentials import redaction
from glacier_prefect.exchange import is_lazy
from glacier_prefect.executors.base import Body
from glacier_prefect.graph import Node, is_cached, leaves
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.plans import Plan, gathered, make_plans
from glacier_prefect.run_context import RunContext, setting
from glacier_prefect.run_folders import exchange_root
from glacier_prefect.seen import Seen, show_assets
from glacier_prefect.sources import Location, Source
from glacier_prefect.tasks import Task, each_item

logger = logging.getLogger("prefect.glacier.tasks")

seen_of: ContextVar[dict[str, Seen] | None] = ContextVar("glacier_seen", default=None)
"""What is known of each node of the run that is going on here; None if nothing is shown of it."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the graph of a run, and of those that it is a part of, says that is read and written.

    Attributes:
        locations: Sources and sinks.
        told: What was read or written besides, and is told already.
    """

    locations: tuple[Location, ...]
    told: set[tuple[str, str]] = field(default_factory=set)

    def check(self, node: Node, touched: Sequence[tuple[str, Source]]) -> None:
        """Warn of what a node has read or published that no graph shows."""
        for what, source in touched:
            if any(each.overlaps(source) for known in (node.locations, self.locations) for each in known):
                continue
            place = f"{source.bucket}/{source.path}"
            if (node.name, place) not in self.told:
                self.told.add((node.name, place))
                verb = "reads" if what == "read" else "writes"
                logger.warning(
                    "Task %r %s %s, which the pipeline's graph does not show: in a cloud its run may have no right to. "
                    "Hint: declare it with @task(%s=[...]).",
                    *(node.name, verb, place, verb),
                )


expected: ContextVar[Expected | None] = ContextVar("glacier_expected", default=None)
"""What the run that is going on here is expected to read and write; None in processes that know no graph."""


@dataclass(frozen=True, kw_only=True)
class _Body:
    """The body of one node's task runs.

    Attributes:
        node: The node.
        plan: How its inputs and result are treated.
        context: The run, for tasks that run in other processes; else it comes from the context variable.
    """

    node: Node
    plan: Plan
    context: RunContext | None = None

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        context, attempt = self.context or run_context.current(), TaskRunContext.get()
        assert context is not None
        assert attempt is not None
        # The name of a mapped task's run says which item it is; that of any other may be the user's own.
        context = replace(context, node=attempt.task_run.name if self.node.kind == "map" else self.node.name)
        with run_context.entered(context), _named_errors(self.plan), _shown(self.node):
            arguments = gathered(dict(arguments)) if self.context is not None else arguments
            inputs = self.plan.open(arguments)
            if self.node.kind == "sink":
                return self.plan.settle(self.node.call.write(inputs["frame"]))
            if self.node.batch is None:
                return self._run(inputs, arguments)
            return [self._run(item, item) for item in each_item(self.node.name, inputs)]

    def _run(self, inputs: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        task = self.node.call
        mark = call_fingerprint(task, arguments) if self.plan.feeds_cache else None
        timeout = task.options.get("timeout_seconds")
        with setting(run_context.inner, None if engine.is_serverless() else engine.InnerRuns):
            body = Body(function=task.fn, inputs=inputs, timeout=timeout, finish=self.plan.settle)
            result = self.node.executor.run(body)
        if mark is not None:
            mark_lazy(result, mark)
        return result


@contextlib.contextmanager
def _shown(node: Node) -> Iterator[None]:
    """Show in Prefect what is read and published within the block, if the run is reported to an API, and warn of what
    the graph does not show.
    """
    touched: list[tuple[str, Any]] = []
    outer = run_context.touched.get()
    with setting(run_context.touched, touched):
        yield
    if outer is not None:  # of whoever looks at the whole run
        outer += touched
    if (known := expected.get()) is not None:
        known.check(node, touched)
    if not engine.is_serverless():
        seen = seen_of.get()
        show_assets(touched, Seen() if seen is None else seen.setdefault(node.name, Seen()))


@contextlib.contextmanager
def _named_errors(plan: Plan) -> Iterator[None]:
    """Name the tasks of the query in an error of Polars, turn its panics into errors, and mask secrets in all."""
    try:
        yield
    except BaseException as error:
        module = type(error).__module__
        if module.startswith("pyo3_runtime"):
            text = redaction.hidden(f"Polars failed inside: {error}{_chain_text(plan)}")
            raise RuntimeError(text) from redaction.hidden_error(error)
        if module.startswith("polars.") and len(plan.chain) > 1 and error.args and isinstance(error.args[0], str):
            error.args = (error.args[0] + _chain_text(plan), *error.args[1:])
        if (shown := redaction.hidden_error(error)) is not error:
            raise shown from None
        raise


def _chain_text(plan: Plan) -> str:
    return f"\n\nThe query is made of the tasks {' -> '.join(plan.chain)}." if len(plan.chain) > 1 else ""


def node_tasks(pipeline: Pipeline, context: RunContext | None = None) -> dict[str, prefect.Task[..., Any]]:
    """Return a Prefect task for each node but sub-flows; `context` travels with tasks that run in other processes."""
    graph, cache = pipeline.graph, exchange_root(pipeline).parent / "cache"
    plans = make_plans(graph)
    first: dict[int, prefect.Task[..., Any]] = {}
    tasks = {}
    for name, node in graph.nodes.items():
        if node.kind == "flow":
            continue
        body = _Body(node=node, plan=plans[name], context=context)
        if isinstance(node.call, Task):
            function = _function(body, node.call.fn, node.call.signature)
        else:
            function = _function(body, _write_signature, inspect.signature(_write_signature))
        if (like := first.get(id(node.call))) is None:
            task = first[id(node.call)] = _node_task(node, function, cache, context)
        else:  # Prefect reads and hashes the source of a function for each task that it makes; a copy has it already
            task = copy.copy(like)
            functools.update_wrapper(task, function)
            task.fn, task.name = function, name
        if "task_run_name" not in getattr(node.call, "options", ()):
            task.task_run_name = None if node.kind == "map" else escaped(name)
        tasks[name] = task
    return tasks


def _node_task(
    node: Node, function: Callable[..., Any], cache: Path, context: RunContext | None
) -> prefect.Task[..., Any]:
    call = node.call
    options = dict(call.options) if isinstance(call, Task) else {}
    if node.executor.crosses and "timeout_seconds" in options:
        options.pop("timeout_seconds")  # the executor stops the body itself
    if isinstance(call, Task):
        options = cache_options(call, options, cache, context)
    else:
        options = uncached_options(options)
    described = inspect.getdoc(call.fn) if isinstance(call, Task) else f"Write {call.bucket}/{call.path}."
    return prefect.Task(fn=function, name=node.name, **{"description": described, **options})


def _write_signature(frame: Any) -> Any:
    """Write the frame to its sink."""


def _function(body: _Body, like: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        result = body(signature.bind(*args, **kwargs).arguments)
        lazy = _holds_lazy(result)
        if (
            lazy
            and (stored := get_transaction()) is not None
            and not (isinstance(body.node.call, Task) and is_cached(body.node.call))
        ):
            stored.write_on_commit = False  # what is not computed yet is nothing that a retry could take
        if body.plan.computed or not lazy:
            return result
        return Completed(name="Lazy", message=f"Computed in {body.plan.computed_in!r}", data=result)

    functools.update_wrapper(run, like)
    run.__signature__ = signature  # type: ignore[attr-defined]  # what inspect looks for
    return run


def _holds_lazy(value: Any) -> bool:
    return any(is_lazy(leaf) for leaf in leaves(value))


def escaped(name: str) -> str:
    """Return a node's name as Prefect's template of a task run's name, in which braces stand for parameters."""
    return name.replace("{", "{{").replace("}", "}}")


@contextlib.contextmanager
def timed(node: str) -> Iterator[None]:
    """Add the time of the block to what is shown of a node."""
    seen, start = seen_of.get(), monotonic()
    yield
    if seen is not None:
        facts = seen.setdefault(node, Seen())
        facts.seconds = (facts.seconds or 0.0) + monotonic() - start
