"""`glacier bootstrap` on AWS: real Terraform with its state in an emulated bucket; stand-ins make what is elsewhere.

What is there already is asked of the emulator (moto), which has S3, IAM and STS. A stand-in makes no bucket, so one is
made in the emulator when Terraform says that it made it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from glacier_prefect import bootstrap as boot
from glacier_prefect import granted, infrastructure, projects
from glacier_prefect.cli import main
from glacier_prefect.emulators import S3
from glacier_prefect.environments import Project
from glacier_prefect.errors import (
    ConfigurationError,
    NeedsBootstrap,
    StoreDenied,
    TerraformFailed,
    UsageError,
)
from glacier_prefect.loading import load_project
from glacier_prefect.modules import Granted
from glacier_prefect.sources.objects import Objects
from glacier_prefect.terraform_cli import TerraformCLI
from glacier_prefect.terraform_plan import Event
from tests.clouds.conftest import s3
from tests.clouds.role_front import RoleFront
from tests.policies import aws
from tests.terraform.plugins import Terraform

__all__ = ["s3"]
pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
BUCKET = "module.aws_state.aws_s3_bucket.bucket"
TOML = 'project = "shop"\n[environments.prod]\nprovider = "aws"\nregion = "us-east-1"\nstate = "STATE"\n'
STAGING = TOML.partition("\n")[2].replace("prod", "staging")
MORE = '[environments.prod.secrets]\nDB_PASSWORD = "shop-db"\n'
FLOW = """
from glacier_prefect import Secret, pipeline, task
from glacier_prefect.providers import Provider

out = Provider.from_env().bucket_sink("curated", "rows.parquet")
password = Secret("DB_PASSWORD")

@task
def rows():
    return USED

@pipeline(name="daily")
def daily():
    return out.write(rows())
"""


class Killed(BaseException):
    """What ends a run where it is."""


class Shop:
    """A project with an environment on the emulator.

    Args:
        folder: Its folder.
        s3: The emulator.
    """

    def __init__(self, folder: Path, s3: S3) -> None:
        self.folder, self.s3, self.state = folder, s3, f"state-{uuid.uuid4().hex[:12]}"
        self.flow = folder / "flow.py"
        folder.mkdir()
        self.write("flow.py", FLOW.replace("USED", "1"))
        self.write("glacier.toml", TOML.replace("STATE", self.state))
        for words in (["init", "--quiet"], ["remote", "add", "origin", "git@github.com:acme/shop.git"]):
            subprocess.run(["git", *words], cwd=folder, check=True)

    def write(self, name: str | Path, text: str) -> None:
        if name == "flow.py":  # under a new name, since a process loads a module once
            self.flow.unlink(missing_ok=True)
            name = self.flow = self.folder / f"flow_{uuid.uuid4().hex[:12]}.py"
        (self.folder / name).write_text(text)

    def bootstrap(self, **options: Any) -> boot.Proposed | None:
        """Run it, with the bucket in the emulator when it is made."""
        more: Callable[[Event], object] = options.pop("on_event", lambda event: None)

        def on_event(event: Event) -> None:
            if (event.kind, event.address) == ("apply_complete", BUCKET):
                self.s3.make_bucket(self.state)
            more(event)

        confirm = options.pop("confirm", lambda proposed: True)
        project, pipelines = self.loaded()
        return boot.bootstrap(project, pipelines, boot.Asked(**options), confirm=confirm, on_event=on_event)

    def loaded(self) -> tuple[Project, Any]:
        return load_project([str(self.flow)])

    def root(self) -> dict[str, Any]:
        """Return the environment's root, by what is granted."""
        project, pipelines = self.loaded()
        return infrastructure.root(pipelines, project, granted.find(project))[1]

    def granted(self) -> Granted:
        found = granted.find(self.loaded()[0])
        assert found is not None
        return found

    def document(self) -> dict[str, Any]:
        """Return the state of the bootstrap."""
        content = self.s3.store(self.state).get(f"shop/prod/bootstrap/{boot.LOCAL}").bytes()
        return json.loads(bytes(content))

    def policy(self, role: str) -> dict[str, Any]:
        """Return all that a role may."""
        text = [
            each["attributes"]["policy"]
            for resource in self.document()["resources"]
            if resource["type"] == "aws_iam_policy" and resource["name"] == "part"
            for each in resource["instances"]
            if each["index_key"].startswith(f"{role}-")
        ]
        # the stand-in makes up partition and account
        statements = [each for policy in text for each in json.loads(policy)["Statement"]]
        known = re.sub(
            r"arn:partition-\w+:", "arn:aws:", re.sub(r"account_id-\w+", "123456789012", json.dumps(statements))
        )
        return {"Statement": json.loads(re.sub(r"region-\w+", "us-east-1", known))}

    @property
    def kept(self) -> set[str]:
        """What is in the bucket."""
        return {meta["path"] for page in self.s3.store(self.state).list() for meta in page}


def refuse(proposed: boot.Proposed) -> bool:
    raise AssertionError(f"there is nothing to ask for: {[each['address'] for each in proposed.plan.changes]}")


@pytest.fixture(scope="module")
def entered(s3: S3, terraforms: dict[str, Terraform]) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**s3.env, **terraforms["newer"].environment(), "GLACIER_ENV": "prod"}.items():
            patch.setenv(name, value)
        yield patch


@pytest.fixture
def iam(s3: S3) -> Any:
    return boto3.client("iam", endpoint_url=s3.url, region_name="us-east-1")


@pytest.fixture(scope="module")
def shop(s3: S3, entered: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose first run was killed, and went on."""
    shop = Shop(tmp_path_factory.mktemp("bootstrap") / "shop", s3)
    entered.chdir(shop.folder)
    assert shop.bootstrap(confirm=lambda proposed: False) is None
    folder = shop.folder / ".glacier/prod/bootstrap"
    assert not (folder / boot.LOCAL).exists()
    left = ["create"] * 5

    def kill(event: Event) -> None:
        if left and (event.kind, event.action) == ("apply_complete", "create"):
            left.pop()
            if not left:
                raise Killed

    with pytest.raises(Killed):
        shop.bootstrap(on_event=kill)
    assert '"type": "aws_' in (folder / boot.LOCAL).read_text()
    made = shop.bootstrap()
    assert made is not None
    assert "state" in [
        name.partition("aws_")[2] for name in json.loads((folder / "main.tf.json").read_text())["module"]
    ]
    assert not list(folder.glob("*.tfstate*")), "it is in the bucket now"
    return shop


def test_state_and_identity_are_made_and_a_second_run_does_nothing_anywhere(shop: Shop) -> None:
    assert shop.kept == {"shop/prod/bootstrap/terraform.tfstate"}
    made = shop.granted()
    assert made.kinds == ("bucket", "network", "work_pool")
    assert (made.buckets, made.repository, made.branch) == (("curated",), "acme/shop", "main")
    assert made.plan["role_arn"].endswith(":role/github-glacier-shop-prod-plan")
    before = shop.document()
    again = shop.bootstrap(confirm=refuse)
    assert again is not None
    assert again.granted == made
    shutil.rmtree(shop.folder / ".glacier")  # on another machine
    assert shop.bootstrap(confirm=refuse) is not None
    assert shop.document() == before


def test_whoever_is_killed_before_the_move_ended_goes_on(shop: Shop) -> None:
    folder = shop.folder / ".glacier/prod/bootstrap"
    shop.bootstrap(confirm=refuse)
    (folder / boot.LOCAL).write_text(json.dumps(shop.document()))  # it was copied, and not yet removed
    shop.bootstrap(confirm=refuse)
    assert not (folder / boot.LOCAL).exists()
    (folder / boot.LOCAL).write_text(json.dumps(shop.document()).replace('"id": "id-', '"id": "another-'))
    with pytest.raises(ConfigurationError, match=r"has resources that the state in .* somebody else ran"):
        shop.bootstrap(confirm=refuse)
    (folder / boot.LOCAL).unlink()


def test_the_root_keeps_to_what_was_granted(shop: Shop) -> None:
    calls = shop.root()["module"]
    boundary = shop.granted().boundary
    assert boundary is not None
    assert boundary.endswith(":policy/github-glacier-shop-prod-boundary")
    bounded = {name for name, call in calls.items() if call.get("cloud", {}).get("permissions_boundary") == boundary}
    assert bounded == {"aws_bucket_curated", "aws_network", "aws_work_pool"} == set(calls)


def test_a_plan_that_needs_more_stops_with_the_command_that_helps(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # which is not asked before
    shop.write("flow.py", FLOW.replace("USED", "password"))
    shop.write("glacier.toml", TOML.replace("STATE", shop.state) + MORE)
    with pytest.raises(SystemExit) as ended:
        main(["plan", "--env", "prod"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "modules of the kind 'secrets'; the secret 'shop-db' in 'prod'" in said
    printed = said.rpartition("runs: ")[2].split("\n")[0]
    assert printed == "glacier bootstrap --env prod --modules secrets"
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(printed)[1:])
    assert "--yes does it without asking" in capsys.readouterr().err
    main([*shlex.split(printed)[1:], "--yes", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["granted"]["kinds"] == ["bucket", "network", "secrets", "work_pool"], "what was granted stays"
    assert f"'{told['granted']['plan']['role_arn']}' ||" in told["workflow"]
    assert "aws_secrets" in shop.root()["module"]
    shop.write("flow.py", FLOW.replace("USED", "1").replace('"curated"', '"reports"'))
    with pytest.raises(NeedsBootstrap, match=r"need the bucket 'reports' in 'prod'(.|\n)*bootstrap --env prod$"):
        shop.root()
    shop.bootstrap()
    assert shop.granted().buckets == ("curated", "reports")
    shop.bootstrap(exact=True, branch="release", repository="acme/other")
    found = shop.granted()
    assert (found.kinds, found.buckets) == (("bucket", "network", "work_pool"), ("reports",))
    assert (found.repository, found.branch) == ("acme/other", "release")
    shop.bootstrap(github_environment="production")
    assert (shop.granted().branch, shop.granted().github_environment) == (None, "production")
    shop.bootstrap(confirm=refuse)  # and stays so
    shop.write(
        "glacier.toml", TOML.replace("STATE", shop.state) + "[environments.prod.infrastructure]\nhardened = true\n"
    )
    with pytest.raises(NeedsBootstrap, match="need `hardened` in 'prod'"):
        shop.root()
    shop.write("flow.py", FLOW.replace("USED", "1"))
    shop.write("glacier.toml", TOML.replace("STATE", shop.state))
    shop.bootstrap(branch="main", repository="acme/shop")


def test_pull_requests_make_previews_once_it_was_granted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    old = shop.document()
    del old["outputs"][granted.OUTPUT]["value"]["previews"]  # as an older Glacier has written it
    assert granted.read(old) == shop.granted()
    shop.write("glacier.toml", TOML.replace("STATE", shop.state) + "previews = true\n")
    with pytest.raises(NeedsBootstrap, match=r"need `previews` in 'prod'(.|\n)*bootstrap --env prod$"):
        shop.root()
    shop.bootstrap()
    assert shop.granted().previews
    assert shop.root()["module"]
    project, _ = shop.loaded()
    shop.s3.make_bucket("curated")
    shop.s3.store("curated").put("rows.parquet", b"theirs")
    with RoleFront(shop.policy("plan"), behind=shop.s3.port) as front:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{front.server_port}")
        with pytest.raises(StoreDenied), projects._state(project, print).locked():  # of the environment
            pass
        monkeypatch.setenv("GLACIER_PREVIEW", "pr-42")
        state, provider = projects._state(project, print), boot._Root(*shop.loaded()).provider
        code = Objects(provider.credentials.store("curated"), "code")
        archive = ".glacier/preview/pr-42/.glacier/code/shop/prod/0a1b/code.tar.gz"
        with state.locked():
            assert state.kept.create(1, b"{}")
            assert code.head(archive) is None
            assert code.put(archive, b"packed", replaces=None)
            with pytest.raises(StoreDenied):
                code.delete(["rows.parquet"])
            assert provider.bucket_sink("curated", "all.parquet").discard() == 1
            state.kept.forget()
    monkeypatch.delenv("GLACIER_PREVIEW")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert not [each for each in shop.kept if "/preview/" in each]
    shop.write("glacier.toml", TOML.replace("STATE", shop.state))
    shop.bootstrap()
    assert shop.granted().previews, "what was granted stays"
    shop.bootstrap(exact=True)
    assert not shop.granted().previews


def test_who_plans_reads_the_state_and_cannot_lock_and_nobody_from_github_writes_the_bootstraps(shop: Shop) -> None:
    project, pipelines = shop.loaded()
    with RoleFront(shop.policy("plan"), behind=shop.s3.port) as front, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{front.server_port}")
        made = infrastructure.generate(pipelines, project, granted.find(project))
        locking, looking = TerraformCLI(made.folder), TerraformCLI(made.folder, lock=False)
        looking.init(moved="without")  # other tests have been here
        with looking.plan() as plan:
            assert plan.has_changes
        with pytest.raises(TerraformFailed):
            locking.plan()
        assert {(each.action, each.resource.rpartition("/")[2]) for each in front.denied} == {
            ("s3:PutObject", "terraform.tfstate.tflock")
        }
    with RoleFront(shop.policy("deploy"), behind=shop.s3.port) as front, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{front.server_port}")
        infrastructure.generate(pipelines, project, granted.find(project))  # an emulator's address stands in it
        deploying = TerraformCLI(made.folder)
        deploying.init(moved="without")
        with deploying.plan() as plan:
            assert plan.has_changes
        provider = boot._Root(project, pipelines).provider
        objects = provider.state_objects(shop.state)
        assert granted.find(project) is not None
        with pytest.raises(StoreDenied):
            objects.write("shop/prod/bootstrap/terraform.tfstate", b"{}")
        with pytest.raises(StoreDenied):
            objects.write("shop/prod2/terraform.tfstate", b"{}")


def test_a_second_environment_shares_the_bucket_without_taking_it_over(shop: Shop, entered: pytest.MonkeyPatch) -> None:
    shop.write("glacier.toml", (TOML + STAGING).replace("STATE", shop.state))
    own, forged = shop.granted().state, "shop/prod/preview/pr-42/bootstrap/terraform.tfstate"
    written = json.dumps(shop.document()).replace(own, "arn:aws:s3:::theirs")
    shop.s3.store(shop.state).put(forged, written.encode())  # which a pull request may write, where there are previews
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLACIER_ENV", "staging")
        made = shop.bootstrap()
        assert made is not None
        root = json.loads((shop.folder / ".glacier/staging/bootstrap/main.tf.json").read_text())
        assert set(root["module"]) == {"aws_identity"}
        assert root["module"]["aws_identity"]["state"] == made.granted.state == own
        shop.bootstrap(confirm=refuse)
    shop.bootstrap(confirm=refuse)
    shop.s3.store(shop.state).delete(forged)
    assert shop.kept >= {f"shop/{each}/bootstrap/terraform.tfstate" for each in ("prod", "staging")}
    shop.write("glacier.toml", TOML.replace("STATE", shop.state))


def test_what_is_there_is_taken_over(s3: S3, iam: Any, entered: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", s3)
    s3.make_bucket(shop.state)
    name, trust = "github-glacier-shop-prod", json.dumps({"Version": "2012-10-17", "Statement": []})
    allowed = json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}
    )
    url = "https://token.actions.githubusercontent.com"
    arn = iam.create_open_id_connect_provider(Url=url, ThumbprintList=["a" * 40])["OpenIDConnectProviderArn"]
    for role in ("plan", "deploy"):
        iam.create_role(RoleName=f"{name}-{role}", AssumeRolePolicyDocument=trust)
    for policy in ("boundary", "deploy-state"):
        iam.create_policy(PolicyName=f"{name}-{policy}", PolicyDocument=allowed)
    try:
        with pytest.raises(ConfigurationError, match=f"is not for sts.amazonaws.com.*\n.*{arn} --client-id sts"):
            shop.bootstrap()
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        iam.create_open_id_connect_provider(Url=url, ThumbprintList=["a" * 40], ClientIDList=["sts.amazonaws.com"])
        asked: list[boot.Proposed] = []
        made = shop.bootstrap(confirm=lambda proposed: not asked.append(proposed))
        assert made is not None
        account = "arn:aws:iam::123456789012:policy"
        assert made.imported == {
            BUCKET: shop.state,
            'module.aws_identity.aws_iam_role.role["plan"]': f"{name}-plan",
            'module.aws_identity.aws_iam_role.role["deploy"]': f"{name}-deploy",
            "module.aws_identity.aws_iam_policy.boundary": f"{account}/{name}-boundary",
            'module.aws_identity.aws_iam_policy.part["deploy-state"]': f"{account}/{name}-deploy-state",
        }
        created = {each["address"] for each in asked[0].plan.changes if each["change"]["actions"] == ["create"]}
        assert created
        assert not created & {*made.imported}
        kinds = {each["type"] for each in shop.document()["resources"]}
        assert "aws_iam_openid_connect_provider" not in kinds, "the account has it, for others too"
        assert arn in json.dumps(shop.document())
        shop.bootstrap(confirm=refuse)
    finally:
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        for role in ("plan", "deploy"):
            iam.delete_role(RoleName=f"{name}-{role}")
        for policy in ("boundary", "deploy-state"):
            iam.delete_policy(PolicyArn=f"arn:aws:iam::123456789012:policy/{name}-{policy}")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"kinds": ("bukcet",)}, "Did you mean 'bucket'"),
        ({"kinds": ("identity",)}, "'identity' is no kind"),
        ({"repository": "acme/*"}, "'acme/\\*' is no repository"),
        ({"repository": "acme/shop:ref:refs/heads/x"}, "expected owner/name"),
        ({"repository": "acme"}, "expected owner/name"),
        ({"branch": "a", "github_environment": "b"}, "exclude each other"),
        *(
            ({"branch": each}, "is no branch")
            for each in ("*", "a b", "${var.x}", "a:b", "x\\y", "x?", "refs/heads/x", "", "ü")
        ),
        *(({"github_environment": each}, "is no environment") for each in ("*", "a:b", "x?", "", 'a"b', "a\nb")),
    ],
)
def test_what_cannot_be_granted_is_refused(shop: Shop, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        shop.bootstrap(confirm=refuse, **asked)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('state = "STATE"\n', "", "does not say where Terraform's state is.\n.*state = "),
        ('provider = "aws"\nregion = "us-east-1"\n', 'provider = "local"\n', "nothing to bootstrap"),
        ('"STATE"', '"Acme_State"', "'Acme_State' is no name for aws state. S3: "),
        ('"shop"', f'"{"s" * 40}"', "is no name for aws identity. IAM: "),
    ],
)
def test_an_environment_without_what_it_takes_is_refused(
    old: str, new: str, said: str, shop: Shop, s3: S3, tmp_path: Path
) -> None:
    other = Shop(tmp_path / "shop", s3)
    other.write("glacier.toml", TOML.replace(old, new).replace("STATE", other.state))
    with pytest.raises(ConfigurationError, match=said):
        other.bootstrap(confirm=refuse)
    assert not (other.folder / ".glacier").exists()


def test_without_a_remote_on_github_the_repository_has_to_be_said(shop: Shop, s3: S3, tmp_path: Path) -> None:
    other = Shop(tmp_path / "shop", s3)
    for url, found in {
        "https://github.com/acme/shop": "acme/shop",
        "https://token@github.com/acme/shop.git": "acme/shop",
        "ssh://git@github.com/acme/my.shop.git": "acme/my.shop",
        "https://gitlab.com/acme/shop": None,
        "https://github.com.evil.example/acme/shop": None,
        "https://evil.example/?https://github.com/acme/shop": None,
    }.items():
        subprocess.run(["git", "remote", "set-url", "origin", url], cwd=other.folder, check=True)
        if found is None:
            with pytest.raises(UsageError, match=r"not on GitHub.*\nHint: --repository owner/name"):
                boot._origin(other.folder)
        else:
            assert boot._origin(other.folder) == found


def test_an_environment_that_was_never_bootstrapped_is_not_hindered(s3: S3, shop: Shop, tmp_path: Path) -> None:
    other = Shop(tmp_path / "shop", s3)
    for make in (lambda: None, lambda: s3.make_bucket(other.state)):
        make()
        assert granted.find(other.loaded()[0]) is None
        assert "cloud" not in json.dumps(other.root())
    broken = f"shop/prod/bootstrap/{boot.LOCAL}"
    s3.store(other.state).put(broken, b"not a state")
    with pytest.raises(ConfigurationError, match=r"cannot be read\.\nHint: restore an older version"):
        granted.find(other.loaded()[0])


IAM = (
    "AttachRolePolicy",
    "CreatePolicyVersion",
    "DeleteRole",
    "DetachRolePolicy",
    "PutRolePolicy",
    "UpdateAssumeRolePolicy",
)
THEIRS = "arn:aws:iam::123456789012"


def test_neither_role_changes_what_it_may_or_who_becomes_it(shop: Shop) -> None:
    boundary = f"{THEIRS}:policy/github-glacier-shop-prod-boundary"
    tried = [f"{THEIRS}:role/github-glacier-shop-prod-{role}" for role in ("plan", "deploy")]
    tried += [boundary, f"{THEIRS}:policy/github-glacier-shop-prod-deploy-state"]
    tried += [f"{THEIRS}:oidc-provider/token.actions.githubusercontent.com"]
    tried += [f"{THEIRS}:role/github-glacier-shop-prod-eu-deploy", f"{THEIRS}:role/admin"]  # of others
    for role in ("plan", "deploy"):
        policy = shop.policy(role)
        for action in (
            *IAM,
            "CreateRole",
            "PassRole",
            "DeleteRolePermissionsBoundary",
            "UpdateOpenIDConnectProviderThumbprint",
        ):
            for resource in tried:
                for context in (
                    {},
                    {"iam_PermissionsBoundary": boundary, "iam_PassedToService": "ecs-tasks.amazonaws.com"},
                ):
                    assert not aws.allows(policy, f"iam:{action}", resource, **context), (role, action, resource)
        assert not aws.allows(policy, "sts:AssumeRole", tried[1])
        own = f"{THEIRS}:role/glacier-shop-prod-pool-worker"
        for action in ("CreateRole", "PutRolePolicy"):
            assert not aws.allows(policy, f"iam:{action}", own), "without the boundary"
            bounded = aws.allows(policy, f"iam:{action}", own, iam_PermissionsBoundary=shop.granted().boundary or "")
            assert bounded is False, "the stand-in's account is another"
            assert aws.allows(policy, f"iam:{action}", own, iam_PermissionsBoundary=boundary) is (role == "deploy")


# What the provider of AWS asks for to make a resource, and of what; {} is the resource's name.
CALLS = {
    "aws_cloudwatch_log_group": (
        ("logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:TagResource"),
        "logs",
        "log-group:{}",
    ),
    "aws_ecs_cluster": (("ecs:TagResource",), "ecs", "cluster/{}"),
    "aws_iam_role": (("iam:TagRole", "iam:GetRole", "iam:DeleteRole", "iam:CreateRole"), "iam", "role/{}"),
    "aws_iam_role_policy": (("iam:PutRolePolicy", "iam:GetRolePolicy", "iam:DeleteRolePolicy"), "iam", "role/{}"),
    "aws_s3_bucket": (("s3:CreateBucket", "s3:PutBucketTagging", "s3:DeleteBucket"), "s3", "{}"),
    "aws_s3_bucket_lifecycle_configuration": (("s3:PutLifecycleConfiguration",), "s3", "{}"),
    "aws_s3_bucket_ownership_controls": (("s3:PutBucketOwnershipControls",), "s3", "{}"),
    "aws_s3_bucket_policy": (("s3:PutBucketPolicy", "s3:GetBucketPolicy", "s3:DeleteBucketPolicy"), "s3", "{}"),
    "aws_s3_bucket_public_access_block": (("s3:PutBucketPublicAccessBlock",), "s3", "{}"),
    "aws_s3_bucket_server_side_encryption_configuration": (("s3:PutEncryptionConfiguration",), "s3", "{}"),
    "aws_s3_bucket_versioning": (("s3:PutBucketVersioning",), "s3", "{}"),
}
NAMES = {"aws_iam_role_policy": "role"}


def test_who_deploys_may_make_what_the_root_has_and_who_plans_only_looks(
    shop: Shop, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    project, pipelines = shop.loaded()
    calls, document = infrastructure.root(pipelines, project, granted.find(project))
    document["terraform"]["backend"] = {"local": {}}
    infrastructure.write(tmp_path / "root", document, {call.source for call in calls.values()})
    terraforms["newer"](tmp_path / "root", "init")
    terraforms["newer"](tmp_path / "root", "plan", "-out=plan")
    planned = json.loads(terraforms["newer"](tmp_path / "root", "show", "-json", "plan"))["planned_values"]
    plans, deploys = shop.policy("plan"), shop.policy("deploy")
    boundary, seen = f"{THEIRS}:policy/github-glacier-shop-prod-boundary", set()
    for module in planned["root_module"]["child_modules"]:
        for resource in module["resources"]:
            values, kind = resource["values"], resource["type"]
            if resource["mode"] == "data" or kind not in CALLS:
                continue
            seen.add(kind)
            asked, service, form = CALLS[kind]
            name = next(values[key] for key in (NAMES.get(kind), "bucket", "name") if key and values.get(key))
            where = {"iam": "::123456789012:", "s3": ":::"}.get(service, ":us-east-1:123456789012:")
            for action in asked:
                arn = f"arn:aws:{service}{where}{form.format(name)}"
                context = {"iam_PermissionsBoundary": boundary}
                assert aws.allows(deploys, action, arn, **context), (action, arn)
                looks = action.partition(":")[2].startswith("Get")
                assert aws.allows(plans, action, arn, **context) is looks, (action, arn)
            if kind == "aws_iam_role":
                assert values["permissions_boundary"] == shop.granted().boundary
    assert seen == {*CALLS}
