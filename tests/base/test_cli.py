"""The command line: what each command prints, where to, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.cli import main
from glacier_prefect.providers import LocalProvider

FLOW = """
import os
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import LocalProvider

print("loading")
provider = LocalProvider(base_path="data")
out = provider.bucket_sink("out", "{run_date:%Y-%m-%d}.parquet")

@task
def make(day: str, limit: int) -> pl.LazyFrame:
    print(f"making {day}")
    if os.path.exists("broken-" + day):
        raise RuntimeError("the source is broken")
    return pl.LazyFrame({"number": range(limit)})

@task
def today() -> str:
    from glacier_prefect import run_context
    return run_context.current().run_date.date().isoformat()

@pipeline(name="daily-numbers", timezone="Europe/Paris")
def daily(limit: int = 2, names: list[str] = ["a"]):
    '''Make numbers.'''
    return {"written": out.write(make(today(), limit)), "names": names, "day": today()}
"""
SMALL = """
import os
from glacier_prefect import Pipeline, pipeline, task

@task
def one() -> int:
    return 1

@pipeline
def {name}():
    '''{text}'''
    return one()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLACIER_ENV", "dev")
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


def ended(*words: str) -> int:
    """Run the command line and return its exit code."""
    try:
        main(words)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def written(day: str) -> list[int]:
    frame = LocalProvider(base_path="data").bucket_source("out", f"{day}.parquet").scan().collect()
    return frame["number"].to_list()


# -- run ---------------------------------------------------------------------------------------------------------------


def test_run_prints_the_result_for_people(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert ended("run", "flow.py", "--date", "2026-01-31") == 0
    out = capsys.readouterr().out
    assert f"written: written to {(folder / 'data/out/2026-01-31.parquet').as_uri()}" in out
    assert "names: a" in out
    assert "day: 2026-01-31" in out
    assert written("2026-01-31") == [0, 1]


def test_parameters_have_the_types_of_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "flow.py", "--date", "2026-02-01", "--param", "limit=3", "-p", 'names=["x=1", "y"]', "--json"]
    assert ended(*words) == 0
    assert json.loads(capsys.readouterr().out)["result"]["names"] == ["x=1", "y"]
    assert written("2026-02-01") == [0, 1, 2]


def test_run_with_json_prints_nothing_else_to_stdout(folder: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from glacier_prefect.cli import main; main()",
        "run",
        "flow.py",
        "--json",
        "--date",
        "2026-01-31",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "version": 1,
        "pipeline": "daily-numbers",
        "result": {
            "written": {"uri": (folder / "data/out/2026-01-31.parquet").as_uri()},
            "names": ["a"],
            "day": "2026-01-31",
        },
    }
    assert "loading" in done.stderr
    assert "making 2026-01-31" in done.stderr


def test_a_frame_is_shown_as_a_table_or_as_its_columns(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "frames.py").write_text(
        "import polars as pl\nfrom glacier_prefect import pipeline, task\n"
        "@task\ndef make(): return pl.LazyFrame({'number': range(20)})\n"
        "@pipeline\ndef frames(): return [make(), None]\n"
    )
    assert ended("run", "frames.py") == 0
    out = capsys.readouterr().out
    assert "number" in out
    assert "│ 9 " in out
    assert "│ 19 " not in out
    assert ended("run", "frames.py", "--json") == 0
    assert json.loads(capsys.readouterr().out)["result"] == [{"columns": {"number": "Int64"}}, None]


def test_one_of_several_pipelines_is_chosen_by_variable_or_name(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "several.py").write_text(
        SMALL.format(name="first", text="") + "second = Pipeline('the-second', tasks=[one])\n"
    )
    for chosen in ("first", "second", "the-second"):
        assert ended("run", f"several.py:{chosen}") == 0
        assert capsys.readouterr().out == "1\n"


def test_a_pipeline_of_the_file_goes_before_those_that_it_imports(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "inner_flow.py").write_text(SMALL.format(name="inner", text=""))
    (folder / "outer_flow.py").write_text("from inner_flow import inner\n" + SMALL.format(name="outer", text=""))
    assert ended("analyze", "outer_flow.py", "--json") == 0
    assert json.loads(capsys.readouterr().out)["pipeline"]["name"] == "outer"


def test_a_file_in_a_package_is_loaded_as_a_part_of_it(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "cli_package").mkdir()
    (folder / "cli_package/__init__.py").write_text("")
    (folder / "cli_package/names.py").write_text("NAME = 'from beside'\n")
    text = "from .names import NAME\n" + SMALL.format(name="inside", text="").replace("return 1", "return NAME")
    (folder / "cli_package/flow.py").write_text(text)
    assert ended("run", "cli_package/flow.py") == 0
    assert capsys.readouterr().out == "from beside\n"


def test_the_environment_is_chosen_before_the_file_is_loaded(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "env_flow.py").write_text(
        SMALL.format(name="daily", text="")
        .replace("return 1", "return NAME")
        .replace("@task", "NAME = os.environ['GLACIER_ENV']\n@task")
    )
    (folder / "glacier.toml").write_text("[environments.prod]\n")
    for words in (("--env", "prod"), ("--env=prod",)):
        assert ended("run", "env_flow.py", *words) == 0
        assert capsys.readouterr().out == "prod\n"


# -- backfill ----------------------------------------------------------------------------------------------------------


def test_backfill_runs_each_date_once_and_skips_committed_ones(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert ended("run", "flow.py", "--date", "2026-03-02", "-p", "limit=5") == 0
    capsys.readouterr()
    words = ["backfill", "flow.py", "--from", "2026-03-01", "--to", "2026-03-03"]
    assert ended(*words, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "pipeline": "daily-numbers",
        "dates": {"2026-03-01": "done", "2026-03-02": "committed", "2026-03-03": "done"},
        "errors": {},
    }
    assert [len(written(f"2026-03-0{day}")) for day in (1, 2, 3)] == [2, 5, 2]
    assert ended(*words) == 0
    seen = capsys.readouterr()
    assert seen.out.endswith("0 done, 3 committed, 0 failed\n")
    assert "may be of other parameters" not in seen.err


def test_backfill_with_parameters_says_that_what_is_committed_may_be_of_others_and_runs_it_when_told_so(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    words = ["backfill", "flow.py", "--from", "2026-03-01", "--to", "2026-03-02"]
    assert ended(*words) == 0
    capsys.readouterr()
    assert ended(*words, "-p", "limit=5") == 0
    seen = capsys.readouterr()
    assert seen.out.endswith("0 done, 2 committed, 0 failed\n")
    assert "may be of other parameters" in seen.err
    assert ended(*words, "-p", "limit=5", "--again") == 0
    seen = capsys.readouterr()
    assert seen.out.endswith("2 done, 0 committed, 0 failed\n")
    assert "may be of other parameters" not in seen.err
    assert [len(written(f"2026-03-0{day}")) for day in (1, 2)] == [5, 5]


def test_a_date_that_fails_ends_with_1_and_the_others_still_run(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "broken-2026-04-01").touch()
    words = ["backfill", "flow.py", "--from", "2026-04-01", "--to", "2026-04-02"]
    assert ended(*words, "--json") == 1
    seen = capsys.readouterr()
    report = json.loads(seen.out)
    assert report["dates"] == {"2026-04-01": "failed", "2026-04-02": "done"}
    assert "RuntimeError: the source is broken" in report["errors"]["2026-04-01"]
    assert "2026-04-01: RuntimeError: the source is broken" in seen.err
    (folder / "broken-2026-04-01").unlink()
    assert ended(*words) == 0
    assert "1 done, 1 committed, 0 failed" in capsys.readouterr().out


def test_backfill_of_a_pipeline_that_writes_in_a_sub_flow_skips_what_that_committed(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "outer_daily.py").write_text(
        "from flow import daily\nfrom glacier_prefect import pipeline\n"
        "@pipeline\ndef outer(size: int = 4):\n    return daily(limit=size)\n"
    )
    words = ["backfill", "outer_daily.py", "--from", "2026-05-01", "--to", "2026-05-01", "--json"]
    assert ended(*words) == 0
    assert json.loads(capsys.readouterr().out)["dates"] == {"2026-05-01": "done"}
    assert len(written("2026-05-01")) == 4
    assert ended(*words) == 0
    assert json.loads(capsys.readouterr().out)["dates"] == {"2026-05-01": "committed"}


# -- analyze and validate ----------------------------------------------------------------------------------------------


def test_analyze_shows_the_pipeline_in_each_format(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {}
    for kind in ("text", "mermaid", "json", "html"):
        assert ended("analyze", "flow.py", "--format", kind) == 0
        shown[kind] = capsys.readouterr().out
        assert "make" in shown[kind]
        assert "loading" not in shown[kind].splitlines()
    assert ended("analyze", "flow.py") == 0
    assert capsys.readouterr().out == shown["text"]
    assert ended("analyze", "flow.py", "--json") == 0
    assert capsys.readouterr().out == shown["json"]
    assert json.loads(shown["json"])["version"] == 1
    assert "flowchart" in shown["mermaid"] or "graph" in shown["mermaid"]
    assert shown["html"].lstrip().lower().startswith("<!doctype html>")


@pytest.mark.parametrize("words", [["--format", "html", "-o", "page.html"], ["--output", "page.html"]])
def test_analyze_writes_to_a_file(words: list[str], capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert ended("analyze", "flow.py", *words) == 0
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "Written to page.html" in seen.err
    assert (folder / "page.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_analyze_opens_the_page_in_a_browser(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert ended("analyze", "flow.py", "--open") == 0
    assert opened == [(folder / "analysis.html").as_uri()]


def test_validate_checks_all_pipelines_of_all_files_even_of_one_name(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    for name in ("north", "south"):
        (folder / name).mkdir()
        (folder / name / "beside.py").write_text(f"PLACE = '{name}'\n")
        (folder / name / "same_flow.py").write_text(
            "from beside import PLACE\n"
            + SMALL.format(name=name, text="").replace("@pipeline", "@pipeline(name=PLACE)")
        )
    with (folder / "north/same_flow.py").open("a") as file:
        file.write("second = Pipeline('second', tasks=[one])\n")
    assert ended("validate", "north/same_flow.py", "south/same_flow.py") == 0
    assert capsys.readouterr().out.splitlines() == [
        "north/same_flow.py: north is valid, 1 node",
        "north/same_flow.py: second is valid, 1 node",
        "south/same_flow.py: south is valid, 1 node",
    ]


def test_validate_names_each_broken_file_and_ends_with_2(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "bad_flow.py").write_text(
        "from glacier_prefect import task\n\n@task(depends_on=['load'])\ndef clean(): ...\n"
    )
    assert ended("validate", "bad_flow.py", "flow.py", "nowhere.py") == 2
    out = capsys.readouterr().out
    assert "bad_flow.py: depends_on of task 'clean' contains 'load' (str)" in out
    assert "bad_flow.py, line 3." in out
    assert "flow.py: daily-numbers is valid, 4 nodes" in out
    assert "nowhere.py: There is no file 'nowhere.py'" in out
    assert ended("validate", "--json", "bad_flow.py", "flow.py") == 2
    report = json.loads(capsys.readouterr().out)
    assert [bool(each["error"]) for each in report["pipelines"]] == [True, False]
    assert report["pipelines"][1] == {
        "file": "flow.py",
        "variable": "daily",
        "pipeline": "daily-numbers",
        "nodes": 4,
        "error": None,
    }


def test_nothing_runs_when_a_pipeline_is_analysed_or_validated(folder: Path) -> None:
    assert ended("analyze", "flow.py") == 0
    assert ended("validate", "flow.py") == 0
    assert not (folder / "data").exists()


# -- help --------------------------------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_what_all_of_them_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("--help") == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("run", "backfill", "analyze", "validate", "--debug", "--env"))


def test_nothing_after_glacier_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended() == 0
    assert "backfill" in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    from glacier_prefect import __version__

    assert ended("--version") == 0
    assert capsys.readouterr().out.strip() == __version__
