"""What Terraform says, as values: plans and how to read them, outputs, steps, errors. Imports nothing of Glacier.

Saved plans and what Terraform prints as JSON hold sensitive values in clear: `masked` is for what is shown.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

SENSITIVE = "(sensitive value)"

# Resource types that hold data. A `terraform_data` that does says so itself, by `holds_data = true` in its input.
DATA_TYPES = frozenset(
    [
        "aws_ecr_repository",
        "aws_kms_key",  # what it has encrypted cannot be read without it
        "aws_s3_bucket",
        "aws_secretsmanager_secret",
        "azurerm_container_registry",
        "azurerm_databricks_workspace",
        "azurerm_key_vault",
        "azurerm_storage_account",
        "azurerm_storage_container",
        "databricks_volume",
        "google_artifact_registry_repository",
        "google_kms_crypto_key",
        "google_secret_manager_secret",
        "google_storage_bucket",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Version:
    """What `version` answers.

    Attributes:
        binary: The program that was asked for, as in "terraform".
        number: As in "1.11.4".
    """

    binary: str
    number: str

    def __str__(self) -> str:
        return f"{self.binary} {self.number}"


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One error or warning of Terraform.

    Attributes:
        severity: "error" or "warning".
        summary: What went wrong, in a line.
        detail: More of it, maybe with how to go on.
        address: The resource.
        place: File and line of the configuration.
    """

    severity: str
    summary: str
    detail: str = ""
    address: str | None = None
    place: str | None = None

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Diagnostic:
        """Return what Terraform's JSON says of one."""
        where = given.get("range")
        return cls(
            severity=given["severity"],
            summary=given["summary"],
            detail=given.get("detail", ""),
            address=given.get("address"),
            place=f"{where['filename']}:{where['start']['line']}" if where else None,
        )

    def __str__(self) -> str:
        # of a failed local-exec the command is the module's business, what it printed is the user's
        said = self.detail.partition("Output: ")[2] if self.summary == "local-exec provisioner error" else ""
        text = said.strip() or f"{self.summary.removesuffix('.')}. {self.detail}".strip()
        return f"{text} ({self.place})" if self.place else text


@dataclass(frozen=True, kw_only=True)
class Event:
    """One step of a running plan or apply.

    Attributes:
        kind: Terraform's word, as in "planned_change", "apply_start", "apply_progress", "apply_complete",
            "apply_errored", "diagnostic"; also "interrupted", when Terraform was asked to stop, and "build_progress", a
            line of docker's.
        message: One line for people.
        address: The resource.
        action: What is done with it, as in "create".
    """

    kind: str
    message: str
    address: str | None = None
    action: str | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of the root.

    Attributes:
        value: As Terraform's type says; in clear, even if it is sensitive.
        type: Terraform's type, as in "string" or `["list", "string"]`.
        sensitive: Whether the value must not be shown.
    """

    value: Any = field(repr=False)
    type: Any
    sensitive: bool

    @property
    def shown(self) -> Any:
        """The value, or a mask if it is sensitive."""
        return SENSITIVE if self.sensitive else self.value


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A saved plan. It is a secret, so it is deleted once it was applied; use it in a `with` statement.

    Attributes:
        path: The saved plan, readable by its owner only.
        destroy: Whether it destroys everything.
        has_changes: Whether applying it would do anything.
        json: What `terraform show -json` says of it, sensitive values in clear.
        warnings: What Terraform warned of.
        lost: Addresses of buckets that are made again, since their folders are gone.
    """

    path: Path
    destroy: bool
    has_changes: bool
    json: dict[str, Any] = field(repr=False)
    warnings: tuple[Diagnostic, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def masked(self) -> dict[str, Any]:
        """The part of the JSON that may be shown; see `masked`."""
        return masked(self.json)

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The resources that change, in Terraform's form (`address`, `change.actions`), masked."""
        return [
            each for each in self.masked["resource_changes"] if each["change"]["actions"] not in (["no-op"], ["read"])
        ]

    @property
    def drift(self) -> list[dict[str, Any]]:
        """The resources that someone changed since the last apply, masked."""
        return list(self.masked["resource_drift"])

    def close(self) -> None:
        """Delete the saved plan; a second time does nothing."""
        shutil.rmtree(self.path.parent, ignore_errors=True)

    def __enter__(self) -> Plan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def data_loss(plan: Plan | Mapping[str, Any]) -> list[str]:
    """Return the addresses of what holds data and would be destroyed or replaced.

    Args:
        plan: A plan, or what `terraform show -json` says of one.
    """
    document = plan.json if isinstance(plan, Plan) else plan
    gone = set(plan.lost) if isinstance(plan, Plan) else set()
    gone |= {each["address"] for each in _resources(document.get("prior_state", {})) if each.get("tainted")}
    lost = []
    for resource in document.get("resource_changes", ()):
        change = resource["change"]
        if "delete" not in change["actions"]:
            continue
        if resource["type"] == "terraform_data":
            given = (change.get("before") or {}).get("input")
            # Terraform runs no destroy provisioner of a tainted resource, as a bucket is whose folder could not be made
            holds_data = _holds_data(given) and resource["address"] not in gone
        else:
            holds_data = resource["type"] in DATA_TYPES
        if holds_data:
            lost.append(resource["address"])
    return lost


def lost_folders(plan: Plan, root: Path) -> list[str]:
    """Return the addresses of local buckets that a plan keeps though their folders are not there any more.

    Args:
        plan: A plan.
        root: The root module's folder, which relative paths start from.
    """
    found = []
    for each in plan.json.get("resource_changes", ()):
        given = (each["change"].get("before") or {}).get("input") if each["type"] == "terraform_data" else None
        if _holds_data(given) and each["change"]["actions"] in (["no-op"], ["update"]):
            path = given.get("path")
            if isinstance(path, str) and not os.path.lexists(root / path):
                found.append(each["address"])
    return found


def left_folders(plan: Plan, root: Path) -> list[Path]:
    """Return the folders of local buckets that an applied plan has destroyed and that are there nevertheless.

    Terraform runs no destroy provisioner of a module that is not called any more. Folders that it did not make are left
    out, and links.

    Args:
        plan: A plan that was applied.
        root: The root module's folder, which relative paths start from.
    """
    given = [
        (each["change"]["before"] or {}).get("input")
        for each in plan.json.get("resource_changes", ())
        if each["type"] == "terraform_data" and each["change"]["actions"] == ["delete"]
    ]
    folders = [root / each["path"] for each in given if _holds_data(each) and "path" in each]
    return [each for each in folders if not each.is_symlink() and (each / ".glacier" / "made-by-terraform").exists()]


def _holds_data(given: Any) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(given, Mapping) and given.get("holds_data") is True


def masked(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what may be shown of a plan's JSON: its changes, with a mask in place of each sensitive value.

    Variables, state and configuration are left out: Terraform marks sensitive values there in part only.
    """
    return {
        **{key: document[key] for key in ("format_version", "terraform_version", "errored") if key in document},
        **{
            part: [{**each, "change": _masked_change(each["change"], each["type"])} for each in document.get(part, ())]
            for part in ("resource_changes", "resource_drift")
        },
        "output_changes": {name: _masked_change(each) for name, each in document.get("output_changes", {}).items()},
    }


def _masked_change(change: Mapping[str, Any], kind: str = "output") -> dict[str, Any]:
    shown = dict(change)
    for side in ("before", "after"):
        marks = change.get(f"{side}_sensitive")
        if kind == "terraform_data" and isinstance(marks, dict):  # Terraform forgets the marks of its copy of the input
            marks = {**marks, "output": marks.get("input")}
        shown[side] = _mask(change.get(side), marks)
    return shown


def _mask(value: Any, sensitive: Any) -> Any:
    if sensitive is True:
        return None if value is None else SENSITIVE
    if isinstance(value, dict) and isinstance(sensitive, dict):
        return {key: _mask(each, sensitive.get(key)) for key, each in value.items()}
    if isinstance(value, list) and isinstance(sensitive, list):
        marks = [*sensitive, *[None] * (len(value) - len(sensitive))]
        return [_mask(each, mark) for each, mark in zip(value, marks, strict=False)]
    return value


def _resources(state: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    modules = [state.get("values", {}).get("root_module", {})]
    for module in modules:  # grows while it is read
        yield from module.get("resources", ())
        modules.extend(module.get("child_modules", ()))
