"""What `terraform providers schema -json` prints, as messages of Terraform's plugin protocol (tfplugin6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.terraform.stand_ins.wire import put, varint

ERROR, WARNING = 1, 2
NESTING = {"single": 1, "list": 2, "set": 3, "map": 4, "group": 5}
KINDS = {2: "resource_schemas", 3: "data_source_schemas", 8: "ephemeral_resource_schemas"}
FLAGS = {4: "required", 5: "optional", 6: "computed", 7: "sensitive", 9: "deprecated", 11: "write_only"}


def schema_response(schema: dict[str, Any]) -> bytes:
    """Return the answer to GetProviderSchema."""
    # Destroying is planned by the provider too; Terraform need not ask for the schema again in a process.
    capabilities = put(1, True) + put(2, True)
    out = put(1, _schema(schema.get("provider", {}))) + put(6, capabilities)
    for number, kind in KINDS.items():
        for name, each in sorted(schema.get(kind, {}).items()):
            out += put(number, put(1, name) + put(2, _schema(each)))
    return out


def diagnostic(severity: int, summary: str, detail: str, path: Sequence[str | int] = ()) -> bytes:
    """Return a finding about the attribute at a path of names, indices and keys."""
    steps = b""
    for step in path:  # an index of 0 is written too: it says which kind of step this is
        steps += put(1, varint(3 << 3) + varint(step) if isinstance(step, int) else put(1, step))
    return put(1, severity) + put(2, summary) + put(3, detail) + put(4, steps)


def _schema(item: dict[str, Any]) -> bytes:
    return put(1, item.get("version", 0)) + put(2, _block(item.get("block", {})))


def _block(block: dict[str, Any]) -> bytes:
    out = b"".join(put(2, _attribute(name, each)) for name, each in sorted(block.get("attributes", {}).items()))
    for name, nested in sorted(block.get("block_types", {}).items()):
        kind = put(1, name) + put(2, _block(nested.get("block", {}))) + put(3, NESTING[nested["nesting_mode"]])
        out += put(3, kind + put(4, nested.get("min_items", 0)) + put(5, nested.get("max_items", 0)))
    return out + put(6, block.get("deprecated", False))


def _attribute(name: str, attribute: dict[str, Any]) -> bytes:
    out = put(1, name)
    if "nested_type" in attribute:
        nested = attribute["nested_type"]
        inner = b"".join(put(1, _attribute(name, each)) for name, each in sorted(nested.get("attributes", {}).items()))
        out += put(10, inner + put(3, NESTING[nested["nesting_mode"]]))
    else:
        out += put(2, json.dumps(attribute["type"], separators=(",", ":")))
    return out + b"".join(put(number, attribute.get(flag, False)) for number, flag in FLAGS.items())
