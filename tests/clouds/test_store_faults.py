"""A store that fails for a moment is asked again; one that refuses is named, with what to do."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import obstore
import polars as pl
import pytest

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import (
    GlacierError,
    StoreDenied,
    StoreError,
    StoreUnreachable,
    UnreadableError,
)
from glacier_prefect.exchange import hand_over
from glacier_prefect.providers import Provider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import Source, objects
from glacier_prefect.sources import cloud as cloud_module
from tests.clouds.faults import LOSE_ANSWER, RESET, RESET_REQUEST, RESET_RESPONSE, TRUNCATE, refusal
from tests.clouds.provided import provider_of, variables
from tests.clouds.proxy import Proxy

Cloud = S3 | Azure | GCS
FRAME = pl.DataFrame({"v": range(1000), "k": [n % 2 for n in range(1000)]})
PASSING = ["internal", "unavailable", "slow down", "too many", "reset", "reset request", "reset response", "truncate"]
CUT = {"reset": RESET, "reset request": RESET_REQUEST, "reset response": RESET_RESPONSE, "truncate": TRUNCATE}


@pytest.fixture
def provider(cloud: Cloud, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """One that reaches its store through the proxy."""
    for name, value in variables(cloud.at(proxy.port)).items():
        monkeypatch.setenv(name, value)
    return provider_of(cloud.at(proxy.port))


@pytest.fixture
def computed(tmp_path: Any) -> Callable[[pl.LazyFrame], pl.DataFrame]:
    """Computes a frame as a node does whose result is handed over."""

    def compute(frame: pl.LazyFrame) -> pl.DataFrame:
        with entered(RunContext(run_id="r", node="n", exchange=str(tmp_path / "exchange/r"))):
            return hand_over(frame).open().lazy().collect()

    return compute


def fault_of(cloud: Cloud, what: str) -> Any:
    return CUT.get(what) or refusal(cloud.name, what)


# what passes


@pytest.mark.parametrize("what", PASSING)
def test_reading_goes_on_after_a_fault(
    cloud: Cloud,
    proxy: Proxy,
    provider: Provider,
    bucket: str,
    computed: Callable[[pl.LazyFrame], pl.DataFrame],
    what: str,
) -> None:
    source = provider.bucket_sink(bucket, "x/a.parquet").write(FRAME)
    for skip in (0, 1, 2):  # the call that finds the object, and those that read it
        rule = proxy.fail(
            fault_of(cloud, what), method="GET" if skip else None, path="a(.|%2E)parquet", skip=max(skip - 1, 0)
        )
        assert computed(source.scan()).equals(FRAME)
        assert rule.hits == 1
        proxy.clear()


@pytest.mark.parametrize("what", [each for each in PASSING if each not in ("reset response", "truncate")])
@pytest.mark.parametrize("keys", [(), ("k",)], ids=["single", "partitioned"])
def test_writing_goes_on_after_a_fault(
    cloud: Cloud, proxy: Proxy, provider: Provider, bucket: str, keys: tuple[str, ...], what: str
) -> None:
    sink = provider.bucket_sink(bucket, "x/a" if keys else "x/a.parquet", partition_by=keys)
    sink.write(FRAME)
    for skip in (0, 1, 2):
        proxy.clear()
        rule = proxy.fail(fault_of(cloud, what), method="PUT", skip=skip)
        try:
            sink.write(FRAME.with_columns(v=pl.col("v") + skip))
        except StoreError:
            assert what.startswith("reset"), what  # what was sent may have arrived, so not everything is sent again
            sink.write(FRAME.with_columns(v=pl.col("v") + skip))
        assert sink.twin().scan().collect()["v"].sum() == sum(range(1000)) + 1000 * skip
        assert rule.hits == 1 or skip  # one file is one call


@pytest.mark.parametrize("what", ["internal", "unavailable", "slow down", "reset", "reset request", "lose answer"])
def test_a_file_of_several_parts_survives_a_fault_of_one_in_the_middle(
    cloud: Cloud, proxy: Proxy, provider: Provider, bucket: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(objects, "PART", 5 * 1024 * 1024)
    row = pl.col("v")
    large = pl.DataFrame({"v": range(1_000_000)}).with_columns(a=row.hash(1), b=row.hash(2))  # 20 MB
    sink = provider.bucket_sink(bucket, "x/a.parquet")
    sink.write(FRAME)
    proxy.clear()
    rule = proxy.fail(LOSE_ANSWER if what == "lose answer" else fault_of(cloud, what), method="PUT", skip=1)
    sink.write(large)
    assert rule.hits == 1
    assert proxy.count("PUT") > 4
    assert sink.twin().scan().collect().equals(large)


@pytest.mark.parametrize("keys", [(), ("k",)], ids=["single", "partitioned"])
@pytest.mark.parametrize("mode", ["overwrite", "error"])
def test_an_answer_that_is_lost_while_writing_harms_nothing(
    proxy: Proxy, provider: Provider, bucket: str, keys: tuple[str, ...], mode: Any
) -> None:
    for skip in range(5):
        proxy.clear()
        path = f"x/{skip}" if keys else f"x/{skip}.parquet"
        sink = provider.bucket_sink(bucket, path, partition_by=keys, mode=mode)
        with entered(RunContext(run_id="r", node="n", exchange="x/y/z")):
            proxy.fail(LOSE_ANSWER, method="PUT", skip=skip)
            try:
                sink.write(FRAME)
            except StoreError:
                sink.write(FRAME)  # the retry of the node
        assert sink.twin().scan().collect().sort("v").equals(FRAME)


# what does not


def refused(act: Callable[[], Any], kind: type[GlacierError], *said: str) -> None:
    with pytest.raises(kind) as caught:
        act()
    for word in said:
        assert word in str(caught.value), f"{word!r} is not in {caught.value}"
    assert not re.search(r"https?://|secret|[Ss]ignature=|sig=", str(caught.value))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def acts(provider: Provider, bucket: str, source: Source, computed: Callable[..., Any]) -> list[Callable[[], Any]]:
    frame = source.scan()
    return [
        lambda: source.scan(),
        lambda: source.exists(),
        lambda: provider.bucket_source(bucket, "x/*").scan(),
        lambda: provider.bucket_sink(bucket, "x/a.parquet").write(FRAME),
        lambda: provider.bucket_sink(bucket, "x/b", partition_by="k").write(FRAME),
        lambda: computed(frame),
    ]


@pytest.mark.parametrize(
    ("what", "kind", "said"),
    [
        ("denied", StoreDenied, "may not do this"),
        ("expired", StoreDenied, "Hint"),
    ],
)
def test_a_refusal_names_provider_bucket_object_and_what_to_do(
    cloud: Cloud,
    proxy: Proxy,
    provider: Provider,
    bucket: str,
    computed: Callable[..., Any],
    what: str,
    kind: type[GlacierError],
    said: str,
) -> None:
    source = provider.bucket_sink(bucket, "x/a.parquet").write(FRAME)
    every = acts(provider, bucket, source, computed)
    proxy.fail(refusal(cloud.name, what), times=None, path=bucket[-12:])
    for act in every:
        refused(act, kind, provider.name, bucket, "x/", "Hint: ")
    refused(every[2], kind, said)  # a listing has a body, which says more


@pytest.mark.parametrize("cloud", ["s3"], indirect=True)  # the others have none
def test_a_wrong_region_is_named_with_provider_bucket_and_object(
    cloud: Cloud, proxy: Proxy, provider: Provider, bucket: str, computed: Callable[..., Any]
) -> None:
    source = provider.bucket_sink(bucket, "x/a.parquet").write(FRAME)
    every = acts(provider, bucket, source, computed)
    proxy.fail(refusal(cloud.name, "wrong region"), times=None, path=bucket[-12:])
    for act in every:
        refused(act, StoreError, provider.name, bucket, "x/", "Hint: ")
    refused(every[2], StoreError, "region")


@pytest.mark.parametrize("keys", [(), ("k",)], ids=["single", "partitioned"])
def test_a_refusal_to_write_is_not_taken_for_one_to_read(
    cloud: Cloud, proxy: Proxy, provider: Provider, bucket: str, keys: tuple[str, ...]
) -> None:
    frame = provider.bucket_sink(bucket, "in/a.parquet").write(FRAME).scan()
    dataset = provider.bucket_sink(bucket, "in/ds", partition_by="k").write(FRAME).scan()
    sink = provider.bucket_sink(bucket, "out/a" if keys else "out/a.parquet", partition_by=keys)
    rule = proxy.fail(refusal(cloud.name, "denied"), times=None, method="PUT")
    refused(lambda: sink.write(frame), StoreDenied, "sink ", "out/a")
    refused(lambda: sink.write(dataset), StoreDenied, "sink ", "out/a")
    rule.times = rule.hits
    proxy.fail(refusal(cloud.name, "denied"), times=None, method="GET", path="/in(/|%2F).*parquet")
    refused(lambda: sink.write(frame), StoreDenied, "source ", "in/a.parquet")
    refused(lambda: sink.write(dataset), StoreDenied, "source ", "in/ds")


def test_a_store_that_fails_all_the_time_is_named(
    cloud: Cloud,
    proxy: Proxy,
    provider: Provider,
    bucket: str,
    computed: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cloud_module, "RETRIES", {**cloud_module.RETRIES, "max_retries": 1})
    source = provider.bucket_sink(bucket, "x/a.parquet").write(FRAME)
    frame = source.scan()
    proxy.fail(refusal(cloud.name, "unavailable"), times=None, method="GET", path="x.*parquet")
    refused(lambda: computed(frame), StoreUnreachable, provider.name, bucket, "x/a.parquet", "Hint: ")


@pytest.mark.parametrize("suffix", ["parquet", "ipc"])
def test_a_file_that_is_cut_short_or_of_another_format_is_named(
    cloud: Cloud, provider: Provider, bucket: str, suffix: str
) -> None:
    body = io.BytesIO()
    getattr(FRAME, f"write_{suffix}")(body)
    whole = body.getvalue()
    for name, content in [("cut", whole[:-100]), ("head", whole[:20]), ("other", b"v,k\n1,2\n" * 100), ("empty", b"")]:
        obstore.put(cloud.store(bucket), f"x/{name}.{suffix}", content)
        source = provider.bucket_source(bucket, f"x/{name}.{suffix}")
        refused(source.scan, UnreadableError, provider.name, bucket, f"x/{name}.{suffix}", "Hint: ")
        declared = provider.bucket_source(bucket, f"x/{name}.{suffix}", schema={"v": pl.Int64})
        refused(declared.scan, UnreadableError, bucket, f"x/{name}.{suffix}")


def test_an_error_of_the_users_own_stays_what_it_is(
    provider: Provider, bucket: str, computed: Callable[..., Any]
) -> None:
    source = provider.bucket_sink(bucket, "x/a.parquet").write(FRAME)
    with pytest.raises(pl.exceptions.ComputeError, match="to parse dates"):
        computed(source.scan().select(pl.col("v").cast(pl.String).str.to_date()))
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        computed(source.scan().select("nope"))
