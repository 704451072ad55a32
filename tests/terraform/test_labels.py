"""All that can carry the project's tags or labels does: whatever the providers' schemas give such an attribute."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator

import pytest

from tests.terraform.mirror import VERSIONS, schema_of
from tests.terraform.modules import ALL, Module

ATTRIBUTES = ("tags", "labels", "user_labels", "resource_labels")


@functools.cache
def labelled() -> dict[str, str]:
    """Return the attribute of tags or labels that a user can set, by type of resource."""
    found = {}
    for source, version in VERSIONS["newer"].items():
        for kind, schema in json.loads(schema_of(source, version))["schema"]["resource_schemas"].items():
            for name in ATTRIBUTES:
                told = schema["block"].get("attributes", {}).get(name, {})
                if (told.get("optional") or told.get("required")) and isinstance(told["type"], list):
                    found[kind] = name
    return found


def resources(module: Module) -> Iterator[tuple[str, str, str]]:
    """Yield type, name and text of each resource of a module."""
    for file in sorted(module.folder.glob("*.tf")):
        for found in re.finditer(r'^resource "(\w+)" "(\w+)" \{\n(.*?)^\}', file.read_text(), flags=re.M | re.S):
            yield found[1], found[2], found[3]


@pytest.mark.parametrize("module", [each for each in ALL if each.cloud != "local"], ids=lambda each: each.name)
def test_what_can_be_labelled_is(module: Module) -> None:
    attributes = labelled()
    bare = [
        f"{kind}.{name}"
        for kind, name, text in resources(module)
        if kind in attributes and not re.search(rf"^  {attributes[kind]}\s*=", text, flags=re.M)
    ]
    assert bare == []


def test_the_schemas_are_read() -> None:
    attributes = labelled()
    assert attributes["aws_s3_bucket"] == "tags"
    assert attributes["azurerm_storage_account"] == "tags"
    assert attributes["google_storage_bucket"] == "labels"
    assert len({kind for module in ALL for kind, _, _ in resources(module)} & attributes.keys()) > 40
