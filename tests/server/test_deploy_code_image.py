"""`glacier deploy` with `code = "image"`: into the registry that Terraform made, and from there into the deployments.

Terraform and Prefect are real; AWS is a stand-in (tests/terraform), and so is docker (tests/base/fake_docker.py).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.emulators import S3
from tests.server.test_deploy_code_bucket import SETTINGS, Shop
from tests.terraform.conftest import mirrors, terraforms
from tests.terraform.plugins import Terraform

__all__ = ["mirrors", "terraforms"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("image"),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]
FAKE = Path(__file__).parents[1] / "base" / "fake_docker.py"


def test_the_image_is_built_between_terraform_and_prefect_and_all_deployments_get_its_digest(
    project: Any,
    api: Any,
    s3: S3,
    make_bucket: Callable[[Any], str],
    terraforms: dict[str, Terraform],
    tmp_path: Path,
) -> None:
    settings = SETTINGS.replace("archived", "imaged").replace('code = "bucket"', 'code = "image"')
    shop = Shop(project, s3, make_bucket(s3), terraforms["newer"], settings)
    program = tmp_path / "docker"
    program.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    program.chmod(0o755)
    shop.env |= {"PATH": f"{tmp_path}:{project.env['PATH']}", "FAKE_DOCKER": str(tmp_path)}
    project.write("Dockerfile", "FROM prefecthq/prefect:3-python3.12\nCOPY . .\n")
    shop.git("add", ".")

    def images() -> dict[str, str]:
        return {name: api.deployment(f"imaged-{name}/prod")["job_variables"]["image"] for name in ("one", "two")}

    def calls() -> list[list[str]]:
        file = tmp_path / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    shop.glacier("plan")
    assert calls() == [], "a plan builds nothing"
    shop.glacier("deploy", "--yes")
    [(reference, digest)] = json.loads((tmp_path / "registry.json").read_text()).items()
    state = json.loads((shop.folder / ".glacier/prod/terraform/terraform.tfstate").read_text())
    repository = state["outputs"]["registry"]["value"]
    assert repository.endswith(".dkr.ecr.us-east-1.amazonaws.com/glacier-imaged-prod")
    assert reference.rpartition(":")[0] == repository
    assert images() == dict.fromkeys(("one", "two"), f"{repository}@{digest}")
    steps = api.deployment("imaged-one/prod")["pull_steps"]
    assert steps == [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
    assert "nothing changes" in shop.glacier("plan")

    before, asked = images(), len(calls())
    project.write("Dockerfile", "FROM prefecthq/prefect:3-python3.12\nCOPY . .\nRUN false\n")
    said = shop.glacier("deploy", "--yes", check=False)
    assert "could not be made: its build failed. Docker said last:" in said
    assert images() == before
    assert len(calls()) > asked
    project.write("Dockerfile", "FROM prefecthq/prefect:3-python3.12\nCOPY . .\nRUN true\n")
    shop.glacier("deploy", "--yes")
    after = images()
    assert after["one"] == after["two"] != before["one"]
    shop.glacier("destroy", "--yes", "--allow-data-loss")
