"""The flight example, run as its reader runs it, against a plain Polars script and against committed hashes."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect.providers import LocalProvider

# With pytest -n all of these share one process, and so the runs that they look at.
pytestmark = pytest.mark.xdist_group("flight_delays")

EXAMPLE = Path(__file__).parents[2] / "examples" / "flight_delays"
REFERENCE = Path(__file__).with_name("reference_flight_delays.py")
PATHS = {"airlines": "airlines", "routes": "routes.parquet"}
HASHES = {
    "airlines": "338051e1c5ca0584c09b57a07e17c8c15db08e44b66a9a01865a2bdc88b31b13",
    "routes": "f537d897456a586ba52e06428ecd4bfa061d9947a40487b107a112efcec0f813",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of a task's body in `flow.py`, and the reports that it has to change."""

    task: str
    old: str
    new: str
    reports: tuple[str, ...]


CHANGES = [
    Change(task="load_tables", old="source.scan()", new="source.scan().head(300_000)", reports=("airlines", "routes")),
    Change(task="completed_flights", old=">= 15", new="> 15", reports=("airlines",)),
    Change(task="completed_flights", old='drop_nulls("arr_delay")', new="slice(1000)", reports=("airlines", "routes")),
    Change(task="add_plane_age", old="2013 - ", new="2014 - ", reports=("airlines",)),
    Change(task="add_plane_age", old='"left"', new='"inner"', reports=("airlines", "routes")),
    Change(task="add_weather", old="wet | foggy | stormy", new="wet | foggy", reports=("routes",)),
    Change(task="add_weather", old="< 3", new="< 4", reports=("routes",)),
    Change(task="delays_by_airline", old='pl.mean("delay")', new='pl.median("delay")', reports=("airlines",)),
    Change(task="delays_by_airline", old=">= min_flights", new=">= 0", reports=("airlines",)),
    Change(task="name_airlines", old='airline="name"', new='airline="carrier"', reports=("airlines",)),
    Change(task="delays_by_route", old="delay_good=good", new="delay_good=bad", reports=("routes",)),
    Change(task="delays_by_route", old=">= min_flights", new=">= 0", reports=("routes",)),
    Change(task="name_destinations", old='"left"', new='"inner"', reports=("routes",)),
    Change(task="rank_routes", old=".round(1)", new=".round(0)", reports=("routes",)),
]
FAILING_CHECK = Change(task="delays_by_airline", old='pl.mean("late")', new='pl.sum("late")', reports=())

# Runs the pipelines of several files in one process, since starting one takes longer than running one.
RUN_EACH = """
import importlib.util, sys, traceback
from pathlib import Path

for file in map(Path, sys.argv[1:]):
    spec = importlib.util.spec_from_file_location(f"flow_{file.parent.name}", file)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        module.flight_delays.run()
    except Exception:
        (file.parent / "error.txt").write_text(traceback.format_exc())
"""


def python(*arguments: str | Path, home: Path) -> str:
    """Run Python in an environment that has an empty HOME and nothing else, and return what it printed."""
    home.mkdir(exist_ok=True)
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def reports_in(example: Path) -> dict[str, pl.DataFrame]:
    provider = LocalProvider(base_path=example / "data")
    return {
        name: provider.bucket_source(bucket="nyc-reports", path=path).scan().collect() for name, path in PATHS.items()
    }


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort(frame.columns)


def content_hash(frame: pl.DataFrame) -> str:
    """Hash names, types and sorted rows: the content, whatever file format and order it came in."""
    schema = ", ".join(f"{name}: {dtype}" for name, dtype in frame.schema.items())
    return hashlib.sha256(f"{schema}\n{in_order(frame).write_csv()}".encode()).hexdigest()


def changed(source: str, change: Change) -> str:
    """Return the text of a flow with `change` made in the body of its task."""
    task = next(each for each in tasks_of(source) if each.name == change.task)
    body = ast.get_source_segment(source, task)
    assert body is not None
    assert body.count(change.old) == 1, f"{change.old!r} is not once in {change.task}: bring CHANGES up to date"
    return source.replace(body, body.replace(change.old, change.new))


def tasks_of(source: str) -> list[ast.FunctionDef]:
    def is_task(decorator: ast.expr) -> bool:
        return ast.unparse(decorator).partition("(")[0] == "task"

    functions = [each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
    return [each for each in functions if any(map(is_task, each.decorator_list))]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What `make demo` does, done in a copy of the example."""

    example: Path
    home: Path
    prepared: str
    printed: str
    reports: dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    example, home = folder / "flight_delays", folder / "home"
    shutil.copytree(EXAMPLE, example, ignore=shutil.ignore_patterns("data", "__pycache__", ".glacier"))
    prepared = python(example / "prepare.py", home=home)
    printed = python(example / "flow.py", home=home)
    return Demo(example=example, home=home, prepared=prepared, printed=printed, reports=reports_in(example))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("reference")
    python(REFERENCE, folder, home=folder / "home")
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in PATHS}


@pytest.fixture(scope="module")
def copies(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> dict[Change | None, Path]:
    """Folders in which the unchanged flow (None) and each changed one have run on the same raw tables."""
    folder = tmp_path_factory.mktemp("copies")
    source = (EXAMPLE / "flow.py").read_text()
    found: dict[Change | None, Path] = {}
    for number, change in enumerate([None, *CHANGES, FAILING_CHECK]):
        copy = found[change] = folder / str(number)
        shutil.copytree(demo.example / "data" / "nyc-flights", copy / "data" / "nyc-flights")
        (copy / "flow.py").write_text(changed(source, change) if change else source)
        shutil.copyfile(EXAMPLE / "glacier.toml", copy / "glacier.toml")
    python("-c", RUN_EACH, *(copy / "flow.py" for copy in found.values()), home=demo.home)
    return found


def test_preparing_prints_a_line_for_each_table(demo: Demo) -> None:
    lines = [line.split()[:2] for line in demo.prepared.splitlines()]
    assert lines == [
        ["flights", "336,776"],
        ["weather", "26,115"],
        ["planes", "3,322"],
        ["airlines", "16"],
        ["airports", "1,458"],
    ]


def test_preparing_again_leaves_the_tables_as_they_are(demo: Demo) -> None:
    files = sorted((demo.example / "data" / "nyc-flights" / "raw").iterdir())
    before = [file.stat().st_mtime_ns for file in files]
    assert python(demo.example / "prepare.py", home=demo.home).count("(was there)") == 5
    assert [file.stat().st_mtime_ns for file in files] == before
    assert {file.suffix for file in files} == {".parquet"}


@pytest.mark.parametrize("name", PATHS)
def test_the_demo_computes_what_plain_polars_computes(
    demo: Demo, reference: dict[str, pl.DataFrame], name: str
) -> None:
    assert_frame_equal(in_order(demo.reports[name]), in_order(reference[name]), check_exact=True)


@pytest.mark.parametrize("name", PATHS)
def test_the_demo_computes_what_was_committed(demo: Demo, name: str) -> None:
    assert content_hash(demo.reports[name]) == HASHES[name]


def test_the_demo_ends_with_the_worst_routes_and_where_the_reports_are(demo: Demo) -> None:
    *_, best, airlines, routes = demo.printed.splitlines()
    assert best.startswith("└")
    worst = demo.printed.partition("╞")[2].splitlines()[1]
    assert [cell.strip() for cell in worst.strip("│").split("┆")][:2] == ["EWR", "Kansas City Intl"]
    for line, path in ((airlines, PATHS["airlines"]), (routes, PATHS["routes"])):
        assert line.split()[1] == (demo.example / "data" / "nyc-reports" / path).as_uri()


def test_one_report_is_a_plain_file_that_lists_the_worst_route_first(demo: Demo) -> None:
    file = pl.read_parquet(demo.example / "data" / "nyc-reports" / "routes.parquet")
    assert file["minutes_lost"].is_sorted(descending=True)
    assert_frame_equal(file, demo.reports["routes"])


def test_the_other_report_has_a_folder_for_each_month(demo: Demo) -> None:
    manifest = json.loads((demo.example / "data/nyc-reports/airlines/_glacier/manifest.json").read_text())
    assert {Path(name).parts[0] for name in manifest["files"]} == {f"month={month}" for month in range(1, 13)}


def test_an_unchanged_copy_gives_the_same_reports(copies: dict[Change | None, Path], demo: Demo) -> None:
    for name, report in reports_in(copies[None]).items():
        assert_frame_equal(in_order(report), in_order(demo.reports[name]), check_exact=True)


def test_every_task_of_the_flow_is_changed_by_some_test() -> None:
    assert {change.task for change in CHANGES} == {each.name for each in tasks_of((EXAMPLE / "flow.py").read_text())}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change.task}: {change.old} -> {change.new}")
def test_a_change_of_a_tasks_body_shows_in_the_reports_below_it_and_only_there(
    copies: dict[Change | None, Path], reference: dict[str, pl.DataFrame], change: Change
) -> None:
    assert not (copies[change] / "error.txt").exists(), (copies[change] / "error.txt").read_text()
    for name, report in reports_in(copies[change]).items():
        if name not in change.reports:
            assert_frame_equal(in_order(report), in_order(reference[name]), check_exact=True)
            continue
        assert content_hash(report) != HASHES[name]
        with pytest.raises(AssertionError, match="DataFrames are different"):
            assert_frame_equal(in_order(report), in_order(reference[name]), check_exact=True)


def test_a_share_above_one_fails_the_check_and_publishes_no_report(copies: dict[Change | None, Path]) -> None:
    copy = copies[FAILING_CHECK]
    error = (copy / "error.txt").read_text()
    assert "delays_by_airline" in error
    assert "late_share" in error
    assert not (copy / "data" / "nyc-reports" / "airlines").exists()


def test_a_task_of_the_flow_is_a_function_that_can_be_tested_alone(demo: Demo) -> None:
    script = f"""
import sys; sys.path.insert(0, {str(demo.example)!r})
import polars as pl
from flow import completed_flights

columns = ["month", "time_hour", "origin", "dest", "carrier", "tailnum"]
flights = pl.LazyFrame({{name: [1, 2, 3] for name in columns}} | {{"arr_delay": [15, None, 14]}})
print(completed_flights(flights).select("month", "late").collect().rows())
"""
    assert python("-c", script, home=demo.home).strip() == "[(1, True), (3, False)]"
