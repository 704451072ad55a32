"""What every source promises."""

from __future__ import annotations

import pickle

import polars as pl
import pytest

from glacier_prefect.errors import CheckError, GlacierError, PathError, SchemaError, SourceNotFoundError
from glacier_prefect.run_context import entered
from glacier_prefect.testing.store import FORMATS, LONG, NAMES, OUTSIDE, Contract, Store, literal, rows, run, values


class SourceContract(Contract):
    """What every source promises; a subclass gives the fixture `store`, and each test is a sentence of it."""

    # what is read

    @pytest.mark.parametrize("name", FORMATS)
    def test_each_format_is_read_as_plain_polars_wrote_it(self, store: Store, bucket: str, name: str) -> None:
        for number in (1, 2):
            store.put_rows(bucket, f"x/{number}.{name}", number, None, s=["ü,\n", "b"], f=[1.5, None])
        expected = pl.DataFrame({"v": [1, None], "s": ["ü,\n", "b"], "f": [1.5, None]})
        assert values(store.provider.bucket_source(bucket, "x", format=name)) == [1, None, 2, None]
        found = store.provider.bucket_source(bucket, f"x/1.{name}").scan().collect()
        assert found.equals(expected)

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("1.parquet", [1]), ("*.parquet", [1, 2]), ("[!1].parquet", [2]), ("?.parquet", [1, 2]),
            ("x/*.parquet", [3]), ("*/*.parquet", [3, 5]), ("**/*.parquet", [1, 2, 3, 4, 5]), ("x", [3, 4]),
            ("x/", [3, 4]), ("x/**", [3, 4]), ("x/*/", [4]), ("x*", [3, 4, 5]), ("", [1, 2, 3, 4, 5]),
        ],
    )  # fmt: skip
    def test_a_path_stands_for_its_objects_in_order_of_their_names(
        self, store: Store, bucket: str, path: str, expected: list[int]
    ) -> None:
        for key, value in (("2", 2), ("1", 1), ("x/3", 3), ("x/deep/4", 4), ("xy/5", 5)):
            store.put_rows(bucket, f"{key}.parquet", value)
        store.put(bucket, "readme.txt", b"not of the format, and not spelled out")
        assert values(store.provider.bucket_source(bucket, path)) == expected

    def test_hidden_objects_are_not_read_unless_the_path_names_them(self, store: Store, bucket: str) -> None:
        for value, key in enumerate(("x/1", "x/_2", "x/.3", "x/_hidden/4", "x/.glacier/writes/5", "_top/6")):
            store.put_rows(bucket, f"{key}.parquet", value)
        for path in ("x", "x/*.parquet", "x/**", "**/*.parquet", ""):
            assert values(store.provider.bucket_source(bucket, path)) == [0], path
        assert values(store.provider.bucket_source(bucket, "_top/6.parquet")) == [5]

    @pytest.mark.parametrize("name", ["parquet", "csv"])
    def test_key_folders_become_columns(self, store: Store, bucket: str, name: str) -> None:
        expected = [(number, 2023 + number, text) for number, text in enumerate(["a b", "c/d", None])]
        for number, folder in enumerate(["a%20b", "c%2Fd", "__HIVE_DEFAULT_PARTITION__"]):
            store.put_rows(bucket, f"part=1/t/year={2023 + number}/name={folder}/0.{name}", number)
        source = store.provider.bucket_source(bucket, "part=1/t", format=name)
        frame = source.scan()
        assert dict(frame.collect_schema()) == {"v": pl.Int64(), "year": pl.Int64(), "name": pl.String()}
        assert rows(source).rows() == expected
        assert frame.filter(year=2024, name="c/d").collect().rows() == expected[1:2]

    def test_the_fields_of_a_path_are_filled_in_a_run(self, store: Store, bucket: str) -> None:
        store.put_rows(bucket, "2024/12/a{b} c.parquet", 1)
        source = store.provider.bucket_source(bucket, "{run_date:%Y/%m}/{name}.parquet")
        with entered(run(name="a{b} c")):
            assert values(source) == [1]
            assert source.uri.endswith("/2024/12/a{b} c.parquet")
        with pytest.raises(PathError, match="needs a value for 'run_date'"):
            source.scan()

    def test_only_columns_and_rows_that_are_asked_for_are_computed(self, store: Store, bucket: str) -> None:
        store.put_rows(bucket, "a.parquet", 1, 2, 3, b=[4, 5, 6], c=[7, 8, 9])
        query = store.provider.bucket_source(bucket, "a.parquet").scan().filter(pl.col("v") > 1).select("b")
        plan = query.explain()
        assert "PROJECT 2/3 COLUMNS" in plan  # by the reader of the file itself
        assert "FILTER" not in plan
        assert query.collect()["b"].to_list() == [5, 6]

    def test_a_source_travels_to_another_process(self, store: Store, bucket: str) -> None:
        store.put_rows(bucket, "a.csv", "7")
        source = store.provider.bucket_source(bucket, "a.csv", schema={"v": pl.Int8}, checks=[pl.col("v") > 0])
        frame = pickle.loads(pickle.dumps(source)).scan().collect()
        assert frame.schema == {"v": pl.Int8}
        assert frame["v"].to_list() == [7]

    # what is there

    def test_existence_and_size_are_those_of_the_objects(self, store: Store, bucket: str) -> None:
        source = store.provider.bucket_source(bucket, "x/*.csv")
        assert (source.exists(), source.size()) == (False, 0)
        store.put(bucket, "x/1.csv", b"v\n1\n")
        store.put(bucket, "x/2.csv", b"v\n22\n")
        store.put(bucket, "x/3.parquet", b"another format")
        assert (source.exists(), source.size()) == (True, 9)
        assert not store.provider.bucket_source(bucket, "x/4.csv").exists()

    def test_the_fingerprint_changes_with_one_byte_and_with_nothing_else(self, store: Store, bucket: str) -> None:
        store.put(bucket, "x/1.csv", b"v\n1\n")
        store.put(bucket, "x/2.csv", b"v\n2\n")
        source = store.provider.bucket_source(bucket, "x/*.csv")
        before = source.fingerprint()
        store.put(bucket, "y/1.csv", b"v\n1\n")
        assert source.fingerprint() == before
        assert store.provider.bucket_source(bucket, "x/*.csv").fingerprint() == before
        store.put(bucket, "x/1.csv", b"v\n3\n")
        changed = source.fingerprint()
        assert changed != before
        store.put(bucket, "x/3.csv", b"v\n3\n")
        assert source.fingerprint() not in (before, changed)

    def test_a_frame_that_is_made_anew_has_the_new_data(self, store: Store, bucket: str) -> None:
        source = store.provider.bucket_source(bucket, "a.parquet")
        for number in (1, 2):
            store.put_rows(bucket, "a.parquet", number)
            assert values(source) == [number]

    # what is wrong

    @pytest.mark.parametrize("path", ["x/other.parquet", "x/[0-9].parquet", "x/deep/*.parquet"])
    def test_a_missing_object_is_an_error_that_names_it_and_what_is_there(
        self, store: Store, bucket: str, path: str
    ) -> None:
        store.put_rows(bucket, "x/there.parquet", 1)
        source = store.provider.bucket_source(bucket, path)
        with pytest.raises(SourceNotFoundError) as caught:
            source.scan()
        for named in (source.provider_name, bucket, path, "x/there.parquet".rpartition("/")[2]):
            assert named in str(caught.value)

    def test_a_missing_bucket_is_an_error_that_names_it_and_the_fix(self, store: Store, bucket: str) -> None:
        source = store.provider.bucket_source(f"{bucket}x", "some/a.parquet")
        with pytest.raises(SourceNotFoundError, match=r"no (such )?bucket") as caught:
            source.scan()
        for named in (source.provider_name, f"{bucket}x", "some/a.parquet"):
            assert named in str(caught.value)
        assert any(fix in str(caught.value) for fix in ("Hint: ", "Did you mean ", "Known: "))

    @pytest.mark.parametrize("name", ["parquet", "ipc"])
    def test_a_damaged_file_is_an_error_that_names_it_and_the_fix(self, store: Store, bucket: str, name: str) -> None:
        store.put(bucket, f"x/a.{name}", b"this is no such file, whatever its name says")
        source = store.provider.bucket_source(bucket, f"x/a.{name}")
        with pytest.raises(GlacierError, match="Hint: ") as caught:
            values(source)
        for named in (source.provider_name, bucket, f"x/a.{name}"):
            assert named in str(caught.value)

    def test_declared_columns_are_checked_before_anything_is_computed(self, store: Store, bucket: str) -> None:
        store.put_rows(bucket, "a.parquet", 1)
        with pytest.raises(SchemaError, match="column 'v' is Int64, declared as String"):
            store.provider.bucket_source(bucket, "a.parquet", schema={"v": str}).scan()
        with pytest.raises(SchemaError, match="'w'"):
            store.provider.bucket_source(bucket, "a.parquet", schema={"w": str}).scan()
        assert values(store.provider.bucket_source(bucket, "a.parquet", schema={"v": int})) == [1]

    def test_declared_types_are_those_of_files_that_say_none(self, store: Store, bucket: str) -> None:
        for name in ("csv", "ndjson"):
            store.put_rows(bucket, f"a.{name}", "007", w=["1"])
            source = store.provider.bucket_source(bucket, f"a.{name}", schema={"v": pl.String, "w": pl.String})
            assert source.scan().collect().rows() == [("007", "1")]

    def test_a_check_that_is_false_is_an_error_with_the_rows(self, store: Store, bucket: str) -> None:
        store.put_rows(bucket, "a.parquet", 1, 2, 345)
        with pytest.raises(CheckError, match=r"(?s)false for 1 rows.*345"):
            store.provider.bucket_source(bucket, "a.parquet", checks=[pl.col("v") < 10]).scan().collect()
        assert values(store.provider.bucket_source(bucket, "a.parquet", checks=[pl.col("v") > 0])) == [1, 2, 345]

    # names

    @pytest.mark.parametrize("suffix", ["parquet", "ndjson"])
    def test_any_name_is_read_as_it_is(self, store: Store, bucket: str, suffix: str) -> None:
        for number, name in enumerate(("aXb", *NAMES)):
            store.put_rows(bucket, f"d/{name}.{suffix}", number)
        for number, name in enumerate(NAMES, 1):
            found = values(store.provider.bucket_source(bucket, f"d/{literal(name)}.{suffix}"))
            assert found == [number], name
        assert sorted(values(store.provider.bucket_source(bucket, "d", format=suffix))) == [*range(len(NAMES) + 1)]

    def test_a_key_of_900_characters_is_read(self, store: Store, bucket: str) -> None:
        store.put_rows(bucket, LONG, 1)
        assert values(store.provider.bucket_source(bucket, LONG)) == [1]
        assert values(store.provider.bucket_source(bucket, f"{LONG[:99]}/**/*.parquet")) == [1]

    @pytest.mark.parametrize("path", OUTSIDE)
    def test_a_path_that_leaves_the_bucket_is_an_error(self, store: Store, bucket: str, path: str) -> None:
        with pytest.raises(PathError):
            store.provider.bucket_source(bucket, path)
        with pytest.raises(PathError):
            store.provider.bucket_source(bucket, "x/{p}").at({"p": path})

    def test_nothing_is_read_from_outside_its_bucket_and_its_path(self, store: Store, bucket: str) -> None:
        store.make_bucket(f"{bucket}2")  # begins with the other's name
        store.put_rows(f"{bucket}2", "x/1.parquet", 1)
        store.put_rows(bucket, "xy/2.parquet", 2)
        store.put_rows(bucket, "2.parquet", 2)
        for path in ("x", "x/*", "x/**", "x/%2e%2e/2.parquet", "xy/%2e%2e/2.parquet", "x%2F..%2Fxy/2.parquet"):
            assert not store.provider.bucket_source(bucket, path).exists(), path
        assert values(store.provider.bucket_source(bucket, "")) == [2, 2]
