"""The contracts of providers, sources and sinks, kept by the four providers and by the example of a fifth."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from glacier_prefect import testing
from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.providers import LocalProvider
from glacier_prefect.testing import ProviderContract, SinkContract, SourceContract, Store
from tests.clouds.provided import provider_of, variables


class TestLocalProvider(ProviderContract, SourceContract, SinkContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store.on_disk(LocalProvider(base_path=tmp_path), lambda bucket: tmp_path / bucket)


class OnEmulator(ProviderContract, SourceContract, SinkContract):
    def given(self, cloud: S3 | Azure | GCS, patch: pytest.MonkeyPatch, *secrets: str) -> Store:
        for name, value in variables(cloud).items():
            patch.setenv(name, value)
        return Store.by_obstore(provider_of(cloud), cloud.store, cloud.make_bucket, secrets=secrets)


class TestAWSProvider(OnEmulator):
    @pytest.fixture
    def store(self, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Store:
        return self.given(s3, monkeypatch, s3.secret_access_key)


class TestAzureProvider(OnEmulator):
    @pytest.fixture
    def store(self, azure: Azure, monkeypatch: pytest.MonkeyPatch) -> Store:
        return self.given(azure, monkeypatch, azure.account_key, azure.account_key.replace("+", "%2B"))


class TestGCPProvider(OnEmulator):
    @pytest.fixture
    def store(self, gcs: GCS, monkeypatch: pytest.MonkeyPatch) -> Store:
        key = str(gcs.service_account["private_key"])
        return self.given(gcs, monkeypatch, key, *key.splitlines()[1:-1])


def test_without_pytest_the_import_says_which_extra_to_install() -> None:
    code = "import sys; sys.modules['pytest'] = None; import glacier_prefect.providers; import glacier_prefect.testing"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "NotAvailableError: pytest is not installed" in ended.stderr
    assert "pip install 'glacier-prefect[testing]'" in ended.stderr


def test_the_example_of_a_fifth_provider_keeps_them_too(tmp_path: Path) -> None:
    assert testing.__doc__
    lines = testing.__doc__.splitlines()
    example = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ") or not line))
    (tmp_path / "test_fifth.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "test_fifth.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout
    promises = {name for each in TestLocalProvider.__mro__ for name in vars(each) if name.startswith("test_")}
    assert int(re.findall(r"(\d+) passed", ended.stdout)[0]) > len(promises)
