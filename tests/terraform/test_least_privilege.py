"""What the roots of fifty pipelines allow on three clouds: all that was put into each pipeline, and nothing else."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect import SparkExecutor, infrastructure
from glacier_prefect.modules import Access, Jobs, Needs, WorkPool, expression, merge
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider
from glacier_prefect.providers.cloud import CloudProvider
from tests.policies.rights import KINDS, Rights
from tests.terraform import roots
from tests.terraform.plugins import Terraform

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
PROVIDERS: dict[str, CloudProvider] = {
    "aws": AWSProvider(region="eu-west-1"),
    "azure": AzureProvider(resource_group="acme", location="westeurope", storage_account="acmedata"),
    "gcp": GCPProvider(project_id="acme-data", region="europe-west1"),
}
VERBS = ("list", "get", "put", "delete")
BUCKETS = ("raw", "curated", "reports")
KEPT = ("cache", "exchange", "results")
SECRETS = {"DB_PASSWORD": "db-password", "API_TOKEN": "api-token", "DB": "db"}


@dataclass(frozen=True)
class Place:
    """A path of a source or sink, and by hand what the names of all its objects begin with."""

    path: str
    prefix: str
    options: str = ""

    def made(self, kind: str, bucket: str) -> str:
        return f"provider.bucket_{kind}({bucket!r}, {self.path!r}{self.options})"


SOURCES = (
    Place("a.parquet", "a.parquet"),
    Place("orders/*.parquet", "orders/"),
    Place("orders/2026/*.csv", "orders/2026/"),
    Place("orders/{run_date:%Y/%m/%d}/*.parquet", "orders/"),
    Place("orders-old/**/*.parquet", "orders-old/"),
    Place("orders-{run_date:%Y}.csv", "orders-"),
    Place("b/c.csv", "b/c.csv"),
    Place("b/part-*.ndjson", "b/"),
    Place("x/y/z", "x/y/z/"),
    Place("{run_date:%Y-%m-%d}.csv", ""),
    Place("x/y/w", "x/y/w/", ", format='delta'"),
)
DAY = ", partition_by=['day']"
SINKS = (
    Place("a.parquet", "a.parquet"),
    Place("a.parquet.d/{run_date:%Y-%m-%d}.parquet", "a.parquet.d/"),
    Place("b/c.csv", "b/c.csv"),
    Place("orders/2026/{run_date:%m}.parquet", "orders/2026/"),
    Place("x/y/z/days", "x/y/z/days/", DAY),
    Place("sold", "sold/", DAY),
    Place("days/{run_date:%Y-%m-%d}", "days/", DAY),
    Place("run-{run_date:%Y-%m-%d}.csv", "run-"),
    Place("x/y/w", "x/y/w/", ", format='delta', mode='append'"),
)
# How a task comes by a source or a sink: what stands before it, what it is given, what it has beside, what it does.
WAYS = ("given", "listed", "global", "closure", "default", "declared")


@dataclass
class Made:
    """A pipeline: what was put into it."""

    name: str
    sources: Sequence[tuple[str, Place, str]]  # bucket, place, way
    sinks: Sequence[tuple[str, Place, str]]
    secrets: Sequence[str] = ()

    @property
    def text(self) -> str:
        """Return its code, with a name of its own for each thing."""
        own = re.sub(r"\W", "_", self.name)
        before, inside = list[str](), list[str]()
        for number, (bucket, place, way) in enumerate(self.sources):
            tasks, call = _task(f"{own}_source_{number}", place.made("source", bucket), way, "")
            before += tasks
            inside.append(f"read_{number} = {call}")
        for number, secret in enumerate(self.secrets):
            tasks, call = _task(f"{own}_secret_{number}", f"Secret({secret!r})", ("given", "global")[number % 2], "")
            before += tasks
            inside.append(f"known_{number} = {call}")
        frames = ", ".join(f"read_{number}" for number in range(len(self.sources)))
        inside.append(f"frame = joined([{frames}])")
        for number, (bucket, place, way) in enumerate(self.sinks):
            made = place.made("sink", bucket)
            if way == "written":
                before.append(f"{own}_sink_{number} = {made}")
                inside.append(f"{own}_sink_{number}.write(frame)")
                continue
            tasks, call = _task(f"{own}_sink_{number}", made, way, "frame")
            before += tasks
            inside.append(call)
        body = "".join(f"    {line}\n" for line in inside)
        return "\n".join([*before, f"@pipeline(name={self.name!r})", f"def {own}():", body])

    def granted(self) -> Access:
        """Return what it reads and writes, by what was put into it: a write leaves traces at the bucket's root, and
        runs keep something for each other in the bucket of the first sink, else of the first source.
        """
        reads, writes = dict[str, set[str]](), dict[str, set[str]]()
        for bucket, place, _ in self.sources:
            reads.setdefault(bucket, set()).add(place.prefix)
        for bucket, place, _ in self.sinks:
            writes.setdefault(bucket, set()).update({place.prefix, *traces(place)})
        for bucket, *_ in [*self.sinks, *self.sources][:1]:
            writes.setdefault(bucket, set()).update(f".glacier/{what}/{self.name}/" for what in KEPT)
        lists = {bucket for bucket, place, _ in [*self.sources, *self.sinks] if "delta" in place.options}
        return Access(
            reads={bucket: tuple(each) for bucket, each in reads.items()},
            writes={bucket: tuple(each) for bucket, each in writes.items()},
            lists=tuple(lists),
        )


def traces(sink: Place) -> tuple[str, ...]:
    """Return the folders of a sink's own for what is not published yet, and for what was."""
    own = hashlib.sha256(sink.path.encode()).hexdigest()[:16]
    return tuple(f".glacier/{what}/{own}/" for what in ("writes", "published"))


def _task(name: str, made: str, way: str, takes: str) -> tuple[list[str], str]:
    """Return the code of a task that comes by something in a way, and that of its call."""
    thing, frame = f"{name}_thing", [takes] if takes else []
    if way == "given" or way == "listed":
        lines = [f"{thing} = {made}", "@task", f"def {name}({', '.join([*frame, 'one'])}):", "    return use(one)"]
        return lines, f"{name}({', '.join([*frame, thing if way == 'given' else f'[{thing}]'])})"
    if way == "global":
        lines = [f"{thing} = {made}", "@task", f"def {name}({takes}):", f"    return use({thing})"]
    elif way == "closure":
        lines = [f"def {name}_maker(inner):", "    @task", f"    def {name}({takes}):", "        return use(inner)"]
        lines += [f"    return {name}", f"{name} = {name}_maker({made})"]
    elif way == "default":
        lines = [f"def {name}_helper(one={made}):", "    return use(one)"]
        lines += ["@task", f"def {name}({takes}):", f"    return {name}_helper()"]
    else:
        kind = "writes" if takes else "reads"
        lines = [f"@task({kind}=[{made}])", f"def {name}({takes}):", "    return use(None)"]
    return lines, f"{name}({takes})"


HEAD = """
from glacier_prefect import Secret, pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()

def use(one):
    return one

@task
def joined(frames):
    return frames
"""


def fifty() -> list[Made]:
    """Return fifty pipelines."""
    dice = random.Random(7)
    made = []
    for number in range(50):
        sources = [(dice.choice(BUCKETS), dice.choice(SOURCES), dice.choice(WAYS)) for _ in range(dice.randint(0, 4))]
        sinks = list[tuple[str, Place, str]]()
        for _ in range(dice.randint(0, 3)):
            bucket, place, way = dice.choice(BUCKETS), dice.choice(SINKS), dice.choice(("written", *WAYS))
            others = [each.prefix for there, each, _ in [*sources, *sinks] if there == bucket]
            if not any(each.startswith(place.prefix) or place.prefix.startswith(each) for each in others):
                sinks.append((bucket, place, way))  # else the order of the two would have to be said
        secrets = dice.sample([*SECRETS, "NOT_IN_THE_STORE"], dice.randint(0, 2))
        made.append(Made(f"pipeline-{number}", sources, sinks, secrets))
    return made


def asked_names(pipelines: Iterable[Made]) -> list[str]:
    """Return names of objects within each prefix, beside it, and of all that runs keep."""
    prefixes = {place.prefix for place in (*SOURCES, *SINKS)} | {trace for place in SINKS for trace in traces(place)}
    beside = {
        "order",
        "orders",
        "orders.csv",
        "other/x",
        "b",
        "x/y/",
        "x/y/wx",
        "sol",
        "run",
        ".glacier/",
        "a.parquet.d",
    }
    beside |= {".glacier/writes/", ".glacier/writes/2/x", ".glacier/results", ".glacier/results/", ".glacier/results/p"}
    kept = {f".glacier/results/{each.name}/x" for each in pipelines}
    kept |= {f".glacier/{what}/pipeline-{number}/x" for what in KEPT for number in (1, 10, 11, 12)}
    return sorted({*prefixes, *(f"{each}x" for each in prefixes), *beside, *kept})


def generated(cloud: str, pipelines: Iterable[Made], terraform: Terraform, folder: Path) -> dict[str, Any]:
    """Return what is in the root that Glacier generates from the code of pipelines: by its plan where that has all that
    is asked, since to apply hundreds of grants takes long; on Azure, which makes up the ids of identities, applied.
    """
    folder.mkdir(exist_ok=True)
    secrets = "".join(f'{name} = "{stored}"\n' for name, stored in SECRETS.items())
    (folder / "glacier.toml").write_text(f"{roots.toml('acme', cloud)}\n[environments.prod.secrets]\n{secrets}")
    (folder / "flow.py").write_text("\n".join([HEAD, *(each.text for each in pipelines)]))
    root = roots.generated(folder)
    if cloud == "azure":
        return state_after_apply(terraform, root)
    terraform(root, "init")
    terraform(root, "plan", "-out=plan")
    return {"values": json.loads(terraform(root, "show", "-json", "plan"))["planned_values"]}


def state_after_apply(terraform: Terraform, root: Path) -> dict[str, Any]:
    terraform(root, "init")
    terraform(root, "apply", "-auto-approve")
    state: dict[str, Any] = json.loads(terraform(root, "show", "-json"))
    return state


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_each_of_fifty_pipelines_may_do_what_its_graph_says_and_nothing_else(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    pipelines = fifty()
    rights = KINDS[cloud](generated(cloud, pipelines, terraforms["newer"], tmp_path))
    accesses = {each.name: each.granted() for each in pipelines}
    wrong, allowed, denied = asked(rights, accesses, asked_names(pipelines), lists_all=cloud == "aws")
    for each in pipelines:
        meant = {SECRETS[name] for name in each.secrets if name in SECRETS}
        wrong += [
            (each.name, "secret", secret, meant)
            for secret in SECRETS.values()
            if rights.may_read_secret(each.name, secret) != (secret in meant)
        ]
    assert not wrong, (len(wrong), wrong[:5])
    assert allowed > 1000
    assert denied > 1000


def asked(
    rights: Rights, accesses: Mapping[str, Access], names: Sequence[str], *, lists_all: bool = False
) -> tuple[list[Any], int, int]:
    """Ask for each pipeline, bucket, name and verb; return what is not as meant, how much is allowed, and denied.

    Args:
        rights: Whom to ask.
        accesses: What is meant, by pipeline.
        names: Of objects.
        lists_all: Whether `lists` of an access counts.
    """
    wrong: list[Any] = []
    allowed, denied = 0, 0
    for pipeline, access in accesses.items():
        for bucket in BUCKETS:
            reads, writes = access.reads.get(bucket, ()), access.writes.get(bucket, ())
            for name in names:
                for verb in VERBS:
                    if verb != "list" and not name:
                        continue
                    granted = (*reads, *writes) if verb in ("list", "get") else writes
                    meant = any(rights.sees(prefix, verb, name) for prefix in granted)
                    meant = meant or (verb == "list" and lists_all and bucket in access.lists)
                    allowed, denied = allowed + meant, denied + (not meant)
                    if rights.may(pipeline, verb, bucket, name) != meant:
                        wrong.append((pipeline, verb, bucket, name, meant, granted))
    return wrong, allowed, denied


def applied(
    provider: CloudProvider,
    accesses: Mapping[str, Access],
    terraform: Terraform,
    folder: Path,
    jobs: tuple[Jobs, ...],
) -> dict[str, Any]:
    """Apply a root for what pipelines may do, and their jobs, and return its state."""
    pool = WorkPool(name="glacier-acme-prod-pool", type=provider.work_pools[0], pipelines=accesses, env={})
    needs = Needs(
        project="acme",
        environment="prod",
        folder=folder,
        root=folder,
        pipelines=accesses,
        work_pool=pool,
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
    return state_after_apply(terraform, folder)


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
    state = applied(PROVIDERS[cloud], runs, terraforms["newer"], tmp_path, jobs)
    for of, accesses in (("spark", of_jobs), ("work_pool", runs)):
        wrong, allowed, denied = asked(KINDS[cloud](state, of), accesses, asked_names([]))
        assert not wrong, (of, wrong[:5])
        assert min(allowed, denied) > 20
    rights = KINDS[cloud](state, "spark")
    assert {(a, b) for a in runs for b in runs if rights.may_submit(a, b)} == {("one", "one"), ("two", "two")}


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_a_source_that_is_added_adds_exactly_its_grant(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    orders, items, table = SOURCES[1], SOURCES[3], SOURCES[8]
    both = [
        Made("one", [("raw", orders, "given")], [("curated", SINKS[5], "written")]),
        Made("two", [("raw", table, "global")], [("reports", SINKS[3], "written")]),
    ]
    steps = [both]
    for bucket, place, way in (("raw", table, "given"), ("reports", items, "closure")):
        one, two = steps[-1]
        steps.append([replace(one, sources=[*one.sources, (bucket, place, way)]), two])
    names, found = asked_names(both), []
    for number, step in enumerate(steps):
        rights = KINDS[cloud](generated(cloud, step, terraforms["newer"], tmp_path / str(number)))
        found.append(
            {
                (pipeline.name, verb, bucket, name)
                for pipeline in step
                for verb in VERBS
                for bucket in BUCKETS
                for name in names
                if rights.may(pipeline.name, verb, bucket, name)
            }
        )
    before, first, second = found
    assert before < first < second
    for more, bucket, prefix in ((first - before, "raw", "x/y/z/"), (second - first, "reports", "orders/")):
        inside = [name for name in names if name.startswith(prefix)]
        assert more == {("one", verb, bucket, name) for verb in ("list", "get") for name in inside}


@pytest.mark.parametrize("cloud", KINDS)
def test_a_folder_is_listed_beside_a_name_that_it_begins_with(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    made = Made("one", [("raw", SOURCES[5], "given"), ("raw", SOURCES[4], "given")], [])  # orders-, orders-old/
    rights = KINDS[cloud](generated(cloud, [made], terraforms["newer"], tmp_path))
    assert asked(rights, {"one": made.granted()}, asked_names([made]))[0] == []


DENY = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"}
ALLOW = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "s3:GetObject", "Resource": "*"}
READER = "/providers/Microsoft.Authorization/roleDefinitions/2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"  # of all blobs
FURTHER: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "aws": [
        ("aws_iam_role_policy_attachment", {"role": "RUN", "policy_arn": "arn:aws:iam::aws:policy/AmazonS3FullAccess"}),
        ("aws_iam_policy_attachment", {"roles": ["RUN"], "policy_arn": "arn:aws:iam::aws:policy/AmazonS3FullAccess"}),
        ("aws_iam_role", {"name": "RUN", "managed_policy_arns": ["arn:aws:iam::aws:policy/AmazonS3FullAccess"]}),
        ("aws_iam_role", {"name": "RUN", "permissions_boundary": "arn:aws:iam::aws:policy/AmazonS3FullAccess"}),
        ("aws_iam_role_policy", {"role": "RUN", "policy": json.dumps({"Statement": [{**ALLOW, "Action": "s3:*"}]})}),
        ("aws_iam_role_policy", {"role": "RUN", "policy": json.dumps({"Statement": [{"NotAction": "iam:*"}]})}),
        ("aws_s3_bucket_policy", {"bucket": "raw", "policy": json.dumps({"Statement": [ALLOW]})}),
        ("aws_s3_bucket_policy", {"bucket": "raw", "policy": json.dumps({"Statement": [DENY]})}),
        ("aws_secretsmanager_secret_policy", {"policy": json.dumps({"Statement": [ALLOW]})}),
        ("aws_s3_bucket_acl", {"bucket": "raw", "acl": "public-read"}),
        ("aws_s3_access_point", {"bucket": "raw", "policy": json.dumps({"Statement": [ALLOW]})}),
    ],
    "azure": [
        ("azurerm_role_assignment", {"principal_id": "RUN", "role_definition_id": READER, "scope": "/subscriptions/1"}),
        ("azurerm_role_assignment", {"principal_id": "RUN", "role_definition_id": "OWN", "scope": "ACCOUNT"}),
        ("azurerm_key_vault_access_policy", {"object_id": "RUN", "secret_permissions": ["Get"]}),
        ("azuread_group_member", {"member_object_id": "RUN", "group_object_id": "admins"}),
        ("azurerm_storage_container", {"name": "raw", "container_access_type": "blob"}),
    ],
    "gcp": [
        ("google_project_iam_member", {"member": "RUN", "role": "roles/storage.objectViewer"}),
        ("google_project_iam_member", {"member": "RUN", "role": "OWN"}),
        ("google_project_iam_binding", {"members": ["RUN"], "role": "roles/storage.objectViewer"}),
        ("google_storage_bucket_iam_member", {"bucket": "raw", "member": "RUN", "role": "roles/storage.objectAdmin"}),
        ("google_storage_bucket_iam_member", {"bucket": "raw", "member": "allUsers", "role": "OWN"}),
        ("google_storage_bucket_iam_binding", {"bucket": "raw", "members": ["RUN"], "role": "OWN"}),
        ("google_storage_bucket_iam_policy", {"bucket": "raw", "policy_data": '{"members": ["RUN"]}'}),
        ("google_storage_bucket_acl", {"bucket": "raw"}),
        ("google_secret_manager_secret_iam_member", {"member": "RUN", "role": "roles/secretmanager.admin"}),
        ("google_service_account_iam_member", {"member": "RUN", "role": "OWN", "service_account_id": "projects/a/b@c"}),
    ],
}


@pytest.mark.parametrize("cloud", PROVIDERS)
def test_what_the_simulator_does_not_read_is_named(
    cloud: str, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    made = Made("one", [("raw", SOURCES[1], "given")], [])
    state = generated(cloud, [made], terraforms["newer"], tmp_path)
    rights: Any = KINDS[cloud](state)
    words = {
        "aws": lambda: {"RUN": next(iter(rights.roles))},
        "azure": lambda: {"RUN": rights.principals["one"], "OWN": f"/{next(iter(rights.actions))}"},
        "gcp": lambda: {"RUN": rights.members["one"], "OWN": next(iter(rights.roles))},
    }[cloud]()
    words["ACCOUNT"] = "/subscriptions/1/resourceGroups/acme/providers/Microsoft.Storage/storageAccounts/acme"
    for type, values in FURTHER[cloud]:
        text = json.dumps(values)
        for word, meant in words.items():
            text = text.replace(word, meant)
        address = f"module.further.{type}.one"
        more = copy.deepcopy(state)
        resource = {"address": address, "mode": "managed", "type": type, "name": "one", "values": json.loads(text)}
        more["values"]["root_module"]["child_modules"].append({"address": "module.further", "resources": [resource]})
        with pytest.raises(AssertionError, match=rf"nothing here reads {re.escape(address)}$"):
            KINDS[cloud](more)
