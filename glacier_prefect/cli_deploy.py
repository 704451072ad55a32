"""`glacier plan`, `deploy`, `rollback`, `status`, `destroy` for the shell.

Thin: each loads the project, calls what `projects` offers, and prints. Importing this loads neither Prefect nor a cloud
SDK; calling a command does.
"""

from __future__ import annotations

import contextlib
import json as json_format
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.console import Console

from glacier_prefect import projects
from glacier_prefect.cli_errors import print_json
from glacier_prefect.environments import Project, find_project
from glacier_prefect.errors import UsageError
from glacier_prefect.loading import load_project
from glacier_prefect.pipeline import Pipeline

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
Prune = Annotated[
    bool, Parameter(negative="--no-prune", name="--prune", help="Delete deployments whose pipelines are gone.")
]
Shared = Annotated[
    bool,
    Parameter(negative="", help="Refuse an environment whose state is on this machine only, as a job in CI has to."),
]
Loss = Annotated[bool, Parameter(negative="", help="Allow to destroy or replace what holds data.")]


def plan(
    *,
    format: Annotated[Literal["text", "markdown", "json"], Parameter(help="What to print.")] = "text",
    json: Json = False,
    adopt: Adopt = False,
    prune: Prune = True,
    prune_limit: Limit = None,
    shared_state: Shared = False,
) -> None:
    """Show what `glacier deploy` would do, infrastructure and Prefect, field by field. Changes neither."""
    with _stdout_kept():
        project, pipelines = _loaded(shared_state)
        planned = projects.plan(
            project, pipelines, on_event=_progress, adopt=adopt, prune=prune, prune_limit=prune_limit
        )
    print(_rendered(planned, project, "json" if json else format, sys.stdout, pipelines))


def deploy(
    *,
    yes: Yes = False,
    json: Json = False,
    adopt: Adopt = False,
    prune: Prune = True,
    prune_limit: Limit = None,
    allow_data_loss: Loss = False,
    expect: Annotated[
        str | None,
        Parameter(help="The `digest` of the `glacier plan --json` that was agreed to; anything else is a drift."),
    ] = None,
    on_drift: Annotated[Literal["stop", "apply"], Parameter(help="What to do then.")] = "stop",
    shared_state: Shared = False,
) -> None:
    """Bring infrastructure and Prefect to what the pipelines say: shows it, asks, does it."""
    with _stdout_kept():
        project, pipelines = _loaded(shared_state)
        done = projects.deploy(
            project,
            pipelines,
            confirm=_asking(project, yes, "Deploy"),
            on_event=_progress,
            adopt=adopt,
            prune=prune,
            prune_limit=prune_limit,
            allow_data_loss=allow_data_loss,
            expect=expect,
            on_drift=on_drift,
        )
    _ended(done, project, json, "Deployed.")


def rollback(
    *, to: Annotated[int, Parameter(help="Number of the record to go back to.")], yes: Yes = False, json: Json = False
) -> None:
    """Point deployments back to an earlier deploy: code, job variables, schedule, parameters."""
    project = projects.checked_project()
    done = projects.rollback(project, to, confirm=_asking(project, yes, "Roll back"), on_event=_progress)
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
        print_json({**found, "project": name, "environment": env})
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
    shared_state: Shared = False,
) -> None:
    """Delete what was deployed, in Prefect and the infrastructure; flows and run history are kept."""
    project = projects.checked_project()
    if shared_state:
        projects.check_shared(project)
    with _stdout_kept():
        done = projects.destroy(
            project,
            allow_data_loss=allow_data_loss,
            purge_history=purge_history,
            confirm=_asking(project, yes, "Destroy"),
            on_event=_progress,
        )
    _ended(done, project, json, "Destroyed.")


def _loaded(shared: bool) -> tuple[Project, list[Pipeline]]:
    if shared:
        projects.check_shared(find_project())
    return load_project(())


def _progress(event: Event) -> None:
    if event.kind in ("interrupted", "state_lock_acquire", "state_unlocked", "waiting", "preview") or (
        sys.stderr.isatty() and event.kind.startswith(("apply_", "build_"))
    ):
        print(event.message, file=sys.stderr)


def _asking(project: Project, yes: bool, what: str) -> Callable[[Planned], bool]:
    def ask(planned: Planned) -> bool:
        print(_rendered(planned, project, "text", sys.stderr), file=sys.stderr)
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
        print(_rendered(done, project, "json" if json else "text", sys.stdout))
    else:
        print(said, file=sys.stderr)


def _rendered(
    planned: Planned, project: Project, format: str, stream: IO[str], pipelines: Sequence[Pipeline] = ()
) -> str:
    """Return a plan as it is printed to a stream: with color where that is a terminal, and NO_COLOR is not set."""
    from glacier_prefect.deployments import show

    tree = projects.tree(planned, project, pipelines if format == "json" else ())
    if format == "json":
        return json_format.dumps(tree, indent=2, ensure_ascii=False)
    if format == "markdown":
        return show.as_markdown(tree)
    console = Console(file=stream)
    return show.as_text(tree, color=console.color_system is not None and not console.no_color)


@contextlib.contextmanager
def _stdout_kept() -> Iterator[None]:
    """Send what the user's code prints to stderr: stdout has the plan."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
