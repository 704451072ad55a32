"""Reading from the clouds' stores: what a path stands for, names, the state that is read, and how little is asked."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import obstore
import polars as pl
import pytest

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import (
    BucketNotFoundError,
    CheckError,
    FormatError,
    PathError,
    SchemaError,
    SourceChangedError,
    SourceNotFoundError,
)
from glacier_prefect.exchange import hand_over
from glacier_prefect.providers import Provider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import Source, steady
from tests.clouds.provided import provider_of, variables
from tests.clouds.proxy import Proxy

Cloud = S3 | Azure | GCS
FORMATS = ["parquet", "csv", "ndjson", "ipc"]
NAMES = [
    "ünï 日本", "a b", "a+b", "a%2Fb", "a%20b", "100%", "a?b", "a#b", "a[b]", "a*b", "a{b}", "a&b=c", "a@b:c;d",
    "~'\"$",
]  # fmt: skip
LITERAL = {"[": "[[]", "*": "[*]", "?": "[?]", "{": "{{", "}": "}}"}  # how a path spells letters of meaning


@pytest.fixture(autouse=True)
def environment(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables(cloud).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def provider(cloud: Cloud) -> Provider:
    return provider_of(cloud)


@pytest.fixture
def put(cloud: Cloud, bucket: str) -> Callable[..., None]:
    """Writes one row to an object, as plain Polars does."""

    def written(key: str, value: Any = 0) -> None:
        body = io.BytesIO()
        getattr(pl.DataFrame({"v": value if isinstance(value, list) else [value]}), f"write_{key.split('.')[-1]}")(body)
        obstore.put(cloud.store(bucket), key, body.getvalue())

    return written


def through(cloud: Cloud, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Provider:
    for name, value in variables(cloud.at(proxy.port)).items():
        monkeypatch.setenv(name, value)
    return provider_of(cloud.at(proxy.port))


def values(source: Source) -> list[int]:
    return source.scan().collect()["v"].to_list()


# what a path stands for


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("1.parquet", [1]),
        ("*.parquet", [1, 2]),
        ("[!1].parquet", [2]),
        ("x/*.parquet", [3]),
        ("*/*.parquet", [3, 5]),
        ("**/*.parquet", [1, 2, 3, 4, 5]),
        ("x", [3, 4]),
        ("x/", [3, 4]),
        ("x/**", [3, 4]),
        ("x/*/", [4]),
        ("*/deep", [4]),
        ("x*", [3, 4, 5]),
        ("", [1, 2, 3, 4, 5]),
        ("x/**/4.parquet", [4]),
        ("_hidden/8.parquet", [8]),
        ("_hid*/8.parquet", [8]),
    ],
)
def test_a_path_stands_for_its_objects_in_order_of_their_names(
    provider: Provider, bucket: str, put: Callable[..., None], path: str, expected: list[int]
) -> None:
    for name, value in [("2", 2), ("1", 1), ("x/3", 3), ("x/deep/4", 4), ("xy/5", 5), ("_hidden/8", 8), (".dot", 9)]:
        put(f"{name}.parquet", value)
    put("x/_part.parquet", 99)
    put("x/.hidden/6.parquet", 99)
    assert values(provider.bucket_source(bucket, path)) == expected


def test_an_empty_object_in_place_of_a_folder_is_no_data(
    cloud: Cloud, provider: Provider, bucket: str, put: Callable[..., None]
) -> None:
    put("x/deep/1.parquet", 1)
    obstore.put(cloud.store(bucket), "x/deep", b"")
    assert values(provider.bucket_source(bucket, "x/*/*")) == [1]
    assert values(provider.bucket_source(bucket, "x/**")) == [1]


def test_key_folders_become_columns_and_a_filter_opens_only_their_objects(
    cloud: Cloud, bucket: str, proxy: Proxy, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for year in (2024, 2025):
        for name in ("a b", "c%2Fd"):
            put(f"part=1/t/year={year}/name={name}/0.parquet", year)
            put(f"u/year={year}/name={name}/0.csv", year)
            put(f"u/year={year}/name={name}/0.parquet", year)
    provider = through(cloud, proxy, monkeypatch)
    expected = [(year, year, name) for year in (2024, 2025) for name in ("a b", "c/d")]
    for path, file_format in [("part=1/t/*/*/*.parquet", "parquet"), ("u/**/*.csv", "csv"), ("u", "parquet")]:
        frame = provider.bucket_source(bucket, path, format=file_format).scan()
        assert frame.collect_schema().names() == ["v", "year", "name"]
        assert frame.collect().rows() == expected
    proxy.clear()
    assert provider.bucket_source(bucket, "u").scan().filter(year=2024, name="a b").collect().rows() == expected[:1]
    # Polars itself asks each object for its footer, for the schema and the number of rows
    read = [each.path for each in proxy.seen("GET", r"0(\.|%2E)parquet")]
    assert sorted(read.count(each) for each in set(read)) == [1, 1, 1, 2]


def test_a_dataset_is_read_by_its_manifest_whatever_path_names_it(provider: Provider, bucket: str) -> None:
    frame = pl.DataFrame({"v": range(4), "k": [0, 1, 0, 1]})
    provider.bucket_sink(bucket, "top/ds", partition_by="k").write(frame)
    for path in ("top/ds", "top/ds/", "top/ds/**", "top/ds/*/*.parquet", "top/d*", "**", "top"):
        assert provider.bucket_source(bucket, path).scan().collect().sort("v").equals(frame), path
    assert sorted(values(provider.bucket_source(bucket, "top/ds/k=1"))) == [1, 3]
    assert sorted(values(provider.bucket_source(bucket, "top/ds/k=[1]/*"))) == [1, 3]
    assert not provider.bucket_source(bucket, "top/ds/k=7").exists()


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_read_as_written_by_plain_polars(
    provider: Provider, bucket: str, put: Callable[..., None], name: str
) -> None:
    for number in range(3):
        put(f"x/{number}.{name}", number)
    assert values(provider.bucket_source(bucket, "x", format=name)) == [0, 1, 2]
    assert values(provider.bucket_source(bucket, f"x/1.{name}")) == [1]


def test_objects_of_ndjson_without_rows_are_read(cloud: Cloud, provider: Provider, bucket: str) -> None:
    obstore.put(cloud.store(bucket), "x/1.ndjson", b"")
    assert provider.bucket_source(bucket, "x/1.ndjson", schema={"v": int}).scan().collect().height == 0
    obstore.put(cloud.store(bucket), "x/2.ndjson", b'{"v":1}\n')
    assert values(provider.bucket_source(bucket, "x", format="ndjson")) == [1]


# names


@pytest.mark.parametrize("suffix", FORMATS)
def test_any_name_is_read_and_written_as_it_is(cloud: Cloud, provider: Provider, bucket: str, suffix: str) -> None:
    for number, name in enumerate(NAMES):
        path = f"d {name}/{name}.{suffix}".replace("{", "{{").replace("}", "}}")
        if any(letter in name for letter in "*?["):
            continue  # a sink names one place, and these are globs
        provider.bucket_sink(bucket, path).write(pl.DataFrame({"v": [number]}))
        assert values(provider.bucket_source(bucket, path)) == [number]
    keys = {each["path"] for page in obstore.list(cloud.store(bucket)) for each in page}
    assert keys == {f"d {name}/{name}.{suffix}" for name in NAMES if not any(letter in name for letter in "*?[")}


@pytest.mark.parametrize("suffix", FORMATS)
def test_names_that_look_like_globs_are_read(
    provider: Provider, bucket: str, put: Callable[..., None], suffix: str
) -> None:
    for number, name in enumerate(["aXb", *NAMES]):
        put(f"d/{name}.{suffix}", number)
    for number, name in enumerate(NAMES, 1):
        spelled = "".join(LITERAL.get(letter, letter) for letter in name)
        assert values(provider.bucket_source(bucket, f"d/{spelled}.{suffix}")) == [number], name
    assert sorted(values(provider.bucket_source(bucket, "d", format=suffix))) == list(range(len(NAMES) + 1))


def test_a_name_may_be_900_bytes_long(provider: Provider, bucket: str) -> None:
    path = "/".join(["x" * 100] * 8) + "/" + "ü" * 40 + ".parquet"
    written = provider.bucket_sink(bucket, path).write(pl.DataFrame({"v": [1]}))
    assert values(written) == [1]


@pytest.mark.parametrize(
    "path", ["/a.parquet", "../b/a.parquet", "a/../../a.parquet", "a//b.parquet", ".glacier/a.csv"]
)
def test_nothing_leaves_its_bucket(provider: Provider, bucket: str, path: str) -> None:
    for make in (provider.bucket_source, provider.bucket_sink):
        with pytest.raises(PathError):
            make(bucket, path)
    with pytest.raises(PathError):
        provider.bucket_source(bucket, "x/{p}/a.csv").at({"p": f"../{path}"})


# what is there


def test_existence_size_and_fingerprint_are_those_of_the_objects(
    provider: Provider, bucket: str, put: Callable[..., None]
) -> None:
    source = provider.bucket_source(bucket, "x/*.csv")
    assert (source.exists(), source.size()) == (False, 0)
    put("x/1.csv", 1)
    put("x/2.csv", 22)
    assert (source.exists(), source.size()) == (True, len("v\n1\n") + len("v\n22\n"))
    before = source.fingerprint()
    assert provider.bucket_source(bucket, "x/*.csv").fingerprint() == before
    put("x/1.csv", 2)
    assert source.fingerprint() != before
    dataset = provider.bucket_sink(bucket, "ds", partition_by="k").write(pl.DataFrame({"v": [1, 2], "k": [1, 2]}))
    assert dataset.exists()
    assert dataset.size() > 1000


def test_what_is_missing_is_an_error_that_shows_what_is_there(
    provider: Provider, bucket: str, put: Callable[..., None]
) -> None:
    put("x/there.parquet", 1)
    for path in ("x/other.parquet", "x/deep/*.parquet", "x/[0-9].parquet"):
        with pytest.raises(SourceNotFoundError, match=r"(?s)bucket.*'x/there.parquet'"):
            provider.bucket_source(bucket, path).scan()
    with pytest.raises(BucketNotFoundError, match=r"'no-such-bucket'.*there is no such bucket"):
        provider.bucket_source("no-such-bucket", "a.parquet").scan()


def test_declared_columns_and_checks_are_those_of_the_objects(
    provider: Provider, bucket: str, put: Callable[..., None]
) -> None:
    put("a.parquet", 1)
    with pytest.raises(SchemaError, match="column 'v' is Int64, declared as String"):
        provider.bucket_source(bucket, "a.parquet", schema={"v": str}).scan()
    with pytest.raises(CheckError, match="is false for 1 rows"):
        provider.bucket_source(bucket, "a.parquet", checks=[pl.col("v") > 1]).scan()
    provider.bucket_sink(bucket, "ds", partition_by="v", format="csv").write(pl.DataFrame({"v": [1], "w": [1]}))
    with pytest.raises(FormatError, match="is csv, not parquet"):
        provider.bucket_source(bucket, "ds").scan()


# how little is asked


def test_only_the_columns_and_row_groups_that_a_query_needs_are_sent(
    cloud: Cloud, bucket: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = through(cloud, proxy, monkeypatch)
    # Polars joins ranges with less than a megabyte between them, so the columns are far from each other
    wide = pl.LazyFrame({"row": range(100_000)}).with_columns(pl.col("row").hash(n).alias(f"c{n}") for n in range(29))
    source = provider.bucket_sink(bucket, "wide.parquet").write(wide)
    size = source.size()
    proxy.clear()
    assert source.scan().select("c3", "c20").collect().shape == (100_000, 2)
    assert proxy.sent("GET", "wide") < size * 2 / 30 * 1.25
    source = provider.bucket_sink(bucket, "wide.parquet", options={"row_group_size": 10_000}).write(wide)
    proxy.clear()
    assert source.scan().filter(pl.col("row") < 100).collect().height == 100
    assert proxy.sent("GET", "wide") < size / 10 * 1.5


@pytest.mark.parametrize(
    ("path", "calls"), [("x/1.parquet", 1), ("x/*.parquet", 1), ("x/*/*.parquet", 1), ("x", 3), ("ds", 1)]
)
def test_few_calls_find_what_is_read(
    cloud: Cloud,
    bucket: str,
    proxy: Proxy,
    put: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    calls: int,
) -> None:
    for key in ("x/1.parquet", "x/2.parquet", "x/a/1.parquet", "x/b/1.parquet"):
        put(key)
    provider_of(cloud).bucket_sink(bucket, "ds", partition_by="k").write(pl.DataFrame({"k": [1]}))
    provider = through(cloud, proxy, monkeypatch)
    provider.bucket_source(bucket, "x/2.parquet").exists()  # logs in
    source = provider.bucket_source(bucket, path)
    proxy.clear()
    source.scan()
    ours = proxy.count()
    proxy.clear()
    read = [name for name, *_ in source._objects(path) if not name.endswith("_schema")]
    finding = proxy.count()
    options = cloud.at(proxy.port).storage_options
    pl.scan_parquet([cloud.uri(bucket, each) for each in read], glob=False, storage_options=options).collect_schema()
    assert ours - (proxy.count() - finding) == calls, [(each.method, each.path) for each in proxy.seen()]


# the state that is read


def context(tmp_path: Any) -> RunContext:
    return RunContext(run_id="run", node="n", exchange=str(tmp_path / "exchange/run"))


@pytest.mark.parametrize("name", FORMATS)
def test_a_query_over_an_object_that_was_replaced_since_its_scan_is_computed_on_the_new_one(
    provider: Provider, bucket: str, put: Callable[..., None], tmp_path: Any, name: str
) -> None:
    put(f"a.{name}", list(range(10_000)))
    frame = provider.bucket_source(bucket, f"a.{name}").scan()
    frame.collect_schema()  # Polars keeps what it has read of the footer
    put(f"a.{name}", [7])
    with entered(context(tmp_path)):
        assert hand_over(frame.select(pl.col("v") + 1)).open().lazy().collect()["v"].to_list() == [8]


def test_a_query_over_an_object_that_is_replaced_while_it_runs_is_computed_again(
    provider: Provider, bucket: str, put: Callable[..., None]
) -> None:
    put("a.parquet", 1)
    frame = provider.bucket_source(bucket, "a.parquet").scan().with_columns(w=pl.col("v") * 2)
    computed = []

    def compute(frame: pl.LazyFrame) -> int:
        value: int = frame.collect()["w"].item()
        computed.append(value)
        if len(computed) < 3:
            put("a.parquet", 1 + len(computed))
        return value

    assert steady.steadily(frame, compute) == 6
    assert computed == [2, 4, 6]


def test_what_an_earlier_run_has_read_does_not_matter_to_a_query(
    provider: Provider, bucket: str, put: Callable[..., None], tmp_path: Any
) -> None:
    lock = threading.Lock()  # cannot be pickled, so the query cannot be planned again

    def locked(frame: pl.DataFrame) -> pl.DataFrame:
        with lock:
            return frame

    for number in range(3):
        put("a.parquet", number)
        with entered(RunContext(run_id=f"run {number}", node="n", exchange=str(tmp_path / "exchange/run"))):
            frame = provider.bucket_source(bucket, "a.parquet").scan()
            assert hand_over(frame.map_batches(locked)).open().lazy().collect()["v"].to_list() == [number]
            put("a.parquet", 99)
            with pytest.raises(SourceChangedError, match="cannot be planned again"):
                hand_over(frame.map_batches(locked))


def test_an_object_that_is_replaced_each_time_is_an_error_that_says_so(
    provider: Provider, bucket: str, put: Callable[..., None]
) -> None:
    put("x/a.parquet", 0)
    frame = provider.bucket_source(bucket, "x/*.parquet").scan()
    numbers = iter(range(1, 100))
    with pytest.raises(SourceChangedError, match=r"6 times in a row: 'x/a.parquet'"):
        steady.steadily(frame, lambda frame: put("x/a.parquet", next(numbers)))


def test_scans_are_found_in_the_plan_of_a_query_and_others_cost_nothing(
    cloud: Cloud, bucket: str, proxy: Proxy, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = through(cloud, proxy, monkeypatch)
    scans = {}
    for number, path in enumerate(["one/*", "two/*", "three/*", "nine/*", "o*", "csv/*.csv", "nd/*.ndjson", "i/*.ipc"]):
        for each in range({"one": 1, "two": 2, "three": 3}.get(path[:-2], 9)):
            suffix = path.rpartition(".")[2] if "." in path else "parquet"
            put(f"{path.partition('/')[0].replace('*', 'ther')}/{number}-{each} [ü].{suffix}", each)
        scans[path] = provider.bucket_source(bucket, path, format=suffix).scan()
    for path, frame in scans.items():
        query = frame.join(scans["one/*"], on="v").with_columns(w=pl.col("v").sum()).filter(pl.col("w") >= 0)
        etags = [scan.etags for scan in steady._scans_of(query)]
        wanted = {"one/*", path}
        assert len(etags) == len(wanted), path
    proxy.clear()
    assert steady.steadily(pl.LazyFrame({"v": [1]}), lambda frame: frame.collect().height) == 1
    assert proxy.count() == 0
    assert steady.steadily(scans["two/*"], lambda frame: 1) == 1
    assert proxy.count("HEAD") == 2
    proxy.clear()
    assert steady.steadily(scans["nine/*"], lambda frame: 1) == 1
    assert [each.method for each in proxy.seen()].count("HEAD") == 0
    assert proxy.count("GET", "list|comp=list") == 1
