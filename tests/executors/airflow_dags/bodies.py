"""DAGs of the tests' Airflow: the bodies of the executors' contract, and some that have more than one task."""

import os
import time
from pathlib import Path

from airflow.sdk import DAG, task


def live(conf, seconds):
    """Leave a mark with the number of this process, and take some time."""
    (Path(conf["marks"]) / f"{conf['where']}-{os.getpid()}").touch()
    print("said by the body", flush=True)
    time.sleep(seconds)


def deep_inside():
    raise ValueError("broken on purpose")


def dag_of(body, **options):
    with DAG(body.__name__, schedule=None, catchup=False, **options) as made:
        task(body)()
    return made


def values(dag_run):
    return dag_run.conf["number"] + 1


def failing():
    deep_inside()


def slow(dag_run):
    live(dag_run.conf, 100)


def brief(dag_run):
    live(dag_run.conf, 6)


def third_time(dag_run):
    live(dag_run.conf, 0.1)
    if len(list(Path(dag_run.conf["marks"]).glob(f"{dag_run.conf['where']}-*"))) < 3:
        raise ValueError("not yet")


def asleep():
    """Never runs, since the DAG is paused."""


for body in (values, failing, slow, brief, third_time):
    globals()[f"{body.__name__}_dag"] = dag_of(body)
asleep_dag = dag_of(asleep, is_paused_upon_creation=True)

with DAG("branches", schedule=None, params={"factor": 1}):

    @task
    def numbers(params):
        print("making numbers")
        return [params["factor"] * each for each in (1, 2, 3)]

    @task
    def total(found):
        return {"total": sum(found)}

    @task
    def doubled(number):
        return 2 * number

    @task
    def silent(found):
        """Return nothing."""

    given = numbers()
    total(given)
    doubled.expand(number=given)
    silent(given)
