"""Writing to the clouds' stores: what is published, what is refused, and what is left behind."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import obstore
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import BucketNotFoundError, CheckError, SinkExistsError, StoreError
from glacier_prefect.providers import LocalProvider, Provider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import Sink, cloud_sink, datasets, objects
from tests.clouds.provided import provider_of, variables
from tests.clouds.proxy import Proxy

Cloud = S3 | Azure | GCS
FRAME = pl.DataFrame({"v": [1, 2, 3, 4], "k": ["a", "b", "a", None]})
KINDS = {"single": ("x/a.parquet", ()), "partitioned": ("x/a", ("k",))}
ROOT = Path(__file__).parents[2]
FORMATS = ["parquet", "csv", "ndjson", "ipc"]
STRANGE = [
    "a/b", "a%2Fb", "x=y", "k=x", " sp ace ", "ünï", "", None, "__HIVE_DEFAULT_PARTITION__", "null", ".", "..", "../x",
    "a\\b", "*[x]?", "nl\nx", "x" * 300, "'q\"", "007", "7", "\U0001f9ca",
]  # fmt: skip


@pytest.fixture(autouse=True)
def environment(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(cloud).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def provider(cloud: Cloud) -> Provider:
    return provider_of(cloud)


@pytest.fixture(params=KINDS)
def make(provider: Provider, bucket: str, request: pytest.FixtureRequest) -> Callable[..., Sink]:
    path, keys = KINDS[request.param]

    def made(**settings: Any) -> Sink:
        return provider.bucket_sink(bucket, path, partition_by=keys, **settings)

    return made


@pytest.fixture
def left(cloud: Cloud, bucket: str) -> Callable[[], list[str]]:
    """Names of all objects in the bucket."""
    return lambda: [each["path"] for page in obstore.list(cloud.store(bucket)) for each in page]


def context(node: str = "write") -> RunContext:
    return RunContext(run_id="run", node=node, exchange="unused/exchange/run")


def read(sink: Sink) -> pl.DataFrame:
    return sink.twin().scan().collect().sort("v")


# modes


def test_overwriting_replaces_all_of_the_old_data(make: Callable[..., Sink]) -> None:
    make().write(FRAME)
    make().write(FRAME.head(1).with_columns(v=9))
    assert read(make()).rows() == [(9, "a")]


def test_mode_error_writes_where_nothing_is_and_refuses_the_data_of_another(make: Callable[..., Sink]) -> None:
    make(mode="error").write(FRAME)
    with pytest.raises(SinkExistsError, match=r"data at 'x/a(.parquet)?' already"):
        make(mode="error").write(FRAME.head(1))
    assert read(make()).equals(FRAME)


def test_a_rerun_of_a_node_replaces_what_it_wrote_itself_and_no_other_node_does(make: Callable[..., Sink]) -> None:
    for rows in (1, 2, 3):
        with entered(context()):
            make(mode="error").write(FRAME.head(rows))
    with entered(context("other")), pytest.raises(SinkExistsError):
        make(mode="error").write(FRAME)
    assert read(make()).equals(FRAME.head(3))


def test_a_run_does_not_take_for_its_own_what_another_put_in_its_place(
    cloud: Cloud, provider: Provider, bucket: str
) -> None:
    sink = provider.bucket_sink(bucket, "a.csv", mode="error")
    with entered(context()):
        sink.write(FRAME)
        obstore.put(cloud.store(bucket), "a.csv", b"v\n1\n")
        with pytest.raises(SinkExistsError):
            sink.write(FRAME)


@pytest.mark.parametrize("mode", ["overwrite", "error"])
def test_of_writers_that_race_each_publishes_whole_and_with_mode_error_one_wins(
    make: Callable[..., Sink], mode: Any
) -> None:
    ready = threading.Barrier(4)
    done, refused = [], []

    def write(number: int) -> None:
        frame = FRAME.with_columns(v=pl.lit(number))
        ready.wait()
        try:
            make(mode=mode).write(frame)
        except SinkExistsError:
            refused.append(number)
        else:
            done.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == ((4, 0) if mode == "overwrite" else (1, 3))
    found = read(make())
    assert found.height == 4
    assert found["v"].n_unique() == 1
    assert found["v"][0] in done


# what is written


@pytest.mark.parametrize("name", FORMATS)
def test_a_frame_reads_back_with_its_types(provider: Provider, bucket: str, name: str) -> None:
    frame = pl.DataFrame(
        {
            "v": [1, None],
            "s": ["ü,\n", ""],
            "d": [date(2024, 1, 2), None],
            "t": [datetime(2024, 1, 2, 3, 4, 5), None],
            "n": [Decimal("1.25"), None],
            "b": [True, False],
            **({"l": [[1, 2], []], "x": [timedelta(seconds=1), None]} if name in ("parquet", "ipc") else {}),
        }
    )
    written = provider.bucket_sink(bucket, f"x/a.{name}").write(frame)
    assert_frame_equal(written.scan().collect(), frame)
    empty = provider.bucket_sink(bucket, f"x/empty.{name}").write(frame.clear())
    assert_frame_equal(empty.scan().collect(), frame.clear())
    parts = provider.bucket_sink(bucket, "x/parts", format=name, partition_by="b").write(frame)
    assert_frame_equal(parts.scan().collect().sort("v", nulls_last=True), frame)


@pytest.mark.parametrize("path", ["a.csv.gz", "a.csv.zst", "a.ndjson.gz"])
def test_a_suffix_of_compression_compresses(cloud: Cloud, provider: Provider, bucket: str, path: str) -> None:
    written = provider.bucket_sink(bucket, path).write(FRAME)
    assert written.scan().collect().equals(FRAME)
    body = bytes(obstore.get(cloud.store(bucket), path).bytes())
    assert body.startswith(b"\x1f\x8b" if path.endswith("gz") else b"\x28\xb5\x2f\xfd")


@pytest.mark.parametrize("name", ["parquet", "csv"])
def test_any_text_can_be_a_key(provider: Provider, bucket: str, name: str) -> None:
    strange = [each for each in STRANGE if name != "csv" or each != ""]  # csv has one text for empty and for null
    frame = pl.DataFrame({"v": range(len(strange)), "k": strange})
    written = provider.bucket_sink(bucket, "x", partition_by="k", format=name).write(frame)
    assert written.scan().collect().sort("v").equals(frame)


def test_several_keys_and_datasets_without_rows(provider: Provider, bucket: str) -> None:
    frame = pl.DataFrame({"v": [1, 2], "k": ["a", "b"], "d": [date(2024, 1, 1), None]})
    sink = provider.bucket_sink(bucket, "x", partition_by=["k", "d"])
    assert sink.write(frame).scan().collect().sort("v").equals(frame)
    assert sink.write(frame.clear()).scan().collect().equals(frame.clear())


def test_a_failed_check_publishes_nothing(make: Callable[..., Sink], left: Callable[[], list[str]]) -> None:
    with pytest.raises(CheckError, match="false for 1 rows"):
        make(checks=[pl.col("v") < 4]).write(FRAME)
    assert left() == []
    make(checks=[pl.col("v") < 5, pl.len() == 4]).write(FRAME)
    with pytest.raises(CheckError):
        make(checks=[pl.col("v") < 4]).write(FRAME)
    assert read(make()).equals(FRAME)


def test_a_failed_query_publishes_nothing(make: Callable[..., Sink], left: Callable[[], list[str]]) -> None:
    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        raise KeyError("mine")

    make().write(FRAME)
    before = left()
    with pytest.raises(KeyError, match="mine"):
        make().write(pl.LazyFrame(FRAME).map_batches(fail, schema=FRAME.schema))
    assert read(make()).equals(FRAME)
    assert left() == before


def test_a_query_that_fails_when_parts_of_it_are_uploaded_publishes_nothing(
    cloud: Cloud, provider: Provider, bucket: str, proxy: Proxy
) -> None:
    sink = provider.bucket_sink(bucket, "x/a.parquet")
    sink.write(FRAME)
    before = sink.twin().fingerprint()
    code = f"""
import polars as pl
from tests.clouds.provided import KINDS
from glacier_prefect.sources import objects
objects.PART = 5 * 1024 * 1024
def fail(frame):
    if frame["row"].max() > 5_000_000:
        raise ValueError("mine")
    return frame
rows = pl.LazyFrame({{"row": range(6_000_000)}}).with_columns(hash=pl.col("row").hash())
rows = rows.map_batches(fail, streamable=True)
KINDS[{cloud.name!r}].from_env().bucket_sink({bucket!r}, "x/a.parquet").write(rows)
"""
    env = {**os.environ, **variables(cloud.at(proxy.port)), "POLARS_UPLOAD_CHUNK_SIZE": str(5 * 1024 * 1024)}  # of 64
    ended = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ValueError: mine" in ended.stderr
    assert proxy.received("PUT") > 5_000_000
    assert sink.twin().scan().collect().equals(FRAME)
    assert sink.twin().fingerprint() == before


@pytest.mark.parametrize("own", [None, "5"])
def test_of_each_partition_one_part_is_on_its_way_unless_the_user_says_otherwise(own: str | None) -> None:
    name = "POLARS_PARTITIONED_UPLOAD_CONCURRENCY"
    env = {key: value for key, value in os.environ.items() if key != name} | ({name: own} if own else {})
    code = f"import os, glacier_prefect.providers; print(os.environ[{name!r}])"
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (own or "1")


def test_a_frame_may_read_what_it_replaces(make: Callable[..., Sink]) -> None:
    make().write(FRAME)
    for _ in range(3):
        make().write(make().twin().scan().with_columns(pl.col("v") * 2))
    assert read(make())["v"].to_list() == [8, 16, 24, 32]


def test_a_frame_of_a_cloud_is_written_to_the_disk_and_back(make: Callable[..., Sink], tmp_path: Path) -> None:
    local = LocalProvider(base_path=str(tmp_path)).bucket_sink("b", "a.parquet")
    local.write(make().write(FRAME).scan())
    make().write(local.twin().scan().with_columns(v=pl.col("v") + 1))
    assert read(make())["v"].to_list() == [2, 3, 4, 5]


def test_a_path_with_fields_writes_and_returns_the_place_of_its_run(
    provider: Provider, bucket: str, left: Callable[[], list[str]]
) -> None:
    run = RunContext(run_id="r", node="n", parameters={"p": "a{b} c"}, run_date=datetime(2024, 1, 2), exchange="x/y/z")
    with entered(run):
        written = provider.bucket_sink(bucket, "{run_date:%Y/%m}/{p}.parquet").write(FRAME)
    assert written.scan().collect().equals(FRAME)
    assert left() == ["2024/01/a{b} c.parquet"]


def test_a_source_and_a_sink_can_travel_to_another_process(make: Callable[..., Sink]) -> None:
    twin = pickle.loads(pickle.dumps(make())).write(FRAME)
    assert pickle.loads(pickle.dumps(twin)).scan().collect().sort("v").equals(FRAME)


# what is refused


def test_a_file_and_a_dataset_do_not_replace_each_other(
    cloud: Cloud, provider: Provider, bucket: str, left: Callable[[], list[str]]
) -> None:
    provider.bucket_sink(bucket, "file", format="csv").write(FRAME)
    provider.bucket_sink(bucket, "ds", partition_by="k").write(FRAME)
    obstore.put(cloud.store(bucket), "folder/x/1.txt", b"x")
    before = left()
    with pytest.raises(SinkExistsError, match="'file' is a file; a partitioned dataset cannot replace it"):
        provider.bucket_sink(bucket, "file", partition_by="k").write(FRAME)
    with pytest.raises(SinkExistsError, match="'ds' is a partitioned dataset; a file cannot replace it"):
        provider.bucket_sink(bucket, "ds", format="csv").write(FRAME)
    with pytest.raises(SinkExistsError, match="'folder' is a folder; a file cannot replace it"):
        provider.bucket_sink(bucket, "folder", format="csv").write(FRAME)
    with pytest.raises(SinkExistsError, match=r"'folder' holds files .*'x/1.txt'"):
        provider.bucket_sink(bucket, "folder", partition_by="k").write(FRAME)
    with pytest.raises(SinkExistsError, match="'ds' is a partitioned dataset, in which no reader"):
        provider.bucket_sink(bucket, "ds/x/y.csv").write(FRAME)
    assert left() == before


def test_what_refuses_does_so_before_the_query_is_computed(make: Callable[..., Sink]) -> None:
    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError("computed")

    make().write(FRAME)
    with pytest.raises(SinkExistsError):
        make(mode="error").write(pl.LazyFrame(FRAME).map_batches(fail, schema=FRAME.schema))


def test_a_missing_bucket_is_an_error_that_names_it(provider: Provider) -> None:
    with pytest.raises(BucketNotFoundError, match=r"'no-such-bucket'.*there is no such bucket(?s:.*)Hint: "):
        provider.bucket_sink("no-such-bucket", "a.parquet").write(FRAME)


# what is left


def test_only_the_data_is_left_in_the_bucket(
    make: Callable[..., Sink], left: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "GRACE_SECONDS", 0.0)
    for _ in range(3):
        make().write(FRAME)
    names = left()
    if "x/a.parquet" in names:
        assert names == ["x/a.parquet"]
    else:
        assert len(names) == len({"manifest", "_schema", "a", "b", "null"})


def test_left_overs_go_with_the_next_write_of_their_node_and_those_of_others_after_a_day(
    cloud: Cloud,
    bucket: str,
    make: Callable[..., Sink],
    left: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any, **__: Any) -> Any:
        raise SystemExit

    def write(node: str, dying: bool = False) -> None:
        with entered(context(node)), monkeypatch.context() as patch:
            if dying:
                patch.setattr(objects.Objects, "copy", killed)
                patch.setattr(objects.Objects, "put", killed)
                patch.setattr(objects.Objects, "delete", lambda *_: None)
                with pytest.raises(SystemExit):
                    sink.write(FRAME)
            else:
                sink.write(FRAME)

    sink = make(checks=[pl.len() == 4])  # what is checked is staged first
    monkeypatch.setattr(datasets, "GRACE_SECONDS", 0.0)
    write("mine")
    clean = len(left())
    write("mine", dying=True)
    write("other", dying=True)
    dirty = len(left())
    write("mine")
    assert len(left()) == (dirty + clean) // 2
    monkeypatch.setattr(cloud_sink, "ABANDONED", timedelta(0))
    if cloud.name != "azure":  # clocks of whole seconds
        obstore.put(cloud.store(bucket), "tick", b"")
    threading.Event().wait(1.1)
    write("mine")
    assert len([name for name in left() if name != "tick"]) == clean


def test_a_superseded_version_stays_for_the_grace_time_by_the_stores_clock(
    cloud: Cloud, provider: Provider, bucket: str, left: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = provider.bucket_sink(bucket, "ds", partition_by="k")

    def versions() -> int:
        return len({name.split("/")[2] for name in left() if name.count("/") > 2 or name.endswith("_schema")})

    for _ in range(3):
        sink.write(FRAME)
    assert versions() == 3
    manifest = json.loads(bytes(obstore.get(cloud.store(bucket), "ds/_glacier/manifest.json").bytes()))
    assert len(manifest["superseded"]) == 2
    monkeypatch.setattr(datasets, "GRACE_SECONDS", -1.0)
    sink.write(FRAME)
    assert versions() == 1


def test_what_a_store_cannot_copy_at_once_goes_through_in_parts(
    provider: Provider, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = provider.bucket_sink(bucket, "a.parquet", checks=[pl.col("v") >= 0])
    monkeypatch.setattr(type(sink), "copy_limit", 1000)
    monkeypatch.setattr(objects, "PART", 5 * 1024 * 1024)
    frame = pl.DataFrame({"v": range(2_000_000)}).with_columns(w=pl.col("v").hash())
    assert sink.write(frame).scan().collect().equals(frame)
    with pytest.raises(SinkExistsError):
        provider.bucket_sink(bucket, "a.parquet", mode="error").write(FRAME)


def test_a_publication_whose_answer_was_lost_is_taken_for_what_it_is(
    make: Callable[..., Sink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats the call, and is refused because the first one was carried out."""
    put, copy = objects.Objects.put, objects.Objects.copy
    monkeypatch.setattr(objects.Objects, "put", lambda *args, **named: put(*args, **named) and False)
    monkeypatch.setattr(objects.Objects, "copy", lambda *args, **named: copy(*args, **named) and False)
    make(mode="error").write(FRAME)
    assert read(make()).equals(FRAME)


def test_a_manifest_that_others_replace_all_the_time_is_an_error(
    provider: Provider, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = itertools.count()
    monkeypatch.setattr(objects.Objects, "put", lambda *_, **__: next(counted) < 0)
    with pytest.raises(StoreError, match="20 times"):
        provider.bucket_sink(bucket, "ds", partition_by="k").write(FRAME)
