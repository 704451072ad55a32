"""What roots have for `code = "bucket"` and `"image"`: the right to read archives, and a registry to pull from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.terraform import roots
from tests.terraform.plugins import Terraform

CLOUDS = ("aws", "azure", "gcp")
URLS = {
    "aws": ".dkr.ecr.eu-west-1.amazonaws.com/glacier-shop-prod",
    "azure": "shopprod8ad577.azurecr.io/code",
    "gcp": "europe-west1-docker.pkg.dev/acme-data/glacier-shop-prod/code",
}
# All that a registry has to do with: an apply of the whole shop takes five times as long.
FLOW = """
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()

@task
def copied(source):
    return source.scan()

@pipeline
def daily():
    provider.bucket_sink("curated", "rows.parquet").write(copied(provider.bucket_source("raw", "rows.parquet")))

@pipeline
def copy():
    return copied(provider.bucket_source("curated", "rows.parquet"))
"""


def delivered(cloud: str, code: str, folder: Path) -> Path:
    made = roots.shop(cloud, folder)
    settings = made / "glacier.toml"
    settings.write_text(settings.read_text().replace("[environments.prod]\n", f"[environments.prod]\n{code}\n", 1))
    return made


def modules(root: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: call for name, call in root["module"].items() if call["source"].endswith(f"/{kind}")}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_archives_of_an_environment_may_be_read_by_each_pipeline_and_by_none_otherwise(
    cloud: str, tmp_path: Path
) -> None:
    root = json.loads(roots.text_of(delivered(cloud, 'code = "bucket"', tmp_path / "bucket")))
    read = {
        (name, who)
        for name, call in modules(root, "bucket").items()
        for who, grant in call["readers"].items()
        if ".glacier/code/shop/prod/" in grant["prefixes"]
    }
    assert read == {(f"{cloud}_bucket_curated", "daily"), (f"{cloud}_bucket_copies", "copy")}, "where results are"
    written = [grant for call in modules(root, "bucket").values() for grant in call.get("writers", {}).values()]
    assert ".glacier/code" not in json.dumps(written)
    [pool] = modules(root, "work_pool").values()
    assert ".glacier/code/shop/prod/" in pool["pipelines"]["daily"]["reads"]["curated"]
    for other in ('code = "git"', 'code = "image"'):
        assert ".glacier/code" not in roots.text_of(delivered(cloud, other, tmp_path / other[8:-1]))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_repository_that_is_named_is_used_and_none_is_made(cloud: str, tmp_path: Path) -> None:
    image = 'code = "image"\nimage = { repository = "registry.example.com/shop" }'
    root = json.loads(roots.text_of(delivered(cloud, image, tmp_path / "shop")))
    assert modules(root, "registry") == {}
    assert "registry" not in root["output"]
    [pool] = modules(root, "work_pool").values()
    assert {each["image"] for each in pool["pipelines"].values()} == {"registry.example.com/shop"}


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_registry_is_made_whose_images_the_pools_runs_may_pull(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    terraform = terraforms["newer"]
    (project := tmp_path / "shop").mkdir()
    (project / "flow.py").write_text(FLOW)
    (project / "glacier.toml").write_text(roots.toml("shop", cloud, 'code = "image"\n'))
    folder = roots.generated(project)
    root = json.loads((folder / "main.tf.json").read_text())
    terraform(folder, "init")
    terraform(folder, "apply", "-auto-approve")
    assert "No changes." in terraform(folder, "plan", "-detailed-exitcode")
    made = json.loads(terraform(folder, "show", "-json"))["values"]
    outputs = {name: each["value"] for name, each in made["outputs"].items()}
    assert outputs["registry"].endswith(URLS[cloud])
    resources = [each for child in made["root_module"]["child_modules"] for each in child["resources"]]
    [pool] = modules(root, "work_pool").values()
    [image] = {each["image"] for each in pool["pipelines"].values()}
    if cloud == "aws":  # ECS pulls as the role that starts tasks: by this the module knows that it has to
        assert image == "${module.aws_registry.url}"
    if cloud == "azure":  # the service pulls as the run's own identity
        role = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
        pulls = [each for each in resources if role in str(each["values"].get("role_definition_id"))]
        assert {each["index"] for each in pulls} == {"read/daily", "read/copy"}
        assert {name for name, each in outputs["pipeline_job_variables"].items() if "image_registry" in each} == {
            "daily",
            "copy",
        }
