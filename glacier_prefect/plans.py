"""What happens around a task's body where it runs: opening its inputs, and settling what it returns.

A `Plan` is the part of the graph that this needs; it travels with the body, so it knows nothing of Prefect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from glacier_prefect.errors import ArgumentsError, SchemaError, nearest
from glacier_prefect.exchange import FrameLocation, Packed, Pick, hand_over, is_frame, is_lazy, map_leaves
from glacier_prefect.graph import Graph, Node, Ref, is_cached, leaves
from glacier_prefect.sources.checks import check_rows, check_schema
from glacier_prefect.tasks import Task, Unmapped

NAMED_TASKS = 100  # of a longer query, the last so many are named


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one consumer takes of a node's result.

    Attributes:
        path: Indexes into the result.
        columns: The columns that it reads, None for all.
    """

    path: tuple[Any, ...]
    columns: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How one node treats its inputs and its result.

    Attributes:
        node: Name of the node.
        computed: Whether frames of the result are computed here.
        packed: Whether the whole result leaves the process.
        needs: What the consumers take.
        columns: The columns that the task reads of its inputs, by parameter.
        schema: Declared schema of the result.
        checks: Checks on the rows of the result.
        keep: Whether computed frames outlive the run, as part of a cached result.
        feeds_cache: Whether what stays lazy here is part of a cache key further down.
        chain: Tasks whose work is part of the query that is run here, itself last.
        computed_in: The node that computes what stays lazy here.
    """

    node: str
    computed: bool
    packed: bool
    needs: tuple[Need, ...]
    columns: Mapping[str, tuple[str, ...]]
    schema: Mapping[str, Any] | None
    checks: tuple[Any, ...]
    keep: bool
    feeds_cache: bool
    chain: tuple[str, ...]
    computed_in: str

    def open(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments with frames opened and cut to the columns that the task reads."""
        values = {name: opened(value) for name, value in arguments.items()}
        for parameter, columns in self.columns.items():
            if parameter in values:
                values[parameter] = map_leaves(values[parameter], partial(self._cut, columns, parameter))
        return values

    def _cut(self, columns: tuple[str, ...], parameter: str, leaf: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(leaf, Unmapped):
            return Unmapped(map_leaves(leaf.value, partial(self._cut, columns, parameter)))
        if not is_frame(leaf):
            return leaf
        there = leaf.collect_schema()
        for name in columns:
            if name not in there:
                raise SchemaError(
                    f"Task {self.node!r} reads column {name!r} of {parameter!r}, which is not there. "
                    f"{nearest(name, there)}"
                )
        return leaf.select(columns)

    def settle(self, result: Any) -> Any:
        """Compute, check or leave lazy each frame of a result.

        Errors that are already certain show here: a missing column or a wrong type is an error of this task.
        """
        settled = map_leaves(result, self._settle_leaf)
        return Packed.of(settled) if self.packed else settled

    def _settle_leaf(self, leaf: Any, path: tuple[Any, ...]) -> Any:
        if not is_frame(leaf):
            return leaf
        where = f"The result of task {self.node!r}"
        schema = leaf.collect_schema()
        check_schema(schema, self.schema, where)
        takers = [need for need in self.needs if path[: len(need.path)] == need.path]
        if is_lazy(leaf) and not (self.computed and (takers or self.checks or self.keep)):
            return leaf
        if not is_lazy(leaf) and not self.packed and not self.keep:
            check_rows(leaf.lazy(), self.checks, where)
            return leaf
        columns: list[str] | None = None
        whole = self.checks or self.keep  # what is kept may have other consumers in a later run
        if takers and not whole and all(need.columns is not None and need.path == path for need in takers):
            columns = [name for need in takers for name in need.columns or ()]
        location = hand_over(leaf, columns, keep=self.keep)
        check_rows(location.open().lazy(), self.checks, where)
        return location


def opened(value: Any) -> Any:
    """Return `value` with all that travelled in it opened: frames as scans, picked parts of results."""

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, Unmapped):
            return Unmapped(opened(item.value))
        if isinstance(item, Pick):
            return item.open(opened)
        if isinstance(item, FrameLocation | Packed):
            return opened(item.open()) if isinstance(item, Packed) else item.open()
        return item

    return map_leaves(value, leaf)


@dataclass(frozen=True)
class _Part:
    """Stands before a value in a list of two and says what was around it: a `Pick`, or `Unmapped` if `path` is None."""

    path: tuple[Any, ...] | None


def spread(value: Any) -> Any:
    """Return `value` with lists in place of each `Pick` and `Unmapped`: Dask finds the futures in lists only."""

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, Pick | Unmapped):
            return [_Part(item.path if isinstance(item, Pick) else None), spread(item.value)]
        return item

    return map_leaves(value, leaf)


def gathered(value: Any) -> Any:
    """Return what `spread` was given."""
    if type(value) is list and len(value) == 2 and isinstance(value[0], _Part):
        inner = gathered(value[1])
        return Unmapped(inner) if value[0].path is None else Pick(inner, value[0].path)
    if type(value) is dict:
        return {key: gathered(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(gathered(item) for item in value)
    return value


def make_plans(graph: Graph) -> dict[str, Plan]:
    """Return the plan of each node."""
    computed_in, feeds_cache = _further_down(graph)
    chains = _chains(graph)
    plans = {}
    for name, node in graph.nodes.items():
        task = node.call if isinstance(node.call, Task) else None
        needs = [need for consumer in graph.consumers[name] for need in _needs(graph.nodes[consumer], name)]
        if name in graph.returned:
            needs += [Need(path=ref.path, columns=None) for ref in _refs(graph.result, name)]
        if node.kind == "map":  # a task run makes one item of the list that the path leads into
            needs = [replace(need, path=need.path[1:]) for need in needs]
        plans[name] = Plan(
            node=name,
            computed=bool(graph.computed[name]),
            packed=graph.runner is not None,
            needs=tuple(needs),
            columns=task.columns if task else {},
            schema=task.schema if task else None,
            checks=task.checks if task else (),
            keep=task is not None and is_cached(task),
            feeds_cache=feeds_cache[name],
            chain=chains[name],
            computed_in=computed_in[name],
        )
    return plans


def _further_down(graph: Graph) -> tuple[dict[str, str], dict[str, bool]]:
    """Return for each node where what stays lazy in it is computed, and whether that is part of a cache key."""
    computed_in: dict[str, str] = {}
    feeds_cache: dict[str, bool] = {}
    for name in reversed(list(graph.nodes)):
        if graph.computed[name] or not graph.consumers[name]:
            computed_in[name], feeds_cache[name] = name, False
            continue
        consumer = graph.consumers[name][0]
        call = graph.nodes[consumer].call
        computed_in[name] = computed_in[consumer]
        feeds_cache[name] = feeds_cache[consumer] or (isinstance(call, Task) and is_cached(call))
    return computed_in, feeds_cache


def _chains(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return for each node the tasks whose work is part of the query that is run in it, itself last."""
    places = {name: place for place, name in enumerate(graph.nodes)}
    chains: dict[str, tuple[str, ...]] = {}
    for name, node in graph.nodes.items():
        before = {each for upstream in node.inputs if not graph.computed[upstream] for each in chains[upstream]}
        chains[name] = (*sorted(before, key=places.__getitem__)[-NAMED_TASKS:], name)
    return chains


def _needs(consumer: Node, name: str) -> list[Need]:
    columns = consumer.call.columns if isinstance(consumer.call, Task) else {}
    return [
        Need(path=ref.path, columns=columns.get(parameter))
        for parameter, value in consumer.arguments.items()
        for ref in _refs(value, name)
    ]


def _refs(value: Any, name: str) -> list[Ref]:
    return [leaf for leaf in leaves(value) if isinstance(leaf, Ref) and leaf.node == name]


def check_items(name: str, bound: Mapping[str, Any]) -> None:
    """Raise `ArgumentsError` if a frame stands where a mapped task expects a list of items."""
    for parameter, value in bound.items():
        if not isinstance(value, Unmapped) and (is_frame(value) or isinstance(value, FrameLocation)):
            raise ArgumentsError(
                f"map of task {name!r}: {parameter} is a frame, which is not a list of items.\n"
                "Hint: split it into a list of frames in a task, or give it to every run with unmapped(...)."
            )
