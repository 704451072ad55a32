"""How the result of a node becomes what the nodes after it receive.

Until it is used, the result is the state of the node's task run (or its future, with Prefect's task runners), the
`Mapped` states of a mapped task, or a `Pick` out of one of these. Frames in it stay where they are: they are opened
where a task's body runs, by `plans`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from glacier_prefect import engine  # before Prefect, which reports its import unless it is told not to

# isort: split

from prefect.client.schemas import State
from prefect.futures import PrefectFuture

from glacier_prefect.exchange import FrameLocation, Packed, Pick, is_frame, loads, map_leaves
from glacier_prefect.graph import Node, ParameterRef, Ref, leaves
from glacier_prefect.plans import check_items
from glacier_prefect.tasks import Unmapped, each_item


@dataclass(frozen=True)
class MapCall:
    """One task run of a mapped task.

    Attributes:
        name: Name of the task run.
        arguments: Its arguments.
        count: Number of items in it if it takes a batch, None if it takes one item as it is.
    """

    name: str
    arguments: dict[str, Any]
    count: int | None = None


@dataclass
class Mapped:
    """The task runs of a mapped task.

    Attributes:
        states: State (or future) of each task run.
        counts: The `count` of each.
    """

    states: list[Any]
    counts: list[int | None]

    def items(self) -> list[Any]:
        """Return what stands for the result of each item, in order."""
        items: list[Any] = []
        for state, count in zip(self.states, self.counts, strict=True):
            items += [state] if count is None else [Pick(state, (place,)) for place in range(count)]
        return items


def resolved(value: Any, states: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
    """Return a value with what stands for results, and with parameters, in place of references.

    Args:
        value: Arguments of a node, or what the pipeline returns.
        states: What stands for the result of each node.
        parameters: The run's parameters.
    """

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, Ref):
            state = states[item.node]
            if isinstance(state, Mapped):
                return Pick(state.items(), item.path)
            return Pick(state, item.path) if item.path else state
        if isinstance(item, ParameterRef):
            given = parameters[item.parameter]
            return Pick(given, item.path) if item.path else given
        return Unmapped(resolved(item.value, states, parameters)) if isinstance(item, Unmapped) else item

    return map_leaves(value, leaf)


def fetched(value: Any) -> Any:
    """Return a value with results in place of states, and the parts that are picked; frames stay where they are."""

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, State):
            return engine.value_of(item)
        if isinstance(item, Pick):
            return Pick(fetched(item.value), item.path).open(lambda part: part)
        return item

    return map_leaves(value, leaf)


def map_calls(node: Node, arguments: Mapping[str, Any]) -> list[MapCall]:
    """Return the task runs of a mapped task.

    Args:
        node: The mapped task.
        arguments: Its arguments, resolved; the nodes that they come from have completed.

    Raises:
        ArgumentsError: The arguments cannot be mapped over.
    """
    bound = {name: _items(value) for name, value in arguments.items()}
    check_items(node.name, bound)
    items = each_item(node.name, bound)
    if node.batch is None:
        return [MapCall(f"{node.name}[{place}]", item) for place, item in enumerate(items)]
    calls = []
    for start in range(0, len(items), node.batch):
        part = items[start : start + node.batch]
        call = {
            name: value if isinstance(value, Unmapped) else [item[name] for item in part]
            for name, value in bound.items()
        }
        calls.append(MapCall(f"{node.name}[{start}:{start + len(part)}]", call, len(part)))
    return calls


def _items(value: Any) -> Any:
    """Return the items of one argument of a mapped task, each as what stands for it."""
    if isinstance(value, list | tuple | Unmapped):
        return value
    if isinstance(value, Pick) and isinstance(value.value, list) and not value.path:
        return value.value  # the result of another mapped task
    found = fetched(value)
    if isinstance(found, Packed):
        found = loads(found.data)
    if not isinstance(found, list | tuple) or not isinstance(value, State | Pick):
        return found
    state, path = (value, ()) if isinstance(value, State) else (value.value, value.path)
    return [Pick(state, (*path, place)) for place in range(len(found))]


def flat(state: Any) -> list[Any]:
    """Return the states of all task runs that stand for one node's result."""
    return state.states if isinstance(state, Mapped) else [state]


def waited(state: Any) -> Any:
    """Return states in place of futures, when these are done."""
    if isinstance(state, Mapped):
        return Mapped([waited(each) for each in state.states], state.counts)
    if isinstance(state, PrefectFuture):
        state.wait()
        return state.state
    return state


def holds_frames(value: Any) -> bool:
    """Whether there is a frame in a value, handed over or not."""
    return any(is_frame(leaf) or isinstance(leaf, FrameLocation) for leaf in leaves(value))
