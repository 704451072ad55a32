"""README.md says of the action what action.yml and the code do."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from action.failures import MEANINGS, Reason

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def table(heading: str) -> dict[str, list[str]]:
    """The rows of the table under a line in README.md, by the name in the first column."""
    [text] = re.findall(
        rf"^\| {re.escape(heading)} \|[^\n]*\n\| ---[^\n]*\n(.*?)\n\n", README, flags=re.DOTALL | re.MULTILINE
    )
    rows = [re.split(r"\s*\|\s*", line.strip().strip("|").strip()) for line in text.splitlines()]
    return {row[0].strip("`"): row[1:] for row in rows}


def test_the_readme_lists_inputs_with_their_defaults_and_outputs() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    inputs = table("input")
    assert list(inputs) == list(action["inputs"])
    for name, given in action["inputs"].items():
        default = "needed" if given.get("required") else given["default"]
        assert inputs[name][0].strip("`") == default.replace("${{ github.token }}", "the job's"), name
    assert list(table("output")) == list(action["outputs"])


def test_the_readme_lists_every_reason_of_a_failure() -> None:
    assert {name: row[0] for name, row in table("`failure-reason`").items()} == {str(k): v for k, v in MEANINGS.items()}
    assert set(MEANINGS) == set(Reason)
