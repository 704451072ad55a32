"""The roots that `glacier generate` writes: what they are, that they are the same each time, that Terraform takes them.

`python -m tests.terraform.test_generated_roots` writes the snapshots anew; look at the difference.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.terraform import roots
from tests.terraform.plugins import Terraform
from tests.terraform.roots import EXAMPLES, PLACES, SNAPSHOTS

NAMES = (*EXAMPLES, "shop")
ENVIRONMENTS = (*PLACES, "aws+azure")
# Every root once; the shop, which has each module that pipelines need, with the older versions and hardened, too.
APPLIED = [(name, environment, "newer", "plain") for name in NAMES for environment in ENVIRONMENTS]
APPLIED += [
    ("shop", "aws", "newer", "hardened"),
    ("shop", "azure", "newer", "hardened"),
    ("shop", "azure", "older", "plain"),
    ("shop", "gcp", "older", "hardened"),
    ("shop", "aws+azure", "older", "hardened"),
]
with_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")


def project(name: str, environment: str, folder: Path) -> Path:
    return roots.shop(environment, folder) if name == "shop" else roots.example(name, environment, folder)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("name", NAMES)
def test_the_root_is_its_snapshot_on_whatever_path(name: str, environment: str, tmp_path: Path) -> None:
    expected = (SNAPSHOTS / f"{name}.{environment}.tf.json").read_text()
    assert roots.text_of(project(name, environment, tmp_path / "a")) == expected
    assert roots.text_of(project(name, environment, tmp_path / "far away" / "b")) == expected


def test_each_example_has_its_snapshots_and_there_are_no_others() -> None:
    assert set(EXAMPLES) >= {"custom_executor", "deploy_workflow", "flight_delays", "multi_cloud"}
    found = {each.name for each in SNAPSHOTS.iterdir()}
    assert found == {f"{name}.{environment}.tf.json" for name in NAMES for environment in ENVIRONMENTS}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_generating_twice_writes_the_same_bytes(environment: str, tmp_path: Path) -> None:
    folder = project("shop", environment, tmp_path / "shop")
    first = {file: file.read_bytes() for file in roots.generated(folder).rglob("*") if file.is_file()}
    assert len(first) > 5
    assert {file: file.read_bytes() for file in roots.generated(folder).rglob("*") if file.is_file()} == first


@with_terraform
@pytest.mark.parametrize("mirror", ["newer", "older"])
def test_every_root_is_formatted_valid_without_a_warning_and_planned_with_mock_providers(
    mirror: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    """All in one folder, since installing takes longer than what is looked at.

    Of a root itself there is nothing to format: it is JSON, written sorted. The copies of modules are formatted.
    """
    roots_of = {}
    for name in NAMES:
        for environment in ENVIRONMENTS:
            if mirror == "newer" or environment not in ("aws", "local"):  # of these there is one major version
                made = roots.generated(project(name, environment, tmp_path / "projects" / name / environment))
                copied = tmp_path / "roots" / f"{name}-{environment.replace('+', '-')}"
                shutil.copytree(made, copied)
                root = json.loads((copied / "main.tf.json").read_text())
                del root["terraform"]["backend"]  # there is one in a folder, and it is tried with an apply
                (copied / "main.tf.json").write_text(json.dumps(root))
                roots_of[copied.name] = root
    called = "".join(f'module "{name}" {{\n  source = "./roots/{name}"\n}}\n' for name in roots_of)
    (tmp_path / "main.tf").write_text(called)
    mocked = sorted({provider for root in roots_of.values() for provider in root.get("provider", {})})
    tests = [f'mock_provider "{provider}" {{}}\n' for provider in mocked]
    tests += [
        f'run "{name}" {{\n  command = plan\n  module {{\n    source = "./roots/{name}"\n  }}\n}}\n'
        for name in roots_of
    ]
    sources = [root["terraform"].get("required_providers", {}) for root in roots_of.values()]
    needed = {"terraform": {"required_providers": {key: value for each in sources for key, value in each.items()}}}
    (tmp_path / "terraform.tf.json").write_text(json.dumps(needed))
    (tmp_path / "all.tftest.hcl").write_text("".join(tests))
    terraform = terraforms[mirror]
    assert terraform(tmp_path, "fmt", "-check", "-recursive", "roots") == ""
    terraform(tmp_path, "init", "-backend=false")
    assert json.loads(terraform(tmp_path, "validate", "-json"))["diagnostics"] == []
    assert f"Success! {len(roots_of)} passed, 0 failed." in terraform(tmp_path, "test")
    assert len(roots_of) == len(NAMES) * (5 if mirror == "newer" else 3)


@with_terraform
@pytest.mark.parametrize(("name", "environment", "mirror", "kind"), APPLIED)
def test_terraform_applies_it_with_nothing_left_to_do_and_destroys_it(
    name: str,
    environment: str,
    mirror: str,
    kind: str,
    terraforms: dict[str, Terraform],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terraform, own = terraforms[mirror], environment.partition("+")[0]
    shop = name == "shop" and own != "local"
    made = roots.shop(environment, tmp_path / "shop", hardened=True) if kind == "hardened" else None
    folder = roots.generated(made or project(name, environment, tmp_path / name))
    if shop:
        root = json.loads((folder / "main.tf.json").read_text())
        assert set(root["terraform"]["backend"]) == {{"azure": "azurerm", "gcp": "gcs"}.get(environment, "s3")}
        root["terraform"]["backend"] = {"local": {}}  # the cloud's is not here
        (folder / "main.tf.json").write_text(json.dumps(root))
    terraform(folder, "init")
    said = terraform(folder, "apply", "-auto-approve")
    assert "Apply complete!" in said
    assert "Warning:" not in said
    assert "No changes." in terraform(folder, "plan", "-detailed-exitcode")
    if shop:
        outputs = json.loads(terraform(folder, "output", "-json"))
        assert set(outputs["buckets"]["value"]) >= {f"{own}_bucket_raw"}
        assert set(outputs["pipeline_job_variables"]["value"]) == {"daily", "copy"}
        told = {
            "aws": {"application_id", "role_arn"},
            "azure": {"host"},
            "gcp": {"project_id", "region", "subnetwork", "service_account", "container_image"},
        }
        [(pipeline, executors)] = outputs["executors"]["value"].items()
        assert (pipeline, set(executors)) == ("daily", {"spark"})
        assert set(executors["spark"]) == {"service", *told[own]}
    monkeypatch.setenv("GLACIER_ALLOW_DATA_LOSS", "true")
    destroyed = terraform(folder, "destroy", "-auto-approve", "-refresh=false")  # the plan has refreshed
    assert "Destroy complete!" in destroyed


@with_terraform
def test_what_databricks_needs_is_made_in_a_cloud_and_not_from_one_machine(
    terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    flow = """
from glacier_prefect import DatabricksExecutor, pipeline, task

CLUSTER = {"spark_version": "16.4.x-scala2.12", "node_type_id": "Standard_D4s_v5", "num_workers": 1}

@task(executor=DatabricksExecutor(volume="/Volumes/main/default/exchange", cluster_id="0123-456789-abc"))
def there():
    return 1

@task(executor=DatabricksExecutor(volume="/Volumes/main/default/exchange", new_cluster=CLUSTER))
def elsewhere():
    return 2

@task(executor=DatabricksExecutor(volume="/Volumes/main/default/exchange", new_cluster=CLUSTER | {"num_workers": 2}))
def far():
    return 2

@pipeline(name="daily")
def daily():
    return there(), elsewhere(), far()
"""
    called = {}
    for environment in ("local", "azure"):
        folder = tmp_path / environment
        folder.mkdir()
        (folder / "flow.py").write_text(flow)
        (folder / "glacier.toml").write_text(roots.toml("shop", environment))
        root = json.loads(roots.text_of(folder))
        called[environment] = {call["source"].rpartition("modules/")[2] for call in root["module"].values()}
        if environment == "azure":
            made = roots.generated(folder)
            assert root["terraform"]["required_providers"] == {"databricks": {"source": "databricks/databricks"}}
            of_databricks = [each for each in root["module"].values() if "databricks" in each["source"]]
            assert {each["labels"]["glacier-project"] for each in of_databricks} == {"shop"}
            terraforms["newer"](made, "init")
            assert json.loads(terraforms["newer"](made, "validate", "-json"))["diagnostics"] == []
            terraforms["newer"](made, "apply", "-auto-approve")
            told = json.loads(terraforms["newer"](made, "output", "-json", "executors"))["daily"]["databricks"]
            state = json.loads(terraforms["newer"](made, "show", "-json"))["values"]["root_module"]["child_modules"]
            made_there = {
                module["address"].removeprefix("module."): each["values"]["id"]
                for module in state
                for each in module["resources"]
                if each["type"] == "databricks_cluster_policy"
            }
            assert len(made_there) == 2
            assert told == {"policies": made_there}
    assert called["local"] == {"local/work_pool"}
    assert called["azure"] >= {"databricks/exchange", "databricks/job_policy"}


if __name__ == "__main__":
    import tempfile

    SNAPSHOTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for name in NAMES:
            for environment in ENVIRONMENTS:
                made = project(name, environment, Path(place) / name / environment)
                (SNAPSHOTS / f"{name}.{environment}.tf.json").write_text(roots.text_of(made))
