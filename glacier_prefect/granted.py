"""What `glacier bootstrap` has granted in an environment: found in its Terraform state, kept to by the root.

Loads no cloud SDK before it asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from glacier_prefect.environments import PREVIEWS, Environment, Project
from glacier_prefect.errors import ConfigurationError, NeedsBootstrap
from glacier_prefect.modules import Granted, ModuleCall
from glacier_prefect.providers.base import Provider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider

OUTPUT = "bootstrap"
VERSION = 1
KINDS = {"account": "bucket"}  # modules that come with those of another kind


@dataclass(frozen=True, kw_only=True)
class Grants:
    """What module calls need GitHub's workflows to be granted.

    Attributes:
        kinds: Kinds of modules.
        buckets: Names of the buckets, in the store.
        secrets: Names in the secret store.
    """

    kinds: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, calls: Iterable[ModuleCall], provider: CloudProvider) -> Grants:
        """Return what calls need of a cloud; what only a person makes there is left out."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for call in calls:
            cloud, _, module = call.source.partition("/")
            if cloud == provider.name and (kind := KINDS.get(module, module)) in provider.grantable:
                found.setdefault(kind, []).append({} if module in KINDS else call.inputs)
        if not provider.granted_by_name:
            return cls(kinds=tuple(sorted(found)))
        buckets = {each["name"] for each in found.get("bucket", ()) if "name" in each}
        secrets = {name for each in found.get("secrets", ()) for name in each["names"]}
        return cls(kinds=tuple(sorted(found)), buckets=tuple(sorted(buckets)), secrets=tuple(sorted(secrets)))


def state_key(project: Project) -> str:
    """Return what names the environment's state beside others in its bucket."""
    return f"{project.require_name()}/{project.environment().name}"


def bootstrap_key(project: Project) -> str:
    """Return what names the state of `glacier bootstrap`; whoever deploys may not write it."""
    return f"{state_key(project)}/bootstrap"


def object_name(backend: tuple[str, Mapping[str, Any]]) -> str:
    """Return the name of the object that a backend keeps a state in."""
    _, place = backend
    return str(place.get("key") or f"{place['prefix']}/default.tfstate")


def find(project: Project) -> Granted | None:
    """Return what `glacier bootstrap` has granted in the environment of this process; None if it never ran there.

    One request, for one object beside the environment's own state.
    """
    state, provider = project.environment().state, environment_provider(project).resolved()
    if state is None or not isinstance(provider, CloudProvider):
        return None
    return read(bootstrap_state(project, provider, state))


def bootstrap_state(project: Project, provider: CloudProvider, state: str) -> Mapping[str, Any] | None:
    """Return the Terraform state of `glacier bootstrap`, None if there is none.

    Args:
        project: The project.
        provider: The provider of its environment.
        state: What the environment says in `state`.
    """
    found = provider.state_objects(state).get(object_name(provider.backend(state, bootstrap_key(project))))
    return None if found is None else parsed(found[1], f"the bucket {state!r}")


def parsed(content: bytes, where: str) -> Mapping[str, Any]:
    """Return a Terraform state."""
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("outputs"), dict):
        raise ConfigurationError(
            f"The Terraform state of `glacier bootstrap` in {where} cannot be read.\n"
            "Hint: restore an older version of that object; the bucket keeps them."
        )
    return document


def read(state: Mapping[str, Any] | None) -> Granted | None:
    """Return what a state of `glacier bootstrap` says that was granted; None if it was not finished."""
    if state is None or OUTPUT not in state["outputs"]:
        return None
    value = state["outputs"][OUTPUT]["value"]
    if value["version"] != VERSION:
        raise ConfigurationError(
            f"`glacier bootstrap` was run by another Glacier, which writes version {value['version']}; this one reads "
            f"{VERSION}.\nHint: use the same Glacier, or a newer one."
        )
    # what an older Glacier did not know it has not granted
    known: dict[str, Any] = {each.name: value[each.name] for each in fields(Granted) if each.name in value}
    lists = ("kinds", "buckets", "secrets")
    known |= {name: tuple(known[name]) for name in lists}
    return Granted(**known)


def within(
    granted: Granted, calls: Mapping[str, ModuleCall], provider: Provider, environment: Environment
) -> dict[str, ModuleCall]:
    """Return module calls that keep to what was granted, as whoever deploys from GitHub has to.

    Args:
        granted: What was granted.
        calls: By name.
        provider: The environment's own provider; calls for others are as they were.
        environment: The environment.

    Raises:
        NeedsBootstrap: They need more.
    """
    if granted.provider != provider.name or not isinstance(provider, CloudProvider):
        raise NeedsBootstrap(
            f"`glacier bootstrap` was run for {granted.provider!r}, and {environment.name!r} is on {provider.name!r} "
            f"now.\nHint: glacier bootstrap --env {environment.name}, with another `state`."
        )
    _check(granted, Grants.of(calls.values(), provider), environment)
    kept = dict(calls)
    for name, call in calls.items():
        cloud, _, module = call.source.partition("/")
        if cloud != provider.name:
            continue
        inputs = dict(call.inputs)
        if more := provider.granted_inputs(module, granted):
            inputs["cloud"] = {**inputs.get("cloud", {}), **more}
        if module == "bucket" and environment.previews and (who := provider.granted_writer(granted)):
            writer = {"identity": who, "prefixes": [PREVIEWS]}
            inputs["writers"] = {**inputs.get("writers", {}), "pull requests": writer}
        kept[name] = replace(call, inputs=inputs)
    return kept


def _check(granted: Granted, needed: Grants, environment: Environment) -> None:
    kinds = tuple(each for each in needed.kinds if each not in granted.kinds)
    lacking = [f"modules of the kind {_listed(kinds)}"] if kinds else []
    for word, names, known in (
        ("the bucket", needed.buckets, granted.buckets),
        ("the secret", needed.secrets, granted.secrets),
    ):
        if missing := [each for each in names if each not in known]:
            lacking.append(f"{word} {_listed(missing)}")
    if environment.infrastructure.hardened and not granted.hardened:
        lacking.append("`hardened`")
    if environment.previews and not granted.previews:
        lacking.append("`previews`")
    if not lacking:
        return
    command = f"glacier bootstrap --env {environment.name}"
    error = NeedsBootstrap(
        f"The pipelines need {'; '.join(lacking)} in {environment.name!r}, and `glacier bootstrap` has not granted it "
        "to who deploys. Nothing was changed.\n"
        f"Hint: somebody with rights over the account runs: {command}"
        + (f" --modules {','.join(kinds)}" if kinds else "")
    )
    error.kinds = kinds
    raise error


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
