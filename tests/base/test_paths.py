"""Paths inside a bucket: what is refused, how fields are filled, what globs match, which paths overlap."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from glacier_prefect.errors import PathError
from glacier_prefect.providers import LocalProvider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources.paths import PathTemplate, escaped, glob_regex

DATE = datetime(2024, 3, 9, 6)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/a.parquet", "starts with '/'"),
        ("../a.parquet", "'..' part"),
        ("a/../../b.parquet", "'..' part"),
        ("a/./b.parquet", "'.' part"),
        ("a//b.parquet", "empty part"),
        ("a\\b.parquet", "backslash"),
        ("a\0.parquet", "NUL"),
        (".glacier/writes/x.parquet", "keeps for itself"),
        ("a/_glacier/manifest.json", "keeps for itself"),
        ("{a.b}.parquet", "plain name"),
        ("{0}.parquet", "plain name"),
        ("{a!r}.parquet", "plain name"),
        ("{a.parquet", "cannot be read"),
        ("[b-a].parquet", "glob that cannot be read"),
    ],
)
def test_a_path_that_is_not_inside_its_bucket_or_cannot_be_read_is_refused(path: str, why: str) -> None:
    with pytest.raises(PathError, match=re.escape(why)):
        PathTemplate(path)


@pytest.mark.parametrize("bucket", ["", "a/b", "..", ".glacier", "a\\b", "a\0", None])
def test_a_bucket_is_one_word(bucket: Any) -> None:
    with pytest.raises(PathError, match="one word"):
        LocalProvider().bucket_source(bucket=bucket, path="a.parquet")


def test_fields_are_filled_with_their_formats() -> None:
    path = PathTemplate("orders/{run_date:%Y/%m/%d}/{region}-{n:03d}.parquet")
    assert path.fields == ("run_date", "region", "n")
    assert path.fill({"run_date": DATE, "region": "eu", "n": 7}) == "orders/2024/03/09/eu-007.parquet"


def test_doubled_braces_are_literal_and_survive_a_second_reading() -> None:
    path = PathTemplate("a/{{x}}-{n}.parquet")
    filled = path.fill({"n": "{y}"})
    assert filled == "a/{x}-{y}.parquet"
    assert PathTemplate(escaped(filled)).fill({}) == filled
    assert PathTemplate("a/{{x}}/b.parquet").prefix == "a/{x}/b.parquet"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("..", "'..' part"),
        ("../x", "'..' part"),
        ("a/../../x", "'..' part"),
        ("/etc/passwd", "starts with '/'"),
        (".", "'.' part"),
        ("a\\..\\b", "backslash"),
        ("a\0b", "NUL"),
        ("", "empty"),
        ("*", "glob"),
        ("a[1]", "glob"),
        ("a?", "glob"),
        (".glacier", "keeps for itself"),
    ],
)
def test_a_value_cannot_leave_the_fixed_prefix(value: str, why: str) -> None:
    with pytest.raises(PathError, match=re.escape(why)):
        PathTemplate("fixed/{name}/x.parquet").fill({"name": value})


@pytest.mark.parametrize(("a", "b"), [(".", "."), ("x/", "/y"), (".gla", "cier")])
def test_values_that_are_harmless_alone_cannot_join_to_something_else(a: str, b: str) -> None:
    with pytest.raises(PathError):
        PathTemplate("fixed/{a}{b}/x.parquet").fill({"a": a, "b": b})


def test_a_value_may_name_folders() -> None:
    assert PathTemplate("fixed/{name}.parquet").fill({"name": "2024/03"}) == "fixed/2024/03.parquet"


def test_a_value_that_is_missing_or_does_not_fit_is_named() -> None:
    with pytest.raises(PathError, match="needs a value for 'run_date', which is known only in a run"):
        PathTemplate("{run_date:%Y}.parquet").fill({})
    with pytest.raises(PathError, match="n='x' does not fit the format 'd'"):
        PathTemplate("{n:d}.parquet").fill({"n": "x"})


def test_a_field_that_no_parameter_has_is_named_with_the_nearest() -> None:
    with pytest.raises(PathError, match=r"'run_dat'.*pipeline 'p'.*Did you mean 'run_date'"):
        PathTemplate("{run_dat}.parquet").check_fields(["limit"], "pipeline 'p'")


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        ("a/b.parquet", "a/b.parquet"),
        ("a/{run_date:%Y}/*.parquet", "a/"),
        ("a/x-*/b.parquet", "a/x-"),
        ("{a}", ""),
        ("", ""),
    ],
)
def test_the_prefix_ends_before_the_first_field_or_glob(path: str, prefix: str) -> None:
    assert PathTemplate(path).prefix == prefix


@pytest.mark.parametrize(
    ("glob", "matches", "others"),
    [
        ("*.csv", ["a.csv", ".csv"], ["a/b.csv", "acsv"]),
        ("a?.csv", ["ab.csv"], ["a/.csv", "a.csv", "abc.csv"]),
        ("**/a.csv", ["a.csv", "x/a.csv", "x/y/a.csv"], ["xa.csv"]),
        ("x/**", ["x/a", "x/y/z"], ["x", "y/x/a"]),
        ("[ab].csv", ["a.csv"], ["c.csv"]),
        ("[!ab].csv", ["c.csv"], ["a.csv"]),
        ("[a-c][0-9]", ["b7"], ["d7", "b"]),
        ("[[]x]", ["[x]"], ["x"]),
        ("[!]]", ["a"], ["]"]),
        ("a[1.csv", ["a[1.csv"], ["a1.csv"]),
        ("a.b+c(d)|e", ["a.b+c(d)|e"], ["axb+c(d)|e"]),
        ("[^&&~~||]", ["^", "&"], ["a"]),
    ],
)
def test_globs_match_as_in_a_shell(glob: str, matches: list[str], others: list[str]) -> None:
    regex = re.compile(glob_regex(glob))
    assert [name for name in matches if not regex.fullmatch(name)] == []
    assert [name for name in others if regex.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a/b.parquet", "a/b.parquet", True),
        ("a/b", "a/b/", True),
        ("a/b", "a/b/c.parquet", True),
        ("a/b", "a/bc", False),
        ("a/b", "a/c", False),
        ("", "a", True),
        ("a/*.parquet", "a/x.parquet", True),
        ("a/*.parquet", "a/x.csv", False),
        ("a/*.parquet", "a/b/x.parquet", False),
        ("a/**", "a/b/x.parquet", True),
        ("a", "a/*.parquet", True),
        ("a", "a/{run_date:%Y}.parquet", True),
        ("a/b", "a/*/c.parquet", True),
        ("a/x", "a/[bc]/c.parquet", False),
        ("daily/{run_date:%Y}.parquet", "daily/2024.parquet", True),
        ("daily/{run_date:%Y}.parquet", "daily/2024.csv", False),
        ("daily/{run_date:%Y}.parquet", "weekly/{run_date:%Y}.parquet", False),
        ("daily/{run_date:%Y}.parquet", "daily/*.parquet", True),
        ("out.parquet", "out.parquet/**", True),
        ("a/{{b}}", "a/{{b}}/c", True),
    ],
)
def test_overlap_is_the_same_from_both_sides(one: str, other: str, overlap: bool) -> None:
    assert PathTemplate(one).overlaps(PathTemplate(other)) is overlap
    assert PathTemplate(other).overlaps(PathTemplate(one)) is overlap


def test_equal_paths_overlap_only_in_the_same_folder_and_bucket() -> None:
    one, other = LocalProvider(base_path="x"), LocalProvider(base_path="y")
    source = one.bucket_source("b", "a.parquet")
    assert source.overlaps(one.bucket_sink("b", "a.parquet"))
    assert not source.overlaps(one.bucket_sink("c", "a.parquet"))
    assert not source.overlaps(other.bucket_sink("b", "a.parquet"))


def test_in_a_run_the_path_is_filled_and_elsewhere_it_stands_as_written() -> None:
    source = LocalProvider(base_path="/base").bucket_source("b", "{run_date:%Y-%m-%d}/{region}.parquet")
    assert source.uri == "file:///base/b/{run_date:%Y-%m-%d}/{region}.parquet"
    context = RunContext(run_id="r", node="n", parameters={"region": "eu"}, run_date=DATE, exchange="/base/x")
    with entered(context):
        assert source.uri == "file:///base/b/2024-03-09/eu.parquet"
        assert source.filled().path == "2024-03-09/eu.parquet"
    assert source.at({"region": "{us}", "run_date": DATE}).uri == "file:///base/b/2024-03-09/{us}.parquet"


@pytest.mark.parametrize("path", ["a/*.parquet", "", "/", "folder/"])
def test_a_sink_names_one_place(path: str) -> None:
    with pytest.raises(PathError):
        LocalProvider().bucket_sink("b", path)
