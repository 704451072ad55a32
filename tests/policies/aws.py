"""What a policy document of AWS allows: statements that allow, patterns, and the conditions that Glacier's modules use.

Rules: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html and, for patterns and
variables, reference_policies_elements_condition_operators.html, reference_policies_variables.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

LITERAL = {"${*}": "*", "${?}": "?", "${$}": "$"}
OPERATORS = {"StringLike": True, "ArnLike": True, "StringEquals": False, "ArnEquals": True}  # whether it takes patterns


def allows(document: Mapping[str, Any], action: str, resource: str, **context: str) -> bool:
    """Whether a policy allows an action.

    Args:
        document: The policy.
        action: As in "s3:GetObject".
        resource: ARN.
        context: Condition keys with `_` for `:` and `-`, as in `s3_prefix="orders/"`.

    Raises:
        ValueError: The document has something that these rules do not know.
    """
    asked = {re.sub(r"[:\-/]", "_", key.lower()): value for key, value in context.items()}
    for statement in document["Statement"]:
        if unknown := statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition", "Principal"}:
            raise ValueError(f"a statement has {sorted(unknown)}, for which there is no rule here")
    found = [each for each in document["Statement"] if _concerns(each, action, resource, asked)]
    return any(each["Effect"] == "Allow" for each in found) and not any(each["Effect"] == "Deny" for each in found)


def matches(pattern: str, text: str) -> bool:
    """Whether a text fits a pattern with `*`, `?`, and `${*}` for what is none."""
    return _regex(pattern).fullmatch(text) is not None


@cache
def _regex(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\$\{[*?$]\}|[*?])", pattern)
    regex = "".join({"*": ".*", "?": "."}.get(each) or re.escape(LITERAL.get(each, each)) for each in parts)
    return re.compile(regex, re.DOTALL)


def _concerns(statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, str]) -> bool:
    return (
        any(matches(each.lower(), action.lower()) for each in listed(statement["Action"]))
        and any(matches(each, resource) for each in listed(statement["Resource"]))
        and all(
            _meets(operator, key, listed(values), context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _meets(operator: str, key: str, values: list[str], context: Mapping[str, str]) -> bool:
    if operator not in OPERATORS:
        raise ValueError(f"there is no rule here for the operator {operator}")
    given = context.get(re.sub(r"[:\-/]", "_", key.lower()))
    if given is None:
        return False
    return any(matches(each, given) if OPERATORS[operator] else each == given for each in values)


def listed(value: Any) -> list[str]:
    """Return what stands in a policy as one or as several."""
    return [value] if isinstance(value, str) else list(value)
