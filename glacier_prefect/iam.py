"""Which identity may do what where in the clouds, and which line of a pipeline is the reason: `glacier iam`.

It is what the roots of `infrastructure` grant, told task by task. Makes no call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from glacier_prefect.analysis import line_of
from glacier_prefect.environments import PREVIEW_IDENTITY, Environment, Project
from glacier_prefect.graph import Graph, Node
from glacier_prefect.infrastructure import KEPT, kept_prefixes, needs, runs_as_job
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers import Provider
from glacier_prefect.providers.environment import code_place, environment_provider, location_provider
from glacier_prefect.sources import Location
from glacier_prefect.tasks import Task

Verb = Literal["read", "write", "read secret", "run jobs"]


@dataclass(frozen=True, kw_only=True)
class Permission:
    """What one identity may do, and why.

    Attributes:
        identity: The runs of which pipeline, as in "daily", or its jobs in a service for Spark, as in "daily as jobs".
        provider: Registry key of the provider.
        verb: What it may do.
        actions: The same in the words of the cloud; empty where nothing is enforced.
        where: Bucket and prefix, the secret's name in the store, or as whom jobs run.
        task: The node that needs it; None for what every run does.
        reason: Line of the task, and what it does there.
    """

    identity: str
    provider: str
    verb: Verb
    actions: tuple[str, ...]
    where: str
    task: str | None
    reason: str


def permissions(pipelines: Sequence[Pipeline], project: Project) -> list[Permission]:
    """Return all that the runs of pipelines may do in the environment that this process is in.

    Args:
        pipelines: The pipelines.
        project: Their project.
    """
    found: dict[Permission, None] = {}
    for pipeline in sorted(pipelines, key=lambda each: each.name):
        of_nodes = dict.fromkeys(_of_nodes(pipeline, pipeline.graph, project.environment(), project))
        jobs = any(each.verb == "run jobs" for each in of_nodes)
        found |= of_nodes | dict.fromkeys(_of_runs(pipeline, project, jobs=jobs))
    if project.environment().previews:
        found |= dict.fromkeys(_of_previews(pipelines, project))
    return list(found)


def as_jobs(identity: str) -> str:
    """Return who the jobs of a pipeline's runs are."""
    return f"{identity} as jobs"


def _of_nodes(pipeline: Pipeline, graph: Graph, environment: Environment, project: Project) -> Iterator[Permission]:
    for node in graph.nodes.values():
        if node.kind == "flow":
            yield from _of_nodes(pipeline, node.call.graph, environment, project)
            continue
        line, own = _line(node, pipeline), environment_provider(project)
        job = runs_as_job(node, own)
        if job:
            reason = f"{line} runs on executor {node.executor.name!r}"
            yield _permission(pipeline.name, own, "run jobs", as_jobs(pipeline.name), reason, node.name)
        touched: list[tuple[Verb, Location]] = [("read", each) for each in graph.reads(node)]
        touched += [("write", each) for each in node.writes]
        for verb, location in touched:
            reason = f"{line} {'reads' if verb == 'read' else 'writes'} {location.bucket}/{location.path}"
            provider = location_provider(location)
            for prefix in location.prefixes:
                where = f"{location.full_bucket}/{prefix}"
                yield _permission(pipeline.name, provider, verb, where, reason, node.name)
                if job and provider.name == own.name:
                    yield _permission(as_jobs(pipeline.name), provider, verb, where, reason, node.name)
        for name in node.secrets:
            if name in environment.secrets:
                reason = f"{line} uses Secret({name!r})"
                yield _permission(pipeline.name, own, "read secret", environment.secrets[name], reason, node.name)


def _of_runs(pipeline: Pipeline, project: Project, *, jobs: bool) -> Iterator[Permission]:
    reasons = dict(zip(KEPT, ("cached results", "frames between machines", "results for retries"), strict=True))
    for provider, bucket, what, prefix in kept_prefixes(pipeline, project):
        reason = f"every run keeps {reasons[what]}"
        yield _permission(pipeline.name, provider, "write", f"{bucket}/{prefix}", reason)
        if jobs and what == "exchange" and provider.name == environment_provider(project).name:
            where, reason = f"{bucket}/{prefix}", "code and frames of jobs are on their way there"
            yield _permission(as_jobs(pipeline.name), provider, "write", where, reason)
    if (code := code_place(pipeline.graph.locations, project)) is not None:
        own, bucket, prefix = code
        yield _permission(pipeline.name, own, "read", f"{bucket}/{prefix}", "every run takes the code from there")


def _of_previews(pipelines: Sequence[Pipeline], project: Project) -> Iterator[Permission]:
    for provider, needed in needs(pipelines, project):
        accesses = [(PREVIEW_IDENTITY, needed.pipelines[PREVIEW_IDENTITY])]
        for each in needed.jobs:
            accesses.append((as_jobs(PREVIEW_IDENTITY), each.pipelines[PREVIEW_IDENTITY]))
            reason = "previews run what pipelines run as jobs"
            yield _permission(PREVIEW_IDENTITY, provider, "run jobs", as_jobs(PREVIEW_IDENTITY), reason)
        for identity, access in accesses:
            granted: tuple[tuple[Verb, Mapping[str, Sequence[str]], str], ...] = (
                ("read", access.reads, "previews read what pipelines read or write"),
                ("write", access.writes, "previews write only there"),
            )
            for verb, buckets, reason in granted:
                for bucket, prefixes in buckets.items():
                    for prefix in prefixes:
                        yield _permission(identity, provider, verb, f"{bucket}/{prefix}", reason)
        for name in needed.secrets.get(PREVIEW_IDENTITY, ()):
            reason = f"preview_secrets of {project.environment().name}"
            yield _permission(PREVIEW_IDENTITY, provider, "read secret", name, reason)


def _permission(
    identity: str, provider: Provider, verb: Verb, where: str, reason: str, task: str | None = None
) -> Permission:
    actions = tuple(provider.actions.get(verb, ()))
    return Permission(
        identity=identity, provider=provider.name, verb=verb, actions=actions, where=where, task=task, reason=reason
    )


def _line(node: Node, pipeline: Pipeline) -> str:
    line = line_of(node.call) if isinstance(node.call, Task) else None
    return line or f"pipeline {pipeline.name!r}"
