"""In which bucket the archives of code are, with `code = "bucket"`, and who may read them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glacier_prefect import iam
from glacier_prefect.environments import Project
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.loading import load_project
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.environment import code_place

FLOW = """
from glacier_prefect import pipeline, task
from glacier_prefect.providers import AWSProvider, Provider

own, other = Provider.from_env(), Provider.from_env("dr")
written = AWSProvider(region="us-west-2").bucket_source(bucket="elsewhere", path="a.parquet")
raw = own.bucket_source(bucket="raw", path="a.parquet")
out = other.bucket_sink(bucket="copies", path="a.parquet")

@task
def copied(source):
    return source.scan()

@pipeline(name="placed")
def flow():
    return out.write(copied(SOURCE))
"""
DR = '[environments.prod.providers.dr]\nprovider = "azure"\nstorage_account = "acmedr"\n'
AWS = 'provider = "aws"\nregion = "eu-west-1"\nbucket_prefix = "acme-"\n'

Load = Callable[..., tuple[Project, Pipeline]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    monkeypatch.setenv("GLACIER_ENV", "prod")
    monkeypatch.chdir(tmp_path)

    def loaded(settings: str = AWS, source: str = "raw", code: str = "bucket") -> tuple[Project, Pipeline]:
        sys.modules.pop("placed_flow", None)
        text = f'project = "shop"\n[environments.prod]\ncode = "{code}"\n{settings}{DR}'
        (tmp_path / "glacier.toml").write_text(text)
        (tmp_path / "placed_flow.py").write_text(FLOW.replace("SOURCE", source))
        project, [pipeline] = load_project()
        return project, pipeline

    yield loaded
    sys.modules.pop("placed_flow", None)


def place(project: Project, pipeline: Pipeline) -> tuple[str, str, str] | None:
    found = code_place(pipeline.graph.locations, project)
    return None if found is None else (found[0].name, *found[1:])


def test_it_is_in_the_bucket_of_the_environments_own_provider(load: Load) -> None:
    assert place(*load()) == ("aws", "acme-raw", ".glacier/code/shop/prod/")
    assert place(*load(code="git")) is None


def test_the_exchange_beats_the_buckets_of_the_pipeline(load: Load) -> None:
    settings = f'{AWS}exchange = "shared/between runs"\n'
    assert place(*load(settings)) == ("aws", "acme-shared", "between runs/.glacier/code/shop/prod/")
    assert place(*load(settings, "written")) == ("aws", "acme-shared", "between runs/.glacier/code/shop/prod/")


def test_a_bucket_of_another_provider_or_region_is_none(load: Load) -> None:
    project, pipeline = load(AWS, "written")
    with pytest.raises(ConfigurationError, match="a pipeline has none of the environment's own provider, 'aws'") as it:
        place(project, pipeline)
    assert 'exchange = "my-bucket/folder"' in str(it.value)


def test_one_machine_has_no_bucket_for_it(load: Load) -> None:
    project, pipeline = load('provider = "local"\n')
    with pytest.raises(ConfigurationError, match="needs a bucket in a cloud, and provider is 'local'"):
        place(project, pipeline)


def test_the_right_to_read_it_is_explained(load: Load) -> None:
    project, pipeline = load()
    told = [each for each in iam.permissions([pipeline], project) if ".glacier/code/" in each.where]
    assert [(each.verb, each.where, each.reason) for each in told] == [
        ("read", "acme-raw/.glacier/code/shop/prod/", "every run takes the code from there")
    ]
    project, pipeline = load(code="git")
    assert not [each for each in iam.permissions([pipeline], project) if ".glacier/code/" in each.where]
