"""What a deploy would change, in a form that two machines agree on: what a pull request showed is compared with what
its merge would do. Plain data; talks to nobody.

Left out is what differs between the two though nothing else is to happen: the commit that is deployed, ids, times, and
what only the apply will tell.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glacier_prefect.deployments.changes import leaves
from glacier_prefect.errors import UsageError

if TYPE_CHECKING:
    from glacier_prefect.deployments.deploying import Planned

UNKNOWN = "(known after apply)"
ROOM = 16_000  # letters of the names that a digest carries; a comment on GitHub has room for 65,536
_COMMIT = "commit_sha"  # of Prefect's pull step `git_clone`
_VOLATILE = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?"
    r"|(?<=[/:])[0-9a-f]{32}(?=/?$)"  # of an archive or image: of all files, as the commit is
)
_FORM = re.compile(r"([0-9a-f]{64})(?:\.([A-Za-z0-9+/]+=*))?")


def change_set(planned: Planned) -> dict[str, str]:
    """Return what is going to happen: action and object, and a hash of what it comes to."""
    found: dict[str, Any] = {}
    for each in planned.infrastructure.changes if planned.infrastructure is not None else ():
        change = each["change"]
        made = _with_unknown(change["after"], change.get("after_unknown")) if change["before"] is None else None
        found[f"{'/'.join(change['actions'])} {each['address']}"] = [made, fields_of(each)]
    for one in planned.changes:
        if one.action == "keep" and not one.adopted:
            continue
        wanted = one.wanted.fields if one.wanted is not None and one.action == "create" else {}
        name = f"{one.action} {one.kind} {one.name}" + (" (taken over)" if one.adopted else "")
        found[name] = [wanted, one.differences()]
    return {name: _hash(_steady(value))[:12] for name, value in sorted(found.items())}


def digest(changes: Mapping[str, str]) -> str:
    """Return the digest of a change set, with the names in it if there is room, so that a difference can be told.

    Args:
        changes: From `change_set`.
    """
    text = json.dumps(changes, sort_keys=True)
    names = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return _hash(changes) + (f".{names}" if len(names) <= ROOM else "")


def differences(expected: str, changes: Mapping[str, str]) -> list[str]:
    """Return in which way a change set is not what a digest says, for people; empty if it is.

    Args:
        expected: A digest.
        changes: From `change_set`.

    Raises:
        UsageError: It is no digest.
    """
    if (read := _FORM.fullmatch(expected)) is None:
        raise UsageError(f"{expected[:80]!r} is no digest of a plan.\nHint: `digest` of `glacier plan --json` is one.")
    if read[1] == _hash(changes):
        return []
    try:
        before: dict[str, str] = json.loads(zlib.decompress(base64.b64decode(read[2]))) if read[2] else {}
    except (ValueError, binascii.Error, zlib.error):
        before = {}
    if _hash(before) != read[1]:  # cut off, or too long to be in it
        return [f"now: {name}" for name in changes]
    return [
        *(f"not expected: {name}" for name in changes if name not in before),
        *(f"expected, and not to be done: {name}" for name in before if name not in changes),
        *(f"in another way: {name}" for name in changes if before.get(name, changes[name]) != changes[name]),
    ]


def fields_of(resource: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return old and new value of each part of a resource that differs; of those that come or go none."""
    change = resource["change"]
    if change["before"] is None or change["after"] is None:
        return {}
    after = _with_unknown(change["after"], change.get("after_unknown"))
    if resource["type"] == "terraform_data":
        after["output"] = change["before"].get("output")  # a copy of the input
    return {path: {"old": old, "new": new} for path, old, new in leaves("", change["before"], after)}


def _with_unknown(value: Any, unknown: Any) -> Any:
    if isinstance(unknown, Mapping):
        known = value if isinstance(value, Mapping) else {}
        return {key: _with_unknown(known.get(key), unknown.get(key)) for key in dict.fromkeys((*known, *unknown))}
    return UNKNOWN if unknown is True else value


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _steady(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _steady(each) for key, each in value.items() if not str(key).endswith(_COMMIT)}
    if isinstance(value, list | tuple):
        return [_steady(each) for each in value]
    return _VOLATILE.sub("…", value) if isinstance(value, str) else value
