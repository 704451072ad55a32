"""What a plan gives and takes away in the clouds' rights: who may do what where, before and after. Imports nothing of
Glacier.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = "(known after apply)"


@dataclass(frozen=True, kw_only=True, order=True)
class Right:
    """Somebody may do something somewhere.

    Attributes:
        who: A role, a principal or a member, as the cloud names it.
        may: An action or a role, as the cloud names it.
        where: The resource; with " if …" where a condition limits it.
    """

    who: str
    may: str
    where: str

    def __str__(self) -> str:
        return f"{self.who} may {self.may} on {self.where}"


def rights(plan: Mapping[str, Any]) -> tuple[list[Right], list[Right]]:
    """Return the rights that a plan gives, and those that it takes away; what is moved or written anew is neither.

    Args:
        plan: What `terraform show -json` says of it.
    """
    before: set[Right] = set()
    after: set[Right] = set()
    for resource in plan.get("resource_changes", ()):
        if (read := READERS.get(resource["type"]) or _members(resource["type"])) is None:
            continue
        change = resource["change"]
        if change.get("before"):
            before.update(read(resource, _Values(change["before"], {})))
        if change.get("after"):
            after.update(read(resource, _Values(change["after"], change.get("after_unknown") or {})))
    return sorted(after - before), sorted(before - after)


class _Values:
    def __init__(self, values: Mapping[str, Any], unknown: Mapping[str, Any]) -> None:
        self.values, self.unknown = values, unknown

    def text(self, name: str) -> str:
        """Return a value; what is not known yet as `UNKNOWN`."""
        return UNKNOWN if self.unknown.get(name) is True else str(self.values.get(name) or "")


def _of_policy(resource: Mapping[str, Any], values: _Values) -> Iterator[Right]:
    """Yield what a policy document of AWS allows."""
    owner = next((found for name in ("role", "user", "group", "name") if (found := values.text(name))), "")
    if not (text := values.text("policy")):
        return
    try:
        statements = _list(json.loads(text)["Statement"])
    except ValueError:  # not known yet, or not to be shown
        yield Right(who=owner or resource["address"], may=UNKNOWN, where=UNKNOWN)
        return
    for statement in statements:
        if statement["Effect"] != "Allow":
            continue
        principal = statement.get("Principal")
        whos = [owner] if principal is None else _principals(principal)
        limits = [
            f"{key} is like {' or '.join(_list(each))}"
            for limited in statement.get("Condition", {}).values()
            for key, each in limited.items()
        ]
        limit = f" if {' and '.join(limits)}" if limits else ""
        for who in whos:
            for action in _list(statement.get("Action", [])):
                for where in _list(statement.get("Resource", [])):
                    yield Right(who=who, may=action, where=where + limit)


def _principals(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [str(each) for kind in given.values() for each in _list(kind)]


def _of_assignment(resource: Mapping[str, Any], values: _Values) -> Iterator[Right]:
    """Yield what a role assignment of Azure allows."""
    role = values.text("role_definition_name") or values.text("role_definition_id").rpartition("/")[2]
    condition = " ".join(values.text("condition").split())
    where = values.text("scope") + (f" if {condition}" if condition else "")
    yield Right(who=values.text("principal_id"), may=role, where=where)


def _of_definition(resource: Mapping[str, Any], values: _Values) -> Iterator[Right]:
    """Yield the actions of a custom role of Azure, which whoever has it may do where it is assigned."""
    for permissions in values.values.get("permissions") or ():
        for kind in ("actions", "data_actions"):
            for action in permissions.get(kind) or ():
                yield Right(who=f"role {values.text('name')}", may=action, where="wherever it is assigned")


def _of_custom_role(resource: Mapping[str, Any], values: _Values) -> Iterator[Right]:
    """Yield the permissions of a custom role of Google Cloud."""
    for permission in values.values.get("permissions") or ():
        yield Right(who=f"role {values.text('role_id')}", may=permission, where="wherever it is given")


def _of_member(resource: Mapping[str, Any], values: _Values) -> Iterator[Right]:
    """Yield what a member of a policy of Google Cloud may do."""
    given = {*values.values, *(name for name, unknown in values.unknown.items() if unknown is True)}
    places = [values.text(name) for name in PLACES if name in given and values.text(name)]
    limits = [str(each["expression"]) for each in values.values.get("condition") or ()]
    limit = f" if {' and '.join(limits)}" if limits else ""
    yield Right(who=values.text("member"), may=values.text("role"), where="/".join(places[:2]) + limit)


def _members(type: str) -> Any:
    return _of_member if type.startswith("google_") and type.endswith("_iam_member") else None


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


PLACES = (
    "bucket",
    "managed_folder",
    "secret_id",
    "repository",
    "service_account_id",
    "crypto_key_id",
    "subnetwork",
    "billing_account_id",
    "project",
)
READERS = {
    "aws_iam_role_policy": _of_policy,
    "aws_iam_policy": _of_policy,
    "aws_s3_bucket_policy": _of_policy,
    "aws_secretsmanager_secret_policy": _of_policy,
    "aws_ecr_repository_policy": _of_policy,
    "aws_kms_key": _of_policy,
    "azurerm_role_assignment": _of_assignment,
    "azurerm_role_definition": _of_definition,
    "google_project_iam_custom_role": _of_custom_role,
}
