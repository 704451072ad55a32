"""What role assignments of Azure allow on blobs, and the conditions in them.

The language of conditions: https://learn.microsoft.com/azure/role-based-access-control/conditions-format. A condition
that is not met denies; an attribute that a request does not have meets no comparison.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<word>AND|OR|NOT)\b|(?P<sign>[()!])"
    r"|(?P<of>ActionMatches|SubOperationMatches)\{'(?P<matched>[^']*)'\}"
    r"|@(?P<where>Request|Resource)\[(?P<attribute>[^\]]+)\]\s+(?P<operator>\w+)\s+'(?P<value>(?:[^']|'')*)')"
)
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One call.

    Attributes:
        action: The data action.
        suboperation: As in "Blob.List".
        attributes: Of the request and the resource, by the last word of their names.
    """

    action: str
    suboperation: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def calls(verb: str, name: str) -> Asked:
    """Return the call for "list", "get", "put" or "delete" of an object or, to list, of what begins with a name."""
    if verb == "list":
        return Asked(action=f"{BLOBS}/read", suboperation="Blob.List", attributes={"prefix": name})
    return Asked(
        action=f"{BLOBS}/{ ({'get': 'read', 'put': 'write', 'delete': 'delete'}[verb]) }", attributes={"path": name}
    )


def meets(condition: str, asked: Asked) -> bool:
    """Whether a call meets a condition.

    Raises:
        ValueError: The condition cannot be read.
    """
    value, left = _either(_tokens(condition), asked)
    if left:
        raise ValueError(f"what is {left[0]}?")
    return value


@cache
def _tokens(text: str) -> tuple[re.Match[str], ...]:
    found, place = [], 0
    while place < len(text.rstrip()):
        if (match := TOKEN.match(text, place)) is None:
            raise ValueError(text[place:])
        found.append(match)
        place = match.end()
    return tuple(found)


Tokens = tuple[re.Match[str], ...]


def _either(tokens: Tokens, asked: Asked) -> tuple[bool, Tokens]:
    value, tokens = _both(tokens, asked)
    while tokens and tokens[0]["word"] == "OR":
        other, tokens = _both(tokens[1:], asked)
        value = value or other
    return value, tokens


def _both(tokens: Tokens, asked: Asked) -> tuple[bool, Tokens]:
    value, tokens = _one(tokens, asked)
    while tokens and tokens[0]["word"] == "AND":
        other, tokens = _one(tokens[1:], asked)
        value = value and other
    return value, tokens


def _one(tokens: Tokens, asked: Asked) -> tuple[bool, Tokens]:
    first, rest = tokens[0], tokens[1:]
    if first["sign"] == "!" or first["word"] == "NOT":
        value, rest = _one(rest, asked)
        return not value, rest
    if first["sign"] == "(":
        value, rest = _either(rest, asked)
        if not rest or rest[0]["sign"] != ")":
            raise ValueError("a bracket is not closed")
        return value, rest[1:]
    return _holds(first, asked), rest


def _holds(token: re.Match[str], asked: Asked) -> bool:
    if token["of"] == "ActionMatches":
        return asked.action == token["matched"]
    if token["of"] == "SubOperationMatches":
        return asked.suboperation == token["matched"]
    if token["operator"] not in ("StringStartsWith", "StringNotStartsWith"):
        raise ValueError(f"there is no rule here for the operator {token['operator']}")
    given = asked.attributes.get(token["attribute"].rpartition(":")[2])
    starts = token["operator"] == "StringStartsWith"
    return given is not None and given.startswith(token["value"].replace("''", "'")) is starts


def allows(assignment: Mapping[str, Any], actions: list[str], asked: Asked) -> bool:
    """Whether a role assignment with these data actions allows a call."""
    condition = assignment.get("condition")
    return asked.action in actions and (not condition or meets(condition, asked))
