"""From pipelines to Terraform: what they need, the module calls that give it, and the root that makes these calls.

The graph says what is read and written, providers and executors answer with `ModuleCall`s, `root` returns the root as
plain data, and only `generate` writes. Does not run Terraform (`terraform_cli` does) and knows nothing of Prefect.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glacier_prefect.environments import Environment, Project
from glacier_prefect.errors import ConfigurationError, GlacierError
from glacier_prefect.executors import Executor
from glacier_prefect.granted import within
from glacier_prefect.graph import Graph
from glacier_prefect.modules import Access, Granted, ModuleCall, Needs, WorkPool, expression, merge
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers import Provider
from glacier_prefect.providers.base import (
    CloudProvider,
    environment_pool,
    environment_provider,
    exchange_location,
    location_provider,
    named_exchange,
)
from glacier_prefect.sources import Location

FILE = "main.tf.json"
KEPT = ("cache", "exchange", "results")
"""What runs keep for each other in a bucket, each in a folder `.glacier/<what>/<pipeline>/`."""
DATABRICKS = "databricks/databricks"  # a root says from where the providers come that are not HashiCorp's
REQUIRED_VERSION = ">= 1.7, < 2.0"
NOTE = "Made by `glacier generate`, which overwrites it."


@dataclass(frozen=True, kw_only=True)
class Root:
    """A generated root module.

    Attributes:
        folder: Where it is.
        calls: Its module calls by name.
    """

    folder: Path
    calls: Mapping[str, ModuleCall]

    @property
    def file(self) -> Path:
        """The one file of it that is not a module."""
        return self.folder / FILE


def root_folder(project: Project, environment: str) -> Path:
    """Return where an environment's root module is."""
    return project.folder / ".glacier" / environment / "terraform"


def needs(pipelines: Iterable[Pipeline], project: Project) -> list[tuple[Provider, Needs]]:
    """Return what pipelines need, by provider; the environment's own, where they run, is first.

    Raises:
        ConfigurationError: The project has no name, or no such environment.
    """
    name, environment = project.require_name(), project.environment()
    own = environment_provider(project).resolved()
    found: dict[str, list[tuple[Provider, str, str, str]]] = {}
    listed: dict[str, set[tuple[Provider, str]]] = {}
    for each in sorted(pipelines, key=lambda pipeline: pipeline.name):
        found[each.name] = [
            (location_provider(location).resolved(), verb, location.full_bucket, prefix)
            for verb, location in sorted(_touched(each.graph), key=lambda found: (found[1].bucket, found[1].path))
            for prefix in location.prefixes
        ]
        listed[each.name] = {
            (location_provider(location).resolved(), location.full_bucket)
            for location in each.graph.locations
            if location.lists_bucket
        }
        kept = kept_prefixes(each, project)
        found[each.name] += [(provider, "writes", bucket, prefix) for provider, bucket, _, prefix in kept]
    providers = [own]
    for provider in (provider for touched in found.values() for provider, *_ in touched):
        if provider not in providers:
            providers.append(provider)

    def access(stores: Sequence[Provider]) -> dict[str, Access]:
        return {pipeline: _access(touched, listed[pipeline], stores) for pipeline, touched in found.items()}

    secrets = {each.name: _secrets(each.graph, environment) for each in pipelines}
    pool = WorkPool(
        name=f"glacier-{name}-{environment.name}-pool",
        type=environment_pool(project).type,
        pipelines=access([each for each in providers if each.name == own.name]),
        env={
            "GLACIER_ENV": environment.name,
            "GLACIER_PROJECT": name,
            **({"GLACIER_PROVIDER": own.name} if own.name != environment.provider else {}),
        },
    )
    return [
        (
            provider,
            Needs(
                project=name,
                environment=environment.name,
                folder=project.folder,
                root=root_folder(project, environment.name),
                pipelines=access([provider]),
                work_pool=pool if provider is own else None,
                secrets=secrets if provider is own else {},
                infrastructure=environment.infrastructure,
            ),
        )
        for provider in providers
    ]


def kept_prefixes(pipeline: Pipeline, project: Project) -> list[tuple[Provider, str, str, str]]:
    """Return where runs of a pipeline keep something for each other: provider, bucket, what, and the prefix."""
    if (shared := exchange_location(pipeline.graph.locations, named_exchange(project))) is None:
        return []
    location, folder = shared
    provider = location_provider(location).resolved()
    return [(provider, location.full_bucket, what, f"{folder}.glacier/{what}/{pipeline.name}/") for what in KEPT]


def module_calls(pipelines: Sequence[Pipeline], project: Project) -> dict[str, ModuleCall]:
    """Return the module calls that give pipelines what they need, by name.

    Of an executor's modules those that this version has, in a cloud; `analyze` names the others, too.
    """
    return _module_calls(needs(pipelines, project), pipelines)


def root(
    pipelines: Sequence[Pipeline], project: Project, granted: Granted | None = None
) -> tuple[dict[str, ModuleCall], dict[str, Any]]:
    """Return the module calls of an environment by name, and the content of its `main.tf.json`: these calls, providers,
    backend and outputs.

    Args:
        pipelines: All that the project has.
        project: The project; its environment is that of this process.
        granted: What `glacier bootstrap` has granted, which the calls then keep to.

    Raises:
        NeedsBootstrap: They need more.
    """
    needed = needs(pipelines, project)
    calls, environment = _module_calls(needed, pipelines), project.environment()
    if granted is not None:
        calls = within(granted, calls, needed[0][0], environment)
    backend: tuple[str, Mapping[str, Any]] = ("local", {"path": "terraform.tfstate"})
    if environment.state is not None:
        backend = needed[0][0].backend(environment.state, f"{project.require_name()}/{environment.name}")
    used = {call.source.partition("/")[0] for call in calls.values()}
    document: dict[str, Any] = {
        "//": NOTE,
        "terraform": {
            "required_version": REQUIRED_VERSION,
            "backend": dict([backend]),
            **({"required_providers": {"databricks": {"source": DATABRICKS}}} if "databricks" in used else {}),
        },
        "provider": _providers(provider for provider, _ in needed if provider.name in used),
        "module": {
            name: {
                "source": f"./modules/{call.source}",
                **{key: expression(value) for key, value in call.inputs.items() if value not in (None, {}, [], "")},
            }
            for name, call in calls.items()
        },
        "output": {
            name: {"description": description, "value": expression(value)}
            for name, (description, value) in _outputs(calls).items()
        },
    }
    if granted is not None and (block := needed[0][0].terraform_provider()) is not None:
        document["provider"][block[0]] = {**block[1], **needed[0][0].granted_settings}
    return calls, {section: content for section, content in document.items() if content}


def rendered(document: Mapping[str, Any]) -> str:
    """Return a root as the text of its file; equal roots give equal bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def generate(pipelines: Sequence[Pipeline], project: Project, granted: Granted | None = None) -> Root:
    """Write the root module of the environment that this process is in, with copies of the modules that it calls.

    What else is in its folder, as the state, stays. Takes and raises what `root` does.
    """
    calls, document = root(pipelines, project, granted)
    return write(root_folder(project, project.environment().name), calls, document)


def write(place: Path, calls: Mapping[str, ModuleCall], document: Mapping[str, Any]) -> Root:
    """Write a root module with copies of the modules that it calls; what else is in its folder stays.

    Args:
        place: Its folder.
        calls: Its module calls by name.
        document: Content of its `main.tf.json`.
    """
    made, text = Root(folder=place, calls=calls), rendered(document)
    for folder in (made.folder.parent, made.folder):  # the state has secrets in clear, so only its owner may look
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    _copy_modules({call.source for call in calls.values()}, made.folder / "modules")
    _write(made.folder / ".gitignore", "*\n")  # nor may it get into a repository
    _write(made.file, text)
    return made


def modules_folder() -> Path:
    """Return the folder with Glacier's Terraform modules: in the installed package, else in the repository."""
    package = Path(__file__).parent
    for folder in (package / "terraform_modules", package.parent / "terraform_modules"):
        if folder.is_dir():
            return folder
    raise GlacierError(f"Glacier's Terraform modules are not in {package}.\nHint: install glacier-prefect again.")


def _module_calls(needed: Sequence[tuple[Provider, Needs]], pipelines: Iterable[Pipeline]) -> dict[str, ModuleCall]:
    calls = [call for provider, needs in needed for call in provider.modules(needs)]
    own, labels = needed[0][0], needed[0][1].labels
    if isinstance(own, CloudProvider):  # on one machine, what executors use is somebody else's
        executors = [executor for each in pipelines for executor in _executors(each.graph)]
        for call in merge(call for executor in executors for call in executor.modules()).values():
            if (modules_folder() / call.source).is_dir():
                calls.append(replace(call, inputs={**call.inputs, "labels": labels}))
    return merge(calls)


def _providers(providers: Iterable[Provider]) -> dict[str, Mapping[str, Any]]:
    """Return the settings of Terraform's providers by name.

    Raises:
        ConfigurationError: Two providers of one kind differ in what Terraform has one setting for.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for provider in providers:
        if (block := provider.terraform_provider()) is None:
            continue
        name, settings = block
        first = found.setdefault(name, settings)
        unlike = {key for key in {*first, *settings} if first.get(key) != settings.get(key)}
        if key := next(iter(sorted(unlike - {"region", "project"})), None):  # which modules say themselves
            raise ConfigurationError(
                f"Two providers {provider.name!r} of one environment have {key}={first.get(key)!r} and "
                f"{key}={settings.get(key)!r}, for which Terraform has one setting here.\n"
                "Hint: give each an environment of its own."
            )
    return found


def _touched(graph: Graph) -> set[tuple[str, Location]]:
    """Return "reads" or "writes" and the location, for all nodes and those of sub-flows."""
    found: set[tuple[str, Location]] = set()
    for node in graph.nodes.values():
        found |= {("reads", each) for each in graph.reads(node)} | {("writes", each) for each in node.writes}
        if node.kind == "flow":
            found |= _touched(node.call.graph)
    return found


def _executors(graph: Graph) -> list[Executor]:
    nodes = graph.nodes.values()
    inner = [each for node in nodes if node.kind == "flow" for each in _executors(node.call.graph)]
    return [*(node.executor for node in nodes if node.kind in ("task", "map")), *inner]


def _secrets(graph: Graph, environment: Environment) -> tuple[str, ...]:
    """Return the names in the secret store that a run reads, sorted; other secrets come from variables."""
    names = {name for node in graph.nodes.values() for name in node.secrets}
    return tuple(sorted({environment.secrets[name] for name in names if name in environment.secrets}))


def _access(
    touched: Iterable[tuple[Provider, str, str, str]],
    listed: Iterable[tuple[Provider, str]],
    stores: Sequence[Provider],
) -> Access:
    found: dict[str, dict[str, set[str]]] = {"reads": {}, "writes": {}}
    for provider, verb, bucket, prefix in touched:
        if provider in stores:
            found[verb].setdefault(bucket, set()).add(prefix)
    prefixes = {
        verb: {bucket: _shortest(each) for bucket, each in sorted(buckets.items())} for verb, buckets in found.items()
    }
    lists = sorted(bucket for provider, bucket in listed if provider in stores)
    return Access(reads=prefixes["reads"], writes=prefixes["writes"], lists=tuple(lists))


def _shortest(prefixes: set[str]) -> tuple[str, ...]:
    """Return the prefixes that no other covers, sorted."""
    return tuple(
        sorted(each for each in prefixes if not any(each != other and each.startswith(other) for other in prefixes))
    )


def _outputs(calls: Mapping[str, ModuleCall]) -> dict[str, tuple[str, Any]]:
    """Return description and value of what Python needs after apply."""
    outputs: dict[str, tuple[str, Any]] = {}
    if buckets := {name: call.output("uri") for name, call in calls.items() if call.source.endswith("/bucket")}:
        outputs["buckets"] = ("Address of each bucket, by the name of its module call.", buckets)
    for call in calls.values():
        if call.source.endswith("/work_pool"):
            pool = {"name": call.output("name"), "type": call.output("type")}
            outputs["work_pool"] = ("The Prefect work pool.", pool)
            outputs["job_variables"] = ("Job variables of all runs.", call.output("job_variables"))
            outputs["pipeline_job_variables"] = (
                "Job variables of a pipeline's runs, on top.",
                call.output("pipeline_job_variables"),
            )
    return outputs


def _copy_modules(sources: Iterable[str], folder: Path) -> None:
    """Put copies of modules into `folder`, in place of what is there."""
    with tempfile.TemporaryDirectory(prefix=".modules-", dir=folder.parent) as name:
        fresh, old = Path(name) / "new", Path(name) / "old"
        fresh.mkdir()
        for source in sorted(sources):
            (fresh / source).mkdir(parents=True)
            for file in sorted((modules_folder() / source).glob("*.tf")):
                shutil.copyfile(file, fresh / source / file.name)
        if _contents(fresh) == _contents(folder):
            return  # as good, and a deploy that runs beside this `glacier plan` may be reading them
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def _write(file: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as opened:
            opened.write(text)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
