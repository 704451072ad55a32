"""Tasks in Dask's worker processes, which know nothing of Glacier; prints JSON."""

import json
import os

from prefect import flow, runtime, tags, task
from prefect.cache_policies import NO_CACHE
from prefect_dask import DaskTaskRunner

CLUSTER = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}


@task(cache_policy=NO_CACHE, retries=1)
def double(x: int) -> tuple[int, int, int, list[str]]:
    attempt = runtime.task_run.run_count
    if x == 2 and attempt == 1:
        raise ValueError("once")
    return 2 * x, os.getpid(), attempt, [name for name in os.environ if name == "PREFECT_API_URL"]


@task(cache_policy=NO_CACHE)
def add(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return a[0] + b[0]


@flow(task_runner=DaskTaskRunner(cluster_kwargs=CLUSTER))
def on_dask() -> dict[str, object]:
    first = double.submit(1)
    with tags("tagged"):
        second = double.submit(2)
    result = add.submit(first, second).result()
    _, pid, attempt, environment = second.result()
    return {"result": result, "elsewhere": pid != os.getpid(), "environment": environment, "retried": attempt}


if __name__ == "__main__":  # imported by the workers as well
    from glacier_prefect import engine

    with engine.serverless():
        print(json.dumps(engine.run_flow(on_dask, {}).result()))
