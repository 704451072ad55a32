"""The ready-queue: order, sharing out of long work, keeping short work together, and its ends."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import pytest

from glacier_prefect.ready_queue import ReadyQueue


def run(
    upstream: Mapping[str, Sequence[str]],
    body: Callable[[str], object],
    threads: int = 6,
    stop: threading.Event | None = None,
) -> list[tuple[str, int]]:
    """Run a graph and return its nodes as they were done, each with the thread that it ran in."""
    done: list[tuple[str, int]] = []

    def start(name: str) -> None:
        body(name)
        done.append((name, threading.get_ident()))

    ReadyQueue(upstream, start, threads, stop or threading.Event()).run()
    return done


@pytest.mark.parametrize("seed", range(20))
def test_each_node_runs_once_and_after_all_that_it_waits_for(seed: int):
    numbers = random.Random(seed)
    names = [str(place) for place in range(40)]
    upstream = {
        name: tuple({numbers.choice(names[:place]) for _ in range(numbers.randrange(4))}) if place else ()
        for place, name in enumerate(names)
    }
    pauses = {name: numbers.choice([0, 0, 0.001, 0.008]) for name in names}
    order = [name for name, _ in run(upstream, lambda name: time.sleep(pauses[name]), numbers.choice([1, 2, 6]))]
    assert sorted(order) == sorted(names)
    assert all(order.index(each) < order.index(name) for name in names for each in upstream[name])


def test_long_nodes_without_order_run_at_the_same_time():
    together = threading.Barrier(6)
    assert len({thread for _, thread in run({str(place): () for place in range(6)}, lambda _: together.wait(10))}) == 6


def test_no_more_threads_than_allowed_run_at_the_same_time():
    done = run({str(place): () for place in range(8)}, lambda _: time.sleep(0.03), threads=2)
    assert len({thread for _, thread in done}) == 2


def test_short_nodes_stay_on_few_threads():
    """Sharing out makes them slower; a busy machine may stop a thread so long that another is called."""
    done = run({str(place): () for place in range(500)}, lambda _: None)
    threads = [thread for _, thread in done]
    assert max(threads.count(thread) for thread in set(threads)) > 250


def test_a_long_node_does_not_hold_up_short_ones():
    last, seen = threading.Event(), []

    def body(name: str) -> None:
        if name == "long":
            seen.append(last.wait(10))
        elif name == "19":
            last.set()

    run({"long": (), **{str(place): () for place in range(20)}}, body)
    assert seen == [True]


def test_parts_of_a_node_run_at_the_same_time_and_before_what_follows():
    together, done = threading.Barrier(3), []

    def start(name: str):
        return [lambda: done.append(together.wait(10))] * 3 if name == "parts" else done.append(name)

    ReadyQueue({"parts": (), "after": ("parts",)}, start, 3, threading.Event()).run()
    assert sorted(done[:3]) == [0, 1, 2]
    assert done[3:] == ["after"]


def test_an_error_ends_the_queue_and_is_raised():
    ran = []

    def body(name: str) -> None:
        ran.append(name)
        raise ValueError(name)

    with pytest.raises(ValueError, match="first"):
        run({"first": (), "second": ("first",)}, body)
    assert ran == ["first"]


def test_a_stop_from_outside_ends_the_queue():
    stop = threading.Event()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match="stopped"):
        run({"first": (), "second": ("first",)}, lambda _: stop.set(), stop=stop)
    assert time.monotonic() - began < 2


def test_an_empty_graph_is_done_at_once():
    assert run({}, lambda _: None) == []
