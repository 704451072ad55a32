"""What a Terraform plan would make that is there already: ids by address, as Terraform imports them.

What two can make without harm, as the setting of a bucket or a member of a policy, is not asked for.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from glacier_prefect.errors import ConfigurationError

Ask = Callable[..., Any]

# Places by type of resource. What stands in a place by another's id is asked for when that one is known.
AZURE: Mapping[str, tuple[str, str]] = {  # and the version of the API that is asked
    "azurerm_federated_identity_credential": (
        "{user_assigned_identity_id}/federatedIdentityCredentials/{name}",
        "2023-01-31",
    ),
    "azurerm_log_analytics_workspace": (
        "{group}/providers/Microsoft.OperationalInsights/workspaces/{name}",
        "2023-09-01",
    ),
    "azurerm_management_lock": ("{scope}/providers/Microsoft.Authorization/locks/{name}", "2020-05-01"),
    "azurerm_monitor_diagnostic_setting": (
        "{target_resource_id}/providers/Microsoft.Insights/diagnosticSettings/{name}",
        "2021-05-01-preview",
    ),
    "azurerm_role_assignment": ("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}", "2022-04-01"),
    "azurerm_role_definition": (
        "{scope}/providers/Microsoft.Authorization/roleDefinitions/{role_definition_id}",
        "2022-04-01",
    ),
    "azurerm_storage_account": ("{group}/providers/Microsoft.Storage/storageAccounts/{name}", "2023-05-01"),
    "azurerm_storage_container": ("{storage_account_id}/blobServices/default/containers/{name}", "2023-05-01"),
    "azurerm_storage_management_policy": ("{storage_account_id}/managementPolicies/default", "2023-05-01"),
    "azurerm_user_assigned_identity": (
        "{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}",
        "2023-01-31",
    ),
}
_POOL = "projects/{project}/locations/global/workloadIdentityPools/{workload_identity_pool_id}"
_RING = "projects/{project}/locations/{location}/keyRings/{name}"
_ACCOUNT = "projects/{project}/serviceAccounts/{account_id}@{domain}"
GCP: Mapping[str, tuple[str, str, str]] = {  # the service, what it is asked, and the id for Terraform
    "google_iam_workload_identity_pool": ("iam", f"v1/{_POOL}", _POOL),
    "google_iam_workload_identity_pool_provider": (
        "iam",
        f"v1/{_POOL}/providers/{{workload_identity_pool_provider_id}}",
        f"{_POOL}/providers/{{workload_identity_pool_provider_id}}",
    ),
    "google_kms_crypto_key": ("cloudkms", "v1/{key_ring}/cryptoKeys/{name}", "{key_ring}/cryptoKeys/{name}"),
    "google_kms_key_ring": ("cloudkms", f"v1/{_RING}", _RING),
    "google_project_iam_custom_role": (
        "iam",
        "v1/projects/{project}/roles/{role_id}",
        "projects/{project}/roles/{role_id}",
    ),
    "google_service_account": ("iam", f"v1/{_ACCOUNT}", _ACCOUNT),
    "google_storage_bucket": ("storage", "storage/v1/b/{name}", "{project}/{name}"),
}


def on_aws(ask: Ask, plan: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what is there, and GitHub's provider, which an account has once, for all its projects.

    Args:
        ask: From `AWSCredentials.asking`.
        plan: What `terraform show -json` says of it.
    """
    found: dict[str, str] = {}
    theirs: dict[str, Any] = {}
    for address, kind, values in _created(plan):
        if kind == "aws_s3_bucket" and ask("s3", "head_bucket", Bucket=values["bucket"]):
            found[address] = values["bucket"]
        elif kind == "aws_iam_role" and ask("iam", "get_role", RoleName=values["name"]):
            found[address] = values["name"]
        elif kind == "aws_iam_policy":
            arn = ask("sts", "get_caller_identity")["Arn"].split(":")
            policy = f"arn:{arn[1]}:iam::{arn[4]}:policy/{values['name']}"
            if ask("iam", "get_policy", PolicyArn=policy):
                found[address] = policy
        elif kind == "aws_iam_openid_connect_provider":
            theirs |= _github(ask, values["url"].removeprefix("https://"), values["client_id_list"][0])
    return found, theirs


def _github(ask: Ask, host: str, audience: str) -> dict[str, Any]:
    listed = ask("iam", "list_open_id_connect_providers")["OpenIDConnectProviderList"]
    arn = next((each["Arn"] for each in listed if each["Arn"].partition("oidc-provider/")[2] == host), None)
    if arn is None:
        return {}
    told = ask("iam", "get_open_id_connect_provider", OpenIDConnectProviderArn=arn)
    if audience not in told["ClientIDList"]:
        raise ConfigurationError(
            f"The account's provider of GitHub's tokens, {arn}, is not for {audience}. Nothing was changed.\n"
            f"Hint: aws iam add-client-id-to-open-id-connect-provider --open-id-connect-provider-arn {arn} "
            f"--client-id {audience}"
        )
    return {"provider_arn": arn}


def on_azure(ask: Ask, plan: Mapping[str, Any], resource_group: str) -> dict[str, str]:
    """Return what is there.

    Args:
        ask: From `AzureCredentials.asking`.
        plan: What `terraform show -json` says of it.
        resource_group: Where it is made.
    """
    subscription = re.search(r'(/subscriptions/[^/"]+)', json.dumps(plan.get("resource_changes", ())))
    if subscription is None:  # each plan of ours has a role in it, whose scope is known
        return {}
    group, found = f"{subscription[1]}/resourceGroups/{resource_group}", {}
    for address, kind, values in _created(plan):
        if kind not in AZURE:
            continue
        form, version = AZURE[kind]
        with contextlib.suppress(KeyError):
            place = form.format(group=group, **values)
            if ask(place, version) is None:
                continue
            if kind == "azurerm_role_definition":
                of = f"{subscription[1]}/providers/Microsoft.Authorization/roleDefinitions/"
                place = f"{of}{values['role_definition_id']}|{values['scope']}"
            elif kind == "azurerm_monitor_diagnostic_setting":
                place = f"{values['target_resource_id']}|{values['name']}"
            found[address] = place
    return found


def on_gcp(ask: Ask, plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what is there.

    Args:
        ask: From `GCPCredentials.asking`.
        plan: What `terraform show -json` says of it.
    """
    found = {}
    for address, kind, values in _created(plan):
        if kind not in GCP:
            continue
        service, path, form = GCP[kind]
        domain = f"{'.'.join(reversed(values.get('project', '').split(':')))}.iam.gserviceaccount.com"
        with contextlib.suppress(KeyError):
            place = form.format(domain=domain, **values)
            told = ask(service, path.format(domain=domain, **values))
            if told is None or told.get("deleted"):  # a role that was deleted comes back when it is made
                continue
            if told.get("state") == "DELETED":
                raise ConfigurationError(
                    f"{place} was deleted, and Google keeps its name for 30 days. Nothing was changed.\n"
                    f"Hint: gcloud iam workload-identity-pools {'providers ' if '/providers/' in place else ''}undelete"
                )
            found[address] = place
    return found


def _created(plan: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield address, type and known values of what a plan would make."""
    for each in plan.get("resource_changes", ()):
        if each["change"]["actions"] == ["create"]:
            values = {name: value for name, value in each["change"]["after"].items() if value is not None}
            yield each["address"], each["type"], values
