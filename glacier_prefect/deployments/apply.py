"""Does changes in Prefect, each noted in the journal before and after, and undoes or finishes what did not come to an
end.

The order: blocks, pools, new deployments (paused if scheduled), updates, unpausing, the record, and deletions last. What fails
before the record is written is undone in reverse: fields are restored in place, with the same ids, and what was created
is deleted. What is killed is undone, or from the record on finished, by the next command.
"""

from __future__ import annotations

import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from glacier_prefect.deployments.actual import Existing
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.changes import Change
from glacier_prefect.deployments.desired import SCHEDULE, Wanted
from glacier_prefect.deployments.state import Owned, Record, State, created
from glacier_prefect.errors import DeployFailed

PATHS = {"block": "/block_documents", "work_pool": "/work_pools", "deployment": "/deployments", "flow": "/flows"}


def apply(
    api: Api,
    state: State,
    changes: Sequence[Change],
    record: Record,
    flows: Mapping[str, str],
    command: str,
    kept: Sequence[Owned] = (),
) -> Record:
    """Do changes and return the new record; the old one if there is nothing to do.

    Args:
        api: Prefect's API.
        state: The environment's folder, locked.
        changes: What to do.
        record: The present record.
        flows: Ids of the flows that exist, by name.
        command: What does it, for the record.
        kept: What stays in the record though no change mentions it.

    Raises:
        DeployFailed: Prefect refused a call. Everything is as it was, or the message says what is not.
    """
    objects = (*_recorded(changes), *kept)
    if all(each.action == "keep" for each in changes) and objects == record.objects:
        return record
    deploy = str(uuid.uuid4())
    gone = [
        _deletion(each.kind, each.name, each.existing.id)
        for each in changes
        if each.action == "delete" and each.existing
    ]
    # a schedule is deleted, not overwritten, so it goes when nothing can fail any more
    gone += [
        {"kind": "schedule", "name": each.name, "id": each.existing.schedule_id, "deployment": each.existing.id}
        for each in changes
        if each.action == "update" and each.existing and each.fields.get("schedule", 0) is None
    ]
    state.journal.begin(deploy=deploy, deletions=gone)
    try:
        ids = _Writes(api, state, flows).make(changes)
        made = tuple(
            Owned(kind=each.kind, name=each.name, id=each.id or ids[each.kind, each.name], fields=each.fields)
            for each in objects
        )
        new = Record(number=record.number + 1, deploy=deploy, command=command, objects=made)
        state.write(new)
    except BaseException as error:
        _undo_after(api, state, error)
        raise
    _finish(api, state, gone)
    return new


def recover(api: Api, state: State) -> str | None:
    """Undo or finish a deploy that was killed, and return what was done; None if there is none.

    Args:
        api: Prefect's API.
        state: The environment's folder, locked.
    """
    entries = state.journal.entries()
    if not entries:
        if state.journal.exists():  # killed before its first note was whole
            state.journal.end()
        return None
    begin = entries[0]
    if state.record().deploy == begin["deploy"]:
        _finish(api, state, begin["deletions"])
        return "An earlier deploy was killed before it had deleted all that it had to; that is done now."
    problems = undo(api, state)
    return " ".join(["An earlier deploy was killed; what it had changed is restored.", *problems])


def undo(api: Api, state: State) -> list[str]:
    """Undo what the journal says was done or begun, the last first, and return what Prefect refused to undo.

    Args:
        api: Prefect's API.
        state: The environment's folder, locked.
    """
    problems = []
    entries = state.journal.entries()
    ids = created(entries)
    refused = {each["number"] for each in entries if each["event"] == "refused"}
    intended = [each for each in entries if each["event"] == "intend" and each["number"] not in refused]
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


def _undo_after(api: Api, state: State, error: BaseException) -> None:
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


def _recorded(changes: Sequence[Change]) -> tuple[Owned, ...]:
    """Return what the new record holds; the id of what is still to be made is empty."""
    return tuple(
        Owned(
            kind=each.kind,
            name=each.name,
            id=each.existing.id if each.existing else "",
            fields=each.wanted.fields,
        )
        for each in changes
        if each.wanted is not None
    )


def _deletion(kind: str, name: str, id: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "id": id}


def _finish(api: Api, state: State, deletions: Sequence[Mapping[str, Any]]) -> None:
    """Delete what has this id and this name; what is gone already is no error."""
    for each in deletions:
        if each["kind"] == "schedule":
            api.write("DELETE", f"/deployments/{each['deployment']}/schedules/{each['id']}")
            continue
        key = _quoted(each["name"]) if each["kind"] == "work_pool" else each["id"]
        found = api.read("GET", f"{PATHS[each['kind']]}/{key}")
        name = each["name"].rpartition("/")[2] if each["kind"] == "deployment" else each["name"]
        if found is not None and (found["id"], found["name"]) == (each["id"], name):
            api.write("DELETE", f"{PATHS[each['kind']]}/{key}")
    state.journal.end()


class _Writes:
    """The writes of one deploy, each noted in the journal."""

    def __init__(self, api: Api, state: State, flows: Mapping[str, str]) -> None:
        self._api, self._journal = api, state.journal
        self._flows = dict(flows)
        self._blocks: dict[str, tuple[str, str]] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def make(self, changes: Sequence[Change]) -> dict[tuple[str, str], str]:
        """Create and update, and return the ids of what was created."""
        creations = [each.wanted for each in changes if each.action == "create" and each.wanted]
        for kind in ("block", "work_pool"):
            for each in changes:
                if each.kind == kind and each.action == "create" and each.wanted:
                    self._create_block(each.wanted) if kind == "block" else self._create_pool(each.wanted)
                elif each.kind == kind and each.action == "update" and each.existing:
                    self._update(each.existing, each.fields)
        deployments = [each for each in creations if each.kind == "deployment"]
        for wanted in deployments:
            self._create_deployment(wanted)
        for each in changes:
            if each.kind == "deployment" and each.action == "update" and each.existing:
                self._update_deployment(each.existing, each.fields)
        for wanted in deployments:
            if wanted.fields["schedule"] is not None:
                self._unpause(wanted)
        return self._ids

    def _write(self, what: str, method: str, path: str, body: Any, undo: Mapping[str, Any]) -> Any:
        number = self._journal.intend(what, undo)
        try:
            answer = self._api.write(method, path, body)
        except DeployFailed as error:
            if error.refused:  # so there is nothing to undo; of that name may be what someone else made
                self._journal.note("refused", number=number)
            raise
        if answer is None:
            raise DeployFailed(f"{what} is gone: someone deleted it meanwhile.")
        if isinstance(answer, list):
            answer = answer[0]
        self._journal.done(number, answer.get("id"))
        return answer

    def _create(
        self,
        kind: str,
        name: str,
        path: str,
        body: Mapping[str, Any],
        find: str,
        match: Mapping[str, Any],
        key: str = "{id}",
    ) -> str:
        undo = {"method": "DELETE", "kind": kind, "find": find, "match": match, "delete": f"{PATHS[kind]}/{key}"}
        answer = self._write(f"{kind} {name}", "POST", path, body, undo)
        self._ids[kind, name] = answer["id"]
        return str(answer["id"])

    def _create_block(self, wanted: Wanted) -> None:
        slug, data = wanted.fields["block_type"], wanted.fields["data"]
        type_id, schema_id = self._block_type(slug)
        body = {"name": wanted.name, "data": data, "block_type_id": type_id, "block_schema_id": schema_id}
        find = f"/block_types/slug/{slug}/block_documents/name/{wanted.name}"
        self._create("block", wanted.name, "/block_documents/", body, find, {"data": data})

    def _block_type(self, slug: str) -> tuple[str, str]:
        if slug not in self._blocks:
            found = self._api.read("GET", f"/block_types/slug/{slug}")
            schemas = found and self._api.read(
                "POST",
                "/block_schemas/filter",
                {"block_schemas": {"block_type_id": {"any_": [found["id"]]}}, "limit": 1},
            )
            if not schemas:
                raise DeployFailed(
                    f"The Prefect server knows no block type {slug!r}.\n"
                    "Hint: prefect block register -m prefect.filesystems"
                )
            self._blocks[slug] = found["id"], schemas[0]["id"]
        return self._blocks[slug]

    def _create_pool(self, wanted: Wanted) -> None:
        from prefect.workers.process import ProcessWorker

        body = {
            **wanted.fields,
            "name": wanted.name,
            "base_job_template": ProcessWorker.get_default_base_job_template(),
        }
        key = _quoted(wanted.name)
        match = {"description": wanted.fields["description"]}
        self._create("work_pool", wanted.name, "/work_pools/", body, f"/work_pools/{key}", match, key)

    def _create_deployment(self, wanted: Wanted) -> None:
        flow, _, name = wanted.name.rpartition("/")
        if flow not in self._flows:
            self._flows[flow] = self._create(
                "flow", flow, "/flows/", {"name": flow}, f"/flows/name/{_quoted(flow)}", {}
            )
        body = {key: value for key, value in wanted.fields.items() if key != "schedule"}
        body |= {"name": name, "flow_id": self._flows[flow], **wanted.once}
        if wanted.fields["schedule"] is not None:  # without one it starts nothing by itself, and need not be paused
            body["paused"] = True
            body["schedules"] = [{"schedule": wanted.fields["schedule"], "active": True, "slug": SCHEDULE}]
        find = f"/deployments/name/{_quoted(flow)}/{_quoted(name)}"
        match = {"version": body["version"], "entrypoint": body["entrypoint"]}
        self._create("deployment", wanted.name, "/deployments/", body, find, match)

    def _unpause(self, wanted: Wanted) -> None:
        path = f"/deployments/{self._ids['deployment', wanted.name]}"
        undo = {"method": "PATCH", "path": path, "body": {"paused": True}}
        self._write(f"deployment {wanted.name}", "PATCH", path, {"paused": False}, undo)

    def _update(self, existing: Existing, fields: Mapping[str, Any]) -> None:
        before = {name: existing.fields[name] for name in fields}
        key = _quoted(existing.name) if existing.kind == "work_pool" else existing.id
        merge = {"merge_existing_data": True} if existing.kind == "block" else {}
        path = f"{PATHS[existing.kind]}/{key}"
        undo = {"method": "PATCH", "path": path, "body": {**before, **merge}}
        self._write(f"{existing.kind} {existing.name}", "PATCH", path, {**fields, **merge}, undo)

    def _update_deployment(self, existing: Existing, fields: Mapping[str, Any]) -> None:
        own = {name: value for name, value in fields.items() if name != "schedule"}
        if own:
            self._update(existing, own)
        schedule = fields.get("schedule")
        if schedule is None:
            return
        what, path = f"schedule of {existing.name}", f"/deployments/{existing.id}/schedules"
        if existing.schedule_id is None:
            undo = {"method": "DELETE", "kind": "schedule", "find": path, "match": {}, "delete": f"{path}/{{id}}"}
            self._write(what, "POST", path, [{"schedule": schedule, "active": True, "slug": SCHEDULE}], undo)
        else:
            path = f"{path}/{existing.schedule_id}"
            undo = {"method": "PATCH", "path": path, "body": {"schedule": existing.fields["schedule"]}}
            self._write(what, "PATCH", path, {"schedule": schedule}, undo)


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")
