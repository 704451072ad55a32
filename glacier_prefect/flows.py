"""From a pipeline to a Prefect flow, and the run of one: each node is a task run, driven by a ready-queue of threads.

How results reach the next nodes is in `values`, what happens to frames around a task's body in `plans`, and what leans
on Prefect's private parts in `engine`. This module loads Prefect, so nothing imports it before something is run.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

from glacier_prefect import engine  # before Prefect, which reports its import unless it is told not to

# isort: split

import prefect
from prefect.client.schemas import State
from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.futures import PrefectFuture
from prefect.logging.loggers import flow_run_logger
from prefect.schedules import Cron
from prefect.states import Completed, Failed, Pending
from prefect.transactions import get_transaction
from pydantic import SecretStr, TypeAdapter, ValidationError

from glacier_prefect import prefect_api, run_context, values
from glacier_prefect.caching import (
    GlacierSerializer,
    cache_options,
    call_fingerprint,
    keeps_results,
    mark_lazy,
    uncached_options,
)
from glacier_prefect.credentials import redaction
from glacier_prefect.disk import user_cache
from glacier_prefect.environments import check_registered, find_project
from glacier_prefect.errors import ArgumentsError, GlacierError, OptionError, nearest
from glacier_prefect.exchange import (
    EXCHANGE_TTL_DAYS,
    FrameLocation,
    close_exchange,
    is_frame,
    is_lazy,
    open_exchange,
)
from glacier_prefect.executors.remote import Note, RemoteExecutor
from glacier_prefect.graph import Node, is_cached, leaves
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.plans import Plan, gathered, make_plans, opened, spread
from glacier_prefect.providers import LocalProvider
from glacier_prefect.providers.base import environment_provider, exchange_location, named_exchange
from glacier_prefect.ready_queue import ReadyQueue, Work
from glacier_prefect.run_context import RunContext
from glacier_prefect.seen import Seen, show_artifact, show_assets
from glacier_prefect.sources.local import LocalSink, LocalSource
from glacier_prefect.sources.shared import Shared
from glacier_prefect.tasks import Task, each_item

RUN_DATE_TAG = "glacier:run_date="
_run_date: ContextVar[datetime | None] = ContextVar("glacier_run_date", default=None)
_seen: ContextVar[dict[str, Seen] | None] = ContextVar("glacier_seen", default=None)
_nested: ContextVar[bool] = ContextVar("glacier_nested", default=False)


def run(
    pipeline: Pipeline, args: tuple[Any, ...], parameters: Mapping[str, Any], run_date: datetime | date | str | None
) -> Any:
    """Run a pipeline here; see `Pipeline.run`."""
    try:
        bound = pipeline.graph.signature.bind(*args, **parameters)
    except TypeError as error:
        known = pipeline.graph.signature.parameters
        hint = next((nearest(name, known) for name in parameters if name not in known), "")
        raise ArgumentsError(f"Pipeline {pipeline.name!r} cannot be run so: {error}. {hint}".strip()) from None
    moment = pipeline.moment(run_date) if run_date is not None else None
    reset = _run_date.set(moment)
    tags = {*pipeline.tags, *([f"{RUN_DATE_TAG}{moment.isoformat()}"] if moment else [])}
    try:
        if FlowRunContext.get() is not None:
            return pipeline.flow(**bound.arguments)
        with contextlib.ExitStack() as stack:
            if stack.enter_context(prefect_api.chosen_api(*_folders(pipeline))) is None:
                stack.enter_context(engine.serverless())
            stack.enter_context(prefect.tags(*tags))
            state = engine.run_flow(pipeline.flow, dict(bound.arguments))
            return state.result()  # type: ignore[call-overload, unused-ignore]
    finally:
        _run_date.reset(reset)


def _folders(pipeline: Pipeline) -> list[Path]:
    """Return the folders in whose projects a server of `glacier ui` is looked for."""
    return [Path.cwd(), *([Path(pipeline.file).parent] if pipeline.file else [])]


def _flow_tags(pipeline: Pipeline, tags: Iterable[str]) -> set[str]:
    """Return the tags that are the flow run's alone: on a task run each would cost a look at its concurrency limit."""
    return {*pipeline.tags, *(tag for tag in tags if tag.startswith(RUN_DATE_TAG))}


@contextlib.contextmanager
def _set(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    reset = variable.set(value)
    try:
        yield
    finally:
        variable.reset(reset)


def parse_parameters(pipeline: Pipeline, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return parameters given as texts as values of their declared types; see `Pipeline.parse`."""
    known = pipeline.graph.signature.parameters
    hints = {}
    with contextlib.suppress(NameError, TypeError):
        hints = inspect.get_annotations(pipeline.function, eval_str=True) if pipeline.function else {}
    parsed = {}
    for name, text in texts.items():
        if name not in known:
            raise OptionError(f"Pipeline {pipeline.name!r} has no parameter {name!r}. {nearest(name, known)}")
        adapter: TypeAdapter[Any] = TypeAdapter(hints.get(name, Any))
        try:
            parsed[name] = adapter.validate_json(text)
        except ValidationError:
            try:
                parsed[name] = adapter.validate_python(text)
            except ValidationError as error:
                reason = error.errors()[0]["msg"]
                raise OptionError(
                    f"Parameter {name}={text!r} of pipeline {pipeline.name!r} does not fit its type: {reason}."
                ) from None
    return parsed


def make_flow(pipeline: Pipeline) -> prefect.Flow[..., Any]:
    """Return the Prefect flow of a pipeline, with the signature, docstring and module of its function."""
    nodes: dict[str, prefect.Task[..., Any]] = {}  # a dict, because the flow travels to Dask's workers beside each task

    def run(*args: Any, **kwargs: Any) -> Any:
        bound = pipeline.graph.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        check_registered(pipeline.file)
        if not nodes and not pipeline.graph.runner:
            nodes.update(_node_tasks(pipeline))
        return _Run(pipeline, bound.arguments, nodes).drive()

    if pipeline.function is not None:
        functools.update_wrapper(run, pipeline.function)
        # Annotations that are texts (from __future__ import annotations) can only be read with the globals of the
        # user's function.
        with contextlib.suppress(NameError, AttributeError, TypeError, SyntaxError):
            run.__annotations__ = inspect.get_annotations(pipeline.function, eval_str=True)
            run.__dict__["__signature__"] = inspect.signature(pipeline.function, eval_str=True)
    else:
        run.__doc__, run.__name__ = pipeline.description, pipeline.variable or pipeline.name.replace("-", "_")
        run.__dict__["__signature__"] = pipeline.graph.signature  # where inspect looks for it
    run.__module__ = pipeline.module
    run.__qualname__ = f"{pipeline.variable or run.__name__}.flow"
    options: dict[str, Any] = {"description": pipeline.description or None, **pipeline.options}
    if any(isinstance(node.executor, RemoteExecutor) or node.kind == "flow" for node in pipeline.graph.nodes.values()):
        hooks = options.get("on_cancellation") or []
        options["on_cancellation"] = [*hooks, functools.partial(_cancel_remote_runs, pipeline)]
    if options.get("persist_result"):
        options.setdefault("result_serializer", GlacierSerializer())
    if not pipeline.graph.signature.parameters:
        options.setdefault("validate_parameters", False)  # there is nothing to validate, and it costs an import
    return prefect.Flow(run, name=pipeline.name, **options)


def _cancel_remote_runs(pipeline: Pipeline, flow: Any, flow_run: Any, state: Any) -> None:
    """Stop what a cancelled run has left on services, known by its notes; a hook of Prefect, in any process.

    Doing it twice does nothing more, and what cannot be stopped does not keep the others from it.
    """
    logger = flow_run_logger(flow_run, flow)
    try:
        shared = shared_folders(pipeline, str(flow_run.id)).get("shared")
    except Exception as error:
        logger.warning("What this run has left in its bucket could not be read: %s", error)
        shared = None
    _cancel_noted(pipeline, flow_run, shared, logger)


def _cancel_noted(pipeline: Pipeline, flow_run: Any, shared: Shared | None, logger: Any) -> None:
    run = str(flow_run.id)
    project = find_project(pipeline.file).name or ""
    exchange = str(exchange_root(pipeline) / run)
    context = RunContext(run_id=run, node="", project=project, exchange=exchange, shared=shared)
    try:
        for note in Note.all_of(context):
            name = note.context.node
            node = pipeline.graph.nodes.get(name) or pipeline.graph.nodes.get(name.rpartition("[")[0])
            if node is not None and isinstance(node.executor, RemoteExecutor):
                problem: Exception | str = "it is not found"
                try:
                    if note.over or node.executor.cancel_left(note):
                        continue
                except Exception as error:
                    problem = error
                logger.warning(
                    "Run %s of task %r on executor %r could not be cancelled, and may go on: %s",
                    note.remote or f"submitted as {note.token}",
                    name,
                    node.executor.name,
                    redaction.hidden(str(problem)),
                )
    except Exception as error:
        logger.warning("What this run has left in its bucket could not be read: %s", error)
    inner = {node.call.name: node.call for node in pipeline.graph.nodes.values() if node.kind == "flow"}
    for name, each in inner.items():
        for child in prefect_api.child_runs(flow_run.id, name):
            _cancel_noted(each, child, shared, logger)


def serve(pipeline: Pipeline, name: str | None, options: Mapping[str, Any]) -> None:
    """Serve a pipeline's flow until stopped; see `Pipeline.serve`."""
    ours: dict[str, Any] = {"tags": list(pipeline.tags)}
    if pipeline.schedule is not None and not options.keys() & {"cron", "interval", "rrule", "schedule", "schedules"}:
        ours["schedule"] = Cron(pipeline.schedule, timezone=pipeline.timezone)
    with prefect_api.chosen_api(*_folders(pipeline)):  # if there is none, Prefect says so
        pipeline.flow.serve(name=name or pipeline.name, **ours | dict(options))


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
        with run_context.entered(context), _named_errors(self.plan), _shown(self.node.name):
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
        with _set(run_context.inner, None if engine.is_serverless() else engine.InnerRuns):
            result = self.node.executor.run(task.fn, inputs, timeout=timeout, finish=self.plan.settle)
        if mark is not None:
            mark_lazy(result, mark)
        return result


@contextlib.contextmanager
def _shown(node: str) -> Iterator[None]:
    """Show in Prefect what is read and published within the block, if the run is reported to an API."""
    if engine.is_serverless():
        yield
        return
    touched: list[tuple[str, Any]] = []
    with _set(run_context.touched, touched):
        yield
    seen = _seen.get()
    show_assets(touched, Seen() if seen is None else seen.setdefault(node, Seen()))


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


def _node_tasks(pipeline: Pipeline, context: RunContext | None = None) -> dict[str, prefect.Task[..., Any]]:
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
            task.task_run_name = None if node.kind == "map" else _escaped(name)
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


def _escaped(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")


class _Run:
    """One run of a pipeline's flow."""

    def __init__(
        self, pipeline: Pipeline, parameters: Mapping[str, Any], tasks: Mapping[str, prefect.Task[..., Any]]
    ) -> None:
        flow_context = FlowRunContext.get()
        assert flow_context is not None
        assert flow_context.flow_run is not None
        self.pipeline, self.graph, self.parameters = pipeline, pipeline.graph, parameters
        self.flow_run, self.runner = flow_context.flow_run, flow_context.task_runner
        self.nested = _nested.get()
        for leaf in leaves(dict(parameters)):
            if isinstance(leaf, SecretStr):  # as masked in logs and errors as a Secret is
                redaction.reveal(leaf.get_secret_value())
        root = exchange_root(pipeline)
        self.context = RunContext(
            run_id=str(self.flow_run.id),
            node="",
            project=find_project(pipeline.file).name or "",
            parameters={
                name: value
                for name, value in parameters.items()
                if not is_frame(value) and not isinstance(value, FrameLocation)
            },
            run_date=self._moment(),
            exchange=str(open_exchange(root, str(self.flow_run.id), keep=not engine.is_serverless())),
            **shared_folders(pipeline, str(self.flow_run.id)),
        )
        self.tasks = _node_tasks(pipeline, self.context) if self.graph.runner else tasks
        self.states: dict[str, Any] = {}

    def _moment(self) -> datetime:
        """The run's date: given to `run`, noted on the flow run, its parent's, or its scheduled start."""
        zone = ZoneInfo(self.pipeline.timezone)
        if (given := _run_date.get()) is not None:
            return given.astimezone(zone)
        for tag in self.flow_run.tags:
            if tag.startswith(RUN_DATE_TAG):
                return datetime.fromisoformat(tag.removeprefix(RUN_DATE_TAG)).astimezone(zone)
        start = self.flow_run.expected_start_time or datetime.now(zone)
        return start.astimezone(zone)

    def drive(self) -> Any:
        """Run all nodes and return what the pipeline function returned; raises what the first failing node raised."""
        stop = run_context.stop.get() or threading.Event()  # one for a run and its sub-flows
        seen: dict[str, Seen] | None = None if engine.is_serverless() else {}
        try:
            with (
                _set(_seen, seen),
                run_context.entered(self.context),
                _set(_nested, False),
                _set(_run_date, self.context.run_date),
                TagsContext(
                    current_tags=TagsContext.get().current_tags - _flow_tags(self.pipeline, self.flow_run.tags)
                ),
                _set(run_context.stop, stop),
            ):
                if self.graph.runner:
                    self._submit_all()
                else:
                    ReadyQueue(self._upstream(), self._run_node, self._threads(), stop).run()
        except BaseException:
            stop.set()
            raise
        if seen is not None and not self.nested:
            self._show_artifact(seen)
        self._raise_failures()
        result = values.fetched(self._resolved(self.graph.result))
        if self.nested:
            return result
        result = opened(result)
        if not values.holds_frames(result):
            close_exchange(Path(self.context.exchange))
        return result

    def _show_artifact(self, seen: dict[str, Seen]) -> None:
        for name in self.graph.nodes:
            facts = seen.setdefault(name, Seen())
            states = values.flat(self.states[name])
            worst = next((state for state in states if not state.is_completed()), states[-1] if states else None)
            facts.state = "" if worst is None else worst.name or worst.type.value
            for state in states:
                if state.is_completed() and self.graph.nodes[name].kind != "flow":
                    facts.add_result(engine.value_of(state))
        title = f"Run {self.flow_run.name} for {self.context.run_date:%Y-%m-%d %H:%M %Z}"
        try:
            show_artifact(self.pipeline.name, self.graph, seen, title)
        except Exception as error:  # what is shown of a run must not fail it
            prefect.get_run_logger().warning("The run's artifact could not be published: %s", error)

    # -- threads -------------------------------------------------------------------------------------------------------

    def _upstream(self) -> dict[str, tuple[str, ...]]:
        return {name: node.upstream for name, node in self.graph.nodes.items()}

    def _threads(self) -> int:
        given = engine.max_workers(self.runner) if "task_runner" in self.pipeline.options else None
        return max(1, given or min((os.cpu_count() or 1) + 4, 32))

    def _run_node(self, name: str) -> Sequence[Work] | None:
        node = self.graph.nodes[name]
        try:
            if node.kind == "map":
                return self._map_parts(node)
            with _timed(name):
                if node.kind == "flow":
                    self.states[name] = self._run_flow(node)
                else:
                    arguments = self._resolved(node.arguments)
                    self.states[name] = engine.run_task(self.tasks[name], arguments, self._after(node))
        except GlacierError as error:
            self.states[name] = Failed(data=error, message=str(error))
        return None

    def _after(self, node: Node) -> list[State[Any]]:
        return [state for name in node.after if name not in node.inputs for state in values.flat(self.states[name])]

    def _map_parts(self, node: Node) -> Sequence[Work] | None:
        task, arguments, after = self.tasks[node.name], self._resolved(node.arguments), self._after(node)
        if not all(state.is_completed() for name in node.upstream for state in values.flat(self.states[name])):
            self.states[node.name] = engine.run_task(
                task.with_options(task_run_name=_escaped(node.name)), arguments, after
            )  # which Prefect finds not ready
            return None
        calls = values.map_calls(node, arguments)
        mapped = self.states[node.name] = values.Mapped([None] * len(calls), [call.count for call in calls])

        def part(place: int, call: values.MapCall) -> None:
            with _timed(node.name):
                mapped.states[place] = engine.run_task(
                    task.with_options(task_run_name=_escaped(call.name)), call.arguments, after
                )

        return [functools.partial(part, place, call) for place, call in enumerate(calls)]

    def _run_flow(self, node: Node) -> State[Any]:
        upstream = [state for name in node.upstream for state in values.flat(self.states[name])]
        if not all(state.is_completed() for state in upstream):
            return Pending(name="NotReady", message="An upstream node did not complete.")
        flow, arguments = node.call.flow, self._resolved(node.arguments)
        if values.holds_frames(values.fetched(arguments)):  # as locations, which is no type that a parameter can have
            flow = flow.with_options(validate_parameters=False)
        if keeps_results() and flow.persist_result is None:
            flow = flow.with_options(persist_result=True, result_serializer=GlacierSerializer())
        with _set(_nested, True):
            return engine.run_subflow(flow, arguments, upstream)

    # -- Prefect's task runners ----------------------------------------------------------------------------------------

    def _submit_all(self) -> None:
        futures: dict[str, Any] = {}
        self.states = futures
        for name, node in self.graph.nodes.items():
            after = [future for each in node.after if each not in node.inputs for future in values.flat(futures[each])]
            if node.kind == "task" or node.kind == "sink":
                futures[name] = self._submitted(name, name, self._resolved(node.arguments), after)
                continue
            waited = {each: values.waited(futures[each]) for each in node.upstream}
            self.states = {**futures, **waited}
            try:
                if node.kind == "flow":
                    futures[name] = self._run_flow(node)
                elif not all(state.is_completed() for each in waited.values() for state in values.flat(each)):
                    futures[name] = Pending(name="NotReady", message="An upstream node did not complete.")
                else:
                    calls = values.map_calls(node, self._resolved(node.arguments))
                    parts = [self._submitted(name, call.name, call.arguments, after) for call in calls]
                    futures[name] = values.Mapped(parts, [call.count for call in calls])
            except GlacierError as error:
                futures[name] = Failed(data=error, message=str(error))
            finally:
                self.states = futures
        self.states = {name: values.waited(future) for name, future in futures.items()}

    def _submitted(self, name: str, label: str, arguments: Mapping[str, Any], after: list[Any]) -> PrefectFuture[Any]:
        task = self.tasks[name].with_options(task_run_name=_escaped(label))
        bound = inspect.BoundArguments(inspect.signature(task.fn), OrderedDict(spread(dict(arguments))))
        future: PrefectFuture[Any] = task.submit(*bound.args, **bound.kwargs, wait_for=after)
        return future

    def _resolved(self, value: Any) -> Any:
        return values.resolved(value, self.states, self.parameters)

    def _raise_failures(self) -> None:
        failed = [
            (name, state)
            for name in self.graph.nodes
            for state in values.flat(self.states[name])
            if state.is_failed() or state.is_crashed() or state.is_cancelled()
        ]
        if not failed:
            return
        name, state = failed[0]
        error = state.result(raise_on_failure=False)
        error = error if isinstance(error, BaseException) else GlacierError(state.message or str(state))
        others = [other for other, _ in failed[1:] if other != name]
        executor = self.graph.nodes[name].executor
        error.add_note(
            f"In task {name!r} of pipeline {self.pipeline.name!r}"
            + (f" on executor {executor.name!r}." if executor.crosses else ".")
            + (f" These failed too: {', '.join(others)}." if others else "")
        )
        raise error


@contextlib.contextmanager
def _timed(node: str) -> Iterator[None]:
    """Add the time of the block to what is shown of a node."""
    seen, start = _seen.get(), monotonic()
    yield
    if seen is not None:
        facts = seen.setdefault(node, Seen())
        facts.seconds = (facts.seconds or 0.0) + monotonic() - start


def exchange_root(pipeline: Pipeline) -> Path:
    """Return the folder in which runs of a pipeline hand frames on: beside its data, else in the user's cache."""
    bases = [each.base_path for each in pipeline.graph.locations if isinstance(each, LocalSink | LocalSource)]
    if not bases:
        provider = environment_provider(find_project(pipeline.file))
        if not isinstance(provider, LocalProvider):
            return user_cache() / "exchange"
        bases = [str(provider.base_path)]
    return Path(bases[0]).absolute() / ".glacier" / "exchange"


def shared_folders(pipeline: Pipeline, run: str) -> dict[str, Shared]:
    """Return the folders of a bucket in which a registered run leaves frames for other machines, by their use.

    Empty where results are not stored for a retry elsewhere, and where the pipeline has no bucket.

    Args:
        pipeline: The pipeline.
        run: Id of the flow run.
    """
    if engine.is_serverless() or not keeps_results():
        return {}
    if _nested.get() and (around := run_context.current()) is not None and around.shared and around.kept:
        return {"shared": around.shared, "kept": around.kept}  # with the run around it, its frames are looked for
    found = exchange_location(pipeline.graph.locations, named_exchange(find_project(pipeline.file)))
    if found is None:
        return {}
    location, base = found
    root = f"{base}.glacier/exchange/{pipeline.name}"
    Shared(location=location, folder=root).expire(EXCHANGE_TTL_DAYS)
    kept = Shared(location=location, folder=f"{base}.glacier/cache/{pipeline.name}")
    return {"shared": Shared(location=location, folder=f"{root}/{run}"), "kept": kept}
