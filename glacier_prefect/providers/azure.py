"""Microsoft Azure as a provider."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from glacier_prefect.blocks import Block, Kind, Saved
from glacier_prefect.credentials.azure import AzureCredentials, connection_settings
from glacier_prefect.environments import (
    PREVIEW_IDENTITY,
    PREVIEWS,
    environment_name,
    find_project,
    first_variable,
)
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.providers import existing
from glacier_prefect.providers.cloud import NOT_OF_A_FORK, CloudProvider, either
from glacier_prefect.providers.cloud_modules import CODE
from glacier_prefect.sources.azure import AzureBlobSink, AzureBlobSource
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.objects import Objects

if TYPE_CHECKING:
    from glacier_prefect.modules import Granted, ModuleCall
    from glacier_prefect.providers.cloud_modules import ModuleCalls

CREDENTIALS = Kind(
    place="prefect_azure:AzureBlobStorageCredentials", slug="azure-blob-storage-credentials", extra="azure"
)
CONTAINER = Kind(place="prefect_azure:AzureBlobStorageContainer", slug="azure-blob-storage-container", extra="azure")
LONGEST_ACCOUNT = 24  # Azure's rule; letters and digits, and the name is one for the whole world


@dataclass(frozen=True, kw_only=True)
class AzureProvider(CloudProvider):
    """Microsoft Azure; a bucket is a container of the storage account.

    Credentials are looked for in this order: a federated token (`AZURE_FEDERATED_TOKEN_FILE` with `AZURE_CLIENT_ID` and
    `AZURE_TENANT_ID`), a managed identity; the Prefect block; the secret; `AZURE_STORAGE_CONNECTION_STRING`,
    `AZURE_STORAGE_KEY` (or `AZURE_STORAGE_ACCOUNT_KEY`), `AZURE_STORAGE_SAS_TOKEN`; `AZURE_CLIENT_SECRET` or
    `AZURE_CLIENT_CERTIFICATE_PATH` with `AZURE_CLIENT_ID` and `AZURE_TENANT_ID`; the login of `az`.

    Attributes:
        resource_group: Resource group of the storage account (`AZURE_RESOURCE_GROUP`).
        location: Azure region, as in "eastus" (`AZURE_LOCATION`).
        storage_account: Name of the storage account (`AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT`, or that of
            `AZURE_STORAGE_CONNECTION_STRING`); else derived from the names of the project and the environment.
        key_vault: Name or URL of the Key Vault with secrets (`AZURE_KEY_VAULT_URL`, `AZURE_KEY_VAULT_NAME`).
        endpoint_url: Address of the blob service where it is not Azure's own, as that of an emulator
            (`AZURE_STORAGE_ENDPOINT`, `AZURE_STORAGE_SERVICE_ENDPOINT`, or that of `AZURE_STORAGE_CONNECTION_STRING`).
        credentials_block: Name of a Prefect block AzureBlobStorageCredentials (`GLACIER_AZURE_CREDENTIALS_BLOCK`).
        credentials_secret: Name of a `Secret` that is a JSON object with account_key, sas_token, connection_string, or
            tenant_id, client_id and client_secret (`GLACIER_AZURE_CREDENTIALS_SECRET`).
    """

    name: ClassVar[str] = "azure"
    pull: ClassVar[tuple[str, str]] = (
        "prefect_azure.deployments.steps.pull_from_azure_blob_storage",
        "prefect-azure",
    )
    actions: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "read": ("blobs/read",),
        "write": ("blobs/read", "blobs/write", "blobs/add/action", "blobs/delete"),
        "read secret": ("vaults/secrets/getSecret/action",),
        "run jobs": ("Microsoft.Databricks/workspaces/read",),
    }
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "resource_group": ("AZURE_RESOURCE_GROUP",),
        "location": ("AZURE_LOCATION",),
        "storage_account": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
        "key_vault": ("AZURE_KEY_VAULT_URL", "AZURE_KEY_VAULT_NAME"),
        "endpoint_url": ("AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_SERVICE_ENDPOINT"),
        "credentials_block": ("GLACIER_AZURE_CREDENTIALS_BLOCK",),
        "credentials_secret": ("GLACIER_AZURE_CREDENTIALS_SECRET",),
    }
    application_id: ClassVar[str] = 'pipeline_job_variables["{}"].env.AZURE_CLIENT_ID'
    grantable: ClassVar[tuple[str, ...]] = (*CloudProvider.grantable, "budget")
    granted_by_name: ClassVar[bool] = False
    granted_settings: ClassVar[Mapping[str, Any]] = {"resource_provider_registrations": "none"}
    work_pools: ClassVar[tuple[str, ...]] = (
        "azure-container-instance",
        "azure-container-instance:push",
        "kubernetes",
        "process",
    )

    resource_group: str | None = None
    location: str | None = None
    storage_account: str | None = None
    key_vault: str | None = None

    @classmethod
    def _from_variables(cls) -> dict[str, Any]:
        said = connection_settings(os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
        said = {name: said[name] for name in ("storage_account", "endpoint_url") if name in said}  # not its secrets
        return {**said, **super()._from_variables()}

    @property
    def account(self) -> str | None:
        """The storage account: given, by variable, or derived from project and environment; None without a project."""
        if (given := self.storage_account or first_variable(*self.variables["storage_account"])) is not None:
            return given
        project = find_project().name
        return None if project is None else account_name(project, environment_name())

    def resolved(self) -> Self:
        return replace(self, storage_account=self.account)

    @property
    def credentials(self) -> AzureCredentials:
        return AzureCredentials(storage_account=self.account, **self._access())

    def storage(self, bucket: str, folder: str = "") -> Block:
        data: dict[str, Any] = {"container_name": self.bucket_prefix + bucket, "base_folder": folder or None}
        return Block(kind=CONTAINER, data={**data, "credentials": self.block_of_credentials()})

    def block_of_credentials(self) -> Block | Saved:
        if self.credentials_block:
            return Saved(kind=CREDENTIALS, name=self.credentials_block)
        return Block(kind=CREDENTIALS, data={"account_url": self._url()})

    def _url(self) -> str:
        if not self.endpoint_url and not self.account:
            raise ConfigurationError(
                "AzureProvider needs storage_account=, or the environment variable AZURE_STORAGE_ACCOUNT_NAME."
            )
        return self.endpoint_url or f"https://{self.account}.blob.core.windows.net"

    def pull_step(self, bucket: str, folder: str) -> dict[str, Any]:
        made = super().pull_step(bucket, folder)
        settings = made[self.pull[0]]
        settings["container"] = settings.pop("bucket")
        return made

    def _pull_settings(self) -> dict[str, Any]:
        return {"credentials": {"account_url": self._url()}}

    def _job_variables(self, type: str) -> Mapping[str, Any]:
        here = type.startswith("azure-container-instance") and self.resource_group
        return {"resource_group_name": self.resource_group} if here else {}

    def terraform_provider(self) -> tuple[str, Mapping[str, Any]]:
        return "azurerm", {"features": [{}], "storage_use_azuread": True}

    def store_inputs(self, stored: ModuleCall) -> dict[str, Any]:
        return {
            "env": {"AZURE_KEY_VAULT_URL": stored.output("store.url")},
            "cloud": {"key_vault": stored.output("store.id")},
        }

    def backend(self, state: str, key: str) -> tuple[str, Mapping[str, Any]]:
        account, container = _state_place(state)
        place = {"storage_account_name": account, "container_name": container, "key": f"{key}/terraform.tfstate"}
        return "azurerm", {**place, "use_azuread_auth": True}

    def state_objects(self, state: str) -> Objects:
        account, container = _state_place(state)
        elsewhere = self.endpoint_url if account == self.account else None  # it is the address of one account
        credentials = replace(self.credentials, storage_account=account, endpoint_url=elsewhere)
        return Objects(credentials.store(container), f"{self.name}, container {state!r}")

    def state_inputs(self, state: str) -> Mapping[str, Any]:
        account, _, container = state.partition("/")
        return {"name": account, "cloud": {"container": container}}

    def identity_inputs(self, state_prefix: str, kept: str, secrets: Sequence[str]) -> Mapping[str, Any]:
        return {"state_prefix": state_prefix, "kept": kept}

    def existing(self, plan: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
        return existing.on_azure(self.credentials.asking(), plan, self._setting("resource_group")), {}

    def granted_inputs(self, kind: str, granted: Granted) -> Mapping[str, Any]:
        return {"shared_roles": True} if kind in ("bucket", "spark", "work_pool") else {}

    def workflow(self, granted: Granted) -> str:
        return (
            f"- if: {NOT_OF_A_FORK}\n"
            "  uses: azure/login@v3\n"
            "  with:\n"
            f"    client-id: {either(granted, 'client_id')}\n"
            f"    tenant-id: {granted.deploy['tenant_id']}\n"
            f"    subscription-id: {granted.deploy['subscription_id']}\n"
        )

    def module_location(self) -> Mapping[str, str]:
        return {"region": self._setting("location"), "resource_group": self._setting("resource_group")}

    def account_calls(self, calls: ModuleCalls) -> tuple[ModuleCall, ...]:
        if not calls.needs.buckets:
            return ()
        previews = {"folders": [PREVIEWS]} if PREVIEW_IDENTITY in calls.needs.pipelines else {}
        containers: dict[str, Any] = {bucket: previews for bucket in calls.needs.buckets}
        return (calls.call("account", name=self.account, buckets=containers),)

    def bucket_place(self, calls: ModuleCalls) -> Mapping[str, Any]:
        (account,) = self.account_calls(calls)
        return {"account": account.output("id")}

    def registry_inputs(self, calls: ModuleCalls) -> Mapping[str, Any]:
        name = account_name(calls.needs.project, calls.needs.environment)  # one name for the whole world, too
        pulling = {each: {"identity": who} for each in calls.needs.pipelines if (who := calls.identity(each))}
        return {"name": name, "readers": pulling}  # images are pulled as the run's own identity

    def image_of(self, registry: ModuleCall) -> str:
        # No reference: the registry waits for the identities that may pull, and these for what the pool is told.
        return f"{registry.inputs['name']}.azurecr.io/{CODE}"

    def jobs_place(self, name: str, network: Mapping[str, Any] | None) -> Mapping[str, Any]:
        return {"name": f"{name}-spark"}  # a workspace wants subnets of its own, and makes them if it gets none

    def secret(self, name: str) -> str:
        vault = self.key_vault or first_variable(*self.variables["key_vault"])
        if vault is None:
            raise ConfigurationError(
                f"AzureProvider needs key_vault=, or the environment variable AZURE_KEY_VAULT_URL, to read {name!r}."
            )
        return self._opener(self.credentials).secret(
            name, vault if "://" in vault else f"https://{vault}.vault.azure.net"
        )

    def _source(self, **settings: Any) -> Source:
        return AzureBlobSource(**settings, **self._place(), **self._access())

    def _sink(self, **settings: Any) -> Sink:
        return AzureBlobSink(**settings, **self._place(), **self._access())

    def _place(self) -> dict[str, Any]:
        return {"resource_group": self.resource_group, "location": self.location, "storage_account": self.account}


def _state_place(state: str) -> tuple[str, str]:
    """Return storage account and container of an environment's `state`."""
    account, _, container = state.partition("/")
    if not container:
        raise ConfigurationError(
            f"state = {state!r} is no place for Terraform's state in Azure; expected 'storage-account/container'."
        )
    return account, container


def account_name(project: str, environment: str) -> str:
    """Return the storage account of an environment that names none: 3 to 24 small letters and digits, as Azure demands.

    Args:
        project: Name of the project.
        environment: Name of the environment.
    """
    digits = hashlib.sha256(f"{project}/{environment}".encode()).hexdigest()[:6]
    words = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in (project, environment)]
    room = LONGEST_ACCOUNT - len(digits)
    end = words[1][: room // 2]
    return words[0][: room - len(end)] + end + digits
