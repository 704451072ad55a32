"""Caching by content: when a task runs again, when it does not, and what is kept of it, with a server and without.

Each run is a process of its own. Bodies note in a file that they ran.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cache")]

FLOW = """
import io
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import other
import polars as pl
from prefect.cache_policies import INPUTS, TASK_SOURCE

from glacier_prefect import pipeline, task
from glacier_prefect.providers import LocalProvider

provider = LocalProvider(base_path="data")
rows = provider.bucket_source(bucket="in", path="rows.csv")
FACTOR = 2
SETTINGS = {"days": [date(2026, 1, 1), date(2026, 1, 2)], "names": {"a", "b", "c"}, "ratio": 1}
ONE, TWO, THREE = 1, 2, 1
counted = {"pickled": 0, "serialized": 0, "hashed": 0}

def ran(name):
    with open("ran", "a") as file:
        file.write(name + "\\n")

def times(frame):
    return frame.with_columns(b=pl.col("a") * 3)

def noted(frame):
    ran("the query of lazy")
    return frame

@task
def uncached(source):
    ran("uncached")
    return source.scan().select(pl.col("a").sum()).collect().item()

@task(cache=True)
def frame(source) -> pl.LazyFrame:
    ran("frame")
    return source.scan()

@task(columns=["a"])
def total(frame) -> int:
    return frame.select(pl.col("a").sum()).collect().item()

@task(cache=True)
def eager(source) -> pl.DataFrame:
    ran("eager")
    return source.scan().collect()

@task
def height(frame) -> int:
    assert isinstance(frame, pl.DataFrame)
    return frame.height

@task(cache=True)
def in_a_dict(source) -> dict:
    ran("in_a_dict")
    return {"rows": 1, "used": source.scan(), "unused": source.scan().head(1)}

@task(cache=True)
def constant(source) -> int:
    ran("constant")
    return source.scan().select(pl.col("a").sum() * FACTOR).collect().item()

@task(cache=True)
def helped(source) -> int:
    ran("helped")
    return times(source.scan()).select(pl.col("b").sum()).collect().item()

@task(cache=True)
def of_settings() -> int:
    ran("of_settings")
    return len(SETTINGS) + ONE + TWO + THREE

@dataclass
class Limits:
    low: int = 1

@task(cache=True)
def of_modules(limits) -> int:
    ran("of_modules")
    return other.Window.size + other.plus(limits.low)

@task(cache=True, checks=[pl.col("a") < 100])
def checked(source) -> pl.LazyFrame:
    ran("checked")
    return source.scan()

@task(cache=True, name="named")
def with_option(source) -> int:
    ran("with_option")
    return 1

@task
def lazy(source) -> pl.LazyFrame:
    return source.scan().map_batches(noted)

@task
def lazier(frame) -> pl.LazyFrame:
    return frame.with_columns(a=pl.col("a") + 1)

@task(cache=True)
def of_lazy(frame) -> int:
    ran("of_lazy")
    return frame.select(pl.col("a").sum()).collect().item()

@task(cache_policy=INPUTS)
def by_inputs(frame) -> int:
    ran("by_inputs")
    return frame.select(pl.len()).collect().item()

@task(cache_policy=TASK_SOURCE)
def by_source(frame) -> int:
    ran("by_source")
    return frame.select(pl.len()).collect().item()

@task(cache_policy=TASK_SOURCE)
def by_source_too(frame) -> str:
    ran("by_source_too")
    return "another"

@task(cache_key_fn=lambda context, parameters: parameters["frame"])
def by_function(frame) -> int:
    ran("by_function")
    return frame.select(pl.len()).collect().item()

@task(cache=True)
def item(x, source) -> int:
    ran(f"item {x}")
    return x * source.scan().select(pl.len()).collect().item()

@task(cache=True)
def fails(source):
    ran("fails")
    raise ValueError("not kept")

@pipeline
def everything():
    table = frame(rows)
    parts = in_a_dict(rows)
    return {
        "uncached": uncached(rows),
        "total": total(table),
        "height": height(eager(rows)),
        "of dict": total.with_options(name="of dict")(parts["used"]),
        "rows": parts["rows"],
        "constant": constant(rows),
        "helped": helped(rows),
        "of_settings": of_settings(),
        "of_modules": of_modules(Limits()),
        "checked": total.with_options(name="of checked")(checked(rows)),
        "option": with_option(rows),
        "of_lazy": of_lazy(lazier(lazy(rows))),
        "by_inputs": by_inputs(table),
        "by_source": by_source(table),
        "by_source_too": by_source_too(table),
        "by_function": by_function(table),
    }

@pipeline
def mapped(numbers: list[int]):
    from glacier_prefect import unmapped
    return item.map(numbers, unmapped(rows))

@pipeline
def failing():
    return fails(rows)

def count(kind, name, what):
    original = getattr(kind, name)
    def counting(self, *args, **kwargs):
        counted[what] += 1
        return original(self, *args, **kwargs)
    setattr(kind, name, counting)

if __name__ == "__main__":
    import sys
    for kind in (pl.LazyFrame, pl.DataFrame):
        count(kind, "__getstate__", "pickled")
        count(kind, "serialize", "serialized")
    count(pl.DataFrame, "write_ipc", "hashed")
    count(pl.DataFrame, "hash_rows", "hashed")
    name, *numbers = sys.argv[1:]
    result = globals()[name].run(*([[int(each) for each in numbers]] if numbers else []))
    print("RESULT " + json.dumps([result, counted]))
"""
OTHER = """
EXTRA = 3

class Window:
    size = 10

def plus(x):
    return x + EXTRA
"""


@dataclass
class Runs:
    """Runs of the script in one folder."""

    project: Any

    def start(self) -> None:
        shutil.rmtree(self.project.folder / "data", ignore_errors=True)
        self.project.write("flow.py", FLOW)
        self.project.write("other.py", OTHER)
        self.project.write("data/in/rows.csv", "a\n1\n2\n3\n")

    def run(self, *args: str, forked: bool = True) -> tuple[Any, dict[str, int], set[str]]:
        """Return result, counts, and the names of the bodies that ran."""
        log = self.project.folder / "ran"
        log.write_text("")
        output = self.project.run("flow.py", *(args or ("everything",)), forked=forked).stdout
        result, counted = json.loads(output.rpartition("RESULT ")[2])
        ran = log.read_text().split("\n")[:-1]
        assert len(ran) == len(set(ran)), ran
        return result, counted, set(ran)

    def after(self, old: str, new: str, name: str = "flow.py") -> set[str]:
        """Return the names of the bodies that run after one change of the code, which stays."""
        file = self.project.folder / name
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))
        return self.run()[2]


RESULT = {
    "uncached": 6,
    "total": 6,
    "height": 3,
    "of dict": 6,
    "rows": 1,
    "constant": 12,
    "helped": 18,
    "of_settings": 7,
    "of_modules": 14,
    "checked": 6,
    "option": 1,
    "of_lazy": 9,
    "by_inputs": 3,
    "by_source": 3,
    "by_source_too": "another",
    "by_function": 3,
}
WITH_FRAMES = {"frame", "eager", "in_a_dict", "checked"}
NOT_OF_INPUT = {"of_settings", "of_modules", "by_source", "by_source_too"}
ALL = WITH_FRAMES | NOT_OF_INPUT | {"by_inputs", "by_function", "constant", "helped", "with_option"}
ALL |= {"uncached", "of_lazy", "the query of lazy"}


@pytest.fixture(scope="module")
def runs(offline: Any) -> Runs:
    """Runs without a server, of which the first is over."""
    made = Runs(offline)
    made.start()
    result, counted, ran = made.run()
    assert result == RESULT
    assert ran == ALL
    assert counted == {"pickled": 0, "serialized": 0, "hashed": 0}
    return made


def test_another_process_takes_every_cached_result_and_no_other(runs: Runs) -> None:
    result, counted, ran = runs.run(forked=False)  # with another seed of hashes, too
    assert result == RESULT
    assert ran == {"uncached"}
    assert counted == {"pickled": 0, "serialized": 0, "hashed": 0}


def test_a_change_of_code_runs_what_it_concerns_again_and_nothing_else(runs: Runs) -> None:
    assert runs.after("FACTOR = 2", "FACTOR = 4") == {"uncached", "constant"}
    assert runs.after('pl.col("a") * 3', 'pl.col("a") * 5') == {"uncached", "helped"}
    assert runs.after('pl.col("a") < 100', 'pl.col("a") < 99') == {"uncached", "checked"}
    assert runs.after("THREE = 1, 2, 1", "THREE = 1, 2, 2") == {"uncached", "of_settings"}
    assert runs.after("date(2026, 1, 2)", "date(2026, 1, 3)") == {"uncached", "of_settings"}
    assert runs.after("low: int = 1", "low: int = 2") == {"uncached", "of_modules"}
    assert runs.after("EXTRA = 3", "EXTRA = 4", "other.py") == {"uncached", "of_modules"}
    assert runs.after("size = 10", "size = 11", "other.py") == {"uncached", "of_modules"}
    # A function far up in the query; and one that an own policy looks at.
    changed = runs.after('pl.col("a") + 1', 'pl.col("a") + 2')
    assert changed == {"uncached", "of_lazy", "the query of lazy"}
    assert runs.after('    return "another"', '    return "changed"') == {"uncached", "by_source_too"}
    result, _, ran = runs.run()
    assert ran == {"uncached"}
    assert (result["constant"], result["helped"], result["of_lazy"], result["by_source_too"]) == (24, 30, 12, "changed")
    assert (result["of_settings"], result["of_modules"]) == (8, 17)


def test_a_change_of_an_option_runs_the_task_again(runs: Runs) -> None:
    assert runs.after('name="named"', 'name="renamed"') == {"uncached", "with_option"}


def test_another_consumer_of_a_cached_frame_finds_all_its_columns(runs: Runs) -> None:
    runs.project.write("data/in/rows.csv", "a,z\n1,5\n2,5\n3,5\n")
    runs.run()
    # The consumer in the first run read one column of the frame; the file has to have the other too.
    old, new = (
        f'columns=["{name}"])\ndef total(frame) -> int:\n    return frame.select(pl.col("{name}")' for name in "az"
    )
    assert runs.after(old, new) == {"uncached"}


def test_one_changed_byte_of_the_input_runs_again_what_reads_it(runs: Runs) -> None:
    runs.start()
    runs.run()
    size = (runs.project.folder / "data/in/rows.csv").stat().st_size
    runs.project.write("data/in/rows.csv", "a\n1\n2\n4\n")
    assert (runs.project.folder / "data/in/rows.csv").stat().st_size == size
    result, _, ran = runs.run()
    assert ran == ALL - NOT_OF_INPUT
    assert (result["total"], result["of_lazy"], result["height"]) == (7, 10, 3)
    assert runs.run()[2] == {"uncached"}


def test_a_cached_frame_whose_file_is_gone_is_made_again(runs: Runs) -> None:
    runs.start()
    runs.run()
    frames = list((runs.project.folder / "data/.glacier/cache/frames").iterdir())
    assert len(frames) >= 3
    for file in frames:
        file.unlink()
    result, _, ran = runs.run()
    assert result == RESULT
    assert ran == WITH_FRAMES | {"uncached"}
    assert runs.run()[2] == {"uncached"}


def test_a_stored_result_that_cannot_be_read_is_made_again(runs: Runs) -> None:
    runs.start()
    runs.run()
    for file in (runs.project.folder / "data/.glacier/cache/results").iterdir():
        if file.is_file():
            file.write_bytes(b"cut off")
    assert runs.run()[::2] == (RESULT, ALL)


def test_items_of_a_map_are_cached_one_by_one(runs: Runs) -> None:
    assert runs.run("mapped", "1", "2")[::2] == ([3, 6], {"item 1", "item 2"})
    assert runs.run("mapped", "3", "2", "1")[::2] == ([9, 6, 3], {"item 3"})


def test_a_failure_is_not_cached(runs: Runs) -> None:
    for _ in range(2):
        (runs.project.folder / "ran").write_text("")
        failed = runs.project.run("flow.py", "failing", check=False)
        assert "not kept" in failed.stderr
        assert (runs.project.folder / "ran").read_text() == "fails\n"


def test_under_a_server_the_same_results_are_taken_and_shown_as_cached(project: Any, api: Any) -> None:
    runs = Runs(project)
    runs.start()
    assert runs.run()[::2] == (RESULT, ALL)
    assert runs.run()[::2] == (RESULT, {"uncached"})
    first, second = api.flow_runs("everything")
    cached = ("frame", "eager", "constant", "of_lazy", "by_inputs", "by_source", "by_function")
    shown = api.task_runs(second["id"], *cached, "uncached", "total")
    states = {name: each["state_name"] for name, each in shown.items()}
    assert {states[name] for name in cached} == {"Cached"}
    assert states["uncached"] == states["total"] == "Completed"
    assert {each["state_name"] for each in api.task_runs(first["id"], *cached).values()} <= {"Completed", "Lazy"}
    runs.project.write("data/in/rows.csv", "a\n1\n2\n4\n")
    assert runs.run()[2] == ALL - NOT_OF_INPUT
    shutil.rmtree(project.folder / "data/.glacier/cache/frames")
    assert runs.run()[2] == WITH_FRAMES | {"uncached"}
