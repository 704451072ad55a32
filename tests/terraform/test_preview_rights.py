"""What pull requests may write where an environment has previews: these, on three clouds, and nothing else.

The identity that `glacier bootstrap` makes and the buckets that a deploy makes are applied with the stand-ins; whoever
plans is then asked for single objects, and for what begins with a name.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from glacier_prefect import bootstrap as boot
from glacier_prefect import infrastructure
from glacier_prefect.modules import ModuleCall, expression
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider
from glacier_prefect.providers.cloud import CloudProvider
from tests.policies import gcp
from tests.policies.rights import OnAWS, OnAzure, OnGCP, Rights
from tests.terraform.plugins import Terraform
from tests.terraform.roots import STATES, entered, shop

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
PROVIDERS: dict[str, CloudProvider] = {
    "aws": AWSProvider(region="eu-west-1"),
    "azure": AzureProvider(resource_group="acme", location="westeurope"),
    "gcp": GCPProvider(project_id="acme-data", region="europe-west1"),
}
AZURE = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/acme/providers/Microsoft.Storage"
    "/storageAccounts/{}/blobServices/default/containers/state"
)
PLAN = "glacier-shop-prod-plan@acme-data.iam.gserviceaccount.com"
ROLES = ("read", "write", "metadata", "worker", "spark_run", "spark_staging", "spark_submit")
VERBS = ("list", "get", "put", "delete")
STATE = "state"  # stands for its bucket
OWN = ("shop/prod/preview/", ".glacier/preview/")  # beside the state, and in buckets
NAMES = {
    STATE: (
        "shop/prod/preview/pr-42/deploy.json",
        "shop/prod/preview/pr-42/history/1.json",
        "shop/prod/preview/pr-42/clock",
        "shop/prod/preview/",
        "shop/prod/terraform.tfstate",
        "shop/prod/deploy.json",
        "shop/prod/history/1.json",
        "shop/prod/bootstrap/terraform.tfstate",
        "shop/prod/previews/deploy.json",
        "shop/prod/",
        "shop/prod-2/preview/pr-42/deploy.json",
        "shop/staging/preview/pr-42/deploy.json",
        "other/prod/preview/pr-42/deploy.json",
        "preview/pr-42/deploy.json",
    ),
    "curated": (
        ".glacier/preview/pr-42/.glacier/code/shop/prod/0a1b/code.tar.gz",
        ".glacier/preview/pr-42/totals.parquet",
        ".glacier/preview/",
        ".glacier/previews/totals.parquet",
        ".glacier/code/shop/prod/0a1b/code.tar.gz",
        ".glacier/",
        "x/.glacier/preview/pr-42/totals.parquet",
        "totals.parquet",
    ),
}


class PlansOnAWS(OnAWS):
    def read(self) -> None:
        parts = self.each("aws_iam_policy", self.of)
        policies = [json.loads(each["policy"])["Statement"] for key, each in parts if key.startswith("plan-")]
        self.partition = "aws"  # the stand-in makes one up
        known = re.sub(r"arn:partition-\w+:", "arn:aws:", json.dumps([each for some in policies for each in some]))
        self.policies = {"plan": {"Statement": json.loads(known)}}


class PlansOnGCP(OnGCP):
    def read(self) -> None:
        super().read()
        for _, each in self.each("google_project_iam_member"):
            if each["member"] == self.members["plan"]:
                assert not {*gcp.PERMISSIONS.values()} & {*self.roles[each["role"]]}, "in whatever bucket"


KINDS: dict[str, type[Rights]] = {"aws": PlansOnAWS, "azure": OnAzure, "gcp": PlansOnGCP}


def allowed(rights: Rights, cloud: str) -> set[tuple[str, str, str]]:
    """Return what who plans may do: verb, bucket, name."""
    real = {STATE: STATES[cloud].rpartition("/")[2]}
    return {
        (verb, bucket, name)
        for bucket, names in NAMES.items()
        for name in names
        for verb in VERBS
        if rights.may("plan", verb, real.get(bucket, bucket), name)
    }


def identities(cloud: str, folder: Path) -> dict[str, ModuleCall]:
    """Return the identity as it is without previews, and with them; and a bucket, where buckets say who writes."""
    settings = shop(cloud, folder) / "glacier.toml"
    found: dict[str, ModuleCall] = {}
    for what in ("without", "with"):
        if what == "with":
            settings.write_text(settings.read_text().replace("\nstate =", "\npreviews = true\nstate =", 1))
        with entered(folder) as (project, pipelines):
            root = boot._Root(project, pipelines)
            granted = root.granted(boot.Asked(repository="acme/shop"), None)
            call = root._module_calls(root.needs, granted)[f"{cloud}_identity"]
            state = root.provider.state_inputs(root.state)["name"]
            ids = {"aws": f"arn:aws:s3:::{state}", "azure": AZURE.format(state), "gcp": state}
            found[what] = replace(call, inputs={**call.inputs, "state": ids[cloud]})
            if cloud != "gcp":
                continue
            named = {use: f"projects/acme-data/roles/glacier_shop_prod_{use}" for use in ROLES}
            known = replace(granted, plan={"service_account": PLAN}, roles=named)
            bucket = infrastructure.root(pipelines, project, known)[0]["gcp_bucket_curated"]
            plans = {who: each for who, each in bucket.inputs["writers"].items() if "module." not in str(each)}
            assert bool(plans) is (what == "with")
            found["bucket"] = replace(bucket, inputs={**bucket.inputs, "writers": plans, "readers": {}})
    other = {"name": "glacier-shop-old", "prefix": "glacier-shop-old"}  # stand-ins tell identities apart by their names
    found["without"] = replace(found["without"], inputs={**found["without"].inputs, **other})
    return found


@pytest.mark.parametrize("cloud", KINDS)
def test_pull_requests_write_previews_and_nothing_else(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    calls, root = identities(cloud, tmp_path / "shop"), tmp_path / "root"
    document = {
        "provider": infrastructure._providers([PROVIDERS[cloud]]),
        "module": {
            name: {
                "source": str(infrastructure.modules_folder() / call.source),
                **{key: expression(value) for key, value in call.inputs.items() if value not in (None, {}, [], "")},
            }
            for name, call in calls.items()
        },
    }
    root.mkdir()
    (root / "main.tf.json").write_text(json.dumps(document))
    terraforms["newer"](root, "init")
    terraforms["newer"](root, "apply", "-auto-approve")
    made = json.loads(terraforms["newer"](root, "show", "-json"))
    before = allowed(KINDS[cloud](made, ".without"), cloud)
    assert {(verb, bucket) for verb, bucket, _ in before} <= {("list", STATE), ("get", STATE), ("list", "curated")}
    meant = {
        (verb, bucket, name)
        for verb in VERBS
        for bucket, names in NAMES.items()
        for name in names
        if name.startswith(OWN)
    }
    assert allowed(KINDS[cloud](made, ".with"), cloud) == before | meant
