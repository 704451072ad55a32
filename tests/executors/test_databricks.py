"""The Databricks executor against an emulated workspace, whose runs are real processes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from glacier_prefect import DatabricksExecutor, pipeline, run_context, task
from glacier_prefect.emulators import S3
from glacier_prefect.errors import ArgumentsError, ConfigurationError, OptionError, RemoteFailed, RemoteUnreachable
from glacier_prefect.executors import Body, BucketPlace, FolderPlace, databricks_workspace, parcel
from glacier_prefect.executors.databricks_volume import VolumePlace
from glacier_prefect.modules import merge
from glacier_prefect.providers import AWSProvider
from glacier_prefect.run_context import RunContext
from glacier_prefect.sources.cloud import CloudLocation
from glacier_prefect.sources.shared import Shared
from glacier_prefect.testing import Bodies, ExecutorContract, FrameContract, ValueContract
from tests.executors.databricks_emulator import CUT, UNHEARD, USER, Databricks, Ending, Fault, usable
from tests.executors.test_executor_contracts import bodies_of
from tests.server.conftest import Project, eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not usable(), reason="needs Linux, where a process can have a disk of its own"),
]
VOLUME = "/Volumes/main/default/exchange"


@pytest.fixture(scope="module")
def databricks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databricks]:
    emulator = Databricks(tmp_path_factory.mktemp("databricks"))
    yield emulator
    emulator.close()


class TestDatabricksExecutor(ExecutorContract, FrameContract, ValueContract):
    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, server: str) -> str:
        return server

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, databricks: Databricks) -> Bodies:
        marks = databricks.volumes / "main/default/exchange/marks"
        marks.mkdir()
        return bodies_of(
            marks,
            f"DatabricksExecutor(volume={VOLUME!r}, poll_seconds=1)",
            "from glacier_prefect import DatabricksExecutor",
            f"{VOLUME}/marks",
            DATABRICKS_HOST=databricks.url,
            DATABRICKS_TOKEN=databricks.new_token(),
        )


# -- the disk, packages and Spark there --------------------------------------------------------------------------------


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


def on(**settings: Any) -> DatabricksExecutor:
    return DatabricksExecutor(**{"volume": VOLUME, "poll_seconds": 0.3, **settings})


def run_of(function: Any, *arguments: Any, executor: DatabricksExecutor | None = None, **options: Any) -> Any:
    """Run a function as the one task of a pipeline."""
    body = task(executor=executor or on(), **options)(function)

    @pipeline(name="alone")
    def alone() -> Any:
        return body(*arguments)

    return alone.run()


def one() -> int:
    return 1


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
NEW_CLUSTER = {"spark_version": "16.4.x-scala2.12", "node_type_id": "i3.xlarge", "num_workers": 0}


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


# -- credentials -------------------------------------------------------------------------------------------------------


def test_credentials_come_from_a_stored_block(workspace: Databricks, project: Project) -> None:
    workspace.clients["a-client"] = "a-client-secret"
    host = f"databricks_instance={workspace.url!r}"
    project.write(
        "flow.py",
        f"""
        from glacier_prefect import DatabricksExecutor, pipeline, task
        from prefect_databricks import DatabricksCredentials

        @task(executor=DatabricksExecutor(volume={VOLUME!r}, credentials_block="by-token"))
        def one():
            return 1

        @task(executor=DatabricksExecutor(volume={VOLUME!r}, credentials_block="by-client"))
        def two(before):
            return before + 1

        @pipeline
        def both():
            return two(one())

        if __name__ == "__main__":
            DatabricksCredentials({host}, token={workspace.new_token()!r}).save("by-token")
            client = dict(client_id="a-client", client_secret="a-client-secret")
            DatabricksCredentials({host}, **client).save("by-client")
            print("made", both.run())
        """,
    )
    done = project.run("flow.py", DATABRICKS_HOST=None, DATABRICKS_TOKEN=None)
    assert "made 2" in done.stdout


def test_without_credentials_the_error_says_which_there_can_be(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(ConfigurationError, match=r"task 'one' has no credentials: .*\n.*DATABRICKS_HOST with"):
        run_of(one)


def test_tokens_of_a_service_principal_are_renewed_while_a_run_goes_on(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits() -> int:
        import time

        time.sleep(3)
        return 1

    workspace.clients["b-client"] = "b-client-secret"
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "b-client")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", "b-client-secret")
    monkeypatch.setattr(workspace, "lifetime", 1.5)
    before = len(workspace.tokens)
    workspace.faults.append(Fault(path="/oidc/v1/token", status=503))
    assert run_of(waits) == 1
    assert len(workspace.tokens) - before >= 2


def test_a_token_that_ends_while_polling_is_an_error_and_a_retry_takes_the_run_up(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(file: str) -> int:
        import os
        import time

        while not os.path.exists(file):
            time.sleep(0.1)
        return 1

    def end_token() -> None:
        eventually(lambda: ("GET", "jobs/runs/get", None) in workspace.calls, "a look at the run")
        workspace.tokens[token] = 0.0

    token = workspace.new_token()
    monkeypatch.setenv("DATABRICKS_TOKEN", token)
    ending = threading.Thread(target=end_token)
    ending.start()
    before = len(workspace.runs)
    errors: list[str] = []

    def again(task: Any, task_run: Any, state: Any) -> bool:
        errors.append(state.message)
        monkeypatch.setenv("DATABRICKS_TOKEN", workspace.new_token())
        (workspace.volumes / "main/default/exchange/go").touch()
        return True

    assert run_of(waits, f"{VOLUME}/go", retries=1, retry_condition_fn=again) == 1
    ending.join()
    assert len(workspace.runs) == before + 1
    assert "jobs/runs/cancel" not in workspace.refused  # with good credentials it would have been done
    (said,) = errors
    assert re.search(r"Run \d+ \(\S+\) of task 'waits' on executor 'databricks': Databricks .* does not take", said)
    assert "does not take the credentials (pat): Invalid access token." in said
    assert "takes it up" in said


def test_a_token_that_is_replaced_in_a_profile_is_taken_while_a_run_goes_on(
    workspace: Databricks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def write_profile() -> str:
        token = workspace.new_token()
        (tmp_path / "profiles").write_text(f"[shop]\nhost = {workspace.url}\ntoken = {token}\n")
        return token

    def replace_token() -> None:
        eventually(lambda: ("GET", "jobs/runs/get", None) in workspace.calls, "a look at the run")
        write_profile()
        workspace.tokens[token] = 0.0

    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "profiles"))
    token = write_profile()
    replacing = threading.Thread(target=replace_token)
    replacing.start()
    assert run_of(lambda: __import__("time").sleep(3), executor=on(profile="shop"), name="waits") is None
    replacing.join()
    assert workspace.refused
    assert not workspace.called("jobs/runs/cancel")


def test_no_secret_is_in_what_is_left_behind_or_said(
    workspace: Databricks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    token, secret = workspace.new_token(), "c-client-secret"
    workspace.clients["c-client"] = secret

    def shows() -> None:
        raise ValueError("nothing to see")

    made = [caplog.text]
    monkeypatch.setenv("DATABRICKS_TOKEN", token)
    with pytest.raises(RemoteFailed) as raised:
        run_of(shows)
    made += [str(raised.value), repr(on())]
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", "c-client")
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", secret)
    with pytest.raises(RemoteFailed) as raised:
        run_of(shows)
    made += [str(raised.value), caplog.text]
    last = list(workspace.runs)[-2:]
    folders = [tmp_path, *(workspace.folder / f"driver-{workspace.runs[run].tasks[0].id}" for run in last)]
    folders += [
        workspace.volumes / workspace.runs[run].tasks[0].spec["spark_python_task"]["parameters"][0][9:] for run in last
    ]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) > 4
    for value in (token, secret, *workspace.tokens):
        assert not [text for text in made if value in text]
        assert not [file for file in files if value.encode() in file.read_bytes()]
        assert value not in json.dumps(workspace.calls)


def test_a_missing_package_names_the_task_the_executor_and_the_extra(tmp_path: Path) -> None:
    (tmp_path / "flow.py").write_text(
        "import sys\n"
        "sys.modules['databricks.sdk'] = None\n"
        "from glacier_prefect import pipeline, task\n"
        "@task(executor='databricks')\n"
        "def one(): return 1\n"
        "@pipeline\n"
        "def alone(): return one()\n"
        "alone.run()\n"
    )
    done = subprocess.run([sys.executable, "flow.py"], cwd=tmp_path, capture_output=True, text=True)
    said = "databricks.sdk is not installed, which the executor 'databricks' of task 'one' needs.\n"
    assert f"NotAvailableError: {said}Hint: pip install 'glacier-prefect[databricks]'" in done.stderr


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "faults",
    [
        {"jobs/runs/submit": [429, 503], "jobs/runs/get$": [429, 503, 500, 502], "fs/files/": [503]},
        {"jobs/runs/submit": [CUT, CUT], "jobs/runs/get$": [CUT, CUT], "fs/files/.*result": [CUT]},
        {"workspace/import": [UNHEARD], "jobs/runs/submit": [UNHEARD, UNHEARD], "fs/directories": [UNHEARD]},
    ],
    ids=["it refuses", "the connection is cut before the call", "the answer is lost"],
)
def test_a_run_outlives_faults_and_is_one_run(
    workspace: Databricks, faults: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databricks_workspace, "_connected", {})  # which knows that its file is in the workspace
    shutil.rmtree(workspace.workspace / "Users" / USER / ".glacier", ignore_errors=True)
    workspace.faults += [Fault(path=path, status=status) for path, each in faults.items() for status in each]
    before = len(workspace.runs)
    assert run_of(one) == 1
    assert len(workspace.runs) == before + 1


def test_databricks_is_left_alone_for_as_long_as_it_asks_for(workspace: Databricks) -> None:
    fault = Fault(path="jobs/runs/get$", status=429, times=2, retry_after=2)
    workspace.faults.append(fault)
    assert run_of(one) == 1
    assert fault.hit[1] - fault.hit[0] >= 2


def test_patience_ends_with_an_error_that_names_the_run_and_leaves_it(workspace: Databricks) -> None:
    fault = Fault(path="jobs/runs/get$", status=503, times=100)
    workspace.faults.append(fault)
    with pytest.raises(
        RemoteUnreachable, match=r"Run \d+ of task 'one' on executor 'databricks': .* did not answer for"
    ):
        run_of(one, executor=on(patience_seconds=2))
    fault.times = 0
    assert not workspace.called("jobs/runs/cancel")


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        (
            Ending(result="FAILED", code="DRIVER_ERROR", message="driver gone"),
            "failed: FAILED, DRIVER_ERROR: driver gone",
        ),
        (Ending(result="TIMEDOUT", code="RUN_EXECUTION_TIMEOUT"), "failed: TIMEDOUT, RUN_EXECUTION_TIMEOUT"),
        (Ending(result="CANCELED", code="USER_CANCELED", message="by ann"), "was cancelled there: .*: by ann"),
        (Ending(result="UPSTREAM_CANCELED"), "was cancelled there: UPSTREAM_CANCELED"),
        (Ending(result="UPSTREAM_FAILED"), "failed: UPSTREAM_FAILED"),
        (Ending(result="EXCLUDED"), "failed: EXCLUDED"),
        (Ending(result="DISABLED"), "failed: DISABLED"),
        (Ending(result="A_NEW_WORD"), "failed: A_NEW_WORD"),
        (Ending(), "failed: TERMINATED"),
        (Ending(life="SKIPPED", message="it was off"), "failed: SKIPPED: it was off"),
        (Ending(life="INTERNAL_ERROR", result="FAILED", code="CLOUD_FAILURE"), "INTERNAL_ERROR, FAILED, CLOUD_FAILURE"),
        (Ending(result="SUCCESS", code="SUCCESS"), "it has put no result into its folder"),
    ],
    ids=lambda value: value.result or value.life if isinstance(value, Ending) else "",
)
def test_each_way_to_end_is_told_with_the_run_and_its_page(workspace: Databricks, ending: Ending, message: str) -> None:
    workspace.endings.append(ending)
    with pytest.raises(RemoteFailed, match=message) as raised:
        run_of(one)
    assert re.search(r"Run \d+ \(http://\S+/run/\d+\) of task 'one' on executor 'databricks'", str(raised.value))


def test_a_job_that_runs_as_often_as_it_may_is_an_error_that_says_so(workspace: Databricks) -> None:
    workspace.notebook("/Shared/long", "import time; time.sleep(60)")
    notebook = {"task_key": "first", "notebook_task": {"notebook_path": "/Shared/long"}}
    workspace.jobs[11] = {"name": "long", "tasks": [notebook]}
    running = workspace.run_now({"job_id": 11})["run_id"]

    def nothing() -> None: ...

    with pytest.raises(RemoteFailed, match="SKIPPED, MAXIMUM_CONCURRENT_RUNS_REACHED"):
        run_of(nothing, executor=on(job_id=11))
    workspace.cancel({"run_id": running})


def test_a_run_that_was_submitted_is_found_by_its_token_among_many(workspace: Databricks) -> None:
    executor = on()
    workspace.notebook("/Shared/long", "import time; time.sleep(60)")
    body = {"tasks": [{"task_key": "a", "notebook_task": {"notebook_path": "/Shared/long"}}]}
    first = workspace.submit({**body, "run_name": "it token-1"})["run_id"]
    others = [workspace.submit({**body, "run_name": f"other {number}"})["run_id"] for number in range(30)]
    try:
        assert executor.find("token-1") == str(first)
        assert executor.find("token-2") is None
    finally:
        for run in (first, *others):
            workspace.cancel({"run_id": run})


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
