"""What every provider is: it makes sources and sinks. Constructing one imports no SDK and makes no call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from glacier_prefect.environments import ENVIRONMENT_KEYS, Project, find_project, first_variable
from glacier_prefect.errors import ConfigurationError, NotAvailableError, OptionError, nearest
from glacier_prefect.registry import Registry

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.modules import ModuleCall, Needs
    from glacier_prefect.sources.base import Location, Mode, Sink, Source

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
        bucket_prefix: Put before each bucket's name in code.
    """

    name: ClassVar[str]
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    bucket_prefix: str = ""

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
        return tuple(each.name for each in fields(cls))

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
        return self._sink(**given, mode=mode, partition_by=partition_by, managed=True)

    @abstractmethod
    def _source(self, **settings: Any) -> Source:
        """Make this provider's source."""

    @abstractmethod
    def _sink(self, **settings: Any) -> Sink:
        """Make this provider's sink."""


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
        return kind._with({**given, **variables} if further is None else {**variables, **given}, settings)
    except ConfigurationError as error:
        if where:
            error.add_note(f"In {where}.")
        raise


def location_provider(location: Location) -> Provider:
    """Return a provider that makes locations such as this one, with the settings that show in it."""
    kind: type[Provider] = PROVIDERS.load(location.provider_name)
    return kind(**{name: getattr(location, name) for name in kind.settings() if hasattr(location, name)})
