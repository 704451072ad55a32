"""What every provider promises."""

from __future__ import annotations

import builtins
import importlib
import pickle
import socket
import sys
from dataclasses import fields, replace
from typing import Any, NoReturn

import polars as pl
import pytest

from glacier_prefect.errors import OptionError, PathError, SourceNotFoundError
from glacier_prefect.providers import Provider
from glacier_prefect.testing.store import Contract, Store, rows

FRAME = pl.DataFrame({"v": [1, 2]})


class ProviderContract(Contract):
    """What every provider promises; a subclass gives the fixture `store`, and each test is a sentence of it."""

    def test_making_it_and_its_locations_imports_no_sdk_and_makes_no_call(
        self, store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        provider = store.provider
        own = {"glacier_prefect", "polars", type(provider).__module__.partition(".")[0], *sys.stdlib_module_names}
        imported: list[str] = []
        by_statement, by_name = builtins.__import__, importlib.import_module

        def statement(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
            imported.extend([name] if not level else [])
            return by_statement(name, globals, locals, fromlist, level)

        def named(name: str, package: str | None = None) -> Any:
            imported.append(name)
            return by_name(name, package)

        def call(*_: Any, **__: Any) -> NoReturn:
            raise AssertionError("a call was made")

        with monkeypatch.context() as patch:
            patch.setattr(builtins, "__import__", statement)
            patch.setattr(importlib, "import_module", named)
            for function in ("connect", "connect_ex"):
                patch.setattr(socket.socket, function, call)
            patch.setattr(socket, "getaddrinfo", call)
            made = type(provider)(**{each.name: getattr(provider, each.name) for each in fields(provider)})
            for location in (made.bucket_source(bucket, "x/*.parquet"), made.bucket_sink(bucket, "x/a.parquet")):
                location.metadata(), repr(location), str(location)
            type(provider).from_env()
        assert [name for name in imported if name.partition(".")[0] not in own] == []
        assert made == provider
        assert store.keys(bucket) == []

    def test_metadata_says_what_a_location_is(self, store: Store, bucket: str) -> None:
        for location in (
            store.provider.bucket_source(bucket, "x/a.csv"),
            store.provider.bucket_sink(bucket, "x/a", format="csv", partition_by="k"),
        ):
            said = location.metadata()
            known = {"provider": location.provider_name, "bucket": bucket, "path": location.path, "format": "csv"}
            assert {name: said[name] for name in known} == known
            assert "://" in said["uri"]
            assert bucket in said["uri"]
            assert said["uri"].endswith(location.path)

    def test_each_setting_comes_from_its_variables_and_the_first_counts(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kind = type(store.provider)
        assert set(kind.variables) <= set(kind.settings())
        for setting, names in kind.variables.items():
            known = self._a_value_of(store.provider, setting)
            for place, name in enumerate(names):
                with monkeypatch.context() as patch:
                    for before in names[:place]:
                        patch.delenv(before, raising=False)
                    patch.setenv(name, known)
                    for after in names[place + 1 :]:
                        patch.setenv(after, "https://other.example.com")
                    assert getattr(kind.from_env(), setting) == known, name

    def test_what_is_passed_beats_variables(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = type(store.provider)
        for setting, names in kind.variables.items():
            with monkeypatch.context() as patch:
                for name in names:
                    patch.setenv(name, "https://other.example.com")
                known = self._a_value_of(store.provider, setting)
                assert getattr(kind.from_env(**{setting: known}), setting) == known

    def test_a_misspelt_setting_is_an_error_that_says_the_nearest(self, store: Store) -> None:
        with pytest.raises(OptionError, match=r"'bucket_prefiks'.*Did you mean 'bucket_prefix'"):
            type(store.provider).from_env(bucket_prefiks="x")

    def test_it_and_its_locations_travel_to_another_process(self, store: Store, bucket: str) -> None:
        provider: Provider = pickle.loads(pickle.dumps(store.provider))
        assert provider == store.provider
        assert hash(provider) == hash(store.provider)
        pickle.loads(pickle.dumps(provider.bucket_sink(bucket, "a.parquet"))).write(FRAME)
        assert rows(pickle.loads(pickle.dumps(store.provider.bucket_source(bucket, "a.parquet")))).equals(FRAME)

    def test_its_secrets_are_in_nothing_that_is_shown_or_travels(self, store: Store, bucket: str) -> None:
        provider = store.provider
        sink = provider.bucket_sink(bucket, "a.parquet")
        source = sink.write(FRAME)
        rows(source)  # whatever they keep, they have it now
        errors = []
        for missing in (provider.bucket_source(bucket, "b.parquet"), provider.bucket_source(f"{bucket}x", "b.parquet")):
            with pytest.raises(SourceNotFoundError) as caught:
                missing.scan()
            errors.append(caught.value)
        shown = [
            f"{each!r} {each}".encode() for each in (provider, sink, source, source.metadata(), *errors, source.uri)
        ]
        shown += [pickle.dumps(each) for each in (provider, sink, source)]
        shown += [repr((provider.storage(bucket), provider.block_of_credentials(), provider.work_pool())).encode()]
        assert not [each for each in shown if any(secret.encode() in each for secret in store.secrets)]

    def test_the_prefix_stands_before_the_name_of_each_bucket(self, store: Store) -> None:
        bucket = store.new_bucket("acme-")
        prefixed = replace(store.provider, bucket_prefix="acme-")
        assert rows(prefixed.bucket_sink(bucket, "x/a.parquet").write(FRAME)).equals(FRAME)
        prefixed.bucket_sink(bucket, "x/ds", partition_by="v").write(FRAME)
        assert "x/a.parquet" in store.keys(f"acme-{bucket}")
        plain = replace(store.provider, bucket_prefix="")
        assert rows(plain.bucket_source(f"acme-{bucket}", "x/ds")).equals(FRAME)
        assert rows(prefixed.bucket_source(bucket, "x/a.parquet")).equals(FRAME)

    @pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/a", "a\\b", "a\0", ".hidden"])
    def test_a_bucket_is_one_name_and_nothing_else(self, store: Store, name: str) -> None:
        for make in (store.provider.bucket_source, store.provider.bucket_sink):
            with pytest.raises(PathError, match="is not a name"):
                make(name, "a.parquet")
        if "/" in name or "\\" in name:
            with pytest.raises(PathError, match="bucket_prefix"):
                replace(store.provider, bucket_prefix=name).bucket_source("b", "a.parquet")

    def test_its_work_pools_are_those_that_it_lists(self, store: Store) -> None:
        provider = store.provider
        assert provider.work_pool().type == provider.work_pools[0]
        for type in provider.work_pools:
            assert provider.work_pool(type).type == type
        with pytest.raises(OptionError, match="no work pool 'no-such-pool'"):
            provider.work_pool("no-such-pool")

    def test_the_block_of_a_bucket_names_it_with_its_prefix_and_the_folder(self, store: Store, bucket: str) -> None:
        block = replace(store.provider, bucket_prefix="acme-").storage(bucket, "some/folder")
        if block is None:
            pytest.skip("the provider has no Prefect block for its buckets")
        assert f"acme-{bucket}" in repr(block)
        assert "some/folder" in repr(block)

    @staticmethod
    def _a_value_of(provider: Provider, setting: str) -> str:
        """Return a text that a setting may have: the one that it has, or one that is good as a name and address."""
        return getattr(provider, setting) or "https://some.example.com"
