"""Credentials of Azure, found by azure-identity in Glacier's order; account keys and SAS tokens by their variables."""

from __future__ import annotations

import os
import shutil
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.credentials.base import METADATA_TIMEOUT, Credentials, Fetched, Found, required, vendor
from glacier_prefect.errors import ConfigurationError, StoreDenied

if TYPE_CHECKING:
    from obstore.store import AzureStore

MANAGEMENT = "https://management.azure.com"
SCOPE = "https://storage.azure.com/.default"
_AZURE_MACHINE = "7783-7084-3265-9085-8269-3286-77"  # the asset tag that Azure gives to all its machines


@dataclass(frozen=True, kw_only=True)
class AzureCredentials(Credentials):
    """Credentials of Azure.

    Attributes:
        storage_account: Name of the storage account.
    """

    extra: ClassVar[str] = "azure"
    sdk: ClassVar[str] = "azure.identity"
    title: ClassVar[str] = "Azure"
    block: ClassVar[str] = "prefect_azure:AzureBlobStorageCredentials"
    expected: ClassVar[str] = "account_key, sas_token, connection_string, or tenant_id, client_id and client_secret"
    hint: ClassVar[str] = (
        "log in (`az login`), name a Prefect block (credentials_block=...), or set AZURE_STORAGE_KEY, "
        "AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING, or AZURE_TENANT_ID, AZURE_CLIENT_ID and "
        "AZURE_CLIENT_SECRET."
    )
    variables: ClassVar[tuple[str, ...]] = (
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_AUTHORITY_HOST",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "MSI_ENDPOINT",
        "HOME",
    )

    storage_account: str | None = None

    def _options(self) -> dict[str, str]:
        options = {"account_name": self._account()}
        if self.endpoint_url:
            options["endpoint"] = self.endpoint_url
            options["allow_http"] = str(self.endpoint_url.startswith("http:")).lower()
        return options

    def _account(self) -> str:
        if not self.storage_account:
            raise ConfigurationError(
                "AzureProvider needs storage_account=, or the environment variable AZURE_STORAGE_ACCOUNT_NAME, or a "
                "project with a name, from which it is derived."
            )
        return self.storage_account

    def _store(self, bucket: str, prefix: str | None) -> AzureStore:
        from obstore.store import AzureStore

        def fetch() -> Any:
            values, again = self()
            expires = None if again is None else datetime.fromtimestamp(again, UTC)
            if "account_key" in values:
                return {"access_key": values["account_key"], "expires_at": expires}
            if "sas_token" in values:
                return {"sas_token": values["sas_token"], "expires_at": expires}
            return {"token": values["bearer_token"], "expires_at": expires}

        options: dict[str, Any] = {"account_name": self._account()}
        if self.endpoint_url:
            options["endpoint"] = self.endpoint_url
        client = self._client_options()
        return AzureStore(bucket, prefix=prefix, credential_provider=fetch, client_options=client, **options)

    def secret(self, name: str, vault: str) -> str:
        """Return a secret of a Key Vault.

        Args:
            name: Its name.
            vault: URL of the vault.

        Raises:
            ConfigurationError: There is none, or it may not be read.
        """
        azure = required("azure.core.exceptions", self.extra)
        keyvault = required("azure.keyvault.secrets", self.extra)
        client = keyvault.SecretClient(vault, self.identity(), connection_timeout=5, read_timeout=10, retry_total=2)
        try:
            return str(client.get_secret(name).value)
        except (azure.AzureError, ValueError) as error:
            raise ConfigurationError(f"Secret {name!r} of Key Vault {vault} cannot be read: {error}") from None

    def identity(self) -> Any:
        """Return azure-identity's credential for services other than storage, whose keys open nothing else."""
        found = self._source().credential
        return found or required("azure.identity", self.extra).DefaultAzureCredential()

    def asking(self) -> Callable[[str, str], Any]:
        """Return what asks Azure's management for something, by its id and a version of the API: its description, None
        if it is not there.

        It raises `StoreDenied` if that may not be asked.
        """
        import httpx

        url, headers = MANAGEMENT, {}
        if self.endpoint_url and self._is_emulator:
            url = "{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(self.endpoint_url))
        else:
            headers = {"Authorization": f"Bearer {self.identity().get_token(f'{MANAGEMENT}/.default').token}"}

        def ask(place: str, version: str) -> Any:
            answer = httpx.get(url + place, params={"api-version": version}, headers=headers, timeout=30)
            if answer.status_code in (200, 404):
                return answer.json() if answer.status_code == 200 else None
            raise StoreDenied(
                f"Azure, {place}: refused with HTTP {answer.status_code}.\n"
                "Hint: log in (`az login`) as somebody who owns the resource group."
            )

        return ask

    def _workload(self) -> Iterator[Found | None]:
        has = os.environ.get
        if has("AZURE_FEDERATED_TOKEN_FILE") and has("AZURE_CLIENT_ID") and has("AZURE_TENANT_ID"):
            made = required("azure.identity", self.extra).WorkloadIdentityCredential()
            yield _found(made, "federated token (workload identity)")
        alone = has("AZURE_CLIENT_ID") and not has("AZURE_TENANT_ID")
        if (
            alone
            or has("IDENTITY_ENDPOINT")
            or has("MSI_ENDPOINT")
            or (not self._is_emulator and _AZURE_MACHINE in vendor())
        ):
            identity = required("azure.identity", self.extra)
            made = identity.ManagedIdentityCredential(
                client_id=has("AZURE_CLIENT_ID"), connection_timeout=METADATA_TIMEOUT, read_timeout=10, retry_total=1
            )
            found = _found(made, "managed identity")
            if self._works(found):
                yield found

    def _profile(self) -> Iterator[Found | None]:
        return iter(())  # Azure has none; a login of `az` comes last

    def _block(self, block: Any) -> Found | None:
        source = f"Prefect block {self.credentials_block!r}"
        known = {}
        for name in ("connection_string", "tenant_id", "client_id", "client_secret"):
            if (value := getattr(block, name)) is not None:
                known[name] = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        if (found := self._keys(known, source)) is not None:
            return found
        return _found(required("azure.identity", self.extra).DefaultAzureCredential(), source)  # as the block itself

    def _keys(self, values: Mapping[str, str], source: str) -> Found | None:
        values = {**values, **connection_settings(values.get("connection_string") or "")}
        for name in ("account_key", "sas_token"):
            if value := values.get(name):
                return _kept(name, value.lstrip("?") if name == "sas_token" else value, source)
        given = [values.get(name) for name in ("tenant_id", "client_id", "client_secret")]
        if not all(given):
            return None
        return _found(required("azure.identity", self.extra).ClientSecretCredential(*given), source)

    def _variables(self) -> Iterator[Found | None]:
        has = os.environ.get
        for key, names in {
            "connection_string": ("AZURE_STORAGE_CONNECTION_STRING",),
            "account_key": ("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"),
            "sas_token": ("AZURE_STORAGE_SAS_TOKEN",),
        }.items():
            for name in names:
                yield self._keys({key: has(name, "")}, f"the variable {name}")
        if has("AZURE_TENANT_ID") and has("AZURE_CLIENT_ID"):
            for name in ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"):
                if has(name):
                    made = required("azure.identity", self.extra).EnvironmentCredential()
                    yield _found(made, f"the variable {name}")
        if shutil.which("az"):
            found = _found(required("azure.identity", self.extra).AzureCliCredential(), "the login of `az`")
            if self._works(found):
                yield found

    def _works(self, found: Found) -> bool:
        try:
            found.latest()
        except StoreDenied:
            return False
        return True


def connection_settings(text: str) -> dict[str, str]:
    """Return what a connection string says, by Glacier's names: storage_account, endpoint_url, account_key, sas_token.

    Args:
        text: As in "AccountName=...;AccountKey=...;BlobEndpoint=...".
    """
    parts = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    names = {
        "AccountName": "storage_account",
        "BlobEndpoint": "endpoint_url",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas_token",
    }
    return {names[key]: value for key, value in parts.items() if key in names and value}


def _kept(name: str, value: str, source: str) -> Found:
    return Found(source=source, fetch=lambda: ({name: value}, None))


def _found(credential: Any, source: str) -> Found:
    def fetch() -> Fetched:
        token = credential.get_token(SCOPE)
        return {"bearer_token": token.token}, int(token.expires_on)

    return Found(source=source, fetch=fetch, credential=credential)
