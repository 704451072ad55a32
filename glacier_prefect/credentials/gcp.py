"""Credentials of Google Cloud, found by google-auth in Glacier's order."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.credentials.base import Credentials, Fetched, Found, required, vendor
from glacier_prefect.errors import ConfigurationError, StoreDenied

if TYPE_CHECKING:
    from obstore.store import GCSStore

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_JOBS = ("K_SERVICE", "CLOUD_RUN_JOB", "GCE_METADATA_HOST")  # set where there is a metadata address


@dataclass(frozen=True, kw_only=True)
class GCPCredentials(Credentials):
    """Credentials of Google Cloud.

    Attributes:
        project_id: Google Cloud project.
    """

    extra: ClassVar[str] = "gcp"
    sdk: ClassVar[str] = "google.auth"
    title: ClassVar[str] = "Google Cloud"
    block: ClassVar[str] = "prefect_gcp:GcpCredentials"
    expected: ClassVar[str] = "the key of a service account"
    hint: ClassVar[str] = (
        "log in (`gcloud auth application-default login`), name a Prefect block (credentials_block=...), or set "
        "GOOGLE_APPLICATION_CREDENTIALS to a file."
    )
    variables: ClassVar[tuple[str, ...]] = (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "CLOUDSDK_CONFIG",
        "HOME",
        *_JOBS,
    )

    project_id: str | None = None

    def _options(self) -> dict[str, str]:
        return {"google_base_url": self.endpoint_url} if self.endpoint_url else {}

    def _store(self, bucket: str, prefix: str | None) -> GCSStore:
        from obstore.store import GCSStore

        def fetch() -> Any:
            values, again = self()
            return {
                "token": values["bearer_token"],
                "expires_at": None if again is None else datetime.fromtimestamp(again, UTC),
            }

        options: dict[str, Any] = {"base_url": self.endpoint_url} if self.endpoint_url else {}
        client = self._client_options()
        return GCSStore(bucket, prefix=prefix, credential_provider=fetch, client_options=client, **options)

    def session(self) -> Any:
        """Return a session of requests whose calls are authorised."""
        anonymous = required("google.auth.credentials", self.extra).AnonymousCredentials
        transport = required("google.auth.transport.requests", self.extra)
        return transport.AuthorizedSession(self._source().credential or anonymous())

    def asking(self) -> Callable[[str, str], Any]:
        """Return what asks a service of Google for something, by its path: its description, None if it is not there.

        It raises `StoreDenied` if that may not be asked.
        """

        def ask(service: str, path: str) -> Any:
            url = self.endpoint_url if self._is_emulator else f"https://{service}.googleapis.com"
            with self.session() as session:
                answer = session.get(f"{url}/{path}", timeout=30)
            if answer.status_code in (200, 404):
                return answer.json() if answer.status_code == 200 else None
            raise StoreDenied(
                f"Google Cloud, {path}: refused with {self.used()} (HTTP {answer.status_code}).\n"
                "Hint: log in (`gcloud auth application-default login`) as somebody who owns the project; a bucket may "
                "also be somebody else's: names are one for all."
            )

        return ask

    def secret(self, name: str) -> str:
        """Return the latest version of a secret of Google Secret Manager.

        Args:
            name: Its name in the project, or its full name, as in "projects/other/secrets/name/versions/3".

        Raises:
            ConfigurationError: There is none, or it may not be read.
        """
        if "/" not in name:
            if not self.project_id:
                raise ConfigurationError(
                    "GCPProvider needs project_id=, or the environment variable GOOGLE_CLOUD_PROJECT, to read secret "
                    f"{name!r}."
                )
            name = f"projects/{self.project_id}/secrets/{name}/versions/latest"
        manager = required("google.cloud.secretmanager", self.extra)
        google = required("google.api_core.exceptions", self.extra)
        client = manager.SecretManagerServiceClient(credentials=self._source().credential, transport="rest")
        try:
            return str(client.access_secret_version(name=name, timeout=10).payload.data.decode())
        except (google.GoogleAPIError, required("google.auth.exceptions", self.extra).GoogleAuthError) as error:
            raise ConfigurationError(f"Secret {name!r} of Google Secret Manager cannot be read: {error}") from None

    @property
    def found_by_deltalake(self) -> bool:
        """Whether deltalake, which takes no tokens, finds the same credentials by itself."""
        kinds = (None, "service_account", "authorized_user")
        return not self.credentials_block and not self.credentials_secret and _named_file().get("type") in kinds

    def _workload(self) -> Iterator[Found | None]:
        if (named := _named_file()).get("type") == "external_account":
            yield self._made(named, "federated token (external account)")
        if any(os.environ.get(name) for name in _JOBS) or (not self._is_emulator and "Google" in vendor()):
            made = required("google.auth.compute_engine", self.extra).Credentials(scopes=[SCOPE])
            yield self._found(made, "service account of the machine or job (metadata)")

    def _profile(self) -> Iterator[Found | None]:
        if (named := _named_file()).get("type") == "impersonated_service_account":
            yield self._made(named, "impersonated service account")

    def _block(self, block: Any) -> Found | None:
        made = block.get_credentials_from_service_account()
        return None if made is None else self._found(made, f"Prefect block {self.credentials_block!r}")

    def _keys(self, values: Mapping[str, Any], source: str) -> Found | None:
        return self._made(values, source) if values.get("type") == "service_account" else None

    def _variables(self) -> Iterator[Found | None]:
        if named := _named_file():
            yield self._made(named, "the file of GOOGLE_APPLICATION_CREDENTIALS")
        if text := os.environ.get("GOOGLE_SERVICE_ACCOUNT_KEY"):
            yield self._made(_parsed(text, "GOOGLE_SERVICE_ACCOUNT_KEY"), "the variable GOOGLE_SERVICE_ACCOUNT_KEY")
        if self.endpoint_url:  # as Google's own clients do where STORAGE_EMULATOR_HOST is set
            # a word in place of a token, since Polars has to be given one
            yield Found(source="none, as for an emulator", fetch=lambda: ({"bearer_token": "anonymous"}, None))
        file = required("google.auth._cloud_sdk", self.extra).get_application_default_credentials_path()
        if os.path.isfile(file):
            yield self._made(_read(file, "The login of `gcloud`"), "the login of `gcloud`")

    def _made(self, info: Mapping[str, Any], source: str) -> Found:
        """Take credentials of whatever type; google-auth has a class for each, and none that may be used for all."""
        kind, given = info.get("type"), info.get("credential_source")
        origin = given if isinstance(given, Mapping) else {}
        if kind == "service_account":
            module, make = "google.oauth2.service_account", "from_service_account_info"
        elif kind == "authorized_user":
            module, make = "google.oauth2.credentials", "from_authorized_user_info"
        elif kind == "impersonated_service_account":
            module, make = "google.auth.impersonated_credentials", "from_impersonated_service_account_info"
        elif kind == "external_account":
            special = {"environment_id": "google.auth.aws", "executable": "google.auth.pluggable"}
            found = (name for key, name in special.items() if key in origin)
            module, make = next(found, "google.auth.identity_pool"), "from_info"
        else:
            raise ConfigurationError(
                f"Credentials of Google Cloud from {source} have type {kind!r}, which is not known."
            )
        try:
            made = getattr(required(module, self.extra).Credentials, make)(info, scopes=[SCOPE])
        except ValueError as error:  # a key that is cut off, or a part that is missing
            raise ConfigurationError(f"Credentials of Google Cloud from {source} cannot be used: {error}") from None
        return self._found(made, source)

    def _found(self, made: Any, source: str) -> Found:
        ask = required("google.auth.transport.requests", self.extra).Request()

        def request(*args: Any, **options: Any) -> Any:
            return ask(*args, **{**options, "timeout": 10})  # Google's own would wait for two minutes

        def fetch() -> Fetched:
            made.refresh(request)
            expires = made.expiry
            return {"bearer_token": made.token}, None if expires is None else int(
                expires.replace(tzinfo=UTC).timestamp()
            )

        return Found(source=source, fetch=fetch, credential=made)


def _named_file() -> Mapping[str, Any]:
    """Return what the file of GOOGLE_APPLICATION_CREDENTIALS says; nothing where none is named."""
    file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    return _read(file, "GOOGLE_APPLICATION_CREDENTIALS") if file else {}


def _read(file: str, who: str) -> Mapping[str, Any]:
    try:
        with open(file, encoding="utf-8") as opened:
            return _parsed(opened.read(), who)
    except (OSError, UnicodeDecodeError, ConfigurationError):
        raise ConfigurationError(f"{who} names {file!r}, which is no file of credentials.") from None


def _parsed(text: str, who: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{who} is no JSON object of credentials.")
    return found
