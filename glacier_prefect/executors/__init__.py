"""Executors: where and how a task's body runs."""

from __future__ import annotations

import os
from typing import Any

from glacier_prefect.environments import FILE, Project
from glacier_prefect.errors import ConfigurationError, GlacierError, nearest
from glacier_prefect.executors import parcel
from glacier_prefect.executors.airflow import AirflowExecutor
from glacier_prefect.executors.base import Body, Executor
from glacier_prefect.executors.databricks import DatabricksExecutor
from glacier_prefect.executors.dbt import DbtExecutor
from glacier_prefect.executors.local import LocalExecutor
from glacier_prefect.executors.parcel import BucketPlace, FolderPlace, Place
from glacier_prefect.executors.remote import RemoteExecutor, RemoteState, Work
from glacier_prefect.executors.spark import SparkExecutor
from glacier_prefect.registry import Registry

EXECUTORS = Registry(
    kind="executor",
    group="glacier_prefect.executors",
    table={
        "local": "glacier_prefect.executors.local:LocalExecutor",
        "dbt": "glacier_prefect.executors.dbt:DbtExecutor",
        "databricks": "glacier_prefect.executors.databricks:DatabricksExecutor",
        "spark": "glacier_prefect.executors.spark:SparkExecutor",
        "airflow": "glacier_prefect.executors.airflow:AirflowExecutor",
    },
)


def register_executor(name: str, executor: str | type[Executor]) -> None:
    """Make an executor known under a name, for `@task(executor=name)`.

    Args:
        name: The new name.
        executor: A subclass of `Executor`, or `"module:Class"`.
    """
    EXECUTORS.register(name, executor)


def environment_executor(executor: str | Executor, project: Project) -> Executor:
    """Return an executor with the environment's settings of it; what code gives beats them.

    Args:
        executor: Its name, or one with options.
        project: Where the environment is described.

    Raises:
        ConfigurationError: The file has a setting that the executor does not have.
    """
    named = executor if isinstance(executor, str) else executor.name
    kind: type[Executor] = EXECUTORS.load(executor) if isinstance(executor, str) else type(executor)
    environment = project.environment()
    for name in environment.executors:
        # One that is not registered may be by a file that this pipeline does not import; a near miss is a slip.
        if name != named and name not in EXECUTORS.names() and (hint := nearest(name, EXECUTORS.names()))[:3] == "Did":
            raise ConfigurationError(f"{environment.where} has settings of an unknown executor {name!r}. {hint}")
    settings = environment.executors.get(named, {})
    where = f"{environment.where.removesuffix(']')}.executors.{named}]"
    for key in settings:
        if key not in kind.settings():
            raise ConfigurationError(f"{where} has the unknown setting {key!r}. {nearest(key, kind.settings())}")
    placed: dict[str, Any] = {
        key: os.path.join(project.folder, value) if key in kind.paths and isinstance(value, str) else value
        for key, value in settings.items()
    }
    try:
        return kind(**placed) if isinstance(executor, str) else executor.completed(placed)
    except GlacierError as error:
        if not settings:
            raise
        raise ConfigurationError(f"{where}: {error}") from None
    except TypeError as error:  # of an executor with a setting that has no default
        raise ConfigurationError(
            f"The executor {named!r} lacks a setting: {error}\n"
            f"Hint: write it into [environments.{environment.name}.executors.{named}] of {FILE}."
        ) from None


__all__ = [
    "EXECUTORS",
    "AirflowExecutor",
    "Body",
    "BucketPlace",
    "DatabricksExecutor",
    "DbtExecutor",
    "Executor",
    "FolderPlace",
    "LocalExecutor",
    "Place",
    "RemoteExecutor",
    "RemoteState",
    "SparkExecutor",
    "Work",
    "environment_executor",
    "parcel",
    "register_executor",
]
