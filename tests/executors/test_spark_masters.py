"""Spark: the contract on a local master, and what is different on each kind of master, also when it is not there."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from glacier_prefect import SparkExecutor
from glacier_prefect.errors import NotAvailableError, RemoteUnreachable
from glacier_prefect.executors import spark_session
from glacier_prefect.testing import Bodies, ExecutorContract, ValueContract
from tests.executors.contract_bodies import UnderTheServer
from tests.executors.spark_bodies import SparkFrames, bodies_of, run_of
from tests.executors.spark_servers import free_port
from tests.server.conftest import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),  # the first test waits for servers
    pytest.mark.usefixtures("brief_java"),
]


class TestLocalMaster(UnderTheServer, ExecutorContract, SparkFrames, ValueContract):
    """Spark embedded, which moves frames, cancels and ends in its own ways."""

    outlives: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, marks: Path) -> Bodies:
        spark_session.stop()
        return bodies_of(marks, "SparkExecutor(master='local[1]')")


class TestLocalFramesByFile(SparkFrames):
    """The same where all frames move as Parquet, on the session of above."""

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
