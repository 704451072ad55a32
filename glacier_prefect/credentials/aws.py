"""Credentials of AWS, found by botocore's own providers in Glacier's order."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.credentials.base import METADATA_TIMEOUT, Credentials, Fetched, Found, required, vendor
from glacier_prefect.environments import first_variable
from glacier_prefect.errors import ConfigurationError, StoreDenied

if TYPE_CHECKING:
    from obstore.store import S3Store

_WORKLOAD = {
    "assume-role-with-web-identity": "web identity token",
    "container-role": "role of the task (ECS)",
    "iam-role": "role of the instance (EC2)",
}
_OF_A_TASK = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_NOT_OF_A_PROFILE = ("env", "container-role", "iam-role")


@dataclass(frozen=True, kw_only=True)
class AWSCredentials(Credentials):
    """Credentials of AWS.

    Attributes:
        region: AWS region.
        profile: Profile of the AWS configuration files.
    """

    extra: ClassVar[str] = "aws"
    sdk: ClassVar[str] = "botocore"
    title: ClassVar[str] = "AWS"
    block: ClassVar[str] = "prefect_aws:AwsCredentials"
    expected: ClassVar[str] = "aws_access_key_id and aws_secret_access_key"
    hint: ClassVar[str] = (
        "name a profile (AWSProvider(profile=...), AWS_PROFILE), a Prefect block (credentials_block=...), or set "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )
    variables: ClassVar[tuple[str, ...]] = (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ROLE_ARN",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "HOME",
    )

    region: str | None = None
    profile: str | None = None

    def secret(self, name: str) -> str:
        """Return a secret of AWS Secrets Manager.

        Args:
            name: Its name or ARN.

        Raises:
            ConfigurationError: There is none, or it may not be read.
        """
        exceptions = required("botocore.exceptions", self.extra)
        options = required("botocore.config", self.extra).Config(connect_timeout=5, read_timeout=10)
        values, _ = self()
        session = required("boto3", self.extra).Session(region_name=self._region(), **values)
        try:
            answer = session.client("secretsmanager", config=options).get_secret_value(SecretId=name)
        except (exceptions.ClientError, exceptions.BotoCoreError) as error:
            raise ConfigurationError(
                f"Secret {name!r} of AWS Secrets Manager in {self._region()} cannot be read with {self.used()}: {error}"
            ) from None
        return str(answer["SecretString"]) if "SecretString" in answer else bytes(answer["SecretBinary"]).decode()

    def client(self, service: str) -> Any:
        """Return boto3's client of a service, with the present credentials."""
        options = required("botocore.config", self.extra).Config(connect_timeout=5, read_timeout=30)
        values, _ = self()
        session = required("boto3", self.extra).Session(region_name=self._region(), **values)
        return session.client(service, config=options)

    def asking(self) -> Callable[..., Any]:
        """Return what asks AWS for something: `ask("iam", "get_role", RoleName="x")`; None if it is not there.

        It raises `StoreDenied` if that may not be asked.
        """
        exceptions = required("botocore.exceptions", self.extra)
        client = functools.cache(self.client)

        def ask(service: str, call: str, **words: Any) -> Any:
            try:
                return getattr(client(service), call)(**words)
            except exceptions.ClientError as error:
                code = error.response["Error"]["Code"]
                if code in ("404", "NoSuchBucket", "NoSuchEntity"):
                    return None
                what = f"{service}:{call} {' '.join(words.values())}".rstrip()
                if code in ("301", "PermanentRedirect"):
                    raise ConfigurationError(
                        f"AWS, {what}: it is there, and not in {self._region()}.\nHint: correct `region`, or the name."
                    ) from None
                raise StoreDenied(
                    f"AWS, {what}: refused with {self.used()} ({code}).\n"
                    "Hint: use credentials with rights over it; a bucket may also be somebody else's, as names are one "
                    "for all."
                ) from None

        return ask

    def _region(self) -> str:
        if found := self.region or first_variable("AWS_REGION", "AWS_DEFAULT_REGION"):
            return found
        profile = self.profile or os.environ.get("AWS_PROFILE")
        with contextlib.suppress(required("botocore.exceptions", self.extra).ProfileNotFound):
            session = required("botocore.session", self.extra).Session(profile=profile)
            if found := session.get_scoped_config().get("region"):
                return str(found)
        if self.endpoint_url:
            return "us-east-1"  # which a compatible store without regions takes
        raise ConfigurationError("AWSProvider needs region=, or the environment variable AWS_REGION.")

    def _options(self) -> dict[str, str]:
        options = {"aws_region": self._region()}
        if self.endpoint_url:
            options["aws_endpoint_url"] = self.endpoint_url
            options["aws_allow_http"] = str(self.endpoint_url.startswith("http:")).lower()
        return options

    def _store(self, bucket: str, prefix: str | None) -> S3Store:
        from obstore.store import S3Store

        def fetch() -> Any:
            values, again = self()
            return {
                "access_key_id": values["aws_access_key_id"],
                "secret_access_key": values["aws_secret_access_key"],
                "token": values.get("aws_session_token"),
                "expires_at": None if again is None else datetime.fromtimestamp(again, UTC),
            }

        options: Any = {"endpoint": self.endpoint_url} if self.endpoint_url else {}
        options["copy_if_not_exists"] = "multipart"  # S3 has no other copy that takes a condition
        options["unsigned_payload"] = True  # TLS covers it; a hash would make writing slower by a tenth
        return S3Store(
            bucket,
            prefix=prefix,
            region=self._region(),
            credential_provider=fetch,
            client_options=self._client_options(),
            **options,
        )

    def _workload(self) -> Iterator[Found | None]:
        found = {
            "assume-role-with-web-identity": bool(os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")),
            "container-role": any(name in os.environ for name in _OF_A_TASK),
            "iam-role": bool(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
            or (not self._is_emulator and "Amazon EC2" in vendor()),
        }
        if any(found.values()):  # else the import of what asks for them, a quarter of a second, is for nothing
            # without AWS_PROFILE: the profile may exist elsewhere only, and is not asked here
            resolver = self._resolver(session_vars={"profile": (None, None, None, None)})
            for method in (each for each, may_be in found.items() if may_be):
                yield self._loaded(resolver, method)

    def _profile(self) -> Iterator[Found | None]:
        if name := self.profile or os.environ.get("AWS_PROFILE"):
            yield self._of_profile(name, f"profile {name!r}")

    def _of_profile(self, name: str, source: str) -> Found:
        exceptions = required("botocore.exceptions", self.extra)
        try:
            resolver = self._resolver(profile=name)
            resolver.providers = [each for each in resolver.providers if each.METHOD not in _NOT_OF_A_PROFILE]
            found = resolver.load_credentials()
        except (exceptions.ProfileNotFound, exceptions.InvalidConfigError, exceptions.PartialCredentialsError) as error:
            raise ConfigurationError(f"AWS profile {name!r} cannot be used: {error}") from None
        if found is None:
            raise ConfigurationError(f"AWS {source} has no credentials; `aws configure` writes some.")
        return _found(found, source)

    def _block(self, block: Any) -> Found | None:
        found = block.get_boto3_session().get_credentials()
        return None if found is None else _found(found, f"Prefect block {self.credentials_block!r}")

    def _keys(self, values: Mapping[str, str], source: str) -> Found | None:
        if not (values.get("aws_access_key_id") and values.get("aws_secret_access_key")):
            return None
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        known = {name: values[name] for name in names if values.get(name)}
        return Found(source=source, fetch=lambda: (known, None))

    def _variables(self) -> Iterator[Found | None]:
        known = {name.lower(): os.environ.get(name, "") for name in self.variables[:3]}
        yield self._keys(known, "the variable AWS_ACCESS_KEY_ID")
        if "default" in required("botocore.session", self.extra).Session().available_profiles:
            yield self._of_profile("default", "the default profile")

    def _resolver(self, **options: Any) -> Any:
        session = required("botocore.session", self.extra).Session(**options)
        session.set_config_variable("metadata_service_timeout", METADATA_TIMEOUT)
        return required("botocore.credentials", self.extra).create_credential_resolver(session, region_name=self.region)

    def _loaded(self, resolver: Any, method: str) -> Found | None:
        found = {each.METHOD: each for each in resolver.providers}[method].load()
        return None if found is None else _found(found, _WORKLOAD[method])


def _found(credentials: Any, source: str) -> Found:
    def fetch() -> Fetched:
        frozen = credentials.get_frozen_credentials()  # before its expiry is read: this is what refreshes it
        values = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
        if frozen.token:
            values["aws_session_token"] = frozen.token
        expires = getattr(credentials, "_expiry_time", None)
        return values, int(expires.timestamp()) if isinstance(expires, datetime) else None

    return Found(source=source, fetch=fetch)
