"""Declared schemas and checks on rows: what passes, and what the message says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect.errors import CheckError, OptionError, SchemaError, TravelError
from glacier_prefect.providers import LocalProvider
from glacier_prefect.sources.base import Source
from glacier_prefect.sources.checks import check_rows

FRAME = pl.LazyFrame({"id": range(8), "amount": [5, -1, None, 3, -2, -3, -4, -5], "note": ["x"] * 8})
EMPTY = FRAME.clear()


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    return LocalProvider(base_path=tmp_path)


@pytest.fixture
def stored(provider: LocalProvider) -> Source:
    return provider.bucket_sink("b", "a.parquet").write(FRAME)


def failure(frame: pl.LazyFrame, *checks: pl.Expr) -> str:
    with pytest.raises(CheckError) as caught:
        check_rows(frame, checks, "sink b/a.parquet")
    return str(caught.value)


def test_the_message_has_the_place_the_check_its_column_and_some_rows() -> None:
    message = failure(FRAME, pl.col("amount") > 0)
    assert message.startswith("sink b/a.parquet fails check '[(col(\"amount\")) > (dyn int: 0)]' on column 'amount'")
    assert "false for 5 rows, for example" in message
    header, *rows = [line for line in message.splitlines() if line.startswith("│")]
    assert [each.strip() for each in header.strip("│").split("┆")] == ["amount", "id", "note"]  # its own columns first
    assert "-1" in rows[2]
    assert "-5" in message


def test_each_failing_check_is_told() -> None:
    message = failure(FRAME, pl.col("amount") > -100, pl.col("id") > 0, pl.col("note") == "y")
    assert 'amount")) > (dyn int: -100)' not in message
    assert "on column 'id' is false for 1 rows" in message
    assert "\nand check" in message
    assert "on column 'note' is false for 8 rows" in message


def test_only_a_few_rows_are_shown() -> None:
    message = failure(pl.LazyFrame({"n": range(1000)}), pl.col("n") < 0)
    assert "false for 1,000 rows" in message
    assert len(message.splitlines()) < 15


def test_null_passes_as_in_sql_and_can_be_refused_by_a_check_of_its_own() -> None:
    check_rows(FRAME.filter(pl.col("amount").is_null()), [pl.col("amount") > 0], "x")
    assert "on column 'amount' is false for 1 rows" in failure(FRAME, pl.col("amount").is_not_null())


def test_a_check_of_the_whole_frame_says_so() -> None:
    check_rows(FRAME, [pl.len() > 0, pl.col("amount").sum() < 0, pl.col("id").is_unique()], "x")
    assert "on the frame is false for the frame as a whole (0 rows)" in failure(EMPTY, pl.len() > 0)
    assert "on column 'id' is false for the frame as a whole (8 rows)" in failure(FRAME, pl.col("id").max() < 7)


def test_a_check_of_rows_passes_on_an_empty_frame() -> None:
    check_rows(EMPTY, [pl.col("amount") > 0], "x")


def test_a_check_may_be_over_several_columns() -> None:
    check_rows(FRAME, [pl.col("id", "note").is_not_null()], "x")
    assert "is false for 1 rows" in failure(FRAME, pl.all().is_not_null())


def test_a_check_that_cannot_be_asked_is_a_schema_error() -> None:
    with pytest.raises(SchemaError, match=r"x: the check .* needs a column that is not there.*amuont"):
        check_rows(FRAME, [pl.col("amuont") > 0], "x")
    with pytest.raises(SchemaError, match=r"is Int64 for 'amount', not true or false"):
        check_rows(FRAME, [pl.col("amount") + 1], "x")


@pytest.mark.parametrize("checks", [True, [True], ["amount > 0"], [lambda frame: True], 5])
def test_a_check_that_is_no_expression_is_refused_where_it_is_written(provider: LocalProvider, checks: Any) -> None:
    with pytest.raises(OptionError, match="expected Polars expressions"):
        provider.bucket_source("b", "a.parquet", checks=checks)


def test_one_expression_need_not_be_a_list(provider: LocalProvider, stored: Source) -> None:
    with pytest.raises(CheckError):
        provider.bucket_source("b", "a.parquet", checks=pl.col("id") > 5).scan()


def test_a_source_is_checked_when_it_is_scanned(provider: LocalProvider, stored: Source) -> None:
    good = provider.bucket_source("b", "a.parquet", schema={"id": int, "note": pl.String}, checks=[pl.col("id") >= 0])
    assert good.scan().collect().height == 8
    with pytest.raises(CheckError, match=r"source b/a\.parquet fails"):
        provider.bucket_source("b", "a.parquet", checks=[pl.len() > 100]).scan()


def test_a_schema_that_is_not_met_names_all_columns_that_are_wrong(provider: LocalProvider, stored: Source) -> None:
    schema = {"id": pl.Int32, "amuont": pl.Int64, "note": pl.String}
    with pytest.raises(SchemaError) as caught:
        provider.bucket_source("b", "a.parquet", schema=schema).scan()
    assert "column 'id' is Int64, declared as Int32" in str(caught.value)
    assert "column 'amuont' is missing. Did you mean 'amount'?" in str(caught.value)
    assert "note" not in str(caught.value)
    with pytest.raises(SchemaError, match="column 'id' is Int64, declared as Int32"):
        provider.bucket_sink("b", "new.parquet", schema=schema).write(FRAME)


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_a_declared_column_that_a_text_file_does_not_have_is_missing(provider: LocalProvider, name: str) -> None:
    provider.bucket_sink("b", f"a.{name}").write(FRAME)
    with pytest.raises(SchemaError, match=r"column 'notes' is missing\. Did you mean 'note'"):
        provider.bucket_source("b", f"a.{name}", schema={"notes": str, "id": int}).scan()


def test_a_schema_of_things_that_are_no_types_is_refused_where_it_is_written(provider: LocalProvider) -> None:
    with pytest.raises(OptionError, match=r"schema of source b/a\.parquet has a type that Polars does not know"):
        provider.bucket_source("b", "a.parquet", schema={"id": "number"})


@pytest.mark.parametrize("partition_by", [(), ("note",)])
def test_a_failed_check_publishes_nothing_and_leaves_nothing(
    provider: LocalProvider, tmp_path: Path, partition_by: tuple[str, ...]
) -> None:
    sink = provider.bucket_sink("b", "a", partition_by=partition_by, checks=[pl.col("amount") > 0])
    with pytest.raises(CheckError, match="sink b/a fails"):
        sink.write(FRAME)
    assert not sink.twin().exists()
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
    good = FRAME.filter(pl.col("amount") > 0)
    sink.write(good)
    with pytest.raises(CheckError):
        sink.write(FRAME)
    assert sink.twin().scan().collect().equals(good.collect())


def test_a_query_that_fails_publishes_nothing_and_leaves_nothing(provider: LocalProvider, tmp_path: Path) -> None:
    for partition_by in ((), "id"):
        with pytest.raises(pl.exceptions.InvalidOperationError):
            provider.bucket_sink("b", "a", partition_by=partition_by).write(FRAME.cast({"note": pl.Int64}))
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_a_column_of_python_objects_is_an_error_that_names_it(provider: LocalProvider) -> None:
    frame = pl.DataFrame({"id": [1], "thing": pl.Series([object()], dtype=pl.Object)})
    with pytest.raises(TravelError, match=r"Column 'thing' of sink b/a\.parquet has the type Object"):
        provider.bucket_sink("b", "a.parquet").write(frame)


@pytest.mark.parametrize("value", [None, 5, [1], {"a": [1]}])
def test_what_is_no_frame_cannot_be_written(provider: LocalProvider, value: Any) -> None:
    with pytest.raises(TypeError, match="takes a LazyFrame or DataFrame"):
        provider.bucket_sink("b", "a.parquet").write(value)
