"""Executors whose bodies run on a service: submitted under a token, looked at until they are over, taken up again.

What a derived executor has to do is four calls of its service: `submit`, `look`, `fetch` and `cancel`. The token of a
submission is made of the project, the flow run, the node (with the place of a mapped item) and a number; the number
grows only when the run before ended without success. It is noted before the submission, and the remote run's id after
it, beside the frames of the run. So a retry, in this process or on another machine, finds the run that its predecessor
left: it takes up a live one, takes the result of one that succeeded, and submits anew after one that failed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from glacier_prefect import run_context
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import GlacierError, OptionError, RemoteFailed, RemoteUnreachable
from glacier_prefect.executors.base import Executor, run_log
from glacier_prefect.executors.parcel import Outcome
from glacier_prefect.run_context import RunContext

SUFFIX = ".remote.json"
FIRST_WAIT_SECONDS = 0.25
WAIT_GROWTH = 1.4


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
        message: Why it failed, in the service's or the body's words.
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
        for setting in ("poll_seconds", "patience_seconds", "deadline_seconds"):
            value = getattr(self, setting)
            if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
                raise OptionError(f"{type(self).__name__} has {setting}={value!r}; expected seconds above 0.")

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

    def run(
        self,
        function: Callable[..., Any],
        inputs: Mapping[str, Any],
        *,
        timeout: float | None,
        finish: Callable[[Any], Any],
    ) -> Any:
        return finish(_Following(self, timeout).value(function, inputs))

    def cancel_left(self, note: Note) -> None:
        """Stop the remote run of a note that another process has left."""
        with run_context.entered(note.context):
            if remote := note.remote or self.find(note.token):
                self.cancel(remote)


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is noted of the last submission of a node.

    Attributes:
        number: Which submission of the node it is, from 1.
        remote: Id of the remote run; None before it is known.
        context: The node's place in its run.
    """

    number: int
    remote: str | None
    context: RunContext

    @property
    def token(self) -> str:
        """The token of the submission."""
        named = f"{self.context.project}/{self.context.run_id}/{self.context.node}/{self.number}"
        return "glacier-" + hashlib.blake2b(named.encode(), digest_size=16).hexdigest()

    def write(self) -> Self:
        """Write the note where a retry looks for it, on this machine and on another; return it."""
        file = Path(self.context.exchange) / f"{self.context.token.removeprefix(f'{self.context.run_id}-')}{SUFFIX}"
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"node": self.context.node, "number": self.number, "remote": self.remote})
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as draft:
            draft.write(text)
            draft.flush()
            os.fsync(draft.fileno())
        os.replace(draft.name, file)
        if self.context.shared is not None:
            self.context.shared.put(file)
        return self

    @classmethod
    def all_of(cls, context: RunContext) -> Iterator[Note]:
        """Yield the notes of a run, of this machine and in its bucket."""
        folder = Path(context.exchange)
        texts = {file.name: file.read_bytes() for file in folder.glob(f"*{SUFFIX}")}
        if context.shared is not None:
            for name in context.shared.names():
                if name.endswith(SUFFIX) and name not in texts and (found := context.shared.get(name)) is not None:
                    texts[name] = found
        for text in texts.values():
            read = json.loads(text)
            node = replace(context, node=read["node"])
            yield cls(number=read["number"], remote=read["remote"], context=node)

    @classmethod
    def last_of(cls, context: RunContext) -> Note:
        """Return the last note of a node; number 0 if it was never submitted."""
        found = cls(number=0, remote=None, context=context)
        name = f"{context.token.removeprefix(f'{context.run_id}-')}{SUFFIX}"
        try:
            text: bytes | None = (Path(context.exchange) / name).read_bytes()
        except FileNotFoundError:
            text = None if context.shared is None else context.shared.get(name)
        if text is None:
            return found
        read = json.loads(text)
        return replace(found, number=read["number"], remote=read["remote"])


class _Following:
    """A body on its way: submitted or taken up, followed to its end, its value fetched."""

    def __init__(self, executor: RemoteExecutor, timeout: float | None) -> None:
        context = run_context.current()
        assert context is not None
        self.executor, self.context, self.timeout = executor, context, timeout
        self.end_by = time.monotonic() + (executor.deadline_seconds if timeout is None else timeout)
        shown = run_context.inner.get()
        self.shown = None if shown is None else shown()
        self.log = run_log(self.shown)
        self.logged, self.url = 0, ""
        self.progress: float | None = None

    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        note = Note.last_of(self.context)
        state = None
        if note.number and note.remote is None:  # was it submitted? its process ended before it knew
            note = replace(note, remote=self._asked(self.executor.find, note.token))
        if note.number and note.remote is not None:
            state = self._look(note.remote)
            if state.kind in ("failed", "cancelled", "gone"):
                note = replace(note, number=note.number + 1, remote=None)
            else:
                self._log(logging.INFO, f"Taking up {self._what(note.remote)}.")
        note = note if note.number else replace(note, number=1)
        work = Work(
            token=note.token,
            label=f"{self.context.node}-{self.context.run_id[:8]}-{note.number}",
            function=function,
            inputs=inputs,
            timeout=self.timeout,
            context=self.context,
        )
        if note.remote is None:
            note.write()
            note = replace(note, remote=self._asked(self.executor.submit, work)).write()
            self.logged, state = 0, None
        assert note.remote is not None
        state = self._followed(note.remote, state)
        if state.kind != "succeeded":
            raise self._failure(note.remote, state)
        return self._asked(self.executor.fetch, note.remote, work, remote=note.remote)

    def _followed(self, remote: str, state: RemoteState | None) -> RemoteState:
        """Look at a remote run until it is over; stop it when the time or the task's run is over."""
        wait = FIRST_WAIT_SECONDS
        try:
            state = state or self._look(remote)
            self._log(logging.INFO, f"Following {self._what(remote)}.")
            while state.kind == "running":
                self._wait(remote, wait)
                state = self._look(remote)
                wait = min(wait * WAIT_GROWTH, self.executor.poll_seconds)
        except RemoteUnreachable:
            raise
        except BaseException:
            with contextlib.suppress(Exception):  # what made it stop says more
                self.executor.cancel(remote)
            raise
        return state

    def _wait(self, remote: str, seconds: float) -> None:
        left = self.end_by - time.monotonic()
        if left <= 0:
            limit = self.executor.deadline_seconds if self.timeout is None else self.timeout
            raise TimeoutError(f"{self._what(remote)} was cancelled after {limit:g} s.")
        seconds = max(0.0, min(seconds, left))
        stop = run_context.stop.get()
        if stop is None:
            time.sleep(seconds)
        elif stop.wait(seconds):
            raise RemoteFailed(f"{self._what(remote)} was cancelled, because the run ended.")

    def _look(self, remote: str) -> RemoteState:
        state: RemoteState = self._asked(self.executor.look, remote, remote=remote)
        self.url = state.url or self.url
        for line in state.log[self.logged :]:
            self._log(logging.INFO, line)
        self.logged = max(self.logged, len(state.log))
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
            if run_context.stopping():
                raise RemoteFailed(f"{self._what(remote)} was left, because the run ended.")
            stop = run_context.stop.get()
            (time.sleep if stop is None else stop.wait)(wait)
            wait = min(wait * WAIT_GROWTH, self.executor.poll_seconds)

    def _failure(self, remote: str, state: RemoteState) -> GlacierError:
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
