"""Paths inside a bucket: their fields, their globs, and which of them overlap.

A path is relative, uses `/`, and may hold `{name}` or `{name:format}` fields (parameters of the pipeline, or
`run_date`) and, in a source, globs (`*`, `?`, `[...]`, `**`). Imports only `errors`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from string import Formatter
from typing import Any

from glacier_prefect.errors import PathError, nearest

RUN_DATE = "run_date"
RESERVED = (".glacier", "_glacier")
"""Folders in a bucket that Glacier keeps for itself: staging, and the versions of a partitioned dataset."""
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class PathTemplate:
    """A path with fields that are filled when a node runs.

    Attributes:
        text: The path as written.
    """

    text: str

    def __post_init__(self) -> None:
        _check_relative(self.text, f"Path {self.text!r}")
        for _, field, _, conversion in self._parts:
            if field is not None and (not field.isidentifier() or conversion):
                written = f"{field}!{conversion}" if conversion else field
                raise PathError(
                    f"Path {self.text!r} has the field {{{written}}}; a field is a plain name with an optional format, "
                    "as in {run_date:%Y-%m-%d}.\n"
                    "Hint: compute anything else in the pipeline's parameters or in a task."
                )
        try:
            self.pattern  # noqa: B018  reading it compiles the globs
        except re.error as error:
            raise PathError(f"Path {self.text!r} has a glob that cannot be read: {error}.") from None

    @cached_property
    def _parts(self) -> list[tuple[str, str | None, str | None, str | None]]:
        try:
            return list(Formatter().parse(self.text))
        except ValueError as error:
            raise PathError(
                f"Path {self.text!r} cannot be read: {error}. Write {{{{ and }}}} for literal braces."
            ) from None

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, each once, in order."""
        return tuple(dict.fromkeys(field for _, field, _, _ in self._parts if field is not None))

    @cached_property
    def prefix(self) -> str:
        """The part before the first field or glob."""
        prefix = ""
        for literal, field, _, _ in self._parts:
            if glob := _GLOB.search(literal):
                return prefix + literal[: glob.start()]
            prefix += literal
            if field is not None:
                break
        return prefix

    @property
    def is_listed(self) -> bool:
        """Whether the folder in which the prefix ends is listed, since a glob comes before the next `/`."""
        text = "".join(literal + ("\0" if field is not None else "") for literal, field, *_ in self._parts)
        return bool(_GLOB.search(text[len(self.prefix) :].partition("/")[0]))

    @property
    def is_exact(self) -> bool:
        """Whether the path has neither fields nor globs."""
        return self._exact is not None

    @property
    def is_glob(self) -> bool:
        """Whether the path names a pattern rather than one file or folder."""
        return any(_GLOB.search(literal) for literal, *_ in self._parts)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Regular expression of all concrete paths that this path can become, and of what lies below them."""
        regex = "".join(glob_regex(text) + (".+" if field is not None else "") for text, field, _, _ in self._parts)
        return re.compile(regex.rstrip("/") + "(?:/.*)?")

    def check_fields(self, known: Iterable[str], where: str) -> None:
        """Raise `PathError` if a field is neither a known parameter nor `run_date`.

        Args:
            known: The pipeline's parameters.
            where: The pipeline, for the message.
        """
        names = {*known, RUN_DATE}
        for field in self.fields:
            if field not in names:
                raise PathError(
                    f"Path {self.text!r} has the field {field!r}, which is neither a parameter of {where} nor "
                    f"{RUN_DATE!r}. {nearest(field, names)}"
                )

    def fill(self, values: Mapping[str, Any]) -> str:
        """Return the path with its fields filled.

        Args:
            values: A value for each field; it may hold `/`, but may not leave the path's fixed prefix, be empty,
                or hold a glob.

        Raises:
            PathError: A value is missing, does not fit its format, or is not allowed.
        """
        filled = []
        for literal, field, spec, _ in self._parts:
            filled.append(literal)
            if field is None:
                continue
            if values.get(field) is None:
                raise PathError(
                    f"Path {self.text!r} needs a value for {field!r}, which is known only in a run of its pipeline.\n"
                    "Hint: read it in a task, or write the path without fields."
                )
            try:
                value = format(values[field], spec or "")
            except (ValueError, TypeError) as error:
                raise PathError(
                    f"Path {self.text!r}: {field}={values[field]!r} does not fit the format {spec!r}: {error}."
                ) from None
            where = f"Path {self.text!r}: the value {value!r} of {field!r}"
            if not value or _GLOB.search(value):
                raise PathError(f"{where} is {'a glob' if value else 'empty'}; a value names one place.")
            _check_relative(value, where)
            filled.append(value)
        path = "".join(filled)
        _check_relative(path, f"Path {self.text!r} filled as {path!r}")
        return path

    def overlaps(self, other: PathTemplate) -> bool:
        """Whether the two can name the same file, or one a file below the other."""
        if not self.prefix.startswith(other.prefix) and not other.prefix.startswith(self.prefix):
            return False
        if self._exact is not None and other._exact is not None:
            return _below(self._exact, other._exact) or _below(other._exact, self._exact)
        if self._exact is not None:
            return other._names(self._exact)
        if other._exact is not None:
            return self._names(other._exact)
        return True

    @cached_property
    def _exact(self) -> str | None:
        """The one path that this is, without a trailing slash; None with fields or globs."""
        return None if self.fields or self.is_glob else self.prefix.rstrip("/")

    def _names(self, path: str) -> bool:
        """Whether this can become `path`, something above it, or something below it."""
        if self.pattern.fullmatch(path) or not path:
            return True
        parts = path.split("/")
        wanted = "".join(text + ("**" if field is not None else "") for text, field, _, _ in self._parts).split("/")
        for part, glob in zip(parts, wanted, strict=False):
            if "**" in glob:  # it, or the field that it stands for, may reach over several folders
                return "." not in parts[-1]  # and `pattern` has said that it does not become this file
            if not re.fullmatch(glob_regex(glob), part):
                return False
        return len(parts) < len(wanted)


def escaped(path: str) -> str:
    """Return `path` written so that a template of it has no fields: its braces doubled."""
    return path.replace("{", "{{").replace("}", "}}")


def is_glob(part: str) -> bool:
    """Whether a path or a part of one has a glob in it."""
    return _GLOB.search(part) is not None


def glob_regex(glob: str) -> str:
    """Translate a glob to a regular expression in which `*` and `?` stay inside one folder and `**` does not."""
    regex = []
    position = 0
    while position < len(glob):
        letter = glob[position]
        if glob.startswith("**/", position):
            regex.append("(?:.*/)?")
            position += 3
            continue
        if glob.startswith("**", position):
            regex.append(".*")
            position += 2
            continue
        if letter == "[" and (end := glob.find("]", position + (3 if glob[position + 1 :][:1] == "!" else 2))) > 0:
            inside = glob[position + 1 : end]
            negated = "^" if inside[0] == "!" else ""
            letters = re.sub(r"([][&|~^])", r"\\\1", inside[len(negated) :])
            regex.append(f"[{negated}{letters}]")
            position = end
        else:
            regex.append({"*": "[^/]*", "?": "[^/]"}.get(letter) or re.escape(letter))
        position += 1
    return "".join(regex)


def _below(one: str, other: str) -> bool:
    return one == other or not other or one.startswith(f"{other}/")


def _check_relative(path: str, where: str) -> None:
    parts = path.rstrip("/").split("/")
    wrong = (
        "starts with '/'" if path.startswith("/")
        else "has a '..' part" if ".." in parts
        else "has a '.' part" if "." in parts
        else "has an empty part ('//')" if "//" in path
        else "has a backslash" if "\\" in path
        else "has a NUL character" if "\0" in path
        else None
    )  # fmt: skip
    if wrong:
        raise PathError(f"{where} {wrong}; it has to stay inside its bucket and its fixed prefix.")
    for name in RESERVED:
        if name in parts:
            raise PathError(f"{where} has a part {name!r}, which Glacier keeps for itself; give it another name.")
