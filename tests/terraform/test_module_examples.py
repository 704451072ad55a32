"""The example of every module's README, for each major version of its provider: it works as it stands there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.terraform.mirror import REAL
from tests.terraform.modules import WITH_MIRRORS, Module, copied
from tests.terraform.plugins import Terraform

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")


@pytest.mark.parametrize(
    ("module", "mirror"), [each[1:] for each in WITH_MIRRORS], ids=[each[0] for each in WITH_MIRRORS]
)
def test_example_is_applied_with_nothing_left_to_do_and_destroyed(
    module: Module, mirror: str, terraforms: dict[str, Terraform], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terraform = terraforms[mirror]
    copied(module, tmp_path)
    (tmp_path / "main.tf").write_text(module.root())
    terraform(tmp_path, "init")
    if REAL:  # which would want an account
        mocks = "".join(f'mock_provider "{source.partition("/")[2]}" {{}}\n' for source in module.requires)
        (tmp_path / "main.tftest.hcl").write_text(f'{mocks}run "plan" {{\n  command = plan\n}}\n')
        terraform(tmp_path, "validate")
        assert "1 passed, 0 failed" in terraform(tmp_path, "test")
        return
    assert "Apply complete!" in terraform(tmp_path, "apply", "-auto-approve")
    assert "No changes." in terraform(tmp_path, "plan", "-detailed-exitcode")
    monkeypatch.setenv("GLACIER_ALLOW_DATA_LOSS", "true")  # some modules stop a destroy themselves
    assert "Destroy complete!" in terraform(
        tmp_path, "destroy", "-auto-approve", "-refresh=false"
    )  # which the plan has done
