"""What Checkov finds in the modules: nothing, but for what they skip with a reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.terraform.checkov_scan import SKIP, checkov_python, failures, skips, table
from tests.terraform.modules import ALL, MODULES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # installing it included

HARDENED = re.compile(
    r"\bhardened (turns|makes)\b|\bhardened = true\b"
)  # a reason that holds for hardened = false alone

Findings = set[tuple[str, str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """The failed checks of the modules as they are and hardened: one run, since it starts slowly."""
    folder = tmp_path_factory.mktemp("checked")
    _changed(folder / "plain", lambda text: text)
    _changed(folder / "hardened", _hardened)
    (folder / "open").mkdir()
    (folder / "open" / "main.tf").write_text('resource "aws_s3_bucket" "b" { bucket = "demo" }\n')
    failed = failures(checkov_python(), folder)
    return {
        name: {(file.removeprefix(f"{name}/"), check) for file, check in failed if file.startswith(f"{name}/")}
        for name in ("plain", "hardened", "open")
    }


def _changed(folder: Path, change: Callable[[str], str]) -> None:
    for module in ALL:
        (place := folder / module.name).mkdir(parents=True)
        for name, text in module.files().items():
            (place / name).write_text(change(text))


def _hardened(text: str) -> str:
    """Turn a file's variable `hardened` on, and take out the skips that it makes needless."""
    text = SKIP.sub(lambda skip: "#" if HARDENED.search(skip[2]) else skip[0], text)
    return re.sub(r'(^variable "hardened" \{\n(?:  .*\n)*?  default\s*= )false$', r"\1true", text, flags=re.M)


def test_no_check_fails_without_a_skip(found: dict[str, Findings]) -> None:
    failed = sorted(f"{file}: {check}" for file, check in found["plain"])
    assert not failed, "\n".join(failed)


def test_hardened_needs_none_of_the_skips_that_it_is_the_reason_of(found: dict[str, Findings]) -> None:
    failed = sorted(f"{file}: {check}" for file, check in found["hardened"])
    assert not failed, "\n".join(failed)


def test_hardened_is_turned_on_where_there_is_such_a_variable() -> None:
    for module in ALL:
        if "hardened" in module.declared("variable"):
            text = (module.folder / "variables.tf").read_text()
            assert _hardened(text) != text, module.name


def test_every_skip_has_a_reason() -> None:
    assert [each for each in skips(MODULES) if not each.reason] == []


def test_readme_lists_all_skips() -> None:
    expected = table(skips(MODULES))
    assert expected in (MODULES / "README.md").read_text(), f"The table should be:\n{expected}"


def test_bucket_without_anything_fails(found: dict[str, Findings]) -> None:
    assert ("main.tf", "CKV_AWS_145") in found["open"]
