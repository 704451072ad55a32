"""Secret values that this process has seen, and how they are kept out of logs and errors.

Nothing here knows where a value comes from. The values are in this module's memory only; they are never written down.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import re
import threading
import traceback
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

MASK = "********"
SHORTEST = 4  # a shorter text is in every second word, and no secret
LONGEST_MEMORY = 200  # values; tokens that are renewed each hour must not slow down a process that runs for months

_PLAIN = frozenset({int, float, bool, complex, type(None)})  # types of values that have no text in them

_values: dict[str, None] = {}
_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def reveal(value: str, *, shortest: int = SHORTEST) -> None:
    """Keep a value, and the ways in which it may be written, out of all logs and errors from now on.

    Args:
        value: The secret.
        shortest: A value with fewer letters is left alone.
    """
    global _pattern
    if len(value) < shortest or value in _values:
        return
    with _lock:
        _values[value] = None
        while len(_values) > LONGEST_MEMORY:
            del _values[next(iter(_values))]
        written = {each for known in _values for each in _written(known)}
        _pattern = re.compile("|".join(re.escape(each) for each in sorted(written, key=len, reverse=True)))
    _watch_logs()


def hidden(text: str) -> str:
    """Return a text with a mask in place of each secret.

    Args:
        text: Any text.
    """
    return text if _pattern is None else _pattern.sub(MASK, text)


def holds_secret(value: Any) -> bool:
    """Whether a secret is in a value: a text, or one inside of lists, tuples, sets and dicts; or an object like
    pydantic's SecretStr, which hides it when it is printed but not when it is pickled.
    """
    if type(value) is dict:
        return holds_secret(list(value)) or holds_secret(list(value.values()))
    if type(value) in (list, tuple, set, frozenset):
        return not _PLAIN.issuperset(map(type, value)) and any(map(holds_secret, value))
    if isinstance(value, str | bytes):
        return _pattern is not None and hidden_in(value) is not value
    return hasattr(type(value), "get_secret_value")


def written_in(content: bytes) -> bool:
    """Whether a secret is written somewhere in bytes that say other things too, where a short one would be found by
    chance.
    """
    text = content.decode("utf-8", "surrogateescape")
    return _pattern is not None and any(len(each.group()) >= 2 * SHORTEST for each in _pattern.finditer(text))


def hidden_in(value: Any) -> Any:
    """Return a value with secrets masked in it; the value itself if it has none."""
    if isinstance(value, str):
        masked = hidden(value)
        return value if masked == value else masked
    if isinstance(value, bytes):
        text = value.decode("utf-8", "surrogateescape")
        masked = hidden(text)
        return value if masked == text else masked.encode("utf-8", "surrogateescape")
    if type(value) is dict:
        made = {hidden_in(key): hidden_in(item) for key, item in value.items()}
        same = all(new is old for new, old in zip(made, value, strict=False)) and len(made) == len(value)
        return value if same and all(made[key] is value[key] for key in value) else made
    if type(value) in (list, tuple, set, frozenset):
        items = [hidden_in(item) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else type(value)(items)
    return value


def hidden_error(error: BaseException) -> BaseException:
    """Mask secrets in an error, its notes and what it comes from.

    Args:
        error: Any error; it is changed.

    Returns:
        The error; another one with the masked message where its text cannot be changed.
    """
    if _pattern is None:
        return error
    for each in _family(error):
        for name, value in list(vars(each).items()):
            if (masked := hidden_in(value)) is not value:
                try:
                    setattr(each, name, masked)
                except AttributeError:
                    each.__dict__[name] = masked
        if (masked := hidden_in(each.args)) is not each.args:
            each.args = masked
        if each is not error and hidden(shown := _shown(each)) != shown:
            _forget_origin(error, each)
    text = _shown(error)
    if hidden(text) == text:
        return error
    replaced = RuntimeError(f"{type(error).__name__}: {hidden(text)}")
    replaced.__suppress_context__ = True
    return replaced.with_traceback(error.__traceback__)


class MaskedStream(io.TextIOBase):
    """A stream that writes to another with a mask in place of each secret."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(hidden(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()


def _shown(error: BaseException) -> str:
    try:
        return f"{error} {error!r}"
    except Exception:  # an error that cannot say what it is says nothing
        return ""


def _forget_origin(error: BaseException, origin: BaseException) -> None:
    for each in _family(error):
        if each.__cause__ is origin:
            each.__cause__ = None
        if each.__context__ is origin:
            each.__context__ = None


def _family(error: BaseException) -> list[BaseException]:
    """Return an error, all that it comes from, and the parts of groups."""
    found: dict[int, BaseException] = {}
    pending: list[BaseException | None] = [error]
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in found:
            found[id(each)] = each
            pending += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return list(found.values())


def _written(value: str) -> Iterator[str]:
    """Yield the ways in which a value may be written: as it is, escaped, in a URL, its lines, the texts of its JSON."""
    yield value
    yield repr(value)[1:-1]
    yield json.dumps(value)[1:-1]
    yield urllib.parse.quote(value, safe="")
    yield urllib.parse.quote_plus(value)
    parts = value.splitlines() if "\n" in value else []
    if value.startswith("{"):
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = None
        if isinstance(parsed, Mapping):
            parts += [each for each in parsed.values() if isinstance(each, str)]
    yield from (each for part in parts if part != value and len(part) >= 2 * SHORTEST for each in _written(part))


@functools.cache  # once per process
def _watch_logs() -> None:
    """Mask secrets in each log record when it is made, whatever handlers there are or come to be."""
    make = logging.getLogRecordFactory()

    def masked(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        try:
            message = record.getMessage()
        except Exception:  # a wrong number of arguments is the handler's to report
            return record
        if (shown := hidden(message)) != message:
            record.msg, record.args = shown, None
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if (shown := hidden(text)) != text:
                record.exc_text = shown  # what formatters show instead of the error
        return record

    logging.setLogRecordFactory(masked)
