"""A writer that is killed leaves the old data or the new, and nothing else for long."""

from __future__ import annotations

import io
import random
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from glacier_prefect.errors import SinkExistsError
from glacier_prefect.providers import LocalProvider
from glacier_prefect.run_context import entered
from glacier_prefect.sources import snapshots
from tests.base.commit_writer import context, make_sink, make_version
from tests.writers import Writer, writers

KINDS = ["single", "partitioned"]
Write = Callable[..., Writer]


@pytest.fixture(scope="module")
def write() -> Iterator[Write]:
    """Starts a writer."""
    with writers("tests.base.commit_writer") as start:

        def write(base: Path, kind: str, versions: int = 0, step: int = 0) -> Writer:
            return start(base, kind, versions, step)

        yield write


def is_one_version(frame: pl.DataFrame) -> bool:
    """Whether a frame is a whole version: all its rows, and none of another."""
    versions, rows = frame["version"].n_unique(), frame["rows"][0]
    return versions == 1 and frame.height == rows and frame["row"].sort().equals(pl.Series("row", range(rows)))


class Reader(threading.Thread):
    """Reads in a loop, with pauses, and notes each result that is not one whole version, and each error."""

    def __init__(self, read: Callable[[], pl.DataFrame], pause: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.read, self.pause = read, pause
        self.seen: set[int] = set()
        self.wrong: list[str] = []
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(self.pause):
            try:
                frame = self.read()
            except BaseException:  # a Polars panic is not an Exception
                self.wrong.append(traceback.format_exc())
            else:
                if not is_one_version(frame):
                    self.wrong.append(f"a mix: {frame.group_by('version', 'rows').len().rows()}")
                self.seen |= set(frame["version"])

    def stop(self) -> None:
        self.stopped.set()
        self.join()


def readers(base: Path, kind: str) -> list[Reader]:
    source = make_sink(str(base), kind).twin()

    def schema_first() -> pl.DataFrame:
        frame = source.scan()
        frame.collect_schema()
        time.sleep(random.uniform(0, 0.05))  # versions are replaced meanwhile
        return frame.collect()

    def exists_then_part() -> pl.DataFrame:
        assert source.exists()
        assert source.size() > 0
        assert source.fingerprint()
        return source.scan().filter(pl.col("key") >= 0).collect()

    def opened_once() -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO((base / "b/daily.parquet").read_bytes()))

    reads = [schema_first, exists_then_part] + ([opened_once] if kind == "single" else [])
    return [Reader(read) for read in reads]


def files_left(base: Path) -> list[str]:
    """Names of all files in the buckets' folder but this process's own snapshots."""
    own = snapshots.process_folder(base)
    files = [each for each in base.rglob("*") if each.is_file() and own not in each.parents]
    return [each.relative_to(base).as_posix() for each in files]


def check_nothing_left(base: Path, kind: str) -> None:
    """After a run that was not killed there are the data of its version, and no folder of a process that is gone."""
    left = files_left(base)
    if kind == "single":
        assert left == ["b/daily.parquet"]
    else:
        names = [name.removeprefix("b/daily/_glacier/") for name in left]
        assert {"manifest.json", "lock"} <= set(names)
        versions = {name.partition("/")[0] for name in names if "/" in name}
        assert len(versions) == 1
        assert all(re.fullmatch(r"_schema|\d+-\d+\.parquet", name.partition("/")[2]) for name in names if "/" in name)
    for folder in ("b/.glacier/writes", ".glacier/exchange"):
        assert [each for each in (base / folder).iterdir() if each != snapshots.process_folder(base)] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_readers_see_whole_versions_while_writers_are_killed_at_random_moments(
    tmp_path: Path, kind: str, write: Write
) -> None:
    make_sink(str(tmp_path), kind).write(make_version(0, 100))
    running = readers(tmp_path, kind)
    for reader in running:
        reader.start()
    killed, deadline = 0, time.monotonic() + 120
    while killed < 10 or (any(len(reader.seen) <= 10 for reader in running) and time.monotonic() < deadline):
        writer = write(tmp_path, kind)
        time.sleep(random.uniform(0.0, 0.4))
        writer.kill()
        killed += 1
    for reader in running:
        reader.stop()
    wrong = [each for reader in running for each in reader.wrong]
    assert not wrong, "\n".join(wrong)
    assert all(len(reader.seen) > 10 for reader in running)  # and they did see how versions came and went
    assert write(tmp_path, kind, versions=1).wait() == 0
    check_nothing_left(tmp_path, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_writer_that_dies_before_any_one_of_its_steps_leaves_a_whole_version(
    tmp_path: Path, kind: str, write: Write
) -> None:
    make_sink(str(tmp_path), kind).write(make_version(0, 100))
    source = make_sink(str(tmp_path), kind).twin()
    step, ended = 0, False
    while not ended:
        step += 1
        returncode = write(tmp_path, kind, versions=1, step=step).wait()
        ended = returncode == 0  # it has fewer steps
        assert ended or returncode == -9
        assert is_one_version(source.scan().collect())
    assert step > (8 if kind == "single" else 12)
    assert write(tmp_path, kind, versions=1).wait() == 0
    check_nothing_left(tmp_path, kind)


@pytest.mark.slow
def test_a_run_whose_writer_dies_anywhere_can_write_again_where_data_of_others_is_refused(
    tmp_path: Path, write: Write
) -> None:
    target = tmp_path / "b/daily.parquet"
    sink = make_sink(str(tmp_path), "once")
    step, returncode = 0, -9
    while returncode == -9:
        step += 1
        returncode = write(tmp_path, "once", versions=1, step=step).wait()
        assert returncode in (0, -9)
        for retry in range(2):
            with entered(context(str(tmp_path))):
                sink.write(make_version(retry, 10))
        with pytest.raises(SinkExistsError):
            sink.write(make_version(0, 10))
        target.unlink()
    assert step > 10


def test_a_superseded_version_stays_for_the_grace_time_and_goes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = LocalProvider(base_path=tmp_path).bucket_sink("b", "daily", partition_by="key")
    folders = tmp_path / "b/daily/_glacier"

    def versions() -> int:
        return sum(each.is_dir() for each in folders.iterdir())

    for version in range(3):
        sink.write(make_version(version, 10))
    assert versions() == 3
    monkeypatch.setattr("glacier_prefect.sources.datasets.GRACE_SECONDS", 0.0)
    sink.write(make_version(3, 10))
    assert versions() == 1
