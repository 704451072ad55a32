"""Previews: the deployments of a branch beside those of an environment, with the environment's data to read and a
folder of their own in each bucket to write. Nothing of the environment is changed, and Terraform makes nothing.

Which buckets a preview writes to stands in its deployments, and so in its record: its code may be gone when it is
removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from glacier_prefect.environments import PREVIEW_IDENTITY, PREVIEWS, Project, preview_name
from glacier_prefect.errors import PreviewError, SourceNotFoundError
from glacier_prefect.providers.base import PROVIDERS, Provider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider, exchange_location, location_provider
from glacier_prefect.sources import Sink

if TYPE_CHECKING:
    from glacier_prefect.deployments.state import State
    from glacier_prefect.pipeline import Pipeline
    from glacier_prefect.sources import Location

VARIABLE = "GLACIER_PREVIEW_DATA"
"""Job variable of a preview's deployments: the buckets to which their runs may write."""


def check(project: Project, pipelines: Iterable[Pipeline]) -> None:
    """Refuse a preview that could touch what is not its own, or that nobody allowed.

    Raises:
        PreviewError: Says what to do.
    """
    name, environment = preview_name(), project.environment()
    where = environment.where or f"[environments.{environment.name}]"
    if name in {*project.environments, environment.name}:
        raise PreviewError(f"A preview cannot be named {name!r}, as an environment is.\nHint: --preview pr-42")
    if isinstance(environment_provider(project), CloudProvider) and not environment.previews:
        raise PreviewError(
            f"{where} has no previews. Nothing was changed.\n"
            "Hint: write previews = true there and deploy it once: that makes an identity which reads the data of its "
            f"pipelines and writes only below {PREVIEWS}, so that the code of a branch can overwrite nothing."
        )
    for pipeline in pipelines:
        for sink in pipeline.graph.locations:
            if isinstance(sink, Sink) and not sink.within:
                raise PreviewError(
                    f"Pipeline {pipeline.name!r} has the {sink}, whose provider does not follow the environment: a "
                    f"preview would write over {sink.uri}. Nothing was changed.\n"
                    "Hint: make the sink by Provider.from_env()."
                )


def check_deployed(project: Project, outputs: Mapping[str, Any]) -> None:
    """Refuse a preview of an environment that is not deployed, or was before it had previews.

    Args:
        project: The project.
        outputs: What Terraform knows of the environment's infrastructure.
    """
    environment, provider = project.environment(), environment_provider(project)
    if "work_pool" not in outputs:
        raise PreviewError(
            f"Environment {environment.name!r} is not deployed, and a preview runs in its work pool. Nothing was "
            f"changed.\nHint: glacier deploy --env {environment.name}"
        )
    runs_there = isinstance(provider, CloudProvider) and provider.runs_there(outputs["work_pool"]["type"])
    if runs_there and PREVIEW_IDENTITY not in outputs.get("pipeline_job_variables", {}):
        raise PreviewError(
            f"Environment {environment.name!r} has no identity for previews yet. Nothing was changed.\n"
            f"Hint: glacier deploy --env {environment.name}, which makes it."
        )


def places(locations: Iterable[Location], named: Location | None = None) -> str:
    """Return the buckets to which runs of a preview may write, and how to reach them, as JSON.

    Args:
        locations: What a pipeline reads and writes.
        named: The environment's `exchange`.
    """
    locations = list(locations)
    exchange = exchange_location(locations, named)
    found = set()
    for each in (*locations, *(exchange[:1] if exchange else ())):
        if (location := each.own()).within:
            provider = location_provider(location).resolved()
            settings = {name: value for name in provider.settings() if (value := getattr(provider, name))}
            found.add(json.dumps([provider.name, location.bucket, settings], sort_keys=True))
    return json.dumps([json.loads(each) for each in sorted(found)])


def recorded(state: State) -> list[str]:
    """Return what `places` said of all deployments of a preview that there ever were."""
    return [
        each.fields["job_variables"]["env"][VARIABLE]
        for number in state.numbers()
        for each in state.record(number).objects
        if each.kind == "deployment"
    ]


def discard(told: Sequence[str], name: str) -> int:
    """Remove all that a preview wrote, and return how many objects these were.

    Args:
        told: What `places` returned, of each pipeline.
        name: The preview's name.
    """
    removed = 0
    for key in sorted({json.dumps(place, sort_keys=True) for each in told for place in json.loads(each)}):
        kind, bucket, settings = json.loads(key)
        provider: Provider = replace(PROVIDERS.load(kind)(**settings), preview=PREVIEWS + name)
        try:
            removed += provider.bucket_sink(bucket, "all.parquet").discard()
        except SourceNotFoundError:  # nor is the bucket
            continue
    return removed
