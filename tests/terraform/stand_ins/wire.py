"""Messages of protocol buffers, written and read by hand: the plugin protocol's are few and small."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def put(number: int, value: bool | int | str | bytes) -> bytes:
    """Return one field; without its zero values as proto3 has it, but with messages (bytes) that are empty."""
    if isinstance(value, int):
        return varint(number << 3 | VARINT) + varint(value) if value else b""
    if isinstance(value, str):
        return put(number, value.encode()) if value else b""
    return varint(number << 3 | BYTES) + varint(len(value)) + value


def varint(number: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; a negative one as its 64-bit complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def fields(message: bytes) -> dict[int, int | bytes]:
    """Return the fields of a message by number; of a repeated one, the last."""
    return dict(_each_field(message))


def message_in(found: dict[int, int | bytes], number: int) -> bytes:
    """Return a field that is text, bytes or a message; empty if it is not there."""
    value = found.get(number, b"")
    assert isinstance(value, bytes), f"field {number} is a number"
    return value


def text_in(found: dict[int, int | bytes], number: int) -> str:
    """Return a field that is text; empty if it is not there."""
    return message_in(found, number).decode()


def _each_field(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _read_varint(message, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = _read_varint(message, at)
        elif kind in (FIXED64, FIXED32):
            size = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is none that Terraform uses")
        yield key >> 3, message[at : at + size]
        at += size


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
