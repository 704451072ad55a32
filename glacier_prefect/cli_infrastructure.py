"""`glacier generate` and `iam` for the shell: what pipelines need of an environment, and why.

Thin: each loads pipelines, calls what Python users call too, and prints. Importing this loads neither Prefect nor a
cloud SDK.
"""

from __future__ import annotations

import json as json_format
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from glacier_prefect import projects
from glacier_prefect.cli_errors import print_json
from glacier_prefect.environments import shown
from glacier_prefect.errors import UsageError, nearest
from glacier_prefect.loading import load_pipeline, load_project

File = Annotated[str, Parameter(help="A Python file, as in flow.py, or flow.py:name for one of several pipelines.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]


def generate(
    files: Annotated[list[str] | None, Parameter(help="Python files; all of the project if left out.")] = None,
    /,
    *,
    json: Json = False,
    check: Annotated[
        bool, Parameter(negative="", help="Let Terraform check it, too, which needs no credentials: no state is read.")
    ] = False,
    deployments: Annotated[
        bool,
        Parameter(negative="", help="Show in the JSON what would be registered in Prefect, too."),
    ] = False,
) -> None:
    """Write the Terraform configuration of an environment: what the pipelines need there. Changes nothing else."""
    from glacier_prefect import infrastructure

    with redirect_stdout(sys.stderr) if json else nullcontext():
        project, pipelines = load_project(files or ())
        made = infrastructure.generate(pipelines, project)
        if check:
            from glacier_prefect.terraform_cli import TerraformCLI

            terraform = TerraformCLI(made.folder, binary=project.environment().terraform)
            terraform.init(backend=False)
            terraform.validate()
        wanted = projects.registered(project, pipelines) if deployments else None
    calls = [{"name": call.name, "source": call.source} for call in made.calls.values()]
    if json:
        print_json(
            {
                "version": 1,
                "project": project.name,
                "environment": project.environment().name,
                "folder": str(made.folder),
                "pipelines": sorted(each.name for each in pipelines),
                "modules": calls,
                "root": json_format.loads(made.file.read_text(encoding="utf-8")),
                **({} if wanted is None else {"prefect": wanted}),
            }
        )
        return
    print(f"Written to {shown(made.file)}:")
    for call in calls:
        print(f"  {call['name']}  ({call['source']})")


def iam(
    file: File,
    /,
    *,
    task: Annotated[str | None, Parameter(help="Only what this task needs.")] = None,
    json: Json = False,
) -> None:
    """Show which identity may do what where in an environment, and which line of a pipeline is the reason. Changes
    nothing.
    """
    from glacier_prefect.iam import permissions

    with redirect_stdout(sys.stderr) if json else nullcontext():
        pipeline = load_pipeline(file)
        project, _ = load_project([file.partition(":")[0]])
        found = permissions([pipeline], project)
    if task is not None:
        known = [*pipeline.graph.nodes]
        if task not in known:
            raise UsageError(f"Pipeline {pipeline.name!r} has no task {task!r}. {nearest(task, known)}")
        found = [each for each in found if each.task == task]
    if json:
        permitted = [asdict(each) for each in found]
        print_json({"version": 1, "environment": project.environment().name, "permissions": permitted})
        return
    for identity in dict.fromkeys(each.identity for each in found):
        print(f"runs of {identity} may" + (f", for {task}," if task else ""))
        for each in (each for each in found if each.identity == identity):
            words = ", ".join(each.actions) or "not enforced"
            print(f"  {each.verb:<11}  {each.provider}: {each.where}\n{'':15}{words}\n{'':15}since {each.reason}")
