"""From pipelines and an environment to what should be in Prefect: blocks, a work pool, deployments, as plain values.

Talks to nobody. Code owns `fields`: they are compared and written. `once` is written when an object is made and belongs
to operators from then on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from glacier_prefect.blocks import Block
from glacier_prefect.deployments.code import Code, Delivery, GitCode, LocalCode, code_hash
from glacier_prefect.deployments.previews import VARIABLE, places
from glacier_prefect.environments import PREVIEW_IDENTITY
from glacier_prefect.errors import ConfigurationError, NameTakenError
from glacier_prefect.executors.base import DEPLOYED
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.pools import Pool
from glacier_prefect.providers.environment import exchange_location, location_provider
from glacier_prefect.sources import Location

SCHEDULE = "glacier"  # the slug of a deployment's one schedule that code owns


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where pipelines are deployed to.

    Attributes:
        project: The project's name.
        env: The environment's name.
        folder: The project's folder; entrypoints are relative to it.
        code: How code reaches the worker: "local" or "git", or by `delivery`.
        git: Where the worker clones from, None for the remote `origin`.
        delivery: What brings code to where workers find it; None if nothing has to.
        pool: The work pool.
        exchange: Where runs leave results and frames for other machines; a pipeline's first bucket if None.
        settings: The environment's settings; other ones make each deployment another one.
        preview: Name of the preview of the environment that they are; None for the environment itself.
    """

    project: str
    env: str
    folder: Path
    code: str = "local"
    git: str | None = None
    delivery: Delivery | None = None
    pool: Pool = field(default_factory=Pool)
    exchange: Location | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    preview: str | None = None

    def name(self, what: str) -> str:
        """Return the name of a block; blocks have no tags that could say whose they are."""
        whose = f"{self.env}-{self.preview}" if self.preview else self.env
        return re.sub(r"[^a-z0-9]+", "-", f"glacier-{self.project}-{whose}-{what}".lower()).strip("-")

    @property
    def pool_name(self) -> str:
        """The name of the work pool, as long as the infrastructure does not say it."""
        return f"glacier-{self.project}-{self.env}-pool"

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of all its deployments."""
        preview = (f"glacier:preview={self.preview}",) if self.preview else ()
        return f"glacier:project={self.project}", f"glacier:env={self.env}", *preview


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
    pool = _pool(target, outputs)
    known: dict[str, Pipeline] = {}
    for each in pipelines:
        if known.setdefault(each.name, each) is not each:
            raise NameTakenError(
                f"Two pipelines have the name {each.name!r}: in {known[each.name].file} and in {each.file}.\n"
                "Hint: a deployment is named after its pipeline; give one another name."
            )
    found = [*_blocks(pipelines, target)]
    if target.preview is None:  # else it is the environment's, as its infrastructure is
        found.append(pool)
    code = _code(target, pool.fields["type"])
    found += [_deployment(each, target, pool.name, outputs, code) for _, each in sorted(known.items())]
    return found


def _pool(target: Target, outputs: Mapping[str, Any]) -> Wanted:
    made = outputs.get("work_pool", {})
    pool = target.pool
    if (type := made.get("type", pool.type)) != pool.type:
        pool = replace(pool, type=type, variables={})
    if type not in ("process", "kubernetes") and made:
        # Those of Prefect are in the job variables that Terraform gives; each run reads its own by its role
        pool = replace(pool, secrets={})
    pool.check()
    fields = {
        "type": pool.type,
        "description": f"Made by Glacier for {target.project}, {target.env}.",
        "base_job_template": pool.changes(),
    }
    return Wanted(
        kind="work_pool",
        name=made.get("name", target.pool_name),
        fields=json.loads(json.dumps(fields)),
    )


def _code(target: Target, pool: str) -> Code:
    if target.code == "image" and pool == "process":
        raise ConfigurationError(
            "code = \"image\" means that a run starts from an image, and those of a work pool 'process' start none.\n"
            'Hint: code = "local", "git" or "bucket".'
        )
    if target.delivery is not None:
        return target.delivery
    if target.code == "local":
        if pool != "process":
            raise ConfigurationError(
                f'code = "local" means that the worker has the project\'s folder, and runs of a work pool {pool!r} are '
                'elsewhere.\nHint: code = "git", "bucket" or "image".'
            )
        return LocalCode(target.folder)
    if target.code != "git":
        raise ConfigurationError(
            f'code = "{target.code}" needs an environment in a cloud.\nHint: code = "local" or "git".'
        )
    return GitCode(target.folder, target.git)


def _blocks(pipelines: Iterable[Pipeline], target: Target) -> Iterable[Wanted]:
    found: dict[str, tuple[str, Block]] = {}
    listed = [results_block(each, target) for each in pipelines]
    wanted = [(each[0], each[0], each[1]) for each in listed if each is not None]
    buckets = pipelines if target.preview is None else ()  # those of a preview are the environment's
    for location in (each for pipeline in buckets for each in pipeline.graph.locations):
        if (made := location_provider(location).resolved().storage(location.bucket)) is not None:
            wanted.append((target.name(location.full_bucket), location.full_bucket, made))
    for name, bucket, block in wanted:
        if found.setdefault(name, (bucket, block)) != (bucket, block):
            raise NameTakenError(
                f"The buckets {found[name][0]!r} and {bucket!r} would have one block, {name!r}: names of blocks have "
                "only small letters, digits and '-', and do not name the provider.\nHint: rename one."
            )
    for name, (_, block) in sorted(found.items()):
        block.kind.check()  # says which extra is missing before anything is changed
        fields = {"block_type": block.kind.slug, "data": block.document()}
        yield Wanted(
            kind="block", name=name, fields=fields, once={"class": block.kind.place, "extra": block.kind.extra}
        )


def results_block(pipeline: Pipeline, target: Target) -> tuple[str, Block] | None:
    """Return name and content of the block in which a pipeline's runs store results, None if it has no cloud bucket.

    On a disk nothing is stored: another worker there would find it, but one elsewhere would not.

    Args:
        pipeline: The pipeline.
        target: Where it is deployed to.
    """
    place = exchange_location(pipeline.graph.locations, target.exchange)
    if place is None:
        return None
    location, base = place
    folder = f"{location.within}/{base}".lstrip("/")
    block = location_provider(location).resolved().storage(location.bucket, f"{folder}.glacier/results/{pipeline.name}")
    return None if block is None else (target.name(f"results-{pipeline.name}"), block)


def _deployment(
    pipeline: Pipeline,
    target: Target,
    pool: str,
    outputs: Mapping[str, Any],
    code: Code,
) -> Wanted:
    variable = pipeline.require_variable("deployed")
    assert pipeline.file is not None
    file = Path(pipeline.file).resolve()
    if not file.is_relative_to(target.folder):
        raise ConfigurationError(
            f"Pipeline {pipeline.name!r} is in {file}, outside of the project's folder {target.folder}."
        )
    who = PREVIEW_IDENTITY if target.preview else pipeline.name
    common, own = outputs.get("job_variables", {}), outputs.get("pipeline_job_variables", {}).get(who, {})
    variables = {**common, **own, "env": {**common.get("env", {}), **own.get("env", {})}}
    ours = {"GLACIER_ENV": target.env, "GLACIER_PROJECT": target.project}
    if target.preview:
        ours |= {"GLACIER_PREVIEW": target.preview, VARIABLE: places(pipeline.graph.locations, target.exchange)}
    if made := outputs.get("executors", {}).get(who):
        ours[DEPLOYED] = json.dumps(made, sort_keys=True)
    if (results := results_block(pipeline, target)) is not None:
        ours["PREFECT_RESULTS_DEFAULT_STORAGE_BLOCK"] = f"{results[1].kind.slug}/{results[0]}"
    variables["env"] |= ours
    schedule = None
    if pipeline.schedule is not None and not target.preview:  # a preview runs when somebody wants it
        schedule = {"cron": pipeline.schedule, "timezone": pipeline.timezone}
    fields = {
        "entrypoint": f"{file.relative_to(target.folder).as_posix()}:{variable}.flow",
        "pull_steps": code.pull_steps(pipeline),
        "parameter_openapi_schema": pipeline.flow.parameters.model_dump_for_openapi(),
        "enforce_parameter_schema": True,
        "tags": sorted({*pipeline.tags, *target.tags}),
        "description": pipeline.description or None,
        "work_pool_name": pool,
        "job_variables": variables,
        "schedule": schedule,
    }
    also = {**code.identity(pipeline), "settings": dict(target.settings), "job_variables": variables, "pool": pool}
    fields["version"] = code_hash(pipeline, target.folder, also)
    fields["job_variables"] = {**variables, **code.job_variables(outputs)}  # which follow from the code
    plain = json.loads(json.dumps(fields))  # what comes back from Prefect and from the record
    return Wanted(kind="deployment", name=f"{pipeline.name}/{target.preview or target.env}", fields=plain)
