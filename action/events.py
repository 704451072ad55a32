"""What happened on GitHub, and what is to be done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from action.failures import Failed, Reason
from action.inputs import Inputs

DEPLOYING = ("push", "workflow_dispatch", "schedule", "workflow_call", "release", "repository_dispatch")


class Task(Enum):
    """What is to be done."""

    PLAN = "plan"
    DEPLOY = "deploy"
    DESTROY = "destroy"
    COMPARE = "compare"  # with the base branch, where there are no credentials
    REMOVE_PREVIEW = "remove the preview"
    NOTHING = "nothing"


@dataclass(frozen=True, kw_only=True)
class Event:
    """What happened.

    Attributes:
        name: GitHub's word for it, as in "push".
        action: What about it, as in "closed".
        sha: The commit that is checked out.
        pull: Number of the pull request, if it is about one.
        base: Of a pull request, the commit that it is to be merged into.
        outside: Whether it comes from a fork or from Dependabot, whose jobs get no credentials.
        deleted: Whether a branch or tag was deleted.
        run_url: Address of the workflow's run.
    """

    name: str
    action: str = ""
    sha: str = ""
    pull: int | None = None
    base: str = ""
    outside: bool = False
    deleted: bool = False
    run_url: str = ""


def read(environ: Mapping[str, str]) -> Event:
    """Return what happened.

    Args:
        environ: The environment.
    """
    file = environ.get("GITHUB_EVENT_PATH")
    told: dict[str, Any] = json.loads(Path(file).read_text(encoding="utf-8")) if file and Path(file).exists() else {}
    pull = told.get("pull_request") or {}
    source = ((pull.get("head") or {}).get("repo") or {}).get("full_name")  # none if the fork is gone
    server, repository = environ.get("GITHUB_SERVER_URL", "https://github.com"), environ.get("GITHUB_REPOSITORY", "")
    return Event(
        name=environ.get("GITHUB_EVENT_NAME", ""),
        action=str(told.get("action") or ""),
        sha=environ.get("GITHUB_SHA", ""),
        pull=int(pull["number"]) if pull else None,
        base=str((pull.get("base") or {}).get("sha") or ""),
        outside=bool(pull) and (source != repository or environ.get("GITHUB_ACTOR") == "dependabot[bot]"),
        deleted=bool(told.get("deleted")),
        run_url=f"{server}/{repository}/actions/runs/{environ.get('GITHUB_RUN_ID', '')}",
    )


def task(event: Event, inputs: Inputs) -> Task:
    """Return what is to be done about an event.

    Raises:
        Failed: Nothing can be done about such an event, or not that.
    """
    if event.name == "pull_request_target":
        raise Failed(
            Reason.BAD_INPUT,
            "The event pull_request_target gives credentials to whoever opens a pull request; glacier/deploy does not "
            "run there.\nHint: on: pull_request",
        )
    if event.outside:
        if inputs.command in ("deploy", "destroy"):
            raise Failed(
                Reason.BAD_INPUT,
                f"The command {inputs.command} needs credentials, which the job of a pull request from a fork, or from "
                "Dependabot, does not have.\nHint: command: auto, which compares with the base branch then.",
            )
        return Task.NOTHING if event.action == "closed" else Task.COMPARE
    if inputs.command != "auto":
        return Task(inputs.command)
    if event.name == "pull_request":
        if event.action == "closed":
            return Task.REMOVE_PREVIEW if inputs.preview else Task.NOTHING
        return Task.PLAN
    if event.name == "merge_group":
        return Task.PLAN
    if event.name in DEPLOYING:
        return Task.NOTHING if event.deleted else Task.DEPLOY
    raise Failed(
        Reason.BAD_INPUT,
        f"With command: auto nothing is known to be done on the event {event.name!r}.\n"
        f"Hint: on: pull_request, merge_group, {', '.join(DEPLOYING)}; or a command.",
    )
