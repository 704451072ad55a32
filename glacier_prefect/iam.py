"""Which identity may do what where in the clouds, and which line of a pipeline is the reason: `glacier iam`.

It is what the roots of `infrastructure` grant, told task by task. Makes no call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from glacier_prefect.analysis import line_of
from glacier_prefect.environments import PREVIEW_IDENTITY, Environment, Project
from glacier_prefect.graph import Graph, Node
from glacier_prefect.infrastructure import KEPT, kept_prefixes, needs
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.environment import code_place, environment_provider, location_provider
from glacier_prefect.sources import Location
from glacier_prefect.tasks import Task

Verb = Literal["read", "write", "read secret"]


@dataclass(frozen=True, kw_only=True)
class Permission:
    """What one identity may do, and why.

    Attributes:
        identity: The runs of which pipeline.
        provider: Registry key of the provider.
        verb: What it may do.
        actions: The same in the words of the cloud; empty where nothing is enforced.
        where: Bucket and prefix, or the secret's name in the store.
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
        found |= dict.fromkeys(_of_nodes(pipeline, pipeline.graph, project.environment(), project))
        found |= dict.fromkeys(_of_runs(pipeline, project))
    if project.environment().previews:
        found |= dict.fromkeys(_of_previews(pipelines, project))
    return list(found)


def _of_nodes(pipeline: Pipeline, graph: Graph, environment: Environment, project: Project) -> Iterator[Permission]:
    for node in graph.nodes.values():
        if node.kind == "flow":
            yield from _of_nodes(pipeline, node.call.graph, environment, project)
            continue
        line = _line(node, pipeline)
        touched: list[tuple[Verb, Location]] = [("read", each) for each in graph.reads(node)]
        touched += [("write", each) for each in node.writes]
        for verb, location in touched:
            provider = location_provider(location)
            for prefix in location.prefixes:
                what = f"{'reads' if verb == 'read' else 'writes'} {location.bucket}/{location.path}"
                yield Permission(
                    identity=pipeline.name,
                    provider=provider.name,
                    verb=verb,
                    actions=tuple(provider.actions.get(verb, ())),
                    where=f"{location.full_bucket}/{prefix}",
                    task=node.name,
                    reason=f"{line} {what}",
                )
        own = environment_provider(project)
        for name in node.secrets:
            if name in environment.secrets:
                yield Permission(
                    identity=pipeline.name,
                    provider=own.name,
                    verb="read secret",
                    actions=tuple(own.actions.get("read secret", ())),
                    where=environment.secrets[name],
                    task=node.name,
                    reason=f"{line} uses Secret({name!r})",
                )


def _of_runs(pipeline: Pipeline, project: Project) -> Iterator[Permission]:
    reasons = dict(zip(KEPT, ("cached results", "frames between machines", "results for retries"), strict=True))
    for provider, bucket, what, prefix in kept_prefixes(pipeline, project):
        yield Permission(
            identity=pipeline.name,
            provider=provider.name,
            verb="write",
            actions=tuple(provider.actions.get("write", ())),
            where=f"{bucket}/{prefix}",
            task=None,
            reason=f"every run keeps {reasons[what]}",
        )
    if (code := code_place(pipeline.graph.locations, project)) is not None:
        provider, bucket, prefix = code
        yield Permission(
            identity=pipeline.name,
            provider=provider.name,
            verb="read",
            actions=tuple(provider.actions.get("read", ())),
            where=f"{bucket}/{prefix}",
            task=None,
            reason="every run takes the code from there",
        )


def _of_previews(pipelines: Sequence[Pipeline], project: Project) -> Iterator[Permission]:
    environment = project.environment()
    verbs: tuple[tuple[Verb, str], ...] = (("read", "read what pipelines read or write"), ("write", "write only there"))
    for provider, needed in needs(pipelines, project):
        access = needed.pipelines[PREVIEW_IDENTITY]
        for verb, reason in verbs:
            for bucket, prefixes in (access.reads if verb == "read" else access.writes).items():
                for prefix in prefixes:
                    yield Permission(
                        identity=PREVIEW_IDENTITY,
                        provider=provider.name,
                        verb=verb,
                        actions=tuple(provider.actions.get(verb, ())),
                        where=f"{bucket}/{prefix}",
                        task=None,
                        reason=f"previews {reason}",
                    )
        for name in needed.secrets.get(PREVIEW_IDENTITY, ()):
            yield Permission(
                identity=PREVIEW_IDENTITY,
                provider=provider.name,
                verb="read secret",
                actions=tuple(provider.actions.get("read secret", ())),
                where=name,
                task=None,
                reason=f"preview_secrets of {environment.name}",
            )


def _line(node: Node, pipeline: Pipeline) -> str:
    line = line_of(node.call) if isinstance(node.call, Task) else None
    return line or f"pipeline {pipeline.name!r}"
