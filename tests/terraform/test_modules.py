"""Every module with the real Terraform: valid, and as its own tests say, for each major version of its provider."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.terraform.modules import MODULES, WITH_MIRRORS, Module, copied
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
    assert json.loads(terraform(folder, "validate", "-json"))["diagnostics"] == []
    said = terraform(folder, "test")
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", said), said


def test_all_files_are_formatted() -> None:
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", "-diff", MODULES], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
