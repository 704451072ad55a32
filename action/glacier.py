"""The `glacier` of the user's environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from action.failures import Failed, Reason, reason_of
from action.inputs import Inputs
from action.processes import is_cancelled, run

# `-P` keeps the working directory off the path, where the user may have a module of any name
_MAIN = """
try:
    from glacier_prefect.cli import main
except KeyboardInterrupt:
    raise SystemExit(130) from None
main()
"""


@dataclass(frozen=True, kw_only=True)
class Glacier:
    """The command line in the user's environment.

    Attributes:
        python: The Python that has it.
        folder: The project's folder.
        environment: All of its environment.
        say: Called with each line that it prints for people.
    """

    python: Path
    folder: Path
    environment: Mapping[str, str]
    say: Callable[[str], object]

    def __call__(self, *words: str, folder: Path | None = None) -> dict[str, Any]:
        """Run a command with `--json` and return what it printed.

        Raises:
            Failed: It failed; with its own message.
        """
        command = [str(self.python), "-P", "-c", _MAIN, *words, "--json"]
        code, said = run(
            command, folder=folder or self.folder, environment=self.environment, on_line=self.say, keep=True
        )
        try:
            document = json.loads(said)
        except ValueError:
            document = {}
        if code == 0 and isinstance(document, dict) and document:
            return document
        if is_cancelled():
            raise Failed(Reason.CANCELLED, "The job was cancelled. The next one goes on from what was done.")
        error = document.get("error") if isinstance(document, dict) else None
        if error:
            raise Failed(reason_of(error["kinds"]), str(error["message"]))
        raise Failed(Reason.UNKNOWN, f"glacier {words[0]} ended with {code}; the log above says why.")


def environment(inputs: Inputs, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for Glacier: the job's, without the action's inputs."""
    kept = {name: value for name, value in environ.items() if not name.startswith("INPUT_")}
    ours = {"GLACIER_ENV": inputs.environment, "GLACIER_TERRAFORM": inputs.terraform_binary, **inputs.prefect}
    if inputs.paths:
        ours["GLACIER_PIPELINES"] = "\n".join(inputs.paths)
    return {**kept, "PYTHONUNBUFFERED": "1", **ours}
