"""Does changes in Prefect, all noted in the journal before and after.

The order: blocks, pools, new deployments (paused if they have a schedule), updates, unpausing, the record, and
deletions last, when nothing can fail any more. What comes to no end is undone or finished by `recovery`.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from glacier_prefect.blocks import Kind
from glacier_prefect.deployments.actual import Existing
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.changes import Change
from glacier_prefect.deployments.desired import SCHEDULE, Wanted
from glacier_prefect.deployments.recovery import PATHS, finish, quoted, undo_after
from glacier_prefect.deployments.state import Owned, Record, State
from glacier_prefect.errors import DeployFailed
from glacier_prefect.pools import Pool, merge
from glacier_prefect.processes import interrupts_held


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
        state: The environment's records and journal, locked.
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
        finish(api, state, gone)
    except BaseException as error:
        if state.record().deploy == deploy:
            error.add_note(
                "All but the deletions is done; the next glacier command for this environment finishes them."
            )
        else:
            undo_after(api, state, error)
        raise
    return new


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


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One write.

    Attributes:
        what: For messages.
        method: Of the call.
        path: Of the call.
        body: Makes the body when it is sent, since it may have the id of what an earlier step made.
        undo: How to undo it.
        made: Called with the answer.
    """

    what: str
    method: str
    path: str
    body: Callable[[], Any]
    undo: Mapping[str, Any]
    made: Callable[[Mapping[str, Any]], object] = lambda answer: None


class _Writes:
    """The writes of one deploy. What belongs together is noted in the journal at once, then done."""

    def __init__(self, api: Api, state: State, flows: Mapping[str, str]) -> None:
        self._api, self._journal = api, state.journal
        self._flows = dict(flows)
        self._blocks: dict[str, tuple[str, str]] = {}
        self._saved: dict[str, str] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def make(self, changes: Sequence[Change]) -> dict[tuple[str, str], str]:
        """Create and update, and return the ids of what was created."""
        for each in changes:  # before anything is written
            if each.action != "delete" and each.wanted:
                self._check_references(each.wanted.fields)
        created = [each.wanted for each in changes if each.action == "create" and each.wanted]
        updated = [(each.existing, each.fields) for each in changes if each.action == "update" and each.existing]
        create = {"block": self._block, "work_pool": self._pool}
        for kind in ("block", "work_pool"):
            self._do(
                *(create[kind](wanted) for wanted in created if wanted.kind == kind),
                *(self._update(existing, fields) for existing, fields in updated if existing.kind == kind),
            )
        new = [wanted for wanted in created if wanted.kind == "deployment"]
        self._do(*self._new_flows(new), *map(self._deployment, new))
        self._do(
            *(
                step
                for existing, fields in updated
                if existing.kind == "deployment"
                for step in self._deployment_updates(existing, fields)
            )
        )
        self._do(*(self._unpausing(wanted) for wanted in new if wanted.fields["schedule"] is not None))
        return self._ids

    def _do(self, *steps: _Step) -> None:
        if not steps:
            return
        numbers = self._journal.intend([(step.what, step.undo) for step in steps])
        for at, (number, step) in enumerate(zip(numbers, steps, strict=True)):
            certain = numbers[at + 1 :]  # what certainly was not done, so there is nothing to undo
            try:
                # a server goes on with what it was asked for though nobody listens any more
                with interrupts_held("Waiting for Prefect's answer; Ctrl-C again does not wait."):
                    try:
                        answer = self._api.write(step.method, step.path, step.body())
                    except DeployFailed as error:
                        if error.refused:  # of that name may be what someone else made
                            certain.append(number)
                        raise
                    if answer is None:
                        raise DeployFailed(f"{step.what} is gone: someone deleted it meanwhile.")
                    if isinstance(answer, list):
                        answer = answer[0]
                    self._journal.done(number, answer.get("id"))
            except BaseException:
                with contextlib.suppress(OSError):  # the disk is full; those are undone for nothing, then
                    self._journal.undone(certain)
                raise
            step.made(answer)

    def _creation(
        self,
        kind: str,
        name: str,
        path: str,
        body: Callable[[], Any],
        find: str,
        match: Mapping[str, Any],
        key: str = "{id}",
    ) -> _Step:
        delete = f"{PATHS[kind]}/{key}"
        undo = {"method": "DELETE", "kind": kind, "name": name, "find": find, "match": match, "delete": delete}

        def made(answer: Mapping[str, Any]) -> None:
            self._ids[kind, name] = str(answer["id"])

        return _Step(what=f"{kind} {name}", method="POST", path=path, body=body, undo=undo, made=made)

    def _block(self, wanted: Wanted) -> _Step:
        slug, data = wanted.fields["block_type"], self._with_ids(wanted.fields["data"])
        type_id, schema_id = self._block_type(slug, wanted.once)
        body = {"name": wanted.name, "data": data, "block_type_id": type_id, "block_schema_id": schema_id}
        find = f"/block_types/slug/{slug}/block_documents/name/{wanted.name}"
        # of a saved block inside, what is in it comes back
        match: dict[str, Any] = {"data": data} if data == wanted.fields["data"] else {"block_schema_id": schema_id}
        return self._creation("block", wanted.name, "/block_documents/", lambda: body, find, match)

    def _block_type(self, slug: str, known: Mapping[str, Any]) -> tuple[str, str]:
        """Return the ids of a block type and of its schema of the version that is installed here."""
        if slug not in self._blocks:
            block = Kind(place=known["class"], slug=slug, extra=known["extra"]).load() if known else None
            found = self._schema(slug, block)
            if found is None and block is not None:
                block.register_type_and_schema()  # which is for everybody and stays, whatever comes of this deploy
                found = self._schema(slug, block)
            if found is None:
                raise DeployFailed(f"The Prefect server knows no block type {slug!r}.\nHint: prefect block register")
            self._blocks[slug] = found
        return self._blocks[slug]

    def _schema(self, slug: str, block: Any) -> tuple[str, str] | None:
        kind = self._api.read("GET", f"/block_types/slug/{slug}")
        if kind is None:
            return None
        of_it = {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
        # a server is delivered with old ones, which it may even have added last
        for schema in self._api.pages("/block_schemas/filter", of_it):
            if block is None or schema["version"] == block.get_block_schema_version():
                return kind["id"], schema["id"]
        return None

    def _with_ids(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a block's fields with references by id, which Prefect takes, in place of those by name."""
        return {
            name: {"$ref": {"block_document_id": self._saved_id(value["$ref"]["block_document_slug"])}}
            if isinstance(value, Mapping) and "$ref" in value
            else value
            for name, value in data.items()
        }

    def _check_references(self, value: Any) -> None:
        """Raise if a saved block that something refers to is not there."""
        if isinstance(value, Mapping):
            if isinstance(reference := value.get("$ref"), Mapping) and "block_document_slug" in reference:
                self._saved_id(reference["block_document_slug"])
            for each in value.values():
                self._check_references(each)

    def _saved_id(self, reference: str) -> str:
        if reference not in self._saved:
            slug, _, name = reference.partition("/")
            found = self._api.read("GET", f"/block_types/slug/{quoted(slug)}/block_documents/name/{quoted(name)}")
            if found is None:
                raise DeployFailed(
                    f"There is no block {name!r} of type {slug!r} in Prefect, which the settings name.\n"
                    "Hint: save it, or correct its name in glacier.toml."
                )
            self._saved[reference] = found["id"]
        return self._saved[reference]

    def _pool(self, wanted: Wanted) -> _Step:
        template = Pool(type=wanted.fields["type"]).template()
        changes = wanted.fields.get("base_job_template", {})
        body = {**wanted.fields, "name": wanted.name, "base_job_template": merge(template, changes)}
        key = quoted(wanted.name)
        match = {"description": wanted.fields["description"]}
        return self._creation("work_pool", wanted.name, "/work_pools/", lambda: body, f"/work_pools/{key}", match, key)

    def _new_flows(self, deployments: Iterable[Wanted]) -> list[_Step]:
        """Return what creates the flows of new deployments that are not there yet."""
        missing = dict.fromkeys(flow for each in deployments if (flow := _flow_of(each)) not in self._flows)
        return [
            self._creation("flow", flow, "/flows/", partial(dict, name=flow), f"/flows/name/{quoted(flow)}", {})
            for flow in missing
        ]

    def _deployment(self, wanted: Wanted) -> _Step:
        flow, name = _flow_of(wanted), wanted.name.rpartition("/")[2]
        fields = {key: value for key, value in wanted.fields.items() if key != "schedule"} | {"name": name}

        def body() -> dict[str, Any]:
            own = {**fields, "flow_id": self._flows.get(flow) or self._ids["flow", flow], **wanted.once}
            if (
                wanted.fields["schedule"] is not None
            ):  # without one it starts nothing by itself, so it need not be paused
                own["paused"] = True
                own["schedules"] = [{"schedule": wanted.fields["schedule"], "active": True, "slug": SCHEDULE}]
            return own

        find = f"/deployments/name/{quoted(flow)}/{quoted(name)}"
        match = {"version": fields["version"], "entrypoint": fields["entrypoint"]}
        return self._creation("deployment", wanted.name, "/deployments/", body, find, match)

    def _unpausing(self, wanted: Wanted) -> _Step:
        path = f"/deployments/{self._ids['deployment', wanted.name]}"
        undo = {"method": "PATCH", "path": path, "body": {"paused": True}}
        return _Step(
            what=f"deployment {wanted.name}", method="PATCH", path=path, body=lambda: {"paused": False}, undo=undo
        )

    def _update(self, existing: Existing, fields: Mapping[str, Any]) -> _Step:
        before = {name: existing.fields[name] for name in fields}
        if existing.kind == "block" and "data" in fields:
            fields, before = ({**each, "data": self._with_ids(each["data"])} for each in (fields, before))
        key = quoted(existing.name) if existing.kind == "work_pool" else existing.id
        merge = {"merge_existing_data": True} if existing.kind == "block" else {}
        path = f"{PATHS[existing.kind]}/{key}"
        undo = {"method": "PATCH", "path": path, "body": {**before, **merge}}
        body = {**fields, **merge}
        return _Step(what=f"{existing.kind} {existing.name}", method="PATCH", path=path, body=lambda: body, undo=undo)

    def _deployment_updates(self, existing: Existing, fields: Mapping[str, Any]) -> Iterator[_Step]:
        own = {name: value for name, value in fields.items() if name != "schedule"}
        if own:
            yield self._update(existing, own)
        schedule = fields.get("schedule")
        if schedule is None:
            return
        what, path = f"schedule of {existing.name}", f"/deployments/{existing.id}/schedules"
        if existing.schedule_id is None:
            undo = {"method": "DELETE", "kind": "schedule", "find": path, "match": {}, "delete": f"{path}/{{id}}"}
            new = [{"schedule": schedule, "active": True, "slug": SCHEDULE}]
            yield _Step(what=what, method="POST", path=path, body=lambda: new, undo=undo)
        else:
            path = f"{path}/{existing.schedule_id}"
            undo = {"method": "PATCH", "path": path, "body": {"schedule": existing.fields["schedule"]}}
            yield _Step(what=what, method="PATCH", path=path, body=lambda: {"schedule": schedule}, undo=undo)


def _flow_of(deployment: Wanted) -> str:
    return deployment.name.rpartition("/")[0]
