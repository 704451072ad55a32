"""What every provider is: it makes sources and sinks. Constructing one imports no SDK and makes no call."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from glacier_prefect.blocks import Block, Saved
from glacier_prefect.environments import find_project, first_variable
from glacier_prefect.errors import ConfigurationError, NotAvailableError, OptionError, PreviewError, nearest
from glacier_prefect.pools import Pool
from glacier_prefect.registry import Registry
from glacier_prefect.sources.base import Sink
from glacier_prefect.sources.objects import Objects

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.modules import ModuleCall, Needs
    from glacier_prefect.sources.base import Mode, Source

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
        actions: What the words "read", "write", "read secret" and "run jobs" allow, as the cloud names it.
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
            chosen = importlib.import_module("glacier_prefect.providers.environment")  # which imports this module
            made: Self = chosen.environment_provider(find_project(), further, **settings)
            return made
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
