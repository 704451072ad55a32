"""What a push takes for agreed to: the plan that the merged pull request shows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from action import comment, events, inputs
from action.failures import Failed, Reason
from action.main import Job
from action.protocol import Protocol
from tests.action.github import Token, running

SHA = "a" * 40
PLANNED = f"{comment.key('prod', '.')}\n<!-- glacier/digest=0123abc -->\nwhat would be done"
FAILED = comment.failure("no rights", reason="store-failed", environment="prod", run_url="https://example.com").comment


def agreed(folder: Path, told: str | None, on_drift: str = "stop", name: str = "push") -> str | None:
    """Return what a job takes for agreed to when its pull request was told something."""
    event = folder / "event.json"
    event.write_text(json.dumps({"ref": "refs/heads/main", "repository": {"default_branch": "main"}}))
    with running() as github:
        github.tokens = {"job-token": Token()}
        github.open_pull(42)
        github.merge_pull(42, SHA)
        if told is not None:
            github.add_comment(42, told)
        environ = {
            "GITHUB_API_URL": github.url,
            "GITHUB_EVENT_NAME": name,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_REPOSITORY": github.repository,
            "GITHUB_SHA": SHA,
            "GITHUB_WORKSPACE": str(folder),
            "INPUT_ENVIRONMENT": "prod",
            "INPUT_GITHUB_TOKEN": "job-token",
            "INPUT_ON_DRIFT": on_drift,
        }
        job = Job(Protocol(environ, io.StringIO()), environ)
        job._event = events.read(environ)
        return job._agreed(inputs.read(environ))


def test_it_is_the_digest_in_the_comment(tmp_path: Path) -> None:
    assert agreed(tmp_path, PLANNED) == "0123abc"


def test_without_a_comment_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert agreed(tmp_path, None) is None


def test_a_plan_that_failed_is_agreed_to_by_nobody(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="The last plan of pull request 42 failed, so nothing was agreed to") as caught:
        agreed(tmp_path, FAILED)
    assert caught.value.reason is Reason.DRIFT
    assert agreed(tmp_path, FAILED, on_drift="apply") is None
    assert agreed(tmp_path, FAILED, name="workflow_dispatch") is None
