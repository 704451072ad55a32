"""`plan`, `deploy`, `rollback`, `status` and `destroy` of a project: wires pipelines, Terraform and Prefect.

What the command line, the action and `pipeline.deploy()` call. Importing this loads neither Prefect nor a cloud SDK;
calling does.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect import granted
from glacier_prefect.disk import user_cache
from glacier_prefect.environments import Project, find_project, preview_folder, preview_name
from glacier_prefect.errors import BackendChanged, StateNotShared, UsageError
from glacier_prefect.loading import load_project
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider, named_exchange

if TYPE_CHECKING:
    from glacier_prefect.deployments.code import Delivery
    from glacier_prefect.deployments.code_bucket import BucketCode
    from glacier_prefect.deployments.deploying import Desired, Planned
    from glacier_prefect.deployments.state import State
    from glacier_prefect.terraform_cli import TerraformCLI
    from glacier_prefect.terraform_plan import Event

_LOCK_SECONDS = 30  # a Terraform that outlived a killed deploy may take a while to end

Confirm = Callable[["Planned"], bool]
OnEvent = Callable[["Event"], object]


def _yes(planned: Planned) -> bool:
    return True


def _quiet(event: Event) -> None:
    pass


def plan(project: Project, pipelines: Sequence[Pipeline], *, on_event: OnEvent = _quiet, **options: Any) -> Planned:
    """Return what a deploy would do; neither infrastructure nor Prefect is changed.

    Args:
        project: The project; its environment is that of this process.
        pipelines: All that it has.
        on_event: Called with what Terraform says meanwhile.
        options: As in `deployments.deploying.Options`.
    """
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    state = _state(project, on_event)
    state.numbers()  # what keeps them may be out of reach, which is said better here than by Terraform
    wanted, terraform, known = _parts(project, pipelines, on_event, _delivery(project), looks=True)
    with Api() as api:
        planned = deploying.plan(api, state, wanted, terraform, deploying.Options(**options), known)
    planned.close()
    return planned


def deploy(
    project: Project,
    pipelines: Sequence[Pipeline],
    *,
    confirm: Confirm = _yes,
    on_event: OnEvent = _quiet,
    **options: Any,
) -> Planned | None:
    """Bring infrastructure and Prefect to what the pipelines say; return what was done, None if it was not confirmed.

    Args:
        project: The project; its environment is that of this process.
        pipelines: All that it has.
        confirm: Asked with what is going to be done, if anything is.
        on_event: Called with what Terraform says meanwhile.
        options: As in `deployments.deploying.Options`.
    """
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    state, delivery = _state(project, on_event), _delivery(project, on_event)
    with Api() as api, state.locked():  # before the root is written, which another deploy may be reading
        wanted, terraform, known = _parts(project, pipelines, on_event, delivery)
        return deploying.deploy(api, state, wanted, terraform, deploying.Options(**options), confirm, delivery, known)


def rollback(project: Project, to: int, *, confirm: Confirm = _yes, on_event: OnEvent = _quiet) -> Planned | None:
    """Point deployments back to record `to`; return what was done, None if it was not confirmed."""
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    state = _state(project, on_event)
    with Api() as api:
        return deploying.rollback(api, state, to, confirm, _archives(project))


def status(project: Project, pipelines: Sequence[Pipeline], *, on_event: OnEvent = _quiet) -> dict[str, Any]:
    """Return what has drifted since the last deploy."""
    from glacier_prefect.deployments.api import Api
    from glacier_prefect.deployments.status import status as status_of

    state = _state(project, on_event)
    state.numbers()  # as in `plan`
    wanted, terraform, known = _parts(project, pipelines, on_event, _delivery(project), looks=True)
    with Api() as api:
        return status_of(api, state, wanted, terraform, known)


def destroy(
    project: Project,
    *,
    allow_data_loss: bool = False,
    purge_history: bool = False,
    confirm: Confirm = _yes,
    on_event: OnEvent = _quiet,
) -> Planned | None:
    """Delete what was deployed, in Prefect and the infrastructure; return it, None if it was not confirmed.

    Of a preview that is its deployments, and all that it wrote.
    """
    from glacier_prefect import infrastructure
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    state = _state(project, on_event)
    if (preview := preview_name()) is not None:
        with Api() as api, state.locked():
            discard = partial(_discard, project, state, preview, on_event)
            return deploying.destroy(api, state, purge_history=purge_history, confirm=confirm, discard=discard)
    with Api() as api, state.locked():
        root = infrastructure.root_folder(project, project.environment().name)
        if project.environment().state is not None:  # it may have been deployed from another machine
            root = infrastructure.generate_empty(project, granted.find(project))
        done = deploying.destroy(
            api,
            state,
            _driver(project, root, on_event) if (root / infrastructure.FILE).exists() else None,
            allow_data_loss=allow_data_loss,
            purge_history=purge_history,
            confirm=confirm,
            archives=_archives(project),
        )
        if done is not None:
            shutil.rmtree(root, ignore_errors=True)
            with contextlib.suppress(OSError):  # where something else is kept
                root.parent.rmdir()
                root.parent.parent.rmdir()
        return done


def of(pipeline: Pipeline) -> tuple[Project, list[Pipeline]]:
    """Return the project that a pipeline's file is in, and all its pipelines.

    Raises:
        ConfigurationError: The pipeline is in no file.
    """
    pipeline.require_variable("deployed")
    return load_project(start=Path(str(pipeline.file)))


def tree(planned: Planned, project: Project, pipelines: Sequence[Pipeline] = ()) -> dict[str, Any]:
    """Return what is or was done as plain data: version 1 of `glacier plan --json`.

    Args:
        planned: What is or was done.
        project: The project.
        pipelines: Those whose graphs are wanted, too.
    """
    from glacier_prefect.deployments import show
    from glacier_prefect.report import render_mermaid

    graphs = {each.name: render_mermaid(each.analyze()) for each in pipelines}
    return {
        **show.tree(planned, project.require_name(), project.environment().name),
        **({"graphs": graphs} if graphs else {}),
    }


def registered(project: Project, pipelines: Sequence[Pipeline]) -> dict[str, Any]:
    """Return what a deploy would register in Prefect, by kind and name, as far as it is known beforehand."""
    return {f"{each.kind} {each.name}": dict(each.fields) for each in _desired(project, pipelines)({})}


def check_shared(project: Project) -> None:
    """Refuse an environment whose state is on this machine only.

    Raises:
        StateNotShared: It is.
    """
    environment = project.environment()
    if environment.state is not None:
        return
    where = f"{environment.where or environment.name}: the state of this environment is on the machine that deploys"
    hint = (
        "an environment with the provider 'local' is for one machine; deploy one of a cloud"
        if environment.provider == "local"
        else 'write state = "BUCKET" there; `glacier bootstrap` makes the bucket'
    )
    raise StateNotShared(f"{where}, and this machine is not there the next time.\nHint: {hint}.")


def checked_project() -> Project:
    """Return the project without loading its pipelines, but with its settings checked as then."""
    project = find_project()
    project.require_name()
    environment_provider(project)
    return project


def _state(project: Project, on_event: OnEvent) -> State:
    """Return the environment's records, lock and journal: beside Terraform's state, wherever that is."""
    from glacier_prefect import infrastructure
    from glacier_prefect.deployments.kept import KeptFolder
    from glacier_prefect.deployments.kept_bucket import KeptBucket
    from glacier_prefect.deployments.state import State
    from glacier_prefect.terraform_plan import Event

    project.require_name()  # before anything is asked of Prefect
    environment, provider = project.environment(), environment_provider(project)
    below = f"/preview/{preview}" if (preview := preview_name()) else ""
    here = KeptFolder(project.folder / ".glacier" / f"{environment.name}{below}")
    place = environment.state
    if place is None or (objects := provider.state_objects(place)) is None:
        return State(here)
    if State(here).journal.exists():
        raise UsageError(
            f"A deploy of {environment.name!r} was killed while its state was kept on this machine, and is neither "
            "undone nor finished. Nothing was done.\n"
            f"Hint: take `state` out of {environment.where}, deploy, and put it in again."
        )
    bucket = KeptBucket(
        objects,
        granted.state_key(project) + below,
        state=place,
        environment=environment.name,
        root=infrastructure.root_folder(project, environment.name),
        waiting=lambda message: on_event(Event(kind="waiting", message=message)),
    )
    return State(bucket, before=here)


def _parts(
    project: Project,
    pipelines: Sequence[Pipeline],
    on_event: OnEvent,
    delivery: Delivery | None,
    *,
    looks: bool = False,
) -> tuple[Desired, TerraformCLI | None, Mapping[str, Any]]:
    """Return what is wanted in Prefect, and what drives Terraform: for a preview nothing but its outputs, as the
    infrastructure is that of the environment.
    """
    wanted = _desired(project, pipelines, delivery)
    if preview_name() is None:
        return wanted, _terraform(project, pipelines, on_event, looks=looks), {}
    from glacier_prefect.deployments import previews
    from glacier_prefect.deployments.deploying import outputs_of

    previews.check(project, pipelines)
    outputs = outputs_of(_terraform(project, pipelines, on_event, looks=True))
    previews.check_deployed(project, outputs)
    return wanted, None, outputs


def _discard(project: Project, state: State, preview: str, on_event: OnEvent) -> None:
    """Remove what a preview wrote to the buckets that its record names, and those that the code here names: somebody
    may have run it without deploying it.
    """
    from glacier_prefect.deployments import previews
    from glacier_prefect.terraform_plan import Event

    told = previews.recorded(state)
    try:
        exchange = named_exchange(project)
        told += [previews.places(each.graph.locations, exchange) for each in load_project(())[1]]
    except Exception as error:  # whatever the code here does: that of the preview may be gone
        on_event(Event(kind="preview", message=f"Only what is recorded is removed, as the code fails: {error}"))
    removed = previews.discard(told, preview)
    shutil.rmtree(user_cache() / preview_folder(), ignore_errors=True)
    on_event(Event(kind="preview", message=f"Removed what the preview wrote: {removed} objects."))


def _delivery(project: Project, on_event: OnEvent = _quiet) -> Delivery | None:
    """Return what brings code to where workers find it, None if nothing has to."""
    environment = project.environment()
    if environment.code != "image":
        return _archives(project) if environment.code == "bucket" else None
    from glacier_prefect.deployments.archive import Archive
    from glacier_prefect.deployments.code_image import ImageCode
    from glacier_prefect.terraform_plan import Event

    return ImageCode(
        Archive(project), environment.image, lambda line: on_event(Event(kind="build_progress", message=line))
    )


def _archives(project: Project) -> BucketCode | None:
    """Return what knows the archives of code, None on one machine, where there are none."""
    provider = environment_provider(project).resolved()
    if not isinstance(provider, CloudProvider):
        return None
    from glacier_prefect.deployments.archive import Archive
    from glacier_prefect.deployments.code_bucket import BucketCode

    return BucketCode(Archive(project), project, provider)


def _desired(project: Project, pipelines: Sequence[Pipeline], delivery: Delivery | None = None) -> Desired:
    from glacier_prefect.deployments.desired import Target, desired
    from glacier_prefect.providers.environment import environment_pool

    environment = project.environment()
    known = asdict(environment)
    pool = environment_pool(project)
    target = Target(
        project=project.require_name(),
        env=environment.name,
        folder=project.folder.resolve(),
        code=environment.code,
        git=environment.git,
        delivery=delivery,
        pool=replace(pool, credentials=environment.work_pool_credentials, secrets=environment.secrets),
        exchange=named_exchange(project),
        settings={key: known[key] for key in ("provider", "settings", "bucket_prefix", "providers", "secrets")},
        preview=preview_name(),
    )

    def wanted(outputs: Mapping[str, Any]) -> Any:
        return desired(pipelines, target, outputs)

    return wanted


def _terraform(
    project: Project, pipelines: Sequence[Pipeline], on_event: OnEvent, *, looks: bool = False
) -> TerraformCLI:
    from glacier_prefect import infrastructure

    made = infrastructure.generate(pipelines, project, granted.find(project))
    return _driver(project, made.folder, on_event, looks=looks)


def _driver(project: Project, root: Path, on_event: OnEvent, *, looks: bool = False) -> TerraformCLI:
    """Return what drives Terraform in a root.

    Args:
        project: The project.
        root: The folder.
        on_event: Called with what Terraform says.
        looks: Whether nothing is going to be changed. Then a remote state is not locked, which takes the right to
            write; one on this machine is, since Terraform rewrites it in place.
    """
    from glacier_prefect.terraform_cli import TerraformCLI

    environment = project.environment()
    driver = TerraformCLI(
        root,
        binary=environment.terraform,
        on_event=on_event,
        lock=not looks or environment.state is None,
        lock_seconds=_LOCK_SECONDS,
    )
    try:
        driver.init()
    except BackendChanged as error:
        error.add_note(
            "Deploy records that are on this machine follow with the next deploy. From one bucket to another, copy all "
            f"below {project.name}/{environment.name}/ instead, and delete {root / '.terraform'}."
        )
        raise
    return driver
