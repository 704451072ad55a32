"""The watch over a body that runs here against a Spark session: cancels jobs, shows progress, tells errors."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from glacier_prefect import run_context
from glacier_prefect.errors import RemoteUnreachable
from glacier_prefect.executors.base import run_log
from glacier_prefect.executors.spark_session import LOOK_SECONDS, Session, SparkError, is_reachable, told, unreachable

PROGRESS_SECONDS = 2.0

_watching: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("glacier_spark_watch", default=None)


def note_progress(stages: Any, *_: Any, **__: Any) -> None:
    """Take what Spark Connect tells the thread that runs a query of its progress."""
    if (watch := _watching.get()) is not None and stages and (whole := sum(each.num_tasks for each in stages)):
        watch.heard = sum(each.num_completed_tasks for each in stages) / whole


@dataclass(kw_only=True)
class Watch:
    """Looks, while a body runs, whether its jobs are to be cancelled, and shows their progress.

    Attributes:
        session: The session that it runs against.
        node: The task.
        tag: What its jobs are tagged with.
        timeout: Seconds that it may take.
        patience: Seconds that a master may not answer.
        heard: How much is done, as far as Spark Connect said it.
        reason: What is raised in place of the body's result.
    """

    session: Session
    node: str
    tag: str
    timeout: float
    patience: float
    heard: float | None = None
    reason: Exception | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def where(self) -> str:
        """The task, for messages."""
        return f"task {self.node!r} (executor 'spark', {self.session.master})"

    @contextlib.contextmanager
    def over(self) -> Iterator[None]:
        """Watch what this thread runs meanwhile."""
        make = run_context.inner.get()
        shown = None if make is None else make()
        reset = _watching.set(self)
        context = contextvars.copy_context()
        watcher = threading.Thread(target=context.run, args=(self._watch, shown), daemon=True)
        try:
            if self.session.is_connect:
                self.session.spark.registerProgressHandler(note_progress)  # once, however often it is said
            with self.session.tagged(self.tag):
                watcher.start()
                try:
                    yield
                finally:
                    self._over.set()
                    watcher.join()
        except Exception as error:
            if (meant := self._meant(error)) is error:
                raise
            raise meant from None
        finally:
            _watching.reset(reset)
            if shown is not None:
                shown.close()
        if self.reason is not None:  # the body made no more of it
            raise self.reason

    def _watch(self, shown: Any) -> None:
        log = run_log(shown)
        began = answered = looked = time.monotonic()
        progress = -1.0  # that nothing is done yet is shown too
        while not self._over.wait(LOOK_SECONDS):
            now = time.monotonic()
            if self.reason is None:
                if run_context.stopping():
                    self.reason = SparkError(f"The Spark jobs of {self.where} were cancelled, because the run ended.")
                elif now > began + self.timeout:
                    self.reason = TimeoutError(
                        f"The Spark jobs of {self.where} were cancelled after {self.timeout:g} s."
                    )
                elif now > looked + PROGRESS_SECONDS:
                    looked = now
                    if is_reachable(self.session.master):
                        answered = time.monotonic()
                    elif now > answered + self.patience:
                        self.reason = RemoteUnreachable(
                            f"Spark's master did not answer for {self.patience:g} s while {self.where} ran; its jobs "
                            "were cancelled."
                        )
                    done = self._done()
                    if done is not None and done > progress:
                        progress = done
                        if shown is None:
                            log(logging.INFO, f"{self.node}: {done:.0%}")
                        else:
                            shown.progress(self.node, done)
            if self.reason is not None:  # again and again: the body may go on with its next job
                with contextlib.suppress(Exception):
                    self.session.cancel(self.tag)

    def _done(self) -> float | None:
        try:
            return self.heard if self.session.is_connect else self.session.done(self.tag)
        except Exception:  # what is shown of a body must not end it
            return None

    def _meant(self, error: Exception) -> Exception:
        """Return what is raised for an error of the body: with the task, and without what Spark's inside adds."""
        if self.reason is not None:
            return self.reason
        frames = "".join(traceback.format_list(own_frames(error)))
        note = f"In {self.where}:\n{frames}".rstrip()
        if not is_of_spark(error):
            error.add_note(note)
            return error
        gone = None if self.session.master.startswith("local") else unreachable(self.session.master, self.where, error)
        if gone is None and self.session.is_over:
            gone = RemoteUnreachable(f"The Spark session ended while {self.where} ran: {told(error)}")
        made = gone or SparkError(f"Spark failed in {self.where}: {type(error).__name__}: {told(error)}")
        made.add_note(note)
        return made


def is_of_spark(error: BaseException) -> bool:
    """Whether an error is one of PySpark or of what it talks to the JVM with."""
    return type(error).__module__.partition(".")[0] in ("pyspark", "py4j", "grpc")


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of an error's traceback that are the user's: below Glacier's, without PySpark's."""
    ours = os.path.dirname(os.path.dirname(__file__)) + os.sep
    inside = (f"{os.sep}pyspark{os.sep}", f"{os.sep}py4j{os.sep}", f"{os.sep}grpc{os.sep}", ours)
    found = traceback.extract_tb(error.__traceback__)
    return [each for each in found if not any(part in each.filename for part in inside)]
