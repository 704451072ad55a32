"""Previews on the disk; `tests/clouds/test_previews.py` has them in the clouds."""

from __future__ import annotations

from pathlib import Path

import pytest

from glacier_prefect.providers import LocalProvider
from glacier_prefect.testing.store import Store
from tests.previews import Place, PreviewCases


class TestOnDisk(PreviewCases):
    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
        base = tmp_path / "data"
        monkeypatch.setenv("GLACIER_PROVIDER", "local")
        monkeypatch.setenv("GLACIER_BASE_PATH", str(base))
        store = Store.on_disk(LocalProvider(base_path=base), lambda bucket: base / bucket)
        return Place(
            store=store, contents=lambda bucket: {key: (base / bucket / key).read_bytes() for key in store.keys(bucket)}
        )
