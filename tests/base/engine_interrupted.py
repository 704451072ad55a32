"""A run that waits to be interrupted; says how its flow ended and whether a thread of the endpoint is left."""

import threading
import time

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas import State

from glacier_prefect import engine


@task(cache_policy=NO_CACHE)
def wait() -> None:
    print("running")
    for _ in range(600):  # a signal that comes just before one long sleep begins would wait for its end, in any Python
        time.sleep(0.1)


def ended(flow: object, flow_run: object, state: State) -> None:
    print("hook", state.name)


@flow(on_crashed=[ended], on_failure=[ended], on_completion=[ended])
def waits() -> None:
    engine.run_task(wait, {})


if __name__ == "__main__":
    try:
        with engine.serverless():
            engine.run_flow(waits, {})
    finally:
        print("threads", [thread.name for thread in threading.enumerate() if thread.name == "glacier-endpoint"])
