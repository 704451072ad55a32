"""Spark: the contract on a real Spark Connect server, and what is different on local and standalone masters."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyspark
import pytest

from glacier_prefect import SparkExecutor, pipeline, task
from glacier_prefect.errors import ConfigurationError, NotAvailableError, OptionError, RemoteUnreachable, TravelError
from glacier_prefect.executors import spark_session
from glacier_prefect.executors.spark_frames import polars_parameters
from glacier_prefect.executors.spark_parameters import frame_parameters, session_parameters
from glacier_prefect.executors.spark_session import SparkError
from glacier_prefect.testing import Bodies, ExecutorContract, FrameContract, ValueContract
from tests.server.conftest import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),  # the first test waits for servers
]
HOME = Path(pyspark.__file__).parent
SOURCE = """
import os, time, uuid
from pathlib import Path
from pyspark.sql import functions as F
from glacier_prefect import SparkExecutor, task
on = EXECUTOR

def live(spark, where, seconds):
    mark = str(Path("MARKS") / f"{where}-{uuid.uuid4().hex}")
    def rows(batches):
        for batch in batches:
            Path(mark).write_text(str(os.getpid()))
            time.sleep(seconds)
            Path(mark).write_text("0")
            yield batch
    spark.range(1, numPartitions=1).mapInArrow(rows, "id long").collect()

def deep_inside():
    raise ValueError("broken on purpose")

@task(executor=on)
def frames(frame):
    return frame.withColumn("doubled", 2 * F.col("number"))

@task(executor=on)
def same(frame):
    return frame

@task(executor=on)
def values(number):
    return number + 1

@task(executor=on)
def failing():
    deep_inside()

@task(executor=on)
def slow(where, spark):
    live(spark, where, 100)

@task(executor=on, log_prints=True)
def brief(where, spark):
    print("said by the body")
    live(spark, where, 6)

@task(executor=on)
def third_time(where, spark):
    live(spark, where, 0.1)
    if len(list(Path("MARKS").glob(f"{where}-*"))) < 3:
        raise ValueError("not yet")
"""
CHANGED = {
    "uint8": pl.Int16,
    "uint16": pl.Int32,
    "uint32": pl.Int64,
    "uint64": pl.Decimal(20, 0),
    "category": pl.String,
    "enumeration": pl.String,
    "array": pl.List(pl.Float64),
    "null": pl.String,
}
REFUSED = {"time": "which Spark does not have", "duration": "which Spark does not have"}


def bodies_of(marks: Path, executor: str) -> Bodies:
    """Return bodies that leave a mark with the number of Spark's process for as long as Spark runs them."""

    def going(node: str) -> int:
        pids = [mark.read_text() for mark in marks.glob(f"{node}-*")]
        return sum(bool(pid) and os.path.exists(f"/proc/{pid}") for pid in pids)

    source = SOURCE.replace("EXECUTOR", executor).replace("MARKS", str(marks))
    return Bodies(source=source, going=going, begun=lambda node: len(list(marks.glob(f"{node}-*"))))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def spark_process(folder: Path, *words: str, ready: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of Spark meanwhile."""
    env = {**os.environ, "SPARK_HOME": str(HOME), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    log = folder / f"{words[0]}-{time.monotonic_ns()}.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [HOME / "bin" / words[0], *words[1:]],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        try:
            eventually(lambda: process.poll() is not None or ready(), f"the start of {words}", 180)
            assert process.poll() is None
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}") from None
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def connect(connect_server: tuple[str, Callable[[], None]]) -> str:
    """The address of a Spark Connect server."""
    return connect_server[0]


@pytest.fixture(scope="module")
def connect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[], None]]]:
    """The same, and what ends it."""
    port = free_port()
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "4",
    }
    words = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    server = ("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal")
    address = f"sc://127.0.0.1:{port}"

    def ready() -> bool:
        return spark_session.is_reachable(address)

    folder = tmp_path_factory.mktemp("connect")
    with spark_process(folder, "spark-submit", "--master", "local[8]", *words, *server, ready=ready) as process:
        yield address, process.kill
        spark_session.stop()


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a standalone master with a worker, and what ends both."""
    folder, port, web = tmp_path_factory.mktemp("standalone"), free_port(), free_port()

    def alive() -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{web}/json/", timeout=10) as answer:
                return bytes(answer.read())
        except OSError:
            return b""

    deploy = "org.apache.spark.deploy"
    master = (f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(web))
    worker = (f"{deploy}.worker.Worker", "--host", "127.0.0.1", "--webui-port", "0", "--cores", "2", "--memory", "1g")
    address = f"spark://127.0.0.1:{port}"
    with ExitStack() as stack:
        stack.enter_context(spark_process(folder, "spark-class", *master, ready=lambda: b"aliveworkers" in alive()))
        ready = re.compile(rb'"aliveworkers" ?: ?1')
        work = ("--work-dir", str(folder), address)
        stack.enter_context(
            spark_process(folder, "spark-class", *worker, *work, ready=lambda: bool(ready.search(alive())))
        )
        yield address, stack.close


@pytest.fixture(scope="module", autouse=True)
def _brief_java() -> Iterator[None]:
    """Have no JVM optimize what it runs once: that is half of what it does in its first seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("SPARK_SUBMIT_OPTS", "SPARK_DAEMON_JAVA_OPTS"):
            patch.setenv(variable, "-XX:TieredStopAtLevel=1")
        yield


class TestSparkExecutor(ExecutorContract, FrameContract, ValueContract):
    outlives: ClassVar[bool] = False
    changed: ClassVar[dict[str, object]] = CHANGED
    refused: ClassVar[dict[str, str]] = REFUSED

    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, server: str) -> str:
        return server

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, connect: str, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        return bodies_of(tmp_path_factory.mktemp("marks"), f"SparkExecutor(master={connect!r})")


class TestFramesByFile(FrameContract):
    """The same where frames move as Parquet."""

    changed: ClassVar[dict[str, object]] = CHANGED
    refused: ClassVar[dict[str, str]] = REFUSED

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, connect: str, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        executor = f"SparkExecutor(master={connect!r}, arrow_bytes=0, files=True)"
        return bodies_of(tmp_path_factory.mktemp("marks"), executor)


# -- on Spark Connect, in this process ---------------------------------------------------------------------------------


def run_of(body: Callable[..., object], executor: SparkExecutor, *arguments: object, **options: object) -> object:
    """Run a body in a pipeline; a frame among the arguments comes from a task before."""
    call = task(executor=executor, **options)(body)

    @task
    def given() -> pl.LazyFrame:
        return next(each.lazy() for each in arguments if isinstance(each, pl.DataFrame))

    @pipeline(name="spark")
    def run() -> object:
        return call(*(given() if isinstance(each, pl.DataFrame) else each for each in arguments))

    return run.run()


def test_a_parameter_gets_the_session_and_others_frames_of_the_kind_they_are_annotated_with(connect: str) -> None:
    def kinds(here: pl.LazyFrame, there, session: SparkSession):  # noqa: F821  # names that only a type checker knows
        return [type(each).__module__.partition(".")[0] for each in (here, there)] + [session.range(3).count()]

    frame = pl.DataFrame({"a": [1]})
    assert run_of(kinds, SparkExecutor(master=connect), frame, frame) == ["polars", "pyspark", 3]


def test_what_cannot_come_back_is_an_error_that_names_the_column(connect: str) -> None:
    def gap(spark):
        return spark.sql("select interval 1 day as gap")

    def twice(spark):
        return spark.sql("select 1 as number, 2 as number")

    for body, named in ((gap, "'gap' of the result of task 'gap' is interval day"), (twice, "columns named 'number'")):
        with pytest.raises(TravelError, match=named):
            run_of(body, SparkExecutor(master=connect))


def test_maps_nulls_and_instants_come_back_as_what_polars_has(connect: str) -> None:
    def made(spark):
        return spark.sql("select map('a', 1) as m, null as n, timestamp '2026-07-01 12:00:00' as t, array(null) as l")

    for arrow_bytes in (8_000_000, 0):
        result = run_of(made, SparkExecutor(master=connect, files=True, arrow_bytes=arrow_bytes))
        assert isinstance(result, pl.LazyFrame)
        assert dict(result.collect_schema()) == {
            "m": pl.Map(pl.String, pl.Int32),
            "n": pl.String,
            "t": pl.Datetime("us", "UTC"),
            "l": pl.List(pl.String),
        }
        assert result.collect().row(0)[2] == datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_an_error_in_spark_has_the_task_and_the_python_that_failed_and_no_stack_of_java(connect: str) -> None:
    def broken(spark):
        def fail(batches):
            raise ValueError("broken in the worker")

        return spark.range(1).mapInArrow(fail, "id long")

    with pytest.raises(SparkError, match="broken in the worker") as raised:
        run_of(broken, SparkExecutor(master=connect))
    assert f"task 'broken' (executor 'spark', {connect})" in str(raised.value)
    assert "\tat " not in str(raised.value)


def test_progress_is_told(connect: str, caplog: pytest.LogCaptureFixture) -> None:
    def half(spark):
        def rows(batches):
            for batch in batches:
                time.sleep(9 if batch.column(0)[0].as_py() else 0)
                yield batch

        return spark.range(2, numPartitions=2).mapInArrow(rows, "id long").count()

    with caplog.at_level("INFO", logger="prefect.glacier"):
        assert run_of(half, SparkExecutor(master=connect)) == 2
    assert any(re.search(r"half: \d\d%", line) for line in caplog.messages), caplog.messages


def test_a_process_has_one_session_and_says_so(connect: str) -> None:
    def count(spark):
        return spark.range(3).count()

    assert run_of(count, SparkExecutor(master=connect)) == 3
    for other, what in (
        (SparkExecutor(master="local[1]"), f"master {connect}"),
        (SparkExecutor(master=connect, conf={"spark.sql.shuffle.partitions": 7}), "another spark.sql.shuffle"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(what)):
            run_of(count, other)
    spark_session.stop()
    assert run_of(count, SparkExecutor(master=connect)) == 3


def test_without_timeout_seconds_the_deadline_of_the_executor_counts(connect: str) -> None:
    def stays(spark):
        def wait(batches):
            for batch in batches:
                time.sleep(30)
                yield batch

        return spark.range(1).mapInArrow(wait, "id long").count()

    with pytest.raises(TimeoutError, match=r"task 'stays' .* were cancelled after 1 s"):
        run_of(stays, SparkExecutor(master=connect, deadline_seconds=1))


# -- local and standalone masters --------------------------------------------------------------------------------------


class TestLocalMaster(ExecutorContract, FrameContract, ValueContract):
    """The same embedded, which moves frames, cancels and ends in its own ways."""

    outlives: ClassVar[bool] = False
    changed: ClassVar[dict[str, object]] = CHANGED
    refused: ClassVar[dict[str, str]] = REFUSED

    @pytest.fixture(scope="class")
    @classmethod
    def prefect_api_url(cls, server: str) -> str:
        return server

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        spark_session.stop()
        return bodies_of(tmp_path_factory.mktemp("marks"), "SparkExecutor(master='local[1]')")


class TestLocalFramesByFile(FrameContract):
    """The same where all frames move as Parquet, on the session of above."""

    changed: ClassVar[dict[str, object]] = CHANGED
    refused: ClassVar[dict[str, str]] = REFUSED

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bodies]:
        yield bodies_of(tmp_path_factory.mktemp("marks"), "SparkExecutor(master='local[1]', arrow_bytes=0)")
        spark_session.stop()


FLOW = """
import json, os, sys, time
from pathlib import Path
import polars as pl
from glacier_prefect import SparkExecutor, pipeline, task

on = SparkExecutor(master=sys.argv[1], conf=json.loads(sys.argv[2]))

@task
def load():
    return pl.LazyFrame({"key": [each % 3 for each in range(1000)], "value": range(1000)})

@task(executor=on)
def summed(frame, spark):
    from pyspark.sql import functions as F
    if hasattr(spark, "sparkContext") and not sys.argv[1].startswith("sc:"):
        Path(sys.argv[3]).write_text(str(spark.sparkContext._gateway.proc.pid))
    return frame.groupBy("key").agg(F.sum("value").alias("sum"), F.avg("value").alias("mean"))

@task(executor=on, timeout_seconds=1)
def late(spark):
    def wait(batches):
        for batch in batches:
            time.sleep(100)
            yield batch
    return spark.range(1).mapInArrow(wait, "id long").count()

@pipeline
def masters():
    return summed(load())

@pipeline
def waits():
    return late()

if __name__ == "__main__":
    print(masters.run().sort("key").collect().write_json())
    sys.stdout.flush()
    if sys.argv[4:] == ["wait"]:
        late.options.pop("timeout_seconds")
    try:
        waits.run()
    except TimeoutError as error:
        print(error)
"""


class Running:
    """The flow above, in a process of its own."""

    def __init__(self, folder: Path, master: str, *more: str) -> None:
        self.output, self.jvm = folder / f"{time.monotonic_ns()}.log", folder / f"{time.monotonic_ns()}.pid"
        (folder / "masters.py").write_text(FLOW)
        conf = {"spark.executor.memory": "512m"} if master.startswith("spark:") else {}
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "masters.py", master, json.dumps(conf), str(self.jvm), *more],
                cwd=folder,
                env={**os.environ, "PREFECT_LOGGING_LEVEL": "CRITICAL", "PYSPARK_PYTHON": sys.executable},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def has_jvm(self) -> bool:
        return os.path.exists(f"/proc/{self.jvm.read_text()}")

    def ended(self) -> str:
        """Wait for its end and return what it said."""
        try:
            self.process.wait(150)
        finally:
            self.process.kill()
            self.process.wait()
        return self.output.read_text()


def test_all_masters_give_one_result_in_a_quiet_process_that_leaves_nothing(
    connect: str, standalone: tuple[str, Callable[[], None]], tmp_path: Path
) -> None:
    runs = {master: Running(tmp_path, master) for master in ("local[1]", standalone[0], connect)}
    for master, run in runs.items():
        first, *more = run.ended().splitlines()
        assert [row["sum"] for row in json.loads(first)] == [166833, 166167, 166500], master
        assert more == [f"The Spark jobs of task 'late' (executor 'spark', {master}) were cancelled after 1 s."]
        assert run.process.returncode == 0
        assert master == connect or not run.has_jvm()


def test_a_process_that_is_killed_or_interrupted_takes_its_jvm_with_it(tmp_path: Path) -> None:
    runs = [(how, Running(tmp_path, "local[1]", "wait")) for how in (signal.SIGKILL, signal.SIGINT)]
    for how, run in runs:
        eventually(lambda run=run: run.output.read_text(), "its first result", 150)
        assert run.has_jvm()
        run.process.send_signal(how)
        run.ended()
        assert run.process.returncode != 0
        eventually(lambda run=run: not run.has_jvm(), "the end of its JVM", 20)


def test_a_master_that_does_not_answer_is_named_with_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(spark):
        return None

    spark_session.stop()
    for scheme in ("spark", "sc"):
        master = f"{scheme}://127.0.0.1:{free_port()}"
        with pytest.raises(RemoteUnreachable, match=re.escape(f"task 'late' (executor 'spark', {master})")):
            run_of(late, SparkExecutor(master=master, patience_seconds=1))


def test_without_java_or_pyspark_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(spark):
        return None

    spark_session.stop()
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(NotAvailableError, match=r"'/nowhere'.*no bin/java") as raised:
        run_of(body, SparkExecutor())
    assert "task 'body'" in str(raised.value)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(NotAvailableError, match=r"task 'body'.*\n.*pip install 'glacier-prefect\[spark\]'"):
        run_of(body, SparkExecutor())


@pytest.mark.filterwarnings(r"ignore:\[RETRIES_EXCEEDED\]")
@pytest.mark.parametrize("kind", ["standalone", "connect_server"])  # each of which is not there any more afterwards
def test_a_master_that_goes_away_ends_the_body(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, end = request.getfixturevalue(kind)
    begun = tmp_path / "begun"
    mark = str(begun)

    def stays(spark):
        def wait(batches):
            for batch in batches:
                open(mark, "w").close()
                time.sleep(100)
                yield batch

        threading.Thread(target=lambda: (eventually(begun.exists, "the job"), end())).start()
        return spark.range(1).mapInArrow(wait, "id long").count()

    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    conf = {"spark.executor.memory": "512m"} if kind == "standalone" else {}
    spark_session.stop()
    try:
        where = re.escape(f"task 'stays' (executor 'spark', {master})")
        with pytest.raises(RemoteUnreachable, match=f"did not answer for 2 s while {where}"):
            run_of(stays, SparkExecutor(master=master, conf=conf, patience_seconds=2))
    finally:
        spark_session.stop()


# -- settings and annotations ------------------------------------------------------------------------------------------

ANNOTATED = """
from typing import TYPE_CHECKING, Optional
import polars
import polars as pl
from polars import DataFrame
from pyspark import sql
if TYPE_CHECKING:
    from pyspark.sql import SparkSession
Frame = pl.LazyFrame | None

def here(a: DataFrame, b: pl.LazyFrame | None, c: "Optional[polars.DataFrame]", d: list["DataFrame"], e: Frame): ...

def there(a: sql.DataFrame | None, b: "sql.DataFrame", c, d: int, spark: "SparkSession | None"): ...

def unseen(a: "lazy.LazyFrame | None", b: "pyspark.sql.DataFrame | None", spark: "Unseen"): ...
"""


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_annotations_say_whose_frame_a_parameter_takes_however_they_are_written(future: str) -> None:
    module: dict[str, Any] = {}
    exec(future + ANNOTATED, module)
    here, there, unseen = module["here"], module["there"], module["unseen"]
    found = {each.__name__: (polars_parameters(each), frame_parameters(each)) for each in (here, there, unseen)}
    assert found == {"here": (tuple("abcde"), ()), "there": ((), ("a", "b")), "unseen": (("a",), ("b",))}
    assert [session_parameters(each) for each in (here, there, unseen)] == [(), ("spark",), ()]


EMR = {"service": "emr-serverless", "application_id": "00abc", "role_arn": "arn:aws:iam::1:role/jobs"}
DATAPROC = {"service": "dataproc-serverless", "project_id": "p", "region": "r", "archive": "gs://b/environment.tar.gz"}


def test_what_code_says_of_where_it_runs_stands_alone() -> None:
    for here in (SparkExecutor(master="local[*]"), SparkExecutor(service=None)):
        assert here.completed(EMR).service is None
    assert SparkExecutor(master="local[2]", files=False).completed({**EMR, "arrow_bytes": 5}) == SparkExecutor(
        master="local[2]", files=False, arrow_bytes=5
    )
    there = SparkExecutor(**EMR)
    assert there.completed({"master": "spark://host:7077", "archive": "s3://b/e.tar.gz"}).archive == "s3://b/e.tar.gz"
    assert there.completed(DATAPROC) == there
    assert SparkExecutor(app_name="mine").completed(EMR) == SparkExecutor(app_name="mine", **EMR)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"master": "lokal[2]"}, "master='lokal\\[2\\]'; expected 'local"),
        ({"master": "sc://host/;token=abc"}, "token in its master"),
        ({"conf": {"spark.master": "local"}}, "master in its conf"),
        ({"arrow_bytes": -1}, "arrow_bytes=-1; expected a number of bytes"),
        ({"files": "yes"}, "files='yes'; expected True, False or None"),
    ],
)
def test_settings_that_cannot_be_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        SparkExecutor(**settings)


def test_what_stores_need_to_know_is_not_shown() -> None:
    assert "hidden" not in repr(SparkExecutor(conf={"spark.hadoop.fs.s3a.secret.key": "hidden"}))
