"""Values beside their schema: what is planned, what an apply makes known, what a configuration may not say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgpack

from tests.terraform.stand_ins.messages import ERROR, WARNING, diagnostic
from tests.terraform.stand_ins.wire import fields, message_in, put

UNKNOWN = msgpack.ExtType(0, b"\0")
EMPTY: dict[str, Callable[[], Any]] = {"list": list, "set": list, "map": dict}

Block = dict[str, Any]
Attribute = dict[str, Any]
Leaf = Callable[[Attribute, Any, str], Any]


def load(dynamic: bytes) -> Any:
    """Return a DynamicValue, which is msgpack or JSON."""
    parts = fields(dynamic)
    if packed := message_in(parts, 1):
        return msgpack.unpackb(packed, raw=False, strict_map_key=False)
    return json.loads(message_in(parts, 2) or b"null")


def dump(value: Any) -> bytes:
    """Return the DynamicValue of a value."""
    return put(1, msgpack.packb(value, use_bin_type=True))


def planned(block: Block, value: Any) -> Any:
    """Return what is planned: the configuration, and what the provider decides as unknown."""

    def leaf(attribute: Attribute, value: Any, name: str) -> Any:
        if attribute.get("write_only"):
            return None  # never kept
        return UNKNOWN if value is None and attribute.get("computed") else value

    return each_attribute(block, value, leaf)


def known(block: Block, value: Any, seed: str, *, computed: bool = False) -> Any:
    """Return a value with all that is unknown made up, always the same for a seed.

    Args:
        block: The schema.
        value: What is known.
        seed: Of what is made up.
        computed: Whether to make up too what is null and the provider's to say, as in a data source.
    """

    def leaf(attribute: Attribute, value: Any, name: str) -> Any:
        if attribute.get("write_only"):
            return None
        if is_unknown(value) or (computed and value is None and attribute.get("computed")):
            return _made_up_attribute(attribute, f"{seed}.{name}", name)
        return _settled(value, attribute.get("type"), f"{seed}.{name}", name)

    return each_attribute(block, value, leaf)


def complaints(block: Block, value: Any, path: tuple[str | int, ...] = ()) -> Iterator[bytes]:
    """Yield what is wrong with a configuration and Terraform leaves to providers to say, as diagnostics."""
    value = value or {}
    for name, attribute in block.get("attributes", {}).items():
        here = (*path, name)
        if (given := value.get(name)) is None:
            continue
        if attribute.get("computed") and not attribute.get("optional"):
            said = f'The provider decides "{name}"; it cannot be set.'
            yield diagnostic(ERROR, "Value for read-only argument", said, here)
        elif attribute.get("deprecated"):
            yield diagnostic(WARNING, "Argument is deprecated", f'The provider marks "{name}" as deprecated.', here)
        if nested := attribute.get("nested_type"):
            yield from _complaints_inside(nested, nested["nesting_mode"], given, here)
    for name, nested in block.get("block_types", {}).items():
        yield from _complaints_inside(nested["block"], nested["nesting_mode"], value.get(name), (*path, name))


def each_attribute(block: Block, value: Any, leaf: Leaf) -> dict[str, Any]:
    """Return a copy of a value with every attribute as `leaf(attribute, value, name)` has it."""
    value = dict(value or {})
    for name, attribute in block.get("attributes", {}).items():
        given = value[name] = leaf(attribute, value.get(name), name)
        if given is not None and (nested := attribute.get("nested_type")):
            value[name] = _nested(nested, nested["nesting_mode"], given, leaf)
    for name, nested in block.get("block_types", {}).items():
        mode, given = nested["nesting_mode"], value.get(name)
        if given is None and mode in EMPTY:
            value[name] = EMPTY[mode]()
        elif given is not None or mode == "group":
            value[name] = _nested(nested["block"], mode, given, leaf)
        else:
            value[name] = None
    return value


def is_unknown(value: Any) -> bool:
    """Whether a value is known only after an apply."""
    return isinstance(value, msgpack.ExtType)


def _nested(block: Block, mode: str, value: Any, leaf: Leaf) -> Any:
    if is_unknown(value):
        return value

    def one(each: Any) -> Any:
        return each if each is None or is_unknown(each) else each_attribute(block, each, leaf)

    if mode in ("list", "set"):
        return [one(each) for each in value]
    if mode == "map":
        return {key: one(each) for key, each in value.items()}
    return each_attribute(block, value, leaf)


def _complaints_inside(block: Block, mode: str, value: Any, path: tuple[str | int, ...]) -> Iterator[bytes]:
    if value is None or is_unknown(value):
        return
    if mode == "map":
        places = [((*path, key), each) for key, each in value.items()]
    elif mode == "list":
        places = [((*path, index), each) for index, each in enumerate(value)]
    else:  # what is in a set has no place of its own
        places = [(path, each) for each in (value if mode == "set" else [value])]
    for place, each in places:
        if each is not None and not is_unknown(each):
            yield from complaints(block, each, place)


def _settled(value: Any, kind: Any, seed: str, name: str) -> Any:
    """Return a value with what is unknown deeper inside made up."""
    if is_unknown(value):
        return _made_up(kind, seed, name)
    if not isinstance(kind, list):
        return value
    if isinstance(value, list) and kind[0] in ("list", "set"):
        return [_settled(each, kind[1], f"{seed}.{index}", name) for index, each in enumerate(value)]
    if isinstance(value, dict) and kind[0] == "map":
        return {key: _settled(each, kind[1], f"{seed}.{key}", name) for key, each in value.items()}
    if isinstance(value, dict) and kind[0] == "object":
        return {key: _settled(each, kind[1].get(key), f"{seed}.{key}", key) for key, each in value.items()}
    return value


def _made_up_attribute(attribute: Attribute, seed: str, name: str) -> Any:
    if "type" in attribute:
        return _made_up(attribute["type"], seed, name)
    nested = attribute["nested_type"]
    if nested["nesting_mode"] in EMPTY:
        return EMPTY[nested["nesting_mode"]]()
    return {name: _made_up_attribute(each, f"{seed}.{name}", name) for name, each in nested["attributes"].items()}


def _made_up(kind: Any, seed: str, name: str) -> Any:
    if isinstance(kind, list):
        if kind[0] == "object":
            return {key: _made_up(each, f"{seed}.{key}", key) for key, each in kind[1].items()}
        if kind[0] == "tuple":
            return [_made_up(each, f"{seed}.{index}", name) for index, each in enumerate(kind[1])]
        return EMPTY[kind[0]]()
    text = f"{name}-{hashlib.sha256(seed.encode()).hexdigest()[:12]}"
    return {"string": text, "number": 0, "bool": False}.get(kind)
