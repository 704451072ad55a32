"""A ready-queue: threads that take nodes whose upstream is done, and go on with what their own node made ready.

Python runs one thread at a time, so threads that share out work of a millisecond only hinder each other: a second one
joins when a ready node has waited, and leaves when what it does is as short. Knows nothing of Prefect or Polars; what a
node does is given as a function.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context

Work = Callable[[], None]
Piece = tuple[str, Work | None]
# A trivial task takes half of it alone, and more where sending its events to a server competes for the interpreter,
# of which more threads get a larger share.
SHORT_SECONDS = 0.002
WATCH_SECONDS = 0.04  # at most, between two looks at threads that are quick: each look interrupts them
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
        self._ready: deque[Piece] = deque((name, None) for name, count in self._waiting.items() if not count)
        self._taken, self._patience = 0, SHORT_SECONDS
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # for `run`: something is ready, or all is done
        self._called = threading.Condition(lock)  # for idle threads: as many are wanted as `_calls` says
        self._calls = self._idle = 0
        self._threads: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._over = False

    def run(self) -> None:
        """Run all nodes; returns when the last is done, raises what a node's function raised."""
        try:
            with self._changed:
                self._call(min(1, self._left))
                while self._left and not self._over and not self._stop.is_set():
                    self._watch()
        except BaseException:
            self._stop.set()
            raise
        finally:
            with self._changed:
                self._end()
            for thread in self._threads:
                thread.join(LEAVE_SECONDS if self._stop.is_set() or self._error else None)
        if self._error is not None:
            raise self._error
        if self._stop.is_set():
            raise KeyboardInterrupt("The run was stopped.")

    def _watch(self) -> None:
        """Call further threads if those that work take nodes too slowly; without a ready node, wait for one."""
        if not self._ready:
            self._changed.wait(LOOK_SECONDS)  # a nested queue learns from the event only that the run ends
            return
        taken, began = self._taken, time.monotonic()
        self._changed.wait(self._patience)
        slow = (self._taken - taken) * SHORT_SECONDS < (time.monotonic() - began) * self._working()
        if slow and (number := min(len(self._ready), self._limit - self._working())):
            self._call(number)
            self._patience = SHORT_SECONDS
        else:
            self._patience = min(2 * self._patience, WATCH_SECONDS)

    def _working(self) -> int:
        return len(self._threads) - self._idle + self._calls

    def _call(self, number: int) -> None:
        woken = min(number, self._idle - self._calls)
        self._calls += woken
        self._called.notify(woken)
        for _ in range(number - woken):
            # Daemon threads: a query of Polars cannot be interrupted, and must not keep a stopped process alive.
            thread = threading.Thread(target=copy_context().run, args=(self._work,), daemon=True, name="glacier-node")
            self._threads.append(thread)
            thread.start()

    def _end(self) -> None:
        self._over = True
        self._changed.notify()
        self._called.notify_all()

    def _work(self) -> None:
        mine: Piece | None = None
        while True:
            with self._changed:
                if mine is None:
                    mine = self._take()
                if mine is None:
                    return
                self._taken = before = self._taken + 1
            began = time.monotonic()
            name, part = mine
            try:
                parts = self._start(name) if part is None else part()
            except BaseException as error:
                with self._changed:
                    self._error = self._error or error
                    self._stop.set()
                    self._end()
                return
            short = time.monotonic() - began < SHORT_SECONDS
            with self._changed:
                mine = self._next(name, part is None, list(parts or ()))
                if mine is not None and short and self._taken > before and self._working() > 1:
                    self._ready.appendleft(mine)  # others take short nodes, too, and one thread is the quickest then
                    self._wait()
                    mine = None

    def _take(self) -> Piece | None:
        """Return the next ready node, None when all are done."""
        while not self._ready and not self._over:
            self._wait()
        return None if self._over or self._stop.is_set() else self._ready.popleft()

    def _wait(self) -> None:
        """Be idle until called."""
        self._idle += 1
        while not self._calls and not self._over:
            self._called.wait()
        self._idle -= 1
        self._calls = max(0, self._calls - 1)

    def _next(self, name: str, started: bool, parts: list[Work]) -> Piece | None:
        """Note that a piece of work is done; return one that it made ready or that waits."""
        if started and parts:
            self._parts[name] = len(parts)
            ready: list[Piece] = [(name, each) for each in parts]
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
            self._end()
        if self._over or self._stop.is_set():
            return None
        mine = ready.pop(0) if ready else self._ready.popleft() if self._ready else None
        if ready and not self._ready:
            self._changed.notify()
        self._ready.extend(ready)
        return mine
