"""From pipelines and an environment to what should be in Prefect: blocks, a work pool, deployments, as plain values.

Talks to nobody. Code owns `fields`: they are compared and written. `once` is written when an object is made and belongs
to operators from then on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glacier_prefect.deployments.code import GitCode, LocalCode, code_hash
from glacier_prefect.errors import ConfigurationError, NameTakenError, NotAvailableError
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.sources.local import LocalSink, LocalSource

SCHEDULE = "glacier"  # the slug of a deployment's one schedule that code owns


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where pipelines are deployed to.

    Attributes:
        project: The project's name.
        env: The environment's name.
        folder: The project's folder; entrypoints are relative to it.
        code: How code reaches the worker: "local" or "git".
        git: Where the worker clones from, None for the remote `origin`.
        settings: The environment's settings; other ones make each deployment another one.
    """

    project: str
    env: str
    folder: Path
    code: str = "local"
    git: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def name(self, what: str) -> str:
        """Return the name of a block; blocks have no tags that could say whose they are."""
        return re.sub(r"[^a-z0-9]+", "-", f"glacier-{self.project}-{self.env}-{what}".lower()).strip("-")

    @property
    def pool(self) -> str:
        """The name of the work pool, as long as the infrastructure does not say it."""
        return f"glacier-{self.project}-{self.env}-pool"

    @property
    def tags(self) -> tuple[str, str]:
        """The tags of all its deployments."""
        return f"glacier:project={self.project}", f"glacier:env={self.env}"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One object that should be in Prefect.

    Attributes:
        kind: block, work_pool or deployment.
        name: Its name; of a deployment "<flow>/<environment>".
        fields: What code owns.
        once: What is set when it is made, and belongs to operators from then on.
    """

    kind: str
    name: str
    fields: Mapping[str, Any]
    once: Mapping[str, Any] = field(default_factory=dict)


def desired(pipelines: Iterable[Pipeline], target: Target, outputs: Mapping[str, Any] | None = None) -> list[Wanted]:
    """Return what should be in Prefect, in the order in which it is made.

    Args:
        pipelines: All pipelines of the project.
        target: Where they are deployed to.
        outputs: What Terraform knows of the infrastructure.

    Raises:
        ConfigurationError: A pipeline cannot be found by a worker, or its code cannot reach one.
        NameTakenError: Two pipelines have one name.
    """
    pipelines = list(pipelines)
    if not pipelines:
        return []
    outputs = outputs or {}
    pool = {"name": target.pool, "type": "process", **outputs.get("work_pool", {})}
    known: dict[str, Pipeline] = {}
    for each in pipelines:
        if known.setdefault(each.name, each) is not each:
            raise NameTakenError(
                f"Two pipelines have the name {each.name!r}: in {known[each.name].file} and in {each.file}.\n"
                "Hint: a deployment is named after its pipeline; give one another name."
            )
    found = [*_blocks(pipelines, target)]
    found.append(
        Wanted(
            kind="work_pool",
            name=pool["name"],
            fields={"type": pool["type"], "description": f"Made by Glacier for {target.project}, {target.env}."},
        )
    )
    code = _code(target)
    steps, identity = code.pull_steps(), code.identity()
    found += [_deployment(each, target, pool["name"], outputs, steps, identity) for _, each in sorted(known.items())]
    return found


def _code(target: Target) -> LocalCode | GitCode:
    if target.code == "local":
        return LocalCode(target.folder)
    if target.code == "git":
        return GitCode(target.folder, target.git)
    raise NotAvailableError(
        f'code = "{target.code}" is not available in this version of Glacier.\nHint: use "local" or "git".'
    )


def _blocks(pipelines: Iterable[Pipeline], target: Target) -> Iterable[Wanted]:
    folders = {
        location.full_bucket: str(location.folder)
        for pipeline in pipelines
        for location in pipeline.graph.locations
        if isinstance(location, LocalSource | LocalSink)
    }
    taken: dict[str, str] = {}
    for bucket, folder in sorted(folders.items()):
        name = target.name(bucket)
        if taken.setdefault(name, bucket) != bucket:
            raise NameTakenError(
                f"The buckets {taken[name]!r} and {bucket!r} would have one block, {name!r}: names of blocks have only "
                "small letters, digits and '-'.\nHint: rename one."
            )
        yield Wanted(kind="block", name=name, fields={"block_type": "local-file-system", "data": {"basepath": folder}})


def _deployment(
    pipeline: Pipeline,
    target: Target,
    pool: str,
    outputs: Mapping[str, Any],
    steps: list[dict[str, Any]],
    identity: Mapping[str, Any],
) -> Wanted:
    variable = pipeline.require_variable("deployed")
    assert pipeline.file is not None
    file = Path(pipeline.file).resolve()
    if not file.is_relative_to(target.folder):
        raise ConfigurationError(
            f"Pipeline {pipeline.name!r} is in {file}, outside of the project's folder {target.folder}."
        )
    variables = {**outputs.get("job_variables", {}), **outputs.get("pipeline_job_variables", {}).get(pipeline.name, {})}
    ours = {"GLACIER_ENV": target.env, "GLACIER_PROJECT": target.project}
    variables["env"] = {**variables.get("env", {}), **ours}
    schedule = None
    if pipeline.schedule is not None:
        schedule = {"cron": pipeline.schedule, "timezone": pipeline.timezone}
    fields = {
        "entrypoint": f"{file.relative_to(target.folder).as_posix()}:{variable}.flow",
        "pull_steps": steps,
        "parameter_openapi_schema": pipeline.flow.parameters.model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "tags": sorted({*pipeline.tags, *target.tags}),
        "description": pipeline.description or None,
        "work_pool_name": pool,
        "job_variables": variables,
        "schedule": schedule,
    }
    also = {**identity, "settings": dict(target.settings), "job_variables": variables, "pool": pool}
    fields["version"] = code_hash(pipeline, target.folder, also)
    plain = json.loads(json.dumps(fields))  # what comes back from Prefect and from the record
    return Wanted(kind="deployment", name=f"{pipeline.name}/{target.env}", fields=plain)
