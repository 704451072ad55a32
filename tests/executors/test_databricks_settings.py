"""Settings of the Databricks executor and what follows from them; what may be a task on it."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest

from glacier_prefect import DatabricksExecutor, task
from glacier_prefect.errors import ArgumentsError, OptionError
from glacier_prefect.modules import merge
from tests.executors.databricks_emulator import Databricks
from tests.executors.databricks_runs import NEW_CLUSTER, VOLUME, needs_disk, on, run_of

pytestmark = [pytest.mark.slow, needs_disk]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cluster_id": "a", "new_cluster": NEW_CLUSTER}, "cluster_id and new_cluster; expected one of them"),
        ({"cluster_id": "a", "environment_version": "2"}, "cluster_id and environment_version"),
        ({"job_id": 1, "notebook_path": "/a"}, "job_id and notebook_path"),
        ({"job_id": 1, "libraries": ["a"]}, "job_id and libraries"),
        ({"profile": "a", "credentials_block": "b"}, "profile and credentials_block"),
        ({"libraries": [{"maven": {}}]}, "needs cluster_id or new_cluster"),
        ({"libraries": "a"}, "libraries='a'; expected a list"),
        ({"notebook_path": "/a", "libraries": ["a"]}, "a notebook on serverless"),
        ({"notebook_path": "a"}, "notebook_path='a'; expected an absolute path"),
        ({"volume": "/Volumes/main"}, "volume='/Volumes/main'; expected '/Volumes/catalog/schema/volume'"),
        ({"new_cluster": "a"}, "new_cluster='a'; expected a dict"),
        ({"job_id": "1"}, "job_id='1'; expected a number"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_errors_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        DatabricksExecutor(**settings)


def test_what_code_says_of_where_it_runs_replaces_what_the_environment_says() -> None:
    settings = {"cluster_id": "a", "libraries": ["b"], "volume": VOLUME, "profile": "c"}
    made = DatabricksExecutor(job_id=5).completed(settings)
    assert (made.job_id, made.cluster_id, made.libraries, made.profile) == (5, None, (), "c")
    made = DatabricksExecutor(new_cluster=NEW_CLUSTER).completed(settings)
    assert (made.cluster_id, made.libraries, made.volume) == (None, ["b"], VOLUME)
    assert DatabricksExecutor(notebook_path="/a").completed(settings).cluster_id == "a"
    assert DatabricksExecutor(credentials_block="d").completed(settings).profile is None


def test_a_body_that_would_be_ignored_is_an_error_at_the_decorator() -> None:
    def text() -> Any:
        return "monday"

    def frame() -> pl.LazyFrame:
        return pl.LazyFrame()

    def session(spark: Any) -> None: ...

    def rows() -> Any:
        yield 1

    def untyped(spark):
        return {}

    for function, message in (
        (text, "returns 'monday', which executor 'databricks' with job_id would ignore"),
        (frame, "LazyFrame, which executor 'databricks' with job_id would ignore"),
        (untyped, "has the parameter 'spark' of Spark"),
    ):
        with pytest.raises(OptionError, match=message):
            task(executor=on(job_id=1))(function)
    task(executor=on(job_id=1))(session)
    with pytest.raises(OptionError, match="task 'rows' is a generator"):
        task(executor=on())(rows)


def test_parameters_that_are_no_texts_are_errors_that_name_them(workspace: Databricks) -> None:
    def frame() -> Any:
        return {"frame": pl.LazyFrame()}

    def a_list() -> Any:
        return ["a"]

    with pytest.raises(
        ArgumentsError, match=r"Task 'frame' on executor 'databricks' returned the parameter 'frame' .*\n.*\n?.*sink"
    ):
        run_of(frame, executor=on(job_id=1))
    with pytest.raises(ArgumentsError, match=r"Task 'a_list' returned list; with executor 'databricks'"):
        run_of(a_list, executor=on(job_id=1))


def test_the_modules_that_it_needs_follow_from_its_settings() -> None:
    def needed(**settings: Any) -> dict[str, Any]:
        return {call.source: dict(call.inputs) for call in DatabricksExecutor(**settings).modules()}

    policy, exchange = "databricks/job_policy", "databricks/exchange"
    assert needed() == {policy: {}}
    assert needed(cluster_id="a", volume=VOLUME) == {policy: {"cluster_id": "a"}, exchange: {"volume": VOLUME}}
    secret = {"spark_env_vars": {"PASSWORD": "abc"}}
    assert "abc" not in repr(DatabricksExecutor(new_cluster=secret))
    assert needed(new_cluster={**NEW_CLUSTER, **secret}) == {policy: {"new_cluster": NEW_CLUSTER}}
    assert needed(job_id=3, volume=VOLUME) == {policy: {"job_id": 3}}
    different = (
        on(),
        on(cluster_id="a"),
        on(cluster_id="b"),
        on(job_id=1),
        on(new_cluster=NEW_CLUSTER),
        on(poll_seconds=2),
    )
    assert len(merge(call for each in different for call in each.modules())) == 6
