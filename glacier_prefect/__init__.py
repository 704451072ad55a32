"""Glacier: a Prefect flow framework over Polars LazyFrames.

Importing this loads neither Prefect nor a cloud SDK.
"""

from glacier_prefect.credentials import Secret
from glacier_prefect.executors import (
    AirflowExecutor,
    DatabricksExecutor,
    DbtExecutor,
    Executor,
    LocalExecutor,
    SparkExecutor,
    register_executor,
)
from glacier_prefect.pipeline import Pipeline, pipeline
from glacier_prefect.tasks import Task, task, unmapped

__all__ = [
    "AirflowExecutor",
    "DatabricksExecutor",
    "DbtExecutor",
    "Executor",
    "LocalExecutor",
    "Pipeline",
    "Secret",
    "SparkExecutor",
    "Task",
    "pipeline",
    "register_executor",
    "task",
    "unmapped",
]
__version__ = "0.1.0"
