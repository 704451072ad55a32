"""Work pools of each type: the integration's own template, and what Glacier sets in it.

Secrets stand in none of it, since Prefect gives job variables and templates back in clear: what has a place for a name
in the cloud's secret store gets that name.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from glacier_prefect.credentials.base import check_installed, required
from glacier_prefect.errors import ConfigurationError

PUSH = ":push"
API_KEY, AUTH_STRING = "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING"


@dataclass(frozen=True, kw_only=True)
class PoolType:
    """A type of work pool.

    Attributes:
        worker: Class of its worker, which has the template.
        extra: The extra of Glacier that brings it; None for what Prefect itself has.
        credentials: Job variable with the credentials that start runs.
        credentials_slug: Type of the block with these.
        secrets: Returns what gives runs the secrets; takes the template, and names in the store by variable.
    """

    worker: str
    extra: str | None = None
    credentials: str | None = None
    credentials_slug: str | None = None
    secrets: Callable[[Mapping[str, Any], dict[str, str]], dict[str, Any]] = lambda template, secrets: {}


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A work pool as an environment wants it.

    Attributes:
        type: Prefect's type, as in "ecs" or "ecs:push".
        variables: Defaults of job variables.
        credentials: Name of the block with the credentials that start runs; the worker's own identity if None.
        secrets: Names in the secret store by the name of the variable in which a run finds the value.
    """

    type: str = "process"
    variables: Mapping[str, Any] = field(default_factory=dict)
    credentials: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> None:
        """Make sure that the integration is installed, without importing it.

        Raises:
            NotAvailableError: It is not; says which extra to install.
        """
        kind = TYPES[self.type]
        check_installed(kind.worker.partition(":")[0], kind.extra or "local")

    def template(self) -> dict[str, Any]:
        """Return the base job template of the integration that is installed.

        Raises:
            NotAvailableError: It is not; says which extra to install.
        """
        kind = TYPES[self.type]
        module, _, name = kind.worker.partition(":")
        worker = getattr(required(module, kind.extra or "local"), name)
        return copy.deepcopy(dict(worker.get_default_base_job_template()))

    def changes(self) -> dict[str, Any]:
        """Return what is other than in the template; lists as a whole.

        Raises:
            ConfigurationError: A push pool without credentials.
        """
        kind = TYPES[self.type]
        defaults = dict(self.variables)
        if self.credentials and kind.credentials:
            slug = f"{kind.credentials_slug}/{self.credentials}"
            defaults[kind.credentials] = {"$ref": {"block_document_slug": slug}}
        elif self.type.endswith(PUSH):
            raise ConfigurationError(
                f"A work pool of type {self.type!r} has no worker: Prefect Cloud starts its runs, with credentials.\n"
                f'Hint: save a block of type {kind.credentials_slug!r} and write work_pool_credentials = "its-name".'
            )
        changed = {"variables": {"properties": {name: {"default": value} for name, value in defaults.items()}}}
        secrets = kind.secrets(self.template(), dict(self.secrets)) if self.secrets else {}
        return merge(changed if defaults else {}, secrets)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with those of `over` in place of those of `base`; a default is replaced as a whole."""
    made = dict(base)
    for key, value in over.items():
        old = made.get(key)
        nested = key != "default" and isinstance(old, Mapping) and isinstance(value, Mapping)
        made[key] = merge(old, value) if nested else copy.deepcopy(value)  # type: ignore[arg-type]
    return made


def updated(
    there: Mapping[str, Any], template: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a template with what Glacier sets now, and without what it set before; all else is the operators'.

    Args:
        there: What is there.
        template: The integration's, for what is not set any more.
        before: What Glacier set before.
        now: What it sets now.
    """
    made = merge(there, now)
    for key, old in before.items():
        inside = template.get(key)
        if key != "default" and isinstance(old, Mapping) and isinstance(inside, Mapping):
            made[key] = updated(made.get(key, {}), inside, old, now.get(key, {}))
        elif key not in now:
            made.pop(key, None)
            if key in template:
                made[key] = copy.deepcopy(inside)
    return made


def _defaults(**values: Any) -> dict[str, Any]:
    return {"variables": {"properties": {name: {"default": value} for name, value in values.items() if value}}}


def _ecs_secrets(template: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    if plain := sorted(name for name, stored in secrets.items() if not stored.startswith("arn:")):
        raise ConfigurationError(
            f"The secret {plain[0]} is called {secrets[plain[0]]!r} in a work pool of type 'ecs'. ECS takes a name "
            "for one of the Parameter Store, none of Secrets Manager.\n"
            f'Hint: write its ARN, as in {plain[0]} = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:name".'
        )
    own = _defaults(
        prefect_api_key_secret_arn=secrets.pop(API_KEY, None),
        prefect_api_auth_string_secret_arn=secrets.pop(AUTH_STRING, None),
    )
    if not secrets:
        return own
    container, *others = template["job_configuration"]["task_definition"]["containerDefinitions"]
    named = [{"name": name, "valueFrom": stored} for name, stored in sorted(secrets.items())]
    definitions = [{**container, "secrets": named}, *others]
    return {**own, "job_configuration": {"task_definition": {"containerDefinitions": definitions}}}


def _aci_secrets(template: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    # The integration gives these two to the container as secure variables, and all others in clear; so the user's own
    # are read by the task, from the vault.
    own = {
        name: f"{{{{ prefect.blocks.secret.{secrets[name]} }}}}" for name in (API_KEY, AUTH_STRING) if name in secrets
    }
    return _defaults(env=own) if own else {}


def _cloud_run_secrets(template: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    stored = {name: {"secret": where, "version": "latest"} for name, where in sorted(secrets.items())}
    return _defaults(
        prefect_api_key_secret=stored.pop(API_KEY, None),
        prefect_api_auth_string_secret=stored.pop(AUTH_STRING, None),
        env_from_secrets=stored,
    )


def _kubernetes_secrets(template: Mapping[str, Any], secrets: dict[str, str]) -> dict[str, Any]:
    for name, setting in ((API_KEY, "API_KEY"), (AUTH_STRING, "API_AUTH_STRING")):
        if name in secrets:
            raise ConfigurationError(
                f"Runs of a work pool of type 'kubernetes' get {name} from their worker, which beats a secret.\n"
                f"Hint: give the worker PREFECT_INTEGRATIONS_KUBERNETES_WORKER_{setting}_SECRET_NAME={secrets[name]}."
            )
    spec = copy.deepcopy(template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"])
    named = []
    for name, stored in sorted(secrets.items()):
        secret, _, key = stored.partition("/")
        named.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key or "value"}}})
    spec[0]["env"] = named  # the integration puts all other variables before a list
    manifest = {"spec": {"template": {"spec": {"containers": spec}}}}
    return {"job_configuration": {"job_manifest": manifest}}


_PULLED = {
    "ecs": PoolType(
        worker="prefect_aws.workers:ECSWorker",
        extra="aws",
        credentials="aws_credentials",
        credentials_slug="aws-credentials",
        secrets=_ecs_secrets,
    ),
    "azure-container-instance": PoolType(
        worker="prefect_azure.workers.container_instance:AzureContainerWorker",
        extra="azure",
        credentials="aci_credentials",
        credentials_slug="azure-container-instance-credentials",
        secrets=_aci_secrets,
    ),
    "cloud-run-v2": PoolType(
        worker="prefect_gcp.workers.cloud_run_v2:CloudRunWorkerV2",
        extra="gcp",
        credentials="credentials",
        credentials_slug="gcp-credentials",
        secrets=_cloud_run_secrets,
    ),
}
TYPES: Mapping[str, PoolType] = {
    "process": PoolType(worker="prefect.workers.process:ProcessWorker"),
    "kubernetes": PoolType(
        worker="prefect_kubernetes.worker:KubernetesWorker", extra="kubernetes", secrets=_kubernetes_secrets
    ),
    **_PULLED,
    **{f"{name}{PUSH}": kind for name, kind in _PULLED.items()},  # what Prefect Cloud starts by itself takes the same
}
