"""What a pipeline function may do with a value that exists only during the run: pass it on, and index it by a
constant.
"""

from __future__ import annotations

import asyncio
import copy
import json
import math
import operator
import pickle
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl
import pytest

from glacier_prefect import pipeline, task, unmapped
from glacier_prefect.errors import ArgumentsError, PlaceholderError
from glacier_prefect.graph import ParameterRef, Ref


@task
def load() -> Any:
    return {"a": [1, 2]}


@task
def use(value: Any = None, other: Any = None) -> Any:
    return value


@dataclass
class Record:
    value: Any


class Pair(NamedTuple):
    one: Any
    other: Any


class Colour(Enum):
    RED = 1


def _with_block(value: Any) -> None:
    with value:
        pass


def _set_attribute(value: Any) -> None:
    value.name = 1


def _delete_attribute(value: Any) -> None:
    del value.name


def _set_item(value: Any) -> None:
    value["a"] = 1


def _delete_item(value: Any) -> None:
    del value["a"]


def _unpack(value: Any) -> None:
    _one, _other = value


def _loop(value: Any) -> None:
    for _ in value:
        pass


def _while(value: Any) -> None:
    while value:
        pass


def _match(value: Any) -> None:
    match value:
        case 1:
            pass


def _add_to(value: Any) -> None:
    total = 1
    total += value


BINARY = [
    *["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"],
    *["eq", "ne", "lt", "le", "gt", "ge"],
]
UNARY = ["neg", "pos", "invert", "abs", "index", "not_"]
MISUSES: dict[str, Callable[[Any], Any]] = {
    **{f"{name} with a value": (lambda value, name=name: getattr(operator, name)(value, 2)) for name in BINARY},
    **{f"{name} after a value": (lambda value, name=name: getattr(operator, name)(2, value)) for name in BINARY},
    **{name: (lambda value, name=name: getattr(operator, name)(value)) for name in UNARY},
    "divmod": lambda value: divmod(value, 2),
    "divmod after a value": lambda value: divmod(2, value),
    "in-place addition": _add_to,
    "comparison with another": lambda value: value == value,
    "bool": bool,
    "if": lambda value: 1 if value else 2,
    "and": lambda value: value and 1,
    "while": _while,
    "match": _match,
    "int": int,
    "float": float,
    "complex": complex,
    "round": round,
    "trunc": math.trunc,
    "floor": math.floor,
    "ceil": math.ceil,
    "range": range,
    "list index": lambda value: [1, 2][value],
    "iteration": _loop,
    "iter": iter,
    "next": next,
    "unpacking": _unpack,
    "star": lambda value: use(*value),
    "double star": lambda value: use(**value),
    "list": list,
    "sorted": sorted,
    "sum": sum,
    "reversed": reversed,
    "len": len,
    "in it": lambda value: 1 in value,
    "in a list": lambda value: value in [1],
    "call": lambda value: value(),
    "method": lambda value: value.filter(pl.col("a") > 0),
    "attribute": lambda value: value.name,
    "getattr with default": lambda value: getattr(value, "name", None),
    "hasattr": lambda value: hasattr(value, "name"),
    "attribute set": _set_attribute,
    "attribute deleted": _delete_attribute,
    "item set": _set_item,
    "item deleted": _delete_item,
    "slice": lambda value: value[1:2],
    "index by another": lambda value: value[load()],
    "index by another in a tuple": lambda value: value[1, load()],
    "index by a list": lambda value: value[[1]],
    "index by a member of an enumeration": lambda value: value[Colour.RED],
    "f-string": lambda value: f"{value}",
    "f-string with a format": lambda value: f"{value:>5}",
    "str": str,
    "print": print,
    "percent": lambda value: "%s" % value,  # noqa: UP031
    "str.format": lambda value: "{}".format(value),  # noqa: UP032
    "bytes": bytes,
    "dict key": lambda value: {value: 1},
    "set": lambda value: {value},
    "hash": hash,
    "with block": _with_block,
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deep copy": copy.deepcopy,
    "json": json.dumps,
    "path": Path,
    "open": open,
    "await": lambda value: asyncio.run(_awaited(value)),
    "comparison in polars": lambda value: pl.LazyFrame({"a": [1]}).filter(pl.col("a") > value),
    "pl.concat": lambda value: pl.concat(value),
    "pl.concat in a list": lambda value: pl.concat([value, value]),
    "pl.DataFrame": lambda value: pl.DataFrame(value),
    "join of polars": lambda value: pl.LazyFrame({"a": [1]}).join(value, on="a"),
    "as an argument inside a dataclass": lambda value: use(Record(value)),
    "result inside a dataclass": lambda value: Record(value),
    "inside a dataclass in a list": lambda value: use([Record([value])]),
}


async def _awaited(value: Any) -> None:
    await value


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Polars asks for a text on its way to a TypeError
@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES)
@pytest.mark.parametrize("kind", ["result", "part of a result", "parameter"])
def test_a_value_of_the_run_cannot_be_used_before_it(misuse: Callable[[Any], Any], kind: str) -> None:
    with pytest.raises(PlaceholderError) as caught:

        @pipeline
        def wrong(number: int = 1) -> Any:
            return misuse(
                {"result": load, "part of a result": lambda: load()["a"], "parameter": lambda: number}[kind]()
            )

    message = str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert "task" in message or "inside a list, tuple or dict" in message
    assert (
        {"result": "'load", "part of a result": "'load", "parameter": "'number'"}[kind] in message
        or "inside a" in message
        or "Placeholder" in message
    )


def test_the_message_names_the_value_and_says_to_do_that_in_a_task() -> None:
    with pytest.raises(PlaceholderError) as caught:

        @pipeline
        def wrong(limit: int) -> Any:
            if limit > 5:
                load()

    assert str(caught.value) == (
        "the parameter 'limit' is used with an operator in the pipeline function; it has no value before the run.\n"
        "Hint: do that in a task, and pass the value to it."
    )


def test_an_unpacked_result_is_told_to_be_indexed() -> None:
    with pytest.raises(PlaceholderError, match=r"`result\[0\]`"):

        @pipeline
        def wrong() -> Any:
            one, _other = load()
            return one


def test_a_result_may_be_passed_on_alone_inside_containers_and_by_constant_index() -> None:
    @pipeline
    def right(limit: dict[str, int]) -> Any:
        value = load()
        use(value, [value["a"], (value["a"][0], {"key": value[-1]})])
        return use(Pair(value, limit["top"]), {"p": limit, "n": value[None], "t": value[1, "x"]})

    first, second = (right.graph.nodes[name].arguments for name in ("use", "use-2"))
    assert first == {
        "value": Ref("load"),
        "other": [Ref("load", ("a",)), (Ref("load", ("a", 0)), {"key": Ref("load", (-1,))})],
    }
    assert second == {
        "value": Pair(Ref("load"), ParameterRef("limit", ("top",))),
        "other": {"p": ParameterRef("limit"), "n": Ref("load", (None,)), "t": Ref("load", ((1, "x"),))},
    }
    assert right.graph.nodes["use"].inputs == {"load": ("value", "other")}


def test_a_placeholder_can_be_shown_by_a_debugger() -> None:
    seen = []

    @pipeline
    def shown(limit: int) -> None:
        seen.extend([repr(load()["a"][0]), repr(limit)])

    assert seen == [
        "<the result['a'][0] of 'load', known only during the run>",
        "<the parameter 'limit', known only during the run>",
    ]


def test_a_result_of_another_pipeline_function_cannot_be_used() -> None:
    kept = []

    @pipeline
    def first() -> None:
        kept.append(load())

    with pytest.raises(PlaceholderError, match="the result of 'load' of another pipeline function"):

        @pipeline
        def second() -> Any:
            return use(kept[0])

    with pytest.raises(PlaceholderError, match="no value before the run"):
        use(kept[0]) + 1


def test_what_is_passed_is_frozen_when_it_is_passed() -> None:
    nested = {"list": [[1, 2]], "tuple": ([3],), "set": {4}, "pair": Pair([5], 6)}

    @pipeline
    def frozen() -> Any:
        use(nested)
        nested["list"][0].append(9)  # type: ignore[index, union-attr]
        nested["tuple"][0].append(9)  # type: ignore[index, union-attr]
        nested["set"].add(9)  # type: ignore[union-attr]
        nested["pair"].one.append(9)  # type: ignore[union-attr]
        nested["new"] = 9  # type: ignore[assignment]

    assert frozen.graph.nodes["use"].arguments["value"] == {
        "list": [[1, 2]],
        "tuple": ([3],),
        "set": {4},
        "pair": Pair([5], 6),
    }


def test_containers_of_other_kinds_stay_what_they_are() -> None:
    counted, ordered, shared = Counter("aab"), OrderedDict(b=1, a=[2]), MappingProxyType({"a": 1})

    @pipeline
    def frozen() -> Any:
        use(counted, ordered)
        use(shared, Record([1]))

    first, second = (frozen.graph.nodes[name].arguments for name in ("use", "use-2"))
    assert (first["value"], type(first["value"])) == (counted, Counter)
    assert (first["other"], type(first["other"])) == (ordered, OrderedDict)
    assert first["other"]["a"] is not ordered["a"]
    assert second == {"value": shared, "other": Record([1])}


def test_the_task_itself_in_place_of_its_result_is_an_error() -> None:
    with pytest.raises(
        ArgumentsError, match=r"value of 'use' is <Task 'load'> itself, not its result.\nHint: call it: load\(...\)"
    ):

        @pipeline
        def wrong() -> Any:
            return use(load)


def test_unmapped_has_no_meaning_outside_map() -> None:
    with pytest.raises(ArgumentsError, match="only as an argument of map"):

        @pipeline
        def wrong() -> Any:
            return use(unmapped(1))

    with pytest.raises(ArgumentsError, match="only as an argument of map"):

        @pipeline
        def deeper() -> Any:
            return use.map([unmapped(1)])


def test_a_failed_trace_leaves_no_trace_behind() -> None:
    with suppress(PlaceholderError):

        @pipeline
        def wrong() -> None:
            bool(load())

    assert load() == {"a": [1, 2]}


def test_a_task_defined_inside_cannot_take_a_value_of_the_run_from_around_it() -> None:
    with pytest.raises(
        PlaceholderError, match="task 'inner' uses the parameter 'limit' of the pipeline function around it"
    ):

        @pipeline
        def closing(limit: int) -> Any:
            @task
            def inner() -> Any:
                return limit

            return inner()

    with pytest.raises(PlaceholderError, match="task 'inner' uses the result of 'load' of the pipeline function"):

        @pipeline
        def defaulting() -> Any:
            @task
            def inner(value: Any = (load(),)) -> Any:  # noqa: B008  what is tested
                return value

            return inner()
