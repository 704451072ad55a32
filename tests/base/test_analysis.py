"""What `pipeline.analyze()` says."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect import LocalExecutor, Pipeline, Secret, SparkExecutor, pipeline, task
from glacier_prefect.environments import loading
from glacier_prefect.loading import load_pipeline
from glacier_prefect.providers import AWSProvider, AzureProvider, LocalProvider
from glacier_prefect.report import render_text

provider = LocalProvider(base_path="data")
raw = provider.bucket_source("raw", "orders/{run_date:%Y}/*.csv")
out = provider.bucket_sink("out", "daily/{region}.parquet", mode="error")


@task
def load(source: Any) -> pl.LazyFrame:
    """Load the orders.

    All of them.
    """
    return source.scan()


@task(retries=2, tags=["a"], checks=[pl.col("a") > 0])
def clean(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame


@task(executor="spark", depends_on=[clean])
def count(frame: pl.LazyFrame) -> int:
    return 1


@pipeline(schedule="0 6 * * *", timezone="Europe/Paris", tags=["nightly"])
def daily(region: str, limit: int = 5) -> Any:
    """Make the daily numbers.

    At length.
    """
    frame = clean(load({"from": raw}))
    return out.write(frame), count(frame)


def node(made: Pipeline, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in made.analyze()["nodes"] if each["name"] == name)
    return found


def test_the_report_says_what_the_pipeline_is() -> None:
    report = daily.analyze()
    assert json.loads(json.dumps(report)) == report
    assert report["version"] == 1
    assert report["pipeline"] == {
        "name": "daily",
        "description": "Make the daily numbers.",
        "schedule": {"cron": "0 6 * * *", "timezone": "Europe/Paris"},
        "parameters": [
            {"name": "region", "type": "str", "default": None, "required": True},
            {"name": "limit", "type": "int", "default": "5", "required": False},
        ],
        "file": report["pipeline"]["file"],
        "variable": "daily",
        "tags": ["nightly"],
    }
    assert report["pipeline"]["file"].endswith("test_analysis.py")
    assert report["edges"] == [
        {"from": "load", "to": "clean", "kind": "data", "label": "frame"},
        {"from": "clean", "to": "write-daily", "kind": "data", "label": "frame"},
        {"from": "clean", "to": "count", "kind": "data", "label": "frame"},
    ]
    assert report["executors"] == [{"name": "local", "tasks": ["load", "clean"]}, {"name": "spark", "tasks": ["count"]}]
    assert report["providers"] == ["local"]


def test_the_report_is_its_snapshot_so_that_programs_may_rely_on_it() -> None:
    text = json.dumps(daily.analyze(), indent=1, sort_keys=True)
    text = re.sub(r'"[^"]*test_analysis\.py(:\d+)?"', '"test_analysis.py"', text)
    text = text.replace(Path("data").absolute().as_uri(), "<data>")
    assert text + "\n" == (Path(__file__).parent / "snapshots/analysis.json").read_text()


def test_a_node_says_what_it_is() -> None:
    line = node(daily, "load").pop("line")
    assert line.partition(".py:")[0].endswith("test_analysis")
    assert node(daily, "load") | {"line": None} == {
        "name": "load",
        "kind": "task",
        "task": "load",
        "executor": "local",
        "description": "Load the orders.",
        "line": None,
        "options": {},
        "computed": False,
        "because": [],
        "reads": ["raw/orders/{run_date:%Y}/*.csv"],
        "writes": [],
        "secrets": [],
        "unseen": [],
    }
    cleaned = node(daily, "clean")
    assert cleaned["options"] == {"retries": 2, "tags": ["a"], "checks": ['[(col("a")) > (dyn int: 0)]']}
    assert (cleaned["computed"], cleaned["because"]) == (
        True,
        ["'count' runs on 'spark'", "checks", "2 consumers", "retries"],
    )
    written = node(daily, "write-daily")
    assert (written["kind"], written["computed"], written["writes"]) == ("sink", True, ["out/daily/{region}.parquet"])


def helper_that_opens(name: str) -> Any:
    return provider.bucket_source("raw", f"{name}.parquet").scan()


def test_what_no_graph_shows_is_said_until_it_is_declared() -> None:
    @task
    def opens() -> Any:
        return helper_that_opens("hidden")

    declared = opens.with_options(
        name="declared",
        reads=[provider.bucket_source("raw", "hidden.parquet")],
        writes=provider.bucket_sink("out", "hidden.parquet"),
    )

    @pipeline
    def both() -> None:
        opens()
        declared()

    first, second = both.analyze()["nodes"]
    assert [each.partition(":")[0] for each in first["unseen"]] == ["helper_that_opens (test_analysis.py"]
    assert (first["reads"], first["writes"]) == ([], [])
    assert second["unseen"] == []
    assert (second["reads"], second["writes"]) == (["raw/hidden.parquet"], ["out/hidden.parquet"])
    text = " ".join(render_text(both.analyze()).split())
    assert "unseen: what helper_that_opens (test_analysis.py:" in text
    assert "declare it in reads=, writes=" in text


def test_the_work_pool_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flow.py").write_text(
        "from glacier_prefect import pipeline, task\n@task\ndef one(): return 1\n@pipeline\ndef flow(): return one()\n"
    )
    settings = 'project = "shop"\n[environments.prod]\nprovider = "aws"\nregion = "eu-west-1"\n'
    (tmp_path / "glacier.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLACIER_ENV", "prod")
    found = load_pipeline("flow.py").analyze()
    assert (found["providers"], found["work_pool"]) == ([], {"name": "glacier-shop-prod-pool", "type": "ecs"})
    (tmp_path / "glacier.toml").write_text(settings + 'work_pool = "none-of-these"\n')
    assert load_pipeline("flow.py").analyze()["work_pool"] is None


def test_locations_have_the_prefix_before_the_first_field() -> None:
    sink, source = daily.analyze()["locations"]
    assert (sink["role"], sink["prefix"], sink["mode"], sink["format"]) == ("sink", "daily/", "error", "parquet")
    assert (source["role"], source["prefix"], source["mode"], source["format"]) == ("source", "orders/", None, "csv")


def test_a_place_that_is_read_and_written_is_one_location() -> None:
    sink = provider.bucket_sink("out", "a.parquet")

    @pipeline
    def both() -> Any:
        written = sink.write(load(provider.bucket_source("raw", "b.parquet")))
        return load([written, provider.bucket_source("out", "a.parquet")])

    locations = [(each["id"], each["role"]) for each in both.analyze()["locations"]]
    assert locations == [("out/a.parquet", "both"), ("raw/b.parquet", "source")]


def test_equal_names_in_different_stores_are_different_locations() -> None:
    places = [
        provider.bucket_source("data", "a.parquet"),
        AWSProvider(region="us-east-1").bucket_source("data", "a.parquet"),
        AzureProvider(storage_account="one").bucket_source("data", "a.parquet"),
        AzureProvider(storage_account="two").bucket_source("data", "a.parquet"),
        AzureProvider(storage_account="two").bucket_source("data", "a.parquet"),
        provider.bucket_source("data", "b.parquet"),
    ]

    @pipeline
    def across() -> Any:
        return [load(place) for place in places]

    report = across.analyze()
    ids = [
        "aws:data/a.parquet",
        "azure-1:data/a.parquet",
        "azure-2:data/a.parquet",
        "data/b.parquet",
        "local:data/a.parquet",
    ]
    assert [each["id"] for each in report["locations"]] == ids
    assert [each["reads"] for each in report["nodes"]] == [[ids[4]], [ids[0]], [ids[1]], [ids[2]], [ids[2]], [ids[3]]]


def test_a_missing_setting_of_a_provider_does_not_stop_analysis(tmp_path: Path) -> None:
    with loading(tmp_path / "flow.py"), contextlib.chdir(tmp_path):  # where no project says what it would be called

        @pipeline
        def unset() -> Any:
            return load(AzureProvider().bucket_source("data", "a.parquet"))

    assert unset.analyze()["locations"][0]["uri"] is None


def function(annotation: Any) -> Any:
    def work(): ...

    work.__annotations__["return"] = annotation
    return work


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        (int, "int"),
        ("int", "int"),
        (None, "None"),
        ("None", "None"),
        (list[str], "list[str]"),
        (dict[str, list[int]], "dict[str, list[int]]"),
        ("str | None", "str | None"),
        (datetime.date, "datetime.date"),
        ("tuple[int, ...]", "tuple[int, ...]"),
    ],
)
def test_a_task_that_returns_no_frame_is_not_called_lazy(annotation: Any, shown: str) -> None:
    made = Pipeline("made", tasks=[task(depends_on=task(name="value")(function(annotation)))(lambda value: value)])
    assert (node(made, "value")["computed"], node(made, "value")["because"]) == (True, [f"returns {shown}"])


@pytest.mark.parametrize(
    "annotation",
    [
        pl.LazyFrame,
        "pl.LazyFrame",
        "LazyFrame | None",
        list[pl.LazyFrame],
        list,
        dict,
        "dict[str, list]",
        Any,
        "object",
        "T",
    ],
)
def test_a_task_that_may_return_a_frame_stays_lazy(annotation: Any) -> None:
    made = Pipeline("made", tasks=[task(depends_on=task(name="value")(function(annotation)))(lambda value: value)])
    assert (node(made, "value")["computed"], node(made, "value")["because"]) == (False, [])


def test_a_task_without_annotation_stays_lazy() -> None:
    made = Pipeline("made", tasks=[task(depends_on=task(name="value")(lambda: 1))(lambda value: value)])
    assert node(made, "value")["computed"] is False


def test_a_sub_flow_reads_and_writes_what_its_nodes_do() -> None:
    @pipeline
    def outer() -> Any:
        return daily("north")

    inner = node(outer, "daily")
    assert (inner["kind"], inner["executor"], inner["description"]) == ("flow", None, "Make the daily numbers.")
    assert (inner["reads"], inner["writes"]) == (["raw/orders/{run_date:%Y}/*.csv"], ["out/daily/{region}.parquet"])


def test_options_that_are_no_plain_data_are_shown_as_text() -> None:
    def on_failure(*_: Any) -> None: ...

    @task(
        on_failure=[on_failure], retry_delay_seconds=float("inf"), executor=LocalExecutor(processes=1), tags={"b", "a"}
    )
    def work() -> None: ...

    options = node(Pipeline("made", tasks=[work]), "work")["options"]
    assert options == {"on_failure": ["on_failure"], "retry_delay_seconds": "inf", "tags": ["a", "b"]}


def test_analysis_is_the_same_each_time() -> None:
    assert json.dumps(daily.analyze()) == json.dumps(daily.analyze())


def test_secrets_are_found_where_sources_are_and_in_settings_of_executors() -> None:
    password, token = Secret("DB_PASSWORD"), Secret("TOKEN")

    @task
    def captured() -> int:
        return len(password.get())

    @task
    def given(of: Secret, number: int) -> int:
        return number

    @task(executor=SparkExecutor(master="sc://there", token_secret="SPARK_TOKEN"))
    def elsewhere(number: int) -> int:
        return number

    read = AWSProvider(credentials_secret="KEYS").bucket_source("raw", "a.parquet")

    @pipeline(name="inner")
    def inner() -> None:
        load(read)

    @pipeline(name="secretive")
    def secretive() -> None:
        elsewhere(given(token, captured()))
        inner()

    report = secretive.analyze()
    found = {node["name"]: node["secrets"] for node in report["nodes"]}
    assert found == {"captured": ["DB_PASSWORD"], "given": ["TOKEN"], "elsewhere": ["SPARK_TOKEN"], "inner": ["KEYS"]}
    assert "secret DB_PASSWORD" in render_text(report)
