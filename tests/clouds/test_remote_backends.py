"""The real Terraform with its state in a bucket of each cloud: what goes wrong is said, and nothing is lost.

The roots have resources that Terraform itself brings, so that no provider is needed. What is not the backend's business
is tried on one of them. Google's and Azure's speak to emulators that are not Google's and Azure's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.errors import ApplyFailed, BackendChanged, PlanStale, StateLocked, TerraformFailed
from glacier_prefect.processes import this_process
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider
from glacier_prefect.terraform_cli import TerraformCLI
from tests.clouds.azure_backend import AzureFront
from tests.clouds.conftest import Cloud, new_bucket
from tests.clouds.role_front import RoleFront

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]
KEY = "acme/prod"


@dataclass
class Backend:
    """A place of Terraform's state in a cloud, and machines that use it."""

    cloud: Cloud
    env: Mapping[str, str]
    home: Path
    bucket: str = ""
    said: list[str] = field(default_factory=list)

    def settings(self, bucket: str | None = None, endpoint: str | None = None) -> dict[str, Any]:
        """Return the backend as the cloud's provider writes it into a root."""
        bucket, url = bucket or self.bucket, endpoint or self.cloud.url
        if isinstance(self.cloud, Azure):
            name, settings = AzureProvider().backend(f"{self.cloud.account_name}/{bucket}", KEY)
        elif isinstance(self.cloud, S3):
            name, settings = AWSProvider(region="us-east-1", endpoint_url=url).backend(bucket, KEY)
        else:
            name, settings = GCPProvider(endpoint_url=url).backend(bucket, KEY)
        return {name: settings}

    def root(self, machine: str, backend: Mapping[str, Any] | None = None, **resources: Any) -> TerraformCLI:
        """Write a root on a machine, whose resources are given by what they do when they are made."""
        folder = self.home / machine
        folder.mkdir(exist_ok=True)
        made = {
            name: {"input": name, "provisioner": [{"local-exec": {"command": command}}]} if command else {"input": name}
            for name, command in {"one": None, **resources}.items()
        }
        (folder / "main.tf.json").write_text(
            json.dumps(
                {
                    "terraform": {"backend": self.settings() if backend is None else backend},
                    "resource": {"terraform_data": made},
                    "output": {"one": {"value": "${terraform_data.one.output}"}},
                }
            )
        )
        return TerraformCLI(folder, environment=self.env, on_event=lambda event: self.said.append(event.message))

    def ready(self, machine: str, **resources: Any) -> TerraformCLI:
        cli = self.root(machine, **resources)
        cli.init()
        return cli

    def state(self) -> dict[str, Any]:
        [key] = [key for key in self.there() if key.endswith(".tfstate")]
        return dict(json.loads(bytes(self.cloud.store(self.bucket).get(key).bytes())))

    def there(self) -> list[str]:
        return [meta["path"] for page in self.cloud.store(self.bucket).list() for meta in page]


@pytest.fixture
def backend(cloud: Cloud, tmp_path: Path) -> Iterator[Backend]:
    bucket = new_bucket(cloud)
    if isinstance(cloud, Azure):
        with AzureFront(cloud, tmp_path) as front:
            yield Backend(cloud, front.env, tmp_path, bucket)
        return
    token = {"GOOGLE_OAUTH_ACCESS_TOKEN": "anonymous"} if isinstance(cloud, GCS) else cloud.env
    yield Backend(cloud, {**token, "AWS_ENDPOINT_URL": ""}, tmp_path, bucket)


@pytest.fixture
def on_s3(s3: S3, tmp_path: Path) -> Backend:
    return Backend(s3, {**s3.env, "AWS_ENDPOINT_URL": ""}, tmp_path, new_bucket(s3))


def applied(cli: TerraformCLI) -> tuple[str, ...]:
    with cli.plan() as plan:
        return cli.apply(plan)


def test_a_second_machine_has_the_same_state_and_nothing_of_it_is_beside_the_root(backend: Backend) -> None:
    first, second = backend.ready("first"), backend.ready("second")
    assert applied(first) == ("terraform_data.one",)
    assert all(key.startswith(f"{KEY}/") for key in backend.there())
    assert not list(backend.home.glob("*/*.tfstate*"))
    assert second.output()["one"].value == "one"
    with second.plan() as plan:
        assert not plan.has_changes
    with second.plan(destroy=True) as plan:
        second.apply(plan)
    assert first.state_list() == []


def test_a_plan_that_another_machine_overtook_is_stale_and_changes_nothing(on_s3: Backend) -> None:
    first, second = on_s3.ready("first"), on_s3.ready("second", two=None)
    applied(first)
    first = on_s3.ready("first", three=None)
    with first.plan() as plan:
        applied(second)
        state = on_s3.state()
        with pytest.raises(PlanStale, match=r"changed since the plan was made\. Nothing was done\."):
            first.apply(plan)
    assert on_s3.state() == state


def test_an_apply_that_fails_half_way_keeps_its_state_and_another_machine_goes_on(on_s3: Backend) -> None:
    first = on_s3.ready("first", late="test -e ../mended")
    with first.plan() as plan, pytest.raises(ApplyFailed) as failed:
        first.apply(plan)
    assert failed.value.done == ("terraform_data.one",)
    assert "Done before: terraform_data.one. The state is kept.\nHint: remove the cause" in str(failed.value)
    kept = {each["name"] for each in on_s3.state()["resources"]}
    assert "one" in kept
    (on_s3.home / "mended").touch()
    second = on_s3.ready("second", late="test -e ../mended")
    assert "terraform_data.one" not in applied(second)
    assert second.state_list() == ["terraform_data.late", "terraform_data.one"]


def test_a_killed_terraform_leaves_the_state_locked_which_says_by_whom_until_it_is_unlocked(backend: Backend) -> None:
    begun = datetime.now(UTC)
    cli = backend.ready("first", late="touch begun; exec sleep 60")
    applied(backend.ready("second"))
    state, folder = backend.state(), backend.home / "first"
    terraform = subprocess.Popen(
        ["terraform", "apply", "-auto-approve", "-input=false"],
        cwd=folder,
        env={**cli._full_environment()},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (folder / "begun").exists():
        assert terraform.poll() is None
    terraform.kill()
    terraform.wait()
    subprocess.run(["pkill", "-g", str(terraform.pid)], check=True)  # the resource that it was making
    second = backend.ready("second")
    with pytest.raises(
        StateLocked, match=r"is locked, by .*, since .*, lock .*\. Nothing was done\.\nHint: wait"
    ) as found:
        second.plan()
    here = this_process()
    assert found.value.who == f"{here['user']}@{here['host']}"
    assert found.value.created is not None
    assert begun - timedelta(seconds=1) <= found.value.created <= datetime.now(UTC)
    assert backend.state() == state
    looking = TerraformCLI(second.folder, environment=backend.env, lock=False)
    with looking.plan() as plan:  # who only looks is not kept from it
        assert not plan.has_changes
    second.unlock(found.value)
    assert backend.said[-1].startswith("Unlocked the Terraform state, which a killed deploy left locked: lock ")
    with second.plan() as plan:
        assert not plan.has_changes


def test_a_missing_bucket_is_named_with_what_makes_it(on_s3: Backend) -> None:
    with pytest.raises(
        TerraformFailed, match=r"init failed:\n(.|\n)*Hint: make the state's bucket with `glacier bootst"
    ):
        on_s3.root("first", on_s3.settings("no-such-bucket-anywhere")).init()


def test_who_may_only_read_can_plan_but_not_change_and_is_told_what_is_missing(on_s3: Backend) -> None:
    applied(on_s3.ready("first"))
    state, arn = on_s3.state(), f"arn:aws:s3:::{on_s3.bucket}"
    statements = [
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [arn]},
        {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{arn}/*"]},
    ]
    with RoleFront({"Statement": statements}, behind=on_s3.cloud.port) as front:
        at_front = on_s3.settings(endpoint=f"http://127.0.0.1:{front.server_port}")
        on_s3.root("second", at_front, two=None).init()
        looking = TerraformCLI(on_s3.home / "second", environment=on_s3.env, lock=False)
        with looking.plan() as plan:
            assert plan.has_changes
        changing = TerraformCLI(on_s3.home / "second", environment=on_s3.env)
        with pytest.raises(TerraformFailed, match="grant what is missing to the credentials in use") as failed:
            changing.plan()
        assert not isinstance(failed.value, StateLocked)
        assert "AccessDenied" in str(failed.value)
        front.policy = {"Statement": []}
        with pytest.raises(TerraformFailed, match=r"(?s)init failed:.*403.*`glacier doctor` shows"):
            on_s3.root("third", at_front).init()
    assert on_s3.state() == state


def test_a_state_that_is_elsewhere_than_the_configuration_says_is_not_lost_sight_of(on_s3: Backend) -> None:
    local = {"local": {"path": "terraform.tfstate"}}
    cli = on_s3.root("first", local)
    cli.init()
    applied(cli)
    file = on_s3.home / "first/terraform.tfstate"
    before = file.read_bytes()
    cli = on_s3.root("first")
    where = (
        r"is in the backend 'local', path 'terraform.tfstate', and the configuration has it in another place\. Nothing"
    )
    for _ in range(2):
        with pytest.raises(BackendChanged, match=where) as changed:
            cli.init()
    assert (file.read_bytes(), on_s3.there()) == (before, [])
    command = str(changed.value).split("`")[1]
    subprocess.run([*command.replace("'", "").split(), "-force-copy"], env=cli._full_environment(), check=True)
    cli.init()
    with cli.plan() as plan:
        assert not plan.has_changes
    other = new_bucket(on_s3.cloud)
    with pytest.raises(BackendChanged, match=rf"in the backend 's3', bucket '{on_s3.bucket}', key '{KEY}/terraform.tf"):
        on_s3.root("first", on_s3.settings(other)).init()
    shutil.rmtree(on_s3.home / "first/.terraform")  # so Terraform has forgotten where it was
    with pytest.raises(TerraformFailed, match="init failed"):
        on_s3.root("first", on_s3.settings(other)).init()
