"""How a step talks to GitHub's runner: workflow commands in what it prints, and files that it appends to. The one file
that knows it.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

MASK = "***"
SHORTEST = 4  # letters; a shorter text stands in every second word
_SECRET = re.compile(
    r"(SECRET|TOKEN|PASSWORD|PASSPHRASE|PASSWD|_KEY|AUTH_STRING|CUSTOM_HEADERS|CONNECTION_STRING|SAS)$", re.IGNORECASE
)


class Protocol:
    """The runner of this step.

    Args:
        environ: The environment, with the files' paths in it.
        out: What the runner reads.
    """

    def __init__(self, environ: Mapping[str, str], out: TextIO | None = None) -> None:
        self._environ = environ
        self._out = out or sys.stdout
        self._secrets: dict[str, None] = {}
        self._lock = threading.Lock()

    def mask(self, values: Iterable[str]) -> None:
        """Hide values in all that is printed or told from now on; of one with several lines each line, too.

        Args:
            values: The secrets.
        """
        for value in values:
            for each in dict.fromkeys((value, value.strip(), *map(str.strip, value.splitlines()))):
                if len(each) >= SHORTEST and each not in self._secrets:
                    self._secrets[each] = None
                    if "\n" not in each and "\r" not in each:  # the runner takes a line
                        self._print(f"::add-mask::{_data(each)}")
        self._secrets = dict.fromkeys(sorted(self._secrets, key=len, reverse=True))

    def mask_environment(self) -> None:
        """Hide what the environment has under the name of a secret, as credentials that an earlier step has set."""
        self.mask(
            value
            for name, value in self._environ.items()
            if _SECRET.search(name) and not name.startswith("INPUT_") and len(value) >= 2 * SHORTEST
            if not os.path.exists(value)
        )

    def hidden(self, value: Any) -> Any:
        """Return a value with a mask in place of each secret, in texts, lists and dicts alike."""
        if isinstance(value, str):
            for each in self._secrets:
                value = value.replace(each, MASK)
            return value
        if isinstance(value, Mapping):
            return {self.hidden(key): self.hidden(each) for key, each in value.items()}
        return [self.hidden(each) for each in value] if isinstance(value, list | tuple) else value

    def say(self, text: str) -> None:
        """Print a line for people; it is never taken for a command."""
        for line in self.hidden(text).splitlines() or [""]:
            self._print(_plain(line))

    def error(self, title: str, message: str) -> None:
        """Show an error at the top of the run's page."""
        self._print(f"::error title={_property(title)}::{_data(self.hidden(message))}")

    def warning(self, message: str) -> None:
        """Show a warning at the top of the run's page."""
        self._print(f"::warning::{_data(self.hidden(message))}")

    @contextlib.contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Fold what is printed meanwhile."""
        self._print(f"::group::{_data(self.hidden(title))}")
        try:
            yield
        finally:
            self._print("::endgroup::")

    def output(self, name: str, value: str) -> None:
        """Set an output of the step, whatever is in it."""
        value, end = self.hidden(value), f"glacier-{secrets.token_hex(16)}"
        self._append("GITHUB_OUTPUT", f"{name}<<{end}\n{value}\n{end}\n")

    def summary(self, markdown: str) -> None:
        """Add to the job's summary."""
        self._append("GITHUB_STEP_SUMMARY", self.hidden(markdown).rstrip("\n") + "\n")

    def _append(self, variable: str, text: str) -> None:
        if file := self._environ.get(variable):  # without it nobody listens, as outside of a runner
            with Path(file).open("a", encoding="utf-8", errors="replace", newline="\n") as opened:
                opened.write(text)

    def _print(self, line: str) -> None:
        with self._lock:
            print(line, file=self._out, flush=True)


def _plain(line: str) -> str:
    """Return a line that the runner takes for no command: one begins with `::`, or has `##[` anywhere."""
    return re.sub(r"^(\s*)::", "\\1\u200b::", line).replace("##[", "##\u200b[")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
