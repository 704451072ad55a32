"""A provider that knows its schema and nothing else: the calls of Terraform's plugin protocol.

What a real provider would answer is answered like this:

* validate: what a schema says and Terraform leaves to the provider, nothing beyond
* plan: what the configuration says, and what the provider decides as unknown; never a replacement
* apply: the plan, with what is unknown made up, always the same
* read: the state as it is; data sources have made-up values
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.terraform.stand_ins import values
from tests.terraform.stand_ins.wire import fields, message_in, put, text_in


class Provider:
    """A provider. Its methods are named as the protocol's, take a message and return one.

    Args:
        data: The folder with `NAME.json`, the schema, and `NAME.pb`, the same as a message.
        name: Which one.
    """

    def __init__(self, data: Path, name: str) -> None:
        self._file = data / name

    def GetProviderSchema(self, request: bytes) -> bytes:
        return self._file.with_name(f"{self._file.name}.pb").read_bytes()

    def ValidateProviderConfig(self, request: bytes) -> bytes:
        config = message_in(fields(request), 1)
        return self._complaints(self._schema["provider"]["block"], config, number=2)

    def ValidateResourceConfig(self, request: bytes, kind: str = "resource_schemas") -> bytes:
        asked = fields(request)
        return self._complaints(self._block(kind, text_in(asked, 1)), message_in(asked, 2), number=1)

    def ValidateDataResourceConfig(self, request: bytes) -> bytes:
        return self.ValidateResourceConfig(request, "data_source_schemas")

    def ValidateEphemeralResourceConfig(self, request: bytes) -> bytes:
        return self.ValidateResourceConfig(request, "ephemeral_resource_schemas")

    def UpgradeResourceState(self, request: bytes) -> bytes:
        stored = fields(message_in(fields(request), 3))
        return put(1, put(2, message_in(stored, 1)))

    def ReadResource(self, request: bytes) -> bytes:
        asked = fields(request)
        return put(1, message_in(asked, 2)) + put(3, message_in(asked, 3))

    def PlanResourceChange(self, request: bytes) -> bytes:
        asked = fields(request)
        proposed = values.load(message_in(asked, 3))
        if proposed is not None:
            proposed = values.planned(self._block("resource_schemas", text_in(asked, 1)), proposed)
        return put(1, values.dump(proposed)) + put(3, message_in(asked, 5))

    def ApplyResourceChange(self, request: bytes) -> bytes:
        asked = fields(request)
        kind, planned = text_in(asked, 1), values.load(message_in(asked, 3))
        if planned is not None:
            seed = kind + hashlib.sha256(message_in(asked, 4)).hexdigest()
            planned = values.known(self._block("resource_schemas", kind), planned, seed)
        return put(1, values.dump(planned)) + put(2, message_in(asked, 5))

    def ImportResourceState(self, request: bytes) -> bytes:
        asked = fields(request)
        kind, given = text_in(asked, 1), text_in(asked, 2)
        state = values.each_attribute(
            self._block("resource_schemas", kind), {}, lambda _, value, name: given if name == "id" else value
        )
        return put(1, put(1, kind) + put(2, values.dump(state)))

    def ReadDataSource(self, request: bytes) -> bytes:
        asked = fields(request)
        kind, config = text_in(asked, 1), message_in(asked, 2)
        seed = f"data.{kind}{hashlib.sha256(config).hexdigest()}"
        block = self._block("data_source_schemas", kind)
        return put(1, values.dump(values.known(block, values.load(config), seed, computed=True)))

    def OpenEphemeralResource(self, request: bytes) -> bytes:
        asked = fields(request)
        kind, config = text_in(asked, 1), values.load(message_in(asked, 2))
        block = self._block("ephemeral_resource_schemas", kind)
        return put(3, values.dump(values.known(block, config, f"ephemeral.{kind}", computed=True)))

    def _nothing_to_say(self, request: bytes) -> bytes:
        return b""

    CloseEphemeralResource = ConfigureProvider = StopProvider = GetFunctions = _nothing_to_say

    @cached_property
    def _schema(self) -> dict[str, Any]:
        return json.loads(self._file.with_name(f"{self._file.name}.json").read_bytes())

    def _block(self, kind: str, name: str) -> values.Block:
        return self._schema[kind][name]["block"]

    def _complaints(self, block: values.Block, config: bytes, *, number: int) -> bytes:
        return b"".join(put(number, each) for each in values.complaints(block, values.load(config)))
