"""What differs between what should be in Prefect and what is: field by field, as plain data. Talks to nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from glacier_prefect.deployments.actual import Actual, Existing
from glacier_prefect.deployments.desired import Wanted
from glacier_prefect.deployments.state import Owned, Record
from glacier_prefect.errors import DeployRefused
from glacier_prefect.pools import Pool, updated

PRUNE_LIMIT = 5
ORDER = ("block", "work_pool", "deployment")


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happens to one object.

    Attributes:
        action: create, update, delete, or keep.
        kind: block, work_pool or deployment.
        name: Its name.
        wanted: What it should be, None if it should not be there.
        existing: What it is, None if it is not there.
        fields: New values of the fields that differ.
        adopted: Whether it was someone else's until now.
    """

    action: Literal["create", "update", "delete", "keep"]
    kind: str
    name: str
    wanted: Wanted | None = None
    existing: Existing | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    adopted: bool = False

    def differences(self) -> dict[str, dict[str, Any]]:
        """Return old and new value of each differing part; of nested fields only what differs in them."""
        if self.action != "update" or self.existing is None:
            return {}
        return {
            path: {"old": old, "new": new}
            for name, value in self.fields.items()
            for path, old, new in leaves(name, self.existing.fields.get(name), value)
        }


def compare(
    wanted: Iterable[Wanted],
    actual: Actual,
    record: Record,
    *,
    adopt: bool = False,
    prune: bool = True,
    prune_limit: int | None = None,
) -> list[Change]:
    """Return what has to happen to each object, deletions last.

    Args:
        wanted: What should be there.
        actual: What is there.
        record: What Glacier made.
        adopt: Whether objects of these names that someone else made are taken over.
        prune: Whether what Glacier made and nobody wants any more is deleted.
        prune_limit: How many deployments may be deleted; 5 if None, and then never all of them.

    Raises:
        DeployRefused: An object of that name is someone else's, a work pool has another type, or too much would be
            deleted.
    """
    wanted = list(wanted)
    changes: list[Change] = []
    strangers: list[Existing] = []
    for each in wanted:
        existing = actual.objects.get((each.kind, each.name))
        owned = record.find(each.kind, each.name)
        if existing is None:
            changes.append(Change(action="create", kind=each.kind, name=each.name, wanted=each))
            continue
        ours = owned is not None and owned.id == existing.id
        if not ours:
            strangers.append(existing)
        _check_type(each, existing)
        each = _same_code(each, owned if ours else None)
        fields = _differing(each, existing, owned if ours else None)
        changes.append(
            Change(
                action="update" if fields else "keep",
                kind=each.kind,
                name=each.name,
                wanted=each,
                existing=existing,
                fields=fields,
                adopted=not ours,
            )
        )
    if strangers and not adopt:
        names = ", ".join(f"{each.kind.replace('_', ' ')} {each.name!r} (id {each.id})" for each in strangers)
        raise DeployRefused(
            f"Prefect has objects of these names that this project did not make: {names}. Nothing was changed.\n"
            "Hint: rename yours or theirs, or take them over with --adopt."
        )
    return changes + (_deletions(wanted, actual, record, prune_limit) if prune else [])


def _deletions(wanted: Iterable[Wanted], actual: Actual, record: Record, limit: int | None) -> list[Change]:
    kept = {(each.kind, each.name) for each in wanted}
    gone: list[Change] = []
    for owned in record.objects:
        existing = actual.objects.get((owned.kind, owned.name))
        if (owned.kind, owned.name) not in kept and existing is not None and existing.id == owned.id:
            gone.append(Change(action="delete", kind=owned.kind, name=owned.name, existing=existing))
    deployments = [each.name for each in gone if each.kind == "deployment"]
    recorded = [each for each in record.objects if each.kind == "deployment"]
    remaining = any(kind == "deployment" for kind, _ in kept)
    if deployments and (not remaining or (limit is None and len(deployments) == len(recorded))):
        hint = (
            f"glacier destroy removes a project; if these pipelines were renamed: --prune-limit {len(deployments)}"
            if remaining
            else "glacier destroy removes a project. Are the pipelines where glacier.toml looks for them?"
        )
        raise DeployRefused(
            f"None of the deployed pipelines is there any more: {', '.join(deployments)}. Nothing was changed.\n"
            f"Hint: {hint}."
        )
    if len(deployments) > (PRUNE_LIMIT if limit is None else limit):
        raise DeployRefused(
            f"{len(deployments)} deployments would be deleted, since their pipelines are not there any more: "
            f"{', '.join(deployments)}. Nothing was changed.\n"
            f"Hint: if that is right, --prune-limit {len(deployments)}."
        )
    return sorted(gone, key=lambda each: -ORDER.index(each.kind))


def _check_type(wanted: Wanted, existing: Existing) -> None:
    for key in ("type", "block_type"):
        old, new = existing.fields.get(key), wanted.fields.get(key)
        if old != new:
            raise DeployRefused(
                f"The {wanted.kind.replace('_', ' ')} {wanted.name!r} has type {old!r} and should have {new!r}; "
                "Prefect cannot change that. Nothing was changed.\n"
                "Hint: destroy the environment and deploy it again, or keep the type."
            )


def _same_code(wanted: Wanted, owned: Owned | None) -> Wanted:
    """A pipeline whose code is what was deployed stays at the commit, archive or image that was deployed."""
    if wanted.kind != "deployment" or owned is None or owned.fields["version"] != wanted.fields["version"]:
        return wanted
    fields = {**wanted.fields, "pull_steps": owned.fields["pull_steps"]}
    if (image := owned.fields.get("job_variables", {}).get("image")) is not None:
        fields["job_variables"] = {**fields["job_variables"], "image": image}
    return Wanted(kind=wanted.kind, name=wanted.name, fields=fields, once=wanted.once)


def _differing(wanted: Wanted, existing: Existing, owned: Owned | None) -> dict[str, Any]:
    found = {}
    for name, value in wanted.fields.items():
        old = existing.fields.get(name)
        if name == "job_variables":
            value = merged(old or {}, owned.fields.get(name, {}) if owned else {}, value)
        if name == "base_job_template":
            before = owned.fields.get(name, {}) if owned else {}
            # importing what has the template takes a second or two, and it is for what is not set any more
            template = Pool(type=wanted.fields["type"]).template() if before not in ({}, value) else {}
            value = updated(old or {}, template, before, value)
        if value != old:
            found[name] = value
    return found


def merged(existing: Mapping[str, Any], owned: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables with those that code sets, and the operators' own as they are.

    Args:
        existing: What is there.
        owned: What code set before.
        wanted: What code sets now.
    """
    result: dict[str, Any] = {}
    for key in dict.fromkeys((*existing, *wanted)):
        old, before, new = existing.get(key), owned.get(key), wanted.get(key)
        if isinstance(old, Mapping) and (isinstance(new, Mapping) or isinstance(before, Mapping)):
            inner = merged(old, before if isinstance(before, Mapping) else {}, new if isinstance(new, Mapping) else {})
            if inner or key in wanted:
                result[key] = inner
        elif key in wanted:
            result[key] = new
        elif key not in owned:
            result[key] = old
    return result


def leaves(path: str, old: Any, new: Any) -> Iterable[tuple[str, Any, Any]]:
    """Yield path, old and new value of each part that differs; a path of no name is left out of theirs."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from leaves(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif old != new:
        yield path, old, new
