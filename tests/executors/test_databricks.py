"""What Databricks gives to bodies: a disk, packages, Spark, compute, notebooks and jobs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect import pipeline, run_context, task
from glacier_prefect.emulators import S3
from glacier_prefect.errors import ConfigurationError, RemoteFailed
from glacier_prefect.executors import Body, BucketPlace, FolderPlace, parcel
from glacier_prefect.executors.base import DEPLOYED
from glacier_prefect.executors.databricks_volume import VolumePlace
from glacier_prefect.providers import AWSProvider
from glacier_prefect.run_context import RunContext
from glacier_prefect.sources.cloud import CloudLocation
from glacier_prefect.sources.shared import Shared
from tests.executors.databricks_emulator import USER, Databricks, Ending
from tests.executors.databricks_runs import NEW_CLUSTER, VOLUME, needs_disk, on, one, run_of

pytestmark = [pytest.mark.slow, needs_disk]

# -- the disk, packages and Spark there --------------------------------------------------------------------------------


def test_a_body_sees_nothing_of_the_callers_disk_modules_and_variables(
    workspace: Databricks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").touch()
    monkeypatch.setenv("ONLY_HERE", "1")
    repository = str(Path(__file__).parents[2])

    def look(paths: list[str]) -> dict[str, Any]:
        import importlib.util
        import os

        return {
            "paths": [path for path in paths if os.path.exists(path)],
            "modules": [name for name in ("glacier_prefect", "tests", "prefect") if importlib.util.find_spec(name)],
            "variables": [name for name in os.environ if name == "ONLY_HERE" or "TOKEN" in name],
            "folder": os.getcwd(),
        }

    found = run_of(look, [str(tmp_path / "here"), repository, VOLUME])
    assert found == {"paths": [VOLUME], "modules": [], "variables": [], "folder": "/databricks/driver"}


def test_a_package_that_is_missing_there_is_named_and_libraries_bring_it(workspace: Databricks) -> None:
    def wants() -> str:
        import humanize

        return str(humanize.__name__)

    with pytest.raises(RemoteFailed, match="No module named 'humanize'"):
        run_of(wants)
    assert run_of(wants, executor=on(libraries=["humanize"])) == "humanize"
    with pytest.raises(
        RemoteFailed, match=r"LIBRARY_INSTALLATION_ERROR: .* No matching distribution found for no-such"
    ):
        run_of(one, executor=on(libraries=["no-such-package"]))


def test_a_python_of_another_version_there_is_an_error_that_names_both(tmp_path: Path) -> None:
    parcel.send(FolderPlace(tmp_path), one, {})
    done = subprocess.run([sys.executable, parcel.ENTRY, str(tmp_path), "3.9"], capture_output=True)
    made = parcel.receive(FolderPlace(tmp_path))
    assert done.returncode == 1
    assert made is not None
    assert "pickled by Python 3.9 and cannot run on Python 3." in made.error


def test_spark_frames_and_the_session_are_given_where_the_function_asks_for_them(workspace: Databricks) -> None:
    @task
    def numbers() -> pl.LazyFrame:
        return pl.LazyFrame({"number": range(5)})

    @task(executor=on())
    def doubled(frame: DataFrame, plain: pl.LazyFrame, spark: SparkSession) -> DataFrame:  # noqa: F821  # names that only a type checker knows
        if plain.collect().height != 5:
            raise ValueError(plain)
        frame.createOrReplaceTempView("numbers")
        return spark.sql("select number, number * 2 as doubled, version() as version from numbers")

    @pipeline
    def mixed() -> Any:
        frame = numbers()
        return doubled(frame, frame)

    made = mixed.run().sort("number").collect()
    assert made["doubled"].to_list() == [0, 2, 4, 6, 8]
    assert made["version"][0].startswith(importlib.metadata.version("pyspark"))


# -- compute -----------------------------------------------------------------------------------------------------------

POLARS = f"polars=={importlib.metadata.version('polars')}"
CLOUDPICKLE = f"cloudpickle=={importlib.metadata.version('cloudpickle')}"


def test_serverless_gets_the_packages_of_here_as_dependencies(workspace: Databricks) -> None:
    executor = on(libraries=["humanize>=4", "/Volumes/main/default/exchange/a.whl"], environment_version="2")
    workspace.endings.append(Ending(result="FAILED"))
    with pytest.raises(RemoteFailed):
        run_of(one, executor=executor)
    (submitted,) = workspace.called("jobs/runs/submit")
    assert submitted["environments"] == [
        {
            "environment_key": "body",
            "spec": {"environment_version": "2", "dependencies": [POLARS, CLOUDPICKLE, *executor.libraries]},
        }
    ]
    assert submitted["timeout_seconds"] == 86_460
    (run,) = submitted["tasks"]
    assert run["environment_key"] == "body"
    assert run["spark_python_task"]["python_file"].startswith(f"/Workspace/Users/{USER}/.glacier/parcel_entry_")


def test_clusters_get_them_as_libraries(workspace: Databricks) -> None:
    jar = {"maven": {"coordinates": "org.jsoup:jsoup:1.7.2"}}
    libraries = [{"pypi": {"package": "polars"}}, {"pypi": {"package": CLOUDPICKLE}}, jar]
    assert run_of(one, executor=on(new_cluster=NEW_CLUSTER, libraries=["polars", jar])) == 1
    (run,) = workspace.called("jobs/runs/submit")[0]["tasks"]
    assert run["new_cluster"] == {**NEW_CLUSTER, "data_security_mode": "SINGLE_USER"}
    assert sorted(map(str, run["libraries"])) == sorted(map(str, libraries))
    assert run_of(one, executor=on(cluster_id=next(iter(workspace.clusters)))) == 1
    (run,) = workspace.called("jobs/runs/submit")[1]["tasks"]
    assert run["existing_cluster_id"] == next(iter(workspace.clusters))


def test_clusters_are_made_by_the_policy_that_was_deployed_for_them(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = NEW_CLUSTER | {"num_workers": 7}
    [(name, _), (other, _)] = (on(new_cluster=each).modules() for each in (NEW_CLUSTER, others))
    made = {"databricks": {"policies": {name.name: "ABC", other.name: "XYZ"}}}
    monkeypatch.setenv(DEPLOYED, json.dumps(made))
    for cluster, policy in ((NEW_CLUSTER, "ABC"), (others, "XYZ"), (NEW_CLUSTER | {"policy_id": "mine"}, "mine")):
        assert run_of(one, executor=on(new_cluster=cluster)) == 1
        (run,) = workspace.called("jobs/runs/submit")[-1]["tasks"]
        assert run["new_cluster"]["policy_id"] == policy


def test_a_cluster_that_does_not_start_says_why(workspace: Databricks) -> None:
    workspace.clusters["broken"] = "INSTANCE_UNREACHABLE (CLOUD_FAILURE)"
    with pytest.raises(RemoteFailed, match=r"INTERNAL_ERROR, FAILED, CLUSTER_ERROR: Cluster broken .*CLOUD_FAILURE"):
        run_of(one, executor=on(cluster_id="broken"))
    with pytest.raises(
        RemoteFailed, match=r"of task 'one' on executor 'databricks': Databricks .* Cluster no does not"
    ):
        run_of(one, executor=on(cluster_id="no"))


def test_a_run_without_a_way_for_its_frames_says_so(workspace: Databricks) -> None:
    with pytest.raises(ConfigurationError, match=r"Task 'one' on executor 'databricks' has no way .*\n.*volume="):
        run_of(one, executor=on(volume=None))
    with pytest.raises(RemoteFailed, match=r"Volume 'main.default.other' does not exist"):
        run_of(one, executor=on(volume="/Volumes/main/default/other"))


def test_without_a_volume_code_and_frames_travel_by_the_exchange_bucket(
    workspace: Databricks, s3: S3, make_bucket: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubled(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.with_columns(doubled=pl.col("number") * 2)

    monkeypatch.setattr(workspace, "env", s3.env)
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    location = AWSProvider.from_env().bucket_source(make_bucket(s3), "a.parquet")
    assert isinstance(location, CloudLocation)
    shared = Shared(location=location, folder=".glacier/exchange/p/1")
    given = {"frame": pl.LazyFrame({"number": [1, 2]})}
    with run_context.entered(RunContext(run_id="1", node="doubled", exchange=str(tmp_path), shared=shared)):
        made = on(volume=None).run(Body(function=doubled, inputs=given))
        assert made.collect()["doubled"].to_list() == [2, 4]
        assert not workspace.called("fs/files")
        for name in ("part-0.parquet", "part-1.parquet"):
            made.sink_parquet(tmp_path / name)
            shared.put(tmp_path / name, f"spark/{name}")
        (tmp_path / "_committed_1").write_text("{}")
        shared.put(tmp_path / "_committed_1", "spark/_committed_1")
        assert BucketPlace(shared).scan("spark/").collect().height == 4


def test_a_large_frame_goes_up_in_parts(workspace: Databricks, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(51 << 20))
    place = VolumePlace(on()._workspace(), VOLUME)
    place.put("large", file)
    assert [path for _, path, _ in workspace.calls].count("fs/create-upload-part-urls") == 6
    assert (workspace.volumes / "main/default/exchange/large").read_bytes() == file.read_bytes()
    assert place.read("large") == file.read_bytes()


def test_folders_of_long_ago_are_removed_from_the_volume(workspace: Databricks, tmp_path: Path) -> None:
    volume = workspace.volumes / "main" / "default" / tmp_path.name
    old, other = volume / "glacier" / "2020-01-01" / "token", volume / "glacier" / "mine"
    for folder in (old, other):
        folder.mkdir(parents=True)
        (folder / "a.parquet").touch()
    assert run_of(one, executor=on(volume=f"/Volumes/main/default/{tmp_path.name}")) == 1
    assert not old.parent.exists()
    assert len(list(volume.glob("glacier/*/glacier-*/result.parquet"))) == 1
    assert other.exists()


# -- notebooks and jobs ------------------------------------------------------------------------------------------------


def test_a_notebook_gets_what_the_function_returns_and_its_exit_value_comes_back(workspace: Databricks) -> None:
    workspace.notebook(
        "/Shared/report", "dbutils.notebook.exit(dbutils.widgets.get('day') + ' ' + dbutils.widgets.get('limit'))"
    )
    executor = on(notebook_path="/Shared/report")

    def report(limit: int) -> dict[str, Any]:
        return {"day": "2026-01-01", "limit": limit}

    assert run_of(report, 5, executor=executor) == "2026-01-01 5"
    assert run_of(report, 5, executor=on(notebook_path="/Shared/report", cluster_id=next(iter(workspace.clusters))))

    def nothing() -> None: ...

    with pytest.raises(RemoteFailed, match=r"InputWidgetNotDefined: No input widget named day") as raised:
        run_of(nothing, executor=executor)
    assert "In the remote run:\nTraceback" in str(raised.value)
    assert re.search(r"Run \d+ \(http://127.0.0.1:\d+/\?o=1#job/\d+/run/\d+\) of task 'nothing'", str(raised.value))


def test_a_job_runs_with_its_parameters_and_gives_the_values_of_its_notebooks(workspace: Databricks) -> None:
    workspace.notebook("/Shared/day", "dbutils.notebook.exit(dbutils.widgets.get('day'))")
    workspace.notebook("/Shared/fails", "raise ValueError('not this one')")

    def notebook(key: str, path: str = "day") -> dict[str, Any]:
        return {"task_key": key, "notebook_task": {"notebook_path": f"/Shared/{path}"}}

    day = [{"name": "day", "default": "none"}]
    workspace.jobs[7] = {"name": "nightly", "tasks": [notebook("first")], "parameters": day}
    workspace.jobs[8] = {"name": "both", "tasks": [notebook("first"), notebook("second")], "parameters": day}
    failing = [notebook("first", "fails"), {**notebook("second"), "depends_on": [{"task_key": "first"}]}]
    workspace.jobs[9] = {"name": "failing", "tasks": failing, "parameters": day}

    def given() -> dict[str, Any]:
        return {"day": "monday"}

    def nothing() -> None: ...

    assert run_of(given, executor=on(job_id=7)) == "monday"
    (called,) = workspace.called("jobs/run-now")
    assert called["idempotency_token"].startswith("glacier-")
    assert run_of(nothing, executor=on(job_id=8)) == {"first": "none", "second": "none"}
    with pytest.raises(RemoteFailed, match="FAILED, RUN_EXECUTION_ERROR: ValueError: not this one"):
        run_of(given, executor=on(job_id=9))
    with pytest.raises(RemoteFailed, match="Job 10 does not exist"):
        run_of(given, executor=on(job_id=10))
