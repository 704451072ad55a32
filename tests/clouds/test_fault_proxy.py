"""The proxy counts what goes through and breaks what it is told to, in front of every emulator; and what clients do."""

from __future__ import annotations

import dataclasses
import http.client
import time
from datetime import timedelta
from typing import Any

import obstore
import polars as pl
import pytest
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from glacier_prefect.emulators import GCS, S3, Azure
from tests.clouds.faults import LOSE_ANSWER, RESET, RESET_REQUEST, RESET_RESPONSE, TRUNCATE, refusal
from tests.clouds.proxy import Fault, Proxy

Cloud = S3 | Azure | GCS
CONTENT = bytes(range(250)) * 4000
PASSING = ["internal", "unavailable", "slow down", "too many"]


@pytest.fixture
def store(cloud: Cloud, bucket: str, proxy: Proxy) -> Any:
    return cloud.at(proxy.port).store(bucket)


def condition(store: Any, key: str) -> Any:
    head = store.head(key)
    return {name: head[name] for name in ("e_tag", "version") if head[name]}


def raw(proxy: Proxy, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_requests_and_bytes_are_counted(store: Any, proxy: Proxy) -> None:
    store.put("key", CONTENT)
    assert bytes(store.get_range("key", start=100, length=50)) == CONTENT[100:150]
    assert (proxy.count("PUT", "key"), proxy.received("PUT", "key")) == (1, len(CONTENT))
    assert (proxy.count("GET", "key"), proxy.sent("GET", "key")) == (1, 50)
    proxy.clear()
    assert proxy.count() == 0


def test_two_columns_of_thirty_cost_few_bytes(cloud: Cloud, bucket: str, proxy: Proxy) -> None:
    behind = cloud.at(proxy.port)
    frame = pl.select(pl.int_range(100_000).hash(seed).alias(f"c{seed}") for seed in range(30))
    frame.write_parquet(cloud.uri(bucket, "wide.parquet"), storage_options=cloud.storage_options, compression="lz4")
    size = cloud.store(bucket).head("wide.parquet")["size"]
    scan = pl.scan_parquet(cloud.uri(bucket, "wide.parquet"), storage_options=behind.storage_options)
    assert scan.select("c3", "c20").collect().equals(frame.select("c3", "c20"))
    assert size * 2 / 30 < proxy.sent("GET") < size / 6


def test_a_connection_is_used_again(store: Any, proxy: Proxy, bucket: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    connection.connect()
    ours = connection.sock.getsockname()
    for _ in range(3):
        connection.request("GET", f"/{bucket}/nothing")
        connection.getresponse().read()
        assert connection.sock.getsockname() == ours
    connection.close()


@pytest.mark.parametrize("what", PASSING)
def test_reads_and_writes_survive_a_passing_error(cloud: Cloud, store: Any, proxy: Proxy, what: str) -> None:
    rules = [proxy.fail(refusal(cloud.name, what, retry_after=1), method=method) for method in ("PUT", "GET")]
    store.put("key", CONTENT)
    assert bytes(store.get("key").bytes()) == CONTENT
    assert [rule.hits for rule in rules] == [1, 1]


@pytest.mark.parametrize("fault", [RESET, RESET_REQUEST, LOSE_ANSWER], ids=lambda fault: fault.kind)
def test_a_write_survives_a_cut_connection(store: Any, proxy: Proxy, fault: Fault) -> None:
    rule = proxy.fail(fault, method="PUT")
    store.put("key", CONTENT)
    assert bytes(store.get("key").bytes()) == CONTENT
    assert (rule.hits, proxy.count("PUT")) == (1, 2)


@pytest.mark.parametrize("fault", [RESET, RESET_RESPONSE, TRUNCATE, LOSE_ANSWER], ids=lambda fault: fault.kind)
def test_a_read_survives_a_cut_connection(store: Any, proxy: Proxy, fault: Fault) -> None:
    store.put("key", CONTENT)
    rule = proxy.fail(fault, method="GET")
    assert bytes(store.get("key").bytes()) == CONTENT
    assert rule.hits == 1


@pytest.mark.parametrize("fault", [RESET, RESET_RESPONSE, TRUNCATE], ids=lambda fault: fault.kind)
def test_polars_survives_a_cut_connection(cloud: Cloud, bucket: str, proxy: Proxy, fault: Fault) -> None:
    options, where = cloud.at(proxy.port).storage_options, cloud.uri(bucket, "t.parquet")
    frame = pl.select(x=pl.int_range(200_000).hash())
    writing = proxy.fail(RESET_REQUEST, method="PUT")
    frame.lazy().sink_parquet(where, storage_options=options)
    reading = proxy.fail(fault, method="GET")
    assert pl.scan_parquet(where, storage_options=options).collect().equals(frame)
    assert (writing.hits, reading.hits) == (1, 1)


def test_a_truncated_body_keeps_its_length(cloud: Cloud, store: Any, proxy: Proxy, bucket: str) -> None:
    path = f"/{bucket}/key"
    if cloud.name != "gcs":  # which asks for no signature
        path = "/" + obstore.sign(store, "GET", "key", timedelta(minutes=5)).split("/", 3)[3]
    store.put("key", CONTENT)
    proxy.fail(TRUNCATE, method="GET")
    with pytest.raises(http.client.IncompleteRead) as caught:
        raw(proxy, path)
    assert (caught.value.partial, caught.value.expected) == (CONTENT[:500_000], 500_000)


def test_a_reset_is_a_reset(proxy: Proxy, bucket: str) -> None:
    proxy.fail(RESET)
    with pytest.raises(ConnectionResetError):
        raw(proxy, f"/{bucket}/key")


def test_a_delay_delays(store: Any, proxy: Proxy) -> None:
    store.put("key", b"x")
    proxy.fail(Fault(kind="delay", seconds=0.3), method="GET")
    began = time.monotonic()
    assert bytes(store.get("key").bytes()) == b"x"
    assert time.monotonic() - began >= 0.3


def test_a_rule_takes_the_requests_that_it_names(store: Any, proxy: Proxy) -> None:
    store.put("key", b"x")
    rule = proxy.fail(Fault(kind="answer", status=400), method="GET", path="key$", skip=1, times=2)
    outcomes = []
    for _ in range(5):
        try:
            outcomes.append(bytes(store.get("key").bytes()))
        except BaseError:
            outcomes.append(b"failed")
    store.put("key", b"y")
    assert outcomes == [b"x", b"failed", b"failed", b"x", b"x"]
    assert (rule.seen, rule.hits) == (5, 2)


@pytest.mark.parametrize("what", ["expired", "denied"])
def test_a_refusal_is_an_error_at_once(cloud: Cloud, store: Any, proxy: Proxy, what: str) -> None:
    proxy.fail(refusal(cloud.name, what), times=None)
    with pytest.raises(BaseError) as caught:
        store.get("key")
    assert proxy.count() == 1
    assert "expired" in str(caught.value).lower() if what == "expired" else "denied" in repr(caught.value).lower()


# What a commit has to know of obstore: a conditional write whose answer is lost is not tried again, but one that was
# answered by 500, 503 or 429 is; it may have happened, and then it loses against itself.


def test_a_conditional_put_whose_answer_is_lost_is_an_error_though_it_happened(store: Any, proxy: Proxy) -> None:
    proxy.fail(LOSE_ANSWER, method="PUT")
    with pytest.raises(BaseError, match="error sending request"):
        store.put("key", b"first", mode="create")
    assert (bytes(store.get("key").bytes()), proxy.count("PUT")) == (b"first", 1)
    proxy.fail(LOSE_ANSWER, method="PUT")
    with pytest.raises(BaseError, match="error sending request"):
        store.put("key", b"second", mode=condition(store, "key"))
    assert (bytes(store.get("key").bytes()), proxy.count("PUT")) == (b"second", 2)


@pytest.mark.parametrize("what", PASSING)
def test_a_conditional_put_may_lose_against_itself(cloud: Cloud, store: Any, proxy: Proxy, what: str) -> None:
    fault = dataclasses.replace(refusal(cloud.name, what), carried_out=True)
    proxy.fail(fault, method="PUT")
    with pytest.raises(AlreadyExistsError):
        store.put("key", b"first", mode="create")
    assert bytes(store.get("key").bytes()) == b"first"
    proxy.fail(fault, method="PUT")
    with pytest.raises(PreconditionError):
        store.put("key", b"second", mode=condition(store, "key"))
    assert bytes(store.get("key").bytes()) == b"second"


def test_a_copy_whose_answer_is_lost_is_made_again(store: Any, proxy: Proxy) -> None:
    store.put("from", CONTENT)
    proxy.clear()
    rule = proxy.fail(LOSE_ANSWER, method="PUT", path="to")
    store.copy("from", "to")
    assert (bytes(store.get("to").bytes()), rule.hits, proxy.count("PUT")) == (CONTENT, 1, 2)


def test_a_copy_that_leaves_what_exists_is_not_made_again(cloud: Cloud, store: Any, proxy: Proxy) -> None:
    store.put("from", CONTENT)
    rule = proxy.fail(LOSE_ANSWER, path=r"to$|to\?uploadId=")
    if cloud.name == "s3":
        store.copy("from", "to", overwrite=False)  # the completion of a multipart upload may be repeated
    else:
        with pytest.raises(BaseError, match="error sending request"):
            store.copy("from", "to", overwrite=False)
    assert (bytes(store.get("to").bytes()), rule.hits) == (CONTENT, 1)
