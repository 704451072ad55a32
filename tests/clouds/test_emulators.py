"""What each emulator really does, of what Glacier leans on, asked by the clients that Glacier uses.

Commits lean on conditional writes; where an emulator differs from the cloud's documentation a test says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import obstore
import polars as pl
import pytest
import requests
from obstore.exceptions import AlreadyExistsError, PreconditionError

from glacier_prefect.emulators import GCS, S3, Azure, Unavailable
from glacier_prefect.emulators.azure import install
from glacier_prefect.emulators.start import server
from tests.clouds.conftest import running

Cloud = S3 | Azure | GCS
BIG = bytes(range(256)) * (20_000_000 // 256)


@pytest.fixture
def store(cloud: Cloud, bucket: str) -> Any:
    return cloud.store(bucket)


def version(put: Any) -> Any:
    """Return what obstore takes as a condition: it refuses None, which S3 and Azure have as `version`."""
    return {name: put[name] for name in ("e_tag", "version") if put[name]}


def read(store: Any, key: str) -> bytes:
    return bytes(store.get(key).bytes())


def winners(attempt: Callable[[int, int], object], lost: type[Exception]) -> list[int]:
    """Return for each of five rounds how many of eight attempts at once do not lose."""

    def wins(round: int, number: int) -> bool:
        try:
            attempt(round, number)
        except lost:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        return [sum(pool.map(wins, [round] * 8, range(8))) for round in range(5)]


@pytest.mark.parametrize("format", ["parquet", "csv", "ndjson", "ipc"])
def test_polars_reads_what_it_wrote(cloud: Cloud, bucket: str, format: str) -> None:
    frame = pl.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "c"]})
    for part in ("1", "2"):
        where = cloud.uri(bucket, f"some folder/{part}.{format}")
        getattr(frame.lazy(), f"sink_{format}")(where, storage_options=cloud.storage_options)
    scan = getattr(pl, f"scan_{format}")(
        cloud.uri(bucket, f"some folder/*.{format}"), storage_options=cloud.storage_options
    )
    assert scan.collect().equals(pl.concat([frame, frame]))


def test_polars_writes_and_reads_hive_folders(cloud: Cloud, bucket: str) -> None:
    frame = pl.DataFrame({"x": [1, 2, 3], "y": ["a", "b", "a"]})
    target = pl.PartitionBy(cloud.uri(bucket, "hive/"), key="y", include_key=False)
    frame.lazy().sink_parquet(target, storage_options=cloud.storage_options)
    scan = pl.scan_parquet(cloud.uri(bucket, "hive/"), hive_partitioning=True, storage_options=cloud.storage_options)
    assert scan.collect().sort("x").equals(frame)


def test_polars_writes_more_than_one_part(cloud: Cloud, bucket: str) -> None:
    frame = pl.select(x=pl.int_range(3_000_000), y=pl.int_range(3_000_000).hash())
    where = cloud.uri(bucket, "big.parquet")
    frame.lazy().sink_parquet(where, compression="uncompressed", storage_options=cloud.storage_options)
    assert cloud.store(bucket).head("big.parquet")["size"] > 30_000_000
    assert pl.scan_parquet(where, storage_options=cloud.storage_options).collect().equals(frame)


def test_a_put_that_creates_does_not_overwrite(store: Any) -> None:
    store.put("key", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        store.put("key", b"second", mode="create")
    assert read(store, "key") == b"first"


def test_of_several_puts_that_create_exactly_one_wins(store: Any) -> None:
    def create(round: int, number: int) -> None:
        store.put(f"key-{round}", str(number).encode(), mode="create")

    assert winners(create, AlreadyExistsError) == [1] * 5


def test_a_put_may_depend_on_the_version_that_it_replaces(store: Any) -> None:
    first = store.put("key", b"first")
    second = store.put("key", b"second", mode=version(first))
    with pytest.raises(PreconditionError):
        store.put("key", b"third", mode=version(first))
    with pytest.raises(PreconditionError):
        store.put("no such key", b"third", mode=version(second))
    assert version(store.head("key")) == version(second)
    store.put("key", b"fourth", mode=version(store.head("key")))
    assert read(store, "key") == b"fourth"


def test_of_several_puts_that_replace_one_version_exactly_one_wins(store: Any) -> None:
    before = [version(store.put(f"key-{round}", b"before")) for round in range(5)]

    def update(round: int, number: int) -> None:
        store.put(f"key-{round}", str(number).encode(), mode=before[round])

    assert winners(update, PreconditionError) == [1] * 5


def test_the_version_of_an_object_may_be_that_of_equal_content_only_on_s3(cloud: Cloud, store: Any) -> None:
    first = store.put("key", b"same")
    store.put("key", b"other")
    third = store.put("key", b"same")
    # S3's ETag of a small object is a hash of it, as Amazon documents: a version may come back.
    assert (version(first) == version(third)) == (cloud.name == "s3")


def test_a_condition_of_none_is_refused_by_obstore(s3: S3, make_bucket: Callable[[Cloud], str]) -> None:
    store = s3.store(make_bucket(s3))
    with pytest.raises(TypeError, match="None"):
        store.put("key", b"", mode=store.put("key", b""))


def test_a_copy_overwrites(store: Any) -> None:
    store.put("from", BIG)
    store.put("to", b"before")
    store.copy("from", "to")
    assert read(store, "to") == BIG


def test_a_copy_can_leave_what_exists(store: Any) -> None:
    store.put("from", BIG)
    store.copy("from", "new", overwrite=False)
    store.put("to", b"before")
    with pytest.raises(AlreadyExistsError):
        store.copy("from", "to", overwrite=False)
    assert (read(store, "new"), read(store, "to")) == (BIG, b"before")


def test_of_several_copies_that_leave_what_exists_exactly_one_wins(store: Any) -> None:
    for number in range(8):
        store.put(f"from-{number}", str(number).encode())

    def copy(round: int, number: int) -> None:
        store.copy(f"from-{number}", f"to-{round}", overwrite=False)

    assert winners(copy, AlreadyExistsError) == [1] * 5


def test_a_copy_of_nothing_is_not_found(store: Any) -> None:
    with pytest.raises(FileNotFoundError):
        store.copy("nothing", "to")
    assert obstore.list(store).collect() == []


def test_an_upload_in_parts_has_all_of_them_in_order(store: Any) -> None:
    made = store.put("key", BIG, chunk_size=5 * 1024 * 1024, max_concurrency=4)
    assert read(store, "key") == BIG
    assert store.head("key")["e_tag"].strip('"') == made["e_tag"].strip('"')


def test_an_upload_in_parts_is_not_there_before_its_end(store: Any) -> None:
    before_end: list[bytes] = []

    def parts(reader: ThreadPoolExecutor) -> Any:
        for block in range(3):
            yield bytes([block]) * 6_000_000
            # In a thread of its own: obstore panics when it is called where it calls.
            before_end.append(reader.submit(read, store, "key").result())

    store.put("key", b"before")
    with ThreadPoolExecutor(1) as reader:
        store.put("key", parts(reader), chunk_size=5 * 1024 * 1024)
    assert before_end == [b"before"] * 3
    assert len(read(store, "key")) == 18_000_000


def test_a_reader_sees_one_version_while_a_writer_overwrites(store: Any) -> None:
    versions = [bytes([number]) * 6_000_000 for number in range(3)]
    store.put("key", versions[0])
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [store.put("key", versions[number % 3]) for number in range(12)])
        while not writing.done():
            assert read(store, "key") in versions
        writing.result()


def test_a_range_is_read_alone(store: Any) -> None:
    store.put("key", BIG)
    assert bytes(store.get_range("key", start=1000, length=300)) == BIG[1000:1300]
    assert [bytes(part) for part in store.get_ranges("key", starts=[5, 9_000_000], lengths=[3, 4])] == [
        BIG[5:8],
        BIG[9_000_000:9_000_004],
    ]


def test_a_listing_has_a_prefix_and_a_delimiter(store: Any) -> None:
    for key in ("a/1", "a/b/2", "a/b/3", "ab/4", "5"):
        store.put(key, b"")
    assert sorted(each["path"] for each in obstore.list(store, "a").collect()) == ["a/1", "a/b/2", "a/b/3"]
    level = obstore.list_with_delimiter(store, "a")
    assert ([each["path"] for each in level["objects"]], level["common_prefixes"]) == (["a/1"], ["a/b"])


def test_a_listing_has_more_than_a_page(store: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"{number:04}", b""), range(1100)))
    assert len(obstore.list(store).collect()) == 1100


def test_a_listing_from_an_offset_has_what_comes_after_it(store: Any) -> None:
    for key in "abc":
        store.put(key, b"")
    assert [each["path"] for each in obstore.list(store, offset="b").collect()] == ["c"]


def test_deleting_nothing_is_an_error_except_on_s3(cloud: Cloud, store: Any) -> None:
    store.put("key", b"")
    store.delete(["key"])
    with pytest.raises(FileNotFoundError):
        store.head("key")
    if cloud.name == "s3":
        store.delete("key")
    else:
        with pytest.raises(FileNotFoundError):
            store.delete("key")


@pytest.mark.parametrize("key", ["ü ñ/日本.x", "a+b %2F c?#&=.x", "x" * 900, "/".join(["folder"] * 128)], ids=len)
def test_names_stay_what_they_are(store: Any, key: str) -> None:
    store.put(key, b"content")
    store.copy(key, f"copy of {key}")
    assert read(store, key) == read(store, f"copy of {key}") == b"content"
    assert sorted(each["path"] for each in obstore.list(store).collect()) == sorted([key, f"copy of {key}"])


def test_a_missing_bucket_is_an_answer_at_once(cloud: Cloud) -> None:
    store = cloud.store("no-such-bucket")
    began = time.monotonic()
    for attempt in (lambda: store.put("key", b""), lambda: store.get("key"), lambda: store.head("key")):
        with pytest.raises(FileNotFoundError):
            attempt()
    with pytest.raises(obstore.exceptions.GenericError, match=r"NoSuchBucket|ContainerNotFound"):
        obstore.list(store).collect()
    assert time.monotonic() - began < 5  # it was not tried again


def test_azurite_looks_at_signatures_and_moto_does_not(
    azure: Azure, s3: S3, make_bucket: Callable[[Cloud], str]
) -> None:
    wrong = replace(azure, account_key="d3Jvbmc=")
    with pytest.raises((obstore.exceptions.PermissionDeniedError, obstore.exceptions.UnauthenticatedError)):
        wrong.store(make_bucket(azure)).put("key", b"")
    replace(s3, secret_access_key="wrong").store(make_bucket(s3)).put("key", b"")


def test_google_s_own_library_sees_what_obstore_writes(gcs: GCS, make_bucket: Callable[[Cloud], str]) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    name = make_bucket(gcs)
    gcs.store(name).put("a b/ü", b"from obstore")
    # Anonymous, since with a service account this library asks Google itself about that account, in a thread.
    client = storage.Client(gcs.project_id, AnonymousCredentials(), client_options={"api_endpoint": gcs.url})
    bucket = client.bucket(name)
    assert bucket.blob("a b/ü").download_as_bytes() == b"from obstore"
    bucket.blob("theirs").upload_from_string(b"from Google")
    resumable = bucket.blob("resumed", chunk_size=1024 * 1024)
    with resumable.open("wb", ignore_flush=True) as file:
        file.write(BIG[:3_000_000])
    client.close()
    assert read(gcs.store(name), "theirs") == b"from Google"
    assert read(gcs.store(name), "resumed") == BIG[:3_000_000]


def test_google_s_own_library_gets_a_token(gcs: GCS) -> None:
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    scopes = ["https://www.googleapis.com/auth/devstorage.read_write"]
    credentials = service_account.Credentials.from_service_account_info(gcs.service_account, scopes=scopes)
    with requests.Session() as session:
        credentials.refresh(Request(session))
    assert credentials.valid


def test_an_upload_that_is_given_up_leaves_nothing_on_gcs(gcs: GCS, make_bucket: Callable[[Cloud], str]) -> None:
    name = make_bucket(gcs)

    def call(method: str, query: str, body: bytes = b"") -> Any:
        request = urllib.request.Request(f"{gcs.url}/{name}/key?{query}", body, method=method)
        return urllib.request.urlopen(request, timeout=30)

    with call("POST", "uploads") as answer:
        upload = answer.read().decode().partition("<UploadId>")[2].partition("<")[0]
    call("PUT", f"partNumber=1&uploadId={upload}", b"part").close()
    with call("DELETE", f"uploadId={upload}") as answer:
        assert answer.status == 204
    with pytest.raises(urllib.error.HTTPError, match="404"):
        call("POST", f"uploadId={upload}", b"<CompleteMultipartUpload/>")
    assert obstore.list(gcs.store(name)).collect() == []


def test_a_server_ends_with_the_process_that_started_it(tmp_path: Any) -> None:
    code = (
        "import time; from glacier_prefect.emulators import S3\n"
        "with S3.start() as s3: print(s3.port, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    with owner.stdout:
        port = int(owner.stdout.readline())
    url = f"http://127.0.0.1:{port}/moto-api/"
    urllib.request.urlopen(url, timeout=10).close()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except OSError:
            return
        time.sleep(0.1)
    pytest.fail("the server still answers")


def test_a_server_that_does_not_start_says_what_it_said() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no room left')"]
    with pytest.raises(Unavailable, match="no room left"), server("broken", lambda port, folder: command):
        pass


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_missing_emulator_skips_tests_but_fails_them_in_ci(monkeypatch: pytest.MonkeyPatch, ci: str) -> None:
    @contextmanager
    def missing() -> Iterator[S3]:
        raise Unavailable("it is not installed")
        yield

    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.fail.Exception if ci else pytest.skip.Exception, match="it is not installed"):
        next(running(missing()))


def test_without_node_the_reason_is_said(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r"Node\.js"):
        install(tmp_path)


def test_emulators_import_nothing_but_the_standard_library() -> None:
    code = """if True:
        import sys
        before = set(sys.modules)
        import glacier_prefect.emulators
        loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
        names = loaded - set(sys.stdlib_module_names) - {"glacier_prefect"}
        print([name for name in names if not name.startswith("_sysconfigdata")])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_key_is_in_a_repr(cloud: Cloud) -> None:
    secret = {"s3": "secret_access_key", "azure": "account_key"}.get(cloud.name)
    assert secret is None or getattr(cloud, secret) not in repr(cloud)
