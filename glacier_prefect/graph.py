"""The graph of a pipeline: nodes, the edges between them, and how a pipeline function becomes one.

A pipeline function is traced once. What exists only during the run (a parameter, a node's result) is a `Placeholder` in it, and a
`Ref` or `ParameterRef` in the finished graph. Nothing here knows of Prefect or Polars.
"""

from __future__ import annotations

import graphlib
import inspect
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal, NoReturn

from glacier_prefect import tracing
from glacier_prefect.errors import ArgumentsError, CycleError, DefinitionError, DependencyError, NameTakenError, OptionError, OverlapError, PlaceholderError
from glacier_prefect.exchange import map_leaves
from glacier_prefect.executors import EXECUTORS, Executor
from glacier_prefect.sources import Location, Sink, Source
from glacier_prefect.tasks import CACHE_OPTIONS, Task, Unmapped

Kind = Literal["task", "map", "sink", "flow"]


@dataclass(frozen=True)
class Ref:
    """The result of a node, or a part of it.

    Attributes:
        node: Name of the node.
        path: Indexes into its result.
    """

    node: str
    path: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ParameterRef:
    """The value of one of the pipeline's parameters, or a part of it.

    Attributes:
        parameter: Name of the parameter.
        path: Indexes into its value.
    """

    parameter: str
    path: tuple[Any, ...] = ()


class Placeholder:
    """Stands in a pipeline function for a value that exists only during the run.

    It may be passed on to tasks and sinks, alone or inside a list, tuple or dict, and indexed by a constant; all else is an error.
    """

    __slots__ = ("_ref", "_trace")

    def __init__(self, ref: Ref | ParameterRef, trace: Trace) -> None:
        object.__setattr__(self, "_ref", ref)
        object.__setattr__(self, "_trace", trace)

    def __getitem__(self, index: Any) -> Placeholder:
        if isinstance(index, slice) or not isinstance(index, str | int | bool | float | tuple | bytes | None):
            what = "a slice" if isinstance(index, slice) else _named(index) if isinstance(index, Placeholder) else f"a {type(index).__name__}"
            raise PlaceholderError(
                f"{_named(self)} is indexed by {what}; only a constant (a name or a number) is possible.\nHint: do that in a task."
            )
        ref = _ref(self)
        return Placeholder(type(ref)(*_parts(ref), (*ref.path, index)), object.__getattribute__(self, "_trace"))  # type: ignore[arg-type]

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "__getitem__", "__repr__", "__dict__", "__doc__", "__module__"):
            return object.__getattribute__(self, name)
        _refuse(self, f"has its attribute {name!r} read")

    def __setattr__(self, name: str, value: Any) -> None:
        _refuse(self, f"has its attribute {name!r} set")

    def __repr__(self) -> str:
        return f"<{_named(self)}, known only during the run>"


def _ref(placeholder: Placeholder) -> Ref | ParameterRef:
    ref: Ref | ParameterRef = object.__getattribute__(placeholder, "_ref")
    return ref


def _parts(ref: Ref | ParameterRef) -> tuple[str]:
    return (ref.node,) if isinstance(ref, Ref) else (ref.parameter,)


def _named(placeholder: Placeholder) -> str:
    ref = _ref(placeholder)
    index = "".join(f"[{part!r}]" for part in ref.path)
    return f"the result{index} of {ref.node!r}" if isinstance(ref, Ref) else f"the parameter {ref.parameter!r}{index}"


def _refuse(placeholder: Placeholder, what: str) -> NoReturn:
    raise PlaceholderError(
        f"{_named(placeholder)} {what} in the pipeline function; it has no value before the run.\n"
        "Hint: do that in a task, and pass the value to it."
    )


def _refusing(method: str, what: str) -> Callable[..., Any]:
    def refuse(self: Placeholder, *_: Any) -> NoReturn:
        _refuse(self, what)

    refuse.__name__ = method
    return refuse


_OPERATORS = (
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod pow rpow matmul rmatmul and rand or ror xor rxor "
    "lshift rlshift rshift rrshift neg pos abs invert eq ne lt le gt ge"
)
_REFUSED = {
    **{f"__{name}__": "is used with an operator" for name in _OPERATORS.split()},
    **{f"__{name}__": "is used as a number" for name in "int float complex index round trunc floor ceil".split()},
    "__bool__": "is tested for truth (if, and, or, not, while)",
    "__len__": "has its length taken",
    "__iter__": "is iterated or unpacked",
    "__next__": "is iterated or unpacked",
    "__contains__": "is searched with `in`",
    "__call__": "is called",
    "__str__": "is made a text (str, f-string)",
    "__format__": "is made a text (str, f-string)",
    "__bytes__": "is made bytes",
    "__hash__": "is used as a key or in a set",
    "__enter__": "is used in a `with` block",
    "__await__": "is awaited",
    "__setitem__": "has an item set",
    "__delitem__": "has an item deleted",
    "__reduce_ex__": "is pickled or copied",
}
for _method, _what in _REFUSED.items():
    setattr(Placeholder, _method, _refusing(_method, _what))


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
    """

    name: str
    kind: Kind
    call: Any
    arguments: Mapping[str, Any]
    after: tuple[str, ...] = ()
    batch: int | None = None

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
        executor = self.call.executor if isinstance(self.call, Task) else "local"
        return executor if isinstance(executor, Executor) else _named_executor(executor)

    @cached_property
    def locations(self) -> tuple[Location, ...]:
        """Sources and sinks that it is given, or that its function refers to."""
        found = [leaf for leaf in leaves(self.arguments) if isinstance(leaf, Location)]
        if isinstance(self.call, Sink):
            found.append(self.call)
        if isinstance(self.call, Task):
            found += [each for each in referred(self.call.fn) if isinstance(each, Location)]
        return tuple(dict.fromkeys(found))

    @property
    def reads(self) -> tuple[Source, ...]:
        """Sources among its locations."""
        return tuple(each for each in self.locations if isinstance(each, Source))

    @property
    def writes(self) -> tuple[Sink, ...]:
        """Sinks among its locations."""
        return tuple(each for each in self.locations if isinstance(each, Sink))


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
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for upstream in node.inputs:
                found[upstream].append(node.name)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def downstream(self) -> Mapping[str, tuple[str, ...]]:
        """For each node the nodes that wait for it."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for upstream in node.upstream:
                found[upstream].append(node.name)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def computed(self) -> Mapping[str, tuple[str, ...]]:
        """For each node why its frames are computed in it; an empty tuple means that they stay lazy into their one consumer."""
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
        times = sum(2 if self._is_broadcast(node.name, each) else 1 for each in consumers) + (node.name in self.returned)
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

    def check_travel(self, where: str) -> None:
        """Raise `OptionError` for `materialize=False` on a task whose frames have to leave the process."""
        for node in self.nodes.values():
            if isinstance(node.call, Task) and node.call.materialize is False and (must := self._must_compute(node)):
                raise OptionError(
                    f"{where}: task {node.name!r} has materialize=False, and its frames have to be computed: {must[0]}.\n"
                    "Hint: remove materialize=False."
                )

    @staticmethod
    def _is_broadcast(name: str, consumer: Node) -> bool:
        return consumer.kind == "map" and any(
            isinstance(value, Unmapped) and any(isinstance(leaf, Ref) and leaf.node == name for leaf in leaves(value.value))
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
        for location in self.locations:
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
                f"{where}: {writer!r} writes {sink.bucket}/{sink.path} and {other!r} {verb} {location.bucket}/{location.path}, "
                "which may be the same data, and nothing says which comes first.\n"
                f"Hint: pass what one makes to the other (write(...) gives the source to read back), or use depends_on."
            )

    def chain(self, name: str) -> tuple[str, ...]:
        """Return the tasks whose work is part of the query that is run in node `name`, the node itself last."""
        found: dict[str, None] = {}
        pending = [name]
        while pending:
            node = pending.pop()
            if node not in found:
                found[node] = None
                pending += [each for each in self.nodes[node].inputs if not self.computed[each]]
        return tuple(each for each in self.nodes if each in found)

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


def leaves(value: Any) -> list[Any]:
    """Return all that stands in lists, tuples, dicts and `Unmapped` of `value`."""
    if isinstance(value, Mapping):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, Unmapped):
        return leaves(value.value)
    return [value]


def is_cached(task: Task[..., Any]) -> bool:
    """Whether results of earlier runs may stand for those of this task."""
    return task.cache or any(task.options.get(name) is not None for name in CACHE_OPTIONS)


@lru_cache(maxsize=None)
def _named_executor(name: str) -> Executor:
    executor: Executor = EXECUTORS.load(name)()
    return executor


def executor_name(task: Task[..., Any]) -> str:
    """Return the name of a task's executor."""
    return task.executor if isinstance(task.executor, str) else task.executor.name


@lru_cache(maxsize=None)
def referred(function: Callable[..., Any]) -> tuple[Any, ...]:
    """Return what a function's code refers to, itself first: globals, closure, defaults, and the same of the user's functions it calls.

    Args:
        function: A function of the user's.
    """
    found: dict[int, Any] = {}
    pending: list[Any] = [function]
    while pending:
        given = pending.pop(0)
        if isinstance(given, Task):
            given = given.fn
        if id(given) in found:
            continue
        found[id(given)] = given
        if not inspect.isfunction(given):
            continue
        names = _names(given.__code__)
        values: list[Any] = [*(given.__defaults__ or ()), *(given.__kwdefaults__ or {}).values()]
        values += [cell.cell_contents for cell in given.__closure__ or () if _filled(cell)]
        values += [given.__globals__[name] for name in names if name in given.__globals__]
        if hasattr(given, "__wrapped__"):
            values.append(given.__wrapped__)
        values += [
            getattr(value, name)
            for value in values
            if inspect.ismodule(value) and is_user_code(value.__name__)
            for name in names
            if name in vars(value)
        ]
        pending += [
            leaf
            for leaf in leaves(values)
            if isinstance(leaf, Task | Location) or (inspect.isfunction(leaf) and is_user_code(leaf.__module__))
        ]
        found |= {id(leaf): leaf for leaf in leaves(values) if isinstance(leaf, str | int | float | bool | bytes | None)}
    return tuple(found.values())


@lru_cache(maxsize=None)
def is_user_code(module: str) -> bool:
    """Whether a module belongs to the user: neither the standard library nor an installed distribution."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__":
        return True
    installed = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return file is not None and not module.startswith("glacier_prefect") and not any(file.startswith(path) for path in installed)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  reading it tells
    except ValueError:
        return False
    return True


def _names(code: Any) -> list[str]:
    names = list(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names += _names(constant)
    return names


class Trace:
    """Records the calls that a pipeline function makes. One instance for each trace."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.calls: list[Node] = []
        self._names: set[str] = set()
        self._count: dict[str, int] = defaultdict(lambda: 1)
        self._owners: dict[str, Any] = {}

    def call_task(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Placeholder:
        """Record the call of a task."""
        return self._add(task.name, "task", task, self._frozen(task.bind(args, kwargs), task.name))

    def map_task(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], batch: int | None) -> Placeholder:
        """Record a mapped call of a task."""
        arguments = self._frozen(task.bind(args, kwargs), task.name)
        lengths = set()
        items = 0
        for parameter, value in arguments.items():
            if isinstance(value, Unmapped):
                continue
            if not isinstance(value, list | tuple | Ref | ParameterRef):
                raise ArgumentsError(
                    f"map of task {task.name!r}: {parameter} is {value!r:.80} ({type(value).__name__}); items are a list, or a task's result.\n"
                    "Hint: wrap what every run gets as a whole in unmapped(...)."
                )
            items += 1
            if isinstance(value, list | tuple):
                lengths.add(len(value))
        if not items:
            raise ArgumentsError(f"map of task {task.name!r} has no list of items; each argument is unmapped(...).")
        if len(lengths) > 1:
            raise ArgumentsError(f"map of task {task.name!r} has lists of different lengths: {sorted(lengths)}.")
        return self._add(task.name, "map", task, arguments, batch=batch)

    def call_pipeline(self, pipeline: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Placeholder:
        """Record the call of another pipeline."""
        try:
            bound = pipeline.graph.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(f"Pipeline {pipeline.name!r} cannot be called so: {error}.") from None
        return self._add(pipeline.name, "flow", pipeline, self._frozen(dict(bound.arguments), pipeline.name))

    def write(self, sink: Sink, frame: Any) -> Placeholder:
        """Record the write of a sink."""
        if not isinstance(frame, Placeholder):
            raise ArgumentsError(
                f"write() of {sink} takes the result of a task in a pipeline function, not {type(frame).__name__}: {frame!r:.80}\n"
                "Hint: make the frame in a task and pass its result."
            )
        return self._add(f"write-{sink.name}", "sink", sink, self._frozen({"frame": frame}, f"write() of {sink}"))

    def _add(self, name: str, kind: Kind, call: Any, arguments: Mapping[str, Any], batch: int | None = None) -> Placeholder:
        owner = call.fn if isinstance(call, Task) else None if isinstance(call, Sink) else call
        if (known := self._owners.setdefault(name, owner)) is not owner:
            raise NameTakenError(
                f"{self.where} has two different things named {name!r}: {_place(known)} and {_place(owner)}.\n"
                f"Hint: rename one, or give it a name with with_options(name=...)."
            )
        unique = name
        while unique in self._names:
            self._count[name] += 1
            unique = f"{name}-{self._count[name]}"
        self._names.add(unique)
        self.calls.append(Node(name=unique, kind=kind, call=call, arguments=arguments, batch=batch))
        return Placeholder(Ref(unique), self)

    def _frozen(self, arguments: dict[str, Any], where: str) -> dict[str, Any]:
        return {name: self.frozen(value, f"{name} of {where!r}") for name, value in arguments.items()}

    def frozen(self, value: Any, where: str) -> Any:
        """Return a copy of `value` with references in place of placeholders."""

        def leaf(item: Any, _: tuple[Any, ...]) -> Any:
            if type(item) is Unmapped:
                return Unmapped(self.frozen(item.value, where))
            if type(item) is not Placeholder:
                if isinstance(item, set | frozenset) and any(type(each) is Placeholder for each in item):
                    raise PlaceholderError(f"{where} has a task's result in a set; use a list, tuple or dict.")
                return item
            if object.__getattribute__(item, "_trace") is not self:
                raise PlaceholderError(
                    f"{where} is {_named(item)} of another pipeline function; a result can only be used in the function that it was made in."
                )
            return _ref(item)

        if isinstance(value, list):
            value = list(value)
        elif type(value) is dict:
            value = dict(value)
        return map_leaves(value, leaf)

    def graph(self, result: Any, signature: inspect.Signature) -> Graph:
        """Return the checked graph of what was recorded."""
        returned = self.frozen(result, f"the result of {self.where}")
        self._call_dependencies()
        nodes = {node.name: node for node in self._ordered()}
        graph = Graph(nodes=_sorted(nodes, self.where), result=returned, signature=signature)
        graph.check(self.where)
        return graph

    def _call_dependencies(self) -> None:
        """Call each dependency that the function did not, if it needs no argument."""
        pending = [node.call for node in self.calls if isinstance(node.call, Task)]
        made = {id(call) for call in pending} | {id(call.origin) for call in pending}
        while pending:
            task = pending.pop(0)
            for dependency in task.depends_on:
                if id(dependency) in made:
                    continue
                needed = [
                    each.name
                    for each in dependency.signature.parameters.values()
                    if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
                ]
                if needed:
                    raise DependencyError(
                        f"Task {task.name!r} depends on {dependency.name!r}, which {self.where} does not call and which needs "
                        f"{', '.join(needed)}.\nHint: call {dependency.name}(...) in the pipeline function."
                    )
                made.add(id(dependency))
                self.call_task(dependency, (), {})
                pending.append(dependency)

    def _ordered(self) -> Iterator[Node]:
        """Yield the nodes with the edges that `depends_on` adds."""
        calls: dict[int, list[str]] = defaultdict(list)
        for node in self.calls:
            if isinstance(node.call, Task):
                calls[id(node.call)].append(node.name)
                if node.call.origin is not None:
                    calls[id(node.call.origin)].append(node.name)
        for node in self.calls:
            if isinstance(node.call, Task) and node.call.depends_on:
                after = dict.fromkeys(name for each in node.call.depends_on for name in calls[id(each)])
                node = Node(
                    name=node.name, kind=node.kind, call=node.call, arguments=node.arguments, after=tuple(after), batch=node.batch
                )
            yield node


def _sorted(nodes: dict[str, Node], where: str) -> dict[str, Node]:
    sorter = graphlib.TopologicalSorter({name: node.upstream for name, node in nodes.items()})
    try:
        order = list(sorter.static_order())
    except graphlib.CycleError as error:
        raise CycleError(f"{where} has tasks that wait for each other: {' -> '.join(reversed(error.args[1]))}.") from None
    return {name: nodes[name] for name in order}


def _place(call: Any) -> str:
    code = getattr(inspect.unwrap(call), "__code__", None) if callable(call) else None
    return f"{call.__qualname__} ({code.co_filename}:{code.co_firstlineno})" if code else repr(call)


def trace(function: Callable[..., Any], where: str) -> Graph:
    """Call a pipeline function with placeholders and return the graph of what it called.

    Args:
        function: The pipeline function.
        where: The pipeline, for messages.
    """
    signature = inspect.signature(function)
    recorder = Trace(where)
    given: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DefinitionError(f"{where} has the parameter {str(parameter)!r}; parameters of a pipeline have names of their own.")
        given[parameter.name] = Placeholder(ParameterRef(parameter.name), recorder)
    token = tracing.active.set(recorder)
    try:
        result = function(**given)
    finally:
        tracing.active.reset(token)
    return recorder.graph(result, signature)


def declared(tasks: tuple[Task[..., Any], ...], where: str) -> Graph:
    """Return the graph of the closure of `depends_on` of some tasks; each task is one node.

    Args:
        tasks: The last tasks.
        where: The pipeline, for messages.
    """
    recorder = Trace(where)
    placeholders: dict[int, Placeholder] = {}
    stack: list[tuple[Task[..., Any], bool]] = [(task, False) for task in reversed(tasks)]
    while stack:
        task, ready = stack.pop()
        if id(task) in placeholders:
            continue
        if not ready:
            stack.append((task, True))
            stack += [(dependency, False) for dependency in reversed(task.depends_on) if id(dependency) not in placeholders]
            continue
        results = {dependency.name: placeholders[id(dependency)] for dependency in task.depends_on}
        placeholders[id(task)] = recorder.call_task(task, (), _filled_parameters(task, results, where))
    results = [placeholders[id(task)] for task in tasks]
    return recorder.graph(results[0] if len(results) == 1 else results, inspect.Signature())


def _filled_parameters(task: Task[..., Any], results: dict[str, Placeholder], where: str) -> dict[str, Any]:
    """Return which dependency's result each parameter gets: by name first, then by position."""
    given = {name: results[name] for name in task.signature.parameters if name in results}
    left = [result for name, result in results.items() if name not in given]
    positional = [
        each.name
        for each in task.signature.parameters.values()
        if each.name not in given and each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    keyword_only = [
        each.name
        for each in task.signature.parameters.values()
        if each.name not in given and each.default is each.empty and each.kind is each.KEYWORD_ONLY
    ]
    if len(positional) > len(left) or keyword_only:
        unfilled = positional[len(left) :] + keyword_only
        raise ArgumentsError(
            f"{where}: task {task.name!r} has parameters that no dependency fills: {', '.join(unfilled)}. "
            f"Its dependencies are {', '.join(map(repr, results)) or 'none'}.\n"
            "Hint: name a parameter like the task whose result it takes, add the task to depends_on, or give it a default."
        )
    return given | dict(zip(positional, left, strict=False))
