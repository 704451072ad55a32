"""What `@task` makes, and what it refuses."""

from __future__ import annotations

import asyncio

import polars as pl
import pytest

from glacier_prefect import LocalExecutor, Task, pipeline, task, unmapped
from glacier_prefect.errors import ArgumentsError, DependencyError, OptionError
from glacier_prefect.providers import LocalProvider


@task
def load() -> int:
    """Load it."""
    return 20


def test_a_task_called_outside_a_pipeline_runs_its_function() -> None:
    @task(retries=2)
    def add(one: int, other: int = 1, *more: int, **named: int) -> int:
        return one + other + sum(more) + sum(named.values())

    assert add(1) == 2
    assert add(1, 2, 3, four=4) == 10


def test_an_async_task_called_outside_a_pipeline_gives_its_coroutine() -> None:
    @task
    async def fetch(number: int) -> int:
        return number + 1

    assert asyncio.run(fetch(1)) == 2
    assert fetch.map([1, 2]) == [2, 3]


def test_a_task_looks_like_its_function() -> None:
    assert (load.name, load.__name__, load.__doc__, load.__module__) == ("load", "load", "Load it.", __name__)
    assert repr(load) == "<Task 'load'>"


def test_options_of_prefect_pass_through() -> None:
    @task(retries=3, timeout_seconds=5, tags=["a"])
    def work() -> None: ...

    assert work.options == {"retries": 3, "timeout_seconds": 5, "tags": ["a"]}


def test_depends_on_takes_one_task_or_a_list_and_keeps_each_once() -> None:
    other = task(name="other")(lambda: 1)
    assert task(depends_on=load)(lambda: 1).depends_on == (load,)
    assert task(depends_on=[other, load, other])(lambda: 1).depends_on == (other, load)


def undecorated() -> None: ...


SINK = LocalProvider().bucket_sink("out", "a.parquet")


@pytest.mark.parametrize(
    ("given", "culprit", "hint"),
    [
        (["load"], "contains 'load' (str)", "not its name"),
        ("load", "is 'load' (str)", "not its name"),
        ([load, undecorated], "contains <function undecorated", "decorate 'undecorated' with @task"),
        (undecorated, "is <function undecorated", "decorate 'undecorated' with @task"),
        ([None], "contains None (NoneType)", "decorated with @task"),
        (None, "is None (NoneType)", "decorated with @task"),
        ([7], "contains 7 (int)", "decorated with @task"),
        ({load}, "(set)", "a list of them"),
        ([[load]], "(list)", "decorated with @task"),
        ([Task], "(type)", "decorated with @task"),
    ],
)
def test_a_dependency_that_is_no_task_is_a_type_error_at_the_decorator(given: object, culprit: str, hint: str) -> None:
    with pytest.raises(DependencyError) as caught:

        @task(depends_on=given)  # type: ignore[call-overload]
        def clean() -> None: ...

    assert isinstance(caught.value, TypeError)
    assert "depends_on of task 'clean'" in str(caught.value)
    assert culprit in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retires": 2}, "has the unknown option 'retires'. Did you mean 'retries'?"),
        ({"dependson": []}, "Did you mean 'depends_on'?"),
        ({"executor": "sprak"}, "task 'work' has the unknown executor 'sprak'. Did you mean 'spark'?"),
        ({"executor": LocalExecutor}, "expected a name, as in executor='dbt', or an Executor"),
        ({"executor": 5}, "executor of task 'work' is 5 (int)"),
        ({"materialize": "yes"}, "materialize of task 'work' is 'yes'; expected True, False or None"),
        ({"materialize": 1}, "materialize of task 'work' is 1; expected True, False or None"),
        ({"name": 5}, "@task has name=5 (int)"),
        ({"checks": [True]}, "checks of task 'work' contains True (bool)"),
        ({"schema": {"a": "no type"}}, "schema of task 'work'"),
        ({"columns": "a"}, "columns of task 'work' is 'a'"),
        ({"reads": "raw/a.parquet"}, "reads of task 'work' has 'raw/a.parquet' (str); expected sources"),
        ({"reads": [SINK]}, "expected sources, as of provider.bucket_source(...)"),
        ({"writes": SINK.twin()}, "expected sinks, as of provider.bucket_sink(...)"),
        ({"columns": {"frme": ["a"]}}, "names the parameter 'frme'. Did you mean 'frame'?"),
    ],
)
def test_an_option_that_cannot_be_is_an_error_at_the_decorator(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:

        @task(**options)  # type: ignore[call-overload]
        def work(frame: pl.LazyFrame) -> None: ...

    assert message in str(caught.value)


def test_unknown_options_are_refused_before_the_function_is_seen() -> None:
    with pytest.raises(OptionError, match="@task has the unknown option 'retires'"):
        task(retires=2)


@pytest.mark.parametrize("wrong", [int, 5, "load", load])
def test_only_a_function_can_be_a_task(wrong: object) -> None:
    with pytest.raises(OptionError):
        task(wrong)  # type: ignore[call-overload]


def test_with_options_changes_what_is_named_and_keeps_the_rest() -> None:
    @task(retries=1, depends_on=[load], materialize=True, executor="spark", columns=["a"])
    def clean(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    copy = clean.with_options(retries=5, name="clean-again")
    assert (copy.name, copy.options, copy.depends_on) == ("clean-again", {"retries": 5}, (load,))
    assert (copy.materialize, copy.executor, copy.columns, copy.fn) == (True, "spark", {"frame": ("a",)}, clean.fn)
    assert clean.options == {"retries": 1}
    assert copy.origin is clean
    assert copy.with_options(retries=6).origin is clean
    with pytest.raises(OptionError, match="Did you mean 'retries'"):
        clean.with_options(retires=1)
    with pytest.raises(DependencyError, match="not its name"):
        clean.with_options(depends_on=["load"])


def test_map_outside_a_pipeline_runs_the_function_for_each_item() -> None:
    @task
    def times(number: int, by: int = 10) -> int:
        return number * by

    assert times.map([1, 2, 3]) == [10, 20, 30]
    assert times.map([1, 2], by=unmapped(3)) == [3, 6]
    assert times.map([1, 2], [3, 4], batch=2) == [3, 8]
    assert times.map([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda each: each.map(5), "number is int, not a list of items"),
        (lambda each: each.map([1], [1, 2]), "lists of different lengths"),
        (lambda each: each.map(unmapped(1)), "has no list of items"),
        (lambda each: each.map([1], batch=0), "batch=0"),
        (lambda each: each.map([1], batch=True), "batch=True"),
        (lambda each: each.map([1], nubmer=[2]), "cannot be called so"),
    ],
)
def test_a_map_that_cannot_be_is_an_error_outside_a_pipeline_too(call: object, message: str) -> None:
    @task
    def times(number: int, by: int = 10) -> int:
        return number * by

    with pytest.raises(ArgumentsError, match=message):
        call(times)  # type: ignore[operator]


def test_map_refuses_a_parameter_that_takes_any_number_of_values() -> None:
    @task
    def total(*numbers: int) -> int:
        return sum(numbers)

    with pytest.raises(ArgumentsError, match=r"its parameter \*numbers: 'int'|its parameter \*numbers"):
        total.map([1], [2])


def test_a_task_with_any_number_of_parameters_takes_results_in_a_pipeline() -> None:
    @task
    def total(first: int, *numbers: int, **named: int) -> int:
        return first + sum(numbers) + sum(named.values())

    @pipeline
    def sums() -> object:
        return total(load(), load(), load(), one=1, more=load())

    assert sums.graph.nodes["total"].inputs == {
        "load": ("first",),
        "load-2": ("numbers",),
        "load-3": ("numbers",),
        "load-4": ("named",),
    }


def test_a_cached_task_whose_frames_stay_lazy_is_an_error() -> None:
    with pytest.raises(OptionError, match="cache=True and materialize=False"):
        task(cache=True, materialize=False)(lambda: None)


def test_prefects_no_cache_is_no_cache() -> None:
    from prefect.cache_policies import NO_CACHE

    from glacier_prefect.graph import is_cached

    assert not is_cached(task(cache_policy=NO_CACHE)(lambda: None))
