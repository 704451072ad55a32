"""How a pipeline function, or the dependencies that tasks declare, become a graph: calls are recorded, then ordered and
checked.
"""

from __future__ import annotations

import copy
import graphlib
import inspect
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from glacier_prefect import tracing
from glacier_prefect.errors import (
    ArgumentsError,
    CycleError,
    DefinitionError,
    DependencyError,
    GlacierError,
    NameTakenError,
    PlaceholderError,
)
from glacier_prefect.graph.nodes import Graph, Kind, Node
from glacier_prefect.graph.placeholders import ParameterRef, Placeholder, Ref, named, ref_of
from glacier_prefect.graph.references import filled, is_record, leaves
from glacier_prefect.sources import Sink
from glacier_prefect.tasks import Task, Unmapped


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
        return self.add_task(task, task.bind(args, kwargs))

    def add_task(self, task: Task[..., Any], arguments: Mapping[str, Any]) -> Placeholder:
        """Record the call of a task with arguments by parameter name."""
        return self._add(task.name, "task", task, self._frozen(arguments, task.name))

    def map_task(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], batch: int | None
    ) -> Placeholder:
        """Record a mapped call of a task."""
        arguments = {}
        lengths = set()
        items = 0
        for parameter, given in task.bind(args, kwargs).items():
            value = self.frozen(given.value if type(given) is Unmapped else given, f"{parameter} of {task.name!r}")
            arguments[parameter] = Unmapped(value) if type(given) is Unmapped else value
            if type(given) is Unmapped:
                continue
            if not isinstance(value, list | tuple | Ref | ParameterRef):
                raise ArgumentsError(
                    f"map of task {task.name!r}: {parameter} is {value!r:.80} ({type(value).__name__}); items are a "
                    "list, or a task's result.\n"
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
                f"write() of {sink} takes the result of a task in a pipeline function, not {type(frame).__name__}: "
                f"{frame!r:.80}\n"
                "Hint: make the frame in a task and pass its result."
            )
        return self._add(f"write-{sink.name}", "sink", sink, self._frozen({"frame": frame}, f"write() of {sink}"))

    def _add(
        self, name: str, kind: Kind, call: Any, arguments: Mapping[str, Any], batch: int | None = None
    ) -> Placeholder:
        if kind != "sink":  # which is named by its path, and that says too little to insist on
            owner = call.fn if isinstance(call, Task) else call
            if (known := self._owners.setdefault(name, owner)) is not owner:
                raise NameTakenError(
                    f"{self.where} has two different things named {name!r}: {_place(known)} and {_place(owner)}.\n"
                    "Hint: rename one, or give it a name with with_options(name=...)."
                )
        unique = name
        while unique in self._names:
            self._count[name] += 1
            unique = f"{name}-{self._count[name]}"
        self._names.add(unique)
        self.calls.append(Node(name=unique, kind=kind, call=call, arguments=arguments, batch=batch))
        return Placeholder(Ref(unique), self)

    def _frozen(self, arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
        return {name: self.frozen(value, f"{name} of {where!r}") for name, value in arguments.items()}

    def frozen(self, value: Any, where: str) -> Any:
        """Return a copy of `value` with references in place of placeholders; its lists, tuples and dicts are copied
        too.

        Args:
            value: What is passed on.
            where: To what, for messages.
        """
        if type(value) is Placeholder:
            if object.__getattribute__(value, "_trace") is not self:
                raise PlaceholderError(
                    f"{where} is {named(value)} of another pipeline function; a result can only be used in the "
                    "function that it was made in."
                )
            return ref_of(value)
        if isinstance(value, dict):
            made = copy.copy(value)
            for key, item in value.items():  # not update(), which counts up in a Counter
                made[key] = self.frozen(item, where)
            return made
        if isinstance(value, tuple):
            items = [self.frozen(item, where) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items) if type(value) is tuple else value
        if isinstance(value, list):
            copied = copy.copy(value)
            copied[:] = [self.frozen(item, where) for item in value]
            return copied
        if isinstance(value, Unmapped):
            raise ArgumentsError(
                f"{where} is unmapped(...), which has a meaning only as an argument of map.\n"
                "Hint: pass the value itself."
            )
        if isinstance(value, Task):
            raise ArgumentsError(f"{where} is {value!r} itself, not its result.\nHint: call it: {value.name}(...).")
        if isinstance(value, set | frozenset) or is_record(value):
            if any(type(leaf) is Placeholder for leaf in leaves(value)):
                raise PlaceholderError(
                    f"{where} has a task's result or a parameter inside a {type(value).__name__}; it may be inside a "
                    "list, tuple or dict."
                )
            return copy.copy(value) if isinstance(value, set) else value
        return value

    def graph(self, result: Any, signature: inspect.Signature) -> Graph:
        """Return the checked graph of what was recorded."""
        returned = self.frozen(result, f"the result of {self.where}")
        self._call_dependencies()
        for node in self.calls:
            _check_closure(node, self.where)
        nodes = {node.name: node for node in self._ordered()}
        graph = Graph(nodes=_sorted(nodes, self.where), result=returned, signature=signature)
        graph.check(self.where)
        return graph

    def _call_dependencies(self) -> None:
        """Call each dependency that the function did not, if it needs no argument."""
        pending = deque(node.call for node in self.calls if isinstance(node.call, Task))
        made = {id(call) for call in pending} | {id(call.origin) for call in pending}
        while pending:
            task = pending.popleft()
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
                        f"Task {task.name!r} depends on {dependency.name!r}, which {self.where} does not call and "
                        "which needs "
                        f"{', '.join(needed)}.\nHint: call {dependency.name}(...) in the pipeline function."
                    )
                made.add(id(dependency))
                self.call_task(dependency, (), {})
                pending.append(dependency)

    def _ordered(self) -> Iterator[Node]:
        """Yield the nodes with the edges that `depends_on` adds."""
        calls: dict[int, list[str]] = defaultdict(list)
        for node in self.calls:
            if isinstance(task := node.call, Task):
                calls[id(task)].append(node.name)
                # `load.with_options(depends_on=[load])` waits for the other calls of `load`, not for itself.
                if task.origin is not None and task.origin not in task.depends_on:
                    calls[id(task.origin)].append(node.name)
        for node in self.calls:
            if isinstance(node.call, Task) and node.call.depends_on:
                node = replace(
                    node, after=tuple(dict.fromkeys(name for each in node.call.depends_on for name in calls[id(each)]))
                )
            yield node


def _check_closure(node: Node, where: str) -> None:
    """Raise `PlaceholderError` if a task defined in the pipeline function takes a value of the run from around it."""
    if not isinstance(node.call, Task) or not inspect.isfunction(function := node.call.fn):
        return
    around = [cell.cell_contents for cell in function.__closure__ or () if filled(cell)]
    for value in leaves([*around, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]):
        if type(value) is Placeholder:
            raise PlaceholderError(
                f"{where}: task {node.name!r} uses {named(value)} of the pipeline function around it, which has no "
                "value there.\n"
                "Hint: pass it to the task as an argument."
            )


def _sorted(nodes: dict[str, Node], where: str) -> dict[str, Node]:
    sorter = graphlib.TopologicalSorter({name: node.upstream for name, node in nodes.items()})
    try:
        order = list(sorter.static_order())
    except graphlib.CycleError as error:
        raise CycleError(f"{where} has tasks that wait for each other: {' -> '.join(error.args[1])}.") from None
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
            raise DefinitionError(
                f"{where} has the parameter {str(parameter)!r}; parameters of a pipeline have names of their own."
            )
        given[parameter.name] = Placeholder(ParameterRef(parameter.name), recorder)
    token = tracing.active.set(recorder)
    try:
        result = function(**given)
    except TypeError as error:  # what a library says to whom a placeholder is passed
        if isinstance(error, GlacierError) or Placeholder.__name__ not in str(error):
            raise
        raise PlaceholderError(
            f"{where} passes a task's result or a parameter to code that needs its value: {error}\n"
            "Hint: do that in a task."
        ) from error
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
            stack += [
                (dependency, False) for dependency in reversed(task.depends_on) if id(dependency) not in placeholders
            ]
            continue
        results = [(dependency.name, placeholders[id(dependency)]) for dependency in task.depends_on]
        placeholders[id(task)] = recorder.add_task(task, _filled_parameters(task, results, where))
    last = [placeholders[id(task)] for task in tasks]
    return recorder.graph(last[0] if len(last) == 1 else last, inspect.Signature())


def _filled_parameters(
    task: Task[..., Any], results: list[tuple[str, Placeholder]], where: str
) -> dict[str, Placeholder]:
    """Return which dependency's result each parameter gets: by name first, then by position."""
    parameters = [
        each for each in task.signature.parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    given: dict[str, Placeholder] = {}
    left = []
    for name, result in results:
        if name not in given and any(each.name == name for each in parameters):
            given[name] = result
        else:
            left.append(result)
    needed = [each for each in parameters if each.name not in given and each.default is each.empty]
    positional = [each.name for each in needed if each.kind is not each.KEYWORD_ONLY]
    unfilled = positional[len(left) :] + [each.name for each in needed if each.kind is each.KEYWORD_ONLY]
    if unfilled:
        raise ArgumentsError(
            f"{where}: task {task.name!r} has parameters that no dependency fills: {', '.join(unfilled)}. "
            f"Its dependencies are {', '.join(repr(name) for name, _ in results) or 'none'}.\n"
            "Hint: name a parameter like the task whose result it takes, add the task to depends_on, or give it a "
            "default."
        )
    return given | dict(zip(positional, left, strict=False))
