"""The stand-ins for provider plugins: what they refuse, as real ones do, and what they keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.terraform_cli import TerraformCLI
from tests.terraform.mirror import HOST, REAL, REPOSITORY, VERSIONS, Mirror, install, named_types, schema_of, stem
from tests.terraform.plugins import Terraform

pytestmark = pytest.mark.skipif(REAL, reason="TERRAFORM_PROVIDERS=real: there are no stand-ins")

WRONG = {
    "hashicorp/aws": """
        resource "aws_s3_bucket" "misspelled" { buckett = "demo" }
        resource "aws_ecs_service" "missing" { desired_count = 2 }
        resource "aws_ecs_service" "mistyped" {
          name          = "demo"
          desired_count = "two"
        }
        resource "aws_s3_buckets" "unknown" {}
    """,
    "hashicorp/azurerm": """
        resource "azurerm_resource_group" "misspelled" {
          name     = "demo"
          location = "westeurope"
          region   = "westeurope"
        }
        resource "azurerm_resource_group" "missing" { name = "demo" }
        resource "azurerm_resource_group" "mistyped" {
          name     = "demo"
          location = ["westeurope"]
        }
        resource "azurerm_resource_groups" "unknown" {}
    """,
    "hashicorp/google": """
        resource "google_storage_bucket" "misspelled" {
          name           = "demo"
          location       = "EU"
          uniform_access = true
        }
        resource "google_storage_bucket" "missing" { name = "demo" }
        resource "google_storage_bucket" "mistyped" {
          name     = "demo"
          location = "EU"
          labels   = "a"
        }
        resource "google_bucket" "unknown" {}
    """,
    "prefecthq/prefect": """
        resource "prefect_work_pool" "misspelled" {
          name = "demo"
          kind = "ecs"
        }
        resource "prefect_deployment" "missing" { name = "demo" }
        resource "prefect_work_pool" "mistyped" {
          name   = "demo"
          paused = "maybe"
        }
        resource "prefect_pool" "unknown" {}
    """,
    "databricks/databricks": """
        resource "databricks_secret_scope" "misspelled" {
          name    = "demo"
          backend = "x"
        }
        resource "databricks_secret_scope" "missing" {}
        resource "databricks_job" "mistyped" { max_concurrent_runs = "many" }
        resource "databricks_jobs" "unknown" {}
    """,
}
ERRORS = {
    "misspelled": "Unsupported argument",
    "missing": "Missing required argument",
    "mistyped": "Incorrect attribute value type",
    "unknown": "Invalid resource type",
}
KEPT = """
    variable "password" {
      type      = string
      sensitive = true
      default   = "not-for-eyes"
    }
    data "aws_caller_identity" "me" {}
    resource "aws_s3_bucket" "b" { bucket = "demo-${data.aws_caller_identity.me.account_id}" }
    resource "aws_iam_access_key" "k" { user = "demo" }
    resource "aws_ssm_parameter" "p" {
      name             = "demo"
      type             = "SecureString"
      value_wo         = var.password
      value_wo_version = 1
    }
    output "arn" { value = aws_s3_bucket.b.arn }
"""

# `terraform providers mirror` on a machine with a network
STUB = """
import json, pathlib, sys, zipfile
for each in json.load(open("main.tf.json"))["terraform"]["required_providers"].values():
    folder = pathlib.Path(sys.argv[3], "registry.terraform.io", each["source"])
    folder.mkdir(parents=True)
    name, version = each["source"].partition("/")[2], each["version"].removeprefix("~> ").replace(".0", ".99.0")
    with zipfile.ZipFile(folder / f"terraform-provider-{name}_{version}_linux_amd64.zip", "w") as archive:
        archive.writestr(f"terraform-provider-{name}_v{version}_x5", "#!/bin/sh")
"""


@pytest.fixture(params=VERSIONS)
def terraform(request: pytest.FixtureRequest, terraforms: dict[str, Terraform]) -> Terraform:
    """Terraform with the older or the newer versions."""
    return terraforms[request.param]


@pytest.fixture
def newer(terraforms: dict[str, Terraform]) -> Terraform:
    """Terraform with the newer versions."""
    return terraforms["newer"]


def root(folder: Path, text: str, *sources: str, version: str = ">= 0") -> Path:
    """Write a root module that asks for some providers."""
    folder.mkdir(exist_ok=True)
    required = {source.partition("/")[2]: {"source": source, "version": version} for source in sources}
    (folder / "versions.tf.json").write_text(json.dumps({"terraform": {"required_providers": required}}))
    (folder / "main.tf").write_text(text)
    return folder


def findings(terraform: Terraform, folder: Path, *, code: int) -> list[dict[str, Any]]:
    return json.loads(terraform(folder, "validate", "-json", code=code))["diagnostics"]


def kept(mirror: Mirror, source: str, version: str) -> Any:
    """Return the schema that the stand-in for a provider has."""
    assert mirror.data is not None
    return json.loads((mirror.data / f"{stem(source, version)}.json").read_text())


def said(schema: Any) -> Any:
    """Leave out what says nothing, false, zero and empty, and the kind of the descriptions that are not kept."""
    if isinstance(schema, list):
        return [said(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    short = {k: said(v) for k, v in schema.items() if not (k == "description_kind" and isinstance(v, str))}
    return {k: v for k, v in short.items() if v not in (False, {}, [])}


@pytest.mark.parametrize("name", VERSIONS)
def test_terraform_gives_every_schema_back_as_stand_ins_keep_it(
    name: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    terraform = terraforms[name]
    other = {} if name == "newer" else VERSIONS["newer"]  # what has one version only is looked at once
    sources = {source: version for source, version in VERSIONS[name].items() if other.get(source) != version}
    terraform(root(tmp_path, "", *sources), "init")
    given = json.loads(terraform(tmp_path, "providers", "schema", "-json"))["provider_schemas"]
    for source, version in sources.items():
        for kind, expected in kept(terraform.mirror, source, version).items():
            assert said(given[f"{HOST}/{source}"].get(kind, {})) == said(expected), (source, kind)


def test_stand_ins_keep_what_is_named_here_as_it_is_in_the_files_and_no_other_type(mirrors: dict[str, Mirror]) -> None:
    named = named_types()
    for source, version in sorted({each for versions in VERSIONS.values() for each in versions.items()}):
        whole = json.loads(schema_of(source, version))["schema"]
        assert kept(mirrors["newer"], source, version) == {
            kind: {each: found[each] for each in found if each in named} if kind.endswith("_schemas") else found
            for kind, found in whole.items()
        }


@pytest.mark.parametrize("source", WRONG)
def test_what_a_schema_does_not_know_is_refused(source: str, terraform: Terraform, tmp_path: Path) -> None:
    terraform(root(tmp_path, WRONG[source], source), "init")
    found = {each["snippet"]["context"]: each["summary"] for each in findings(terraform, tmp_path, code=1)}
    for name, error in ERRORS.items():
        assert [summary for place, summary in found.items() if f'"{name}"' in place] == [error], found


@pytest.mark.parametrize(
    ("source", "text", "argument"),
    [
        ("hashicorp/aws", 'resource "aws_s3_bucket" "b" { arn = "a" }', "arn"),
        (
            "prefecthq/prefect",
            'resource "prefect_work_pool" "w" {\n name = "a"\n default_queue_id = "a"\n}',
            "default_queue_id",
        ),
        ("databricks/databricks", 'resource "databricks_job" "j" { url = "a" }', "url"),
    ],
)
def test_argument_that_the_provider_decides_is_refused(
    source: str, text: str, argument: str, newer: Terraform, tmp_path: Path
) -> None:
    newer(root(tmp_path, text, source), "init")
    [error] = findings(newer, tmp_path, code=1)
    assert error["summary"] == "Value for read-only argument"
    assert f'"{argument}"' in error["detail"]


def test_deprecated_argument_is_a_warning(newer: Terraform, tmp_path: Path) -> None:
    newer(root(tmp_path, 'resource "aws_s3_bucket" "b" { acl = "private" }', "hashicorp/aws"), "init")
    [warning] = findings(newer, tmp_path, code=0)
    assert (warning["severity"], warning["summary"]) == ("warning", "Argument is deprecated")


def test_sensitive_values_stay_so_and_write_only_ones_are_not_kept(newer: Terraform, tmp_path: Path) -> None:
    newer(root(tmp_path, KEPT, "hashicorp/aws"), "init")
    newer(tmp_path, "plan", "-out=saved")
    plan = json.loads(newer(tmp_path, "show", "-json", "saved"))
    changes = {each["address"]: each["change"] for each in plan["resource_changes"]}
    assert changes["aws_iam_access_key.k"]["after_sensitive"]["secret"] is True
    assert changes["aws_iam_access_key.k"]["after_unknown"]["secret"] is True
    newer(tmp_path, "apply", "saved")
    assert "not-for-eyes" not in (tmp_path / "terraform.tfstate").read_text()


def test_apply_is_the_same_each_time_and_nothing_is_left_to_do(newer: Terraform, tmp_path: Path) -> None:
    arns = set()
    for name in ("a", "b"):
        folder = root(tmp_path / name, KEPT, "hashicorp/aws")
        newer(folder, "init")
        newer(folder, "apply", "-auto-approve")
        newer(folder, "plan", "-detailed-exitcode")
        arns.add(json.loads(newer(folder, "output", "-json"))["arn"]["value"])
    [arn] = arns
    assert arn.startswith("arn-")
    assert "Destroy complete! Resources: 3 destroyed" in newer(folder, "destroy", "-auto-approve")


def test_plugin_that_terraform_starts_plans_what_one_does_that_it_attaches_to(newer: Terraform, tmp_path: Path) -> None:
    newer(root(tmp_path, KEPT, "hashicorp/aws"), "init")
    started = Terraform(mirror=newer.mirror)(tmp_path, "plan")
    assert "3 to add" in started
    assert started == newer(tmp_path, "plan")


def test_wrong_assertion_over_a_mock_provider_fails(newer: Terraform, tmp_path: Path) -> None:
    newer(root(tmp_path, 'resource "aws_s3_bucket" "b" { bucket = "demo" }', "hashicorp/aws"), "init")
    tests = 'mock_provider "aws" {}\n'
    for name, expected in (("right", "demo"), ("wrong", "another")):
        condition = f'condition = aws_s3_bucket.b.bucket == "{expected}"'
        tests += f'run "{name}" {{\n assert {{\n {condition}\n error_message = "x"\n }}\n}}\n'
    (tmp_path / "main.tftest.hcl").write_text(tests)
    assert "1 passed, 1 failed" in newer(tmp_path, "test", code=1)


def test_version_that_is_not_in_the_mirror_is_not_found(terraforms: dict[str, Terraform], tmp_path: Path) -> None:
    root(tmp_path, "", "hashicorp/google", version="~> 7.0")
    assert "no available releases match" in terraforms["newer"](tmp_path, "init", code=1)
    assert "google v7.9.0" in terraforms["older"](tmp_path, "init")


@pytest.mark.usefixtures("stand_ins")
def test_glacier_finds_them_by_one_variable(tmp_path: Path) -> None:
    cli = TerraformCLI(root(tmp_path, KEPT, "hashicorp/aws"))
    cli.init()
    with cli.plan() as plan:
        assert len(plan.changes) == 3


def test_installing_at_once_makes_one_mirror_that_is_used_again(tmp_path: Path) -> None:
    code = "import sys, pathlib; from tests.terraform.mirror import install; install(pathlib.Path(sys.argv[1]))"
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=REPOSITORY) for _ in range(2)]
    assert [each.wait() for each in running] == [0, 0]
    [home] = [each for each in tmp_path.iterdir() if each.is_dir()]
    made = home.stat().st_mtime_ns
    assert install(tmp_path)["older"].config.parent == home
    assert home.stat().st_mtime_ns == made


def test_real_plugins_are_downloaded_of_both_majors_and_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin" / "terraform"
    stub.write_text(f"#!{sys.executable}\n{STUB}")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}{os.pathsep}{os.environ['PATH']}")
    for name, mirror in install(tmp_path / "cache", real=True).items():
        plugins = mirror.config.parent / name / HOST / "hashicorp" / "google"
        [plugin] = plugins.rglob("terraform-provider-*")
        version = f"{VERSIONS[name]['hashicorp/google'].partition('.')[0]}.99.0"
        assert (
            plugin.relative_to(plugins).as_posix() == f"{version}/linux_amd64/terraform-provider-google_v{version}_x5"
        )
        assert plugin.stat().st_mode & 0o111
        assert mirror.data is None
