"""Reading from the local disk: files, folders, globs, `key=value` folders, datasets, and the state that is read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect.errors import FormatError, SchemaError, SourceNotFoundError
from glacier_prefect.providers import LocalProvider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import LocalSource, datasets, snapshots
from glacier_prefect.sources.leases import Lease

MEMORY = Path("/dev/shm")
TEXT = ["csv", "ndjson"]
TYPED = ["parquet", "ipc"]


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    folder = tmp_path / "b"
    folder.mkdir()
    return folder


def put(file: Path, value: int = 0) -> None:
    """Write one row as plain Polars does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    getattr(pl.DataFrame({"v": [value]}), f"write_{file.suffix[1:]}")(file)


def source(bucket: Path, path: str, **settings: Any) -> LocalSource:
    found = LocalProvider(base_path=bucket.parent).bucket_source(bucket.name, path, **settings)
    assert isinstance(found, LocalSource)
    return found


def values(bucket: Path, path: str, **settings: Any) -> list[int]:
    return source(bucket, path, **settings).scan().collect()["v"].to_list()


# files, folders, globs


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("1.parquet", [1]),
        ("*.parquet", [1, 2]),
        ("?.parquet", [1, 2]),
        ("[13].parquet", [1]),
        ("[!1].parquet", [2]),
        ("x/*.parquet", [3]),
        ("*/*.parquet", [3, 5]),
        ("**/*.parquet", [1, 2, 3, 4, 5]),
        ("**", [1, 2, 3, 4, 5]),
        ("x", [3, 4]),
        ("x/", [3, 4]),
        ("x/**", [3, 4]),
        ("x/*/", [4]),
        ("*/deep", [4]),
        ("x*", [3, 4, 5]),
        ("", [1, 2, 3, 4, 5]),
        ("x/**/4.parquet", [4]),
        ("x/**/3.parquet", [3]),
        ("_hidden/8.parquet", [8]),
        ("_hid*/8.parquet", [8]),
        (".dot.parquet", [9]),
    ],
)
def test_a_path_stands_for_its_files_in_order_of_their_names(bucket: Path, path: str, expected: list[int]) -> None:
    for name, value in [("2", 2), ("1", 1), ("x/3", 3), ("x/deep/4", 4), ("xy/5", 5), ("_hidden/8", 8), (".dot", 9)]:
        put(bucket / f"{name}.parquet", value)
    put(bucket / "x/_part.parquet", 99)
    (bucket / "x/.hidden").mkdir()
    put(bucket / "x/.hidden/6.parquet", 99)
    assert values(bucket, path) == expected


def test_a_folder_stands_for_its_files_of_the_format_that_is_read(bucket: Path) -> None:
    put(bucket / "x/1.parquet", 1)
    put(bucket / "x/2.csv", 2)
    (bucket / "x/notes.txt").write_text("x")
    (bucket / "x/3.csv.bak").write_text("x")
    assert values(bucket, "x") == [1]
    assert values(bucket, "x", format="csv") == [2]


def test_a_file_without_its_suffix_is_read_by_its_named_format(bucket: Path) -> None:
    (bucket / "data.txt").write_text("v\n7\n")
    assert values(bucket, "data.txt", format="csv") == [7]
    assert values(bucket, "*.txt", format="csv") == [7]


def test_symbolic_links_are_followed_but_not_in_circles(bucket: Path, tmp_path: Path) -> None:
    put(tmp_path / "elsewhere/1.parquet", 1)
    put(bucket / "x/2.parquet", 2)
    (bucket / "x/link").symlink_to(tmp_path / "elsewhere")
    (bucket / "x/file.parquet").symlink_to(tmp_path / "elsewhere/1.parquet")
    (bucket / "x/circle").symlink_to(bucket)
    (bucket / "x/broken.parquet").symlink_to(tmp_path / "nowhere")
    assert sorted(values(bucket, "x")) == [1, 1, 2]


def test_only_folders_that_can_match_are_listed(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(20):
        put(bucket / f"2024/{day}/x.parquet", day)
        put(bucket / f"other/{day}/x.parquet", day)
    listed = []
    scandir = os.scandir

    def counted(folder: Any) -> Any:
        listed.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counted)
    assert source(bucket, "2024/1?/x.parquet").size() > 0
    assert listed == [str(bucket / "2024")]


def test_ten_thousand_files_are_listed_and_pinned_within_seconds(bucket: Path) -> None:
    put(bucket / "0.parquet", 1)
    for number in range(1, 10_000):
        os.link(bucket / "0.parquet", bucket / f"{number}.parquet")
    begun = time.perf_counter()
    frame = source(bucket, "*.parquet").scan()
    assert time.perf_counter() - begun < 5
    assert frame.select(pl.len()).collect().item() == 10_000


# what is not there


def message(bucket: Path, path: str) -> str:
    missing = source(bucket, path)
    assert not missing.exists()
    assert missing.size() == 0
    with pytest.raises(SourceNotFoundError) as caught:
        missing.scan()
    return str(caught.value)


def test_a_missing_file_is_an_error_that_shows_what_is_there(bucket: Path) -> None:
    put(bucket / "x/orders.parquet")
    text = message(bucket, "x/order.parquet")
    assert f"there is no file {bucket}/x/order.parquet" in text
    assert "'orders.parquet'" in text
    assert f"Files in {bucket}: 'x/orders.parquet'" in message(bucket, "y/z/order.parquet")


def test_an_empty_glob_and_an_empty_folder_are_errors_that_show_what_is_there(bucket: Path) -> None:
    put(bucket / "x/orders.csv")
    assert re.search(r"no file matches 'x/\*\.parquet' in .*'x/orders\.csv'", message(bucket, "x/*.parquet"))
    assert re.search(r"the folder .*/x holds no parquet file.*'orders\.csv'", message(bucket, "x"))
    (bucket / "empty").mkdir()
    assert message(bucket, "empty").endswith("Files there: none.")


def test_a_missing_bucket_is_an_error_with_the_nearest(bucket: Path) -> None:
    assert "there is no bucket 'bb' in" in message(bucket.parent / "bb", "x.parquet")
    assert "Did you mean 'b'?" in message(bucket.parent / "bb", "x.parquet")


# key=value folders of others

HIVE: list[tuple[Mapping[str, list[Any]], Mapping[str, Any]]] = [
    ({"k": ["a/b", "x=y", "sp ace", "ü", "100%", "*[x]?", "a%2Fb"]}, {"k": pl.String}),
    ({"k": [1, -2, None]}, {"k": pl.Int64}),
    ({"k": [True, False, None]}, {"k": pl.Boolean}),
    ({"k": [date(2024, 1, 2), None]}, {"k": pl.Date}),
    ({"k": [1.5, 2.0]}, {"k": pl.Float64}),
    ({"year": [2024, 2025], "region": ["eu", None]}, {"year": pl.Int64, "region": pl.String}),
]


@pytest.mark.parametrize("name", TEXT + TYPED)
@pytest.mark.parametrize(("keys", "types"), HIVE, ids=str)
def test_folders_that_plain_polars_wrote_become_columns(
    bucket: Path, name: str, keys: Mapping[str, list[Any]], types: Mapping[str, Any]
) -> None:
    frame = pl.DataFrame({"v": range(len(next(iter(keys.values()))))}).with_columns(
        pl.Series(key, column) for key, column in keys.items()
    )
    target = pl.PartitionBy(bucket / "hive", key=list(keys), include_key=False)
    getattr(frame.lazy(), f"sink_{name}")(target, mkdir=True)
    read = source(bucket, "hive", format=name).scan().collect()
    assert read.sort("v").equals(frame)
    assert read.schema == {"v": pl.Int64, **types}
    assert source(bucket, "hive/**", format=name).scan().collect().sort("v").equals(frame)


@pytest.mark.parametrize("name", TEXT + TYPED)
def test_keys_that_are_empty_or_null_are_told_apart(bucket: Path, name: str) -> None:
    for value, folder in enumerate(["k=", "k=__HIVE_DEFAULT_PARTITION__", "k=x"]):
        put(bucket / f"hive/{folder}/0.{name}", value)
    assert source(bucket, "hive", format=name).scan().collect().sort("v").rows() == [(0, ""), (1, None), (2, "x")]


@pytest.mark.parametrize("name", TEXT + TYPED)
def test_keys_have_the_types_that_are_declared(bucket: Path, name: str) -> None:
    for value, folder in enumerate(["zip=01234/year=2024", "zip=99999/year=2025"]):
        put(bucket / f"hive/{folder}/0.{name}", value)
    schema = {"zip": str, "year": pl.Int16}
    read = source(bucket, "hive", format=name, schema=schema).scan()
    assert read.collect_schema() == {"v": pl.Int64, "zip": pl.String, "year": pl.Int16}
    assert read.collect().rows() == [(0, "01234", 2024), (1, "99999", 2025)]
    with pytest.raises(SchemaError, match="'zip'"):
        source(bucket, "hive", format=name, schema={"zip": pl.Date}).scan()


def test_folders_above_the_first_glob_are_no_columns(bucket: Path) -> None:
    put(bucket / "year=2024/month=1/0.parquet")
    inner = LocalProvider(base_path=bucket).bucket_source("year=2024", "**/*.parquet")
    assert inner.scan().collect().columns == ["v", "month"]
    assert source(bucket, "year=2024/month=*/0.parquet").scan().collect().columns == ["v", "month"]
    assert source(bucket, "year=*/month=1/0.parquet").scan().collect().columns == ["v", "year", "month"]
    assert source(bucket, "year=2024/month=1/0.parquet").scan().collect().columns == ["v"]


def test_a_filter_on_a_key_opens_only_its_files(bucket: Path) -> None:
    put(bucket / "hive/k=1/0.parquet", 1)
    (bucket / "hive/k=2").mkdir()
    (bucket / "hive/k=2/0.parquet").write_text("not a Parquet file")
    read = source(bucket, "hive").scan()
    assert read.filter(pl.col("k") == 1).collect().rows() == [(1, 1)]
    with pytest.raises(pl.exceptions.ComputeError):
        read.collect()


def test_files_below_folders_of_different_keys_are_an_error_that_names_two(bucket: Path) -> None:
    put(bucket / "hive/k=1/0.parquet")
    put(bucket / "hive/other.parquet")
    with pytest.raises(SchemaError, match=r"'hive/k=1/0.parquet' has 'k', 'hive/other.parquet' has no key"):
        source(bucket, "hive").scan()


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_the_option_that_shows_file_names_shows_those_of_the_bucket(bucket: Path, name: str) -> None:
    put(bucket / f"hive/k=1/0.{name}", 1)
    read = source(bucket, "hive", format=name, options={"include_file_paths": "from"}).scan().collect()
    assert read["from"].to_list() == [str(bucket / f"hive/k=1/0.{name}")]
    assert read["k"].to_list() == [1]


# datasets that Glacier wrote


def dataset(bucket: Path, path: str, rows: int = 4, **settings: Any) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"v": range(rows), "k": [each % 2 for each in range(rows)]}, schema={"v": pl.Int64, "k": pl.Int8}
    )
    LocalProvider(base_path=bucket.parent).bucket_sink(bucket.name, path, partition_by="k", **settings).write(frame)
    return frame


@pytest.mark.parametrize("path", ["ds", "ds/", "ds/**", "ds/*/*.parquet", "ds/k=*", "d*", "**"])
def test_a_dataset_is_read_by_its_manifest_whatever_path_names_it(bucket: Path, path: str) -> None:
    frame = dataset(bucket, "ds")
    put(bucket / "ds/k=0/stray.parquet", 99)
    put(bucket / "ds/_glacier/left/0.parquet", 99)
    read = source(bucket, path).scan().collect()
    assert read.sort("v").equals(frame)
    assert read.schema == frame.schema


def test_a_part_of_a_dataset_can_be_read(bucket: Path) -> None:
    dataset(bucket, "ds")
    assert values(bucket, "ds/k=1") == [1, 3]
    assert values(bucket, "ds/k=[1]/*") == [1, 3]
    assert not source(bucket, "ds/k=7").exists()
    frame = pl.DataFrame({"v": [1, 2, 3], "k": ["ü x", "a/b", None]})
    LocalProvider(base_path=bucket.parent).bucket_sink("b", "text", partition_by="k").write(frame)
    assert values(bucket, "text/k=ü x") == [1]
    assert values(bucket, "text/k=a%2Fb") == [2]
    assert values(bucket, "text/k=__HIVE*") == [3]


def test_datasets_below_a_folder_are_read_together_and_their_folders_are_keys(bucket: Path) -> None:
    dataset(bucket, "all/year=2024/ds")
    dataset(bucket, "all/year=2025/ds")
    put(bucket / "all/year=2026/x.parquet", 9)
    read = source(bucket, "all/year=202[45]/*").scan().collect()
    assert read.columns == ["v", "k", "year"]
    assert sorted(read.rows()) == [(v, v % 2, year) for v in range(4) for year in (2024, 2025)]


@pytest.mark.parametrize("name", TEXT)
def test_datasets_of_text_keep_their_types_when_they_are_read_together(bucket: Path, name: str) -> None:
    frame = dataset(bucket, "all/one", format=name)
    dataset(bucket, "all/two", format=name)
    dataset(bucket, "all/none", rows=0, format=name)
    read = source(bucket, "all", format=name).scan().collect()
    assert read.height == 8
    assert read.schema == frame.schema


def test_a_dataset_without_rows_exists_and_has_its_columns(bucket: Path) -> None:
    frame = dataset(bucket, "ds", rows=0)
    for path in ("ds", "ds/**", "*"):
        assert source(bucket, path).exists()
        assert source(bucket, path).scan().collect().equals(frame)


def test_a_dataset_of_another_format_is_an_error_with_the_way_out(bucket: Path) -> None:
    dataset(bucket, "ds", format="csv")
    with pytest.raises(FormatError, match=r"is csv, not parquet.\nHint: name it with format='csv'"):
        source(bucket, "ds").scan()


# the state that is read


@pytest.mark.parametrize("name", TEXT + TYPED)
def test_a_scan_is_the_state_of_its_moment_although_the_file_is_replaced_or_removed(bucket: Path, name: str) -> None:
    sink = LocalProvider(base_path=bucket.parent).bucket_sink("b", f"a.{name}")
    old = pl.DataFrame({"v": range(1000)})
    read = sink.write(old).scan()
    read.collect_schema()
    sink.write(pl.DataFrame({"v": ["x"] * 5, "w": [1] * 5}))
    assert read.collect().equals(old)
    (bucket / f"a.{name}").unlink()
    assert read.filter(pl.col("v") > 500).collect().height == 499
    assert read.collect().equals(old)


def test_a_scan_of_a_dataset_is_the_state_of_its_moment(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "GRACE_SECONDS", 0.0)
    old = dataset(bucket, "ds", rows=100)
    read = source(bucket, "ds").scan()
    dataset(bucket, "ds", rows=6)
    assert read.collect().sort("v").equals(old)
    assert source(bucket, "ds").scan().collect().height == 6


def test_in_a_run_the_snapshots_are_in_its_exchange_folder(bucket: Path, tmp_path: Path) -> None:
    put(bucket / "a.parquet", 1)
    exchange = tmp_path / ".glacier/exchange/run"
    lease = Lease.take(exchange)
    with entered(RunContext(run_id="run", node="n", exchange=str(exchange))):
        read = source(bucket, "a.parquet").scan()
    (bucket / "a.parquet").unlink()
    assert read.collect()["v"].to_list() == [1]
    assert len(list((exchange / "snapshots").iterdir())) == 1
    lease.release()


def test_in_a_run_that_is_kept_for_a_retry_the_snapshots_are_the_processs_own(bucket: Path, tmp_path: Path) -> None:
    put(bucket / "a.parquet", 1)
    exchange = tmp_path / ".glacier/exchange/run"
    exchange.mkdir(parents=True)
    with entered(RunContext(run_id="run", node="n", exchange=str(exchange))):
        source(bucket, "a.parquet").scan().collect()
    assert not list(exchange.rglob("*"))


def test_snapshots_vanish_with_their_process(bucket: Path, tmp_path: Path) -> None:
    put(bucket / "a.parquet", 1)
    script = f"""
from pathlib import Path
from glacier_prefect.providers import LocalProvider
LocalProvider(base_path={str(tmp_path)!r}).bucket_source("b", "a.parquet").scan().collect()
assert len(list(Path({str(tmp_path)!r}).glob(".glacier/exchange/*/snapshots/*/*.parquet"))) == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert list((tmp_path / ".glacier/exchange").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_read_directly(bucket: Path, tmp_path: Path) -> None:
    put(bucket / "hive/k=1/0.parquet", 1)
    put(tmp_path / "other/b/hive/k=1/0.parquet", 1)
    script = f"""
import os
from glacier_prefect.providers import LocalProvider
LocalProvider(base_path={str(tmp_path / "other")!r}).bucket_source("b", "hive").scan().collect()  # all is imported
os.chdir({str(tmp_path)!r})
if os.geteuid() == 0:
    os.seteuid(65534)
assert not os.access("b", os.W_OK, effective_ids=True)
read = LocalProvider(base_path=".").bucket_source("b", "hive").scan().collect()
assert read.rows() == [(1, 1)], read
os.seteuid(os.getuid())
"""
    folders = [bucket, tmp_path]
    for each in folders:
        each.chmod(0o555)
    closed = {each: each.stat().st_mode for each in tmp_path.parents if each.stat().st_mode & 0o005 != 0o005}
    try:
        for each in closed:  # pytest's own folders let nobody else in
            each.chmod(0o755)
        subprocess.run([sys.executable, "-c", script], check=True)
    finally:
        for each, mode in closed.items():
            each.chmod(mode)
        for each in folders:
            each.chmod(0o755)
    assert not (tmp_path / ".glacier").exists()
    assert not (bucket / ".glacier").exists()


def test_a_folder_without_room_for_snapshots_is_read_directly(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError

    put(bucket / "hive/k=1/0.parquet", 1)
    put(bucket / "hive/k=__HIVE_DEFAULT_PARTITION__/0.parquet", 2)
    monkeypatch.setattr(snapshots.Lease, "take", refuse)
    snapshots._process_folders.clear()
    assert source(bucket, "hive").scan().collect().rows() == [(1, 1), (2, None)]


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a second disk")
def test_a_bucket_on_another_disk_has_snapshots_of_its_own(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as other:
        assert os.stat(other).st_dev != tmp_path.stat().st_dev
        (tmp_path / "b").symlink_to(other)
        sink = LocalProvider(base_path=tmp_path).bucket_sink("b", "a.parquet")
        read = sink.write(pl.DataFrame({"v": [1]})).scan()
        sink.write(pl.DataFrame({"v": [2]}))
        assert read.collect()["v"].to_list() == [1]
        assert sink.twin().scan().collect()["v"].to_list() == [2]


@pytest.mark.skipif(not MEMORY.is_dir(), reason="needs a second disk")
def test_a_file_is_published_to_a_folder_on_another_disk(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as other:
        (tmp_path / "b").mkdir()
        (tmp_path / "b/far").symlink_to(other)
        provider = LocalProvider(base_path=tmp_path)
        twin = provider.bucket_sink("b", "far/deep/a.parquet").write(pl.DataFrame({"v": [1]}))
        assert twin.scan().collect()["v"].to_list() == [1]
        twin = provider.bucket_sink("b", "far/ds", partition_by="v").write(pl.DataFrame({"v": [1]}))
        assert twin.scan().collect()["v"].to_list() == [1]


# fingerprints


def test_a_fingerprint_is_the_same_until_an_object_changes(bucket: Path) -> None:
    put(bucket / "a.parquet", 1)
    read = source(bucket, "*.parquet")
    first = read.fingerprint()
    read.scan().collect()  # a hard link changes the file's ctime
    assert read.fingerprint() == first
    put(bucket / "b.parquet", 1)
    assert read.fingerprint() != first
    (bucket / "b.parquet").unlink()
    assert read.fingerprint() == first


def test_a_file_that_changes_twice_within_a_tick_of_the_clock_has_two_fingerprints(bucket: Path) -> None:
    file = bucket / "a.csv"
    seen = set()
    for value in range(10):
        with open(file, "w") as opened:  # in place: the same inode, the same size
            opened.write(f"v\n{value}\n")
        seen.add(source(bucket, "a.csv").fingerprint())
    assert len(seen) == 10


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_has_another_fingerprint(bucket: Path) -> None:
    (bucket / "a.csv").write_text("v\n1\n")
    stat = (bucket / "a.csv").stat()
    first = source(bucket, "a.csv").fingerprint()
    (bucket / "new").write_text("v\n2\n")
    os.utime(bucket / "new", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(bucket / "new", bucket / "a.csv")
    assert source(bucket, "a.csv").fingerprint() != first


def test_a_dataset_has_a_fingerprint_for_each_version(bucket: Path) -> None:
    prints = set()
    for rows in (0, 0, 4, 4):
        dataset(bucket, "ds", rows=rows)
        prints.add(source(bucket, "ds").fingerprint())
    assert len(prints) == 4
