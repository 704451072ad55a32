"""Nodes, the edges between them, and what follows from them: order of reads and writes, and which frames are computed
where.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from glacier_prefect.credentials import Secret
from glacier_prefect.environments import Project
from glacier_prefect.errors import OptionError, OverlapError
from glacier_prefect.executors import EXECUTORS, Executor, environment_executor
from glacier_prefect.graph.placeholders import Ref
from glacier_prefect.graph.references import leaves, makers, referred
from glacier_prefect.sources import Location, Sink, Source
from glacier_prefect.tasks import CACHE_OPTIONS, Task, Unmapped

Kind = Literal["task", "map", "sink", "flow"]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One call in a pipeline.

    Attributes:
        name: Unique in the pipeline.
        kind: A task, a task mapped over items, the write of a sink, or another pipeline.
        call: The Task, Sink or Pipeline.
        arguments: By parameter name; `Ref` and `ParameterRef` stand where values come from.
        after: Nodes that have to be done before, besides those whose results are arguments.
        batch: Items for one task run, for a mapped task.
        runs_on: The executor of its body with the environment's settings, once these are known.
    """

    name: str
    kind: Kind
    call: Any
    arguments: Mapping[str, Any]
    after: tuple[str, ...] = ()
    batch: int | None = None
    runs_on: Executor | None = None

    @cached_property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """For each node whose result is an argument: the parameters that it goes to."""
        found: dict[str, dict[str, None]] = {}
        for parameter, value in self.arguments.items():
            for leaf in leaves(value):
                if isinstance(leaf, Ref):
                    found.setdefault(leaf.node, {})[parameter] = None
        return {node: tuple(parameters) for node, parameters in found.items()}

    @cached_property
    def upstream(self) -> tuple[str, ...]:
        """Names of all nodes that have to be done before, each once."""
        return tuple(dict.fromkeys((*self.inputs, *self.after)))

    @property
    def executor(self) -> Executor:
        """The executor of its body."""
        if self.runs_on is not None:
            return self.runs_on
        executor = self.call.executor if isinstance(self.call, Task) else "local"
        return executor if isinstance(executor, Executor) else _named_executor(executor)

    @cached_property
    def locations(self) -> tuple[Location, ...]:
        """Sources and sinks that it is given, that its function refers to, or that it declares; those of a sub-flow's
        nodes.
        """
        found = [leaf for leaf in leaves(self.arguments) if isinstance(leaf, Location)]
        if isinstance(self.call, Sink):
            found.append(self.call)
        elif isinstance(self.call, Task):
            found += [each for each in referred(self.call.fn) if isinstance(each, Location)]
            found += (*self.call.reads, *self.call.writes)
        elif self.kind == "flow":
            found += self.call.graph.locations
        return tuple(dict.fromkeys(found))

    @cached_property
    def unseen(self) -> tuple[str, ...]:
        """Functions, with file and line, that make sources or sinks while they run, unless the task declares any."""
        if not isinstance(self.call, Task) or self.call.reads or self.call.writes:
            return ()
        return makers(self.call.fn)

    @property
    def reads(self) -> tuple[Source, ...]:
        """Sources among its locations."""
        return tuple(each for each in self.locations if isinstance(each, Source))

    @property
    def writes(self) -> tuple[Sink, ...]:
        """Sinks among its locations."""
        return tuple(each for each in self.locations if isinstance(each, Sink))

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that it is given, that its function refers to, or that its executor or its locations'
        credentials need; sorted. For a sub-flow those of its nodes.
        """
        found = {leaf.name for leaf in leaves(self.arguments) if isinstance(leaf, Secret)}
        if isinstance(self.call, Task):
            found |= {each.name for each in referred(self.call.fn) if isinstance(each, Secret)}
            found |= set(self.executor.secrets)
        elif self.kind == "flow":
            found |= {name for node in self.call.graph.nodes.values() for name in node.secrets}
        found |= {name for each in self.locations if (name := getattr(each, "credentials_secret", None))}
        return tuple(sorted(found))


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A checked, ordered graph.

    Attributes:
        nodes: By name, each after all that it waits for.
        result: What the pipeline function returned, with `Ref`s.
        signature: Parameters of the pipeline.
        runner: Name of a task runner whose tasks run in other processes (Dask, Ray), else None.
    """

    nodes: Mapping[str, Node]
    result: Any = None
    signature: inspect.Signature = field(default_factory=inspect.Signature)
    runner: str | None = None

    @cached_property
    def returned(self) -> frozenset[str]:
        """Nodes whose result, or a part of it, the pipeline returns."""
        return frozenset(leaf.node for leaf in leaves(self.result) if isinstance(leaf, Ref))

    @cached_property
    def consumers(self) -> Mapping[str, tuple[str, ...]]:
        """For each node the nodes that take its result."""
        return _reversed({name: node.inputs for name, node in self.nodes.items()})

    @cached_property
    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """For each node the nodes that wait for it."""
        return _reversed({name: node.upstream for name, node in self.nodes.items()})

    @cached_property
    def computed(self) -> Mapping[str, tuple[str, ...]]:
        """For each node why its frames are computed in it; an empty tuple means that they stay lazy into their one
        consumer.
        """
        return {name: self._reasons(node) for name, node in self.nodes.items()}

    def _reasons(self, node: Node) -> tuple[str, ...]:
        task = node.call
        if node.kind in ("sink", "flow"):
            return ("writes",) if node.kind == "sink" else ("sub-flow",)
        must = self._must_compute(node)
        if task.checks or task.schema:
            must.append("checks" if task.checks else "schema")
        if task.materialize is False:
            return tuple(must)
        consumers = [self.nodes[name] for name in self.consumers[node.name]]
        times = sum(2 if self._is_broadcast(node.name, each) else 1 for each in consumers) + (
            node.name in self.returned
        )
        why = [f"{times} consumers"] if times >= 2 else ["returned"] if node.name in self.returned else []
        why += [name for name in ("retries", "timeout_seconds", "persist_result") if task.options.get(name)]
        if is_cached(task):
            why.append("cache")
        if task.materialize:
            why.append("materialize=True")
        return (*must, *why, *self._overwritten_later(node))

    def _must_compute(self, node: Node) -> list[str]:
        """Why frames have to travel from this node to another process or flow."""
        if self.runner:
            return [f"runs on {self.runner}"]
        must = [f"runs on {executor_name(node.call)!r}"] if node.executor.crosses else []
        for name in self.consumers[node.name]:
            consumer = self.nodes[name]
            if consumer.kind == "flow":
                must.append(f"{name!r} is a sub-flow")
            elif consumer.executor.crosses:
                must.append(f"{name!r} runs on {executor_name(consumer.call)!r}")
        return must

    def with_executors(self, project: Project) -> Graph:
        """Return this graph with the environment's settings in its executors.

        Raises:
            OptionError: A task's function does not suit its executor.
        """
        made: dict[int, Executor] = {}
        nodes = dict(self.nodes)
        for name, node in nodes.items():
            if isinstance(task := node.call, Task):
                key = id(task.executor)
                if key not in made:
                    made[key] = environment_executor(task.executor, project)
                made[key].check(task.fn, f"task {task.name!r}")
                nodes[name] = replace(node, runs_on=made[key])
        return replace(self, nodes=nodes)

    def check_travel(self, where: str) -> None:
        """Raise `OptionError` for `materialize=False` on a task whose frames have to leave the process."""
        for node in self.nodes.values():
            if isinstance(node.call, Task) and node.call.materialize is False and (must := self._must_compute(node)):
                raise OptionError(
                    f"{where}: task {node.name!r} has materialize=False, and its frames have to be computed: "
                    f"{must[0]}.\n"
                    "Hint: remove materialize=False."
                )

    @staticmethod
    def _is_broadcast(name: str, consumer: Node) -> bool:
        return consumer.kind == "map" and any(
            isinstance(value, Unmapped)
            and any(isinstance(leaf, Ref) and leaf.node == name for leaf in leaves(value.value))
            for value in consumer.arguments.values()
        )

    def _overwritten_later(self, node: Node) -> list[str]:
        """A frame that is read here and whose source is overwritten further down must not be read after that."""
        return [
            f"{writer!r} overwrites {source.bucket}/{source.path}"
            for source in self.reads(node)
            for writer, sink in self.sinks
            if writer != node.name and sink.overlaps(source) and writer not in self.ancestors(node.name)
        ]

    def reads(self, node: Node) -> tuple[Location, ...]:
        """Return the sources that a node reads; a sink whose write it takes is read as its twin."""
        twins = [self.nodes[name].call for name in node.inputs if self.nodes[name].kind == "sink"]
        return (*node.reads, *twins)

    @cached_property
    def sinks(self) -> list[tuple[str, Sink]]:
        """Each sink with the node that writes it."""
        return [(node.name, sink) for node in self.nodes.values() for sink in node.writes]

    @cached_property
    def locations(self) -> tuple[Location, ...]:
        """All sources and sinks, each once."""
        return tuple(dict.fromkeys(each for node in self.nodes.values() for each in node.locations))

    def check(self, where: str) -> None:
        """Raise for fields of paths that nothing fills, and for locations that are read and written in no order.

        Raises:
            PathError: A path has a field that is no parameter.
            OverlapError: Two nodes may touch one location in either order.
        """
        for node in self.nodes.values():
            if node.kind != "flow":  # which has filled its own
                for location in node.locations:
                    location.template.check_fields(self.signature.parameters, where)
        written = self.sinks
        for place, (writer, sink) in enumerate(written):
            for other, second in written[:place]:
                self._check_order(writer, sink, other, second, where, "writes")
        if not written:
            return
        for node in self.nodes.values():
            for source in node.reads:
                for writer, sink in written:
                    self._check_order(writer, sink, node.name, source, where, "reads")

    def _check_order(self, writer: str, sink: Sink, other: str, location: Location, where: str, verb: str) -> None:
        if writer == other or not sink.overlaps(location):
            return
        if other not in self.ancestors(writer) and writer not in self.ancestors(other):
            raise OverlapError(
                f"{where}: {writer!r} writes {sink.bucket}/{sink.path} and {other!r} {verb} "
                f"{location.bucket}/{location.path}, "
                "which may be the same data, and nothing says which comes first.\n"
                "Hint: pass what one makes to the other (write(...) gives the source to read back), or use depends_on."
            )

    def ancestors(self, name: str) -> frozenset[str]:
        """Return all nodes that are done before `name` starts."""
        found: set[str] = set()
        pending = [*self.nodes[name].upstream]
        while pending:
            node = pending.pop()
            if node not in found:
                found.add(node)
                pending += self.nodes[node].upstream
        return frozenset(found)

    def edges(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield (from, to, "data" or "ordering", parameters that the data goes to)."""
        for node in self.nodes.values():
            for upstream, parameters in node.inputs.items():
                yield upstream, node.name, "data", ", ".join(parameters)
            for upstream in node.after:
                if upstream not in node.inputs:
                    yield upstream, node.name, "ordering", ""


def _reversed(edges: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """For each node the nodes that name it."""
    found: dict[str, list[str]] = {name: [] for name in edges}
    for name, upstream in edges.items():
        for each in upstream:
            found[each].append(name)
    return {name: tuple(nodes) for name, nodes in found.items()}


def is_cached(task: Task[..., Any]) -> bool:
    """Whether results of earlier runs may stand for those of this task."""
    if type(task.options.get("cache_policy")).__name__ == "_None":  # Prefect's NO_CACHE, looked at without Prefect
        return False
    return task.cache or any(task.options.get(name) is not None for name in CACHE_OPTIONS)


@functools.cache
def _named_executor(name: str) -> Executor:
    executor: Executor = EXECUTORS.load(name)()
    return executor


def executor_name(task: Task[..., Any]) -> str:
    """Return the name of a task's executor."""
    return task.executor if isinstance(task.executor, str) else task.executor.name
