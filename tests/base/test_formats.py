"""File formats: which suffix means which, and that what is written in one reads back as it was."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect.errors import FormatError, OptionError, TravelError
from glacier_prefect.providers import LocalProvider
from glacier_prefect.sources.formats import FORMATS, format_of

WRITABLE = ["parquet", "csv", "ndjson", "ipc"]
NIGHT = [datetime(2024, 10, 27, hour, 30, tzinfo=UTC) for hour in range(4)]  # half past two comes twice in Paris
PLAIN = pl.DataFrame(
    {
        "text": ["a", 'q"uo,te\n', "ü", "", None],
        "int": [1, -2, 2**62, 0, None],
        "small": pl.Series([1, 2, 3, 255, None], dtype=pl.UInt8),
        "huge": pl.Series([2**64 - 1, 0, 1, 2, None], dtype=pl.UInt64),
        "float": [0.1 + 0.2, -1.5, 1e300, 0.0, None],
        "single": pl.Series([0.1, 2, 3, 4, None], dtype=pl.Float32),
        "flag": [True, False, True, False, None],
        "day": [date(2024, 2, 29), date(1, 1, 1), date(9999, 12, 31), date(1970, 1, 1), None],
        "moment": pl.Series([datetime(2024, 1, 1, 1, 2, 3, 456789)] * 4 + [None]),
        "nanos": pl.Series([1, 2, 123456789, 0, None], dtype=pl.Datetime("ns")),
        "zoned": pl.Series([*NIGHT, None]).dt.convert_time_zone("Europe/Paris"),
        "money": [Decimal("1.20"), Decimal("-3.00"), Decimal("0.01"), Decimal("9.99"), None],
        "choice": pl.Series(["x", "y", "x", "y", None], dtype=pl.Enum(["x", "y"])),
        "kind": pl.Series(["p", "q", "p", "q", None], dtype=pl.Categorical),
    }
)  # fmt: skip
NESTED = pl.DataFrame(
    {
        "list": pl.Series([[1, None], [], None], dtype=pl.List(pl.Int8)),
        "array": pl.Series([[1, 2], [3, 4], None], dtype=pl.Array(pl.Int16, 2)),
        "struct": [{"a": 1, "b": [date(2024, 1, 1)]}, {"a": None, "b": []}, {"a": 3, "b": None}],
    }
)
RARE = pl.DataFrame(
    {
        "bytes": [b"\xff", None],
        "span": [timedelta(days=1, microseconds=3), None],
        "clock": [time(1, 2, 3, 4), None],
        "nothing": [None, None],
    }
)


@pytest.fixture
def provider(tmp_path: Path) -> LocalProvider:
    return LocalProvider(base_path=tmp_path)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.parquet", "parquet"),
        ("a.PQ", "parquet"),
        ("a/*.csv", "csv"),
        ("a.csv.gz", "csv"),
        ("a.ndjson.zst", "ndjson"),
        ("a.jsonl", "ndjson"),
        ("a.arrow", "ipc"),
        ("a.delta", "delta"),
        ("folder", "parquet"),
        ("folder/", "parquet"),
        ("folder/**", "parquet"),
        ("year=2024.5", "parquet"),
        ("{run_date:%Y.%m}", "parquet"),
        ("{run_date:%Y.%m}.csv", "csv"),
    ],
)
def test_the_suffix_says_the_format(path: str, name: str) -> None:
    assert format_of(path, None).name == name


def test_an_unknown_format_or_suffix_is_an_error_with_the_nearest() -> None:
    with pytest.raises(FormatError, match=r"'parket'.*Did you mean 'parquet'"):
        format_of("a", "parket")
    with pytest.raises(FormatError, match=r"'\.cvs'.*Did you mean '\.csv'"):
        format_of("a.cvs", None)
    with pytest.raises(FormatError, match="compressed inside"):
        format_of("a.parquet.gz", None)


def test_an_option_that_polars_does_not_have_is_an_error_with_the_nearest(provider: LocalProvider) -> None:
    with pytest.raises(OptionError, match=r"'seperator'.*Did you mean 'separator'"):
        provider.bucket_source("b", "a.csv", options={"seperator": ";"})
    with pytest.raises(OptionError, match="Glacier sets itself"):
        provider.bucket_source("b", "a.parquet", options={"storage_options": {"key": "secret"}})


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("rows", [5, 0])
def test_the_twin_reads_back_what_was_written_with_its_types(provider: LocalProvider, name: str, rows: int) -> None:
    twin = provider.bucket_sink("b", f"a{FORMATS[name].suffixes[0]}").write(PLAIN.head(rows))
    assert_frame_equal(twin.scan().collect(), PLAIN.head(rows), categorical_as_str=False)


@pytest.mark.parametrize("name", WRITABLE)
@pytest.mark.parametrize("rows", [5, 0])
def test_a_partitioned_dataset_reads_back_with_its_types_and_column_order(
    provider: LocalProvider, name: str, rows: int
) -> None:
    sink = provider.bucket_sink("b", "a", format=name, partition_by=["text", "day"], checks=[pl.col("int") != 3])
    twin = sink.write(PLAIN.head(rows))
    assert_frame_equal(twin.scan().collect(), PLAIN.head(rows), check_row_order=False)
    other = provider.bucket_source("b", "a", format=name)  # one who was not there when it was written
    assert_frame_equal(other.scan().collect(), PLAIN.head(rows), check_row_order=False)


@pytest.mark.parametrize("name", ["parquet", "ipc", "ndjson"])
@pytest.mark.parametrize("rows", [3, 0])
def test_nested_types_read_back(provider: LocalProvider, name: str, rows: int) -> None:
    assert_frame_equal(
        provider.bucket_sink("b", f"a.{name}").write(NESTED.head(rows)).scan().collect(), NESTED.head(rows)
    )


@pytest.mark.parametrize("name", ["parquet", "ipc"])
def test_rare_types_read_back_also_as_keys(provider: LocalProvider, name: str) -> None:
    assert_frame_equal(provider.bucket_sink("b", f"a.{name}").write(RARE).scan().collect(), RARE)
    for key in ("bytes", "span", "clock"):
        twin = provider.bucket_sink("b", f"by-{key}", format=name, partition_by=key).write(RARE)
        assert_frame_equal(twin.scan().collect(), RARE, check_row_order=False)


@pytest.mark.parametrize(
    ("name", "column"),
    [("csv", each) for each in [*NESTED.columns, "bytes", "span", "nothing"]]
    + [("ndjson", each) for each in ["bytes", "span", "clock"]],
)
def test_a_type_that_a_format_cannot_hold_is_an_error_that_names_the_column(
    provider: LocalProvider, name: str, column: str
) -> None:
    frame = (NESTED if column in NESTED.columns else RARE).select(column)
    with pytest.raises(TravelError, match=rf"Column '{column}' .* a {name} file cannot hold"):
        provider.bucket_sink("b", f"a.{name}").write(frame)


@pytest.mark.parametrize("name", ["csv", "ndjson"])
@pytest.mark.parametrize(("suffix", "magic"), [("gz", b"\x1f\x8b"), ("zst", b"\x28\xb5\x2f\xfd")])
@pytest.mark.parametrize("rows", [5, 0])
def test_text_is_compressed_as_its_suffix_says(
    provider: LocalProvider, tmp_path: Path, name: str, suffix: str, magic: bytes, rows: int
) -> None:
    twin = provider.bucket_sink("b", f"a.{name}.{suffix}").write(PLAIN.head(rows))
    assert (tmp_path / f"b/a.{name}.{suffix}").read_bytes().startswith(magic)
    assert_frame_equal(twin.scan().collect(), PLAIN.head(rows))


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_the_files_of_a_partitioned_dataset_can_be_compressed(
    provider: LocalProvider, tmp_path: Path, name: str
) -> None:
    sink = provider.bucket_sink("b", "a", format=name, partition_by="flag", options={"compression": "gzip"})
    assert_frame_equal(sink.write(PLAIN).scan().collect(), PLAIN, check_row_order=False)
    assert len(list(tmp_path.rglob(f"*.{name}.gz"))) >= 3


@pytest.mark.parametrize(
    "options",
    [
        {"separator": ";"},
        {"separator": "\t", "null_value": "NA"},
        {"include_header": False},
        {"quote_char": "'"},
        {"include_bom": True},
        {"line_terminator": "\r\n"},
    ],
    ids=str,
)
def test_the_twin_of_a_csv_sink_knows_how_it_was_written(provider: LocalProvider, options: dict[str, Any]) -> None:
    frame = PLAIN.select("int", "text").with_columns(pl.col("text").str.replace("\n", " "))
    checks = [pl.nth(0) != 3]
    assert_frame_equal(
        provider.bucket_sink("b", "a.csv", options=options, checks=checks).write(frame).scan().collect(), frame
    )
    dataset = provider.bucket_sink(
        "b", "a", format="csv", options=options, partition_by=frame.columns[0], checks=checks
    )
    assert_frame_equal(dataset.write(frame).scan().collect(), frame, check_row_order=False)


@pytest.mark.parametrize("name", ["csv", "ndjson"])
def test_a_declared_schema_says_how_text_is_parsed(provider: LocalProvider, tmp_path: Path, name: str) -> None:
    (tmp_path / "b").mkdir()
    lines = {"csv": "zip,n\n01234,1\n", "ndjson": '{"zip":"01234","n":1}\n'}[name]
    (tmp_path / f"b/a.{name}").write_text(lines)
    schema = {"zip": str, "n": pl.UInt8}
    frame = provider.bucket_source("b", f"a.{name}", schema=schema).scan().collect()
    assert frame.to_dict(as_series=False) == {"zip": ["01234"], "n": [1]}
    assert frame.schema == {"zip": pl.String, "n": pl.UInt8}


def test_ndjson_is_read_from_a_folder_whose_name_is_a_glob(tmp_path: Path) -> None:
    twin = LocalProvider(base_path=tmp_path / "a=b[1]*").bucket_sink("b", "a.ndjson").write(PLAIN)
    assert_frame_equal(twin.scan().collect(), PLAIN)
