"""A writer that is killed leaves the old data or the new on a store too, and nothing else for long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import obstore
import polars as pl
import pytest

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import SinkExistsError
from glacier_prefect.run_context import entered
from glacier_prefect.sources import datasets
from glacier_prefect.sources.objects import Meta, Objects
from glacier_prefect.sources.steady import steadily
from tests.base.commit_writer import context, make_version
from tests.base.test_commit_kill import Reader, is_one_version
from tests.clouds.cloud_writer import make_sink
from tests.clouds.provided import variables
from tests.writers import Writer, writers

Cloud = S3 | Azure | GCS
KILLS = 10
PAUSE = 0.05  # between two reads, in which the emulator and the writer get on


@pytest.fixture(autouse=True)
def environment(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(cloud).items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Writer]]:
    with writers("tests.clouds.cloud_writer") as start:
        yield start


@pytest.fixture
def write(cloud: Cloud, bucket: str, start: Callable[..., Writer]) -> Callable[..., Writer]:
    """Starts a writer."""

    def write(kind: str, versions: int = 0) -> Writer:
        return start(cloud.name, bucket, kind, versions, env=variables(cloud))

    return write


def names(cloud: Cloud, bucket: str) -> list[str]:
    return [each["path"] for page in obstore.list(cloud.store(bucket)) for each in page]


@pytest.mark.parametrize("kind", ["single", "checked", "partitioned"])
@pytest.mark.slow
def test_readers_see_whole_versions_while_writers_are_killed_at_random_moments(
    cloud: Cloud, bucket: str, kind: str, write: Callable[..., Writer]
) -> None:
    sink = make_sink(cloud.name, bucket, kind)
    sink.write(make_version(0, 100))
    source = sink.twin()

    def computed() -> pl.DataFrame:
        return steadily(source.scan(), lambda frame: frame.collect())

    def exists_then_part() -> pl.DataFrame:
        assert source.exists()
        assert source.size() > 0
        return steadily(source.scan().filter(pl.col("key") >= 0), lambda frame: frame.collect())

    readers = [Reader(read, PAUSE) for read in (computed, exists_then_part)]
    for reader in readers:
        reader.start()
    killed, deadline = 0, time.monotonic() + 90
    while killed < KILLS or (any(len(reader.seen) <= 5 for reader in readers) and time.monotonic() < deadline):
        writer = write(kind)
        time.sleep(random.uniform(0.0, 0.6))
        writer.kill()
        killed += 1
    for reader in readers:
        reader.stop()
    assert [wrong for reader in readers for wrong in reader.wrong] == []
    assert all(len(reader.seen) > 5 for reader in readers)  # and they did see how versions came and went


def test_a_run_whose_writer_was_killed_can_write_again_where_data_of_others_is_refused(
    cloud: Cloud, bucket: str, write: Callable[..., Writer]
) -> None:
    sink = make_sink(cloud.name, bucket, "once")
    for wait in (0.0, 0.02, 0.05, 0.1):
        writer = write("once")
        time.sleep(wait)
        writer.kill()
        for retry in (1, 2):
            with entered(context("unused")):
                sink.write(make_version(retry, 10))
        assert is_one_version(sink.twin().scan().collect())
        with pytest.raises(SinkExistsError):
            sink.write(make_version(0, 10))
        left = [name for name in names(cloud, bucket) if "/published/" not in name]
        assert left == ["x/daily.parquet"]  # of the same node, so all that it had staged is gone
        obstore.delete(cloud.store(bucket), "x/daily.parquet")


def test_what_a_killed_writer_has_asked_for_may_come_about_after_its_retry_has_looked(
    cloud: Cloud, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, copy = make_sink(cloud.name, bucket, "once"), Objects.copy
    late: list[Meta] = []

    def killed(self: Objects, source: Meta, key: str, **given: Any) -> bool:
        late.append(source)
        raise KeyboardInterrupt

    def overtaken(self: Objects, source: Meta, key: str, **given: Any) -> bool:
        while late:
            assert copy(self, late.pop(), key, **given)
        return copy(self, source, key, **given)

    monkeypatch.setattr(Objects, "copy", killed)
    with entered(context("unused")), pytest.raises(KeyboardInterrupt):
        sink.write(make_version(1, 10))
    assert len(late) == 1
    monkeypatch.setattr(Objects, "copy", overtaken)
    with entered(context("unused")):
        sink.write(make_version(2, 10))
    assert not late
    assert sink.twin().scan().collect()["version"].unique().to_list() == [2]
    with pytest.raises(SinkExistsError):
        sink.write(make_version(3, 10))
    assert [name for name in names(cloud, bucket) if "/published/" not in name] == ["x/daily.parquet"]


def test_what_others_have_written_since_a_writer_looked_is_not_replaced(
    cloud: Cloud, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, copy = make_sink(cloud.name, bucket, "once"), Objects.copy

    def overtaken(self: Objects, source: Meta, key: str, **given: Any) -> bool:
        self.write(key, b"of somebody else")
        return copy(self, source, key, **given)

    monkeypatch.setattr(Objects, "copy", overtaken)
    with entered(context("unused")), pytest.raises(SinkExistsError):
        sink.write(make_version(1, 10))
    assert bytes(obstore.get(cloud.store(bucket), "x/daily.parquet").bytes()) == b"of somebody else"


def test_two_processes_that_write_one_dataset_both_publish(
    cloud: Cloud, bucket: str, write: Callable[..., Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = [write("partitioned", versions=5) for _ in range(2)]
    assert [writer.wait() for writer in started] == [0, 0]
    sink = make_sink(cloud.name, bucket, "partitioned")
    assert is_one_version(sink.twin().scan().collect())
    monkeypatch.setattr(datasets, "GRACE_SECONDS", -1.0)
    sink.write(make_version(1, 100))
    versions = {name.split("/")[3] for name in names(cloud, bucket)} - {"manifest.json"}
    assert len(versions) == 1
