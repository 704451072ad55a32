"""For each test of the contracts a provider that does one thing wrong, which that test finds."""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, unquote

import polars as pl
import pytest

from glacier_prefect.blocks import LOCAL, Block
from glacier_prefect.errors import GlacierError, SinkExistsError, SourceNotFoundError, UnreadableError
from glacier_prefect.pools import Pool
from glacier_prefect.providers import LocalProvider
from glacier_prefect.sources import LocalSink, LocalSource, Sink, Source
from glacier_prefect.sources.base import MODES
from glacier_prefect.sources.checks import check_rows
from glacier_prefect.sources.listing import DiskTree
from glacier_prefect.testing import ProviderContract, SinkContract, SourceContract, Store

FOUND = (AssertionError, pytest.fail.Exception, GlacierError, OSError, pl.exceptions.PolarsError)
"""How a test of a contract fails; an error of another kind would be one of the mutant itself."""
MUTANTS: dict[str, type[LocalProvider]] = {}


class Contracts(ProviderContract, SourceContract, SinkContract):
    versions: ClassVar[int] = 4


class Wrong(LocalProvider):
    """The local provider with other classes of sources and sinks."""

    source: ClassVar[type[LocalSource]] = LocalSource
    sink: ClassVar[type[LocalSink]] = LocalSink

    def _source(self, **settings: Any) -> Source:
        return self.source(**settings, base_path=str(self.base_path))

    def _sink(self, **settings: Any) -> Sink:
        return self.sink(**settings, base_path=str(self.base_path))


def found_by(test: str) -> Callable[[type[Any]], type[Any]]:
    """Note a class of provider, source or sink as the mutant that a test finds."""

    def noted(wrong: type[Any]) -> type[Any]:
        assert test not in MUTANTS
        if issubclass(wrong, LocalProvider):
            MUTANTS[test] = wrong
        else:
            MUTANTS[test] = type("WrongPart", (Wrong,), {"source" if issubclass(wrong, Source) else "sink": wrong})
        return wrong

    return noted


def keep(test: str, provider: LocalProvider, folder: Path) -> None:
    """Run a test of the contracts with all its parameters; raises what it raises."""
    store = replace(Store.on_disk(provider, lambda bucket: folder / bucket), secrets=("hunter2",))
    function = getattr(Contracts(), test)
    for parameters in each_of(function):
        with pytest.MonkeyPatch.context() as patch:
            given = {"store": store, "bucket": store.new_bucket(), "monkeypatch": patch, **parameters}
            function(**{name: given[name] for name in inspect.signature(function).parameters})


def each_of(function: Any) -> Iterator[dict[str, Any]]:
    sets = []
    for mark in getattr(function, "pytestmark", []):
        names, values = mark.args
        split = (names,) if isinstance(names, str) else tuple(names)
        split = tuple(name.strip() for each in split for name in each.split(","))
        sets.append([dict(zip(split, each if len(split) > 1 else (each,), strict=True)) for each in values])
    for chosen in itertools.product(*sets):
        yield {name: value for each in chosen for name, value in each.items()}


# providers


@found_by("test_making_it_and_its_locations_imports_no_sdk_and_makes_no_call")
class Heavy(LocalProvider):
    def _source(self, **settings: Any) -> Source:
        importlib.import_module("obstore")
        return super()._source(**settings)


@found_by("test_metadata_says_what_a_location_is")
class Nowhere(LocalSource):
    @property
    def root(self) -> str:
        return "file:///somewhere"


@found_by("test_each_setting_comes_from_its_variables_and_the_first_counts")
class LastCounts(LocalProvider):
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {"base_path": ("GLACIER_BASE_PATH", "GLACIER_DATA")}

    @classmethod
    def _from_variables(cls) -> dict[str, Any]:
        found = [os.environ[name] for name in cls.variables["base_path"] if name in os.environ]
        return {"base_path": found[-1]} if found else {}


@found_by("test_what_is_passed_beats_variables")
class Stubborn(LocalProvider):
    @classmethod
    def _with(cls, known: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        return super()._with({}, {**given, **known})


@found_by("test_a_misspelt_setting_is_an_error_that_says_the_nearest")
class Lenient(LocalProvider):
    @classmethod
    def _with(cls, known: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        return super()._with(known, {name: value for name, value in given.items() if name in cls.settings()})


@found_by("test_it_and_its_locations_travel_to_another_process")
class Rooted(LocalProvider):
    def __reduce__(self) -> Any:
        return LocalProvider, ()


@found_by("test_its_secrets_are_in_nothing_that_is_shown_or_travels")
@dataclass(frozen=True, kw_only=True)
class Telling(LocalProvider):
    password: str = "hunter2"


@found_by("test_the_prefix_stands_before_the_name_of_each_bucket")
class Unprefixed(LocalProvider):
    def _source(self, **settings: Any) -> Source:
        return super()._source(**{**settings, "bucket_prefix": ""})


@found_by("test_a_bucket_is_one_name_and_nothing_else")
class Mending(LocalProvider):
    def bucket_source(self, bucket: str, path: str, **settings: Any) -> Source:
        return super().bucket_source(bucket.strip("/.").replace("/", "-"), path, **settings)


@found_by("test_its_work_pools_are_those_that_it_lists")
class AnyPool(LocalProvider):
    def work_pool(self, type: str | None = None) -> Pool:
        return Pool(type=type or "process")


@found_by("test_the_block_of_a_bucket_names_it_with_its_prefix_and_the_folder")
class OtherBlock(LocalProvider):
    def storage(self, bucket: str, folder: str = "") -> Block:
        return Block(kind=LOCAL, data={"basepath": f"{self.base_path}/{bucket}/{folder}"})


# sources


@found_by("test_each_format_is_read_as_plain_polars_wrote_it")
class FillsNulls(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        return super()._open(path).fill_null(0)


@found_by("test_a_path_stands_for_its_objects_in_order_of_their_names")
class FolderIsAPrefix(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        return super()._open(path.rstrip("/") + "*" if path and "*" not in path else path)


@found_by("test_hidden_objects_are_not_read_unless_the_path_names_them")
class SeesHidden(LocalSource):
    @property
    def tree(self) -> DiskTree:
        class Tree(DiskTree):
            def visible(self, folder: str, deep: bool, also: str = "") -> list[tuple[str, bool]]:
                return self.entries(folder, deep)

        return Tree(self.folder)


@found_by("test_key_folders_become_columns")
class KeysAreText(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        return super()._open(path).cast({"year": pl.String})


@found_by("test_the_fields_of_a_path_are_filled_in_a_run")
class Unfilled(LocalSource):
    def filled_path(self) -> str:
        return self.path


@found_by("test_only_columns_and_rows_that_are_asked_for_are_computed")
class Eager(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        return super()._open(path).collect().lazy()


@found_by("test_a_source_travels_to_another_process")
class Forgetful(LocalSource):
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "schema": None}


@found_by("test_existence_and_size_are_those_of_the_objects")
class FolderIsEnough(LocalSource):
    def exists(self) -> bool:
        return self.folder.is_dir()


@found_by("test_the_fingerprint_changes_with_one_byte_and_with_nothing_else")
class BySize(LocalSource):
    def fingerprint(self) -> str:
        return repr([(name, size) for name, size, _ in self._objects(self.path)])


@found_by("test_a_frame_that_is_made_anew_has_the_new_data")
class Remembers(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        if "opened" not in self.__dict__:
            object.__setattr__(self, "opened", super()._open(path).collect())
        frame: pl.DataFrame = self.__dict__["opened"]
        return frame.lazy()


@found_by("test_a_missing_object_is_an_error_that_names_it_and_what_is_there")
class Terse(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        try:
            return super()._open(path)
        except SourceNotFoundError:
            raise SourceNotFoundError(f"{self} is not there.") from None


@found_by("test_a_missing_bucket_is_an_error_that_names_it_and_the_fix")
class EmptyForNothing(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        return super()._open(path) if self.folder.is_dir() else pl.LazyFrame()


@found_by("test_a_damaged_file_is_an_error_that_names_it_and_the_fix")
class Raw(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        try:
            return super()._open(path)
        except UnreadableError:
            raise pl.exceptions.ComputeError("out of spec") from None


@found_by("test_declared_columns_are_checked_before_anything_is_computed")
class Undeclared(LocalSource):
    def scan(self) -> pl.LazyFrame:
        return self._open(self.filled_path())


@found_by("test_declared_types_are_those_of_files_that_say_none")
class Infers(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        schema = self.schema or {}
        return LocalSource._open(replace(self, schema=None), path).cast({name: schema[name] for name in schema})


@found_by("test_a_check_that_is_false_is_an_error_with_the_rows")
class Unchecked(LocalSource):
    def scan(self) -> pl.LazyFrame:
        return LocalSource.scan(replace(self, checks=()))


@found_by("test_any_name_is_read_as_it_is")
class Unquotes(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        return super()._open(unquote(path))


@found_by("test_a_key_of_900_characters_is_read")
class ShortKeys(LocalSource):
    def _open(self, path: str) -> pl.LazyFrame:
        return super()._open(path[:255])


@found_by("test_a_path_that_leaves_the_bucket_is_an_error")
class Trusting(LocalSource):
    def _check(self) -> None:
        pass


@found_by("test_nothing_is_read_from_outside_its_bucket_and_its_path")
class Escapes(LocalSource):
    def _objects(self, path: str) -> list[tuple[str, int, str]]:
        return super()._objects(unquote(path))


# sinks


class WrongSink(LocalSink):
    """A sink that has something else published than it was given."""

    @property
    def target(self) -> Path:
        return self.folder / self.path

    def right(self, frame: pl.LazyFrame, schema: pl.Schema, path: str, **settings: Any) -> Source:
        return LocalSink._publish(replace(self, **settings), frame, schema, path)


@found_by("test_each_format_reads_back_with_its_types")
class DecimalsAreFloats(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        changed = frame.with_columns(pl.selectors.decimal().cast(pl.Float64))
        return super()._publish(changed, changed.collect_schema(), path)


@found_by("test_a_frame_without_rows_keeps_its_columns")
class NothingForNothing(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        if frame.collect().is_empty():
            return self.twin()
        return super()._publish(frame, schema, path)


@found_by("test_any_text_and_null_can_be_a_partition")
class DropsNulls(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        return super()._publish(frame.drop_nulls(self.partition_by), schema, path)


@found_by("test_several_columns_can_be_partitions")
class OneFileForEachFirstKey(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        return super()._publish(frame.unique(self.partition_by[0]), schema, path)


@found_by("test_the_twin_reads_what_was_written")
class OtherTwin(LocalSink):
    def twin(self) -> LocalSource:
        return replace(super().twin(), path=f"{self.path}/2")


@found_by("test_the_twin_knows_how_the_text_was_written")
class PlainTwin(LocalSink):
    @property
    def read_options(self) -> dict[str, Any]:
        return {}


@found_by("test_a_path_with_fields_writes_to_the_place_of_its_run")
class SamePlace(LocalSink):
    def filled_path(self) -> str:
        return "always.parquet"


@found_by("test_a_frame_may_read_what_it_replaces")
class RefusesItsReaders(WrongSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        if self.target.exists() and "SCAN" in frame.explain():
            raise SinkExistsError(str(self))
        return super()._publish(frame, schema, path)


@found_by("test_a_sink_travels_to_another_process")
class Moves(LocalSink):
    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "base_path": f"{self.base_path}-elsewhere"}


@found_by("test_overwriting_replaces_all_of_the_old_data")
class Appends(WrongSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        old = [self.twin().scan()] if self.twin().exists() else []
        return super()._publish(pl.concat([*old, frame], how="vertical_relaxed"), schema, path)


@found_by("test_mode_error_refuses_where_data_is_before_it_computes")
class ComputesFirst(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        return super()._publish(frame.collect().lazy(), schema, path)


@found_by("test_a_rerun_of_a_node_replaces_what_it_wrote_itself_and_no_other_node_does")
class NotItsOwn(LocalSink):
    def _is_own(self, target: Path, token: str) -> bool:
        return False


@found_by("test_a_file_and_a_dataset_do_not_replace_each_other")
class AllowsAll(LocalSink):
    def _allow(self, target: Path, token: str) -> None:
        pass


@found_by("test_of_writers_that_race_each_publishes_whole_and_with_mode_error_one_wins")
class LooksAndThenWrites(WrongSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        if self.mode == "error" and self.target.exists():
            raise SinkExistsError(str(self))
        time.sleep(0.1)
        return self.right(frame, schema, path, mode="overwrite")


@found_by("test_readers_see_the_old_data_or_the_new_and_never_half")
class RemovesFirst(WrongSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        if self.target.is_file():
            self.target.unlink()
            threading.Event().wait(0.1)
        return super()._publish(frame, schema, path)


class ReadsAll(LocalSource):
    @property
    def tree(self) -> DiskTree:
        class Tree(DiskTree):
            def dataset(self, folder: str) -> None:
                return None

            def visible(self, folder: str, deep: bool, also: str = "") -> list[tuple[str, bool]]:
                return [each for each in self.entries(folder, deep) if each[1] or each[0].endswith(".parquet")]

        return Tree(self.folder)


@found_by("test_what_others_put_into_a_dataset_is_not_read")
class WithoutManifest(LocalSink):
    def twin(self) -> LocalSource:
        twin = super().twin()
        return ReadsAll(**{each.name: getattr(twin, each.name) for each in fields(twin)})


@found_by("test_a_failed_check_publishes_nothing_and_leaves_nothing")
class ChecksAfterwards(WrongSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        written = self.right(frame, schema, path, checks=())
        check_rows(written.scan(), self.checks, str(self))
        return written


@found_by("test_a_failed_query_publishes_nothing_and_leaves_nothing")
class LeavesItsStaging(WrongSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        staging = self.folder / "staging"
        staging.touch()
        written = super()._publish(frame, schema, path)
        staging.unlink()
        return written


@found_by("test_a_frame_without_the_declared_columns_is_refused_before_it_is_computed")
class AnyColumns(LocalSink):
    def write(self, frame: Any) -> Source:
        return LocalSink.write(replace(self, schema=None), frame)


@found_by("test_a_missing_bucket_is_made_or_is_an_error_that_names_it_and_the_fix")
class NeedsItsBucket(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        if not self.folder.is_dir():
            raise SourceNotFoundError("no such folder")
        return super()._publish(frame, schema, path)


@found_by("test_what_was_staged_is_gone_when_it_is_published")
class KeepsACopy(WrongSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        written = super()._publish(frame, schema, path)
        (self.folder / ".glacier").mkdir(exist_ok=True)
        (self.folder / ".glacier" / str(time.monotonic_ns())).touch()
        return written


@found_by("test_any_name_is_written_as_it_is")
class Quotes(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        return super()._publish(frame, schema, quote(path))


@found_by("test_any_name_can_be_that_of_a_dataset")
class QuotesFolders(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        return super()._publish(frame, schema, quote(path) if self.partition_by else path)


@found_by("test_a_key_of_900_characters_is_written")
class ShortensKeys(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        return super()._publish(frame, schema, path[-255:].lstrip("/"))


@found_by("test_a_path_that_is_no_place_in_the_bucket_is_an_error")
class TakesAnyPath(LocalSink):
    def _check(self) -> None:
        object.__setattr__(self, "partition_by", ())


@found_by("test_nothing_is_written_outside_its_bucket")
class WritesOutside(LocalSink):
    def _publish(self, frame: pl.LazyFrame, schema: pl.Schema, path: str) -> Source:
        return super()._publish(frame, schema, os.path.normpath(unquote(path)))


@found_by("test_a_mode_that_does_not_exist_is_an_error_that_says_the_nearest")
class AnyMode(LocalSink):
    def _check(self) -> None:
        object.__setattr__(self, "mode", self.mode if self.mode in MODES else "overwrite")
        super()._check()


@pytest.mark.parametrize("test", MUTANTS)
def test_a_provider_that_breaks_a_promise_is_found_by_its_test(test: str, tmp_path: Path) -> None:
    keep(test, LocalProvider(base_path=tmp_path / "right"), tmp_path / "right")
    with pytest.raises(FOUND):
        keep(test, MUTANTS[test](base_path=tmp_path / "wrong"), tmp_path / "wrong")


def test_each_promise_has_a_provider_that_breaks_it() -> None:
    each = [[name for name in dir(kind) if name.startswith("test_")] for kind in Contracts.__bases__]
    assert sorted(itertools.chain(*each)) == sorted(MUTANTS)  # so no two have one name, which would hide one of them
