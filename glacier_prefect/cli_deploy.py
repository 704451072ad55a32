"""`glacier plan`, `deploy`, `rollback`, `status`, `destroy` for the shell.

Thin: each loads the project, calls what `projects` offers, and prints. Importing this loads neither Prefect nor a cloud
SDK; calling a command does.
"""

from __future__ import annotations

import contextlib
import json as json_format
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from glacier_prefect import projects
from glacier_prefect.environments import Project
from glacier_prefect.errors import UsageError
from glacier_prefect.loading import load_project

if TYPE_CHECKING:
    from glacier_prefect.deployments.deploying import Planned
    from glacier_prefect.terraform_plan import Event

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
    lock: Annotated[
        bool, Parameter(negative="--no-lock", help="Lock Terraform's state meanwhile; who may only read it cannot.")
    ] = True,
) -> None:
    """Show what `glacier deploy` would do, infrastructure and Prefect, field by field. Changes neither."""
    with _stdout_kept():
        project, pipelines = load_project(())
        planned = projects.plan(project, pipelines, lock=lock, on_event=_progress, adopt=adopt, prune_limit=prune_limit)
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
    with _stdout_kept():
        project, pipelines = load_project(())
        done = projects.deploy(
            project,
            pipelines,
            confirm=_asking(project, yes, "Deploy"),
            on_event=_progress,
            adopt=adopt,
            prune_limit=prune_limit,
            allow_data_loss=allow_data_loss,
        )
    _ended(done, project, json, "Deployed.")


def rollback(
    *, to: Annotated[int, Parameter(help="Number of the record to go back to.")], yes: Yes = False, json: Json = False
) -> None:
    """Point deployments back to an earlier deploy: code, job variables, schedule, parameters."""
    project = projects.checked_project()
    done = projects.rollback(project, to, confirm=_asking(project, yes, "Roll back"))
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

    with _stdout_kept():
        project, pipelines = load_project(())
        found = projects.status(project, pipelines, on_event=_progress)
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
    project = projects.checked_project()
    with _stdout_kept():
        done = projects.destroy(
            project,
            allow_data_loss=allow_data_loss,
            purge_history=purge_history,
            confirm=_asking(project, yes, "Destroy"),
            on_event=_progress,
        )
    _ended(done, project, json, "Destroyed.")


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

    tree = projects.tree(planned, project)
    if format == "json":
        return json_format.dumps(tree, indent=2, ensure_ascii=False)
    return show.as_markdown(tree) if format == "markdown" else show.as_text(tree)


@contextlib.contextmanager
def _stdout_kept() -> Iterator[None]:
    """Send what the user's code prints to stderr: stdout has the plan."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
