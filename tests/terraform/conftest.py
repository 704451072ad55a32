"""Terraform with provider plugins, for tests that run it: see README.md beside this."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.terraform.mirror import Mirror, install
from tests.terraform.plugins import Terraform, running


@pytest.fixture(scope="session")
def mirrors() -> dict[str, Mirror]:
    """The mirrors of provider plugins, "older" and "newer"."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not on PATH")
    return install()


@pytest.fixture(scope="session")
def terraforms(mirrors: dict[str, Mirror]) -> Iterator[dict[str, Terraform]]:
    """Terraform with the older and with the newer version of each provider."""
    with running(mirrors) as found:
        yield found


@pytest.fixture(scope="module")
def stand_ins(mirrors: dict[str, Mirror]) -> Iterator[Mirror]:
    """The newer version of each provider, for all that runs Terraform in this process while tests of one file run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TF_CLI_CONFIG_FILE", str(mirrors["newer"].config))
        yield mirrors["newer"]
