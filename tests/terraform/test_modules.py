"""Every module with the real Terraform: valid, and as its own tests say, for each major version of its provider."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.terraform.modules import ALL, ASSERT, MODULES, RUN, WITH_MIRRORS, Module, copied
from tests.terraform.plugins import Terraform

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")


@pytest.mark.parametrize(
    ("module", "mirror"), [each[1:] for each in WITH_MIRRORS], ids=[each[0] for each in WITH_MIRRORS]
)
def test_module_is_valid_without_a_warning_and_passes_its_own_tests(
    module: Module, mirror: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    terraform, folder = terraforms[mirror], copied(module, tmp_path)
    (folder / "providers.tf").write_text(module.provider_blocks())
    terraform(folder, "init", "-backend=false")
    (variables := tmp_path / "variables" / "tests").mkdir(parents=True)
    shutil.copy(folder / "variables.tf", variables.parent)
    for name, plans, refusals in module.tests():
        (folder / "tests" / name).write_text(plans)
        (variables / name).write_text(refusals)
    for place in (folder, variables.parent):
        runs = sum(len(RUN.findall(file.read_text())) for file in place.glob("tests/*"))
        assert runs > 0
        # Each run validates its module first, as `terraform validate` does.
        said = [json.loads(line) for line in terraform(place, "test", "-json").splitlines()]
        assert [each for each in said if each["type"] == "diagnostic"] == []
        [summary] = [each["test_summary"] for each in said if each["type"] == "test_summary"]
        assert (summary["passed"], summary["failed"], summary["errored"]) == (runs, 0, 0)


def test_all_files_are_formatted() -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", "-diff", MODULES], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_runs_that_are_put_together_leave_nothing_out() -> None:
    for module in ALL:
        whole = "".join(file.read_text() for file in module.folder.glob("tests/*.tftest.hcl"))
        short = "".join(plans + refusals for _, plans, refusals in module.tests())
        assert sorted(ASSERT.findall(short)) == sorted(ASSERT.findall(whole)), module.name
        assert whole.count("  assert {") == len(ASSERT.findall(whole)), module.name
        assert {ASSERT.sub("", body) for _, body in RUN.findall(short)} == {
            ASSERT.sub("", body) for _, body in RUN.findall(whole)
        }, module.name
        assert whole.count("\nrun ") == len(RUN.findall(whole)), module.name
