"""From pipelines to Terraform: what they need, the module calls that give it, and the root that makes these calls.

The graph says what is read and written, providers and executors answer with `ModuleCall`s, `root` returns the root as
plain data, and only `generate` writes. Does not run Terraform (`terraform_cli` does) and knows nothing of Prefect.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from glacier_prefect.environments import PREVIEW_IDENTITY, PREVIEWS, Environment, Project
from glacier_prefect.errors import ConfigurationError, GlacierError
from glacier_prefect.granted import state_key, within
from glacier_prefect.graph import Graph, Node
from glacier_prefect.modules import Access, Granted, Jobs, ModuleCall, Needs, Reference, WorkPool, expression, merge
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers import Provider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.cloud_modules import image_repository
from glacier_prefect.providers.environment import (
    code_place,
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
CLOUDS = ("aws", "azure", "gcp")
Touched = tuple[Provider, str, str, str]  # "reads" or "writes", bucket, prefix
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
    found: dict[str, list[Touched]] = {}
    listed: dict[str, set[tuple[Provider, str]]] = {}
    for each in sorted(pipelines, key=lambda pipeline: pipeline.name):
        found[each.name] = _in_order(_touched(each.graph))
        listed[each.name] = {
            (location_provider(location).resolved(), location.full_bucket)
            for location in each.graph.locations
            if location.lists_bucket
        }
        kept = kept_prefixes(each, project)
        found[each.name] += [(provider, "writes", bucket, prefix) for provider, bucket, _, prefix in kept]
        if (code := code_place(each.graph.locations, project)) is not None:
            found[each.name].append((code[0], "reads", *code[1:]))
    providers = [own]
    for provider in (provider for touched in found.values() for provider, *_ in touched):
        if provider not in providers:
            providers.append(provider)

    def access(stores: Sequence[Provider]) -> dict[str, Access]:
        each = {pipeline: _access(touched, listed[pipeline], stores) for pipeline, touched in found.items()}
        return {**each, PREVIEW_IDENTITY: _preview_access(each.values())} if environment.previews else each

    images = (environment.image.repository or "") if environment.code == "image" else None
    secrets = {each.name: _secrets(each.graph, environment) for each in pipelines}
    if environment.previews:
        if PREVIEW_IDENTITY in secrets:
            raise ConfigurationError(
                f"A pipeline cannot be named {PREVIEW_IDENTITY!r} in an environment with previews, whose identity is "
                "called so.\nHint: rename it."
            )
        secrets[PREVIEW_IDENTITY] = tuple(sorted({environment.secrets[each] for each in environment.preview_secrets}))
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
                images=images if provider is own else None,
                infrastructure=environment.infrastructure,
                jobs=_jobs(pipelines, project, own) if provider is own else (),
            ),
        )
        for provider in providers
    ]


def _jobs(pipelines: Iterable[Pipeline], project: Project, own: Provider) -> tuple[Jobs, ...]:
    """Return what runs as jobs in the environment's own cloud, by the module call that it needs."""
    calls: dict[str, list[ModuleCall]] = {}
    touched: dict[str, dict[str, list[Touched]]] = {}
    for pipeline in pipelines:
        shared = [
            (provider, "writes", bucket, prefix)
            for provider, bucket, what, prefix in kept_prefixes(pipeline, project)
            if what == "exchange" and provider.name == own.name  # in which code and frames are on their way
        ]
        for graph, node in _bodies(pipeline.graph):
            if runs_as_job(node, own):
                asked = node.executor.modules()
                name = asked[0].name
                calls.setdefault(name, []).extend(asked)
                of_pipeline = touched.setdefault(name, {}).setdefault(pipeline.name, [*shared])
                of_pipeline += [each for each in _in_order(_touched_by(graph, node)) if each[0].name == own.name]
    made = []
    for name, wanted in sorted(calls.items()):
        merged = merge(wanted)
        of_pipelines = {
            each: _access(found, (), [provider for provider, *_ in found])
            for each, found in sorted(touched[name].items())
        }
        if project.environment().previews:
            of_pipelines[PREVIEW_IDENTITY] = _preview_access([*of_pipelines.values()])
        made.append(Jobs(calls=(merged.pop(name), *merged.values()), pipelines=of_pipelines))
    return tuple(made)


def runs_as_job(node: Node, own: Provider) -> bool:
    """Whether a node's body runs as a job of a service in the environment's own cloud, with an identity of its own."""
    asked = node.executor.modules() if node.kind in ("task", "map") else ()
    return bool(asked) and asked[0].source == f"{own.name}/spark"


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
    calls = _module_calls(needed, pipelines)
    if granted is not None:
        calls = within(granted, calls, needed[0][0], project.environment())
    used = {call.source.partition("/")[0] for call in calls.values()}
    settings = _settings(pipelines, calls, (PREVIEW_IDENTITY,) if project.environment().previews else ())
    document: dict[str, Any] = {
        "//": NOTE,
        "terraform": {
            "required_version": REQUIRED_VERSION,
            "backend": _backend(project, needed[0][0]),
            **({"required_providers": {"databricks": {"source": DATABRICKS}}} if "databricks" in used else {}),
        },
        "provider": {**_providers(provider for provider, _ in needed if provider.name in used), **_workspace(calls)},
        "module": {
            name: {
                "source": f"./modules/{call.source}",
                **{key: expression(value) for key, value in call.inputs.items() if value not in (None, {}, [], "")},
            }
            for name, call in calls.items()
        },
        "output": {
            name: {"description": description, "value": expression(value)}
            for name, (description, value) in {**_outputs(calls), **settings}.items()
        },
    }
    if granted is not None:
        _keep_to_granted(document, needed[0][0])
    return calls, {section: content for section, content in document.items() if content}


def rendered(document: Mapping[str, Any]) -> str:
    """Return a root as the text of its file; equal roots give equal bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def generate(pipelines: Sequence[Pipeline], project: Project, granted: Granted | None = None) -> Root:
    """Write the root module of the environment that this process is in, with copies of the modules that it calls.

    What else is in its folder, as the state, stays. Takes and raises what `root` does.
    """
    calls, document = root(pipelines, project, granted)
    made = Root(folder=root_folder(project, project.environment().name), calls=calls)
    write(made.folder, document, {call.source for call in calls.values()})
    return made


def write(folder: Path, document: Mapping[str, Any], modules: Iterable[str] = ()) -> None:
    """Write a root module with copies of the modules that it calls; what else is in its folder stays.

    Args:
        folder: Its folder.
        document: Content of its `main.tf.json`.
        modules: What it calls, as in "aws/bucket".
    """
    text = rendered(document)
    for each in (folder.parent, folder):  # the state has secrets in clear, so only its owner may look
        each.mkdir(parents=True, exist_ok=True)
        each.chmod(0o700)
    _copy_modules(modules, folder / "modules")
    _write(folder / ".gitignore", "*\n")  # nor may it get into a repository
    _write(folder / FILE, text)


def generate_empty(project: Project, granted: Granted | None = None) -> Path:
    """Write a root for destroying what the environment's remote state has, and return its folder: the root that is
    there, with the present backend; else one without modules, so that all that is in the state goes. Takes what `root`
    does.
    """
    environment, own = project.environment(), environment_provider(project).resolved()
    folder = root_folder(project, environment.name)
    with contextlib.suppress(OSError, ValueError):
        there = json.loads((folder / FILE).read_text(encoding="utf-8"))
        there["terraform"]["backend"] = _backend(project, own)
        _write(folder / FILE, rendered(there))
        return folder
    others = [environment_provider(project, name).resolved() for name in environment.providers]
    document: dict[str, Any] = {
        "//": NOTE,
        "terraform": {"required_version": REQUIRED_VERSION, "backend": _backend(project, own)},
        "provider": _providers([own, *others]),
    }
    if granted is not None:
        _keep_to_granted(document, own)
    write(folder, document)
    return folder


def modules_folder() -> Path:
    """Return the folder with Glacier's Terraform modules: in the installed package, else in the repository."""
    package = Path(__file__).parent
    for folder in (package / "terraform_modules", package.parent / "terraform_modules"):
        if folder.is_dir():
            return folder
    raise GlacierError(f"Glacier's Terraform modules are not in {package}.\nHint: install glacier-prefect again.")


def _keep_to_granted(document: dict[str, Any], own: Provider) -> None:
    """Let a root's provider ask for no more than `glacier bootstrap` grants."""
    if (block := own.terraform_provider()) is not None:
        document["provider"][block[0]] = {**block[1], **own.granted_settings}


def _backend(project: Project, own: Provider) -> dict[str, Mapping[str, Any]]:
    """Return where an environment's Terraform keeps its state."""
    if (state := project.environment().state) is None:
        return {"local": {"path": "terraform.tfstate"}}
    return dict([own.backend(state, state_key(project))])


def _module_calls(needed: Sequence[tuple[Provider, Needs]], pipelines: Iterable[Pipeline]) -> dict[str, ModuleCall]:
    calls = [call for provider, needs in needed for call in provider.modules(needs)]
    own, labels = needed[0][0], needed[0][1].labels
    if isinstance(own, CloudProvider):  # on one machine, what executors use is somebody else's
        bodies = (node for each in pipelines for _, node in _bodies(each.graph))
        made = {call.name for jobs in needed[0][1].jobs for call in jobs.calls}
        for call in merge(call for node in bodies for call in node.executor.modules()).values():
            if call.name in made:
                continue
            cloud = call.source.partition("/")[0]
            if cloud in CLOUDS and cloud != own.name:
                raise ConfigurationError(
                    f"An executor needs {call.source!r} of the provider {cloud!r}, and the environment is of "
                    f"{own.name!r}, which does not make it.\nHint: say in the executor's settings where it is, or "
                    f"give the pipeline an environment of {cloud!r}."
                )
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


def _workspace(calls: Mapping[str, ModuleCall]) -> dict[str, Mapping[str, Any]]:
    """Return the settings of Databricks' provider where the root makes the workspace; else its variables say which."""
    made = next((call for call in calls.values() if call.source == "azure/spark"), None)
    return {} if made is None else {"databricks": {"host": expression(made.output("settings.host"))}}


def _touched(graph: Graph) -> set[tuple[str, Location]]:
    """Return "reads" or "writes" and the location, for all nodes and those of sub-flows."""
    found: set[tuple[str, Location]] = set()
    for node in graph.nodes.values():
        found |= _touched_by(graph, node)
        if node.kind == "flow":
            found |= _touched(node.call.graph)
    return found


def _touched_by(graph: Graph, node: Node) -> set[tuple[str, Location]]:
    return {("reads", each) for each in graph.reads(node)} | {("writes", each) for each in node.writes}


def _in_order(touched: Iterable[tuple[str, Location]]) -> list[Touched]:
    return [
        (location_provider(location).resolved(), verb, location.full_bucket, prefix)
        for verb, location in sorted(touched, key=lambda found: (found[1].bucket, found[1].path))
        for prefix in location.prefixes
    ]


def _bodies(graph: Graph) -> Iterator[tuple[Graph, Node]]:
    """Yield the tasks of a graph and of its sub-flows."""
    for node in graph.nodes.values():
        if node.kind == "flow":
            yield from _bodies(node.call.graph)
        elif node.kind in ("task", "map"):
            yield graph, node


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


def _preview_access(pipelines: Iterable[Access]) -> Access:
    """Return what previews may do: read all that pipelines read or write but what runs keep for each other, and write
    into their own folder of each bucket.
    """
    reads: dict[str, set[str]] = {}
    lists: set[str] = set()
    for each in pipelines:
        lists |= {*each.lists}
        for buckets in (each.reads, each.writes):
            for bucket, prefixes in buckets.items():
                reads.setdefault(bucket, set()).update(it for it in prefixes if "/.glacier/" not in f"/{it}")
    return Access(
        reads={bucket: _shortest(prefixes) for bucket, prefixes in sorted(reads.items()) if prefixes},
        writes={bucket: (PREVIEWS,) for bucket in sorted(reads)},
        lists=tuple(sorted(lists)),
    )


def _shortest(prefixes: set[str]) -> tuple[str, ...]:
    """Return the prefixes that no other covers, sorted.

    Only a folder covers others: Google Cloud lists by folders, so a part of a name gives no right to list one.
    """
    folders = {each for each in prefixes if not each or each.endswith("/")}
    return tuple(
        sorted(each for each in prefixes if not any(each != other and each.startswith(other) for other in folders))
    )


def _outputs(calls: Mapping[str, ModuleCall]) -> dict[str, tuple[str, Any]]:
    """Return description and value of what Python needs after apply."""
    outputs: dict[str, tuple[str, Any]] = {}
    if buckets := {name: call.output("uri") for name, call in calls.items() if call.source.endswith("/bucket")}:
        outputs["buckets"] = ("Address of each bucket, by the name of its module call.", buckets)
    for call in calls.values():
        if call.source.endswith("/registry"):
            outputs["registry"] = ("Repository of the images with the code.", image_repository(call))
        if call.source.endswith("/work_pool"):
            pool = {"name": call.output("name"), "type": call.output("type")}
            outputs["work_pool"] = ("The Prefect work pool.", pool)
            outputs["job_variables"] = ("Job variables of all runs.", call.output("job_variables"))
            outputs["pipeline_job_variables"] = (
                "Job variables of a pipeline's runs, on top.",
                call.output("pipeline_job_variables"),
            )
    return outputs


def _settings(
    pipelines: Iterable[Pipeline], calls: Mapping[str, ModuleCall], previews: tuple[str, ...]
) -> dict[str, tuple[str, Any]]:
    """Return the output with settings of executors that are known after apply only; previews run all pipelines."""
    found: dict[str, dict[str, dict[str, ModuleCall]]] = {}
    for pipeline in pipelines:
        for _, node in _bodies(pipeline.graph):
            for call in node.executor.modules():
                for who in (pipeline.name, *previews) if call.settings and call.name in calls else ():
                    found.setdefault(who, {}).setdefault(node.executor.name, {})[call.name] = call

    def merged(pipeline: str, asked: Iterable[ModuleCall]) -> Reference:
        parts, single = list[str](), dict[str, dict[str, str]]()
        for call in asked:
            if isinstance(call.settings, Mapping):
                for setting, output in call.settings.items():
                    single.setdefault(setting, {})[call.name] = call.output(output).expression
            else:
                parts += [f"module.{call.name}.settings", f'module.{call.name}.pipeline_settings["{pipeline}"]']
        for setting, each in single.items():
            parts.append(f"{{ {setting} = {{ {', '.join(f'{name} = {value}' for name, value in each.items())} }} }}")
        return Reference(f"merge({', '.join(parts)})")

    value = {
        pipeline: {executor: merged(pipeline, asked.values()) for executor, asked in executors.items()}
        for pipeline, executors in found.items()
    }
    return {"executors": ("Settings of executors, by pipeline and executor.", value)} if value else {}


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
