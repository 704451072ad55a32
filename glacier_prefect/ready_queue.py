"""A ready-queue: threads that take nodes whose upstream is done, and go on with what their own node made ready.

Knows nothing of Prefect or Polars; what a node does is given as a function.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context

Work = Callable[[], None]
LOOK_SECONDS = 0.5
LEAVE_SECONDS = 3.0


class ReadyQueue:
    """Runs the nodes of a graph.

    Args:
        upstream: For each node the nodes that it waits for.
        start: Called with a node's name when it is ready; does its work, or returns parts of it that may run at the
            same time.
        threads: Number of threads at most.
        stop: Set when the run is to end; the queue starts nothing more then.
    """

    def __init__(
        self,
        upstream: Mapping[str, Sequence[str]],
        start: Callable[[str], Sequence[Work] | None],
        threads: int,
        stop: threading.Event,
    ) -> None:
        self._start, self._limit, self._stop = start, threads, stop
        self._waiting = {name: len(set(names)) for name, names in upstream.items()}
        self._downstream: dict[str, list[str]] = {name: [] for name in upstream}
        for name, names in upstream.items():
            for each in set(names):
                self._downstream[each].append(name)
        self._parts: dict[str, int] = {}
        self._left = len(upstream)
        self._ready: deque[tuple[str, Work | None]] = deque(
            (name, None) for name, count in self._waiting.items() if not count
        )
        self._changed = threading.Condition()
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run all nodes; returns when the last is done, raises what a node's function raised."""
        try:
            with self._changed:
                self._add_threads()
                while self._left and self._error is None and not self._stop.is_set():
                    self._changed.wait(LOOK_SECONDS)  # a nested queue learns from the event only that the run ends
        except BaseException:
            self._stop.set()
            raise
        finally:
            with self._changed:
                self._left = 0
                self._changed.notify_all()
            for thread in self._threads:
                thread.join(LEAVE_SECONDS if self._stop.is_set() or self._error else None)
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            raise KeyboardInterrupt("The run was stopped.")

    def _add_threads(self) -> None:
        for _ in range(min(len(self._ready) - self._idle, self._limit - len(self._threads))):
            # Daemon threads: a query of Polars cannot be interrupted, and must not keep a stopped process alive.
            thread = threading.Thread(target=copy_context().run, args=(self._work,), daemon=True, name="glacier-node")
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        mine: tuple[str, Work | None] | None = None
        while True:
            if mine is None:
                with self._changed:
                    self._idle += 1
                    while not self._ready and self._left:
                        self._changed.wait()
                    self._idle -= 1
                    if not self._left or self._stop.is_set():
                        return
                    mine = self._ready.popleft()
            name, part = mine
            try:
                parts = self._start(name) if part is None else part()
            except BaseException as error:
                with self._changed:
                    self._error = self._error or error
                    self._stop.set()
                    self._left = 0
                    self._changed.notify_all()
                return
            mine = self._next(name, part is None, list(parts or ()))

    def _next(self, name: str, started: bool, parts: list[Work]) -> tuple[str, Work | None] | None:
        """Note that a piece of work is done; return one that it made ready, and leave others to other threads."""
        with self._changed:
            if started and parts:
                self._parts[name] = len(parts)
                ready: list[tuple[str, Work | None]] = [(name, each) for each in parts]
            else:
                self._parts[name] = self._parts.get(name, 1) - 1
                ready = []
                if not self._parts[name]:
                    self._left -= 1
                    for each in self._downstream[name]:
                        self._waiting[each] -= 1
                        if not self._waiting[each]:
                            ready.append((each, None))
            if not self._left:
                self._changed.notify_all()
                return None
            if self._stop.is_set():
                return None
            mine = ready.pop(0) if ready else None
            self._ready.extend(ready)
            if ready:
                self._changed.notify(len(ready))
                self._add_threads()
            return mine
