"""What Glacier repeats of Prefect, so that declaring a pipeline need not load it, is what the installed Prefect
says.
"""

from __future__ import annotations

import inspect

import prefect
import pytest
from prefect import task_runners
from prefect.exceptions import InvalidNameError
from prefect.task_runners import ThreadPoolTaskRunner

from glacier_prefect.pipeline import FORBIDDEN_IN_NAMES, PREFECT_FLOW_OPTIONS, THREAD_RUNNERS, Pipeline, pipeline
from glacier_prefect.tasks import CACHE_OPTIONS, PREFECT_TASK_OPTIONS, task


def options(decorator: object) -> set[str]:
    parameters = inspect.signature(decorator).parameters.values()  # type: ignore[arg-type]
    return {each.name for each in parameters if not each.name.endswith("__fn") and each.name != "self"}


def test_options_of_tasks_are_those_of_prefects_task_decorator() -> None:
    assert options(prefect.task) - {"name"} == PREFECT_TASK_OPTIONS


def test_options_of_pipelines_are_those_of_prefects_flow_decorator() -> None:
    assert options(prefect.flow) - {"name"} == PREFECT_FLOW_OPTIONS


def test_cache_options_are_task_options() -> None:
    assert CACHE_OPTIONS < PREFECT_TASK_OPTIONS


@pytest.mark.parametrize("letter", FORBIDDEN_IN_NAMES)
def test_characters_that_are_refused_in_names_are_refused_by_prefect(letter: str) -> None:
    with pytest.raises(InvalidNameError):
        prefect.flow(lambda: None, name=f"a{letter}b")


def test_no_other_character_is_refused_by_prefect() -> None:
    for letter in map(chr, range(32, 127)):
        if letter not in FORBIDDEN_IN_NAMES:
            assert prefect.flow(lambda: None, name=f"a{letter}b").name == f"a{letter}b"


def test_thread_runners_are_those_that_prefect_has() -> None:
    assert all(issubclass(getattr(task_runners, name), task_runners.ThreadPoolTaskRunner) for name in THREAD_RUNNERS)
    assert type(prefect.flow(lambda: None, name="default").task_runner).__name__ in THREAD_RUNNERS


def test_a_thread_runner_leaves_the_graph_in_this_process() -> None:
    @task
    def work() -> None: ...

    @pipeline(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def threaded() -> None:
        work()

    assert threaded.graph.runner is None
    assert Pipeline("threaded", tasks=[work], task_runner=ThreadPoolTaskRunner).graph.runner is None
