"""`glacier plan`, `deploy`, `rollback`, `status`, `destroy`: wires pipelines, Terraform and Prefect for the shell.

Thin: each loads the project, calls what `deployments` and `infrastructure` offer, and prints. Importing this loads
neither Prefect nor a cloud SDK; calling a command does.
"""

from __future__ import annotations

import contextlib
import json as json_format
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from glacier_prefect.environments import Project, find_project
from glacier_prefect.errors import OptionError, UsageError
from glacier_prefect.loading import load_project
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.base import environment_provider

if TYPE_CHECKING:
    from glacier_prefect.deployments.deploying import Desired, Planned
    from glacier_prefect.deployments.state import State
    from glacier_prefect.terraform_cli import TerraformCLI
    from glacier_prefect.terraform_plan import Event

_LOCK_SECONDS = 30  # a Terraform that outlived a killed deploy may take a while to end

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")]
Adopt = Annotated[
    bool, Parameter(negative="", help="Take over objects in Prefect of these names that someone else made.")
]
Limit = Annotated[
    int | None,
    Parameter(help="How many deployments may be deleted because their pipelines are gone; 5 if left out."),
]
Loss = Annotated[bool, Parameter(negative="", help="Allow to destroy or replace what holds data.")]


def plan(
    *,
    format: Annotated[Literal["text", "markdown", "json"], Parameter(help="What to print.")] = "text",
    json: Json = False,
    adopt: Adopt = False,
    prune_limit: Limit = None,
) -> None:
    """Show what `glacier deploy` would do, infrastructure and Prefect, field by field. Changes neither."""
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    with _stdout_kept():
        project, pipelines = load_project(())
        terraform = _terraform(project, pipelines)
        options = deploying.Options(adopt=adopt, prune_limit=prune_limit)
        with Api() as api:
            planned = deploying.plan(api, _state(project), _desired(project, pipelines), terraform, options)
    planned.close()
    print(_rendered(planned, project, "json" if json else format))


def deploy(
    *,
    yes: Yes = False,
    json: Json = False,
    adopt: Adopt = False,
    prune_limit: Limit = None,
    allow_data_loss: Loss = False,
) -> None:
    """Bring infrastructure and Prefect to what the pipelines say: shows it, asks, does it."""
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    with _stdout_kept():
        project, pipelines = load_project(())
        options = deploying.Options(adopt=adopt, prune_limit=prune_limit, allow_data_loss=allow_data_loss)
        state, wanted, asking = _state(project), _desired(project, pipelines), _asking(project, yes, "Deploy")
        with Api() as api, state.locked():  # before the root is written, which another deploy may be reading
            terraform = _terraform(project, pipelines)
            done = deploying.deploy(api, state, wanted, terraform, options, asking)
    _ended(done, project, json, "Deployed.")


def rollback(
    *, to: Annotated[int, Parameter(help="Number of the record to go back to.")], yes: Yes = False, json: Json = False
) -> None:
    """Point deployments back to an earlier deploy: code, job variables, schedule, parameters."""
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    project = _checked_project()
    state = _state(project)
    with Api() as api:
        done = deploying.rollback(api, state, to, _asking(project, yes, "Roll back"))
    local = project.environment().code == "local"
    print(
        "Not touched: infrastructure, data, run history, and deployments that are newer"
        + (', and with code = "local" the files that the worker runs.' if local else "."),
        file=sys.stderr,
    )
    _ended(done, project, json, f"Rolled back to {to}.")


def status(*, json: Json = False) -> None:
    """Show what has drifted: code that is newer than deployed, Prefect or infrastructure that someone changed."""
    from glacier_prefect.deployments import show
    from glacier_prefect.deployments.api import Api
    from glacier_prefect.deployments.status import status as status_of

    with _stdout_kept():
        project, pipelines = load_project(())
        terraform = _terraform(project, pipelines)
        with Api() as api:
            found = status_of(api, _state(project), _desired(project, pipelines), terraform)
    name, env = project.require_name(), project.environment().name
    if json:
        print(json_format.dumps({**found, "project": name, "environment": env}, indent=2, ensure_ascii=False))
    else:
        print(show.status_text(found, name, env))


def destroy(
    *,
    yes: Yes = False,
    json: Json = False,
    allow_data_loss: Loss = False,
    purge_history: Annotated[
        bool, Parameter(negative="", help="Delete the runs of these deployments too, and flows that nobody else uses.")
    ] = False,
) -> None:
    """Delete what was deployed, in Prefect and the infrastructure; flows and run history are kept."""
    from glacier_prefect import infrastructure
    from glacier_prefect.deployments import deploying
    from glacier_prefect.deployments.api import Api

    project = _checked_project()
    root = infrastructure.root_folder(project, project.environment().name)
    state = _state(project)
    with _stdout_kept(), Api() as api, state.locked():
        done = deploying.destroy(
            api,
            state,
            _driver(project, root) if (root / infrastructure.FILE).exists() else None,
            allow_data_loss=allow_data_loss,
            purge_history=purge_history,
            confirm=_asking(project, yes, "Destroy"),
        )
        if done is not None:
            shutil.rmtree(root, ignore_errors=True)
    _ended(done, project, json, "Destroyed.")


def _checked_project() -> Project:
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
    from glacier_prefect.providers.base import environment_provider, named_exchange

    environment = project.environment()
    known = asdict(environment)
    try:
        pool = environment_provider(project).work_pool(environment.work_pool)
    except OptionError as error:
        error.add_note(f"In {environment.where}: work_pool.")
        raise
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


def _terraform(project: Project, pipelines: Sequence[Pipeline]) -> TerraformCLI:
    from glacier_prefect import infrastructure

    return _driver(project, infrastructure.generate(pipelines, project).folder)


def _driver(project: Project, root: Path) -> TerraformCLI:
    from glacier_prefect.terraform_cli import TerraformCLI

    driver = TerraformCLI(root, binary=project.environment().terraform, on_event=_progress, lock_seconds=_LOCK_SECONDS)
    driver.init()
    return driver


def _progress(event: Event) -> None:
    if event.kind in ("interrupted", "state_lock_acquire") or (sys.stderr.isatty() and event.kind.startswith("apply_")):
        print(event.message, file=sys.stderr)


def _asking(project: Project, yes: bool, what: str) -> Callable[[Planned], bool]:
    def ask(planned: Planned) -> bool:
        print(_rendered(planned, project, "text"), file=sys.stderr)
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError("Nobody can be asked here. Nothing was changed.\nHint: --yes does it without asking.")
        print(f"{what}? [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    return ask


def _ended(done: Planned | None, project: Project, json: bool, said: str) -> None:
    if done is None:
        print("Nothing was changed.", file=sys.stderr)
        raise SystemExit(1)
    if json or not done.has_changes:
        print(_rendered(done, project, "json" if json else "text"))
    else:
        print(said, file=sys.stderr)


def _rendered(planned: Planned, project: Project, format: str) -> str:
    from glacier_prefect.deployments import show

    tree = show.tree(planned, project.require_name(), project.environment().name)
    if format == "json":
        return json_format.dumps(tree, indent=2, ensure_ascii=False)
    return show.as_markdown(tree) if format == "markdown" else show.as_text(tree)


@contextlib.contextmanager
def _stdout_kept() -> Iterator[None]:
    """Send what the user's code prints to stderr: stdout has the plan."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
