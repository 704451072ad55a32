"""From a pipeline to a Prefect flow, and the run of one: each node is a task run, driven by a ready-queue of threads.

How results reach the next nodes is in `values`, what happens to frames around a task's body in `plans`, and what leans
on Prefect's private parts in `engine`. This module loads Prefect, so nothing imports it before something is run.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from glacier_prefect import engine  # before Prefect, which reports its import unless it is told not to

# isort: split

import prefect
from prefect.client.schemas import State
from prefect.context import FlowRunContext, TagsContext
from prefect.futures import PrefectFuture
from prefect.schedules import Cron
from prefect.states import Failed, Pending
from pydantic import SecretStr, TypeAdapter, ValidationError

from glacier_prefect import prefect_api, run_context, values
from glacier_prefect.caching import (
    GlacierSerializer,
    keeps_results,
)
from glacier_prefect.cancelling import cancel_remote_runs
from glacier_prefect.credentials import redaction
from glacier_prefect.environments import check_registered, find_project
from glacier_prefect.errors import ArgumentsError, GlacierError, OptionError, nearest
from glacier_prefect.exchange import (
    FrameLocation,
    close_exchange,
    is_frame,
    open_exchange,
)
from glacier_prefect.executors.remote import RemoteExecutor
from glacier_prefect.graph import Node, leaves
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.plans import opened, spread
from glacier_prefect.ready_queue import ReadyQueue, Work
from glacier_prefect.run_context import RunContext, setting
from glacier_prefect.run_folders import exchange_root, shared_folders
from glacier_prefect.seen import Seen, show_artifact
from glacier_prefect.task_bodies import Expected, escaped, expected, node_tasks, seen_of, timed

RUN_DATE_TAG = "glacier:run_date="
_run_date: ContextVar[datetime | None] = ContextVar("glacier_run_date", default=None)
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
            nodes.update(node_tasks(pipeline))
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
        options["on_cancellation"] = [*hooks, functools.partial(cancel_remote_runs, pipeline)]
    if options.get("persist_result"):
        options.setdefault("result_serializer", GlacierSerializer())
    if not pipeline.graph.signature.parameters:
        options.setdefault("validate_parameters", False)  # there is nothing to validate, and it costs an import
    return prefect.Flow(run, name=pipeline.name, **options)


def serve(pipeline: Pipeline, name: str | None, options: Mapping[str, Any]) -> None:
    """Serve a pipeline's flow until stopped; see `Pipeline.serve`."""
    ours: dict[str, Any] = {"tags": list(pipeline.tags)}
    if pipeline.schedule is not None and not options.keys() & {"cron", "interval", "rrule", "schedule", "schedules"}:
        ours["schedule"] = Cron(pipeline.schedule, timezone=pipeline.timezone)
    with prefect_api.chosen_api(*_folders(pipeline)):  # if there is none, Prefect says so
        pipeline.flow.serve(name=name or pipeline.name, **ours | dict(options))


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
            **shared_folders(pipeline, str(self.flow_run.id), nested=self.nested),
        )
        self.tasks = node_tasks(pipeline, self.context) if self.graph.runner else tasks
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
                setting(seen_of, seen),
                setting(expected, self._expected()),
                run_context.entered(self.context),
                setting(_nested, False),
                setting(_run_date, self.context.run_date),
                TagsContext(
                    current_tags=TagsContext.get().current_tags - _flow_tags(self.pipeline, self.flow_run.tags)
                ),
                setting(run_context.stop, stop),
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

    def _expected(self) -> Expected:
        """Return what this run and those that it is a part of read and write."""
        outer = expected.get()
        return Expected(locations=(*(outer.locations if outer else ()), *self.graph.locations))

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
            with timed(name):
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
                task.with_options(task_run_name=escaped(node.name)), arguments, after
            )  # which Prefect finds not ready
            return None
        calls = values.map_calls(node, arguments)
        mapped = self.states[node.name] = values.Mapped([None] * len(calls), [call.count for call in calls])

        def part(place: int, call: values.MapCall) -> None:
            with timed(node.name):
                mapped.states[place] = engine.run_task(
                    task.with_options(task_run_name=escaped(call.name)), call.arguments, after
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
        with setting(_nested, True):
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
        task = self.tasks[name].with_options(task_run_name=escaped(label))
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
