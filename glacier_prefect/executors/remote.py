"""Executors whose bodies run on a service: submitted under a token, looked at until they are over, taken up again.

What a derived executor has to do is four calls of its service: `submit`, `look`, `fetch` and `cancel`. The token of a
submission is made of the project, the flow run, the node (with the place of a mapped item) and a number; the number
grows only when the run before ended without success. It is noted before the submission, and the remote run's id after
it, beside the frames of the run. So a retry, in this process or on another machine, finds the run that its predecessor
left: it takes up a live one, takes the result of one that succeeded, and submits anew after one that failed.
"""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from glacier_prefect import run_context
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import (
    GlacierError,
    RemoteDenied,
    RemoteFailed,
    RemoteUnreachable,
    StoreDenied,
    StoreUnreachable,
)
from glacier_prefect.executors.base import Body, Executor, check_settings, run_log
from glacier_prefect.executors.notes import Note
from glacier_prefect.executors.parcel import Outcome
from glacier_prefect.run_context import RunContext

FIRST_WAIT_SECONDS = 0.25
WAIT_GROWTH = 1.4
CANCEL_WAITS = (0.0, 0.5, 2.0)  # before each attempt; a process that is to end has no more time
UNSUCCESSFUL = ("failed", "cancelled", "gone")
CUT_OFF = (RemoteUnreachable, RemoteDenied, StoreUnreachable, StoreDenied)  # which say nothing of the remote run


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be run remotely.

    Attributes:
        token: Name of this submission, 40 letters of `[a-z0-9-]`: the same when the submission is repeated, since
            nobody knows whether it arrived.
        label: The run and node in words, for names that people read.
        function: The user's function.
        inputs: Its arguments by name; frames are scans.
        timeout: Seconds that the body may take, None for no limit.
        context: The node's place in its run.
    """

    token: str
    label: str
    function: Callable[..., Any]
    inputs: Mapping[str, Any]
    timeout: float | None
    context: RunContext


@dataclass(frozen=True, kw_only=True)
class RemoteState:
    """What a service says of a remote run.

    Attributes:
        kind: "running" (also while it waits for its turn), or how it ended; "gone" if the service knows it no more.
        message: Why it failed, in the service's or the body's words; of one that is running, what it is about.
        trace: The traceback of the body.
        url: Where a person can look at it.
        progress: How much is done, from 0 to 1; None if that is not known.
        log: The lines that it has logged so far.
    """

    kind: Literal["running", "succeeded", "failed", "cancelled", "gone"]
    message: str = ""
    trace: str = ""
    url: str = ""
    progress: float | None = None
    log: tuple[str, ...] = ()

    @classmethod
    def of(cls, outcome: Outcome, **facts: Any) -> Self:
        """Return the state of a run that has put its outcome into its parcel; `facts` are further attributes."""
        kind: Literal["succeeded", "failed"] = "failed" if outcome.error else "succeeded"
        return cls(kind=kind, message=outcome.error, trace=outcome.trace, **facts)


@dataclass(frozen=True, kw_only=True)
class RemoteExecutor(Executor):
    """An executor whose bodies run on a service.

    Attributes:
        poll_seconds: Seconds between two looks at a remote run at most; they begin with a quarter of a second.
        patience_seconds: How long the service may not answer before the task fails; the remote run is left alone then,
            and a retry takes it up.
        deadline_seconds: When a remote run is cancelled, if the task has no `timeout_seconds`.
    """

    poll_seconds: float = 15.0
    patience_seconds: float = 300.0
    deadline_seconds: float = 86_400.0

    def __post_init__(self) -> None:
        times = {name: getattr(self, name) for name in ("poll_seconds", "patience_seconds", "deadline_seconds")}
        fitting = {
            name: (isinstance(value, int | float) and not isinstance(value, bool) and value > 0, "seconds above 0")
            for name, value in times.items()
        }
        check_settings(self, fitting)

    @abstractmethod
    def submit(self, work: Work) -> str:
        """Submit a body and return the remote run's id.

        It may be called twice with one token, by a process that does not know what became of the first call, and must
        make one remote run: by the service's own idempotency, or because `find` finds it.
        """

    @abstractmethod
    def look(self, remote: str) -> RemoteState:
        """Return what the service says of a run.

        Raises:
            RemoteUnreachable: It does not answer just now; it is asked again until `patience_seconds` are over.
            RemoteDenied: It does not take the credentials; the task fails then, and the remote run is left alone.
        """

    @abstractmethod
    def fetch(self, remote: str, work: Work) -> Any:
        """Return the value of a run that succeeded, its frames as scans."""

    @abstractmethod
    def cancel(self, remote: str) -> None:
        """Stop a run; nothing happens if it is over already."""

    def find(self, token: str) -> str | None:
        """Return the id of the run that was submitted under a token, None if there is none or nobody can say."""
        return None

    def run(self, body: Body) -> Any:
        return _Following(self, body).value()

    def cancel_left(self, note: Note) -> bool:
        """Stop the remote run of a note; return whether one is known.

        Raises:
            RemoteUnreachable: The service did not answer, a few times.
        """
        problem = None
        with run_context.entered(note.context):
            for wait in CANCEL_WAITS:
                time.sleep(wait)
                try:
                    if remote := note.remote or self.find(note.token):
                        self.cancel(remote)
                    return remote is not None
                except RemoteUnreachable as error:
                    problem = error
        assert problem is not None
        raise problem


class _Following:
    """A body on its way: submitted or taken up, followed to its end, its value fetched."""

    def __init__(self, executor: RemoteExecutor, body: Body) -> None:
        context = run_context.current()
        assert context is not None
        self.executor, self.body, self.context = executor, body, context
        self.limit = executor.deadline_seconds if body.timeout is None else body.timeout
        self.end_by = time.monotonic() + self.limit
        shown = run_context.inner.get()
        self.shown = None if shown is None else shown()
        self.log = run_log(self.shown)
        self.logged, self.url, self.stopped = 0, "", False
        self.message = ""
        self.progress: float | None = None

    def value(self) -> Any:
        """Return the finished value of the body.

        What stops this process from following a remote run stops that too, except that the service does not answer, or
        does not take the credentials any more.
        """
        self.note = Note.last_of(self.context)  # of what may go on there
        try:
            note = self._left()
            if note.remote is None:
                repeated = note.number == self.note.number
                note = self._submitted(note)
                if repeated and self._state(note).kind in UNSUCCESSFUL:  # it had arrived, and has ended meanwhile
                    note = self._submitted(note.next())
            state = self._followed(note)
        except CUT_OFF:
            raise
        except BaseException as error:
            lives = self.note.remote is not None or self.stopped or not isinstance(error, Exception)  # else refused
            if lives and not self.note.over:
                self._cancel()
            raise
        if state.kind != "succeeded":
            raise self._failure(note.remote, state)
        try:
            return self.body.finish(self._asked(self.executor.fetch, note.remote, self._work(note), remote=note.remote))
        except Exception as error:
            if not self.stopped and not isinstance(error, CUT_OFF):  # a retry would fare no better with it
                replace(note, over=True).write()
            raise

    def _left(self) -> Note:
        """Return the note of a remote run that can be taken up, else that of the next submission."""
        if self.note.over:
            return self.note.next()
        if self.note.remote is None:  # was it submitted? its process ended before it knew
            self.note = replace(self.note, remote=self._asked(self.executor.find, self.note.token))
        if self.note.remote is None:
            return self.note
        if self._state(self.note).kind in UNSUCCESSFUL:
            self.note, self.url = replace(self.note, over=True), ""
            return self.note.next()
        self._log(logging.INFO, f"Taking up {self._what(self.note.remote)}.")
        return self.note

    def _submitted(self, note: Note) -> Note:
        """Submit the body under a note; return the note of its remote run."""
        self._check_stop(None)
        self.note = note.write()
        self.note = replace(note, remote=self._asked(self.executor.submit, self._work(note)))
        return self.note.write()

    def _work(self, note: Note) -> Work:
        return Work(
            token=note.token,
            label=f"{self.context.node}-{self.context.run_id[:8]}-{note.number}",
            function=self.body.function,
            inputs=self.body.inputs,
            timeout=self.body.timeout,
            context=self.context,
        )

    def _followed(self, note: Note) -> RemoteState:
        """Look at a remote run until it is over."""
        wait = FIRST_WAIT_SECONDS
        state = self._look(note)
        self._log(logging.INFO, f"Following {self._what(note.remote)}.")
        while state.kind == "running":
            self._wait(note.remote, wait)
            state = self._look(note)
            wait = min(wait * WAIT_GROWTH, self.executor.poll_seconds)
        return state

    def _cancel(self) -> None:
        """Stop the remote run; a retry must not take up one that is about to end."""
        problem: Exception | str = "it is not found"
        try:
            if self.executor.cancel_left(self.note):
                replace(self.note, over=True).write()
                return
        except Exception as error:
            problem = error
        self._log(logging.WARNING, f"{self._what(self.note.remote)} could not be cancelled, and may go on: {problem}")

    def _wait(self, remote: str | None, seconds: float) -> None:
        left = self.end_by - time.monotonic()
        if left <= 0:
            self.stopped = True
            raise TimeoutError(f"{self._what(remote)} was cancelled after {self.limit:g} s.")
        stop = run_context.stop.get()
        (time.sleep if stop is None else stop.wait)(min(seconds, left))
        self._check_stop(remote)

    def _check_stop(self, remote: str | None) -> None:
        if run_context.stopping():
            self.stopped = True
            raise RemoteFailed(f"{self._what(remote)} was cancelled, because the run ended.")

    def _state(self, note: Note) -> RemoteState:
        state: RemoteState = self._asked(self.executor.look, note.remote, remote=note.remote)
        self.url = state.url or self.url
        return state

    def _look(self, note: Note) -> RemoteState:
        """Return the state of a remote run, and show what is new of it."""
        state = self._state(note)
        for line in state.log[self.logged :]:
            self._log(logging.INFO, line)
        self.logged = max(self.logged, len(state.log))
        if state.kind == "running" and state.message != self.message:
            self.message = state.message
            self._log(logging.INFO, f"{self._what(note.remote)}: {state.message}")
        if state.progress is not None and state.progress != self.progress:
            self.progress = state.progress
            if self.shown is None:
                self._log(logging.INFO, f"{self.context.node}: {state.progress:.0%}")
            else:
                self.shown.progress(self.context.node, state.progress)
        return state

    def _asked(self, ask: Callable[..., Any], *args: Any, remote: str | None = None) -> Any:
        """Call the service; ask again while it does not answer, until patience ends."""
        until = time.monotonic() + self.executor.patience_seconds
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                return ask(*args)
            except RemoteUnreachable as error:
                if time.monotonic() + wait > until:
                    raise RemoteUnreachable(
                        f"{self._what(remote)}: {self.executor.name} did not answer for "
                        f"{self.executor.patience_seconds:g} s: {redaction.hidden(str(error))}\n"
                        "Hint: what was submitted goes on; a retry takes it up."
                    ) from None
            except RemoteFailed as error:
                said = redaction.hidden(f"{self._what(remote)}: {error}")
                if isinstance(error, RemoteDenied):
                    hint = "\nHint: what was submitted goes on; a retry with good credentials takes it up."
                    raise RemoteDenied(said + (hint if remote else "")) from None
                raise RemoteFailed(said) from None
            self._wait(remote, wait)
            wait = min(wait * WAIT_GROWTH, self.executor.poll_seconds)

    def _failure(self, remote: str | None, state: RemoteState) -> GlacierError:
        how = {"gone": "is not known to the service any more", "cancelled": "was cancelled there"}
        text = f"{self._what(remote)} {how.get(state.kind, 'failed')}"
        text += f": {state.message}" if state.message else "."
        text += f"\nIn the remote run:\n{state.trace}" if state.trace else ""
        return RemoteFailed(redaction.hidden(text))

    def _what(self, remote: str | None) -> str:
        run = "The run" if remote is None else f"Run {remote}"
        where = f" ({self.url})" if self.url else ""
        return f"{run}{where} of task {self.context.node!r} on executor {self.executor.name!r}"

    def _log(self, level: int, text: str) -> None:
        self.log(level, redaction.hidden(text))
