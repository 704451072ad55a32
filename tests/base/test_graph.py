"""Order, cycles, size; and which sources and sinks a task's code refers to."""

from __future__ import annotations

import functools
import json
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from glacier_prefect import Pipeline, pipeline, task
from glacier_prefect.loading import load_pipelines
from glacier_prefect.providers import LocalProvider
from glacier_prefect.sources import Source

provider = LocalProvider(base_path="data")
raw = provider.bucket_source("raw", "global.parquet")


@task
def start() -> int:
    return 1


@task
def step(*values: Any) -> Any:
    return values


def test_nodes_come_after_all_that_they_wait_for() -> None:
    @pipeline
    def diamond() -> Any:
        one = start()
        left, right = step(one), step(one)
        return step(left, right)

    order = list(diamond.graph.nodes)
    assert all(order.index(before) < order.index(after) for before, after, _, _ in diamond.graph.edges())


def chain(length: int) -> Pipeline:
    @pipeline
    def long() -> Any:
        value = start()
        for _ in range(length - 1):
            value = step(value)
        return value

    return long


def fan(length: int) -> Pipeline:
    @pipeline
    def wide() -> Any:
        value = start()
        return step([step(value) for _ in range(length - 2)])

    return wide


def tables(length: int) -> Pipeline:
    places = [
        (provider.bucket_source("raw", f"{number}/*.parquet"), provider.bucket_sink("out", f"{number}.parquet"))
        for number in range(length // 2)
    ]

    @pipeline
    def many() -> None:
        for source, sink in places:
            sink.write(step(source))

    return many


def seconds(make: Callable[[int], Pipeline], length: int) -> float:
    begin = time.process_time()
    report = make(length).analyze()
    assert len(report["nodes"]) == length
    json.dumps(report)
    return time.process_time() - begin


@pytest.mark.parametrize("make", [chain, fan])
def test_ten_thousand_nodes_take_linear_time(make: Callable[[int], Pipeline]) -> None:
    make(100).analyze()
    small = min(seconds(make, 1_000) for _ in range(3))
    large = seconds(make, 10_000)
    assert large / small < 30, f"{small:.3f} s for 1,000 nodes, {large:.3f} s for 10,000"
    assert large < 10  # about 1 s on an idle machine


def test_eight_hundred_tables_that_may_overlap_take_little_time() -> None:
    assert seconds(tables, 1_600) < 5  # below 1 s on an idle machine, though each pair is looked at


# -- what code refers to -----------------------------------------------------------------------------------------------


@dataclass
class Settings:
    source: Source
    limit: int = 1


class Names:
    source = provider.bucket_source("raw", "class.parquet")

    def __init__(self, source: Source) -> None:
        self.kept = source

    def read(self) -> Any:
        return self.kept.scan()

    def __call__(self) -> Any:
        return self.kept.scan()

    @property
    def opened(self) -> Any:
        return self.kept.scan()

    @staticmethod
    def plain() -> Any:
        return raw.scan()


settings = Settings(provider.bucket_source("raw", "settings.parquet"))
helper = Names(provider.bucket_source("raw", "object.parquet"))
listed = [provider.bucket_source("raw", "list.parquet")]
mapped = {"a": (provider.bucket_source("raw", "dict.parquet"),)}
bound = functools.partial(lambda source: source.scan(), provider.bucket_source("raw", "partial.parquet"))
bound_method = helper.read


def read_raw() -> Any:
    return read_again()


def read_again() -> Any:
    return raw.scan()


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner() -> Any:
        return function()

    return inner


@task
def other_task() -> Any:
    return raw.scan()


def closure() -> Callable[[], Any]:
    source = provider.bucket_source("raw", "closure.parquet")

    def read() -> Any:
        return source.scan()

    return read


def recursive() -> Any:
    return recursive() if settings.limit else raw.scan()


CASES: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "global": (lambda: raw.scan(), {"global"}),
    "nested function": (lambda: [each for each in (lambda: raw)()], {"global"}),
    "closure": (closure(), {"closure"}),
    "default": (lambda source=listed[0]: source.scan(), {"list"}),
    "keyword-only default": (lambda *, source=listed[0]: source.scan(), {"list"}),
    "list": (lambda: listed[0].scan(), {"list"}),
    "dict": (lambda: mapped["a"][0].scan(), {"dict"}),
    "dataclass": (lambda: settings.source.scan(), {"settings"}),
    "class attribute": (lambda: Names.source.scan(), {"class"}),
    "method of an object": (lambda: helper.read(), {"object"}),
    "property of an object": (lambda: helper.opened, {"object"}),
    "attribute of an object": (lambda: helper.kept.scan(), {"object"}),
    "static method": (lambda: Names.plain(), {"global"}),
    "object that is called": (helper, {"object"}),
    "bound method": (lambda: bound_method(), {"object"}),
    "partial": (lambda: bound(), {"partial"}),
    "helper of a helper": (lambda: read_raw(), {"global"}),
    "decorated": (decorated(lambda: raw.scan()), {"global"}),
    "another task's function": (lambda: other_task(), {"global"}),
    "recursion": (recursive, {"global"}),
    "nothing": (lambda: settings.limit, set()),
}


@pytest.mark.parametrize(("function", "expected"), CASES.values(), ids=CASES)
def test_sources_that_a_function_refers_to_are_found(function: Callable[..., Any], expected: set[str]) -> None:
    made = Pipeline("reading", tasks=[task(name="reading")(function)])
    found = {source.path.removesuffix(".parquet") for source in made.graph.nodes["reading"].reads}
    assert found >= expected
    # A dataclass's fields and an object's class come with it: to grant too much is safe, too little is not.
    assert found <= expected | {"settings", "object"}


@pytest.mark.parametrize(
    "argument",
    [raw, [raw], (1, {"deep": [raw]}), {"a": {"b": raw}}, Settings(raw), [Settings(raw)]],
    ids=["alone", "list", "nested", "dict", "dataclass", "dataclass in a list"],
)
def test_sources_in_arguments_are_found(argument: Any) -> None:
    @pipeline
    def reading() -> Any:
        return step(argument)

    assert reading.graph.nodes["step"].reads == (raw,)


def test_sinks_and_sources_of_modules_and_packages_are_found(tmp_path: Path) -> None:
    (tmp_path / "places").mkdir()
    (tmp_path / "places/__init__.py").write_text("")
    (tmp_path / "places/deep.py").write_text(
        textwrap.dedent("""
            from glacier_prefect.providers import LocalProvider
            provider = LocalProvider(base_path="data")
            raw = provider.bucket_source("raw", "module.parquet")
            out = provider.bucket_sink("out", "module.parquet")
            def read():
                return raw.scan()
        """)
    )
    (tmp_path / "graph_flow.py").write_text(
        textwrap.dedent("""
            import places.deep
            import places.deep as short
            from glacier_prefect import pipeline, task
            @task
            def by_attribute():
                return short.out.write(short.raw.scan())
            @task
            def by_function():
                return short.read()
            @task
            def by_chain():
                return places.deep.raw.scan()
            @pipeline
            def reading():
                frame = by_attribute()
                by_function.with_options(depends_on=[by_attribute])()
                by_chain.with_options(depends_on=[by_attribute])()
                return frame
        """)
    )
    try:
        graph = load_pipelines(str(tmp_path / "graph_flow.py"))["reading"].graph
        found = {name: {str(each) for each in node.locations} for name, node in graph.nodes.items()}
    finally:
        sys.path.remove(str(tmp_path))
    assert found == {
        "by_attribute": {"source raw/module.parquet", "sink out/module.parquet"},
        "by_function": {"source raw/module.parquet"},
        "by_chain": {"source raw/module.parquet"},
    }


def test_libraries_are_not_looked_into() -> None:
    library = ModuleType("library")
    library.raw = raw  # type: ignore[attr-defined]
    reading = task(name="reading")(lambda: library.raw.scan())
    assert Pipeline("reading", tasks=[reading]).graph.nodes["reading"].reads == ()
