"""`glacier bootstrap` on Azure and Google Cloud: real Terraform, stand-ins, and a server that is asked what is there.

Terraform's backends of the two are not here, so the state that they would keep is in a folder; all else is as ever.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from obstore.store import LocalStore

from glacier_prefect import bootstrap as boot
from glacier_prefect import granted, infrastructure
from glacier_prefect.errors import ConfigurationError, NeedsBootstrap
from glacier_prefect.providers import AzureProvider, GCPProvider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.sources.objects import Objects
from tests.policies import azure, gcp
from tests.served import Served
from tests.terraform import roots
from tests.terraform.plugins import Terraform

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")
CLOUDS: dict[str, type[CloudProvider]] = {"azure": AzureProvider, "gcp": GCPProvider}
STATES = {"azure": "acmestate/state", "gcp": "acme-state"}
KEPT = "shop/prod/bootstrap/"


class Account(Served, ThreadingHTTPServer):
    """A cloud that is asked what there is.

    Attributes:
        answers: What it says, by a pattern of the path; all else is not there.
        asked: The paths.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.answers: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: Account
    protocol_version: ClassVar[str] = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        found = next((told for form, told in self.server.answers.items() if re.search(form, path)), None)
        body = json.dumps(found or {"error": {"code": 404}}).encode()
        self.send_response(404 if found is None else int(found.get("status", 200)))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def refuse(proposed: boot.Proposed) -> bool:
    raise AssertionError(f"there is nothing to ask for: {[each['address'] for each in proposed.plan.changes]}")


@pytest.fixture
def account() -> Iterator[Account]:
    with Account() as account:
        yield account


@pytest.mark.parametrize("cloud", CLOUDS)
def test_it_is_made_once_and_taken_over_where_it_is_and_kept_to(
    cloud: str, account: Account, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    folder = roots.shop(cloud, tmp_path / "shop")
    for name in ("flow.py", "glacier.toml"):  # the budget's account is somebody's in Google Cloud
        text = (
            (folder / name).read_text().replace("acme-state", STATES[cloud]).replace("acmestate/state", STATES[cloud])
        )
        (folder / name).write_text(text)
    kept = tmp_path / "kept" / "terraform.tfstate"
    kept.parent.mkdir()

    def backend(self: CloudProvider, state: str, key: str) -> tuple[str, Mapping[str, Any]]:
        return "local", {"path": str(kept) if key == KEPT.rstrip("/") else "terraform.tfstate"}

    with roots.entered(folder) as (project, pipelines), pytest.MonkeyPatch.context() as patch:
        patch.setattr(CLOUDS[cloud], "backend", backend)
        patch.setattr(CLOUDS[cloud], "state_objects", lambda self, state: Objects(LocalStore(kept.parent), "a folder"))
        patch.setattr(granted, "object_name", lambda backend: kept.name)
        for name, value in terraforms["newer"].environment().items():
            patch.setenv(name, value)
        url = f"http://127.0.0.1:{account.server_port}"
        patch.setenv({"azure": "AZURE_STORAGE_ENDPOINT", "gcp": "STORAGE_EMULATOR_HOST"}[cloud], url)

        def bootstrap(**options: Any) -> boot.Proposed:
            confirm = options.pop("confirm", lambda proposed: True)
            asked = boot.Asked(repository="acme/shop", **options)
            done = boot.bootstrap(project, pipelines, asked, confirm=confirm)
            assert done is not None
            return done

        made = bootstrap(kinds=("bucket",))
        assert made.granted.kinds == ("bucket",)
        assert not list((folder / ".glacier/prod/bootstrap").glob("*.tfstate*"))
        assert account.asked, "each thing that two cannot make was asked for"
        assert made.imported == {}
        with pytest.raises(
            NeedsBootstrap, match=r"kind ('budget', )?'network', 'secrets', 'spark', 'work_pool'(.|\n)*network,secrets"
        ):
            infrastructure.root(pipelines, project, granted.find(project))
        made = bootstrap()
        assert {"bucket", "network", "secrets", "spark", "work_pool"} <= {*made.granted.kinds}
        assert bootstrap(confirm=refuse).granted == made.granted
        assert ("budget" in made.granted.kinds) is (cloud == "azure")
        assert [each.partition(":")[0] for each in made.notes] == ([] if cloud == "azure" else ["budget"])
        check_workflow(cloud, CLOUDS[cloud](), made)
        check_root(cloud, infrastructure.root(pipelines, project, granted.find(project)), terraforms, tmp_path / "root")
        check_rights(cloud, json.loads(kept.read_text()))

        kept.unlink()  # all is there, and its state is lost
        shutil.rmtree(folder / ".glacier")
        account.answers = {r"^/": {"name": "there"}}
        again = bootstrap(kinds=made.granted.kinds)
        kinds = {re.sub(r"^.*?\.((?:azurerm|google)_\w+).*$", r"\1", address) for address in again.imported}
        assert kinds == IMPORTED[cloud]
        for form in IDS[cloud]:
            assert any(re.fullmatch(form, each) for each in again.imported.values()), (form, again.imported)
        bootstrap(confirm=refuse)

        account.answers = {r"^/": {"status": 403}}
        kept.unlink()
        with pytest.raises(PermissionError, match=r"refused with .*403(.|\n)*Hint: log in"):
            bootstrap()
        if cloud == "gcp":
            account.answers = {r"/workloadIdentityPools/[^/]+$": {"state": "DELETED"}, r"/roles/": {"deleted": True}}
            with pytest.raises(
                ConfigurationError, match=r"keeps its name for 30 days(.|\n)*workload-identity-pools undelete"
            ):
                bootstrap()


IMPORTED = {
    "azure": {
        "azurerm_federated_identity_credential",
        "azurerm_management_lock",
        "azurerm_role_assignment",
        "azurerm_role_definition",
        "azurerm_storage_account",
        "azurerm_storage_container",
        "azurerm_storage_management_policy",
        "azurerm_user_assigned_identity",
    },
    "gcp": {
        "google_iam_workload_identity_pool",
        "google_iam_workload_identity_pool_provider",
        "google_project_iam_custom_role",
        "google_service_account",
        "google_storage_bucket",
    },
}
IN_GROUP = "/subscriptions/[^/]+/resourceGroups/acme/providers"
IDS = {
    "azure": [
        f"{IN_GROUP}/Microsoft.Storage/storageAccounts/acmestate",
        f"{IN_GROUP}/Microsoft.Storage/storageAccounts/acmestate/blobServices/default/containers/state",
        f"{IN_GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/github-glacier-shop-prod-deploy",
        f"{IN_GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/[^/]+/federatedIdentityCredentials/deploy",
        r"/subscriptions/[^/]+/providers/Microsoft.Authorization/roleDefinitions/[0-9a-f-]+\|/subscriptions/.*/acme",
        "/subscriptions/.*/providers/Microsoft.Authorization/roleAssignments/[0-9a-f-]+",
    ],
    "gcp": [
        "acme-data/acme-state",
        r"projects/acme-data/serviceAccounts/glacier-shop-prod-plan@acme-data\.iam\.gserviceaccount\.com",
        "projects/acme-data/roles/glacier_shop_prod_deploy",
        "projects/acme-data/locations/global/workloadIdentityPools/glacier-shop-prod-github",
        "projects/acme-data/locations/global/workloadIdentityPools/glacier-shop-prod-github/providers/github",
    ],
}


def check_workflow(cloud: str, provider: CloudProvider, made: boot.Proposed) -> None:
    step = provider.workflow(made.granted)
    key = {"azure": "client_id", "gcp": "service_account"}[cloud]
    assert step.startswith("- if: ${{ !github.event.pull_request.head.repo.fork }}\n  uses: ")
    assert f"&& '{made.granted.plan[key]}' || '{made.granted.deploy[key]}'" in step
    assert made.granted.plan[key] != made.granted.deploy[key]


def check_root(cloud: str, root: tuple[Any, dict[str, Any]], terraforms: dict[str, Terraform], folder: Path) -> None:
    """The environment's root takes what the identity demands, and Terraform takes it."""
    calls, document = root
    said = {call.source.partition("/")[2]: call.inputs.get("cloud", {}) for call in calls.values()}
    if cloud == "azure":
        assert document["provider"]["azurerm"]["resource_provider_registrations"] == "none"
        assert said["bucket"]["shared_roles"] is said["work_pool"]["shared_roles"] is True
        assert "key_vault" in said["work_pool"], "what it was told besides stays"
    else:
        assert said["bucket"]["roles"]["read"] == "projects/acme-data/roles/glacier_shop_prod_read"
        assert said["work_pool"]["worker_role"] == "projects/acme-data/roles/glacier_shop_prod_worker"
    document["terraform"]["backend"] = {"local": {}}
    infrastructure.write(folder, document, {call.source for call in calls.values()})
    terraforms["newer"](folder, "init")
    terraforms["newer"](folder, "plan", "-out=plan")
    planned = json.loads(terraforms["newer"](folder, "show", "-json", "plan"))["resource_changes"]
    assert planned
    roles = {"azurerm_role_definition", "google_project_iam_custom_role"}
    assert not roles & {each["type"] for each in planned}, "who deploys may make no role"


def check_rights(cloud: str, state: Mapping[str, Any]) -> None:
    """Neither role changes what it may or whom it trusts; who deploys writes the state, but not the bootstrap's."""
    found: dict[str, list[dict[str, Any]]] = {}
    for resource in state["resources"]:
        found.setdefault(f"{resource['type']}.{resource['name']}", []).extend(
            {**each["attributes"], "key": each.get("index_key")} for each in resource["instances"]
        )
    if cloud == "azure":
        for role in ("plan", "deploy"):
            [definition] = found[f"azurerm_role_definition.{role}"]
            actions = [each.lower() for each in definition["permissions"][0]["actions"]]
            assert not [each for each in actions if "*" in each]
            for word in ("roledefinitions/write", "federatedidentitycredentials/write", "locks/", "elevateaccess"):
                assert not [each for each in actions if word in each], (role, word)
        states = {each["key"]: each for each in found["azurerm_role_assignment.state"]}
        roles = {each["key"]: each["permissions"][0]["data_actions"] for each in found["azurerm_role_definition.state"]}
        for role in ("plan", "deploy"):
            for verb in ("get", "put", "delete"):
                for name in ("shop/prod/terraform.tfstate", f"{KEPT}terraform.tfstate"):
                    meant = verb == "get" or (role == "deploy" and not name.startswith(KEPT))
                    assert azure.allows(states[role], roles[role], azure.calls(verb, name)) is meant, (role, verb, name)
        return
    custom = {
        f"projects/{each['project']}/roles/{each['role_id']}": each["permissions"]
        for each in found["google_project_iam_custom_role.role"]
    }
    held: dict[str, set[str]] = {}
    for each in found["google_project_iam_member.account"]:
        held.setdefault(each["member"], set()).update(custom[each["role"]])
    assert len(held) == 2
    for member, permissions in held.items():
        for word in (
            "iam.roles.",
            "iam.workloadIdentityPool",
            "iam.serviceAccounts.setIamPolicy",
            "iam.serviceAccountKeys",
        ):
            assert not [
                each for each in permissions if each.startswith(word) and not each.endswith((".get", ".list"))
            ], member
    for role in ("plan", "deploy"):
        for verb in ("get", "put", "delete", "list"):
            for name in ("shop/prod/default.tfstate", f"{KEPT}default.tfstate"):
                may = any(
                    gcp.PERMISSIONS[verb] in custom[each["role"]] and gcp.on_bucket(each, verb, "acme-state", name)
                    for each in found["google_storage_bucket_iam_member.state"]
                    if each["key"].startswith(role)
                )
                meant = verb in ("get", "list") or (role == "deploy" and not name.startswith(KEPT))
                assert may is meant, (role, verb, name)
