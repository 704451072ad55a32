"""The Spark session of this process.

One session serves all tasks: a JVM has one Spark context. It is started by the first task that needs it and stopped
when the process ends; a JVM that was started here ends with its process even if that is killed, since its input does.
Imports PySpark where it is used only.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import math
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from glacier_prefect import run_context
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import ConfigurationError, GlacierError, NotAvailableError, RemoteUnreachable

LOOK_SECONDS = 0.3
CONNECT_SECONDS = 3.0
STOP_SECONDS = 15.0
RETRY_SECONDS = 5  # between the later calls of a Spark Connect that does not answer
PORTS = {"spark": 7077, "sc": 15002}
LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
}
CLASSIC = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
SQL = {
    "spark.sql.session.timeZone": "UTC",
    # what Parquet files say of an instant by default is a type of Impala that has no time zone
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


class SparkError(GlacierError, RuntimeError):
    """Spark failed, or was stopped; the message names the task."""


@dataclass(kw_only=True)
class Session:
    """A Spark session with what it was started with.

    Attributes:
        spark: The session.
        master: Its master.
        conf: The settings that the user gave.
        owned: Whether it was started here, and is stopped here.
        log: What the JVM says; None without one of ours.
    """

    spark: Any
    master: str
    conf: Mapping[str, str]
    owned: bool = True
    log: IO[bytes] | None = None

    @property
    def is_connect(self) -> bool:
        """Whether it is one of Spark Connect, whose JVM is elsewhere."""
        return self.master.startswith("sc://")

    @property
    def is_over(self) -> bool:
        """Whether it can run nothing any more."""
        if self.is_connect:
            return bool(self.spark.is_stopped)
        context = self.spark.sparkContext
        try:
            return context._jsc is None or bool(context._jsc.sc().isStopped())
        except Exception:  # the JVM is gone
            return True

    def cancel(self, tag: str) -> None:
        """Cancel the jobs that are running under a tag."""
        if self.is_connect:
            self.spark.interruptTag(tag)
        else:
            self.spark.sparkContext.cancelJobsWithTag(tag)

    @contextlib.contextmanager
    def tagged(self, tag: str) -> Iterator[None]:
        """Run what this thread starts meanwhile under a tag."""
        if self.is_connect:
            self.spark.addTag(tag)
        else:
            self.spark.sparkContext.setInterruptOnCancel(True)
            self.spark.sparkContext.addJobTag(tag)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):  # of a JVM that is gone
                (self.spark.removeTag if self.is_connect else self.spark.sparkContext.removeJobTag)(tag)

    def done(self, tag: str) -> float | None:
        """Return how much is done of the Spark tasks of all jobs under a tag, None if that is not known."""
        if self.is_connect:
            return None
        context = self.spark.sparkContext
        tracker, jobs = context.statusTracker(), context._jsc.sc().statusTracker().getJobIdsForTag(tag)
        stages = {stage for job in jobs if (known := tracker.getJobInfo(job)) for stage in known.stageIds}
        found = [each for each in map(tracker.getStageInfo, sorted(stages)) if each is not None]
        whole = sum(each.numTasks for each in found)
        return sum(each.numCompletedTasks for each in found) / whole if whole else None

    def stop(self) -> None:
        """End the session, and the JVM that was started for it."""
        if not self.owned:
            return
        with contextlib.suppress(Exception):
            self.spark.stop()
        if self.is_connect:
            os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # which PySpark sets, for the whole process
            return
        from pyspark import SparkContext

        gateway = SparkContext._gateway
        if self.log is None or gateway is None:
            return
        SparkContext._gateway = SparkContext._jvm = None
        with contextlib.suppress(Exception):
            gateway.shutdown()
        child = gateway.proc
        with contextlib.suppress(OSError):
            child.stdin.close()
        try:
            child.wait(STOP_SECONDS)
        except Exception:
            child.kill()
            child.wait()
        self.log.close()


_lock = threading.Lock()
_started: Session | None = None


def shared(
    *, master: str, conf: Mapping[str, Any], app_name: str, token: str | None, node: str, patience: float
) -> Session:
    """Return the session of this process; the first call starts it.

    Args:
        master: Where Spark runs.
        conf: Spark's settings.
        app_name: What the application is called.
        token: Bearer token of Spark Connect.
        node: The task that needs it, for messages.
        patience: Seconds that a master may not answer.

    Raises:
        ConfigurationError: This process has a session with other settings.
        NotAvailableError: PySpark or Java is missing.
        RemoteUnreachable: The master does not answer.
    """
    global _started
    where = f"task {node!r} (executor 'spark', {master})"
    given = {key: _text(value) for key, value in conf.items()}
    if importlib.util.find_spec("pyspark") is None:
        raise NotAvailableError(
            f"PySpark is not installed, which {where} needs.\nHint: pip install 'glacier-prefect[spark]'"
        )
    with _lock:
        if _started is not None and _started.is_over:
            _started.stop()
            _started = None
        if _started is None:
            _wait_for(master, where, patience)
            _started = (
                _connected(master, given, token, where, patience)
                if master.startswith("sc://")
                else _classic(master, given, app_name, where)
            )
            atexit.register(stop)
            _hush()
        _check_same(_started.master, _started.conf, master, given, where)
        return _started


def stop() -> None:
    """Stop the session of this process, if there is one."""
    global _started
    atexit.unregister(stop)
    with _lock:
        if _started is not None:
            _started.stop()
            _started = None


def _hush() -> None:
    """Keep PySpark from printing each error of a query as JSON, beside raising it."""
    from pyspark.logger import PySparkLogger

    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL + 1)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_same(
    has: str, settings: Mapping[str, str], master: str, conf: Mapping[str, str], where: str, *, whole: bool = True
) -> None:
    unlike = [key for key in sorted({*settings, *conf} if whole else conf) if settings.get(key) != conf.get(key)]
    if has != master or unlike:
        what = f"master {has}" if has != master else f"another {unlike[0]}"
        raise ConfigurationError(
            f"This process has a Spark session with {what}, so {where} cannot have its own: a process has one.\n"
            "Hint: give all tasks of a flow the same master and conf; set what differs in the body with "
            "spark.conf.set(...), or run the flows in processes of their own."
        )


def _connected(master: str, conf: Mapping[str, str], token: str | None, where: str, patience: float) -> Session:
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.retries import DefaultPolicy

    with _explained(master, where):
        url = master if token is None else f"{master.rstrip('/')}{'' if '/;' in master else '/'};token={token}"
        spark: Any = SparkSession.builder.remote(url).create()
        # Its own policy goes on for ten minutes and more.
        waits = range(0, math.ceil(patience), RETRY_SECONDS)
        policy = DefaultPolicy(max_retries=6 + len(waits), max_backoff=1000 * RETRY_SECONDS, backoff_multiplier=2.0)
        spark.client.set_retry_policies([policy])
        for key, value in {**SQL, **conf}.items():
            spark.conf.set(key, value)
    return Session(spark=spark, master=master, conf=conf)


def _classic(master: str, conf: Mapping[str, str], app_name: str, where: str) -> Session:
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    if (active := SparkContext._active_spark_context) is not None:  # the user's own, as in a notebook
        _check_same(str(active.master), dict(active.getConf().getAll()), master, conf, where, whole=False)
        return Session(spark=SparkSession(active), master=master, conf=conf, owned=False)
    java = os.environ.get("JAVA_HOME")
    if not (os.access(os.path.join(java, "bin", "java"), os.X_OK) if java else shutil.which("java")):
        raise NotAvailableError(
            f"Java is not there, which {where} needs: "
            + (f"JAVA_HOME is {java!r}, and has no bin/java." if java else "JAVA_HOME is not set and PATH has none.")
            + "\nHint: install Java 17 or 21, or use Spark Connect (master='sc://...'), which needs none here."
        )
    os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # which a process around this one may have left
    is_local = master.startswith("local")
    made = SparkConf(loadDefaults=False).setMaster(master).setAppName(app_name)
    for key, value in {**CLASSIC, **SQL, **(LOCAL if is_local else {}), **conf}.items():
        made.set(key, value)
    log = tempfile.TemporaryFile()  # noqa: SIM115  # it stays open as long as the JVM, which writes to it
    try:
        if SparkContext._gateway is None:
            with _variable("SPARK_LOCAL_IP", "127.0.0.1" if is_local else None):
                # In a session of its own, so that Ctrl-C reaches this process only.
                options = {"stdout": log, "stderr": log, "start_new_session": True}
                launch: Any = launch_gateway  # which has no hints
                SparkContext._gateway = launch(made, options)
                SparkContext._jvm = SparkContext._gateway.jvm
        context = SparkContext(conf=made)
    except Exception as error:
        said = _tail(log)
        _drop_gateway()
        log.close()
        if (gone := unreachable(master, where, error)) is not None:
            raise gone from None
        raise SparkError(f"Spark could not be started for {where}: {told(error)}\n{said}".rstrip()) from None
    if is_local and "PYSPARK_PYTHON" not in os.environ:
        context.pythonExec = conf.get("spark.pyspark.python", sys.executable)  # not whatever is called python3
    return Session(spark=SparkSession(context), master=master, conf=conf, log=log)


def _drop_gateway() -> None:
    from pyspark import SparkContext

    gateway, SparkContext._gateway, SparkContext._jvm = SparkContext._gateway, None, None
    if gateway is not None:
        with contextlib.suppress(Exception):
            gateway.shutdown()
        gateway.proc.kill()
        gateway.proc.wait()
        gateway.proc.stdin.close()


@contextlib.contextmanager
def _variable(name: str, value: str | None) -> Iterator[None]:
    """Set a variable of this process meanwhile, unless it is set."""
    if value is None or name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read()[-4000:].decode(errors="replace").splitlines()
    telling = [line for line in lines if not re.match(r"\s+at |WARNING: |Using Spark's default|.* WARN ", line)]
    return redaction.hidden("\n".join(telling[-12:]))


# -- masters that are elsewhere ----------------------------------------------------------------------------------------


def _wait_for(master: str, where: str, patience: float) -> None:
    """Wait until a master answers; PySpark itself would try for minutes, and say so nowhere."""
    until = time.monotonic() + patience
    while not is_reachable(master):
        if run_context.stopping():
            raise SparkError(f"Spark of {where} was not started, because the run ended.")
        if time.monotonic() > until:
            raise RemoteUnreachable(
                f"Spark's master does not answer for {where}, for {patience:g} s.\n"
                "Hint: is it running, and can this machine reach it?"
            )
        time.sleep(LOOK_SECONDS)


def is_reachable(master: str) -> bool:
    """Whether one of the addresses of a master takes connections; one that is local always does."""
    scheme, _, rest = master.partition("://")
    if scheme not in PORTS:
        return True
    for each in rest.partition("/")[0].split(","):
        address = urllib.parse.urlsplit(f"//{each}")
        with contextlib.suppress(OSError, ValueError):
            at = (address.hostname or "", address.port or PORTS[scheme])
            socket.create_connection(at, CONNECT_SECONDS).close()
            return True
    return False


def unreachable(master: str, where: str, error: BaseException) -> RemoteUnreachable | None:
    """Return what to raise in place of an error if it comes of a master that is gone."""
    if is_reachable(master):
        return None
    return RemoteUnreachable(f"Spark's master is gone for {where}: {told(error)}")


@contextlib.contextmanager
def _explained(master: str, where: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if (gone := unreachable(master, where, error)) is not None:
            raise gone from None
        raise SparkError(f"Spark Connect could not be reached for {where}: {told(error)}") from None


def told(error: BaseException) -> str:
    """Return what an error says, without the stack of the JVM and the plan of the query."""
    lines = re.sub(r";\n'.*", "", str(error), flags=re.DOTALL).splitlines()
    stack = re.compile(r"\s+at [\w.$/<>]+\(|\s*\.\.\. \d+ (more|common)|JVM stacktrace:")
    kept = [line for line in lines if not stack.match(line)]
    text = "\n".join(kept).strip()
    return redaction.hidden(text if len(text) <= 4000 else f"{text[:2500]}\n[...]\n{text[-1500:]}")
