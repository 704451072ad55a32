"""The Prefect server of the run, for the contracts of executors, a bucket, an emulated Databricks, servers of Spark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.executors.databricks_emulator import Databricks
from tests.server.conftest import api, forks, make_bucket, offline, project, s3, server, wait_until

__all__ = ["api", "forks", "make_bucket", "offline", "project", "s3", "server", "wait_until"]


@pytest.fixture(scope="module")
def databricks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databricks]:
    """A workspace of Databricks."""
    emulator = Databricks(tmp_path_factory.mktemp("databricks"))
    yield emulator
    emulator.close()


@pytest.fixture
def workspace(databricks: Databricks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Databricks]:
    """The workspace with credentials in the environment, and with nothing wrong in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABRICKS_HOST", databricks.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", databricks.new_token())
    databricks.calls.clear()
    databricks.refused.clear()
    yield databricks
    assert not [each for each in databricks.faults if each.times], "a fault that did not come about"
    databricks.faults.clear()
    databricks.endings.clear()


@pytest.fixture(scope="module")
def brief_java() -> Iterator[None]:
    """Have each JVM start fast, and not optimize what it runs once."""
    from tests.executors import spark_servers  # which takes a while

    options = spark_servers.brief_options()
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("SPARK_SUBMIT_OPTS", "SPARK_DAEMON_JAVA_OPTS"):
            patch.setenv(variable, options)
        yield


@pytest.fixture(scope="module")
def connect(connect_server: tuple[str, Callable[[], None]]) -> str:
    """The address of a Spark Connect server."""
    return connect_server[0]


@pytest.fixture(scope="module")
def connect_server(
    brief_java: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The same, and what ends it."""
    from tests.executors import spark_servers

    with spark_servers.connect(tmp_path_factory.mktemp("connect")) as started:
        yield started


@pytest.fixture(scope="module")
def standalone(brief_java: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a standalone master with a worker, and what ends both."""
    from tests.executors import spark_servers

    with spark_servers.standalone(tmp_path_factory.mktemp("standalone")) as started:
        yield started
