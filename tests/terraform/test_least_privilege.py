"""What the applied roots of fifty pipelines allow on three clouds: all that each graph says, and nothing else."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect import SparkExecutor, infrastructure
from glacier_prefect.modules import Access, Jobs, Needs, WorkPool, expression, merge
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider
from glacier_prefect.providers.cloud import CloudProvider
from tests.policies.rights import KINDS, Rights
from tests.terraform.plugins import Terraform

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
PROVIDERS: dict[str, CloudProvider] = {
    "aws": AWSProvider(region="eu-west-1"),
    "azure": AzureProvider(resource_group="acme", location="westeurope", storage_account="acmedata"),
    "gcp": GCPProvider(project_id="acme-data", region="europe-west1"),
}
VERBS = ("list", "get", "put", "delete")
BUCKETS = ("raw", "curated", "reports")
PREFIXES = (
    "",
    "orders/",
    "orders/2026/",
    "orders-old/",
    "a.parquet",
    "a.parquet.d/",
    "b/c.csv",
    "b/",
    "x/y/z/",
    ".glacier/writes/1/",
)
NAMES = sorted(
    {*PREFIXES, *(f"{prefix}x" for prefix in PREFIXES), "order", "other/x", "b", "x/y/w", ".glacier/writes/2/x"}
)
SECRETS = ("db-password", "api-token", "db")


def fifty() -> tuple[dict[str, Access], dict[str, tuple[str, ...]]]:
    """Return what fifty pipelines read and write, and their secrets."""
    dice = random.Random(7)

    def some() -> dict[str, tuple[str, ...]]:
        buckets = dice.sample(BUCKETS, dice.randint(0, 2))
        return {each: infrastructure._shortest(set(dice.sample(PREFIXES, dice.randint(1, 3)))) for each in buckets}

    accesses = {f"pipeline-{number}": Access(reads=some(), writes=some()) for number in range(50)}
    return accesses, {name: tuple(dice.sample(SECRETS, dice.randint(0, 2))) for name in accesses}


def applied(
    provider: CloudProvider,
    accesses: Mapping[str, Access],
    secrets: Mapping[str, tuple[str, ...]],
    terraform: Terraform,
    folder: Path,
    jobs: tuple[Jobs, ...] = (),
) -> dict[str, Any]:
    """Apply a root for pipelines and return its state."""
    pool = WorkPool(name="glacier-acme-prod-pool", type=provider.work_pools[0], pipelines=accesses, env={})
    needs = Needs(
        project="acme",
        environment="prod",
        folder=folder,
        root=folder,
        pipelines=accesses,
        work_pool=pool,
        secrets=secrets,
        jobs=jobs,
    )
    calls = merge(provider.modules(needs))
    document = {
        "provider": infrastructure._providers([provider]),
        "module": {
            name: {
                "source": str(infrastructure.modules_folder() / call.source),
                **{key: expression(value) for key, value in call.inputs.items() if value not in (None, {}, [])},
            }
            for name, call in calls.items()
        },
    }
    folder.mkdir(exist_ok=True)
    (folder / "main.tf.json").write_text(json.dumps(document))
    terraform(folder, "init")
    terraform(folder, "apply", "-auto-approve")
    state: dict[str, Any] = json.loads(terraform(folder, "show", "-json"))
    return state


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_each_of_fifty_pipelines_may_do_what_its_graph_says_and_nothing_else(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    accesses, secrets = fifty()
    rights = KINDS[cloud](applied(PROVIDERS[cloud], accesses, secrets, terraforms["newer"], tmp_path))
    wrong, allowed, denied = asked(rights, accesses)
    for pipeline in accesses:
        for secret in SECRETS:
            if rights.may_read_secret(pipeline, secret) != (secret in secrets[pipeline]):
                wrong.append((pipeline, "secret", secret, secrets[pipeline]))
    assert not wrong, wrong[:5]
    assert allowed > 1000
    assert denied > 1000


def asked(rights: Rights, accesses: Mapping[str, Access]) -> tuple[list[Any], int, int]:
    """Ask for each pipeline, bucket, name and verb; return what is not as meant, how much is allowed, and denied."""
    wrong: list[Any] = []
    allowed, denied = 0, 0
    for pipeline, access in accesses.items():
        for bucket in BUCKETS:
            reads, writes = access.reads.get(bucket, ()), access.writes.get(bucket, ())
            for name in NAMES:
                for verb in VERBS:
                    if verb != "list" and not name:
                        continue
                    granted = (*reads, *writes) if verb in ("list", "get") else writes
                    meant = any(rights.sees(prefix, verb, name) for prefix in granted)
                    allowed, denied = allowed + meant, denied + (not meant)
                    if rights.may(pipeline, verb, bucket, name) != meant:
                        wrong.append((pipeline, verb, bucket, name, meant, granted))
    return wrong, allowed, denied


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_jobs_may_do_what_their_bodies_do_and_only_runs_of_their_pipeline_submit_them(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    runs = {
        "one": Access(reads={"raw": ("orders/", "b/")}, writes={"curated": ("b/", "x/y/z/")}),
        "two": Access(reads={"raw": ("x/y/z/",)}, writes={"reports": ("orders/", "b/c.csv")}),
    }
    of_jobs = {
        "one": Access(reads={"raw": ("orders/",)}, writes={"curated": ("x/y/z/",)}),
        "two": Access(writes={"reports": ("orders/",)}),
    }
    service = {"aws": "emr-serverless", "azure": "databricks", "gcp": "dataproc-serverless"}[cloud]
    calls = SparkExecutor(service=service, **({"volume": "/Volumes/a/b/c"} if cloud == "azure" else {})).modules()
    jobs = (Jobs(calls=calls[:1], pipelines=of_jobs),)  # those in the workspace grant nothing of Azure
    state = applied(PROVIDERS[cloud], runs, {}, terraforms["newer"], tmp_path, jobs)
    for of, accesses in (("spark", of_jobs), ("work_pool", runs)):
        wrong, allowed, denied = asked(KINDS[cloud](state, of), accesses)
        assert not wrong, (of, wrong[:5])
        assert min(allowed, denied) > 20
    rights = KINDS[cloud](state, "spark")
    assert {(a, b) for a in runs for b in runs if rights.may_submit(a, b)} == {("one", "one"), ("two", "two")}


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_a_source_that_is_added_adds_exactly_its_grant(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    both = {
        "one": Access(reads={"raw": ("orders/",)}, writes={"curated": ("b/",)}),
        "two": Access(reads={"raw": ("x/y/z/",)}, writes={"reports": ("orders/",)}),
    }
    more = {**both, "one": replace(both["one"], reads={"raw": ("orders/", "x/y/z/")})}
    found = []
    for accesses in (both, more):
        rights = KINDS[cloud](applied(PROVIDERS[cloud], accesses, {}, terraforms["newer"], tmp_path))
        found.append(
            {
                (pipeline, verb, bucket, name)
                for pipeline in accesses
                for verb in VERBS
                for bucket in BUCKETS
                for name in NAMES
                if rights.may(pipeline, verb, bucket, name)
            }
        )
    inside = [name for name in NAMES if name.startswith("x/y/z/")]
    assert found[0] < found[1]
    assert found[1] - found[0] == {("one", verb, "raw", name) for verb in ("list", "get") for name in inside}
