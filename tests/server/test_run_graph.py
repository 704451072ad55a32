"""What a run looks like in the API: its task runs, their edges, and states, against a real server."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("run_graph")

FLOWS = """
import polars as pl
from glacier_prefect import Pipeline, pipeline, task, unmapped
from glacier_prefect.providers import LocalProvider

provider = LocalProvider(base_path="data")
out = provider.bucket_sink(bucket="out", path="rows.parquet")

@task
def one(): return 1
@task
def plus(x, y=1): return x + y
@task
def total(numbers): return sum(numbers)
@task
def parts(): return {"left": 1, "right": [1, 2]}
@task
def numbers(): return [1, 2, 3]
@task
def square(x): return x * x
@task
def first_of(x): return x
@task
def frame() -> pl.LazyFrame: return pl.LazyFrame({"a": [1, 2, 3]})
@task
def more(frame: pl.LazyFrame) -> pl.LazyFrame: return frame.with_columns(b=pl.col("a") * 2)
@task
def broken(x): raise ValueError("the task is broken")
@task(depends_on=[one])
def after_one(): return 1
@task(depends_on=[broken])
def after_broken(): return 1

@pipeline
def chain(): return plus(plus(plus(one())))

@pipeline
def diamond():
    top = one()
    return plus(plus(top), plus(top))

@pipeline
def fan_in(): return total([one(), plus(1), [one()][0]])

@pipeline
def indexed():
    both = parts()
    return plus(both["left"], both["right"][1])

@pipeline
def mapped():
    squares = square.map(numbers())
    return first_of(squares[1]), total(squares), plus.map(squares, unmapped(one()))

@pipeline
def batched(): return total(square.map([1, 2, 3, 4, 5], batch=2))

@task(columns={"whole": ["a"]})
def add_all(x, y, whole: pl.LazyFrame) -> int: return x + y + sum(whole.collect().row(0))

@pipeline
def broadcast():
    whole = more.with_options(materialize=True)(frame())
    return add_all.map([1, 2, 3], unmapped(parts()["right"][1]), unmapped(whole), batch=2)

@pipeline
def ordered():
    one()
    return after_one()

@pipeline
def small_integers(): return [plus(0), plus(0), one(), one(), total([1, 1])]

@pipeline
def inner(x: int): return plus(x)
@pipeline
def outer(): return plus(inner(one()))

@pipeline
def lazy(): return out.write(more(frame()))

@pipeline
def named(): return plus.with_options(name="odd {name}")(one())

@pipeline
def with_parameter(limit: int = 5): return plus(limit, one())

@pipeline
def failing():
    bad = broken(one())
    plus.with_options(name="downstream")(bad)
    square.with_options(name="items").map([bad, bad])
    after_broken()
    return plus.with_options(name="independent")(plus.with_options(name="also")(one()))

last = total.with_options(name="last", depends_on=[numbers])
declared = Pipeline("declared", tasks=[last])

if __name__ == "__main__":
    for name, each in list(globals().items()):
        if not isinstance(each, Pipeline) or each is inner:
            continue
        try:
            print(name, each.run())
        except ValueError as error:
            print(name, "raised", error, *error.__notes__)
"""


@pytest.fixture(scope="module")
def output(project: Any) -> str:
    """What the script printed that ran all pipelines once."""
    project.write("flow.py", FLOWS)
    return project.run("flow.py").stdout


@pytest.fixture
def run(api: Any, output: str) -> Any:
    """Give the one run of a flow."""

    def find(flow: str) -> dict[str, Any]:
        (found,) = api.flow_runs(flow)
        return found

    return find


def inputs(task_run: dict[str, Any]) -> dict[str, list[str]]:
    """The ids of the task runs (and flow runs) that each parameter came from."""
    return {name: [each["id"] for each in values] for name, values in task_run["task_inputs"].items()}


def test_a_run_of_python_flow_py_with_a_configured_api_is_reported_there(run: Any, output: str) -> None:
    assert "chain 4" in output
    assert run("chain")["state_type"] == "COMPLETED"


def test_a_chain_is_a_chain(run: Any, api: Any) -> None:
    edges = api.edges(run("chain")["id"], "one", "plus", "plus-2", "plus-3")
    assert edges == {"one": set(), "plus": {"one"}, "plus-2": {"plus"}, "plus-3": {"plus-2"}}


def test_both_sides_of_a_diamond_come_from_its_top(run: Any, api: Any) -> None:
    edges = api.edges(run("diamond")["id"], "one", "plus", "plus-2", "plus-3")
    assert edges == {"one": set(), "plus": {"one"}, "plus-2": {"one"}, "plus-3": {"plus", "plus-2"}}


def test_a_list_of_results_has_an_edge_from_each(run: Any, api: Any) -> None:
    edges = api.edges(run("fan-in")["id"], "one", "one-2", "plus", "total")
    assert edges["total"] == {"one", "one-2", "plus"}


def test_parts_of_one_result_are_edges_of_the_parameters_that_they_go_to(run: Any, api: Any) -> None:
    runs = api.task_runs(run("indexed")["id"], "parts", "plus")
    assert inputs(runs["plus"]) == {"x": [runs["parts"]["id"]], "y": [runs["parts"]["id"]]}


def test_each_item_of_a_map_is_a_task_run_of_its_own_with_its_consumers(run: Any, api: Any) -> None:
    items = [f"square[{place}]" for place in range(3)]
    added = [f"plus[{place}]" for place in range(3)]
    edges = api.edges(run("mapped")["id"], "numbers", *items, "first_of", "total", "one", *added)
    assert {name: edges[name] for name in items} == {name: {"numbers"} for name in items}
    assert edges["total"] == set(items)
    assert edges["first_of"] == set(items)  # it is given the list, and takes its part where it runs
    assert [edges[name] for name in added] == [{item, "one"} for item in items]


def test_a_batched_map_is_a_task_run_for_each_batch(run: Any, api: Any) -> None:
    batches = ["square[0:2]", "square[2:4]", "square[4:5]"]
    edges = api.edges(run("batched")["id"], *batches, "total")
    assert edges == {**{name: set() for name in batches}, "total": set(batches)}


def test_what_each_batch_gets_as_a_whole_is_a_part_of_a_result_or_a_frame(output: str) -> None:
    assert "broadcast [4, 5, 6]" in output


def test_ordering_is_an_edge_under_wait_for_only(run: Any, api: Any) -> None:
    runs = api.task_runs(run("ordered")["id"], "one", "after_one")
    assert inputs(runs["after_one"]) == {"wait_for": [runs["one"]["id"]]}
    assert api.edges(run("ordered")["id"])["after_one"] == {"one"}


def test_equal_small_integers_make_no_edges(run: Any, api: Any) -> None:
    edges = api.edges(run("small-integers")["id"], "one", "one-2", "plus", "plus-2", "total")
    assert edges == {name: set() for name in ("one", "one-2", "plus", "plus-2", "total")}


def test_a_sub_flow_stands_between_what_it_takes_and_what_takes_its_result(run: Any, api: Any) -> None:
    edges = api.edges(run("outer")["id"], "one", "plus")
    (inner,) = api.flow_runs("inner")
    sub = f"inner / {inner['name']}"
    assert edges == {"one": set(), sub: {"one"}, "plus": {sub}}
    assert inner["parent_task_run_id"] is not None
    assert set(api.task_runs(inner["id"], "plus")) == {"plus"}


def test_a_node_that_leaves_its_frame_to_the_next_is_marked_lazy(run: Any, api: Any) -> None:
    runs = api.task_runs(run("lazy")["id"], "frame", "more", "write-rows")
    states = {name: each["state_name"] for name, each in runs.items()}
    assert states == {"frame": "Lazy", "more": "Lazy", "write-rows": "Completed"}
    assert {each["state_type"] for each in runs.values()} == {"COMPLETED"}
    assert "write-rows" in runs["more"]["state"]["message"]


def test_a_name_with_braces_is_shown_as_it_is(run: Any, api: Any) -> None:
    assert set(api.task_runs(run("named")["id"], "one", "odd {name}")) == {"one", "odd {name}"}


def test_task_inputs_have_a_key_for_each_parameter_with_an_edge(run: Any, api: Any) -> None:
    found = run("with-parameter")
    runs = api.task_runs(found["id"], "one", "plus")
    assert inputs(runs["plus"])["y"] == [runs["one"]["id"]]
    assert inputs(runs["plus"]).get("x", []) == []
    assert found["parameters"] == {"limit": 5}


def test_a_declared_pipeline_has_the_same_edges(run: Any, api: Any) -> None:
    runs = api.task_runs(run("declared")["id"], "numbers", "last")
    assert inputs(runs["last"]) == {"numbers": [runs["numbers"]["id"]]}


def test_a_failing_task_fails_the_run_and_what_needs_it(run: Any, api: Any, output: str) -> None:
    found = run("failing")
    runs = api.task_runs(found["id"], "broken", "after_broken", "independent", "also", "one", "one-2")
    states = {name: (each["state_type"], each["state_name"]) for name, each in runs.items()}
    assert states["broken"] == ("FAILED", "Failed")
    assert {states[name][1] for name in ("downstream", "after_broken", "items")} == {"NotReady"}
    assert states["independent"] == states["also"] == ("COMPLETED", "Completed")
    assert (found["state_type"], found["state_name"]) == ("FAILED", "Failed")
    assert "failing raised the task is broken In task 'broken' of pipeline 'failing'." in output


def test_a_configured_api_that_cannot_be_reached_is_an_error_and_nothing_runs(project: Any) -> None:
    project.write(
        "unreachable.py",
        """
        from pathlib import Path
        from glacier_prefect import pipeline, task

        @task
        def leave_a_trace(): Path("trace").touch()

        @pipeline
        def never(): return leave_a_trace()

        if __name__ == "__main__":
            never.run()
        """,
    )
    result = project.run("unreachable.py", check=False, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert result.returncode != 0
    assert "http://127.0.0.1:9/api" in result.stderr
    assert "PREFECT_API_URL" in result.stderr
    assert not (project.folder / "trace").exists()
