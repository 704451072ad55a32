"""Previews on the disk; `tests/clouds/test_previews.py` has them in the clouds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect import Secret, iam, infrastructure
from glacier_prefect.deployments import previews
from glacier_prefect.environments import PREVIEWS, Project
from glacier_prefect.errors import ConfigurationError, PreviewError
from glacier_prefect.loading import load_project
from glacier_prefect.modules import Access
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers import LocalProvider, Provider
from glacier_prefect.run_context import entered
from glacier_prefect.sources import LocalSink
from glacier_prefect.testing.store import Store, run
from tests.previews import Place, PreviewCases


class TestOnDisk(PreviewCases):
    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        base = tmp_path / "data"
        monkeypatch.setenv("GLACIER_PROVIDER", "local")
        monkeypatch.setenv("GLACIER_BASE_PATH", str(base))
        store = Store.on_disk(LocalProvider(base_path=base), lambda bucket: base / bucket)
        return Place(
            store=store, contents=lambda bucket: {key: (base / bucket / key).read_bytes() for key in store.keys(bucket)}
        )


AWS = """project = "acme"
[environments.prod]
provider = "aws"
region = "eu-west-1"
SETTINGS
[environments.prod.secrets]
WRITER = "writer-in-store"
READER = "reader-in-store"
"""
FLOW = """
from glacier_prefect import Secret, pipeline, task
from glacier_prefect.providers import LocalProvider, Provider

provider = PROVIDER
raw = provider.bucket_source("raw", "in/*.parquet")
writer = Secret("WRITER")

@task
def load(source):
    writer.get()
    return source.scan()

@pipeline(name="NAME")
def flow():
    return provider.bucket_sink("out", "a/x.parquet").write(load(raw))
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Project, list[Pipeline]]]]:
    """Write a project and load it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLACIER_ENV", "prod")

    def write(settings: str, name: str = "daily", provider: str = "Provider.from_env()") -> Any:
        sys.modules.pop("previewed_flow", None)
        (tmp_path / "glacier.toml").write_text(AWS.replace("SETTINGS", settings))
        (tmp_path / "previewed_flow.py").write_text(FLOW.replace("NAME", name).replace("PROVIDER", provider))
        return load_project(())

    yield write
    sys.modules.pop("previewed_flow", None)


ALLOWED = 'previews = true\npreview_secrets = ["READER"]'


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('previews = "yes"', "has previews = 'yes'; expected true or false"),
        ("preview_secrets = true", "preview_secrets is a list of names in code"),
        ('preview_secrets = ["READR"]', r"preview_secrets has 'READR', which is not in secrets. .*READER"),
    ],
)
def test_settings_that_cannot_be_are_errors(settings: str, message: str, write: Any) -> None:
    with pytest.raises(ConfigurationError, match=message):
        write(settings)


@pytest.mark.parametrize("name", ["Pr", "-a", "a/b", "..", "a" * 31, "pr_1"])
def test_a_name_that_could_lead_elsewhere_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLACIER_PREVIEW", name)
    with pytest.raises(ConfigurationError, match="1 to 30 small letters"):
        Provider.from_env()


def test_the_identity_of_previews_reads_what_pipelines_touch_and_writes_into_their_folder_only(write: Any) -> None:
    project, pipelines = write("")
    [(_, before)] = infrastructure.needs(pipelines, project)
    told = iam.permissions(pipelines, project)
    project, pipelines = write(ALLOWED)
    [(provider, needs)] = infrastructure.needs(pipelines, project)
    assert needs.work_pool
    assert needs.pipelines == {
        **before.pipelines,
        "preview": Access(
            reads={"out": ("a/x.parquet",), "raw": ("in/",)}, writes={"out": (PREVIEWS,), "raw": (PREVIEWS,)}
        ),
    }
    assert needs.work_pool.pipelines == needs.pipelines
    assert needs.secrets == {"daily": ("writer-in-store",), "preview": ("reader-in-store",)}
    own = [each for each in iam.permissions(pipelines, project) if each.identity == "preview"]
    assert len(own) + len(told) == len(iam.permissions(pipelines, project))
    assert {(each.verb, each.where) for each in own} == {
        ("read", "out/a/x.parquet"),
        ("read", "raw/in/"),
        ("read secret", "reader-in-store"),
        *(("write", f"{bucket}/{PREVIEWS}") for bucket in ("out", "raw")),
    }
    pool = next(each for each in provider.modules(needs) if each.source == "aws/work_pool")
    assert set(pool.inputs["pipelines"]) == {"daily", "preview"}
    project, pipelines = write(ALLOWED, name="preview")
    with pytest.raises(ConfigurationError, match="A pipeline cannot be named 'preview'"):
        infrastructure.needs(pipelines, project)


def test_a_preview_that_nobody_allowed_or_that_could_overwrite_is_refused(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLACIER_PREVIEW", "pr-1")
    with pytest.raises(PreviewError, match=r"\[environments.prod\] has no previews.*\nHint: write previews = true"):
        previews.check(*write(""))
    with pytest.raises(PreviewError, match=r"has the sink out/a/x.parquet, .* would write over file://"):
        previews.check(*write(ALLOWED, provider='LocalProvider(base_path="x")'))
    project, pipelines = write(ALLOWED)
    previews.check(project, pipelines)
    pool = {"type": "ecs"}
    for outputs, message in (
        ({}, r"Environment 'prod' is not deployed.*\nHint: glacier deploy --env prod"),
        ({"work_pool": pool, "pipeline_job_variables": {"daily": {}}}, "has no identity for previews yet"),
    ):
        with pytest.raises(PreviewError, match=message):
            previews.check_deployed(project, outputs)
    previews.check_deployed(project, {"work_pool": pool, "pipeline_job_variables": {"preview": {}}})
    previews.check_deployed(project, {"work_pool": {"type": "process"}})
    monkeypatch.setenv("GLACIER_PREVIEW", "prod")
    with pytest.raises(PreviewError, match="cannot be named 'prod'"):
        previews.check(project, pipelines)


def test_secrets_are_not_for_previews_unless_the_environment_says_so(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ALLOWED)
    monkeypatch.setenv("GLACIER_PREVIEW", "pr-1")
    monkeypatch.setenv("GLACIER_PROVIDER", "local")
    monkeypatch.setenv("reader-in-store", "value")
    monkeypatch.setenv("writer-in-store", "value")
    with entered(run()):
        assert Secret("READER").get() == "value"
        with pytest.raises(ConfigurationError, match=r"WRITER.* is not for previews.*\nHint: .*preview_secrets = "):
            Secret("WRITER").get()


def test_a_sink_that_knows_nothing_of_previews_is_not_made_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLACIER_BASE_PATH", str(tmp_path))
    monkeypatch.setenv("GLACIER_PREVIEW", "pr-1")
    monkeypatch.setattr(LocalSink, "has_previews", False)
    with pytest.raises(PreviewError, match="LocalSink has no previews, and would overwrite"):
        Provider.from_env().bucket_sink("out", "a.parquet")
    assert Provider.from_env().bucket_source("out", "a.parquet").overlay == f"{PREVIEWS}pr-1"


def test_what_a_preview_wrote_is_found_by_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLACIER_BASE_PATH", str(tmp_path))
    monkeypatch.setenv("GLACIER_PREVIEW", "pr-1")
    provider = Provider.from_env()
    sinks = [provider.bucket_sink(bucket, "a.parquet") for bucket in ("one", "two", "never")]
    told = previews.places([*sinks, provider.bucket_source("one", "b.parquet")])
    for sink in sinks[:2]:
        sink.write(pl.LazyFrame({"a": [1]}))
    (tmp_path / "one/kept.parquet").write_bytes(b"")
    monkeypatch.delenv("GLACIER_PREVIEW")
    monkeypatch.delenv("GLACIER_BASE_PATH")
    assert previews.discard([told, told], "pr-2") == 0
    assert previews.discard([told, told], "pr-1") == 2
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["kept.parquet"]
