"""What is in Prefect now, of the objects that a deploy may touch: a few filter calls, with paging."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.desired import SCHEDULE

CHUNK = 100  # names in one filter


@dataclass(frozen=True, kw_only=True)
class Existing:
    """One object in Prefect.

    Attributes:
        kind: block, work_pool or deployment.
        name: Its name; of a deployment "<flow>/<environment>".
        id: Prefect's id.
        fields: What code may own of it.
        paused: Whether it is paused, for those that can be.
        schedule_id: Of a deployment: the id of the schedule that code owns.
    """

    kind: str
    name: str
    id: str
    fields: Mapping[str, Any]
    paused: bool = False
    schedule_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Actual:
    """What is there.

    Attributes:
        objects: By kind and name.
        flows: Ids of flows by name.
    """

    objects: Mapping[tuple[str, str], Existing]
    flows: Mapping[str, str]


def read_actual(api: Api, names: Iterable[tuple[str, str]]) -> Actual:
    """Return those of the named objects that exist.

    Args:
        api: Prefect's API.
        names: Kind and name of each.
    """
    wanted = set(names)
    found: list[Existing] = []
    blocks = sorted(name for kind, name in wanted if kind == "block")
    for some in _chunks(blocks):
        for block in api.pages("/block_documents/filter", {"block_documents": {"name": {"any_": some}}}):
            fields = {
                "block_type": block["block_type"]["slug"],
                "block_schema_id": block["block_schema_id"],
                "data": {**block["data"], **_references(block)},
            }
            found.append(Existing(kind="block", name=block["name"], id=block["id"], fields=fields))
    pools = sorted(name for kind, name in wanted if kind == "work_pool")
    for some in _chunks(pools):
        for pool in api.pages("/work_pools/filter", {"work_pools": {"name": {"any_": some}}}):
            fields = {name: pool[name] for name in ("type", "description", "base_job_template")}
            found.append(
                Existing(kind="work_pool", name=pool["name"], id=pool["id"], fields=fields, paused=pool["is_paused"])
            )
    pairs = [name.rpartition("/") for kind, name in wanted if kind == "deployment"]
    flows: dict[str, str] = {}
    for some in _chunks(sorted({flow for flow, _, _ in pairs})):
        flows |= {each["name"]: each["id"] for each in api.pages("/flows/filter", {"flows": {"name": {"any_": some}}})}
        by_id = {id: name for name, id in flows.items()}
        mine = {"flows": {"name": {"any_": some}}, "deployments": {"name": {"any_": sorted({e for _, _, e in pairs})}}}
        found += [_deployment(each, by_id[each["flow_id"]]) for each in api.pages("/deployments/filter", mine)]
    return Actual(
        objects={(each.kind, each.name): each for each in found if (each.kind, each.name) in wanted}, flows=flows
    )


def _references(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a block that are saved blocks themselves, by name; Prefect gives what is in them instead."""
    found = {}
    for name, each in block["block_document_references"].items():
        other = each["block_document"]
        found[name] = {"$ref": {"block_document_slug": f"{other['block_type']['slug']}/{other['name']}"}}
    return found


def _deployment(given: Mapping[str, Any], flow: str) -> Existing:
    ours = next((each for each in given["schedules"] if each["slug"] == SCHEDULE), None)
    schedule = None
    if ours is not None:
        schedule = {key: ours["schedule"].get(key) for key in ("cron", "timezone")}
    names = ("entrypoint", "pull_steps", "parameter_openapi_schema", "enforce_parameter_schema", "description")
    fields = {
        **{name: given[name] for name in (*names, "version", "work_pool_name", "job_variables")},
        "tags": sorted(given["tags"]),
        "schedule": schedule,
    }
    return Existing(
        kind="deployment",
        name=f"{flow}/{given['name']}",
        id=given["id"],
        fields=fields,
        paused=given["paused"],
        schedule_id=ours["id"] if ours else None,
    )


def _chunks(names: Collection[str]) -> Iterator[list[str]]:
    listed = list(names)
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]
