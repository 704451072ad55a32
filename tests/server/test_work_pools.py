"""Work pools of each type from the integration's own template, made and changed in a real Prefect server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pools")]

FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import LocalProvider

out = LocalProvider(base_path="/tmp/nowhere").bucket_sink(bucket="out", path="a.parquet")

@task
def rows():
    return pl.LazyFrame({"a": [1]})

@pipeline(name="pools")
def daily():
    return out.write(rows())
"""
DEPLOY = """
import json, sys
from dataclasses import replace
from pathlib import Path
from daily import daily
from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.deploying import deploy
from glacier_prefect.deployments.desired import Target, desired
from glacier_prefect.deployments.state import State
from glacier_prefect.providers import PROVIDERS

here, said = Path(__file__).parent, {}
for each in json.loads(sys.argv[1]):
    provider = PROVIDERS.load(each["provider"])(**each.get("settings", {}))
    pool = replace(
        provider.work_pool(each["type"]), credentials=each.get("credentials"), secrets=each.get("secrets", {})
    )
    env = each.get("env") or each["type"].replace(":", "-")
    target = Target(project="pools", env=env, folder=here, code=each.get("code", "git"), git=str(here), pool=pool)
    with Api() as api:
        done = deploy(api, State(here / ".glacier" / env), lambda _: desired([daily], target, each.get("outputs", {})))
        said[each["type"]] = [
            [change.action, change.kind, sorted(change.differences())]
            for change in done.changes if change.action != "keep"
        ]
print(json.dumps(said))
"""
AWS = {"provider": "aws", "settings": {"region": "eu-west-3"}}
AZURE = {"provider": "azure", "settings": {"resource_group": "my-rg", "storage_account": "mine"}}
GCP = {"provider": "gcp", "settings": {"project_id": "my-project", "region": "europe-west9"}}
SECRETS = {
    "PREFECT_API_KEY": "name-of-key",
    "PREFECT_API_AUTH_STRING": "name-of-auth",
    "DB_PASSWORD": "name-of-password",
}
ARN = "arn:aws:secretsmanager:eu-west-3:123456789012:secret:"
AWS_SECRETS = {name: ARN + stored for name, stored in SECRETS.items()}
OWN = {"credentials": "pools-own"}
FIRST = [
    {"type": "process", "provider": "local", "secrets": SECRETS},
    {"type": "ecs", **AWS, "secrets": AWS_SECRETS},
    {"type": "ecs:push", **AWS, **OWN},
    {"type": "kubernetes", **AWS, "secrets": {"DB_PASSWORD": "mine/password"}},
    {"type": "azure-container-instance", **AZURE, "secrets": SECRETS},
    {"type": "azure-container-instance:push", **AZURE, **OWN},
    {"type": "cloud-run-v2", **GCP, "secrets": SECRETS},
    {"type": "cloud-run-v2:push", **GCP, **OWN},
]
SLUGS = {
    "aws-credentials": {"region_name": "eu-west-3"},
    "azure-container-instance-credentials": {},
    "gcp-credentials": {"project": "my-project"},
}


@pytest.fixture(scope="module")
def own(project: Any, api: Any) -> None:
    """Credentials blocks as a user saves them."""
    for slug, data in SLUGS.items():
        kind = api.get(f"/block_types/slug/{slug}")["id"]
        schema = api.post("/block_schemas/filter", block_schemas={"block_type_id": {"any_": [kind]}})[0]["id"]
        api.post("/block_documents/", name="pools-own", data=data, block_schema_id=schema, block_type_id=kind)


@pytest.fixture(scope="module")
def deployed(project: Any, own: None) -> Any:
    """Deploys an environment for each of these pools, and returns what each deploy did."""
    folder: Path = project.folder
    project.write("daily.py", FLOW)
    project.write("deploy.py", DEPLOY)
    project.write(".gitignore", ".glacier\n*.log\n__pycache__\n")
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], cwd=folder, check=True)

    def run(pools: list[dict[str, Any]]) -> dict[str, list[list[Any]]]:
        return dict(json.loads(project.run("deploy.py", json.dumps(pools)).stdout.splitlines()[-1]))

    return run


@pytest.fixture(scope="module")
def made(deployed: Any) -> dict[str, list[list[Any]]]:
    return dict(deployed(FIRST))


def pool(api: Any, type: str) -> dict[str, Any]:
    return dict(api.get(f"/work_pools/glacier-pools-{type.replace(':', '-')}-pool"))


def defaults(api: Any, type: str) -> dict[str, Any]:
    properties = pool(api, type)["base_job_template"]["variables"]["properties"]
    return {name: each["default"] for name, each in properties.items() if each.get("default") is not None}


@pytest.mark.parametrize("type", [each["type"] for each in FIRST])
def test_a_pool_of_each_type_is_made_and_a_second_deploy_changes_nothing(
    type: str, made: dict[str, list[list[Any]]], deployed: Any, api: Any
) -> None:
    assert ["create", "work_pool", []] in made[type]
    there = pool(api, type)
    assert there["type"] == type
    assert there["base_job_template"]["job_configuration"]["command"] == "{{ command }}"
    assert deployed([each for each in FIRST if each["type"] == type]) == {type: []}


def test_what_the_provider_knows_is_the_default_of_a_job_variable(made: Any, api: Any) -> None:
    assert defaults(api, "ecs")["aws_credentials"] == {"region_name": "eu-west-3"}
    assert defaults(api, "azure-container-instance")["resource_group_name"] == "my-rg"
    assert defaults(api, "cloud-run-v2")["region"] == "europe-west9"
    assert defaults(api, "cloud-run-v2")["credentials"] == {"project": "my-project"}


@pytest.mark.parametrize(
    ("type", "variable", "slug"),
    [
        ("ecs:push", "aws_credentials", "aws-credentials"),
        ("azure-container-instance:push", "aci_credentials", "azure-container-instance-credentials"),
        ("cloud-run-v2:push", "credentials", "gcp-credentials"),
    ],
)
def test_what_starts_runs_by_itself_refers_to_the_users_own_credentials_block(
    type: str, variable: str, slug: str, made: Any, api: Any
) -> None:
    assert defaults(api, type)[variable] == {"$ref": {"block_document_slug": f"{slug}/pools-own"}}


def test_a_secret_is_the_name_of_it_in_the_field_that_the_cloud_has_for_secrets(made: Any, api: Any) -> None:
    ecs = defaults(api, "ecs")
    assert ecs["prefect_api_key_secret_arn"] == f"{ARN}name-of-key"
    assert ecs["prefect_api_auth_string_secret_arn"] == f"{ARN}name-of-auth"
    definition = pool(api, "ecs")["base_job_template"]["job_configuration"]["task_definition"]
    container = definition["containerDefinitions"][0]
    assert container == {
        "image": "{{ image }}",
        "name": "{{ container_name }}",
        "secrets": [{"name": "DB_PASSWORD", "valueFrom": f"{ARN}name-of-password"}],
    }
    run = defaults(api, "cloud-run-v2")
    assert run["prefect_api_key_secret"] == {"secret": "name-of-key", "version": "latest"}
    assert run["prefect_api_auth_string_secret"] == {"secret": "name-of-auth", "version": "latest"}
    assert run["env_from_secrets"] == {"DB_PASSWORD": {"secret": "name-of-password", "version": "latest"}}
    assert defaults(api, "azure-container-instance")["env"] == {
        "PREFECT_API_KEY": "{{ prefect.blocks.secret.name-of-key }}",
        "PREFECT_API_AUTH_STRING": "{{ prefect.blocks.secret.name-of-auth }}",
    }
    manifest = pool(api, "kubernetes")["base_job_template"]["job_configuration"]["job_manifest"]
    assert manifest["spec"]["template"]["spec"]["containers"][0]["env"] == [
        {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "mine", "key": "password"}}}
    ]
    assert "name-of" not in json.dumps(pool(api, "process")), "a task reads it where it runs"


def test_a_change_is_made_in_place_and_what_operators_set_in_the_template_stays(
    made: Any, deployed: Any, api: Any
) -> None:
    before = {each["type"]: pool(api, each["type"]) for each in FIRST}
    for type in ("ecs", "cloud-run-v2"):
        template = before[type]["base_job_template"]
        template["variables"]["properties"]["image"]["default"] = "theirs:1"
        api.call("PATCH", f"/work_pools/{before[type]['name']}", {"base_job_template": template})
    aws, gcp = {"region": "us-east-1"}, {"project_id": "my-project", "region": "us-east1"}
    azure = {"resource_group": "other-rg", "storage_account": "mine"}
    second = [
        {"type": "ecs", "provider": "aws", "settings": aws, "secrets": {"PREFECT_API_KEY": f"{ARN}another"}},
        {"type": "ecs:push", **AWS, **OWN, "secrets": AWS_SECRETS},
        {"type": "kubernetes", **AWS},
        {"type": "azure-container-instance", "provider": "azure", "settings": azure, **OWN},
        {"type": "azure-container-instance:push", "provider": "azure", "settings": azure, **OWN},
        {"type": "cloud-run-v2", "provider": "gcp", "settings": gcp},
        {"type": "cloud-run-v2:push", "provider": "gcp", "settings": gcp, **OWN},
    ]
    done = deployed(second)
    assert {type: [change[:2] for change in changes] for type, changes in done.items()} == {
        each["type"]: [["update", "work_pool"]] for each in second
    }
    assert done["cloud-run-v2:push"][0][2] == ["base_job_template.variables.properties.region.default"]
    for each in second:
        assert pool(api, each["type"])["id"] == before[each["type"]]["id"]
    ecs = defaults(api, "ecs")
    assert (ecs["image"], ecs["prefect_api_key_secret_arn"]) == ("theirs:1", f"{ARN}another")
    assert ecs["aws_credentials"] == {"region_name": "us-east-1"}
    assert "prefect_api_auth_string_secret_arn" not in ecs
    definition = pool(api, "ecs")["base_job_template"]["job_configuration"]["task_definition"]
    assert definition["containerDefinitions"] == [{"image": "{{ image }}", "name": "{{ container_name }}"}]
    assert defaults(api, "azure-container-instance")["aci_credentials"]["$ref"]
    assert "env" not in defaults(api, "azure-container-instance")
    run = defaults(api, "cloud-run-v2")
    assert (run["image"], run["region"], run.get("prefect_api_key_secret")) == ("theirs:1", "us-east1", None)
    manifest = pool(api, "kubernetes")["base_job_template"]["job_configuration"]["job_manifest"]
    assert manifest["spec"]["template"]["spec"]["containers"][0]["env"] == "{{ env }}"
    assert deployed(second) == {each["type"]: [] for each in second}


def test_a_work_pool_that_cannot_be_is_an_error_that_says_what_can_be(deployed: Any, project: Any) -> None:
    def refused(**pool: Any) -> str:
        done = project.run("deploy.py", json.dumps([pool]), check=False)
        assert done.returncode == 1
        return str(done.stderr)

    assert "no work pool 'kubernets'. Did you mean 'kubernetes'" in refused(type="kubernets", **AWS)
    said = refused(type="ecs:push", **AWS)
    assert "save a block of type 'aws-credentials' and write work_pool_credentials = \"its-name\"" in said
    said = refused(type="kubernetes", **AWS, secrets=SECRETS)
    assert "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_KEY_SECRET_NAME=name-of-key" in said
    said = refused(type="ecs", **AWS, secrets={"DB_PASSWORD": "db"})
    assert "The secret DB_PASSWORD is called 'db'" in said
    assert 'DB_PASSWORD = "arn:aws:secretsmanager:' in said
    said = refused(type="ecs", **AWS, code="local")
    assert "has the project's folder, and runs of a work pool 'ecs' are elsewhere" in said
    said = refused(type="ecs:push", **AWS, credentials="nobodys")
    assert "There is no block 'nobodys' of type 'aws-credentials' in Prefect" in said


def test_the_ecs_workers_calls_are_accepted_by_moto_which_runs_no_container(
    deployed: Any, project: Any, api: Any, s3: Any
) -> None:
    """So nothing of a flow runs, and its run stays pending: what is shown is that AWS's API takes the calls."""
    import boto3

    def client(service: str) -> Any:
        keys = {"aws_access_key_id": s3.access_key_id, "aws_secret_access_key": s3.secret_access_key}
        return boto3.client(service, endpoint_url=s3.url, region_name=s3.region, **keys)

    ecs, ec2 = client("ecs"), client("ec2")
    ecs.create_cluster(clusterName="pools")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnet = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"][0]["GroupId"]
    variables = {
        "image": "example.org/pools:1",
        "cluster": "pools",
        "vpc_id": vpc,
        "network_configuration": {"subnets": [subnet], "securityGroups": [group]},
        "execution_role_arn": "arn:aws:iam::123456789012:role/pools",
    }
    roles = {"pools": {"task_role_arn": "arn:aws:iam::123456789012:role/of-the-pipeline"}}
    secrets = {name: AWS_SECRETS[name] for name in ("PREFECT_API_AUTH_STRING", "DB_PASSWORD")}
    wanted = {
        "env": "worker",
        "type": "ecs",
        "provider": "aws",
        "settings": {"region": s3.region},
        "secrets": secrets,
        "outputs": {"job_variables": variables, "pipeline_job_variables": roles},
    }
    deployed([wanted])
    pool = api.get("/work_pools/glacier-pools-worker-pool")
    template = pool["base_job_template"]  # moto refuses a container without memory, which Fargate has by the task
    template["job_configuration"]["task_definition"]["containerDefinitions"][0]["memory"] = 512
    api.call("PATCH", f"/work_pools/{pool['name']}", {"base_job_template": template})

    run = api.post(f"/deployments/{api.deployment('pools/worker')['id']}/create_flow_run")
    worker = ("-m", "prefect", "worker", "start", "--pool", pool["name"], "--type", "ecs", "--run-once")
    auth = "user:planted-secret"
    done = project.run(*worker, PREFECT_API_AUTH_STRING=auth, PREFECT_WORKER_PREFETCH_SECONDS="60", **s3.env)
    assert "Exception" not in done.stderr, done.stderr
    tasks = (
        ecs.list_tasks(cluster="pools")["taskArns"]
        + ecs.list_tasks(cluster="pools", desiredStatus="STOPPED")["taskArns"]
    )
    task = ecs.describe_tasks(cluster="pools", tasks=tasks)["tasks"][0]
    definition = ecs.describe_task_definition(taskDefinition=task["taskDefinitionArn"])["taskDefinition"]
    container = definition["containerDefinitions"][0]
    assert container["image"] == "example.org/pools:1"
    assert sorted((each["name"], each["valueFrom"]) for each in container["secrets"]) == sorted(secrets.items())
    assert task["overrides"]["taskRoleArn"] == roles["pools"]["task_role_arn"]
    given = {each["name"]: each["value"] for each in task["overrides"]["containerOverrides"][0]["environment"]}
    assert given["GLACIER_ENV"] == "worker"
    assert "PREFECT_API_AUTH_STRING" not in given
    for seen in (done.stdout, done.stderr, json.dumps([task, definition], default=str)):
        assert "planted-secret" not in seen
    assert api.get(f"/flow_runs/{run['id']}")["state_type"] == "PENDING"


def test_the_environment_in_glacier_toml_chooses_the_pool(project: Any) -> None:
    folder = project.folder / "chosen"
    project.write("chosen/daily.py", FLOW)
    project.write(
        "chosen/glacier.toml",
        """
        project = "chosen"
        [environments.dev]
        provider = "local"
        work_pool = "proces"
        """,
    )
    command = "import os, sys; os.chdir(sys.argv[1]); from glacier_prefect.cli import main; main(['plan'])"
    done = project.run("-c", command, str(folder), check=False)
    assert done.returncode == 2
    assert "no work pool 'proces'. Did you mean 'process'" in done.stderr
    assert "[environments.dev]" in done.stderr
    assert "Traceback" not in done.stderr
