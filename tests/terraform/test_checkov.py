"""What Checkov finds in the modules and in the generated roots: nothing, but for what modules skip with a reason."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.terraform.checkov_scan import SKIP, checkov_python, failures, skips, table
from tests.terraform.modules import ALL, MODULES, Module
from tests.terraform.roots import SNAPSHOTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # installing it included

HARDENED = re.compile(
    r"\bhardened (turns|makes)\b|\bhardened = true\b"
)  # a reason that holds for hardened = false alone

Findings = set[tuple[str, str, str]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Findings]:
    """The failed checks of modules and roots as they are and hardened: one run, since it starts slowly."""
    folder = tmp_path_factory.mktemp("checked")
    takes = [each for each in ALL if "hardened" in each.declared("variable")]  # of the others it would find the same
    for name, modules, change in (("plain", ALL, str), ("hardened", takes, _hardened)):
        _changed(folder / name, modules, change)
        _write_roots(folder / name, modules, hardened=name == "hardened")
    (folder / "open").mkdir()
    (folder / "open" / "main.tf").write_text('resource "aws_s3_bucket" "b" { bucket = "demo" }\n')
    failed = failures(checkov_python(), folder)
    return {
        name: {(file.removeprefix(f"{name}/"), *rest) for file, *rest in failed if file.startswith(f"{name}/")}
        for name in ("plain", "hardened", "open")
    }


def _changed(folder: Path, modules: Iterable[Module], change: Callable[[str], str]) -> None:
    for module in modules:
        (place := folder / module.name).mkdir(parents=True)
        for name, text in module.files().items():
            (place / name).write_text(change(text))


def _write_roots(folder: Path, modules: Iterable[Module], *, hardened: bool) -> None:
    """Write what all generated roots call beside these modules, in Terraform's language: Checkov reads no root in JSON.

    Of calls that differ in names only it would find the same, so each kind is there once.
    """
    there, calls = {each.name for each in modules}, {}
    for snapshot in sorted(SNAPSHOTS.glob("*.tf.json")):
        for name, call in json.loads(snapshot.read_text())["module"].items():
            module, root = call["source"].removeprefix("./modules/"), snapshot.name.removesuffix(".tf.json")
            if module not in there:
                continue
            given = {**call, "source": f"../{module}"} | ({"hardened": True} if hardened else {})
            lines = [f"  {key} = {json.dumps(value)}\n" for key, value in given.items()]
            kind = module, json.dumps(_kind(call), sort_keys=True)
            calls[kind] = f'module "{re.sub("[.+]", "-", root)}-{name}" {{\n{"".join(lines)}}}\n'
    (folder / "roots").mkdir()
    (folder / "roots" / "main.tf").write_text("".join(calls.values()))


def _kind(value: Any) -> Any:
    """Return what is alike in values that differ in names only."""
    if isinstance(value, dict):
        if value and all(isinstance(each, dict) for each in value.values()):  # by name
            return sorted({json.dumps(_kind(each), sort_keys=True) for each in value.values()})
        return {key: _kind(each) for key, each in value.items()}
    return bool(value) if isinstance(value, str | list) else value


def _hardened(text: str) -> str:
    """Turn a file's variable `hardened` on, and take out the skips that it makes needless."""
    text = SKIP.sub(lambda skip: "#" if HARDENED.search(skip[2]) else skip[0], text)
    return re.sub(r'(^variable "hardened" \{\n(?:  .*\n)*?  default\s*= )false$', r"\1true", text, flags=re.M)


def test_no_check_fails_without_a_skip(found: dict[str, Findings]) -> None:
    failed = sorted(f"{file}: {check} {resource}" for file, check, resource in found["plain"])
    assert not failed, "\n".join(failed)


def test_hardened_needs_none_of_the_skips_that_it_is_the_reason_of(found: dict[str, Findings]) -> None:
    failed = sorted(f"{file}: {check} {resource}" for file, check, resource in found["hardened"])
    assert not failed, "\n".join(failed)


def test_hardened_is_turned_on_where_there_is_such_a_variable_and_is_no_reason_elsewhere() -> None:
    for module in ALL:
        changed = {name for name, text in module.files().items() if _hardened(text) != text}
        assert ("variables.tf" in changed) is ("hardened" in module.declared("variable")), module.name
        assert "variables.tf" in changed or not changed, module.name


def test_every_skip_has_a_reason() -> None:
    assert [each for each in skips(MODULES) if not each.reason] == []


def test_readme_lists_all_skips() -> None:
    expected = table(skips(MODULES))
    assert expected in (MODULES / "README.md").read_text(), f"The table should be:\n{expected}"


def test_bucket_without_anything_fails(found: dict[str, Findings]) -> None:
    assert ("main.tf", "CKV_AWS_145") in {(file, check) for file, check, _ in found["open"]}
