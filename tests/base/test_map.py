"""`task.map` in a pipeline function: one node, and what its items may be."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from glacier_prefect import pipeline, task, unmapped
from glacier_prefect.errors import ArgumentsError, PlaceholderError
from glacier_prefect.graph import ParameterRef, Ref
from glacier_prefect.tasks import Unmapped


@task
def names() -> list[str]:
    return ["a", "b"]


@task
def load(name: str, limit: Any = 5) -> pl.LazyFrame:
    return pl.LazyFrame({"name": [name]})


@task
def join(frames: list[pl.LazyFrame]) -> pl.LazyFrame:
    return pl.concat(frames)


def test_a_mapped_task_is_one_node_over_a_static_list_a_result_or_a_parameter() -> None:
    @pipeline
    def mapped(files: list[str], limits: dict[str, list[int]]) -> Any:
        load.map(["x", "y"])
        load.map(names(), limits["top"])
        return join(load.map(files, limit=unmapped(names())))

    nodes = mapped.graph.nodes
    assert [(name, node.kind) for name, node in nodes.items() if node.call is load] == [
        ("load", "map"),
        ("load-3", "map"),
        ("load-2", "map"),
    ] or {name for name, node in nodes.items() if node.kind == "map"} == {"load", "load-2", "load-3"}
    assert nodes["load"].arguments == {"name": ["x", "y"]}
    assert nodes["load-2"].arguments == {"name": Ref("names"), "limit": ParameterRef("limits", ("top",))}
    assert nodes["load-3"].arguments == {"name": ParameterRef("files"), "limit": Unmapped(Ref("names-2"))}
    assert nodes["load-3"].inputs == {"names-2": ("limit",)}
    assert nodes["join"].arguments == {"frames": Ref("load-3")}


def test_items_may_be_results_and_a_mapped_result_may_be_indexed() -> None:
    @pipeline
    def mapped() -> Any:
        return load.map([names()[0], "x"])[1]

    assert mapped.graph.nodes["load"].arguments == {"name": [Ref("names", (0,)), "x"]}
    assert mapped.graph.result == Ref("load", (1,))


def test_an_empty_list_and_a_batch_are_possible() -> None:
    @pipeline
    def mapped() -> Any:
        return load.map([], batch=100)

    assert (mapped.graph.nodes["load"].arguments, mapped.graph.nodes["load"].batch) == ({"name": []}, 100)


def test_dependencies_of_a_mapped_task_order_it() -> None:
    @pipeline
    def mapped() -> Any:
        return load.with_options(depends_on=[names]).map(["x"])

    assert list(mapped.graph.edges()) == [("names", "load", "ordering", "")]


def test_items_are_frozen_when_they_are_passed() -> None:
    items = [{"a": [1]}]

    @pipeline
    def mapped() -> None:
        load.map(items)
        items[0]["a"].append(2)
        items.append({})

    assert mapped.graph.nodes["load"].arguments == {"name": [{"a": [1]}]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load.map(pl.LazyFrame({"a": [1]})), "name is .*LazyFrame.*items are a list, or a task's result"),
        (lambda: load.map("abc"), r"name is 'abc' \(str\)"),
        (lambda: load.map(5), r"name is 5 \(int\)"),
        (lambda: load.map({"a": 1}), r"\(dict\)"),
        (lambda: load.map({1, 2}), r"\(set\)"),
        (lambda: load.map(["a"], [1, 2]), r"lists of different lengths: \[1, 2\]"),
        (lambda: load.map(unmapped("a")), "has no list of items"),
        (lambda: load.map(["a"], batch=0), "has batch=0; expected a whole number of at least 1"),
        (lambda: load.map(["a"], batch="all"), "has batch='all'"),
        (lambda: load.map(), "cannot be called so"),
        (lambda: load.map(["a"], limits=[1]), "cannot be called so"),
    ],
)
def test_a_map_that_cannot_be_is_an_error_when_the_pipeline_is_made(call: Any, message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):

        @pipeline
        def mapped() -> Any:
            return call()


def test_the_batch_is_no_value_of_the_run() -> None:
    with pytest.raises((ArgumentsError, PlaceholderError)):

        @pipeline
        def mapped(size: int) -> Any:
            return load.map(["a"], batch=size)


def test_a_parameter_that_takes_any_number_of_values_cannot_be_mapped() -> None:
    @task
    def total(*numbers: int) -> int:
        return sum(numbers)

    with pytest.raises(ArgumentsError, match="takes any number of values"):

        @pipeline
        def mapped() -> Any:
            return total.map([1, 2], [3, 4])
