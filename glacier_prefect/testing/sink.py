"""What every sink promises."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect.errors import CheckError, GlacierError, OptionError, PathError, SchemaError, SinkExistsError
from glacier_prefect.run_context import entered
from glacier_prefect.sources import Sink, datasets
from glacier_prefect.testing.store import FORMATS, LONG, NAMES, OUTSIDE, Contract, Store, literal, rows, run

FRAME = pl.DataFrame({"v": [1, 2, 3, 4], "k": ["a", "b", "a", None]})
KINDS: dict[str, dict[str, Any]] = {
    "file": {"path": "x/a.parquet"},
    "dataset": {"path": "x/a", "partition_by": "k"},
}
TEXTS = [
    "a/b", "a%2Fb", "x=y", " a ", "ünï", "", None, "__HIVE_DEFAULT_PARTITION__", "null", "..", "../x", "*[x]?", "nl\nx",
    "007", "x" * 300,
]  # fmt: skip
each_kind = pytest.mark.parametrize("kind", KINDS)


class SinkContract(Contract):
    """What every sink promises; a subclass gives the fixture `store`, and each test is a sentence of it.

    Attributes:
        versions: How often data is replaced while a reader looks at it.
    """

    versions: ClassVar[int] = 8

    def _sink(self, store: Store, bucket: str, kind: str, **settings: Any) -> Sink:
        return store.provider.bucket_sink(bucket, **KINDS[kind], **settings)

    # what is written

    @pytest.mark.parametrize("name", FORMATS)
    def test_each_format_reads_back_with_its_types(self, store: Store, bucket: str, name: str) -> None:
        frame = pl.DataFrame(
            {
                "v": [1, None],
                "s": ["ü,\n", ""],
                "d": [date(2024, 1, 2), None],
                "t": [datetime(2024, 1, 2, 3, 4, 5), None],
                "n": [Decimal("1.25"), None],
                "b": [True, False],
            }
        )
        written = store.provider.bucket_sink(bucket, f"x/a.{name}").write(frame)
        assert_frame_equal(written.scan().collect(), frame)
        parts = store.provider.bucket_sink(bucket, "x/parts", format=name, partition_by="b").write(frame.lazy())
        assert_frame_equal(parts.scan().collect().sort("v", nulls_last=True), frame)

    @pytest.mark.parametrize("name", FORMATS)
    def test_a_frame_without_rows_keeps_its_columns(self, store: Store, bucket: str, name: str) -> None:
        file = store.provider.bucket_sink(bucket, f"a.{name}")
        for sink in (file, store.provider.bucket_sink(bucket, "a", format=name, partition_by="k")):
            assert sink.write(FRAME.clear()).scan().collect().equals(FRAME.clear())

    @pytest.mark.parametrize("name", ["parquet", "ndjson"])
    def test_any_text_and_null_can_be_a_partition(self, store: Store, bucket: str, name: str) -> None:
        frame = pl.DataFrame({"v": range(len(TEXTS)), "k": TEXTS})
        written = store.provider.bucket_sink(bucket, "x/a", partition_by="k", format=name).write(frame)
        assert rows(written).equals(frame)
        assert written.scan().filter(pl.col("k") == "..").collect()["v"].to_list() == [TEXTS.index("..")]

    def test_several_columns_can_be_partitions(self, store: Store, bucket: str) -> None:
        frame = pl.DataFrame({"v": [1, 2, 3], "k": ["a", None, "a"], "d": [date(2024, 1, 1), None, None]})
        assert rows(store.provider.bucket_sink(bucket, "a", partition_by=["k", "d"]).write(frame)).equals(frame)

    @each_kind
    def test_the_twin_reads_what_was_written(self, store: Store, bucket: str, kind: str) -> None:
        sink = self._sink(store, bucket, kind)
        written = sink.write(FRAME)
        assert rows(written).equals(FRAME)
        assert rows(sink.twin()).equals(FRAME)
        assert (written.uri, written.fingerprint()) == (sink.twin().uri, sink.twin().fingerprint())
        assert written.exists()
        assert written.size() > 0

    def test_the_twin_knows_how_the_text_was_written(self, store: Store, bucket: str) -> None:
        sink = store.provider.bucket_sink(bucket, "a.csv", options={"separator": ";", "include_header": False})
        assert rows(sink.write(FRAME)).equals(FRAME)

    def test_a_path_with_fields_writes_to_the_place_of_its_run(self, store: Store, bucket: str) -> None:
        with entered(run(name="a{b} c")):
            written = store.provider.bucket_sink(bucket, "{run_date:%Y/%m}/{name}.parquet").write(FRAME)
        assert rows(written).equals(FRAME)
        assert store.keys(bucket) == ["2024/12/a{b} c.parquet"]

    @each_kind
    def test_a_frame_may_read_what_it_replaces(self, store: Store, bucket: str, kind: str) -> None:
        source = self._sink(store, bucket, kind).write(FRAME)
        self._sink(store, bucket, kind).write(source.scan().with_columns(pl.col("v") * 2))
        assert rows(source)["v"].to_list() == [2, 4, 6, 8]

    @each_kind
    def test_a_sink_travels_to_another_process(self, store: Store, bucket: str, kind: str) -> None:
        sink = pickle.loads(pickle.dumps(self._sink(store, bucket, kind, checks=[pl.col("v") > 0])))
        assert rows(pickle.loads(pickle.dumps(sink.write(FRAME)))).equals(FRAME)
        assert rows(self._sink(store, bucket, kind).twin()).equals(FRAME)

    # what is replaced

    @each_kind
    def test_overwriting_replaces_all_of_the_old_data(self, store: Store, bucket: str, kind: str) -> None:
        self._sink(store, bucket, kind).write(FRAME)
        written = self._sink(store, bucket, kind).write(FRAME.head(1).with_columns(v=9))
        assert rows(written).rows() == [(9, "a")]

    @each_kind
    def test_mode_error_refuses_where_data_is_before_it_computes(self, store: Store, bucket: str, kind: str) -> None:
        def computed(frame: pl.DataFrame) -> pl.DataFrame:
            raise AssertionError("the query was computed")

        sink = self._sink(store, bucket, kind, mode="error")
        written = sink.write(FRAME)
        with pytest.raises(SinkExistsError, match=r"(?s)already.*Hint: ") as caught:
            sink.write(FRAME.lazy().map_batches(computed, schema=FRAME.schema))
        assert bucket in str(caught.value)
        assert sink.path in str(caught.value)
        assert rows(written).equals(FRAME)

    @each_kind
    def test_a_rerun_of_a_node_replaces_what_it_wrote_itself_and_no_other_node_does(
        self, store: Store, bucket: str, kind: str
    ) -> None:
        sink = self._sink(store, bucket, kind, mode="error")
        for number in (1, 2, 3):
            with entered(run()):
                sink.write(FRAME.head(number))
        for other in (run(node="other"), run(run_id="other")):
            with entered(other), pytest.raises(SinkExistsError):
                sink.write(FRAME)
        assert rows(sink.twin()).equals(FRAME.head(3))

    def test_a_file_and_a_dataset_do_not_replace_each_other(self, store: Store, bucket: str) -> None:
        store.provider.bucket_sink(bucket, "file", format="csv").write(FRAME)
        dataset = store.provider.bucket_sink(bucket, "ds", partition_by="k").write(FRAME)
        before = store.keys(bucket)
        for path, keys in (("file", "k"), ("ds", ()), ("ds/x/y.csv", ())):
            with pytest.raises(SinkExistsError):
                store.provider.bucket_sink(bucket, path, format="csv", partition_by=keys).write(FRAME)
        assert store.keys(bucket) == before
        assert rows(dataset).equals(FRAME)

    @each_kind
    @pytest.mark.parametrize("mode", ["overwrite", "error"])
    def test_of_writers_that_race_each_publishes_whole_and_with_mode_error_one_wins(
        self, store: Store, bucket: str, kind: str, mode: Any
    ) -> None:
        ready = threading.Barrier(3)
        done: list[int] = []
        refused: list[int] = []
        failed: list[BaseException] = []

        def write(number: int) -> None:
            ready.wait()
            try:
                self._sink(store, bucket, kind, mode=mode).write(FRAME.with_columns(v=pl.lit(number)))
                done.append(number)
            except SinkExistsError:
                refused.append(number)
            except BaseException as error:  # for the test's own thread to show
                failed.append(error)

        _at_once(*(partial(write, number) for number in range(3)))
        assert failed == []
        assert (len(done), len(refused)) == ((3, 0) if mode == "overwrite" else (1, 2))
        found = rows(self._sink(store, bucket, kind).twin())
        assert found.height == FRAME.height
        assert found["v"].n_unique() == 1
        assert found["v"][0] in done

    # what readers see

    @each_kind
    def test_readers_see_the_old_data_or_the_new_and_never_half(self, store: Store, bucket: str, kind: str) -> None:
        sizes = [3, 50_000]

        def version(number: int) -> pl.DataFrame:
            size = sizes[number % 2]
            return pl.DataFrame({"v": [number] * size, "k": [str(row % 3) for row in range(size)], "size": size})

        sink = self._sink(store, bucket, kind)
        sink.write(version(0))
        source, ended = sink.twin(), threading.Event()
        seen: list[pl.DataFrame] = []
        failed: list[BaseException] = []

        def read() -> None:
            while not ended.is_set():
                try:
                    assert source.exists()
                    seen.append(rows(source))
                except BaseException as error:  # for the test's own thread to show
                    failed.append(error)
                    return

        def write() -> None:
            try:
                for number in range(1, self.versions + 1):
                    sink.write(version(number))
                    before, end = len(seen), time.monotonic() + 10
                    while len(seen) <= before and not failed and time.monotonic() < end:
                        time.sleep(0.01)
            finally:
                ended.set()

        _at_once(read, write)
        assert failed == []
        assert [each.height for each in seen] == [each["size"][0] for each in seen]
        assert [each["v"].n_unique() for each in seen] == [1] * len(seen)
        assert len({each["v"][0] for each in seen}) > 2

    def test_what_others_put_into_a_dataset_is_not_read(self, store: Store, bucket: str) -> None:
        written = store.provider.bucket_sink(bucket, "x/a", partition_by="k").write(FRAME)
        for key in ("x/a/k=a/0.parquet", "x/a/_0.parquet", "x/.a.parquet", "x/.glacier/writes/a.parquet"):
            store.put_rows(bucket, key, 99, k=["a"])
        for source in (written, store.provider.bucket_source(bucket, "x/**")):
            assert rows(source).equals(FRAME)

    # what is refused, and what is left

    @each_kind
    def test_a_failed_check_publishes_nothing_and_leaves_nothing(self, store: Store, bucket: str, kind: str) -> None:
        with pytest.raises(CheckError, match=r"(?s)false for 1 rows.*\b4\b"):
            self._sink(store, bucket, kind, checks=[pl.col("v") < 4]).write(FRAME)
        assert store.keys(bucket) == []
        self._sink(store, bucket, kind, checks=[pl.col("v") < 5, pl.len() == 4]).write(FRAME)
        before = store.keys(bucket)
        with pytest.raises(CheckError):
            self._sink(store, bucket, kind, checks=[pl.len() < 4]).write(FRAME.with_columns(v=9))
        assert store.keys(bucket) == before
        assert rows(self._sink(store, bucket, kind).twin()).equals(FRAME)

    @each_kind
    def test_a_failed_query_publishes_nothing_and_leaves_nothing(self, store: Store, bucket: str, kind: str) -> None:
        def fail(frame: pl.DataFrame) -> pl.DataFrame:
            raise KeyError("mine")

        failing = FRAME.lazy().map_batches(fail, schema=FRAME.schema)
        for before in (None, FRAME):
            if before is not None:
                self._sink(store, bucket, kind).write(before)
            keys = store.keys(bucket)
            with pytest.raises(KeyError, match="mine"):
                self._sink(store, bucket, kind).write(failing)
            assert store.keys(bucket) == keys
        assert rows(self._sink(store, bucket, kind).twin()).equals(FRAME)

    def test_a_frame_without_the_declared_columns_is_refused_before_it_is_computed(
        self, store: Store, bucket: str
    ) -> None:
        for schema in ({"v": str}, {"w": int}):
            with pytest.raises(SchemaError):
                store.provider.bucket_sink(bucket, "a.parquet", schema=schema).write(FRAME)
        with pytest.raises(SchemaError, match="partition_by"):
            store.provider.bucket_sink(bucket, "a", partition_by="w").write(FRAME)
        assert store.keys(bucket) == []

    def test_a_missing_bucket_is_made_or_is_an_error_that_names_it_and_the_fix(self, store: Store, bucket: str) -> None:
        sink = store.provider.bucket_sink(f"{bucket}x", "some/a.parquet")
        told = ""
        try:
            sink.write(FRAME)
        except GlacierError as error:
            told = str(error)
        if not told:
            assert rows(sink.twin()).equals(FRAME)
            return
        for named in (sink.provider_name, f"{bucket}x", "some/a.parquet", "Hint: "):
            assert named in told

    @each_kind
    def test_what_was_staged_is_gone_when_it_is_published(
        self, store: Store, bucket: str, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(datasets, "GRACE_SECONDS", 0.0)  # in which readers of an old version still have its files
        sink = self._sink(store, bucket, kind, checks=[pl.len() == 4])
        sink.write(FRAME)
        first = store.keys(bucket)
        for _ in range(3):
            sink.write(FRAME)
        assert len(store.keys(bucket)) <= len(first)
        if kind == "file":
            assert first == store.keys(bucket) == ["x/a.parquet"]

    # names

    @pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
    def test_any_name_is_written_as_it_is(self, store: Store, bucket: str, suffix: str) -> None:
        names = [name for name in NAMES if not any(letter in name for letter in "*?[")]  # a sink has no globs
        for number, name in enumerate(names):
            path = f"d {literal(name, sink=True)}/{literal(name, sink=True)}.{suffix}"
            written = store.provider.bucket_sink(bucket, path).write(pl.DataFrame({"v": [number]}))
            assert rows(written)["v"].to_list() == [number], name
        assert set(store.keys(bucket)) == {f"d {name}/{name}.{suffix}" for name in names}

    def test_any_name_can_be_that_of_a_dataset(self, store: Store, bucket: str) -> None:
        names = [name for name in NAMES if not any(letter in name for letter in "*?[")]
        for number, name in enumerate(names):
            sink = store.provider.bucket_sink(bucket, f"{literal(name, sink=True)}", format="parquet", partition_by="k")
            written = sink.write(FRAME.with_columns(v=number))
            assert rows(written)["v"].to_list() == [number] * FRAME.height, name
        assert {key.partition("/")[0] for key in store.keys(bucket)} - {".glacier"} == set(names)

    def test_a_key_of_900_characters_is_written(self, store: Store, bucket: str) -> None:
        assert rows(store.provider.bucket_sink(bucket, LONG).write(FRAME)).equals(FRAME)
        assert store.keys(bucket) == [LONG]

    @pytest.mark.parametrize("path", [*OUTSIDE, "", "x/", "x/*.parquet"])
    def test_a_path_that_is_no_place_in_the_bucket_is_an_error(self, store: Store, bucket: str, path: str) -> None:
        with pytest.raises(PathError):
            store.provider.bucket_sink(bucket, path).write(FRAME)
        with pytest.raises(PathError):
            store.provider.bucket_sink(bucket, "x/{p}/a.parquet").at({"p": f"../{path}"}).write(FRAME)
        assert store.keys(bucket) == []

    def test_nothing_is_written_outside_its_bucket(self, store: Store, bucket: str) -> None:
        store.make_bucket(f"{bucket}2")
        for path in ("x/%2e%2e/a.parquet", "%2e%2e/a.parquet", "x%2F..%2F..%2Fa.parquet"):
            store.provider.bucket_sink(bucket, path).write(FRAME)
            assert path in store.keys(bucket)
        assert store.keys(f"{bucket}2") == []
        assert len(store.keys(bucket)) == 3

    def test_a_mode_that_does_not_exist_is_an_error_that_says_the_nearest(self, store: Store, bucket: str) -> None:
        wrong: Any = "overwrit"
        with pytest.raises(OptionError, match="Did you mean 'overwrite'"):
            store.provider.bucket_sink(bucket, "a.parquet", mode=wrong)


def _at_once(*calls: Callable[[], None]) -> None:
    """Carry out calls in a thread each, and wait for all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
