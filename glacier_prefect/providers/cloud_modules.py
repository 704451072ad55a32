"""What pipelines need of a cloud, as calls of its Terraform modules, which take the same in all clouds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from glacier_prefect.environments import PREVIEWS
from glacier_prefect.modules import Jobs, ModuleCall, Needs, Reference, module_name
from glacier_prefect.providers.names import check_name

if TYPE_CHECKING:
    from glacier_prefect.providers.cloud import CloudProvider

RESULTS = "/.glacier/results/"  # what Prefect's own block of a bucket writes
CODE = "code"  # name of the images with the code in a registry that has several
HINTS = {
    "bucket": "rename it in code (bucket=), or set bucket_prefix, which stands before it in this environment.",
    "account": "set storage_account in this environment.",
    "identity": "shorten the name of the project or the environment, or write it in letters, digits and hyphens.",
    "state": "correct `state` of this environment.",
}


def cloud_modules(provider: CloudProvider, needs: Needs) -> tuple[ModuleCall, ...]:
    """Return the module calls that give pipelines what they need of a cloud.

    Args:
        provider: The cloud.
        needs: What the pipelines need of it.
    """
    made = ModuleCalls(provider, needs)
    return tuple(made.all())


class ModuleCalls:
    """The calls for one cloud.

    Attributes:
        needs: What the pipelines need of it.
        runs_there: Whether runs have identities of their own there; else they are somewhere else, as somebody whom no
            module knows.
    """

    def __init__(self, provider: CloudProvider, needs: Needs) -> None:
        self.provider, self.needs, self.wanted = provider, needs, needs.infrastructure
        self.pool = needs.work_pool
        self.pool_name = module_name(provider.name, "work_pool")
        self.runs_there = self.pool is not None and provider.runs_there(self.pool.type)

    def call(self, what: str, *parts: str, **inputs: Any) -> ModuleCall:
        """Return a call of one of the cloud's modules.

        Raises:
            ConfigurationError: The cloud would refuse its name.
        """
        check_name(f"{self.provider.name}/{what}", inputs.get("name", ""), HINTS.get(what, ""))
        common = {
            "location": dict(self.provider.module_location()),
            "labels": self.needs.labels,
            "hardened": self.wanted.hardened or None,
        }
        return ModuleCall(
            name=module_name(self.provider.name, what, *parts),
            source=f"{self.provider.name}/{what}",
            inputs={**common, **inputs},
        )

    def all(self) -> list[ModuleCall]:
        calls = [*self.provider.account_calls(self), *map(self.bucket, self.needs.buckets)]
        if (stored := self.stored()) is not None:
            calls.append(stored)
        if self.registry is not None:
            calls.append(self.registry)
        network = None
        if self.runs_there:
            network = self.call("network", name=f"{self.needs.name}-net", **self._network())
            calls += [network, self.work_pool(network, stored)]
        elif self.pool is not None:
            inputs = {"name": self.pool.name, "type": self.pool.type, "env": self.pool.env, "labels": self.needs.labels}
            inputs["pipelines"] = {name: {} for name in self.pool.pipelines}
            calls.append(ModuleCall(name=self.pool_name, source="local/work_pool", inputs=inputs))
        calls += [call for each in self.needs.jobs for call in self.jobs(each, network)]
        if self.wanted.monthly_budget is not None and self.pool is not None:
            calls.append(self.budget(self.wanted.monthly_budget))
        return calls

    def _network(self) -> dict[str, Any]:
        """Return what the environment and jobs want of the network."""
        wanted = dict(self.wanted.network)
        further = dict(self.provider.jobs_network) if self.needs.jobs and "existing" not in wanted else {}
        return wanted | self.known(cloud={**further, **wanted.get("cloud", {})})

    def jobs(self, jobs: Jobs, network: ModuleCall | None) -> list[ModuleCall]:
        """Return the calls for what runs bodies as jobs: the cloud's own, and those of Databricks in its workspace."""
        own = jobs.calls[0]
        labels = {"labels": self.needs.labels}
        place = self.provider.jobs_place(self.needs.name, None if network is None else self.attached(network))
        inputs: dict[str, Mapping[str, Any]] = {
            own.source: {
                **self.call("spark", **place).inputs,
                "pipelines": {name: each.prefixes() for name, each in jobs.pipelines.items()},
                "submitters": self._of_runs(jobs, f'{self.pool_name}.identities["{{}}"]'),
            }
        }
        for call in jobs.calls[1:]:
            if call.source == "databricks/job_policy":
                runs = self._of_runs(jobs, f"{self.pool_name}.{self.provider.application_id}")
                inputs[call.source] = {**labels, "submitters": runs}
                users = self._of_runs(jobs, f'{call.name}.identities["{{}}"]')  # which comes after the principals
                inputs["databricks/exchange"] = {**labels, "users": users}
        return [replace(call, inputs={**inputs[call.source], **call.inputs}) for call in jobs.calls]

    def _of_runs(self, jobs: Jobs, output: str) -> dict[str, Any]:
        """Return an output of a module that says who each pipeline's runs are, if they have identities."""
        found = {name: Reference(f"module.{output.format(name)}") for name in jobs.pipelines} if self.runs_there else {}
        return {name: {"identity": each} for name, each in found.items()}

    @staticmethod
    def attached(network: ModuleCall) -> dict[str, Reference]:
        """Return a network as what runs in it takes it."""
        return {name: network.output(name) for name in ("id", "subnets", "security_groups")}

    def budget(self, limit: float) -> ModuleCall:
        where = {**self.provider.module_location(), **self.provider.budget_place(self.wanted)}
        inputs = {"monthly_limit": limit, "notify": self.wanted.notify, "hardened": None}
        return self.call("budget", name=f"{self.needs.name}-budget", location=where, **inputs)

    @property
    def registry(self) -> ModuleCall | None:
        """The call for images with the code, None if they are somewhere else or there are none."""
        if self.needs.images != "":
            return None
        return self.call("registry", **self.provider.registry_inputs(self))

    @property
    def image(self) -> str | Reference | None:
        """What images with the code are named after, so that the pool may pull them; a deploy says which it is."""
        return self.needs.images or (None if self.registry is None else self.provider.image_of(self.registry))

    def identity(self, pipeline: str) -> Reference | None:
        """Return the principal of a pipeline's runs, if the cloud's buckets say what it may do."""
        if not self.runs_there or not self.provider.grants_at_bucket:
            return None
        return Reference(f'module.{self.pool_name}.identities["{pipeline}"]')

    def bucket(self, bucket: str) -> ModuleCall:
        granted = {"readers": self.needs.grants(bucket, "reads"), "writers": self.needs.grants(bucket, "writes")}
        grants = {
            who: {name: {**grant, **self.known(identity=self.identity(name))} for name, grant in each.items()}
            for who, each in granted.items()
        }
        for jobs in self.needs.jobs if self.provider.grants_at_bucket else ():
            for name, each in jobs.pipelines.items():
                identity = jobs.calls[0].output(f'identities["{name}"]')
                for who, found in (("readers", each.reads), ("writers", each.writes)):
                    if bucket in found:
                        grants[who][f"{name} as jobs"] = {"prefixes": list(found[bucket]), "identity": identity}
        where = {**self.provider.module_location(), **self.provider.bucket_place(self)}
        keepers = [
            name
            for name, each in self.needs.pipelines.items()
            if any(RESULTS in f"/{prefix}" or prefix == PREVIEWS for prefix in each.writes.get(bucket, ()))
        ]
        further = self.provider.bucket_inputs(keepers) if self.runs_there else {}
        return self.call("bucket", bucket, name=bucket, location=where, **grants, **further)

    @property
    def secrets(self) -> dict[str, tuple[str, ...]]:
        """Names in the secret store by pipeline."""
        return {name: names for name, names in self.needs.secrets.items() if names}

    @property
    def server_secrets(self) -> dict[str, str]:
        """Names in the secret store by what Prefect's server wants them for."""
        wanted = self.wanted.server if self.runs_there else {}
        return {what: name for what, name in wanted.items() if what.endswith("_secret")}

    def stored(self) -> ModuleCall | None:
        """Return the call for the secrets, None if there are none."""
        names = {*self.server_secrets.values(), *(name for names in self.secrets.values() for name in names)}
        readers = {
            name: {"identity": identity, "names": list(names)}
            for name, names in self.secrets.items()
            if (identity := self.identity(name)) is not None
        }
        return self.call("secrets", names=sorted(names), readers=readers) if names else None

    def work_pool(self, network: ModuleCall, stored: ModuleCall | None) -> ModuleCall:
        assert self.pool is not None
        of_store = {} if stored is None else self.provider.store_inputs(stored)
        server = {
            what: name if stored is None or what not in self.server_secrets else stored.output(f'names["{name}"]')
            for what, name in self.wanted.server.items()
        }
        pipelines: Mapping[str, Any] = self.pool.by_pipeline()
        return self.call(
            "work_pool",
            name=self.pool.name,
            type=self.pool.type,
            worker=self.wanted.worker,
            env={**self.pool.env, **of_store.pop("env", {})},
            pipelines={
                name: {**each, **self.known(secrets=list(self.secrets.get(name, ())), image=self.image)}
                for name, each in pipelines.items()
            },
            network=self.attached(network),
            server=server,
            image=self.wanted.image,
            **of_store,
        )

    @staticmethod
    def known(**inputs: Any) -> dict[str, Any]:
        """Return the inputs that say something."""
        return {name: value for name, value in inputs.items() if value not in (None, [], {})}


def image_repository(registry: ModuleCall) -> Reference:
    """Return the name of the images in a registry; that of AWS is one repository, those of others have several."""
    url = registry.output("url")
    return url if registry.source == "aws/registry" else Reference(f'format("%s/{CODE}", {url.expression})')
