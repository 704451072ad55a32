"""Pipelines made from the dependencies that tasks declare: which task's result each parameter gets."""

from __future__ import annotations

from typing import Any

import pytest

from glacier_prefect import Pipeline, Task, pipeline, task
from glacier_prefect.errors import ArgumentsError, DefinitionError, DependencyError, NameTakenError
from glacier_prefect.graph import Ref


@task
def orders() -> Any: ...


@task
def shops() -> Any: ...


@task
def log() -> Any: ...


def arguments(made: Task[..., Any], *, name: str | None = None) -> dict[str, Any]:
    """Declare a pipeline of one last task and return what its parameters get, as names of nodes."""
    node = Pipeline("declared", tasks=[made]).graph.nodes[name or made.name]
    return {parameter: value.node for parameter, value in node.arguments.items()}


def test_a_declared_pipeline_is_the_closure_of_its_last_tasks() -> None:
    @task(depends_on=[orders, shops])
    def join(orders: Any, shops: Any) -> Any: ...

    @task(depends_on=[join, log])
    def last(frame: Any) -> Any: ...

    made = Pipeline("declared", tasks=[last])
    assert set(made.graph.edges()) == {
        ("orders", "join", "data", "orders"),
        ("shops", "join", "data", "shops"),
        ("join", "last", "data", "frame"),
        ("log", "last", "ordering", ""),
    }
    assert made.graph.result == Ref("last")
    assert Pipeline("several", tasks=[last, join]).graph.result == [Ref("last"), Ref("join")]
    assert Pipeline("one", tasks=last).graph.result == Ref("last")


def test_both_ways_of_making_a_pipeline_give_the_same_graph() -> None:
    @task(depends_on=[orders])
    def clean(frame: Any) -> Any: ...

    @pipeline
    def called() -> Any:
        return clean(orders())

    declared = Pipeline("called", tasks=[clean])
    assert dict(called.graph.nodes) == dict(declared.graph.nodes)
    assert called.graph.result == declared.graph.result


def test_a_parameter_named_like_a_dependency_gets_its_result_whatever_the_order() -> None:
    @task(depends_on=[orders, shops])
    def join(shops: Any, orders: Any) -> Any: ...

    assert arguments(join) == {"shops": "shops", "orders": "orders"}


def test_named_parameters_are_filled_even_with_a_default_or_keyword_only() -> None:
    @task(depends_on=[orders, shops])
    def join(orders: Any = None, *, shops: Any) -> Any: ...

    assert arguments(join) == {"orders": "orders", "shops": "shops"}


def test_other_results_fill_positional_parameters_in_the_order_of_depends_on() -> None:
    @task(depends_on=[log, shops, orders])
    def join(one: Any, shops: Any, other: Any) -> Any: ...

    assert arguments(join) == {"one": "log", "shops": "shops", "other": "orders"}


def test_positional_only_parameters_are_filled_too() -> None:
    @task(depends_on=[orders, shops])
    def join(frame: Any, shops: Any, /) -> Any: ...

    assert arguments(join) == {"frame": "orders", "shops": "shops"}


def test_a_task_without_parameters_is_only_ordered() -> None:
    @task(depends_on=[orders, shops])
    def last() -> Any: ...

    made = Pipeline("declared", tasks=[last])
    assert made.graph.nodes["last"].arguments == {}
    assert set(made.graph.edges()) == {("orders", "last", "ordering", ""), ("shops", "last", "ordering", "")}


def test_results_that_no_parameter_takes_only_order() -> None:
    @task(depends_on=[orders, shops])
    def last(frame: Any) -> Any: ...

    assert arguments(last) == {"frame": "orders"}


def test_defaulted_keyword_only_and_starred_parameters_are_never_filled_by_position() -> None:
    @task(depends_on=[orders, shops, log])
    def last(frame: Any, limit: int = 1, *more: Any, size: int = 2, **named: Any) -> Any: ...

    assert arguments(last) == {"frame": "orders"}


def test_a_starred_parameter_named_like_a_dependency_is_not_filled() -> None:
    @task(depends_on=[orders, shops])
    def last(*orders: Any, **shops: Any) -> Any: ...

    assert arguments(last) == {}


def test_a_keyword_only_parameter_without_default_is_never_filled_by_position() -> None:
    @task(depends_on=[orders, shops])
    def last(orders: Any, *, other: Any) -> Any: ...

    with pytest.raises(ArgumentsError, match="task 'last' has parameters that no dependency fills: other"):
        Pipeline("declared", tasks=[last])


def test_more_unfilled_parameters_than_dependencies_is_an_error() -> None:
    @task(depends_on=[orders])
    def last(frame: Any, limit: int, size: int) -> Any: ...

    with pytest.raises(ArgumentsError) as caught:
        Pipeline("declared", tasks=[last])
    assert "pipeline 'declared': task 'last' has parameters that no dependency fills: limit, size." in str(caught.value)
    assert "Its dependencies are 'orders'." in str(caught.value)
    assert "give it a default" in str(caught.value)


def test_two_copies_of_one_task_both_give_their_result() -> None:
    again = orders.with_options(retries=1)

    @task(depends_on=[orders, again])
    def compare(before: Any, after: Any) -> Any: ...

    @task(depends_on=[orders, again])
    def named(orders: Any, other: Any) -> Any: ...

    assert arguments(compare) == {"before": "orders", "after": "orders-2"}
    assert arguments(named) == {"orders": "orders", "other": "orders-2"}


def test_a_dependency_of_several_tasks_is_one_node() -> None:
    @task(depends_on=[orders])
    def one(frame: Any) -> Any: ...

    @task(depends_on=[orders])
    def other(frame: Any) -> Any: ...

    @task(depends_on=[one, other])
    def last(one: Any, other: Any) -> Any: ...

    assert list(Pipeline("declared", tasks=[last]).graph.nodes) == ["orders", "one", "other", "last"]


def test_two_functions_of_one_name_are_an_error() -> None:
    other = task(name="orders")(lambda: 1)

    @task(depends_on=[orders, other])
    def last(one: Any, two: Any) -> Any: ...

    with pytest.raises(NameTakenError, match="two different things named 'orders'"):
        Pipeline("declared", tasks=[last])


def plain() -> None: ...


@pytest.mark.parametrize("wrong", [["orders"], "orders", [plain], plain, None, [None], {orders}])
def test_what_is_no_task_is_an_error(wrong: Any) -> None:
    with pytest.raises(DependencyError, match=r"tasks of pipeline 'declared' contains .*; expected Task objects"):
        Pipeline("declared", tasks=wrong)


def test_a_pipeline_without_tasks_is_an_error() -> None:
    with pytest.raises(DefinitionError, match="has no tasks"):
        Pipeline("declared", tasks=[])


def test_a_chain_deeper_than_the_recursion_limit_can_be_declared() -> None:
    last: Task[..., Any] = orders
    for number in range(3000):
        last = task(name=f"step-{number}", depends_on=last)(lambda frame: frame)
    assert len(Pipeline("deep", tasks=last).graph.nodes) == 3001
