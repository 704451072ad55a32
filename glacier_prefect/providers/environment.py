"""The providers of the environment that this process is in, and where its runs keep what they share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from glacier_prefect.environments import ENVIRONMENT_KEYS, Project, first_variable, preview_folder
from glacier_prefect.errors import ConfigurationError, OptionError, nearest
from glacier_prefect.pools import Pool
from glacier_prefect.providers.base import PROVIDERS, Provider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.sources.base import Sink
from glacier_prefect.sources.cloud import CloudLocation

if TYPE_CHECKING:
    from glacier_prefect.sources.base import Location


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
