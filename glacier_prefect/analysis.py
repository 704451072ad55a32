"""What a pipeline is, as plain data: the JSON of `glacier analyze`, which `report` shows as text, Mermaid or a page.

Loads neither Prefect nor a cloud SDK, and makes no call.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect.environments import find_project
from glacier_prefect.errors import ConfigurationError, OptionError
from glacier_prefect.graph import Node, executor_name
from glacier_prefect.providers.environment import environment_pool
from glacier_prefect.sources import Location, Sink, Source
from glacier_prefect.tasks import Task

if TYPE_CHECKING:
    from glacier_prefect.pipeline import Pipeline

VERSION = 1
# Words of annotations in which no frame can be; a container counts only with what is in it.
PLAIN = re.compile(
    "None|bool|bytes|date|datetime|dict|float|frozenset|int|list|set|str|time|timedelta|tuple|Decimal|Path|UUID"
)
BARE = re.compile(r"\b(dict|list|tuple)\b(?!\[)")


def analyze(pipeline: Pipeline) -> dict[str, Any]:
    """Return what a pipeline is; see `Pipeline.analyze`.

    Returns:
        `{"version": 1, "pipeline", "nodes", "edges", "locations", "providers", "executors", "work_pool"}`; an executor
        has the Terraform `modules` that its tasks need, by source; nodes are in the order in which they can run, and
        `computed` is False for those whose frames stay lazy into their one consumer (a task that is annotated to return
        no frame is computed, `because` it "returns int"); `unseen` are functions that open sources or sinks which no
        graph shows. The work pool is that of the environment, None without a project.
    """
    graph = pipeline.graph
    locations = _locations(graph.locations)
    executors: dict[str, list[str]] = defaultdict(list)
    modules: dict[str, set[str]] = defaultdict(set)
    for node in graph.nodes.values():
        if isinstance(node.call, Task):
            executors[named := executor_name(node.call)].append(node.name)
            modules[named].update(call.source for call in node.executor.modules())
    return {
        "version": VERSION,
        "pipeline": {
            "name": pipeline.name,
            "description": pipeline.description.partition("\n\n")[0],
            "schedule": {"cron": pipeline.schedule, "timezone": pipeline.timezone} if pipeline.schedule else None,
            "parameters": [_parameter(each) for each in graph.signature.parameters.values()],
            "file": _relative(pipeline.file) or pipeline.module,
            "variable": pipeline.variable,
            "tags": list(pipeline.tags),
        },
        "nodes": [_node(node, graph.computed[node.name], locations) for node in graph.nodes.values()],
        "edges": [dict(zip(("from", "to", "kind", "label"), edge, strict=True)) for edge in graph.edges()],
        "locations": sorted(
            {entry["id"]: entry for entry in _entries(graph.locations, locations)}.values(),
            key=lambda entry: entry["id"],
        ),
        "providers": sorted({each.provider_name for each in graph.locations}),
        "work_pool": _work_pool(pipeline),
        "executors": [
            {"name": name, "tasks": tasks, **({"modules": sorted(modules[name])} if modules[name] else {})}
            for name, tasks in sorted(executors.items())
        ],
    }


def _work_pool(pipeline: Pipeline) -> dict[str, str] | None:
    project = find_project(pipeline.file)
    if project.name is None:
        return None
    name = f"glacier-{project.name}-{project.environment().name}-pool"
    try:
        return {"name": name, "type": environment_pool(project).type}
    except (ConfigurationError, OptionError):
        return None  # a setting is missing or wrong, which matters when something is deployed


def _node(node: Node, reasons: tuple[str, ...], locations: Mapping[int, str]) -> dict[str, Any]:
    task = node.call if isinstance(node.call, Task) else None
    if not reasons and task and (text := _plain_result(task)):
        reasons = (f"returns {text}",)
    described = inspect.getdoc(task.fn) if task else getattr(node.call, "description", None)
    return {
        "name": node.name,
        "kind": node.kind,
        "task": task.name if task else getattr(node.call, "name", node.name),
        "executor": executor_name(task) if task else None,
        "description": (described or "").partition("\n\n")[0],
        "line": line_of(task),
        "options": {name: _plain(value) for name, value in _options(node).items()},
        "computed": bool(reasons),
        "because": [reason for reason in reasons if reason not in ("writes", "sub-flow")],
        "reads": sorted({locations[id(each)] for each in node.reads}),
        "writes": sorted({locations[id(each)] for each in node.writes}),
        "secrets": list(node.secrets),
        "unseen": list(node.unseen),
    }


def _plain_result(task: Task[..., Any]) -> str | None:
    """Return the annotation of a task's result if it says that no frame is in it, else None."""
    annotation = task.signature.return_annotation
    if annotation is inspect.Signature.empty:
        return None
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    words = re.findall(r"(?:\w+\.)*([^\W\d]\w*)", text)
    return text if all(map(PLAIN.fullmatch, words)) and not BARE.search(text) else None


def _options(node: Node) -> dict[str, Any]:
    if not isinstance(node.call, Task):
        return {}
    task = node.call
    own = {
        "cache": task.cache or None,
        "checks": [str(check) for check in task.checks] or None,
        "columns": {name: list(columns) for name, columns in task.columns.items()} or None,
        "materialize": task.materialize,
        "schema": {name: str(dtype) for name, dtype in task.schema.items()} if task.schema else None,
        "batch": node.batch,
    }
    return {**task.options, **{name: value for name, value in own.items() if value is not None}}


def _locations(found: tuple[Location, ...]) -> dict[int, str]:
    """Return an id for each location: bucket and path, which a source and a sink of one place share.

    Where different stores have equal ones, the provider's name stands before them, and a number after those of one
    provider.
    """
    stores: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in found:
        if _store(each) not in stores[_text(each)]:
            stores[_text(each)].append(_store(each))
    return {id(each): _prefix(_store(each), stores[_text(each)]) + _text(each) for each in found}


def _text(location: Location) -> str:
    return f"{location.bucket}/{location.path}"


def _store(location: Location) -> tuple[str, str]:
    uri = _uri(location)
    return location.provider_name, uri or ""


def _prefix(store: tuple[str, str], stores: list[tuple[str, str]]) -> str:
    alike = [each for each in stores if each[0] == store[0]]
    number = f"-{alike.index(store) + 1}" if len(alike) > 1 else ""
    return f"{store[0]}{number}:" if len(stores) > 1 else ""


def _entries(found: tuple[Location, ...], ids: Mapping[int, str]) -> list[dict[str, Any]]:
    roles: dict[str, set[str]] = defaultdict(set)
    for each in found:
        roles[ids[id(each)]].add("source" if isinstance(each, Source) else "sink")
    entries = []
    for each in sorted(found, key=lambda location: isinstance(location, Sink)):
        role = roles[ids[id(each)]]
        entries.append(
            {
                "id": ids[id(each)],
                "role": "both" if len(role) == 2 else next(iter(role)),
                "provider": each.provider_name,
                "bucket": each.bucket,
                "path": each.path,
                "prefix": each.prefix,
                "format": each.file_format.name,
                "uri": _uri(each),
                "mode": each.mode if isinstance(each, Sink) else None,
                "partition_by": list(each.partition_by) if isinstance(each, Sink) else [],
            }
        )
    return entries


def _uri(location: Location) -> str | None:
    try:
        return location.uri
    except ConfigurationError:
        return None  # a setting is missing, which matters when the pipeline runs


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    annotation = parameter.annotation
    required = parameter.default is parameter.empty
    return {
        "name": parameter.name,
        "type": ""
        if annotation is parameter.empty
        else annotation
        if isinstance(annotation, str)
        else inspect.formatannotation(annotation),
        "default": None if required else repr(parameter.default),
        "required": required,
    }


def line_of(task: Task[..., Any] | None) -> str | None:
    """Return file and line of a task's function."""
    code = getattr(inspect.unwrap(task.fn), "__code__", None) if task else None
    return f"{_relative(code.co_filename)}:{code.co_firstlineno}" if code else None


def _relative(file: str | None) -> str | None:
    if file is None:
        return None
    path = Path(file)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path.name


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(item) for item in value)
    return getattr(value, "__name__", None) or str(value)
