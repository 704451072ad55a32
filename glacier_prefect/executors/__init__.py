"""Executors: where and how a task's body runs."""

from __future__ import annotations

from glacier_prefect.executors.base import Executor
from glacier_prefect.executors.local import LocalExecutor
from glacier_prefect.registry import Registry

EXECUTORS = Registry(
    kind="executor",
    group="glacier_prefect.executors",
    table={
        "local": "glacier_prefect.executors.local:LocalExecutor",
        "dbt": "glacier_prefect.executors.later:DbtExecutor",
        "databricks": "glacier_prefect.executors.later:DatabricksExecutor",
        "spark": "glacier_prefect.executors.later:SparkExecutor",
        "airflow": "glacier_prefect.executors.later:AirflowExecutor",
    },
)


def register_executor(name: str, executor: str | type[Executor]) -> None:
    """Make an executor known under a name, for `@task(executor=name)`.

    Args:
        name: The new name.
        executor: A subclass of `Executor`, or `"module:Class"`.
    """
    EXECUTORS.register(name, executor)


__all__ = ["EXECUTORS", "Executor", "LocalExecutor", "register_executor"]
