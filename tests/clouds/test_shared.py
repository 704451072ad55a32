"""The folder of a bucket through which machines hand frames on, on each store."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect import pipeline, task
from glacier_prefect.environments import find_project
from glacier_prefect.errors import DataError
from glacier_prefect.exchange import FrameLocation, hand_over
from glacier_prefect.providers import PROVIDERS
from glacier_prefect.providers.environment import exchange_location, named_exchange
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import Source
from glacier_prefect.sources.cloud import CloudLocation
from glacier_prefect.sources.shared import Shared

NAMES = {"s3": "aws", "azure": "azure", "gcs": "gcp"}


@pytest.fixture
def location(cloud: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> CloudLocation:
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    source = PROVIDERS.load(NAMES[cloud.name]).from_env().bucket_source(bucket, "a.parquet")
    assert isinstance(source, CloudLocation)
    return source


def test_a_frame_is_read_from_the_bucket_where_the_disk_that_it_was_written_on_is_gone(
    location: CloudLocation, cloud: Any, tmp_path: Path
) -> None:
    shared = Shared(location=location, folder=".glacier/exchange/p/1")
    with entered(RunContext(run_id="1", node="node", exchange=str(tmp_path), shared=shared)):
        made = hand_over(pl.LazyFrame({"a": range(100_000)}))
    assert made.exists()
    here = made.open()
    packed = pickle.dumps(made)
    Path(made.uri).unlink()
    assert isinstance(here, pl.LazyFrame)
    there: FrameLocation = pickle.loads(packed)
    assert there.exists()
    frame = there.open()
    assert isinstance(frame, pl.LazyFrame)
    assert frame.select(pl.col("a").sum()).collect().item() == sum(range(100_000))
    for name in ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT_KEY"):
        assert name not in cloud.env or cloud.env[name].encode() not in packed

    shared.expire(days=1)
    assert there.exists(), "it is not a day old"
    shared.expire(days=0)
    assert not there.exists()
    with pytest.raises(DataError, match="is gone"):
        there.open()


def test_a_large_frame_goes_up_in_parts(location: CloudLocation, tmp_path: Path) -> None:
    shared = Shared(location=location, folder=".glacier/exchange/p/2")
    file = tmp_path / "large.bin"
    file.write_bytes(bytes(range(256)) * 4 * 20_000)
    shared.put(file)
    assert shared.size("large.bin") == file.stat().st_size


def test_the_environments_setting_names_a_bucket_and_a_folder(
    location: CloudLocation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for setting, bucket, folder in (("acme/pipelines/x/", "pre-acme", "pipelines/x/"), ("acme", "pre-acme", "")):
        (tmp_path / "glacier.toml").write_text(
            f'[environments.dev]\nprovider = "{location.provider_name}"\nexchange = "{setting}"\n'
            'bucket_prefix = "pre-"\n'
        )
        found = exchange_location([location], named_exchange(find_project(tmp_path)))
        assert found is not None
        assert (found[0].full_bucket, found[1]) == (bucket, folder)


def test_a_pipelines_first_sink_says_where_its_runs_hand_on_and_the_setting_beats_it(location: CloudLocation) -> None:
    provider = PROVIDERS.load(location.provider_name).from_env()
    sink = provider.bucket_sink("sink-bucket", "b.parquet")
    local = PROVIDERS.load("local")().bucket_sink("out", "c.parquet")
    named = provider.bucket_source("shared-bucket", "below/here/*.parquet")
    assert exchange_location([location, local]) == (location, "")
    assert exchange_location([location, local, sink]) == (sink, "")
    assert exchange_location([location, sink], named) == (named, "below/here/")
    assert exchange_location([local]) is None


def test_a_task_is_taken_from_the_cache_until_a_byte_of_its_source_changes(
    location: CloudLocation, cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glacier.toml").write_text(f'[environments.dev]\nprovider = "{location.provider_name}"\n')
    provider, store = PROVIDERS.load(location.provider_name).from_env(), cloud.store(location.bucket)
    ran = tmp_path / "ran"  # not a list: what a task refers to is part of what its cached result is known by

    @task(cache=True)
    def load(source: Source) -> pl.LazyFrame:
        with open("ran", "a") as log:
            log.write("x")
        return source.scan()

    @task
    def values(frame: pl.LazyFrame) -> list[int]:
        return frame.collect()["v"].to_list()

    @pipeline(name=f"cached-{cloud.name}")
    def cached() -> Any:
        return values(load(provider.bucket_source(location.bucket, "x/*.csv")))

    store.put("x/1.csv", b"v\n1\n")
    store.put("x/2.csv", b"v\n2\n")
    assert [cached.run(), cached.run(), ran.read_text()] == [[1, 2], [1, 2], "x"]
    store.put("x/2.csv", b"v\n3\n")  # as many bytes as before
    assert [cached.run(), cached.run(), ran.read_text()] == [[1, 3], [1, 3], "xx"]
    store.put("x/3.csv", b"v\n4\n")
    assert [cached.run(), ran.read_text()] == [[1, 3, 4], "xxx"]
    assert {meta["path"] for page in store.list() for meta in page} == {"x/1.csv", "x/2.csv", "x/3.csv"}
