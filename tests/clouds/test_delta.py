"""Delta tables on the disk and in the three clouds."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import (
    BucketNotFoundError,
    CheckError,
    ConfigurationError,
    NotAvailableError,
    OptionError,
    PathError,
    SchemaError,
    SinkExistsError,
    SourceNotFoundError,
    TravelError,
)
from glacier_prefect.providers import GCPProvider, LocalProvider, Provider
from glacier_prefect.run_context import RunContext, entered
from glacier_prefect.sources import Sink
from tests.clouds.identities import Identities, external_account, on_google
from tests.clouds.provided import provider_of, variables
from tests.clouds.proxy import Proxy

Cloud = S3 | Azure | GCS
FRAME = pl.DataFrame({"v": [1, 2, 3, 4], "k": ["a", "b", "a", None]})
ROOT = Path(__file__).parents[2]
STRANGE = [
    "a/b",
    "a%2Fb",
    "x=y",
    " sp ace ",
    "ünï",
    None,
    "null",
    ".",
    "..",
    "../x",
    "a\\b",
    "*[x]?",
    "nl\nx",
    "'q\"",
    "007",
]


@pytest.fixture(scope="module", params=["local", "s3", "azure", "gcs"])
def kind(request: pytest.FixtureRequest) -> Cloud | None:
    """A cloud, or None for the disk."""
    found: Cloud | None = None if request.param == "local" else request.getfixturevalue(request.param)
    return found


@pytest.fixture
def provider(kind: Cloud | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Provider:
    if kind is None:
        return LocalProvider(base_path=str(tmp_path))
    for name, value in variables(kind).items():
        monkeypatch.setenv(name, value)
    return provider_of(kind)


@pytest.fixture
def bucket(kind: Cloud | None, make_bucket: Callable[[Cloud], str]) -> str:
    return "b" if kind is None else make_bucket(kind)


@pytest.fixture
def make(provider: Provider, bucket: str) -> Callable[..., Sink]:
    return lambda path="x/a.delta", **settings: provider.bucket_sink(bucket, path, **settings)


def context(node: str = "write", run: str = "run") -> RunContext:
    return RunContext(run_id=run, node=node, exchange="unused/exchange/run")


def read(sink: Sink) -> pl.DataFrame:
    return sink.twin().scan().collect().sort("v")


def test_overwriting_replaces_rows_and_columns_and_older_versions_stay_readable(make: Callable[..., Sink]) -> None:
    source = make().write(FRAME)
    before, fingerprint = source.scan(), source.fingerprint()
    assert source.exists()
    assert source.size() > 0
    make().write(FRAME.head(1).with_columns(w=pl.lit("new")))
    assert read(make()).rows() == [(1, "a", "new")]
    assert before.collect().sort("v").equals(FRAME)
    assert source.fingerprint() != fingerprint
    assert make().twin().fingerprint() == source.fingerprint()


def test_an_older_version_can_be_named(make: Callable[..., Sink], provider: Provider, bucket: str) -> None:
    make().write(FRAME)
    make().write(FRAME.head(1))
    old = provider.bucket_source(bucket, "x/a.delta", options={"version": 0})
    assert old.scan().collect().sort("v").equals(FRAME)
    with pytest.raises(SourceNotFoundError, match="with version 7"):
        provider.bucket_source(bucket, "x/a.delta", options={"version": 7}).scan()


def test_each_run_appends_once_however_often_it_runs(make: Callable[..., Sink]) -> None:
    for run in ("one", "one", "two", "one", "two"):
        with entered(context(run=run)):
            make(mode="append").write(FRAME)
    with entered(context("other", run="one")):
        make(mode="append").write(FRAME)
    assert read(make()).height == 12
    make(mode="append").write(FRAME)  # outside a run each write is one of its own
    make(mode="append").write(FRAME)
    assert read(make()).height == 20
    make().write(FRAME)
    assert read(make()).equals(FRAME)


def test_a_task_that_appends_several_times_appends_all_of_it_and_its_retry_nothing_more(
    make: Callable[..., Sink],
) -> None:
    for attempt in range(3):
        with entered(context()):
            for part in range(2 if attempt == 0 else 3):  # the first attempt ended after two
                make(mode="append").write(FRAME.with_columns(v=pl.lit(part)))
            make("other.delta", mode="append").write(FRAME)
    assert read(make())["v"].to_list() == [0] * 4 + [1] * 4 + [2] * 4
    assert read(make("other.delta")).height == 4


def test_mode_error_refuses_the_table_of_another_and_replaces_its_own(make: Callable[..., Sink]) -> None:
    for rows in (1, 3):
        with entered(context()):
            make(mode="error").write(FRAME.head(rows))
    with (
        entered(context("other")),
        pytest.raises(SinkExistsError, match=r"delta table at 'x/a.delta' already(?s:.*)Hint"),
    ):
        make(mode="error").write(FRAME)
    with pytest.raises(SinkExistsError):
        make(mode="error").write(FRAME)
    assert read(make()).equals(FRAME.head(3))
    make(mode="append").write(FRAME)
    with entered(context()), pytest.raises(SinkExistsError):  # it is no longer only its own
        make(mode="error").write(FRAME)


def test_any_text_can_be_a_key(make: Callable[..., Sink]) -> None:
    frame = pl.DataFrame({"v": range(len(STRANGE)), "k": STRANGE})
    sink = make("x/parts", format="delta", partition_by="k", mode="append")
    written = sink.write(frame)
    assert_frame_equal(written.scan().collect().sort("v"), frame, check_column_order=False)
    assert written.scan().filter(pl.col("k") == "a%2Fb").select("v").collect().item() == 1
    sink.write(frame)
    assert written.scan().select(pl.len()).collect().item() == 2 * len(STRANGE)


def test_types_and_an_empty_frame_read_back(make: Callable[..., Sink]) -> None:
    frame = pl.DataFrame(
        {
            "v": [1, None],
            "i": pl.Series([1, 2], dtype=pl.Int8),
            "f": pl.Series([1.5, None], dtype=pl.Float32),
            "s": ["ü,\n", ""],
            "d": [date(2024, 1, 2), None],
            "t": [datetime(2024, 1, 2, 3, 4, 5), None],
            "z": pl.Series([datetime(2024, 1, 2), None], dtype=pl.Datetime("us", "UTC")),
            "n": [Decimal("1.25"), None],
            "b": [True, False],
            "y": [b"x", None],
            "l": [[1, 2], []],
            "r": [{"a": 1}, {"a": None}],
        }
    )
    assert_frame_equal(make().write(frame).scan().collect(), frame, check_row_order=False)
    empty = make("empty.delta").write(frame.clear())
    assert_frame_equal(empty.scan().collect(), frame.clear())
    assert empty.exists()
    make("empty.delta", mode="append").write(frame)
    assert_frame_equal(empty.scan().collect(), frame, check_row_order=False)


def test_what_fails_commits_nothing(make: Callable[..., Sink]) -> None:
    def fail(frame: pl.DataFrame) -> pl.DataFrame:
        raise KeyError("mine")

    failing = pl.LazyFrame(FRAME).map_batches(fail, schema=FRAME.schema)
    for each in (lambda: make(checks=[pl.col("v") < 4]).write(FRAME), lambda: make().write(failing)):
        with pytest.raises((CheckError, KeyError)):
            each()
    assert not make().twin().exists()
    fingerprint = make(checks=[pl.col("v") < 5]).write(FRAME).fingerprint()
    with pytest.raises(CheckError, match="false for 1 rows"):
        make(mode="append", checks=[pl.col("v") < 4]).write(FRAME)
    with pytest.raises(KeyError):
        make(mode="append").write(failing)
    with pytest.raises(SchemaError):
        make(schema={"v": pl.String}).write(FRAME)
    with pytest.raises(SchemaError, match="other columns"):
        make(mode="append").write(FRAME.with_columns(v=pl.lit("x")))
    with pytest.raises(TravelError, match="Duration"):
        make().write(pl.select(v=pl.duration(hours=1)))
    assert make().twin().fingerprint() == fingerprint


def test_a_missing_table_is_an_error_that_names_it(make: Callable[..., Sink], bucket: str) -> None:
    source = make().twin()
    assert (source.exists(), source.size()) == (False, 0)
    with pytest.raises(SourceNotFoundError, match=rf"bucket '{bucket}'.*no delta table at 'x/a.delta'(?s:.*)Hint"):
        source.scan()


def test_a_missing_bucket_is_an_error_that_names_it_and_on_the_disk_is_made(
    provider: Provider, kind: Cloud | None
) -> None:
    sink = provider.bucket_sink("no-such-bucket", "a.delta")
    if kind is None:
        sink.write(FRAME)
        assert read(sink).equals(FRAME)
        return
    for use in (lambda: sink.write(FRAME), sink.twin().scan):
        with pytest.raises(BucketNotFoundError, match=r"'no-such-bucket'.*no such bucket(?s:.*)Hint"):
            use()


def test_a_frame_may_read_the_table_that_it_replaces(make: Callable[..., Sink]) -> None:
    make().write(FRAME)
    make().write(make().twin().scan().with_columns(v=pl.col("v") * 2))
    assert read(make())["v"].to_list() == [2, 4, 6, 8]


@pytest.mark.timeout(120)
def test_a_reader_sees_whole_commits_while_appending_writers_are_killed(
    make: Callable[..., Sink], provider: Provider, bucket: str, kind: Cloud | None
) -> None:
    make().write(FRAME)
    where = f"base_path={provider.base_path!r}" if isinstance(provider, LocalProvider) else ""
    code = f"""
import polars as pl
from glacier_prefect.providers import {type(provider).__name__} as P
sink = P({where}).bucket_sink if {bool(where)} else P.from_env().bucket_sink
while True:
    sink({bucket!r}, "x/a.delta", mode="append").write(pl.DataFrame({{"v": [1, 2, 3, 4], "k": ["x"] * 4}}))
    print("committed", flush=True)
"""
    heights = []
    for turn in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout
            assert writer.stdout.readline()
            end = time.monotonic() + 0.5 + 0.13 * turn
            while time.monotonic() < end:
                heights.append(read(make()).height)
            writer.send_signal(signal.SIGKILL)
        heights.append(read(make()).height)
        for _ in range(5):  # what the writer had sent when it was killed may be carried out after it
            time.sleep(0.2)
            heights.append(read(make()).height)
    assert heights == sorted(heights)
    assert not any(height % 4 for height in heights)
    make(mode="append").write(FRAME)
    assert read(make()).height == heights[-1] + 4


@pytest.mark.parametrize("path", ["a b.delta", "a#b.delta", "a%2Fb.delta", "ü.delta", "a?.delta", "{x}/a+.delta"])
def test_a_path_that_deltalake_would_read_as_another_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(PathError, match=r"delta table has .* in it|glob"):
        LocalProvider(base_path=str(tmp_path)).bucket_source("b", path)
    sink = LocalProvider(base_path=str(tmp_path)).bucket_sink("b", "{name}.delta")
    run = RunContext(run_id="r", node="n", parameters={"name": "a#b"}, exchange="x/y/z")
    with entered(run), pytest.raises(PathError, match="'#' in it"):
        sink.write(FRAME)
    with pytest.raises(PathError, match="base_path"):
        LocalProvider(base_path=str(tmp_path / "a#b")).bucket_sink("b", "a.delta").write(FRAME)


@pytest.fixture
def google(gcs: GCS, make_bucket: Callable[[Cloud], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """What makes a sink in a store, and the proxy that the store is reached through; no credentials are set."""
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "GCE_", "STORAGE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Proxy(behind=gcs.port) as proxy:

        def make(**settings: Any) -> Sink:
            provider = GCPProvider(project_id="p", endpoint_url=gcs.at(proxy.port).url, **settings)
            return provider.bucket_sink(make_bucket(gcs), "a.delta", mode="append")

        yield make, proxy


def written(make: Callable[..., Sink], proxy: Proxy, **settings: Any) -> set[str]:
    """Write and read with credentials; return the tokens by which commits were made."""
    sink = make(**settings)
    for _ in range(2):
        sink.write(FRAME)
    assert read(sink).height == 8
    return {each.headers.get("authorization", "none") for each in proxy.seen("PUT", r"delta(_|%5F)log")}


def test_delta_tables_take_the_service_account_of_the_machine_and_renew_its_tokens(
    google: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Identities(lifetime=2) as identities:
        on_google(identities, monkeypatch)
        tokens = written(*google)
    assert all(each.startswith("Bearer issued-token-") for each in tokens)
    assert len(tokens) == 2


@pytest.mark.parametrize("place", ["file", "variable"])
def test_delta_tables_take_the_key_of_a_service_account(
    google: Any, gcs: GCS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    make, proxy = google
    key = json.dumps({**gcs.at(proxy.port).service_account, "disable_oauth": False})
    (tmp_path / "key.json").write_text(key)
    if place == "file":
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    else:
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", key)
    tokens = written(make, proxy)
    assert tokens
    assert all(each.startswith("Bearer ey") for each in tokens)  # signed with the key by deltalake itself


def test_credentials_of_google_that_deltalake_does_not_find_are_refused(
    google: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make, _ = google
    for settings in ({"credentials_block": "mine"}, {"credentials_secret": "MINE"}):
        for use in (make(**settings).twin().scan, lambda settings=settings: make(**settings).write(FRAME)):
            with pytest.raises(ConfigurationError, match=r"credentials_block(?s:.*)GOOGLE_APPLICATION_CREDENTIALS"):
                use()
    (tmp_path / "federated.json").write_text(external_account("http://127.0.0.1:1", tmp_path))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "federated.json"))
    with pytest.raises(ConfigurationError, match="no federated or impersonated ones"):
        make().write(FRAME)


def test_options_are_glaciers_own(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="'mode'"):
        LocalProvider(base_path=str(tmp_path)).bucket_sink("b", "a.delta", options={"mode": "merge"})


def test_without_the_extra_the_first_use_says_which_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "deltalake" else find(name))
    sink = LocalProvider(base_path=str(tmp_path)).bucket_sink("b", "a.delta", mode="append")
    for use in (lambda: sink.write(FRAME), sink.twin().scan, sink.twin().exists):
        with pytest.raises(NotAvailableError, match=r"pip install 'glacier-prefect\[delta\]'"):
            use()
