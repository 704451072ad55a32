"""Runs pipelines and their hand-written twins of trivial tasks, and prints what each run took as a line of JSON.

`many.py TASKS ROUNDS`; against the server of `PREFECT_API_URL`, or Glacier alone where there is none. The time is that
of the flow's function, from its first line to its last. Between two runs it waits until the server has stored all of
the first: what is still on its way would slow the second.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import prefect
from prefect.context import FlowRunContext
from prefect.futures import wait

from glacier_prefect import pipeline, task

TASKS, ROUNDS = int(sys.argv[1]), int(sys.argv[2])
API = os.environ.get("PREFECT_API_URL")
STORED_SECONDS = 120


@task
def step(number: int) -> int:
    return number + 1


@pipeline
def independent():
    for number in range(TASKS):
        step(number)


@pipeline
def chained():
    number = step(0)
    for _ in range(TASKS - 1):
        number = step(number)


@prefect.task(task_run_name="{number}")
def prefect_step(number: int) -> int:
    return number + 1


@prefect.flow
def independent_submit():
    wait([prefect_step.submit(number) for number in range(TASKS)])


@prefect.flow
def chained_submit():
    number = prefect_step.submit(0)
    for _ in range(TASKS - 1):
        number = prefect_step.submit(number)
    number.wait()


@prefect.flow
def independent_direct():
    for number in range(TASKS):
        prefect_step(number)


@prefect.flow
def chained_direct():
    number = prefect_step(0)
    for _ in range(TASKS - 1):
        number = prefect_step(number)


last: dict[str, Any] = {}


def timed(flow: prefect.Flow[..., Any]) -> None:
    function = flow.fn

    @functools.wraps(function)
    def run() -> Any:
        began = time.perf_counter()
        result = function()
        last.update(seconds=time.perf_counter() - began, flow_run=str(FlowRunContext.get().flow_run.id))
        return result

    flow.fn = run


def report(name: str, shape: str, call: Callable[[], Any]) -> None:
    call()
    found = {"name": name, "shape": shape, "seconds": last["seconds"]}
    if API:
        found["stored_seconds"] = stored()
        found["wrong_edges"] = len(edges() ^ expected(shape))
    print(json.dumps(found), flush=True)


def post(path: str, body: Any) -> Any:
    request = urllib.request.Request(f"{API}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def stored() -> float:
    """Wait until the server has all task runs and return the seconds of waiting."""
    completed = {"id": {"any_": [last["flow_run"]]}}, {"state": {"type": {"any_": ["COMPLETED"]}}}
    began = time.perf_counter()
    while post("/task_runs/count", {"flow_runs": completed[0], "task_runs": completed[1]}) != TASKS:
        if time.perf_counter() - began > STORED_SECONDS:
            raise SystemExit(f"The server has not stored {TASKS} task runs within {STORED_SECONDS} s.")
        time.sleep(0.1)
    return time.perf_counter() - began


def edges() -> set[tuple[int, int]]:
    """Return the edges of the run's graph as the server has it, by the places of the tasks."""
    with urllib.request.urlopen(f"{API}/flow_runs/{last['flow_run']}/graph-v2", timeout=30) as answer:
        nodes = dict(json.load(answer)["nodes"])
    return {(place(nodes[each["id"]]), place(node)) for node in nodes.values() for each in node["parents"]}


def place(node: dict[str, Any]) -> int:
    label = node["label"]
    return 0 if label == "step" else int(label.removeprefix("step-")) - 1 if label.startswith("step") else int(label)


def expected(shape: str) -> set[tuple[int, int]]:
    return {(number, number + 1) for number in range(TASKS - 1)} if shape == "chained" else set()


def main() -> None:
    flows = [independent.flow, chained.flow]
    if API:
        flows += [independent_submit, chained_submit, independent_direct, chained_direct]
    for flow in flows:
        timed(flow)
    chosen = {"independent": (independent, independent_submit), "chained": (chained, chained_submit)}
    for number in range(-1, ROUNDS):  # the first of each loads and connects
        for shape, (glacier, submit) in chosen.items():
            sides = [("glacier", glacier.run), ("submit", submit)] if API else [("glacier", glacier.run)]
            for name, call in sides if number % 2 == 0 else reversed(sides):
                report(name if number >= 0 else "first", shape, call)
    if API:
        report("direct", "independent", independent_direct)
        report("direct", "chained", chained_direct)


if __name__ == "__main__":
    main()
