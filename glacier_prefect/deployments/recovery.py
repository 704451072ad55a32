"""Undoes or finishes a deploy that did not come to its end, by its journal.

What fails before the record is written is undone in reverse: fields are restored in place, with the same ids, and what
was created is deleted. What is killed is undone, or from the record on finished, by the next command. A creation that
was not answered and is not there may come late, from a server that was busy: it is looked for again for some minutes.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from glacier_prefect.deployments.actual import Actual
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.desired import SCHEDULE
from glacier_prefect.deployments.journal import Journal, created, not_done
from glacier_prefect.deployments.state import State
from glacier_prefect.errors import DeployFailed

PATHS = {"block": "/block_documents", "work_pool": "/work_pools", "deployment": "/deployments", "flow": "/flows"}
KINDS = ("block", "work_pool", "deployment")  # a flow that nobody uses does no harm, a schedule is compared


def recover(api: Api, state: State) -> str | None:
    """Undo or finish a deploy that was killed, and return what was done; None if there is none.

    Args:
        api: Prefect's API.
        state: The environment's records and journal, locked.
    """
    late = _delete_late(api, state)
    entries = state.journal.entries()
    if not entries:
        if state.journal.exists():  # killed before its first note was whole
            state.journal.end()
        return late
    begin = entries[0]
    if state.record().deploy == begin["deploy"]:
        finish(api, state, begin["deletions"])
        return "An earlier deploy was killed before it had deleted all that it had to; that is done now."
    problems = undo(api, state)
    return " ".join(["An earlier deploy was killed; what it had changed is restored.", *problems])


def leftovers(state: State, actual: Actual) -> set[tuple[str, str]]:
    """Return kind and name of what is there only since a deploy was killed, which the next one deletes first."""
    record, found = state.record(), set()
    for step, id in _creations(state.journal):
        key = step["kind"], step["name"]
        existing, owned = actual.objects.get(key), record.find(*key)
        if existing is None or (owned is not None and owned.id == existing.id):
            continue
        if existing.id == id or all(existing.fields.get(each) == value for each, value in step["match"].items()):
            found.add(key)
    return found


def _creations(journal: Journal) -> Iterator[tuple[Mapping[str, Any], str | None]]:
    """Yield how to undo each creation, and the id if it is known."""
    entries = journal.entries()
    ids, undone = created(entries), not_done(entries)
    for each in entries:
        if each["event"] == "intend" and each["number"] not in undone and each["undo"].get("kind") in KINDS:
            yield each["undo"], ids.get(each["number"])
    for each in journal.late():
        yield each["undo"], None


def _delete_late(api: Api, state: State) -> str | None:
    """Delete what came after the deploy that had asked for it was undone, and say so."""
    record, deleted = state.record(), []
    for each in state.journal.late():
        step = each["undo"]
        if record.find(step["kind"], step["name"]) is None and _delete_created(api, step, None):
            deleted.append(f"{step['kind'].replace('_', ' ')} {step['name']}")
    if not deleted:
        return None
    return f"What an earlier deploy had asked for came after that was undone, and is deleted: {', '.join(deleted)}."


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
    late = None  # the first creation that is not there; those after it were not asked for before it was answered
    for each in reversed(intended):
        step = each["undo"]
        try:
            if step["method"] == "PATCH":
                api.write("PATCH", step["path"], step["body"])
            elif _delete_created(api, step, ids.get(each["number"])) is None and each["number"] not in ids:
                late = step
        except DeployFailed as error:
            if not error.refused:
                raise  # it may be possible later
            problems.append(f"But not {each['what']}: {error}")
    if late is not None and late["kind"] in KINDS:
        state.journal.expect(late)
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


def _delete_created(api: Api, step: Mapping[str, Any], id: str | None) -> bool | None:
    """Delete what a deploy created; if it was killed before it knew the id, by its name, if it is what it created.

    Returns:
        Whether it is deleted; None if there is nothing of that name.
    """
    found = api.read("GET", step["find"])
    if isinstance(found, list):  # a deployment's schedules
        found = next((each for each in found if each["slug"] == SCHEDULE), None)
    if found is None:
        return None
    if found["id"] != (id or found["id"]):
        return False
    if any(found.get(key) != value for key, value in step["match"].items()):
        return False
    if step["kind"] == "flow" and is_used(api, found["id"]):
        return False
    api.write("DELETE", step["delete"].replace("{id}", found["id"]))
    return True


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
    state.journal.end()


def quoted(name: str) -> str:
    """Return a name as a part of a path."""
    return urllib.parse.quote(name, safe="")
