"""Archives of code in the buckets of three clouds: written once, kept while a record names them, gone at the end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.deployments.actual import Actual
from glacier_prefect.deployments.archive import Archive
from glacier_prefect.deployments.changes import Change, compare
from glacier_prefect.deployments.code_bucket import FILE, REACH, BucketCode
from glacier_prefect.deployments.desired import Target, Wanted, desired
from glacier_prefect.deployments.state import NOTHING, Owned, Record, State
from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.environments import Project
from glacier_prefect.errors import ConfigurationError, UsageError
from glacier_prefect.infrastructure import needs
from glacier_prefect.loading import load_project
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.pools import Pool
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider
from tests.clouds.provided import KINDS, variables

PLACES = {
    "aws": 'region = "eu-west-1"',
    "azure": 'location = "westeurope"\nresource_group = "acme"',
    "gcp": 'project_id = "emulator"\nregion = "europe-west1"',
}
FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider
from coded_helper import VALUE

out = Provider.from_env().bucket_sink(bucket="BUCKET", path="NAME/rows.parquet")

@task
def rows():
    return pl.LazyFrame({"a": [VALUE]})

@pipeline(name="NAME")
def flow():
    return out.write(rows())
"""

Load = Callable[[], tuple[BucketCode, list[Wanted], State, Project, list[Pipeline]]]


@pytest.fixture
def load(cloud: S3 | Azure | GCS, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    for name, value in {**variables(cloud), "GLACIER_ENV": "prod"}.items():
        monkeypatch.setenv(name, value)
    kind = KINDS[cloud.name].name
    (tmp_path / "glacier.toml").write_text(
        f'project = "coded"\n[environments.prod]\nprovider = "{kind}"\ncode = "bucket"\n{PLACES[kind]}\n'
    )
    (tmp_path / "coded_helper.py").write_text("VALUE = 1\n")
    (tmp_path / "coded_flow.py").write_text(FLOW.replace("NAME", "coded").replace("BUCKET", bucket))
    monkeypatch.chdir(tmp_path)

    def loaded() -> Any:
        forget()
        project, pipelines = load_project()
        provider = environment_provider(project).resolved()
        assert isinstance(provider, CloudProvider)
        code = BucketCode(Archive(project), project, provider)
        target = Target(project="coded", env="prod", folder=tmp_path, code="bucket", delivery=code, pool=Pool())
        state = State(tmp_path / ".glacier" / "prod")
        return code, list(desired(pipelines, target)), state, project, pipelines

    yield loaded
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.startswith("coded_")]:
        del sys.modules[name]


def created(wanted: list[Wanted]) -> list[Change]:
    return compare(wanted, Actual(objects={}, flows={}), NOTHING)


def recorded(number: int, wanted: list[Wanted]) -> Record:
    objects = tuple(Owned(kind=each.kind, name=each.name, id=each.name, fields=each.fields) for each in wanted)
    return Record(number=number, deploy=str(number), command="deploy", objects=objects)


def archives(cloud: S3 | Azure | GCS, bucket: str) -> dict[str, Any]:
    """The archives there by hash, with when they were written."""
    there = [meta for page in cloud.store(bucket).list(".glacier/code/") for meta in page]
    assert all(meta["path"].startswith(".glacier/code/coded/prod/") for meta in there)
    assert all(meta["path"].endswith(f"/{FILE}") for meta in there)
    return {meta["path"].split("/")[-2]: meta["last_modified"] for meta in there}


def test_it_is_written_once_kept_while_records_within_reach_name_it_and_forgotten_at_the_end(
    cloud: S3 | Azure | GCS, bucket: str, load: Load, tmp_path: Path
) -> None:
    code, wanted, state, project, pipelines = load()
    assert archives(cloud, bucket) == {}, "what is wanted is found without writing anything"
    unchanged = [Change(action="keep", kind=each.kind, name=each.name, wanted=each.wanted) for each in created(wanted)]
    code.deliver(unchanged, {})
    assert archives(cloud, bucket) == {}
    assert code.deliver(created(wanted), {}) is False
    first = archives(cloud, bucket)
    assert len(first) == 1
    load()[0].deliver(created(wanted), {})
    assert archives(cloud, bucket) == first
    state.write(recorded(1, wanted))

    (tmp_path / "coded_helper.py").write_text("VALUE = 2\n")
    code, newer, state, *_ = load()
    code.deliver(created(wanted), {})
    assert archives(cloud, bucket) == first, "the older one is named, and is there"
    code.deliver(created(newer), {})
    second = archives(cloud, bucket)
    assert len(second) == 2
    state.write(recorded(2, newer))
    (tmp_path / "coded_helper.py").write_text("VALUE = 3\n")
    code, third, state, *_ = load()
    code.deliver(created(third), {})  # of a deploy that came to no end
    assert len(archives(cloud, bucket)) == 3
    code.tidy(state)
    assert archives(cloud, bucket) == second

    for number in range(3, REACH + 1):
        state.write(recorded(number, newer))
    code.tidy(state)
    assert archives(cloud, bucket) == second
    code.check(state.record(1))
    state.write(recorded(REACH + 1, newer))
    code.tidy(state)
    assert archives(cloud, bucket).keys() == second.keys() - first.keys()
    with pytest.raises(UsageError, match=rf"code of record 1 is not in bucket {bucket!r} any more"):
        code.check(state.record(1))
    code.check(state.record())

    [(_, needed)] = needs(pipelines, project)
    assert ".glacier/code/coded/prod/" in needed.pipelines["coded"].reads[bucket]
    cloud.store(bucket).put(".glacier/code/other/prod/x/code.tar.gz", b"x")
    code.forget(state)
    left = {meta["path"] for page in cloud.store(bucket).list(".glacier/code/") for meta in page}
    assert left == {".glacier/code/other/prod/x/code.tar.gz"}
    code.forget(state)


def test_a_file_that_the_pipeline_needs_and_git_does_not_have_is_named(
    cloud: S3 | Azure | GCS, bucket: str, load: Load, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "coded_flow.py"], cwd=tmp_path, check=True)
    with pytest.raises(ConfigurationError, match=r"'coded_helper.py', which pipeline 'coded' needs") as error:
        load()
    assert "Hint: git add coded_helper.py" in str(error.value)
