"""Pipelines made from a function: what is called becomes nodes, what is passed becomes edges."""

from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from glacier_prefect import Pipeline, pipeline, task
from glacier_prefect.errors import (
    ArgumentsError,
    ConfigurationError,
    CycleError,
    DefinitionError,
    DependencyError,
    NameTakenError,
    OptionError,
    OverlapError,
    PathError,
    PlaceholderError,
    UsageError,
)
from glacier_prefect.graph import ParameterRef, Ref
from glacier_prefect.providers import LocalProvider

provider = LocalProvider(base_path="data")


@task
def load() -> Any:
    return 1


@task
def prepare(folder: str = "x") -> Any:
    return folder


@task(depends_on=[load])
def clean(frame: Any) -> Any:
    return frame


@task(depends_on=[prepare])
def report(*frames: Any) -> Any:
    return frames


def edges(made: Pipeline) -> set[tuple[str, str, str, str]]:
    return set(made.graph.edges())


def test_calls_become_nodes_and_values_become_edges() -> None:
    @pipeline
    def daily_orders(limit: int = 5) -> Any:
        return report(clean(load()), limit)

    assert daily_orders.name == "daily-orders"
    assert edges(daily_orders) == {
        ("load", "clean", "data", "frame"),
        ("clean", "report", "data", "frames"),
        ("prepare", "report", "ordering", ""),
    }
    assert daily_orders.graph.nodes["report"].arguments == {"frames": (Ref("clean"), ParameterRef("limit"))}
    assert daily_orders.graph.result == Ref("report")


def test_the_function_is_called_once_and_runs_no_task() -> None:
    calls = []

    @task
    def work() -> None:
        calls.append("task")

    @pipeline
    def traced() -> None:
        calls.append("pipeline")
        work()

    traced.analyze()
    assert calls == ["pipeline"]


def test_a_second_call_is_a_second_node_with_a_number() -> None:
    @pipeline
    def repeated() -> Any:
        return [load(), load(), load.with_options(name="again")(), load(), load.with_options(retries=1)()]

    assert list(repeated.graph.nodes) == ["load", "load-2", "again", "load-3", "load-4"]


def test_numbers_go_around_names_that_are_taken() -> None:
    @pipeline
    def repeated() -> Any:
        return [load.with_options(name="load-2")(), load(), load()]

    assert list(repeated.graph.nodes) == ["load-2", "load", "load-3"]


def test_two_functions_of_one_name_are_an_error_that_shows_both() -> None:
    @task(name="load")
    def other() -> None: ...

    with pytest.raises(NameTakenError) as caught:

        @pipeline
        def twice() -> None:
            load()
            other()

    message = str(caught.value)
    assert "pipeline 'twice' has two different things named 'load'" in message
    assert message.count("test_pipeline_called.py:") == 2
    assert "with_options(name=...)" in message

    @pipeline
    def renamed() -> None:
        load()
        other.with_options(name="other")()

    assert list(renamed.graph.nodes) == ["load", "other"]


def test_a_dependency_waits_for_every_call_also_for_later_ones_and_copies() -> None:
    @pipeline
    def waiting() -> None:
        load()
        clean(1)
        load()
        load.with_options(name="third")()

    assert edges(waiting) == {(name, "clean", "ordering", "") for name in ("load", "load-2", "third")}


def test_a_dependency_on_a_copy_waits_for_that_copy_only() -> None:
    slow = load.with_options(name="slow")

    @task(depends_on=[slow])
    def last() -> None: ...

    @pipeline
    def waiting() -> None:
        load()
        slow()
        last()

    assert edges(waiting) == {("slow", "last", "ordering", "")}


def test_a_copy_may_depend_on_the_task_that_it_was_made_from() -> None:
    @pipeline
    def again() -> None:
        load()
        load.with_options(depends_on=[load])()
        load()

    assert edges(again) == {("load", "load-2", "ordering", ""), ("load-3", "load-2", "ordering", "")}


def test_data_and_order_between_two_nodes_are_one_edge() -> None:
    @pipeline
    def both() -> Any:
        return clean(load())

    assert edges(both) == {("load", "clean", "data", "frame")}
    assert both.graph.nodes["clean"].upstream == ("load",)


def test_a_dependency_that_is_not_called_is_called_if_it_needs_no_argument() -> None:
    @task(depends_on=[load])
    def start(*args: int, size: int = 1, **more: int) -> None: ...

    @task(depends_on=[start])
    def last() -> None: ...

    @pipeline
    def short() -> None:
        last()

    assert edges(short) == {("load", "start", "ordering", ""), ("start", "last", "ordering", "")}


def test_a_dependency_that_is_not_called_and_needs_an_argument_is_an_error() -> None:
    @task(depends_on=[clean])
    def last() -> None: ...

    with pytest.raises(DependencyError) as caught:

        @pipeline
        def short() -> None:
            last()

    assert "Task 'last' depends on 'clean', which pipeline 'short' does not call and which needs frame." in str(
        caught.value
    )
    assert "call clean(...)" in str(caught.value)


def test_a_dependency_that_only_a_called_for_you_dependency_has_is_checked_too() -> None:
    @task(depends_on=[clean])
    def middle() -> None: ...

    @task(depends_on=[middle])
    def last() -> None: ...

    with pytest.raises(DependencyError, match="Task 'middle' depends on 'clean'"):

        @pipeline
        def short() -> None:
            last()


def test_a_cycle_is_an_error_with_its_path() -> None:
    @task(depends_on=[clean])
    def late() -> Any: ...

    @task
    def first(value: Any) -> Any: ...

    @task(depends_on=[first])
    def second() -> Any: ...

    with pytest.raises(CycleError) as caught:

        @pipeline
        def circle() -> Any:
            return first(late.with_options(depends_on=[second])())

    message = str(caught.value)
    assert "pipeline 'circle' has tasks that wait for each other: " in message
    path = message.partition(": ")[2].removesuffix(".").split(" -> ")
    assert path[0] == path[-1]
    around = {("first", "second"), ("second", "late"), ("late", "first")}
    assert set(pairwise(path)) == around, "each arrow points to what runs after"


def test_wrong_arguments_of_a_call_are_an_error_with_the_signature() -> None:
    with pytest.raises(ArgumentsError, match=r"Task 'clean' cannot be called so: missing a required argument: 'frame'"):

        @pipeline
        def missing() -> None:
            clean()  # type: ignore[call-arg]

    with pytest.raises(ArgumentsError, match=r"unexpected keyword argument 'frmae'. Its signature is clean\(frame"):

        @pipeline
        def misspelt() -> None:
            clean(1, frmae=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"retires": 1}, "has the unknown option 'retires'. Did you mean 'retries'?"),
        ({"scheduel": "0 6 * * *"}, "Did you mean 'schedule'?"),
        ({"schedule": "0 6 * *"}, "has schedule='0 6 * *'; expected a cron expression"),
        ({"schedule": "0 25 * * *"}, "has schedule='0 25 * * *'"),
        ({"schedule": 5}, "has schedule=5"),
        ({"schedule": ""}, "has schedule=''"),
        ({"timezone": "Europe/Pariss"}, "unknown timezone 'Europe/Pariss'. Did you mean 'Europe/Paris'?"),
        ({"timezone": 5}, "unknown timezone 5"),
        ({"timezone": "../etc/passwd"}, "unknown timezone"),
        ({"name": "a/b"}, "has '/' in its name"),
        ({"name": ""}, "has the name ''"),
        ({"name": 5}, "has the name 5"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_when_the_pipeline_is_made(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as called:

        @pipeline(**settings)
        def daily() -> None:
            load()

    with pytest.raises(OptionError) as declared:
        Pipeline(**{"name": "daily", **settings}, tasks=[load])
    assert message in str(called.value)
    assert message in str(declared.value)


@pytest.mark.parametrize("wrong", [load, 5, "daily", int])
def test_only_a_plain_function_can_be_a_pipeline(wrong: Any) -> None:
    with pytest.raises(OptionError, match="expected a plain function"):
        pipeline(wrong)


def test_a_pipeline_function_is_not_async_and_not_a_generator() -> None:
    async def fetch() -> None: ...

    def each() -> Any:
        yield 1

    for function in (fetch, each):
        with pytest.raises(DefinitionError, match="is async or a generator"):
            pipeline(function)


def test_parameters_of_a_pipeline_have_names_of_their_own() -> None:
    def several(*limits: int) -> None: ...

    def anything(**limits: int) -> None: ...

    def positional(limit: int, /) -> None: ...

    for function in (several, anything, positional):
        with pytest.raises(DefinitionError, match="parameters of a pipeline have names of their own"):
            pipeline(function)
    with pytest.raises(DefinitionError, match="has a parameter named 'run_date'"):
        pipeline(lambda run_date: None)


def test_a_pipeline_keeps_the_settings_of_its_decorator() -> None:
    @pipeline(name="nightly", schedule="0 6 * * *", timezone="Europe/Paris", tags="a", retries=2)
    def daily() -> None:
        """Do it daily.

        And more.
        """
        load()

    assert (daily.name, daily.schedule, daily.timezone, daily.tags) == ("nightly", "0 6 * * *", "Europe/Paris", ("a",))
    assert daily.options == {"retries": 2}
    assert daily.description.startswith("Do it daily.")
    assert (daily.__name__, daily.__module__) == ("daily", __name__)


def test_a_pipeline_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        at_top.name = "other"  # type: ignore[misc]


# -- sub-flows ---------------------------------------------------------------------------------------------------------


@pipeline
def at_top(limit: int = 3) -> Any:
    return clean(load())


def test_a_pipeline_called_in_another_is_a_sub_flow_node() -> None:
    @pipeline
    def outer(size: int) -> Any:
        return clean(at_top(limit=size))

    node = outer.graph.nodes["at-top"]
    assert (node.kind, node.call, node.arguments) == ("flow", at_top, {"limit": ParameterRef("size")})
    assert ("at-top", "clean", "data", "frame") in edges(outer)


def test_a_sub_flow_is_called_with_the_parameters_that_it_has() -> None:
    with pytest.raises(
        ArgumentsError, match="Pipeline 'at-top' cannot be called so: got an unexpected keyword argument 'limt'"
    ):

        @pipeline
        def outer() -> None:
            at_top(limt=1)


def test_run_in_a_pipeline_function_is_an_error() -> None:
    with pytest.raises(PlaceholderError, match=r"run\(\) of pipeline 'at-top' is called in a pipeline function"):

        @pipeline
        def outer() -> None:
            at_top.run()


# -- locations ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["scan", "exists", "size"])
def test_reading_in_the_pipeline_function_is_an_error(method: str) -> None:
    source = provider.bucket_source("raw", "a.parquet")

    def reads() -> None:
        getattr(source, method)()

    with pytest.raises(
        PlaceholderError, match=f"{method}\\(\\) of source raw/a.parquet is called in a pipeline function"
    ):
        pipeline(reads)


def test_a_write_is_a_node_that_yields_the_twin_source() -> None:
    out = provider.bucket_sink("out", "daily/{run_date:%Y}.parquet")

    @pipeline
    def writes() -> Any:
        return clean(out.write(load()))

    assert edges(writes) == {
        ("load", "write-daily", "data", "frame"),
        ("write-daily", "clean", "data", "frame"),
        ("load", "clean", "ordering", ""),
    }


def test_writing_something_static_in_a_pipeline_function_is_an_error() -> None:
    out = provider.bucket_sink("out", "a.parquet")
    with pytest.raises(ArgumentsError, match="takes the result of a task in a pipeline function, not int"):

        @pipeline
        def writes() -> Any:
            return out.write(5)


def test_two_sinks_of_one_short_name_are_two_nodes() -> None:
    @pipeline
    def writes() -> Any:
        frame = load()
        return provider.bucket_sink("out", "a/x.parquet").write(frame), provider.bucket_sink(
            "out", "b/x.parquet"
        ).write(frame)

    assert list(writes.graph.nodes) == ["load", "write-x", "write-x-2"]


def test_fields_of_paths_are_checked_when_the_pipeline_is_made() -> None:
    source = provider.bucket_source("raw", "{region}/{run_date:%Y}.parquet")

    @pipeline
    def right(region: str) -> Any:
        return prepare(source)

    assert right.graph.nodes["prepare"].reads == (source,)
    with pytest.raises(PathError) as caught:

        @pipeline
        def wrong(regoin: str) -> Any:
            return prepare(source)

    assert "has the field 'region', which is neither a parameter of pipeline 'wrong' nor 'run_date'" in str(
        caught.value
    )
    assert "Did you mean 'regoin'?" in str(caught.value)

    @task
    def reads() -> Any:
        return source.scan()

    with pytest.raises(PathError, match="field 'region'"):
        Pipeline("declared", tasks=[reads])


def test_reading_and_overwriting_one_place_needs_an_order() -> None:
    source, sink = provider.bucket_source("raw", "a/*.parquet"), provider.bucket_sink("raw", "a/b.parquet")

    with pytest.raises(OverlapError) as caught:

        @pipeline
        def unordered() -> None:
            sink.write(load())
            prepare(source)

    assert "'write-b' writes raw/a/b.parquet and 'prepare' reads raw/a/*.parquet" in str(caught.value)
    assert "depends_on" in str(caught.value)

    @pipeline
    def by_data() -> Any:
        return sink.write(clean(prepare(source)))

    assert ("prepare", "clean", "data", "frame") in edges(by_data)

    @task
    def read() -> Any:
        return source.scan()

    @task(depends_on=[read])
    def write(frame: Any) -> Any:
        return sink.write(frame)

    @pipeline
    def by_order() -> None:
        read()
        write(load())

    assert ("read", "write", "ordering", "") in edges(by_order)

    with pytest.raises(OverlapError):

        @pipeline
        def without_order() -> None:
            read()
            write.with_options(depends_on=[])(load())


def test_two_writes_to_one_place_need_an_order() -> None:
    sink = provider.bucket_sink("out", "a.parquet")
    with pytest.raises(OverlapError, match=r"'write-a-2' writes out/a.parquet and 'write-a' writes out/a.parquet"):

        @pipeline
        def twice() -> None:
            sink.write(load())
            sink.write(prepare())


def test_equal_names_in_different_stores_do_not_overlap() -> None:
    from glacier_prefect.providers import AWSProvider

    @pipeline
    def across() -> None:
        prepare(AWSProvider(region="us-east-1").bucket_source("data", "a.parquet"))
        provider.bucket_sink("data", "a.parquet").write(load())

    assert len(across.graph.nodes) == 3


def test_what_a_sub_flow_reads_and_writes_counts_for_its_caller() -> None:
    sink = provider.bucket_sink("shared", "{region}.parquet")

    @pipeline
    def inner(region: str) -> Any:
        return sink.write(load())

    @pipeline
    def outer() -> Any:
        return prepare(inner("north"))

    assert outer.graph.locations == (sink,)
    with pytest.raises(
        OverlapError, match=r"'inner' writes shared/\{region\}\.parquet and 'prepare' reads shared/north.parquet"
    ):

        @pipeline
        def unordered() -> None:
            inner("north")
            prepare(provider.bucket_source("shared", "north.parquet"))


# -- dates and names ---------------------------------------------------------------------------------------------------


def test_a_date_is_a_moment_in_the_timezone_of_the_pipeline() -> None:
    @pipeline(timezone="Europe/Paris")
    def daily() -> None:
        load()

    expected = "2026-01-31T00:00:00+01:00"
    assert daily.moment("2026-01-31").isoformat() == expected
    assert daily.moment(date(2026, 1, 31)).isoformat() == expected
    assert daily.moment(datetime(2026, 1, 31)).isoformat() == expected
    assert daily.moment("2026-01-30T23:00:00+00:00").isoformat() == expected


@pytest.mark.parametrize("wrong", ["yesterday", "2026-02-30", "", "31/01/2026", 5, 20260131, 1.5])
def test_what_is_no_date_is_an_error(wrong: Any) -> None:
    with pytest.raises(UsageError, match="is not a date"):
        at_top.run(run_date=wrong)


def test_a_pipeline_without_a_module_level_name_cannot_be_served_and_says_so() -> None:
    @pipeline
    def local() -> None:
        load()

    assert local.variable is None
    assert at_top.variable == "at_top"
    for made in (local, Pipeline("declared", tasks=[load])):
        with pytest.raises(ConfigurationError) as caught:
            made.serve()
        assert "is bound to no module-level name" in str(caught.value)
        assert "can be run here, but not served" in str(caught.value)


def test_the_name_that_a_pipeline_is_bound_to_is_found_late_and_by_identity() -> None:
    import sys

    @pipeline
    def made_late() -> None:
        load()

    assert made_late.variable is None
    module = sys.modules[__name__]
    module.another_name = made_late  # type: ignore[attr-defined]
    try:
        assert made_late.variable == "another_name"
    finally:
        del module.another_name  # type: ignore[attr-defined]


def test_a_result_inside_a_named_tuple_reaches_the_task_as_a_value() -> None:
    class Pair(NamedTuple):
        one: Any
        other: Any

    @pipeline
    def paired(limit: int = 3) -> Any:
        return prepare(Pair(load(), limit))

    assert paired.run() == Pair(1, 3)
