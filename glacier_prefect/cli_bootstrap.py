"""`glacier bootstrap` for the shell. Importing this loads neither Prefect nor a cloud SDK."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from glacier_prefect.cli_errors import print_json
from glacier_prefect.environments import Project
from glacier_prefect.errors import UsageError
from glacier_prefect.loading import load_project
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider

if TYPE_CHECKING:
    from glacier_prefect.bootstrap import Proposed
    from glacier_prefect.terraform_plan import Event


def bootstrap(
    *,
    modules: Annotated[
        str | None,
        Parameter(
            help="Kinds of modules that GitHub's workflows may make, as in bucket,work_pool; those that the pipelines "
            "need if left out. What was granted before stays."
        ),
    ] = None,
    exact: Annotated[
        bool, Parameter(negative="", help="Take back what was granted before and is not asked for.")
    ] = False,
    repository: Annotated[
        str | None,
        Parameter(help="The repository on GitHub that is trusted, owner/name; that of `origin` if left out."),
    ] = None,
    branch: Annotated[str | None, Parameter(help="The branch that may deploy; main if left out.")] = None,
    github_environment: Annotated[
        str | None, Parameter(help="The environment on GitHub that may deploy, in place of the branch.")
    ] = None,
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="Do not ask.")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")] = False,
) -> None:
    """Make the bucket of Terraform's state, and what GitHub's workflows need to plan and deploy; once, by a person with
    rights over the account. What is there is taken over.
    """
    from glacier_prefect import bootstrap as boot

    with redirect_stdout(sys.stderr):
        project, pipelines = load_project(())
        kinds = None if modules is None else tuple(each.strip() for each in modules.split(",") if each.strip())
        asked = boot.Asked(
            kinds=kinds, exact=exact, repository=repository, branch=branch, github_environment=github_environment
        )

        def confirm(proposed: Proposed) -> bool:
            print("\n".join(_lines(proposed, project)), file=sys.stderr)
            if yes:
                return True
            if not sys.stdin.isatty():
                raise UsageError("Nobody can be asked here. Nothing was changed.\nHint: --yes does it without asking.")
            print("Do it? [y/N] ", end="", file=sys.stderr, flush=True)
            return sys.stdin.readline().strip().lower() in ("y", "yes")

        done = boot.bootstrap(project, pipelines, asked, confirm=confirm, on_event=_progress)
    if done is None:
        print("Nothing was changed.", file=sys.stderr)
        raise SystemExit(1)
    step = _step(project, done)
    if json:
        granted = asdict(done.granted)
        tree = {"version": 1, "project": project.require_name(), "environment": project.environment().name}
        tree |= {"changed": done.plan.has_changes, "imported": dict(done.imported), "granted": granted}
        print_json({**tree, "notes": list(done.notes), "workflow": step})
        return
    if not done.plan.has_changes:
        print("\n".join(_lines(done, project)))
    who = done.granted.github_environment or done.granted.branch
    what = "environment" if done.granted.github_environment else "branch"
    print(f"Workflows of {done.granted.repository} may plan, and deploy from the {what} {who}. They need")
    print("permissions: { id-token: write, contents: read }, and before the step that deploys:\n")
    print("\n".join(f"      {line}" for line in step.splitlines()))


def _lines(proposed: Proposed, project: Project) -> list[str]:
    from glacier_prefect.deployments import show
    from glacier_prefect.deployments.deploying import Planned
    from glacier_prefect.deployments.state import NOTHING

    planned = Planned(changes=(), infrastructure=proposed.plan, api="", flows={}, record=NOTHING)
    shown = show.as_text(show.tree(planned, project.require_name(), project.environment().name))
    taken = [f"{address}: is there ({each}), and is taken over" for address, each in sorted(proposed.imported.items())]
    grants = proposed.granted
    words = [f"granted: {', '.join(grants.kinds) or 'nothing'}"]
    words += [f"buckets: {', '.join(grants.buckets)}"] if grants.buckets else []
    words += ["previews: pull requests may make and remove them"] if grants.previews else []
    return [shown, *taken, *words, *proposed.notes]


def _progress(event: Event) -> None:
    if event.kind in ("interrupted", "state_lock_acquire") or (sys.stderr.isatty() and event.kind.startswith("apply_")):
        print(event.message, file=sys.stderr)


def _step(project: Project, done: Proposed) -> str:
    provider: Any = environment_provider(project)
    assert isinstance(provider, CloudProvider)  # else there is nothing to bootstrap
    return provider.workflow(done.granted)
