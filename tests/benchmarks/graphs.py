"""What it takes to declare and analyse a large pipeline; nothing here loads Prefect."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from measure import PAIRS, Line, note

from glacier_prefect import Pipeline, pipeline, task

WIDTH = 100
SIZES = (1_000, 10_000)


@task
def start(number: int) -> int:
    return number


@task
def follow(first: int, second: int) -> int:
    return first + second


def layers(size: int) -> None:
    """Layers of a hundred nodes; each takes the results of two of the layer before."""
    layer = [start(number) for number in range(WIDTH)]
    for _ in range(size // WIDTH - 1):
        layer = [follow(layer[place], layer[place - 1]) for place in range(WIDTH)]


def chain(size: int) -> None:
    number = start(0)
    for _ in range(size - 1):
        number = follow(number, 1)


def wide(size: int) -> None:
    for number in range(size):
        start(number)


def measure() -> list[Line]:
    lines = []
    for shape in (layers, chain, wide):
        small, large = (median(_seconds(shape, size) for _ in range(PAIRS)) for size in SIZES)
        figures = f"{small:.2f} s for {SIZES[0]:,}"
        note(f"graph and analysis, {shape.__name__}: {large:.3f} s, {figures}")
        what = f"graph and analysis of {SIZES[1]:,} nodes in {_named(shape)}"
        lines.append(Line(what=what, figures=figures, value=large, unit=" s", aim=2))
        lines.append(
            Line(what="  against ten times those of 1,000", figures="", value=large / (small * SIZES[1] / SIZES[0]))
        )
    assert "prefect" not in sys.modules
    return lines


def _named(shape: Callable[[int], Any]) -> str:
    return {"layers": "layers of 100", "chain": "one chain", "wide": "no order"}[shape.__name__]


def _seconds(shape: Callable[[int], Any], size: int) -> float:
    gc.collect()
    began = time.perf_counter()

    @pipeline(name="large")
    def made() -> None:
        shape(size)

    assert isinstance(made, Pipeline)
    assert len(made.analyze()["nodes"]) == size
    return time.perf_counter() - began
