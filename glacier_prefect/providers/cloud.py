"""What every provider with buckets in a cloud, or in a compatible store, is."""

from __future__ import annotations

import re
import urllib.parse
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from glacier_prefect.blocks import Saved
from glacier_prefect.errors import ConfigurationError, NotAvailableError
from glacier_prefect.providers.base import Provider
from glacier_prefect.providers.cloud_modules import cloud_modules, image_repository
from glacier_prefect.sources.objects import Objects

if TYPE_CHECKING:
    from glacier_prefect.credentials import Credentials
    from glacier_prefect.modules import Granted, Infrastructure, ModuleCall, Needs, Reference
    from glacier_prefect.providers.cloud_modules import ModuleCalls

C = TypeVar("C", bound="Credentials")
NOT_OF_A_FORK = "${{ !github.event.pull_request.head.repo.fork }}"  # GitHub gives jobs of forks no token


@dataclass(frozen=True, kw_only=True)
class CloudProvider(Provider):
    """A provider with buckets in a cloud or in a compatible store.

    Attributes:
        endpoint_url: Address of a compatible store; None for the cloud's own.
        credentials_block: Name of a Prefect credentials block.
        credentials_secret: Name of a `Secret` that holds credentials.
    """

    endpoint_url: str | None = None
    credentials_block: str | None = None
    credentials_secret: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.endpoint_url is None:
            return
        parts = urllib.parse.urlsplit(self.endpoint_url)
        if parts.username or parts.password or parts.query:  # which may be a secret, so it is not shown
            raise ConfigurationError(
                f"{type(self).__name__} has an endpoint_url with a user, a password or a query in it; credentials "
                "never stand in settings.\nHint: give scheme, host and port, as in 'https://storage.example.com:9000'."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                f"{type(self).__name__} has endpoint_url={self.endpoint_url!r}; expected an address, as in "
                "'https://storage.example.com:9000'."
            )

    pull: ClassVar[tuple[str, str]]
    """Prefect's pull step for a folder of a bucket, and the package that it is in."""
    grants_at_bucket: ClassVar[bool] = True
    """Whether what a pipeline's runs may do stands at the buckets and secrets, not in the role of its runs."""

    jobs_network: ClassVar[Mapping[str, Any]] = {}
    """What a network needs, in its module's `cloud`, for jobs of the cloud's services."""
    application_id: ClassVar[str] = ""
    """Output of the work pool that is who a pipeline's runs are to Databricks."""

    @property
    @abstractmethod
    def credentials(self) -> Credentials:
        """What finds this provider's credentials when they are first needed."""

    def pull_step(self, bucket: str, folder: str) -> dict[str, Any]:
        """Return the pull step that takes a folder of a bucket, as a saved block if `credentials_block` names one, else
        as whoever the run is; its id is "pull".

        Args:
            bucket: Name of the bucket in the cloud.
            folder: Folder in it, which ends in "/", so that no other begins with its name.
        """
        step, package = self.pull
        found = {"bucket": bucket, "folder": folder, **self._pull_settings()}
        if isinstance(saved := self.block_of_credentials(), Saved):
            found["credentials"] = f"{{{{ prefect.blocks.{saved.kind.slug}.{saved.name} }}}}"
        return {step: {"id": "pull", "requires": package, **found}}

    def _pull_settings(self) -> dict[str, Any]:
        """Return what the pull step has to be told besides."""
        return {}

    def modules(self, needs: Needs) -> tuple[ModuleCall, ...]:
        return cloud_modules(self, needs)

    def state_objects(self, state: str) -> Objects:
        return Objects(self.credentials.store(state), f"{self.name}, bucket {state!r}")

    @abstractmethod
    def module_location(self) -> Mapping[str, str]:
        """Return where all that is made is, as the cloud's modules take it in `location`.

        Raises:
            ConfigurationError: A setting is missing; names it and its variable.
        """

    def runs_there(self, pool_type: str) -> bool:
        """Whether runs in a work pool of that type run in this cloud's own service, with identities of their own."""
        return pool_type.partition(":")[0] == self.work_pools[0]

    def account_calls(self, calls: ModuleCalls) -> tuple[ModuleCall, ...]:
        """Return the calls that all buckets of the environment share."""
        return ()

    def bucket_place(self, calls: ModuleCalls) -> Mapping[str, Any]:
        """Return what `location` of a bucket says besides."""
        return {}

    def bucket_inputs(self, keepers: Sequence[str]) -> Mapping[str, Any]:
        """Return what a bucket has to be told of the pipelines whose runs keep results there by Prefect's own block.

        Args:
            keepers: Their names.
        """
        return {}

    def registry_inputs(self, calls: ModuleCalls) -> Mapping[str, Any]:
        """Return the name of the registry for images with the code, and what else it has to be told."""
        return {"name": re.sub(r"[^a-z0-9]+", "-", calls.needs.name.lower()).strip("-")}

    def image_of(self, registry: ModuleCall) -> str | Reference:
        """Return the name of the images in a registry, as the work pool has to know it."""
        return image_repository(registry)

    def jobs_place(self, name: str, network: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Return the name of what runs jobs, and the network that they are in.

        Args:
            name: What all names begin with.
            network: That of the runs, as modules take it.
        """
        return {"name": name, "network": network}

    def budget_place(self, wanted: Infrastructure) -> Mapping[str, str]:
        """Return what `location` of a budget says besides."""
        return {}

    def store_inputs(self, stored: ModuleCall) -> dict[str, Any]:
        """Return what a work pool has to be told of the secret store.

        Args:
            stored: The call for the secrets.
        """
        return {}

    # -- what `glacier bootstrap` makes, and what follows from it

    grantable: ClassVar[tuple[str, ...]] = ("bucket", "network", "registry", "secrets", "spark", "work_pool")
    """Kinds of modules that GitHub's workflows can be granted to make; others are made by a person."""

    granted_by_name: ClassVar[bool] = True
    """Whether rights over buckets and secrets are given by their names."""

    def state_inputs(self, state: str) -> Mapping[str, Any]:
        """Return what the module `state` has to be told of what the environment says in `state`."""
        return {"name": state}

    def identity_inputs(self, state_prefix: str, kept: str, secrets: Sequence[str]) -> Mapping[str, Any]:
        """Return what the module `identity` takes in `cloud`.

        Args:
            state_prefix: What the names of the environment's objects beside the state begin with.
            kept: What those begin with that a person alone writes.
            secrets: Names in the secret store.
        """
        return {"kept": kept}

    def existing(self, plan: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
        """Return what a plan would make that is there already: ids by address, as Terraform imports them; and what the
        module `identity` takes in `cloud` for what is there and stays somebody else's.

        Args:
            plan: What `terraform show -json` says of it.
        """
        return {}, {}

    def granted_inputs(self, kind: str, granted: Granted) -> Mapping[str, Any]:
        """Return what a module of a kind takes in `cloud` to keep to what was granted."""
        return {}

    def granted_writer(self, granted: Granted) -> str | None:
        """Return the principal of who plans, if buckets have to be told that it may make previews."""
        return None

    def workflow(self, granted: Granted) -> str:
        """Return the step by which a workflow on GitHub becomes who plans, for pull requests, or who deploys."""
        raise NotAvailableError(f"GitHub's workflows cannot deploy to the provider {self.name!r}.")

    def _setting(self, name: str) -> str:
        """Return a setting that is needed."""
        if not (value := getattr(self, name)):
            variables = " or ".join(self.variables[name])
            raise ConfigurationError(
                f"{type(self).__name__} needs {name}= (in glacier.toml, or by {variables}) to make infrastructure."
            )
        return str(value)

    @staticmethod
    def _opener(credentials: C) -> C:
        """Return what opens the secret store: credentials that do not come from it."""
        return replace(credentials, credentials_secret=None)

    def _access(self) -> dict[str, Any]:
        """Return the settings by which a location gets at its store."""
        return {
            "endpoint_url": self.endpoint_url,
            "credentials_block": self.credentials_block,
            "credentials_secret": self.credentials_secret,
        }


def either(granted: Granted, name: str) -> str:
    """Return what a workflow says to be who plans in pull requests, and else who deploys.

    Args:
        granted: What was granted.
        name: Of what tells the two apart.
    """
    return f"${{{{ github.event_name == 'pull_request' && '{granted.plan[name]}' || '{granted.deploy[name]}' }}}}"
