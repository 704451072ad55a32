"""Undoes or finishes a deploy that did not come to its end, by its journal.

What fails before the record is written is undone in reverse: fields are restored in place, with the same ids, and what
was created is deleted. What is killed is undone, or from the record on finished, by the next command.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.desired import SCHEDULE
from glacier_prefect.deployments.journal import created
from glacier_prefect.deployments.state import State
from glacier_prefect.errors import DeployFailed

PATHS = {"block": "/block_documents", "work_pool": "/work_pools", "deployment": "/deployments", "flow": "/flows"}


def recover(api: Api, state: State) -> str | None:
    """Undo or finish a deploy that was killed, and return what was done; None if there is none.

    Args:
        api: Prefect's API.
        state: The environment's records and journal, locked.
    """
    entries = state.journal.entries()
    if not entries:
        if state.journal.exists():  # killed before its first note was whole
            state.journal.end()
        return None
    begin = entries[0]
    if state.record().deploy == begin["deploy"]:
        finish(api, state, begin["deletions"])
        return "An earlier deploy was killed before it had deleted all that it had to; that is done now."
    problems = undo(api, state)
    return " ".join(["An earlier deploy was killed; what it had changed is restored.", *problems])


def undo(api: Api, state: State) -> list[str]:
    """Undo what the journal says was done or begun, the last first, and return what Prefect refused to undo.

    Args:
        api: Prefect's API.
        state: The environment's records and journal, locked.
    """
    problems = []
    entries = state.journal.entries()
    ids = created(entries)
    undone = {each["number"] for each in entries if each["event"] == "undone"}
    intended = [each for each in entries if each["event"] == "intend" and each["number"] not in undone]
    for each in reversed(intended):
        step = each["undo"]
        try:
            if step["method"] == "PATCH":
                api.write("PATCH", step["path"], step["body"])
            else:
                _delete_created(api, step, ids.get(each["number"]))
        except DeployFailed as error:
            if not error.refused:
                raise  # it may be possible later
            problems.append(f"But not {each['what']}: {error}")
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


def _delete_created(api: Api, step: Mapping[str, Any], id: str | None) -> None:
    """Delete what a deploy created; if it was killed before it knew the id, by its name, if it is what it created."""
    found = api.read("GET", step["find"])
    if isinstance(found, list):  # a deployment's schedules
        found = next((each for each in found if each["slug"] == SCHEDULE), None)
    if found is None or found["id"] != (id or found["id"]):
        return
    if any(found.get(key) != value for key, value in step["match"].items()):
        return
    if step["kind"] == "flow" and is_used(api, found["id"]):
        return
    api.write("DELETE", step["delete"].replace("{id}", found["id"]))


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
