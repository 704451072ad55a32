"""Writing to the local disk: what is published, what is refused, and what is left behind."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect.errors import OptionError, SchemaError, SinkExistsError
from glacier_prefect.providers import LocalProvider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import Sink

FRAME = pl.DataFrame({"v": [1, 2, 3, 4], "k": ["a", "b", "a", None]})
KINDS = {"single": ("a.parquet", ()), "partitioned": ("a", ("k",))}
STRANGE = [
    "a/b", "a%2Fb", "x=y", "k=x", " sp ace ", "ünï", "", None, "__HIVE_DEFAULT_PARTITION__", "null", ".", "..", "../x",
    "a\\b", "*[x]?", "nl\nx", "x" * 300, "'q\"", "007", "7", "\U0001f9ca",
]  # fmt: skip


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    return LocalProvider(base_path=tmp_path)


@pytest.fixture(params=KINDS)
def make(provider: LocalProvider, request: pytest.FixtureRequest) -> Callable[..., Sink]:
    path, keys = KINDS[request.param]

    def made(**settings: Any) -> Sink:
        return provider.bucket_sink("b", path, partition_by=keys, **settings)

    return made


def context(tmp_path: Path, run_id: str = "run", node: str = "write") -> RunContext:
    return RunContext(run_id=run_id, node=node, exchange=str(tmp_path / ".glacier/exchange" / run_id))


def read(sink: Sink) -> pl.DataFrame:
    return sink.twin().scan().collect().sort("v")


# modes


def test_overwriting_replaces_all_of_the_old_data(make: Callable[..., Sink]) -> None:
    make().write(FRAME)
    make().write(FRAME.filter(pl.col("v") == 1))
    assert read(make()).rows() == [(1, "a")]


def test_mode_error_writes_where_nothing_is_and_refuses_the_data_of_another(make: Callable[..., Sink]) -> None:
    sink = make(mode="error")
    sink.write(FRAME)
    with pytest.raises(SinkExistsError, match=r"there is data at .* already, and mode is 'error'"):
        sink.write(FRAME.head(1))
    assert read(sink).equals(FRAME)


def test_a_rerun_of_a_node_replaces_what_it_wrote_itself_and_no_other_node_does(
    make: Callable[..., Sink], tmp_path: Path
) -> None:
    sink = make(mode="error")
    for rows in (4, 3, 2):
        with entered(context(tmp_path)):
            sink.write(FRAME.head(rows))
        assert read(sink).equals(FRAME.head(rows))
    for other in (context(tmp_path, run_id="other"), context(tmp_path, node="other")):
        with entered(other), pytest.raises(SinkExistsError):
            sink.write(FRAME)
    assert read(sink).height == 2


def test_a_run_does_not_take_for_its_own_what_another_put_in_its_place(provider: LocalProvider, tmp_path: Path) -> None:
    sink = provider.bucket_sink("b", "a.parquet", mode="error")
    with entered(context(tmp_path)):
        sink.write(FRAME)
        provider.bucket_sink("b", "a.parquet").write(FRAME.head(1))
        with pytest.raises(SinkExistsError):
            sink.write(FRAME)


def test_mode_error_does_not_replace_a_broken_link(provider: LocalProvider, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b/a.parquet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SinkExistsError):
        provider.bucket_sink("b", "a.parquet", mode="error").write(FRAME)


@pytest.mark.parametrize("mode", ["error", "overwrite"])
def test_of_writers_that_race_each_publishes_whole_and_with_mode_error_one_wins(
    make: Callable[..., Sink], mode: str, tmp_path: Path
) -> None:
    sink = make(mode=mode)
    for turn in range(10):
        start, refused, failed = threading.Barrier(4), [], []

        def run(
            number: int,
            turn: int = turn,
            start: threading.Barrier = start,
            refused: list[int] = refused,
            failed: list[Any] = failed,
        ) -> None:
            frame = pl.DataFrame({"v": range(200), "k": [each % 3 for each in range(200)], "writer": [number] * 200})
            with entered(context(tmp_path, run_id=f"{turn}-{number}")):
                start.wait()
                try:
                    sink.write(frame)
                except SinkExistsError:
                    refused.append(number)
                except BaseException as error:  # to be shown by the test's own thread
                    failed.append(error)

        writers = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert failed == []
        found = read(sink)
        assert found["writer"].n_unique() == 1
        assert found.height == 200
        if mode == "error":
            assert len(refused) == 3
            assert found["writer"][0] not in refused
            target = tmp_path / "b" / sink.path
            if target.is_file():
                target.unlink()
            else:
                shutil.rmtree(target)
        else:
            assert refused == []


def test_two_processes_that_write_one_dataset_both_publish_and_leave_one_version(
    provider: LocalProvider, tmp_path: Path
) -> None:
    script = f"""
import polars as pl
from glacier_prefect.providers import LocalProvider
from glacier_prefect.sources import datasets
datasets.GRACE_SECONDS = 0.0
sink = LocalProvider(base_path={str(tmp_path)!r}).bucket_sink("b", "a", partition_by="k")
for turn in range(30):
    sink.write(pl.DataFrame({{"v": range(20), "k": [turn] * 10 + [-turn - 1] * 10}}))
"""
    writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    found = provider.bucket_source("b", "a").scan().collect()
    assert found.height == 20
    assert sorted(set(found["k"])) == [-30, 29]
    assert sum(each.is_dir() for each in (tmp_path / "b/a/_glacier").iterdir()) == 1


def test_append_is_for_delta(provider: LocalProvider) -> None:
    with pytest.raises(OptionError, match="only delta can do safely"):
        provider.bucket_sink("b", "a.parquet", mode="append")
    with pytest.raises(OptionError, match=r"mode='overwrit'.*Did you mean 'overwrite'"):
        provider.bucket_sink("b", "a.parquet", mode="overwrit")  # type: ignore[arg-type]


def test_a_node_may_have_any_name(make: Callable[..., Sink], tmp_path: Path) -> None:
    for name in ("界" * 200, "a/b", "..", "x" * 500):
        with entered(context(tmp_path, node=name)):
            make().write(FRAME)
        assert read(make()).equals(FRAME)


# partitions


@pytest.mark.parametrize("name", ["parquet", "ipc", "csv", "ndjson"])
def test_any_text_can_be_a_key(provider: LocalProvider, name: str) -> None:
    frame = pl.DataFrame({"v": range(len(STRANGE)), "k": STRANGE, "w": 1})
    sink = provider.bucket_sink("b", "a", format=name, partition_by="k")
    assert_frame_equal(sink.write(frame).scan().collect().sort("v"), frame)


@pytest.mark.parametrize(
    "keys",
    [
        pl.Series([1, -2, None], dtype=pl.Int8),
        pl.Series([2**64 - 1, 0, None], dtype=pl.UInt64),
        pl.Series([True, False, None]),
        pl.Series([date(2024, 1, 1), date(1, 1, 1), None]),
        pl.Series([0.0, -0.0, None]),
        pl.Series([float("nan"), float("inf"), None], dtype=pl.Float32),
        pl.Series([1, 2, None], dtype=pl.Datetime("ns", "Europe/Paris")),
        pl.Series([timedelta(days=1), timedelta(0), None]),
        pl.Series([Decimal("1.20"), Decimal("-0.01"), None]),
        pl.Series(["x", "y", None], dtype=pl.Enum(["x", "y"])),
        pl.Series(["x", "y", None], dtype=pl.Categorical),
        pl.Series([b"/", b"\xff", None]),
        pl.Series([None, None, None]),
    ],
    ids=lambda keys: str(keys.dtype),
)
def test_keys_of_any_type_read_back_in_their_place(provider: LocalProvider, keys: pl.Series) -> None:
    frame = pl.DataFrame({"before": [1, 2, 3], "k": keys, "v": [1, 2, 3]})
    sink = provider.bucket_sink("b", "a", partition_by="k")
    assert_frame_equal(sink.write(frame).scan().collect().sort("v"), frame)


def test_several_keys_and_keys_alone(provider: LocalProvider) -> None:
    frame = pl.DataFrame({"a/b": [1, 1, 2], "v": [1, 2, 3], "c=d": ["x", "y", "x"]})
    sink = provider.bucket_sink("b", "a", partition_by=["c=d", "a/b"])
    assert_frame_equal(sink.write(frame).scan().collect().sort("v"), frame)
    alone = frame.select("v")
    assert_frame_equal(provider.bucket_sink("b", "c", partition_by="v").write(alone).scan().collect().sort("v"), alone)


def test_rows_of_one_key_keep_their_order(provider: LocalProvider) -> None:
    frame = pl.DataFrame({"v": range(200_000), "k": [each % 3 for each in range(200_000)]})
    sink = provider.bucket_sink("b", "a", partition_by="k")
    for (_,), rows in sink.write(frame).scan().collect().group_by("k"):
        assert rows["v"].is_sorted()


def test_a_filter_on_a_key_reads_few_rows_by_the_files_statistics(provider: LocalProvider) -> None:
    twin = provider.bucket_sink("b", "a", partition_by="k").write(pl.DataFrame({"k": range(20), "v": range(20)}))
    assert twin.scan().filter(pl.col("k") == 7).collect().rows() == [(7, 7)]


def test_a_missing_or_repeated_key_is_an_error(provider: LocalProvider) -> None:
    with pytest.raises(SchemaError, match="column 'kk' is missing"):
        provider.bucket_sink("b", "a", partition_by="kk").write(FRAME)
    with pytest.raises(OptionError, match="each once"):
        provider.bucket_sink("b", "a", partition_by=["k", "k"])
    with pytest.raises(OptionError, match="names of columns"):
        provider.bucket_sink("b", "a", partition_by=[1])  # type: ignore[list-item]


# what is there already


def test_a_file_and_a_dataset_do_not_replace_each_other(provider: LocalProvider) -> None:
    one, many = provider.bucket_sink("b", "a"), provider.bucket_sink("b", "a", partition_by="k")
    one.write(FRAME)
    with pytest.raises(SinkExistsError, match="is a file; a partitioned dataset cannot replace it"):
        many.write(FRAME)
    assert read(one).equals(FRAME)
    other, others = provider.bucket_sink("b", "c"), provider.bucket_sink("b", "c", partition_by="k")
    others.write(FRAME)
    with pytest.raises(SinkExistsError, match="is a partitioned dataset; a file cannot replace it"):
        other.write(FRAME)
    assert read(others).equals(FRAME)


@pytest.mark.parametrize("mode", ["overwrite", "error"])
def test_a_dataset_does_not_hide_files_of_others(provider: LocalProvider, tmp_path: Path, mode: Any) -> None:
    (tmp_path / "b/a/k=1").mkdir(parents=True)
    FRAME.write_parquet(tmp_path / "b/a/k=1/0.parquet")
    with pytest.raises(SinkExistsError, match=r"files that Glacier did not write.*'k=1/0.parquet'.*hide them"):
        provider.bucket_sink("b", "a", partition_by="k", mode=mode).write(FRAME)
    with pytest.raises(SinkExistsError, match="is a folder; a file cannot replace it"):
        provider.bucket_sink("b", "a", mode=mode).write(FRAME)
    (tmp_path / "b/a/k=1/0.parquet").unlink()
    assert provider.bucket_sink("b", "a", partition_by="k", mode=mode).write(FRAME).exists()


def test_nothing_is_written_inside_a_dataset_or_below_a_file(provider: LocalProvider) -> None:
    provider.bucket_sink("b", "a", partition_by="k").write(FRAME)
    provider.bucket_sink("b", "f.parquet").write(FRAME)
    for path in ("a/x.parquet", "a/k=a/x.parquet"):
        with pytest.raises(SinkExistsError, match="is a partitioned dataset, in which no reader would see"):
            provider.bucket_sink("b", path).write(FRAME)
    with pytest.raises(SinkExistsError, match="is a file; nothing can be written below it"):
        provider.bucket_sink("b", "f.parquet/x.parquet").write(FRAME)


def test_what_refuses_does_so_before_the_query_is_computed(make: Callable[..., Sink]) -> None:
    computed = []
    make().write(FRAME)
    frame = FRAME.lazy().map_batches(lambda frame: computed.append(1) or frame, schema=FRAME.schema)
    with pytest.raises(SinkExistsError):
        make(mode="error").write(frame)
    assert computed == []


# what is left


def test_only_the_data_is_left_in_the_bucket(make: Callable[..., Sink], tmp_path: Path) -> None:
    make().write(FRAME)
    visible = {each.name for each in (tmp_path / "b").iterdir()} - {".glacier"}
    assert visible == {make().path}
    assert list((tmp_path / "b/.glacier/writes").iterdir()) == []


def test_a_frame_may_read_what_it_replaces(make: Callable[..., Sink]) -> None:
    make().write(FRAME)
    for _ in range(3):
        make().write(make().twin().scan().with_columns(pl.col("v") + 1))
    assert read(make())["v"].to_list() == [4, 5, 6, 7]


def test_other_readers_see_a_published_file_as_any_other(provider: LocalProvider, tmp_path: Path) -> None:
    provider.bucket_sink("b", "x/a.parquet").write(FRAME)
    assert pl.read_parquet(tmp_path / "b/x/a.parquet").equals(FRAME)
    FRAME.write_parquet(tmp_path / "plain.parquet")
    assert (tmp_path / "b/x/a.parquet").stat().st_mode == (tmp_path / "plain.parquet").stat().st_mode


def test_a_path_with_fields_writes_and_returns_the_place_of_its_run(provider: LocalProvider, tmp_path: Path) -> None:
    sink = provider.bucket_sink("b", "{run_date:%Y}/{name}.csv")
    place = RunContext(
        run_id="r",
        node="n",
        parameters={"name": "{a}"},
        run_date=datetime(2024, 1, 1),
        exchange=str(tmp_path / ".glacier/exchange/r"),
    )
    with entered(place):
        twin = sink.write(FRAME)
    assert (tmp_path / "b/2024/{a}.csv").is_file()
    assert twin.scan().collect().equals(FRAME)
    assert twin.uri == (tmp_path / "b").as_uri() + "/2024/{a}.csv"


def test_a_source_and_a_sink_can_travel_to_another_process(make: Callable[..., Sink]) -> None:
    sink = pickle.loads(pickle.dumps(make(checks=[pl.col("v") > 0], schema={"v": int})))
    twin = pickle.loads(pickle.dumps(sink.write(FRAME)))
    assert twin.scan().collect().sort("v").equals(FRAME)


def test_a_manifest_is_published_after_what_it_names(provider: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power may fail after any step: files, their names, then the manifest have to be on the disk in this order."""
    order: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def synced(descriptor: int) -> None:
        order.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(old: Path, new: Path) -> None:
        order.append("version in place")
        rename(old, new)

    def replaced(old: Path, new: Path) -> None:
        order.append("publish")
        replace(old, new)

    for name, function in {"fsync": synced, "rename": renamed, "replace": replaced}.items():
        monkeypatch.setattr(os, name, function)
    provider.bucket_sink("b", "a", partition_by="k").write(FRAME)
    steps = [
        "sync data",
        "version in place",
        "sync _glacier",
        "sync manifest.json.new",
        "publish",
        "sync _glacier",
        "sync a",
    ]
    assert order == steps
