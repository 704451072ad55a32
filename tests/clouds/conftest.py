"""The three clouds as fixtures: emulators that this process starts when the first test asks for them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TypeVar

import pytest

from glacier_prefect.emulators import GCS, S3, Azure, Unavailable
from tests.clouds.proxy import Proxy

CACHE = Path(__file__).parents[2] / ".cache"
Cloud = S3 | Azure | GCS
E = TypeVar("E", S3, Azure, GCS)


def running(emulator: AbstractContextManager[E]) -> Iterator[E]:
    """Yield a started emulator; without it tests are skipped, but not where all of them are meant to run."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(emulator)
        except Unavailable as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield started


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    yield from running(S3.start())


@pytest.fixture(scope="session")
def azure() -> Iterator[Azure]:
    yield from running(Azure.start(installed_in=CACHE))


@pytest.fixture(scope="session")
def gcs() -> Iterator[GCS]:
    yield from running(GCS.start())


@pytest.fixture(scope="session", params=["s3", "azure", "gcs"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """Each of the three in turn."""
    found: Cloud = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    """A new bucket of `cloud`."""
    return new_bucket(cloud)


@pytest.fixture
def proxy(cloud: Cloud) -> Iterator[Proxy]:
    """A proxy in front of `cloud`; `cloud.at(proxy.port)` goes through it."""
    with Proxy(behind=cloud.port) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def make_bucket() -> Callable[[Cloud], str]:
    """Makes a new bucket of any of them."""
    return new_bucket


def new_bucket(cloud: Cloud) -> str:
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    cloud.make_bucket(name)
    return name
