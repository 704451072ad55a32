"""`status`: what has drifted since the last deploy, as plain data. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glacier_prefect.deployments.actual import Actual, read_actual
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.changes import compare
from glacier_prefect.deployments.deploying import Desired, Infrastructure, outputs_of
from glacier_prefect.deployments.desired import Wanted
from glacier_prefect.deployments.state import Owned, Record, State


def status(
    api: Api,
    state: State,
    desired: Desired,
    infrastructure: Infrastructure | None = None,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return three kinds of drift as plain data: code that is newer than what is deployed, objects in Prefect that
    someone changed, and infrastructure that someone changed. Its arguments are those of `deploying.deploy`.
    """
    record = state.record()
    wanted = {(each.kind, each.name): each for each in desired(known or outputs_of(infrastructure))}
    actual = read_actual(api, {*wanted, *record.names})
    recorded = {(each.kind, each.name): each for each in record.objects}
    newer = [
        {"kind": kind, "name": name, "what": "not deployed" if old is None else "code is newer"}
        for (kind, name), each in wanted.items()
        if (old := recorded.get((kind, name))) is None or old.fields.get("version") != each.fields.get("version")
    ] + [
        {"kind": each.kind, "name": each.name, "what": "no longer in the code"}
        for each in record.objects
        if (each.kind, each.name) not in wanted
    ]
    changed = [found for each in record.objects if (found := _drift(each, actual))]
    saved = infrastructure.plan() if infrastructure is not None else None
    try:
        moved = [*saved.drift, *saved.changes] if saved is not None else []
        lost = saved.lost if saved is not None else ()
        places = [
            {
                "address": each["address"],
                "actions": ["missing on the disk"] if each["address"] in lost else each["change"]["actions"],
            }
            for each in moved
        ]
    finally:
        if saved is not None:
            saved.close()
    return {
        "version": 1,
        "record": record.number,
        "unfinished": state.journal.exists(),
        "code": newer,
        "prefect": changed,
        "infrastructure": places,
    }


def _drift(owned: Owned, actual: Actual) -> dict[str, Any] | None:
    """Return what someone changed of an object, None if nothing."""
    existing = actual.objects.get((owned.kind, owned.name))
    if existing is None or existing.id != owned.id:
        what = "deleted" if existing is None else "replaced"
        return {"kind": owned.kind, "name": owned.name, "what": what, "fields": {}}
    wanted = Wanted(kind=owned.kind, name=owned.name, fields=owned.fields)
    alone = Record(number=0, deploy="", command="", objects=(owned,))
    change = compare([wanted], actual, alone, prune=False)[0] if _same_type(owned, existing.fields) else None
    fields = change.differences() if change else {"type": {"old": None, "new": None}}
    if existing.paused:
        fields = {**fields, "paused": {"old": True, "new": True}}  # an operator's, and theirs to keep
    if not fields:
        return None
    return {"kind": owned.kind, "name": owned.name, "what": "changed", "fields": fields}


def _same_type(owned: Owned, fields: Mapping[str, Any]) -> bool:
    return all(owned.fields.get(key) == fields.get(key) for key in ("type", "block_type"))
