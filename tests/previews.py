"""What previews promise on each store: they read what the environment has, and write nothing but their own folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from glacier_prefect import pipeline, task
from glacier_prefect.environments import PREVIEWS
from glacier_prefect.errors import CheckError, PreviewError, SinkExistsError, SourceNotFoundError
from glacier_prefect.providers import Provider
from glacier_prefect.run_context import entered
from glacier_prefect.testing.store import Contract, Store, rows, run, values

OWN = f"{PREVIEWS}pr-7/"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A store, and how to look at it.

    Attributes:
        store: Its provider is what `Provider.from_env()` returns outside of previews.
        contents: Returns all objects of a bucket.
    """

    store: Store
    contents: Callable[[str], dict[str, bytes]]

    def outside(self, bucket: str) -> dict[str, bytes]:
        """Return what a bucket has outside the folder of the preview."""
        return {key: each for key, each in self.contents(bucket).items() if not key.startswith(OWN)}


class PreviewCases(Contract):
    """A subclass gives the fixture `place`."""

    @pytest.fixture
    def store(self, place: Place) -> Store:
        return place.store

    @pytest.fixture
    def env(self, store: Store) -> Provider:
        return store.provider

    @pytest.fixture
    def preview(self, env: Provider, monkeypatch: pytest.MonkeyPatch) -> Provider:
        monkeypatch.setenv("GLACIER_PREVIEW", "pr-7")
        found = Provider.from_env()
        assert (type(found), found, found.preview) == (type(env), env, OWN.rstrip("/"))
        return found

    def test_an_object_of_the_preview_hides_that_of_the_environment_and_all_others_are_seen(
        self, place: Place, env: Provider, preview: Provider, bucket: str
    ) -> None:
        for suffix in ("parquet", "csv", "ndjson"):
            for value in (1, 2):
                place.store.put_rows(bucket, f"in/{value}.{suffix}", value)
            before = place.outside(bucket)
            glob = preview.bucket_source(bucket, f"in/*.{suffix}")
            first = glob.fingerprint()
            assert (values(glob), glob.size()) == ([1, 2], env.bucket_source(bucket, f"in/*.{suffix}").size())
            for value in (2, 3):
                out = preview.bucket_sink(bucket, f"in/{value}.{suffix}")
                assert values(out.write(pl.LazyFrame({"v": [value * 10]}))) == [value * 10]
                assert out.uri.endswith(f"{OWN}in/{value}.{suffix}")
            assert values(glob) == [1, 20, 30]
            assert values(preview.bucket_source(bucket, "in/", format=suffix)) == [1, 20, 30]
            assert [values(preview.bucket_source(bucket, f"in/{n}.{suffix}"))[0] for n in (1, 2, 3)] == [1, 20, 30]
            assert glob.fingerprint() != first
            mine, theirs = (each.bucket_source(bucket, f"in/3.{suffix}") for each in (preview, env))
            assert (mine.exists(), theirs.exists()) == (True, False)
            assert values(env.bucket_source(bucket, f"in/*.{suffix}")) == [1, 2]
            assert place.outside(bucket) == before
        with pytest.raises(SourceNotFoundError):
            preview.bucket_source(bucket, "in/4.parquet").scan()

    def test_hive_folders_are_one_from_both(self, place: Place, preview: Provider, bucket: str) -> None:
        for key, value in (("h/k=1/a.parquet", 1), ("h/k=2/a.parquet", 2), (f"{OWN}h/k=2/a.parquet", 20)):
            place.store.put_rows(bucket, key, value)
        place.store.put_rows(bucket, f"{OWN}h/k=3/deep/b.parquet", 30)
        for path in ("h/**/*.parquet", "h"):
            found = preview.bucket_source(bucket, path).scan().filter(pl.col("k") > 1).collect().sort("v")
            assert found.select("v", "k").rows() == [(20, 2), (30, 3)]

    def test_a_dataset_is_all_of_the_preview_or_all_of_the_environment(
        self, place: Place, env: Provider, preview: Provider, bucket: str
    ) -> None:
        old, new = pl.DataFrame({"v": [1, 2], "k": ["a", "b"]}), pl.DataFrame({"v": [3], "k": ["b"]})
        for name in ("both", "filed", "emptied"):
            store_write(env, bucket, f"x/{name}", old)
        place.store.put_rows(bucket, "x/plain/k=z/1.parquet", 9)
        before = place.outside(bucket)
        assert_frame_equal(rows(preview.bucket_source(bucket, "x/both")), old)
        preview.bucket_sink(bucket, "x/both", partition_by="k").write(new)
        preview.bucket_sink(bucket, "x/plain", partition_by="k").write(new)
        preview.bucket_sink(bucket, "x/emptied", partition_by="k").write(new.clear())
        preview.bucket_sink(bucket, "x/filed/one.parquet").write(new)
        for name in ("both", "plain", "filed"):
            assert_frame_equal(rows(preview.bucket_source(bucket, f"x/{name}")), new)
        assert rows(preview.bucket_source(bucket, "x/emptied")).height == 0
        assert values(preview.bucket_source(bucket, "x/both/k=b/*.parquet")) == [3]
        with pytest.raises(SourceNotFoundError):
            preview.bucket_source(bucket, "x/both/k=a/*.parquet").scan()
        assert sorted(values(preview.bucket_source(bucket, "x/**/*.parquet"))) == [3, 3, 3]
        assert_frame_equal(rows(env.bucket_source(bucket, "x/both")), old)
        assert place.outside(bucket) == before

    def test_what_was_a_file_may_be_a_dataset_in_the_preview_and_the_other_way_round(
        self, place: Place, env: Provider, preview: Provider, bucket: str
    ) -> None:
        place.store.put_rows(bucket, "x/file.parquet", 1)
        place.store.put_rows(bucket, "x/folder/1.parquet", 1)
        frame = pl.DataFrame({"v": [2], "k": ["a"]})
        preview.bucket_sink(bucket, "x/file.parquet", partition_by="k").write(frame)
        preview.bucket_sink(bucket, "x/folder", format="parquet").write(frame)
        for path in ("x/file.parquet", "x/folder", "x/f*"):
            assert set(values(preview.bucket_source(bucket, path, format="parquet"))) == {2}

    def test_a_mode_and_checks_are_about_what_the_preview_has_written(
        self, place: Place, preview: Provider, bucket: str
    ) -> None:
        place.store.put_rows(bucket, "x/a.parquet", 1)
        before = place.outside(bucket)
        sink = preview.bucket_sink(bucket, "x/a.parquet", mode="error", checks=pl.col("v") > 1)
        assert not sink.twin().exists()
        with pytest.raises(CheckError):
            sink.write(pl.LazyFrame({"v": [1]}))
        for value in (2, 3):
            with entered(run()):
                sink.write(pl.LazyFrame({"v": [value]}))
        with pytest.raises(SinkExistsError), entered(run(run_id="other")):
            sink.write(pl.LazyFrame({"v": [4]}))
        assert values(preview.bucket_source(bucket, "x/a.parquet")) == [3]
        assert place.outside(bucket) == before

    def test_a_sink_that_does_not_follow_the_environment_writes_nothing(
        self, place: Place, env: Provider, preview: Provider, bucket: str
    ) -> None:
        with pytest.raises(PreviewError, match=r"preview 'pr-7' would overwrite .*\nHint: make the sink by"):
            env.bucket_sink(bucket, "a.parquet").write(pl.LazyFrame({"v": [1]}))
        assert place.contents(bucket) == {}

    def test_a_pipeline_reads_what_it_wrote_and_keeps_results_of_its_own(
        self, place: Place, preview: Provider, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        calls = tmp_path / "calls"

        def made(provider: Provider) -> Any:
            raw = provider.bucket_source(bucket, "raw/*.parquet")
            middle = provider.bucket_sink(bucket, "middle/{run_date:%Y-%m-%d}.parquet")
            again = provider.bucket_source(bucket, "middle/*.parquet")
            out = provider.bucket_sink(bucket, "out/{run_date:%Y-%m-%d}", partition_by="v")

            @task(persist_result=True, cache_key_fn=lambda context, parameters: "constant")
            def load() -> pl.LazyFrame:
                with open(calls, "a") as file:
                    file.write("load\n")
                return raw.scan()

            @task
            def both(_: Any) -> pl.LazyFrame:
                return again.scan().select("v")

            @pipeline(name="chain")
            def chain() -> Any:
                return out.write(both(middle.write(load())))

            return chain

        place.store.put_rows(bucket, "raw/1.parquet", 1)
        place.store.put_rows(bucket, "middle/2024-12-30.parquet", 5)
        monkeypatch.delenv("GLACIER_PREVIEW")
        made(place.store.provider).run(run_date="2024-12-31")
        before = place.outside(bucket)
        monkeypatch.setenv("GLACIER_PREVIEW", "pr-7")
        place.store.put_rows(bucket, f"{OWN}raw/1.parquet", 7)
        chain = made(preview)
        assert not chain.is_committed(chain.moment("2024-12-31"), {})
        written = chain.run(run_date="2024-12-31")
        assert chain.is_committed(chain.moment("2024-12-31"), {})
        assert sorted(values(written)) == [5, 7]
        assert calls.read_text() == "load\nload\n"  # its cache is its own, so that what a branch computed stays there
        assert sorted(values(place.store.provider.bucket_source(bucket, "out/2024-12-31"))) == [1, 5]
        assert place.outside(bucket) == before

    def test_discarding_removes_all_of_one_preview_and_nothing_else(
        self, place: Place, preview: Provider, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.store.put_rows(bucket, "x/a.parquet", 1)
        place.store.put_rows(bucket, f"{PREVIEWS}pr-70/x/a.parquet", 1)
        place.store.put_rows(bucket, f"{PREVIEWS}pr-7.parquet", 1)
        before = place.contents(bucket)
        sink = preview.bucket_sink(bucket, "x/ünï {{}}.parquet")
        sink.write(pl.LazyFrame({"v": [1]}))
        preview.bucket_sink(bucket, "x/d", partition_by="v").write(pl.LazyFrame({"v": [1, 2]}))
        count = len(place.contents(bucket)) - len(before)
        assert (sink.discard(), sink.discard()) == (count, 0)
        assert place.contents(bucket) == before
        monkeypatch.setenv("GLACIER_PREVIEW", "pr-70")
        assert Provider.from_env().bucket_sink(bucket, "any").discard() == 1
        for wrong in (replace(sink, within=""), replace(sink, within="x")):
            with pytest.raises(ValueError, match="of no preview"):
                wrong.discard()


def store_write(provider: Provider, bucket: str, path: str, frame: pl.DataFrame) -> None:
    """Write a dataset as the environment does, whatever preview this process is in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GLACIER_PREVIEW")
        provider.bucket_sink(bucket, path, partition_by="k").write(frame)
