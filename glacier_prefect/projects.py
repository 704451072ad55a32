"""`plan`, `deploy`, `rollback`, `status` and `destroy` of a project: wires pipelines, Terraform and Prefect.

What the command line, the action and `pipeline.deploy()` call. Importing this loads neither Prefect nor a cloud SDK;
calling does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect import granted
from glacier_prefect.environments import Project, find_project
from glacier_prefect.loading import load_project
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.base import environment_provider

if TYPE_CHECKING:
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


def plan(
    project: Project,
    pipelines: Sequence[Pipeline],
    *,
    lock: bool = True,
    on_event: OnEvent = _quiet,
    **options: Any,
) -> Planned:
    """Return what a deploy would do; neither infrastructure nor Prefect is changed.

    Args:
        project: The project; its environment is that of this process.
        pipelines: All that it has.
        lock: Whether to lock Terraform's state meanwhile; False for who may only read it.
        on_event: Called with what Terraform says meanwhile.
        options: As in `deployments.deploying.Options`.
    """
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    terraform = _terraform(project, pipelines, on_event, lock=lock)
    wanted = _desired(project, pipelines)
    with Api() as api:
        planned = deploying.plan(api, _state(project), wanted, terraform, deploying.Options(**options))
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

    state, wanted = _state(project), _desired(project, pipelines)
    with Api() as api, state.locked():  # before the root is written, which another deploy may be reading
        terraform = _terraform(project, pipelines, on_event)
        return deploying.deploy(api, state, wanted, terraform, deploying.Options(**options), confirm)


def rollback(project: Project, to: int, *, confirm: Confirm = _yes) -> Planned | None:
    """Point deployments back to record `to`; return what was done, None if it was not confirmed."""
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    state = _state(project)
    with Api() as api:
        return deploying.rollback(api, state, to, confirm)


def status(project: Project, pipelines: Sequence[Pipeline], *, on_event: OnEvent = _quiet) -> dict[str, Any]:
    """Return what has drifted since the last deploy."""
    from glacier_prefect.deployments.api import Api
    from glacier_prefect.deployments.status import status as status_of

    terraform = _terraform(project, pipelines, on_event)
    with Api() as api:
        return status_of(api, _state(project), _desired(project, pipelines), terraform)


def destroy(
    project: Project,
    *,
    allow_data_loss: bool = False,
    purge_history: bool = False,
    confirm: Confirm = _yes,
    on_event: OnEvent = _quiet,
) -> Planned | None:
    """Delete what was deployed, in Prefect and the infrastructure; return it, None if it was not confirmed."""
    from glacier_prefect import infrastructure
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    root = infrastructure.root_folder(project, project.environment().name)
    state = _state(project)
    with Api() as api, state.locked():
        done = deploying.destroy(
            api,
            state,
            _driver(project, root, on_event) if (root / infrastructure.FILE).exists() else None,
            allow_data_loss=allow_data_loss,
            purge_history=purge_history,
            confirm=confirm,
        )
        if done is not None:
            shutil.rmtree(root, ignore_errors=True)
        return done


def of(pipeline: Pipeline) -> tuple[Project, list[Pipeline]]:
    """Return the project that a pipeline's file is in, and all its pipelines.

    Raises:
        ConfigurationError: The pipeline is in no file.
    """
    pipeline.require_variable("deployed")
    return load_project(start=Path(str(pipeline.file)))


def tree(planned: Planned, project: Project) -> dict[str, Any]:
    """Return what is or was done as plain data: version 1 of `glacier plan --json`."""
    from glacier_prefect.deployments import show

    return show.tree(planned, project.require_name(), project.environment().name)


def checked_project() -> Project:
    """Return the project without loading its pipelines, but with its settings checked as then."""
    project = find_project()
    project.require_name()
    environment_provider(project)
    return project


def _state(project: Project) -> State:
    from glacier_prefect.deployments.state import State

    return State(project.folder / ".glacier" / project.environment().name)


def _desired(project: Project, pipelines: Sequence[Pipeline]) -> Desired:
    from glacier_prefect.deployments.desired import Target, desired
    from glacier_prefect.providers.base import environment_pool, named_exchange

    environment = project.environment()
    known = asdict(environment)
    pool = environment_pool(project)
    target = Target(
        project=project.require_name(),
        env=environment.name,
        folder=project.folder.resolve(),
        code=environment.code,
        git=environment.git,
        pool=replace(pool, credentials=environment.work_pool_credentials, secrets=environment.secrets),
        exchange=named_exchange(project),
        settings={key: known[key] for key in ("provider", "settings", "bucket_prefix", "providers", "secrets")},
    )

    def wanted(outputs: Mapping[str, Any]) -> Any:
        return desired(pipelines, target, outputs)

    return wanted


def _terraform(
    project: Project, pipelines: Sequence[Pipeline], on_event: OnEvent, *, lock: bool = True
) -> TerraformCLI:
    from glacier_prefect import infrastructure

    made = infrastructure.generate(pipelines, project, granted.find(project))
    return _driver(project, made.folder, on_event, lock=lock)


def _driver(project: Project, root: Path, on_event: OnEvent, *, lock: bool = True) -> TerraformCLI:
    from glacier_prefect.terraform_cli import TerraformCLI

    binary = project.environment().terraform
    driver = TerraformCLI(root, binary=binary, on_event=on_event, lock=lock, lock_seconds=_LOCK_SECONDS)
    driver.init()
    return driver
