"""Bad input: what the command line says, and its exit code (2 for bad usage or a bad pipeline, 1 for a run that
failed).

No traceback is shown, and `--debug` shows it.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from glacier_prefect.cli import main

HEAD = """
import polars as pl
from glacier_prefect import Pipeline, pipeline, task
from glacier_prefect.providers import LocalProvider

provider = LocalProvider(base_path="data")

@task
def load() -> pl.LazyFrame:
    return pl.LazyFrame({"amount": [1, -2, 3]})

@task
def use(value):
    return value
"""
GOOD = """
@pipeline
def daily(limit: int = 1):
    return load()
"""
REGIONS = """
out = provider.bucket_sink("out", "regions/{region}/a.parquet")

@pipeline
def daily(region: str):
    return out.write(load())
"""


@dataclass(frozen=True)
class Case:
    """A file, a command line, and what comes of it."""

    text: str
    code: int
    says: list[str]
    words: tuple[str, ...] = ("run", "flow.py")


def body(line: str, parameters: str = "") -> str:
    return f"\n@pipeline\ndef daily({parameters}):\n    {line}\n"


CASES = {
    "string as dependency": Case(
        "@task(depends_on=['load'])\ndef clean(): ...\n",
        2,
        [
            "depends_on of task 'clean' contains 'load' (str); expected Task objects.",
            "not its name",
            "flow.py, line 15.",
        ],
    ),
    "undecorated dependency": Case(
        "def plain(): ...\n\n@task(depends_on=[plain])\ndef clean(): ...\n",
        2,
        ["depends_on of task 'clean' contains <function plain", "decorate 'plain' with @task"],
    ),
    "cycle": Case(
        "@task(depends_on=[use])\ndef last(): ...\n" + body("return use(last())"),
        2,
        ["pipeline 'daily' has tasks that wait for each other: ", "use -> last", "last -> use"],
    ),
    "two functions of one name": Case(
        "@task(name='load')\ndef other(): ...\n" + body("return [load(), other()]"),
        2,
        [
            "pipeline 'daily' has two different things named 'load': ",
            "flow.py:8",
            "flow.py:15",
            "with_options(name=...)",
        ],
    ),
    "unknown executor": Case(
        "@task(executor='databrick')\ndef clean(): ...\n",
        2,
        ["task 'clean' has the unknown executor 'databrick'. Did you mean 'databricks'?"],
    ),
    "unknown option of a task": Case(
        "@task(retry=2)\ndef clean(): ...\n", 2, ["has the unknown option 'retry'. Did you mean 'retries'?"]
    ),
    "unknown option of a pipeline": Case(
        "@pipeline(scheduled='0 6 * * *')\ndef daily(): ...\n",
        2,
        ["has the unknown option 'scheduled'. Did you mean 'schedule'?"],
    ),
    "schedule that is none": Case(
        "@pipeline(schedule='daily')\ndef daily(): ...\n",
        2,
        ["pipeline 'daily' has schedule='daily'; expected a cron expression"],
    ),
    "timezone that is none": Case(
        "@pipeline(timezone='Europa/Paris')\ndef daily(): ...\n",
        2,
        ["unknown timezone 'Europa/Paris'. Did you mean 'Europe/Paris'?"],
    ),
    "parameter tested for truth": Case(
        body("return load() if limit else None", "limit: int = 1"),
        2,
        ["the parameter 'limit' is tested for truth", "Hint: do that in a task", "flow.py, line 18."],
    ),
    "attribute of a result": Case(
        body("return load().drop_nulls()"),
        2,
        ["the result of 'load' has its attribute 'drop_nulls' read in the pipeline function"],
    ),
    "result in an f-string": Case(
        body("return use(f'{load()}')"), 2, ["the result of 'load' is made a text (str, f-string)"]
    ),
    "wrong arguments": Case(
        body("return use()"), 2, ["Task 'use' cannot be called so: missing a required argument: 'value'"]
    ),
    "field of a path that is nothing": Case(
        REGIONS.replace("region: str", "regoin: str"),
        2,
        [
            "has the field 'region', which is neither a parameter of pipeline 'daily' nor 'run_date'. Did you mean "
            "'regoin'?"
        ],
    ),
    "missing file": Case(GOOD, 2, ["There is no file 'flw.py'. Did you mean 'flow.py'?"], ("run", "flw.py")),
    "file that is no Python": Case(GOOD, 2, ["'flow.txt' is not a Python file"], ("run", "flow.txt")),
    "folder": Case(GOOD, 2, ["There is no file 'data'"], ("run", "data")),
    "file that cannot be read": Case(
        "def broken(:\n", 2, ["Error: flow.py cannot be imported: SyntaxError: invalid syntax (flow.py, line 15)\n"]
    ),
    "file that fails": Case(
        "1 / 0\n", 2, ["flow.py cannot be imported: ZeroDivisionError: division by zero (flow.py, line 15)"]
    ),
    "file that ends the process": Case(
        "raise SystemExit(0)\n", 2, ["flow.py cannot be imported: SystemExit: 0 (flow.py, line 15)"]
    ),
    "import that is not there": Case(
        "import nothing_here\n", 2, ["ModuleNotFoundError: No module named 'nothing_here'"]
    ),
    "file without a pipeline": Case("", 2, ["flow.py has no pipeline.", "decorate a function with @pipeline"]),
    "several and none chosen": Case(
        GOOD + GOOD.replace("daily", "weekly"),
        2,
        ["flow.py has 2 pipelines; say which: flow.py:daily, flow.py:weekly."],
    ),
    "one chosen that is not there": Case(
        GOOD, 2, ["flow.py has no pipeline 'dialy'. Did you mean 'daily'?"], ("run", "flow.py:dialy")
    ),
    "date that is not one": Case(
        GOOD, 2, ["'tomorrow' is not a date; expected one like '2026-01-31'"], ("run", "flow.py", "--date", "tomorrow")
    ),
    "day that is not in the month": Case(
        GOOD, 2, ["'2026-02-30' is not a date"], ("run", "flow.py", "--date", "2026-02-30")
    ),
    "first date of a backfill that is not one": Case(
        GOOD, 2, ["'soon' is not a date"], ("backfill", "flow.py", "--from", "soon", "--to", "2026-01-01")
    ),
    "backfill backwards": Case(
        GOOD,
        2,
        ["--to 2026-01-01 is before --from 2026-01-02"],
        ("backfill", "flow.py", "--from", "2026-01-02", "--to", "2026-01-01"),
    ),
    "backfill without an end": Case(GOOD, 2, ["--to"], ("backfill", "flow.py", "--from", "2026-01-02")),
    "value that leaves its prefix": Case(
        REGIONS,
        2,
        ["'../secret' of 'region' has a '..' part", "fixed prefix", "In task 'write-a'"],
        ("run", "flow.py", "-p", "region=../secret"),
    ),
    "absolute value": Case(REGIONS, 2, ["'/etc' of 'region' starts with '/'"], ("run", "flow.py", "-p", "region=/etc")),
    "value that is a glob": Case(REGIONS, 2, ["'*' of 'region' is a glob"], ("run", "flow.py", "-p", "region=*")),
    "empty value": Case(REGIONS, 2, ["'' of 'region' is empty"], ("run", "flow.py", "-p", "region=")),
    "parameter that is not given": Case(REGIONS, 2, ["Pipeline 'daily' needs region.", "--param region=VALUE"]),
    "parameter that is not there": Case(
        GOOD,
        2,
        ["Pipeline 'daily' has no parameter 'limti'. Did you mean 'limit'?"],
        ("run", "flow.py", "--param", "limti=1"),
    ),
    "parameter without a value": Case(
        GOOD, 2, ["--param 'limit' is not name=value"], ("run", "flow.py", "--param", "limit")
    ),
    "parameter of another type": Case(
        GOOD,
        2,
        ["Parameter limit='many' of pipeline 'daily' does not fit its type"],
        ("run", "flow.py", "--param", "limit=many"),
    ),
    "unknown format": Case("raw = provider.bucket_source('raw', 'a.xlsx')\n", 2, ["'a.xlsx'", "format"]),
    "unknown format by name": Case(
        "raw = provider.bucket_source('raw', 'a.csv', format='paruqet')\n", 2, ["'paruqet'", "Did you mean 'parquet'?"]
    ),
    "unknown format of a report": Case(GOOD, 2, ["--format", "xml"], ("analyze", "flow.py", "--format", "xml")),
    "unknown command": Case(GOOD, 2, ["analyse", "analyze"], ("analyse", "flow.py")),
    "unknown word of a command": Case(GOOD, 2, ["--dat"], ("run", "flow.py", "--dat", "2026-01-01")),
    "environment without a name": Case(
        GOOD, 2, ["--env needs the name of an environment"], ("run", "flow.py", "--env")
    ),
    "empty glob": Case(
        "@task\ndef read(source):\n    return source.scan()\n"
        + body("return read(provider.bucket_source('raw', 'none/*.parquet'))"),
        1,
        ["raw/none/*.parquet", "In task 'read' of pipeline 'daily'"],
    ),
    "missing object": Case(
        "@task\ndef read(source):\n    return source.scan()\n"
        + body("return read(provider.bucket_source('raw', 'ordres.parquet'))"),
        1,
        ["raw/ordres.parquet", "orders.parquet"],
    ),
    "object column": Case(
        "@task(retries=0, materialize=True)\ndef objects():\n    return pl.DataFrame({'thing': [object()]}, "
        "schema={'thing': pl.Object}).lazy()\n"
        + body("return provider.bucket_sink('out', 'a.parquet').write(objects())"),
        1,
        ["Column 'thing'", "has the type Object", "In task 'objects'"],
    ),
    "failing check": Case(
        body("return provider.bucket_sink('out', 'a.parquet', checks=[pl.col('amount') > 0]).write(load())"),
        1,
        ["sink out/a.parquet fails check", "on column 'amount' is false for 1 rows", "-2", "In task 'write-a'"],
    ),
    "declared schema that is not met": Case(
        body("return provider.bucket_sink('out', 'a.parquet', schema={'amuont': pl.Int64}).write(load())"),
        1,
        ["column 'amuont' is missing. Did you mean 'amount'?"],
    ),
    "task that raises": Case(
        "@task\ndef broken(value):\n    raise ValueError('no such shop')\n" + body("return use(broken(load()))"),
        1,
        ["Error: ValueError: no such shop", "In task 'broken' of pipeline 'daily'"],
    ),
    "executor without its settings": Case(
        body("return use.with_options(executor='airflow')(1)"),
        2,
        ["task 'use': executor 'airflow' needs python or dag_id", "AirflowExecutor(python="],
    ),
    "dbt without a project": Case(
        "@task(executor='dbt')\ndef models(): ...\n" + body("return models()"),
        2,
        ["there is no dbt_project.yml in", "DbtExecutor(project_dir=...)"],
    ),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "raiseExceptions", False)  # Prefect's console may hold the stderr of an earlier test
    (tmp_path / "flow.txt").write_text("")
    (tmp_path / "data/raw").mkdir(parents=True)
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "data/raw/orders.parquet")
    return tmp_path


def ended(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_told_without_a_traceback(case: Case, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "flow.py").write_text(HEAD + case.text)
    code = ended(*case.words)
    seen = capsys.readouterr()
    for part in case.says:
        assert part in seen.err
    assert code == case.code, seen.err
    assert "Traceback" not in seen.err
    assert seen.out == ""


@pytest.mark.parametrize(
    "name", ["string as dependency", "file that fails", "date that is not one", "task that raises"]
)
def test_debug_shows_the_traceback_and_ends_with_the_same_code(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[name]
    (folder / "flow.py").write_text(HEAD + case.text)
    assert ended("--debug", *case.words) == case.code
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert all(part in err for part in case.says)


def test_nothing_is_published_by_a_check_that_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "flow.py").write_text(HEAD + CASES["failing check"].text)
    assert ended("run", "flow.py") == 1
    assert not (folder / "data/out/a.parquet").exists()


def test_nothing_is_written_outside_the_prefix(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "flow.py").write_text(HEAD + REGIONS)
    assert ended("run", "flow.py", "-p", "region=../../../escaped") == 2
    assert not list(folder.rglob("*escaped*"))


# -- in processes of their own, as people see them ---------------------------------------------------------------------


def glacier(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from glacier_prefect.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, **variables})


def test_a_task_that_raises_shows_no_traceback_of_prefect_either(folder: Path) -> None:
    (folder / "flow.py").write_text(HEAD + CASES["task that raises"].text)
    done = glacier(folder, "run", "flow.py")
    assert done.returncode == 1
    assert done.stderr.endswith("Error: ValueError: no such shop\nIn task 'broken' of pipeline 'daily'.\n")
    assert "Traceback" not in done.stderr
    shown = glacier(folder, "run", "flow.py", "--debug")
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr
    assert "raise ValueError('no such shop')" in shown.stderr


def test_a_configured_api_that_cannot_be_reached_is_an_error_and_never_a_silent_local_run(folder: Path) -> None:
    (folder / "flow.py").write_text(HEAD + "@task\ndef mark():\n    open('ran', 'w').close()\n" + body("return mark()"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
    done = glacier(folder, "run", "flow.py", PREFECT_API_URL=url)
    assert done.returncode == 1, done.stderr
    assert f"Error: The Prefect API {url}, set in " in done.stderr
    assert "PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "ran").exists()
    backfilled = glacier(
        folder, "backfill", "flow.py", "--from", "2026-01-01", "--to", "2026-01-09", PREFECT_API_URL=url
    )
    assert backfilled.returncode == 1
    assert backfilled.stderr.count("The Prefect API") == 1
