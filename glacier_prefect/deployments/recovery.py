"""Undoes or finishes a deploy that did not come to its end, by its journal.

What fails before the record is written is undone in reverse: fields are restored in place, with the same ids, and what
was created is deleted. What is killed is undone, or from the record on finished, by the next command. A creation that
was not answered and is not there may come late, from a server that was busy: it is looked for again for some minutes.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from glacier_prefect.deployments.actual import Actual
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.desired import SCHEDULE
from glacier_prefect.deployments.journal import Journal, created, not_done
from glacier_prefect.deployments.state import Record, State
from glacier_prefect.errors import DeployFailed

PATHS = {"block": "/block_documents", "work_pool": "/work_pools", "deployment": "/deployments", "flow": "/flows"}
KINDS = ("block", "work_pool", "deployment")  # a flow that nobody uses does no harm, a schedule is compared


def recover(api: Api, state: State) -> str | None:
    """Undo or finish a deploy that was killed, and return what was done; None if there is none.

    Args:
        api: Prefect's API.
        state: The environment's records and journal, locked.
    """
    record = state.record()
    said = delete_late(api, state, record)
    entries = state.journal.entries()
    if entries and record.deploy == entries[0]["deploy"]:
        finish(api, state, entries[0]["deletions"])
        said.append("An earlier deploy was killed before it had deleted all that it had to; that is done now.")
    elif entries:
        said += ["An earlier deploy was killed; what it had changed is restored.", *undo(api, state)]
    elif state.journal.exists():  # killed before its first note was whole
        state.journal.end()
    return " ".join(said) or None


def leftovers(journal: Journal, record: Record, actual: Actual) -> set[tuple[str, str]]:
    """Return kind and name of what is there only since a deploy was killed, which the next one deletes first."""
    entries = journal.all()
    ids, undone = created(entries), not_done(entries)
    found = set()
    for each in entries:
        if each["event"] == "begin" and each["deploy"] == record.deploy:
            found |= {(gone["kind"], gone["name"]) for gone in each["deletions"] if _has(actual, gone, gone["id"])}
            continue
        number, step = each.get("number"), each.get("undo", {})
        if step.get("kind") not in KINDS or number in undone:
            continue
        key = step["kind"], step["name"]
        owned, existing = record.find(*key), actual.objects.get(key)
        if existing is None or (owned is not None and owned.id == existing.id):
            continue
        if _has(actual, step, ids[number]) if number in ids else _is_it(step, existing.fields):
            found.add(key)
    return found


def _has(actual: Actual, named: Mapping[str, Any], id: str | None) -> bool:
    existing = actual.objects.get((named["kind"], named["name"]))
    return existing is not None and existing.id == id


def delete_late(api: Api, state: State, record: Record) -> list[str]:
    """Delete what Prefect made only after the deploy that had asked for it was undone, and say so."""
    deleted, said = [], []
    for each in state.journal.late():
        step = each["undo"]
        what, owned = f"{step['kind'].replace('_', ' ')} {step['name']}", record.find(step["kind"], step["name"])
        try:
            if _delete_created(api, step, None, but=owned.id if owned else None):
                deleted.append(what)
        except DeployFailed as error:
            if not error.refused:
                raise  # it may be possible later
            said.append(f"{what} was made by a deploy that is undone, and cannot be deleted: {error}")
    if deleted:
        said.append(f"Prefect made this only after the deploy was undone, and it is deleted: {', '.join(deleted)}.")
    return said


def undo(api: Api, state: State) -> list[str]:
    """Undo what the journal says was done or begun, the last first, and return what Prefect refused to undo.

    Args:
        api: Prefect's API.
        state: The environment's records and journal, locked.
    """
    problems = []
    entries = state.journal.entries()
    ids, undone = created(entries), not_done(entries)
    intended = [each for each in entries if each["event"] == "intend" and each["number"] not in undone]
    late = []  # creations that are not there, and of which nobody knows that Prefect was not asked for them
    for each in reversed(intended):
        step = each["undo"]
        try:
            if step["method"] == "PATCH":
                api.write("PATCH", step["path"], step["body"])
            elif _delete_created(api, step, ids.get(each["number"])) is None and each["number"] not in ids:
                late.append(step)
        except DeployFailed as error:
            if not error.refused:
                raise  # it may be possible later
            problems.append(f"But not {each['what']}: {error}")
    state.journal.expect([step for step in late if step["kind"] in KINDS])
    state.journal.end()
    return problems


def is_used(api: Api, flow: str) -> bool:
    """Whether a flow has runs or deployments."""
    of_it = {"flows": {"id": {"any_": [flow]}}}
    return bool(api.read("POST", "/flow_runs/count", of_it) or api.read("POST", "/deployments/count", of_it))


def undo_after(api: Api, state: State, error: BaseException) -> None:
    """Undo a deploy that failed, and note in its error what came of it."""
    try:
        problems = undo(api, state)
    except BaseException as second:
        error.add_note(
            f"Undoing it failed too ({type(second).__name__}: {second}); the next glacier command for this environment "
            "does that first."
        )
    else:
        error.add_note(" ".join(["What this deploy had changed in Prefect is restored.", *problems]))


def _delete_created(api: Api, step: Mapping[str, Any], id: str | None, but: str | None = None) -> bool | None:
    """Delete what a deploy created; if it was killed before it knew the id, by its name, if it is what it created.

    Args:
        api: Prefect's API.
        step: How to undo the creation.
        id: What its answer said, None if that is not known.
        but: The id of what is not to be deleted.

    Returns:
        Whether it is deleted; None if there is nothing of that name.
    """
    found = api.read("GET", step["find"])
    if isinstance(found, list):  # a deployment's schedules
        found = next((each for each in found if each["slug"] == SCHEDULE), None)
    if found is None:
        return None
    if found["id"] == but or found["id"] != (id or found["id"]) or not _is_it(step, found):
        return False
    if step["kind"] == "flow" and is_used(api, found["id"]):
        return False
    api.write("DELETE", step["delete"].replace("{id}", found["id"]))
    return True


def _is_it(step: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether an object has the fields of the one that was created under its name."""
    return all(found.get(key) == value for key, value in step["match"].items())


def finish(api: Api, state: State, deletions: Sequence[Mapping[str, Any]]) -> None:
    """Delete what has this id and this name; what is gone already is no error."""
    for each in deletions:
        if each["kind"] == "schedule":
            api.write("DELETE", f"/deployments/{each['deployment']}/schedules/{each['id']}")
            continue
        key = quoted(each["name"]) if each["kind"] == "work_pool" else each["id"]
        found = api.read("GET", f"{PATHS[each['kind']]}/{key}")
        name = each["name"].rpartition("/")[2] if each["kind"] == "deployment" else each["name"]
        if found is not None and (found["id"], found["name"]) == (each["id"], name):
            api.write("DELETE", f"{PATHS[each['kind']]}/{key}")
    state.journal.end(made=state.record().names)


def quoted(name: str) -> str:
    """Return a name as a part of a path."""
    return urllib.parse.quote(name, safe="")
