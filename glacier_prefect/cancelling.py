"""What stops the remote runs that a cancelled run has left: a hook of Prefect, which may run in a process of its own.

Loads Prefect, so nothing imports it before something is run.
"""

from __future__ import annotations

from typing import Any

# isort: split

from prefect.logging.loggers import flow_run_logger

from glacier_prefect import prefect_api
from glacier_prefect.credentials import redaction
from glacier_prefect.environments import find_project
from glacier_prefect.executors.notes import Note
from glacier_prefect.executors.remote import RemoteExecutor
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.run_context import RunContext
from glacier_prefect.run_folders import exchange_root, shared_folders
from glacier_prefect.sources.shared import Shared


def cancel_remote_runs(pipeline: Pipeline, flow: Any, flow_run: Any, state: Any) -> None:
    """Stop what a cancelled run has left on services, known by its notes; a hook of Prefect, in any process.

    Doing it twice does nothing more, and what cannot be stopped does not keep the others from it.
    """
    logger = flow_run_logger(flow_run, flow)
    try:
        shared = shared_folders(pipeline, str(flow_run.id)).get("shared")
    except Exception as error:
        logger.warning("What this run has left in its bucket could not be read: %s", error)
        shared = None
    _cancel_noted(pipeline, flow_run, shared, logger)


def _cancel_noted(pipeline: Pipeline, flow_run: Any, shared: Shared | None, logger: Any) -> None:
    run = str(flow_run.id)
    project = find_project(pipeline.file).name or ""
    exchange = str(exchange_root(pipeline) / run)
    context = RunContext(run_id=run, node="", project=project, exchange=exchange, shared=shared)
    try:
        for note in Note.all_of(context):
            name = note.context.node
            node = pipeline.graph.nodes.get(name) or pipeline.graph.nodes.get(name.rpartition("[")[0])
            if node is not None and isinstance(node.executor, RemoteExecutor):
                problem: Exception | str = "it is not found"
                try:
                    if note.over or node.executor.cancel_left(note):
                        continue
                except Exception as error:
                    problem = error
                logger.warning(
                    "Run %s of task %r on executor %r could not be cancelled, and may go on: %s",
                    note.remote or f"submitted as {note.token}",
                    name,
                    node.executor.name,
                    redaction.hidden(str(problem)),
                )
    except Exception as error:
        logger.warning("What this run has left in its bucket could not be read: %s", error)
    inner = {node.call.name: node.call for node in pipeline.graph.nodes.values() if node.kind == "flow"}
    for name, each in inner.items():
        for child in prefect_api.child_runs(flow_run.id, name):
            _cancel_noted(each, child, shared, logger)
