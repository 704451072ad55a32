"""`plan`, `deploy`, `rollback` and `destroy`: wires the steps of this package, with Terraform beside them.

What drives Terraform is passed in; None leaves infrastructure alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from glacier_prefect.deployments.actual import Actual, read_actual
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.apply import apply
from glacier_prefect.deployments.change_set import change_set, differences
from glacier_prefect.deployments.changes import Change, compare
from glacier_prefect.deployments.code import Delivery
from glacier_prefect.deployments.desired import Wanted
from glacier_prefect.deployments.recovery import delete_late, leftovers, recover
from glacier_prefect.deployments.runs import cancel_runs, purge_flows, purge_runs
from glacier_prefect.deployments.state import Owned, Record, State
from glacier_prefect.errors import DataLossRefused, DeployRefused, PlanChanged, StateLocked
from glacier_prefect.terraform_plan import Output, Plan, data_loss

if TYPE_CHECKING:
    from glacier_prefect.deployments.code_bucket import BucketCode

Desired = Callable[[Mapping[str, Any]], Sequence[Wanted]]


class Infrastructure(Protocol):
    """What drives Terraform: `TerraformCLI` in an initialised root."""

    def plan(self, *, destroy: bool = False) -> Plan:
        """Return a saved plan."""

    def apply(self, plan: Plan, *, allow_data_loss: bool = False) -> tuple[str, ...]:
        """Do a plan."""

    def unlock(self, locked: StateLocked) -> None:
        """Take away the lock of a Terraform that runs no more."""

    def output(self) -> dict[str, Output]:
        """Return the outputs."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a deploy may do.

    Attributes:
        adopt: Take over objects of these names that someone else made.
        prune_limit: How many deployments may be deleted; 5 if None, and then never all.
        allow_data_loss: Destroy or replace what holds data.
        prune: Delete deployments whose pipelines are gone; else they stay, and stay Glacier's.
        expect: Digest of the plan that was agreed to; None if nothing was.
        on_drift: What to do if a deploy would do something else than that: "stop" or "apply".
    """

    adopt: bool = False
    prune_limit: int | None = None
    allow_data_loss: bool = False
    prune: bool = True
    expect: str | None = None
    on_drift: str = "stop"


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a deploy would do.

    Attributes:
        changes: In Prefect.
        infrastructure: The saved plan of Terraform, None if infrastructure is left alone.
        api: Where Prefect's API is.
        flows: Ids of flows by name.
        record: The present record.
        unfinished: Whether an earlier deploy was killed and is undone or finished first.
        recovered: What was undone or finished, for people.
        drift: In which way it is not what was agreed to, for people.
        made: The record of what is there now; None before it is done.
        outputs: What Terraform's outputs are or, before the apply, will be, as far as it is known; nothing sensitive.
    """

    changes: Sequence[Change]
    infrastructure: Plan | None
    api: str
    flows: Mapping[str, str]
    record: Record
    unfinished: bool = False
    recovered: str | None = None
    drift: Sequence[str] = ()
    made: Record | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_changes(self) -> bool:
        """Whether anything would be done."""
        infrastructure = self.infrastructure is not None and self.infrastructure.has_changes
        return self.unfinished or infrastructure or any(each.action != "keep" or each.adopted for each in self.changes)

    def close(self) -> None:
        """Delete the saved plan of Terraform, which is a secret."""
        if self.infrastructure is not None:
            self.infrastructure.close()


def plan(
    api: Api,
    state: State,
    desired: Desired,
    infrastructure: Infrastructure | None = None,
    options: Options | None = None,
    known: Mapping[str, Any] | None = None,
) -> Planned:
    """Return what a deploy would do; nothing is changed. Its arguments are those of `deploy`."""
    saved = _saved_plan(state, infrastructure)
    try:
        outputs = _planned_outputs(saved) if saved is not None else known or {}
        changes, actual, record = _compared(api, state, desired(outputs), options or Options())
    except BaseException:
        if saved is not None:
            saved.close()
        raise
    return Planned(
        changes=changes,
        infrastructure=saved,
        api=api.url,
        flows=actual.flows,
        record=record,
        unfinished=state.journal.exists(),
        outputs=outputs,
    )


def deploy(
    api: Api,
    state: State,
    desired: Desired,
    infrastructure: Infrastructure | None = None,
    options: Options | None = None,
    confirm: Callable[[Planned], bool] = lambda planned: True,
    delivery: Delivery | None = None,
    known: Mapping[str, Any] | None = None,
) -> Planned | None:
    """Bring Prefect and the infrastructure to what is wanted; return what was done, None if it was not confirmed.

    An earlier deploy that was killed is undone or finished first.

    Args:
        api: Prefect's API.
        state: The environment's records and journal.
        desired: What is wanted in Prefect, from Terraform's outputs.
        infrastructure: What drives Terraform.
        options: What it may do.
        confirm: Asked with what is going to be done, if anything is.
        delivery: What brings code to where workers find it, before Prefect is told of it.
        known: Terraform's outputs, if infrastructure is left alone.
    """
    options = options or Options()
    with _locked(api, state):
        recovered = recover(api, state)
        planned = replace(plan(api, state, desired, infrastructure, options, known), recovered=recovered)
        with contextlib.closing(planned):
            if not planned.has_changes:
                state.agree(None)
                return planned
            planned = replace(planned, drift=_drift(state, planned, options))
            _check_data(planned.infrastructure, options.allow_data_loss)
            if not confirm(planned):
                return None
            if options.expect is not None:
                state.agree(options.expect)
            changes, saved = planned.changes, planned.infrastructure
            with contextlib.ExitStack() as notes:
                if infrastructure is not None and saved is not None and saved.has_changes:
                    with _noting("Nothing was changed in Prefect."):
                        state.kept.check()
                        infrastructure.apply(saved, allow_data_loss=options.allow_data_loss)
                    far = "The infrastructure is changed already and stays so; the next deploy goes on from there."
                    notes.enter_context(_noting(far))
                    planned = replace(planned, outputs=outputs_of(infrastructure))
                    changes, _, _ = _compared(api, state, desired(planned.outputs), options)
                if delivery is not None and delivery.deliver(changes, planned.outputs):
                    changes, _, _ = _compared(api, state, desired(planned.outputs), options)
                kept = () if options.prune else _left(planned.record, changes)
                apply(api, state, changes, planned.record, planned.flows, "deploy", kept)
                planned = replace(planned, made=state.record())
            state.agree(None)
            if delivery is not None:
                delivery.tidy(state)
            return planned


def rollback(
    api: Api,
    state: State,
    to: int,
    confirm: Callable[[Planned], bool] = lambda planned: True,
    archives: BucketCode | None = None,
) -> Planned | None:
    """Point deployments back to what record `to` says: code, job variables, schedule, parameters.

    Deployments that are newer than that record stay as they are, and so do infrastructure, data, and with
    `code = "local"` the files that the worker runs.

    Args:
        api: Prefect's API.
        state: The environment's records and journal.
        to: Number of the record.
        confirm: Asked with what is going to be done, if anything is.
        archives: Archives of code, which its records may name.
    """
    with _locked(api, state):
        recovered = recover(api, state)
        record, old = state.record(), state.record(to)
        if archives is not None:
            archives.check(old)
        wanted = [
            Wanted(kind=each.kind, name=each.name, fields=each.fields)
            for each in old.objects
            if each.kind == "deployment"  # blocks and pools belong to the infrastructure, which stays
        ]
        named = {(each.kind, each.name) for each in wanted}
        kept = [each for each in record.objects if (each.kind, each.name) not in named]
        actual = read_actual(api, named)
        changes = compare(wanted, actual, record, prune=False)
        planned = Planned(
            changes=changes, infrastructure=None, api=api.url, flows=actual.flows, record=record, recovered=recovered
        )
        if not planned.has_changes:
            return planned
        if not confirm(planned):
            return None
        apply(api, state, changes, record, actual.flows, f"rollback to {to}", kept)
        return planned


def destroy(
    api: Api,
    state: State,
    infrastructure: Infrastructure | None = None,
    *,
    allow_data_loss: bool = False,
    purge_history: bool = False,
    confirm: Callable[[Planned], bool] = lambda planned: True,
    archives: BucketCode | None = None,
    discard: Callable[[], object] | None = None,
) -> Planned | None:
    """Delete what Glacier made in Prefect, then the infrastructure; flows and run history are kept.

    Args:
        api: Prefect's API.
        state: The environment's records and journal.
        infrastructure: What drives Terraform.
        allow_data_loss: Destroy what holds data.
        purge_history: Delete the runs of these deployments too, and their flows if nobody else uses them.
        confirm: Asked with what is going to be done.
        archives: Archives of code, which go too.
        discard: Removes what the deployments' runs have written; these are cancelled first.

    Raises:
        DataLossRefused: It would destroy data. Nothing was changed.
        DeployRefused: Someone else's deployments use the work pool. Nothing was changed.
    """
    with _locked(api, state):
        recovered = recover(api, state)
        record = state.record()
        actual = read_actual(api, record.names)
        changes = [
            Change(action="delete", kind=each.kind, name=each.name, existing=existing)
            for kind in ("deployment", "work_pool", "block")
            for each in record.objects
            if each.kind == kind and (existing := actual.objects.get((kind, each.name))) and existing.id == each.id
        ]
        _check_others(api, changes)
        saved = _saved_plan(state, infrastructure, destroy=True)
        planned = Planned(
            changes=changes, infrastructure=saved, api=api.url, flows=actual.flows, record=record, recovered=recovered
        )
        with contextlib.closing(planned):
            _check_data(saved, allow_data_loss)
            if not confirm(planned):
                return None
            if discard is not None:
                cancel_runs(api, changes)
            if purge_history:
                purge_runs(api, changes)  # while it is known whose they are
            apply(api, state, changes, record, actual.flows, "destroy")
            if purge_history:
                purge_flows(api, changes, actual.flows)
            if archives is not None:
                archives.forget(state)
            if infrastructure is not None and saved is not None:
                with _noting("In Prefect all is deleted; `glacier destroy` again goes on with the infrastructure."):
                    state.kept.check()
                    infrastructure.apply(saved, allow_data_loss=allow_data_loss)
            if discard is not None:
                discard()  # while the record says where
            state.forget()
            return planned


@contextlib.contextmanager
def _locked(api: Api, state: State) -> Iterator[None]:
    """Hold the environment's lock, and write nothing to Prefect once it is no longer held."""
    with state.locked():
        before, api.guard = api.guard, state.kept.check
        try:
            yield
        finally:
            api.guard = before


def _saved_plan(state: State, infrastructure: Infrastructure | None, *, destroy: bool = False) -> Plan | None:
    """Return Terraform's plan; what a killed deploy left locked is unlocked first."""
    if infrastructure is None:
        return None
    try:
        saved = infrastructure.plan(destroy=destroy)
    except StateLocked as locked:
        if not state.is_held or not state.kept.was_left_behind(locked):
            raise
        infrastructure.unlock(locked)
        saved = infrastructure.plan(destroy=destroy)
    if state.is_held:
        state.kept.unlocked()
    return saved


@contextlib.contextmanager
def _noting(note: str) -> Iterator[None]:
    """Say with an error how far it came."""
    try:
        yield
    except BaseException as error:
        error.add_note(note)
        raise


def _check_data(saved: Plan | None, allowed: bool) -> None:
    """Refuse a plan that destroys or replaces what holds data, before anybody is asked."""
    if saved is not None and not allowed and (lost := data_loss(saved)):
        raise DataLossRefused(
            f"This would destroy or replace what holds data: {', '.join(lost)}. Nothing was changed.\n"
            "Hint: copy what you need and use --allow-data-loss."
        )


def _drift(state: State, planned: Planned, options: Options) -> list[str]:
    """Return in which way a plan is not what was agreed to.

    What a deploy began that was agreed to, and did not finish, is finished without being compared again: what it has
    done already makes the rest of it another plan.

    Raises:
        PlanChanged: It is not, and that is not to be done.
    """
    if options.expect is None or state.agreed() == options.expect:
        return []
    found = differences(options.expect, change_set(planned))
    if found and options.on_drift != "apply":
        listed = "\n".join(f"  {each}" for each in found)
        raise PlanChanged(
            f"This deploy would do something else than was shown and agreed to:\n{listed}\nNothing was changed.\n"
            "Hint: look at `glacier plan`, and agree to that; with --on-drift apply it is done as it is now."
        )
    return found


def _left(record: Record, changes: Sequence[Change]) -> list[Owned]:
    """Return what Glacier made and no change mentions: what is not pruned."""
    named = {(each.kind, each.name) for each in changes}
    return [each for each in record.objects if (each.kind, each.name) not in named]


def _compared(
    api: Api, state: State, wanted: Sequence[Wanted], options: Options
) -> tuple[list[Change], Actual, Record]:
    record = state.record()
    if state.is_held:
        delete_late(api, state, record)  # Terraform may have taken minutes
    actual = read_actual(api, {*((each.kind, each.name) for each in wanted), *record.names})
    gone = leftovers(state.journal, record, actual)
    actual = replace(actual, objects={key: each for key, each in actual.objects.items() if key not in gone})
    changes = compare(wanted, actual, record, adopt=options.adopt, prune=options.prune, prune_limit=options.prune_limit)
    _check_others(api, [each for each in changes if each.action == "delete"])
    return changes, actual, record


def _planned_outputs(saved: Plan) -> dict[str, Any]:
    """Return what the outputs will be, as far as it is known before the plan is done."""
    outputs = saved.json.get("planned_values", {}).get("outputs", {})
    return {name: each["value"] for name, each in outputs.items() if "value" in each and not each["sensitive"]}


def outputs_of(infrastructure: Infrastructure | None) -> dict[str, Any]:
    """Return what Terraform knows, without what is sensitive."""
    if infrastructure is None:
        return {}
    return {name: each.value for name, each in infrastructure.output().items() if not each.sensitive}


def _check_others(api: Api, deletions: Iterable[Change]) -> None:
    """Refuse to delete a work pool that deployments of others use."""
    deletions = list(deletions)
    ours = {each.existing.id for each in deletions if each.kind == "deployment" and each.existing}
    for pool in (each.name for each in deletions if each.kind == "work_pool"):
        using = api.pages("/deployments/filter", {"work_pools": {"name": {"any_": [pool]}}})
        others = {each["name"]: each["tags"] for each in using if each["id"] not in ours}
        if previews := [name for name, tags in others.items() if f"glacier:preview={name}" in tags]:
            raise DeployRefused(
                f"Previews use the work pool {pool!r}: {', '.join(previews)}. Nothing was changed.\n"
                f"Hint: glacier destroy --preview {previews[0]}"
            )
        if others:
            raise DeployRefused(
                f"Deployments that Glacier did not make use the work pool {pool!r}: {', '.join(others)}. Nothing was "
                "changed.\nHint: move them to another pool."
            )
