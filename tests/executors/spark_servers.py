"""Real servers of Spark: Spark Connect, and a standalone master with a worker."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

from glacier_prefect.executors import spark_session
from tests.server.conftest import eventually

HOME = Path(pyspark.__file__).parent
CACHE = Path(__file__).parents[2] / ".cache"
BRIEF = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # optimizing what runs once is half of a JVM's first seconds
WARM_UP = """
from pyspark.sql import SparkSession

def same(batches):
    yield from batches

SparkSession.builder.getOrCreate().range(1).mapInArrow(same, "id long").collect()
"""


def brief_options() -> str:
    """Return the options of a JVM of Spark that runs for a short time.

    It takes its classes from an archive, which is made if it is not there: that is more than half of its start.
    """
    archive = CACHE / f"spark-{pyspark.__version__}-{(HOME / 'jars').stat().st_mtime_ns}.jsa"  # of these very files
    CACHE.mkdir(exist_ok=True)
    with open(CACHE / "spark.lock", "w") as lock, tempfile.TemporaryDirectory() as folder:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            script, draft = Path(folder, "warm_up.py"), archive.with_suffix(".part")
            script.write_text(WARM_UP)
            options = f"{BRIEF} -XX:ArchiveClassesAtExit={draft}"
            words = ["--master", "local[1]", "--conf", "spark.ui.enabled=false", script]
            env = {**os.environ, "SPARK_SUBMIT_OPTS": options, "PYSPARK_PYTHON": sys.executable}
            subprocess.run([HOME / "bin" / "spark-submit", *words], env=env, check=True, capture_output=True)
            draft.rename(archive)
    return f"{BRIEF} -XX:SharedArchiveFile={archive}"


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


@contextmanager
def connect(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a Spark Connect server meanwhile; yields its address, and what ends it before."""
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

    with spark_process(folder, "spark-submit", "--master", "local[8]", *words, *server, ready=ready) as process:
        yield address, process.kill
        spark_session.stop()


@contextmanager
def standalone(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Run a standalone master with a worker meanwhile; yields its address, and what ends both before."""
    port, web = free_port(), free_port()

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
