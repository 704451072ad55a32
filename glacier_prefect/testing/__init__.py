"""Contracts of providers, sources, sinks and executors: tests of what each promises, for authors of others.

For a provider derive a class from three of them, give it a fixture `store`, and pytest runs them. Here a provider that
keeps a bucket in a folder `bucket=<name>`:

    from dataclasses import dataclass
    from pathlib import Path
    from typing import ClassVar

    import pytest
    from glacier_prefect.providers import LocalProvider
    from glacier_prefect.testing import ProviderContract, SinkContract, SourceContract, Store


    @dataclass(frozen=True, kw_only=True)
    class FolderProvider(LocalProvider):
        name: ClassVar[str] = "folders"

        def _source(self, **settings):
            return super()._source(**{**settings, "bucket_prefix": "bucket=" + settings["bucket_prefix"]})

        def _sink(self, **settings):
            return super()._sink(**{**settings, "bucket_prefix": "bucket=" + settings["bucket_prefix"]})

        def storage(self, bucket, folder=""):
            return None  # no block of Prefect reads this layout


    class TestFolderProvider(ProviderContract, SourceContract, SinkContract):
        @pytest.fixture
        def store(self, tmp_path):
            return Store.on_disk(FolderProvider(base_path=tmp_path), lambda bucket: tmp_path / f"bucket={bucket}")

For a store with a protocol that obstore speaks it is `Store.by_obstore`, for any other a `Store(...)` of three
functions.

For an executor derive a class from `ExecutorContract`, and from `FrameContract` and `ValueContract` if its bodies take
frames and values; the docstring of `glacier_prefect.testing.executor` has an example.

It needs pytest, as nothing else of Glacier does: `pip install 'glacier-prefect[testing]'`.
"""

from __future__ import annotations

from glacier_prefect.errors import NotAvailableError

try:
    import pytest
except ModuleNotFoundError as error:
    if error.name != "pytest":
        raise
    raise NotAvailableError(
        "pytest is not installed, which glacier_prefect.testing needs.\nHint: pip install 'glacier-prefect[testing]'"
    ) from None

pytest.register_assert_rewrite(
    *(f"{__name__}.{each}" for each in ("executor", "provider", "served", "sink", "source", "store"))
)

# Only now (so not at the top, E402): a failing assertion shows its values if pytest knows of the module beforehand.
from glacier_prefect.testing.executor import ExecutorContract, FrameContract, ValueContract  # noqa: E402
from glacier_prefect.testing.provider import ProviderContract  # noqa: E402
from glacier_prefect.testing.served import Bodies  # noqa: E402
from glacier_prefect.testing.sink import SinkContract  # noqa: E402
from glacier_prefect.testing.source import SourceContract  # noqa: E402
from glacier_prefect.testing.store import Store  # noqa: E402

__all__ = [
    "Bodies",
    "ExecutorContract",
    "FrameContract",
    "ProviderContract",
    "SinkContract",
    "SourceContract",
    "Store",
    "ValueContract",
]
