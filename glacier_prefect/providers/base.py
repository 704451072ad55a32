"""What every provider is: it makes sources and sinks. Constructing one imports no SDK and makes no call."""

from __future__ import annotations

import re
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from glacier_prefect.blocks import Block, Saved
from glacier_prefect.environments import ENVIRONMENT_KEYS, Project, find_project, first_variable, preview_folder
from glacier_prefect.errors import ConfigurationError, NotAvailableError, OptionError, PreviewError, nearest
from glacier_prefect.pools import Pool
from glacier_prefect.providers.cloud_modules import cloud_modules, image_repository
from glacier_prefect.registry import Registry
from glacier_prefect.sources.base import Sink
from glacier_prefect.sources.cloud import CloudLocation
from glacier_prefect.sources.objects import Objects

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.credentials import Credentials
    from glacier_prefect.modules import Granted, Infrastructure, ModuleCall, Needs, Reference
    from glacier_prefect.providers.cloud_modules import ModuleCalls
    from glacier_prefect.sources.base import Location, Mode, Source

C = TypeVar("C", bound="Credentials")
NOT_OF_A_FORK = "${{ !github.event.pull_request.head.repo.fork }}"  # whose jobs get no tokens
PROVIDERS = Registry(
    kind="provider",
    group="glacier_prefect.providers",
    table={
        "aws": "glacier_prefect.providers.aws:AWSProvider",
        "azure": "glacier_prefect.providers.azure:AzureProvider",
        "gcp": "glacier_prefect.providers.gcp:GCPProvider",
        "local": "glacier_prefect.providers.local:LocalProvider",
    },
)


@dataclass(frozen=True, kw_only=True)
class Provider(ABC):
    """A cloud, or the local disk.

    Attributes:
        name: The registry key.
        variables: The variables of each setting; the first that is set counts.
        work_pools: Prefect's types of work pools in which its pipelines can run; the first is what they get.
        actions: What the words "read", "write" and "read secret" allow, as the cloud names it.
        bucket_prefix: Put before each bucket's name in code.
        preview: Folder of each bucket into which sinks write and which sources see first; no setting, as only
            `Provider.from_env()` gives it, by `GLACIER_PREVIEW`.
    """

    name: ClassVar[str]
    actions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    work_pools: ClassVar[tuple[str, ...]] = ("process",)
    granted_settings: ClassVar[Mapping[str, Any]] = {}
    """What the block of its Terraform provider says besides where GitHub's workflows deploy."""

    bucket_prefix: str = ""
    preview: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if str(each.type) in ("str", "str | None") and not isinstance(value, str | None):
                raise ConfigurationError(
                    f"{type(self).__name__} has {each.name}={value!r} ({type(value).__name__}); expected a text."
                )

    @classmethod
    def from_env(cls, further: str | None = None, /, **settings: Any) -> Self:
        """Return the environment's provider: of `glacier.toml` and `GLACIER_ENV`, a LocalProvider when nothing is set.

        What is passed beats variables, and variables beat the file. `GLACIER_PROVIDER` is the variable of the kind. A
        provider's own `from_env()`, as in `AWSProvider.from_env()`, takes only its variables, which its class lists.

        Args:
            further: Name of a further provider of the environment, as in `[environments.prod.providers.dr]`. Variables
                only fill what the file does not say of it: they are those of the environment's own provider too.
            settings: Settings of the provider.

        Raises:
            ConfigurationError: The file cannot be read, has an unknown key, or lacks the environment.
        """
        if cls is Provider:
            return environment_provider(find_project(), further, **settings)  # type: ignore[return-value]
        if further is not None:
            raise OptionError(
                f"{cls.__name__}.from_env({further!r}) does not follow the environment.\n"
                f"Hint: use Provider.from_env({further!r})."
            )
        return cls._with(cls._from_variables(), settings)

    @classmethod
    def _from_variables(cls) -> dict[str, Any]:
        found = {setting: first_variable(*names) for setting, names in cls.variables.items()}
        return {setting: value for setting, value in found.items() if value is not None}

    @classmethod
    def _with(cls, known: Mapping[str, Any], given: Mapping[str, Any]) -> Self:
        for key in given:
            if key not in cls.settings():
                raise OptionError(f"{cls.__name__} has no setting {key!r}. {nearest(key, cls.settings())}")
        return cls(**{**known, **{key: value for key, value in given.items() if value is not None}})

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """Return the names of all settings."""
        return tuple(each.name for each in fields(cls) if each.name != "preview")

    @classmethod
    def placed(cls, settings: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        """Return settings of a file with its relative paths taken from `folder`, where the file is."""
        return settings

    def resolved(self) -> Self:
        """Return this provider with settings that do not depend on the working directory."""
        return self

    def modules(self, needs: Needs) -> tuple[ModuleCall, ...]:
        """Return the calls of Terraform modules that give pipelines what they need of this provider.

        Args:
            needs: Buckets, who reads and writes them, and the work pool.
        """
        raise NotAvailableError(
            f"Infrastructure of the provider {self.name!r} is not available in this version of Glacier.\n"
            'Hint: use an environment with provider = "local".'
        )

    def terraform_provider(self) -> tuple[str, Mapping[str, Any]] | None:
        """Return name and settings of the Terraform provider that its modules need, None if they need none."""
        return None

    def backend(self, state: str, key: str) -> tuple[str, Mapping[str, Any]]:
        """Return type and settings of the backend that keeps Terraform's state.

        Args:
            state: What the environment says in `state`: a bucket, in Azure "storage-account/container".
            key: What names the state in it.
        """
        raise ConfigurationError(
            f"state = {state!r} is in no cloud: with the provider {self.name!r} the state is beside the root.\n"
            "Hint: leave `state` out of this environment."
        )

    def state_objects(self, state: str) -> Objects | None:
        """Return the objects of the bucket that keeps Terraform's state, beside which deploy records are kept; None if
        Glacier cannot reach them, so that records stay on this machine.

        Args:
            state: As in `backend`.
        """
        return None

    def bucket_source(
        self,
        bucket: str,
        path: str,
        *,
        format: str | None = None,
        schema: Mapping[str, Any] | None = None,
        checks: Iterable[pl.Expr] | pl.Expr = (),
        options: Mapping[str, Any] | None = None,
    ) -> Source:
        """Return a source: where data is read from.

        Args:
            bucket: Name of the bucket.
            path: A file, a folder, or a glob inside it; `{run_date:%Y-%m-%d}` and `{parameter}` are filled when a node
                runs.
            format: parquet, csv, ndjson, ipc or delta; by suffix if None, Parquet for a folder.
            schema: Columns that have to be there, and their types.
            checks: Expressions that have to be true for each row.
            options: Options of Polars' scan function, as in `{"separator": ";"}`.
        """
        given = {
            "bucket": bucket,
            "path": path,
            "format": format,
            "schema": schema,
            "checks": checks,
            "options": options or {},
            "bucket_prefix": self.bucket_prefix,
        }
        if self.preview:
            given["overlay"] = self.preview
        return self._source(**given, managed=True)

    def bucket_sink(
        self,
        bucket: str,
        path: str,
        *,
        mode: Mode = "overwrite",
        partition_by: str | Iterable[str] = (),
        format: str | None = None,
        schema: Mapping[str, Any] | None = None,
        checks: Iterable[pl.Expr] | pl.Expr = (),
        options: Mapping[str, Any] | None = None,
    ) -> Sink:
        """Return a sink: where data is written to.

        Args:
            bucket: Name of the bucket.
            path: A file, or with `partition_by` a folder, inside it; may have `{run_date:%Y-%m-%d}` and `{parameter}`
                fields.
            mode: "overwrite", "error" if something is there, or "append" (delta).
            partition_by: Columns whose values become `key=value` folders.
            format: parquet, csv, ndjson, ipc or delta; by suffix if None, Parquet for a folder.
            schema: Columns that have to be there, and their types.
            checks: Expressions that have to be true for each row; else nothing is published.
            options: Options of Polars' sink function, as in `{"compression": "zstd"}`.
        """
        given = {
            "bucket": bucket,
            "path": path,
            "format": format,
            "schema": schema,
            "checks": checks,
            "options": options or {},
            "bucket_prefix": self.bucket_prefix,
        }
        if self.preview:
            given["within"] = self.preview
        sink = self._sink(**given, mode=mode, partition_by=partition_by, managed=True)
        if self.preview and not (sink.has_previews and sink.within):
            raise PreviewError(
                f"{sink}: {type(sink).__name__} has no previews, and would overwrite the environment's data.\n"
                "Hint: a sink that writes below its `within` says so by has_previews = True."
            )
        return sink

    def storage(self, bucket: str, folder: str = "") -> Block | None:
        """Return what the Prefect block of a bucket says, as plain values and without secrets; None if there is no such
        block.

        Args:
            bucket: Name of the bucket, as in code.
            folder: Folder in the bucket below which the block reads and writes.
        """
        return None

    def storage_block(self, bucket: str, folder: str = "") -> Any:
        """Return Prefect's block for a bucket; it is not saved.

        It is made of what this process has installed and may look for credentials, so make it where it is used.

        Args:
            bucket: Name of the bucket, as in code.
            folder: Folder in the bucket below which the block reads and writes.

        Raises:
            NotAvailableError: The integration is not installed; says which extra to install.
        """
        block = self.storage(bucket, folder)
        if block is None:
            raise NotAvailableError(f"The provider {self.name!r} has no Prefect block for its buckets.")
        return block.make()

    def block_of_credentials(self) -> Block | Saved | None:
        """Return what the Prefect block of the credentials says: the user's own if `credentials_block` names one, else
        whose they are, without secrets; None where none are needed.
        """
        return None

    def make_credentials_block(self) -> Any:
        """Return Prefect's block for this provider's credentials, None where none are needed; it is not saved.

        Raises:
            NotAvailableError: The integration is not installed; says which extra to install.
        """
        block = self.block_of_credentials()
        return None if block is None else block.make()

    def work_pool(self, type: str | None = None) -> Pool:
        """Return the work pool in which pipelines of an environment of this provider run.

        Args:
            type: Prefect's type of it; the provider's usual one if None.

        Raises:
            OptionError: Its pipelines cannot run in one of that type.
        """
        if type is not None and type not in self.work_pools:
            raise OptionError(f"The provider {self.name!r} has no work pool {type!r}. {nearest(type, self.work_pools)}")
        type = type or self.work_pools[0]
        return Pool(type=type, variables=self._job_variables(type))

    def _job_variables(self, type: str) -> Mapping[str, Any]:
        """Return what this provider knows of the job variables of a work pool of that type."""
        return {}

    def secret(self, name: str) -> str:
        """Return the value of a secret in the provider's secret store; users get theirs by `Secret`.

        Args:
            name: Its name in the store.

        Raises:
            ConfigurationError: There is none, or it may not be read.
        """
        raise NotAvailableError(f"The provider {self.name!r} has no secret store to read {name!r} from.")

    @abstractmethod
    def _source(self, **settings: Any) -> Source:
        """Make this provider's source."""

    @abstractmethod
    def _sink(self, **settings: Any) -> Sink:
        """Make this provider's sink."""


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


NOT_OF_A_FORK = "${{ !github.event.pull_request.head.repo.fork }}"  # GitHub gives jobs of forks no token


def either(granted: Granted, name: str) -> str:
    """Return what a workflow says to be who plans in pull requests, and else who deploys.

    Args:
        granted: What was granted.
        name: Of what tells the two apart.
    """
    return f"${{{{ github.event_name == 'pull_request' && '{granted.plan[name]}' || '{granted.deploy[name]}' }}}}"


def environment_provider(project: Project, further: str | None = None, /, **settings: Any) -> Provider:
    """Return the provider of the environment that this process is in; see `Provider.from_env`.

    Args:
        project: Where the environment is described.
        further: Name of a further provider of the environment.
        settings: Settings that beat variables and file.
    """
    environment = project.environment()
    prefix = {"bucket_prefix": environment.bucket_prefix} if environment.bucket_prefix else {}
    if further is None:
        name, where = first_variable("GLACIER_PROVIDER") or environment.provider, environment.where
        given = {**prefix, **environment.settings}
        PROVIDERS.check(name, where if name == environment.provider else None)
        if name != environment.provider:
            given = prefix  # the file's settings are of another kind
    else:
        if further not in environment.providers:
            raise ConfigurationError(
                f"Environment {environment.name!r} has no further provider {further!r}. "
                f"{nearest(further, environment.providers)}\n"
                f"Hint: write [environments.{environment.name}.providers.{further}] into glacier.toml."
            )
        where = f"{environment.where} provider {further!r}"
        given = {**prefix, **environment.providers[further]}
        name = given.pop("provider")
        PROVIDERS.check(name, where)
    kind: type[Provider] = PROVIDERS.load(name)
    for key in given:
        if key not in kind.settings():
            known = {*kind.settings(), *(ENVIRONMENT_KEYS if further is None else ("provider",))}
            raise ConfigurationError(f"{where} has the unknown key {key!r}. {nearest(key, known)}")
    variables = kind._from_variables()
    if project.file is not None:
        given = dict(kind.placed(given, project.folder))
    try:
        made = kind._with({**given, **variables} if further is None else {**variables, **given}, settings)
        return replace(made, preview=preview) if (preview := preview_folder()) else made
    except ConfigurationError as error:
        if where:
            error.add_note(f"In {where}.")
        raise


def environment_pool(project: Project) -> Pool:
    """Return the work pool of the environment that this process is in, as its provider knows it.

    Raises:
        OptionError: The provider has none of that type.
    """
    environment = project.environment()
    try:
        return environment_provider(project).work_pool(environment.work_pool)
    except OptionError as error:
        error.add_note(f"In {environment.where}: work_pool.")
        raise


def named_exchange(project: Project) -> Location | None:
    """Return where the environment's `exchange` setting is, None if it has none.

    Args:
        project: Where the environment is described.
    """
    if (setting := project.environment().exchange) is None:
        return None
    bucket, _, prefix = setting.strip("/").partition("/")
    return environment_provider(project).bucket_source(bucket, f"{prefix}/*.parquet".lstrip("/"))


def exchange_location(locations: Iterable[Location], named: Location | None = None) -> tuple[CloudLocation, str] | None:
    """Return where a pipeline's runs leave results and frames for other machines: a location in the bucket, and the
    folder in it, which ends in "/" or is empty; None if the pipeline has no bucket.

    Args:
        locations: What the pipeline reads and writes; its first sink counts, else its first source.
        named: From `named_exchange`, which beats them.
    """
    if named is not None:
        return (named.own(), named.path.removesuffix("*.parquet")) if isinstance(named, CloudLocation) else None
    found = [each for each in locations if isinstance(each, CloudLocation)]
    first = next((each for each in found if isinstance(each, Sink)), found[0] if found else None)
    return None if first is None else (first.own(), "")


def code_place(locations: Iterable[Location], project: Project) -> tuple[CloudProvider, str, str] | None:
    """Return where archives of code are for a pipeline's runs: provider, bucket, and a folder that ends in "/"; None
    without `code = "bucket"`. It is the bucket in which its runs leave results, of the environment's own provider.

    Args:
        locations: What the pipeline reads and writes.
        project: Where the environment is described.

    Raises:
        ConfigurationError: There is no such bucket.
    """
    environment = project.environment()
    if environment.code != "bucket":
        return None
    own = environment_provider(project).resolved()
    if not isinstance(own, CloudProvider):
        raise ConfigurationError(
            f'{environment.where}: code = "bucket" needs a bucket in a cloud, and provider is {own.name!r}.\n'
            'Hint: code = "local" or "git".'
        )
    seen = location_provider(own.bucket_source("a", "a.parquet")).resolved()  # without what does not show in a location
    here = [each for each in locations if location_provider(each).resolved() == seen]
    if (place := exchange_location(here, named_exchange(project))) is None:
        raise ConfigurationError(
            f'{environment.where}: code = "bucket" needs a bucket, and a pipeline has none of the environment\'s own '
            f"provider, {own.name!r}.\n"
            'Hint: name one, as in exchange = "my-bucket/folder".'
        )
    location, folder = place
    inside = f"{preview}/" if (preview := preview_folder()) else ""  # which goes with all that the preview wrote
    above = f"{inside}{folder}.glacier/code/{project.require_name()}/{environment.name}/"
    return own, location.full_bucket, above


def location_provider(location: Location) -> Provider:
    """Return a provider that makes locations such as this one, with the settings that show in it."""
    kind: type[Provider] = PROVIDERS.load(location.provider_name)
    return kind(**{name: getattr(location, name) for name in kind.settings() if hasattr(location, name)})
