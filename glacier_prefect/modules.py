"""What pipelines need of a provider, and the calls of Terraform modules that it answers with.

Plain values; `infrastructure` makes a root of them. Imports only `errors`.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from glacier_prefect.errors import NameTakenError


@dataclass(frozen=True)
class Reference:
    """A value that Terraform knows: after apply, or where the root is.

    Attributes:
        expression: As Terraform writes it, as in "module.raw.uri".
    """

    expression: str


@dataclass(frozen=True, kw_only=True)
class ModuleCall:
    """One call of a Terraform module.

    Attributes:
        name: Unique in the root.
        source: Folder in `terraform_modules/`, as in "local/bucket".
        inputs: Values of the module's variables: plain data, with `Reference`s; empty ones are left out.
        settings: Whether its outputs `settings` and `pipeline_settings`, which is by pipeline, are settings of the
            executor that asked for it; or the output that each setting takes, which then is a dict by the names of
            calls. Runs of deployments get them.
    """

    name: str
    source: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    settings: bool | Mapping[str, str] = False

    def output(self, name: str) -> Reference:
        """Return a reference to one of the module's outputs."""
        return Reference(f"module.{self.name}.{name}")


@dataclass(frozen=True, kw_only=True)
class Infrastructure:
    """What an environment says of its infrastructure, `[environments.X.infrastructure]`; a disk needs none of it.

    Attributes:
        hardened: Whether to turn on what costs money: keys of one's own, access logs.
        worker: "service" to run a Prefect worker there too, "none" where one runs elsewhere or Prefect Cloud starts
            runs itself.
        image: Image of runs; Prefect's own if None.
        network: What the module `network` takes: `cidr`, `public`, or `existing` with an id and subnets.
        server: The Prefect server as a worker there reaches it: `api_url`, and names of secrets, `api_key_secret` and
            `auth_string_secret`.
        monthly_budget: Costs in a month, in the account's currency, above which `notify` get an e-mail; none if None.
        notify: E-mail addresses by a name of your choice.
        billing_account: Who pays in Google Cloud, which a budget there needs, as in "012345-6789AB-CDEF01".
    """

    hardened: bool = False
    worker: str = "none"
    image: str | None = None
    network: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)
    monthly_budget: float | None = None
    notify: Mapping[str, str] = field(default_factory=dict)
    billing_account: str | None = None


@dataclass(frozen=True, kw_only=True)
class Granted:
    """What `glacier bootstrap` has made for an environment, and what GitHub's workflows may make there. No secrets.

    Attributes:
        provider: Registry key of the cloud.
        kinds: Kinds of modules that may be made, as in "bucket".
        buckets: Names of the buckets, in the store.
        secrets: Names in the secret store.
        hardened: Whether modules may be hardened.
        previews: Whether pull requests may make and remove previews.
        repository: The repository on GitHub whose workflows are trusted.
        branch: The branch from which they deploy.
        github_environment: The environment on GitHub from which they deploy, in place of the branch.
        state: The bucket with the state, as the module `state` gives its id.
        plan: What a workflow needs to become who plans.
        deploy: What a workflow needs to become who deploys.
        boundary: What limits all roles that are made (AWS).
        roles: Roles that may be given away, by use (Google Cloud).
    """

    provider: str
    kinds: tuple[str, ...] = ()
    buckets: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    hardened: bool = False
    previews: bool = False
    repository: str = ""
    branch: str | None = None
    github_environment: str | None = None
    state: str = ""
    plan: Mapping[str, str] = field(default_factory=dict)
    deploy: Mapping[str, str] = field(default_factory=dict)
    boundary: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What one pipeline reads and writes of one provider.

    Attributes:
        reads: Prefixes by bucket, its name in the store.
        writes: Prefixes by bucket, its name in the store.
        lists: Buckets in which it lists all names, as it cannot tell what is missing from what it may not see.
    """

    reads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    writes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lists: tuple[str, ...] = ()

    def prefixes(self) -> dict[str, dict[str, list[str]]]:
        """Return what it reads and writes, as modules take it."""
        return {
            verb: {bucket: list(prefixes) for bucket, prefixes in found.items()}
            for verb, found in (("reads", self.reads), ("writes", self.writes))
            if found
        }


@dataclass(frozen=True, kw_only=True)
class WorkPool:
    """The work pool of an environment.

    Attributes:
        name: Its name in Prefect.
        type: Prefect's type of it.
        pipelines: What each of its pipelines reads and writes of all stores of this kind.
        env: Variables that let a run find its environment.
    """

    name: str
    type: str
    pipelines: Mapping[str, Access]
    env: Mapping[str, str]

    def by_pipeline(self) -> dict[str, Any]:
        """Return what each pipeline reads and writes, as the modules of work pools take it."""
        return {
            name: {**each.prefixes(), **({"lists": list(each.lists)} if each.lists else {})}
            for name, each in self.pipelines.items()
        }


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Bodies that run as jobs of a cloud's service.

    Attributes:
        calls: The module calls that their executor asks for; the first is of the cloud's own module.
        pipelines: What the jobs of each pipeline read and write of all stores of this kind.
    """

    calls: tuple[ModuleCall, ...]
    pipelines: Mapping[str, Access]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What pipelines need of one provider.

    Attributes:
        project: The project's name.
        environment: The environment's name.
        folder: The project's folder.
        root: Folder of the root module.
        pipelines: What each reads and writes there.
        work_pool: The work pool, None if the pipelines run elsewhere.
        secrets: Names in the provider's secret store that each pipeline reads.
        images: Where images with the code are: a repository that is there, "" for one that is made, None for nowhere.
        infrastructure: What the environment says of its infrastructure.
        jobs: Bodies that run there as jobs.
    """

    project: str
    environment: str
    folder: Path
    root: Path
    pipelines: Mapping[str, Access]
    work_pool: WorkPool | None = None
    secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    images: str | None = None
    infrastructure: Infrastructure = field(default_factory=Infrastructure)
    jobs: tuple[Jobs, ...] = ()

    @property
    def name(self) -> str:
        """What the names of all that has no name of its own begin with."""
        return f"glacier-{self.project}-{self.environment}"

    @property
    def buckets(self) -> tuple[str, ...]:
        """Names of all buckets, sorted."""
        return tuple(sorted({bucket for each in self.pipelines.values() for bucket in (*each.reads, *each.writes)}))

    @property
    def labels(self) -> dict[str, str]:
        """What all that is made is labelled with."""
        return {"glacier-project": self.project, "glacier-env": self.environment}

    def grants(self, bucket: str, verb: Literal["reads", "writes"]) -> dict[str, Any]:
        """Return who reads (or writes) a bucket, as the modules of buckets take it: prefixes by pipeline."""
        return {
            name: {"prefixes": list(getattr(each, verb)[bucket])}
            for name, each in self.pipelines.items()
            if bucket in getattr(each, verb)
        }

    def path(self, path: str) -> str:
        """Return a path as seen from the root module: relative inside the project, which may move, else absolute."""
        folder, place = os.path.realpath(self.folder), os.path.abspath(path)
        for each in (place, os.path.realpath(place)):
            for base in (os.path.abspath(self.folder), folder):
                if Path(each).is_relative_to(base):
                    inside = os.path.join(folder, os.path.relpath(each, base))
                    return Path(os.path.relpath(inside, os.path.realpath(self.root))).as_posix()
        return Path(place).as_posix()


def absolute(path: str) -> Reference:
    """Return the absolute form of a path that is as `Needs.path` gives it; the root itself has none."""
    return Reference(f"abspath({json.dumps(expression(path), ensure_ascii=False)})")


def module_name(*parts: str) -> str:
    """Return a name for a module call that Terraform takes; different parts give different names."""
    name = "_".join(parts)
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return safe if safe == name else f"{safe}_{zlib.crc32(name.encode()):08x}"


def merge(calls: Iterable[ModuleCall]) -> dict[str, ModuleCall]:
    """Return calls by name, sorted; equal ones become one.

    Raises:
        NameTakenError: Two calls of one name are not equal.
    """
    merged: dict[str, ModuleCall] = {}
    for call in calls:
        other = merged.setdefault(call.name, call)
        if other == call:
            continue
        if other.source != call.source:
            what = f"one is of {other.source!r}, one of {call.source!r}"
        else:
            keys = sorted({*other.inputs, *call.inputs})
            key = next(key for key in keys if other.inputs.get(key) != call.inputs.get(key))
            what = f"one has {key}={other.inputs.get(key)!r}, one has {key}={call.inputs.get(key)!r}"
        raise NameTakenError(
            f"Two calls of Terraform modules are named {call.name!r} and differ: {what}.\n"
            "Hint: give one of the two another name; two buckets of one provider need different ones."
        )
    return dict(sorted(merged.items()))


def expression(value: Any) -> Any:
    """Return a value as Terraform's JSON has it: references written out, and texts that look like some kept as text."""
    if isinstance(value, Reference):
        return f"${{{value.expression}}}"
    if isinstance(value, str):
        return value.replace("${", "$${").replace("%{", "%%{")
    if isinstance(value, Mapping):
        return {expression(key): expression(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [expression(each) for each in value]
    return value
