"""The action's inputs, and what is to be done about an event."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import glacier_prefect.errors
from action import events, inputs
from action.events import Task
from action.failures import MEANINGS, REASONS, Failed, Reason, reason_of
from action.glacier import environment

SECRET = "planted-5ecret"


def given(workspace: Path, **values: str) -> dict[str, str]:
    known = {"environment": "prod", **{name.replace("_", "-"): value for name, value in values.items()}}
    named = {f"INPUT_{name.upper().replace('-', '_')}": value for name, value in known.items()}
    return {"GITHUB_WORKSPACE": str(workspace), **named}


def test_what_is_left_out_has_the_defaults_of_action_yml(tmp_path: Path) -> None:
    read = inputs.read(given(tmp_path))
    assert (read.command, read.comment, read.prune, read.on_drift, read.preview) == ("auto", True, True, "stop", False)
    assert (read.folder, read.directory, read.paths, read.install) == (tmp_path.resolve(), ".", (), None)
    assert read.secrets == ()
    text = (Path(inputs.__file__).parent.parent / "action.yml").read_text()
    handed = set(re.findall(r"INPUT_([A-Z_]+): \$\{\{ inputs\.([a-z-]+) \}\}", text))
    assert {name for _, name in handed} == set(inputs.NAMES)
    assert all(variable == name.upper().replace("-", "_") for variable, name in handed)
    for run in re.findall(r"run:(.*)", text):
        assert "${{" not in run


def test_all_that_is_given_arrives(tmp_path: Path) -> None:
    (tmp_path / "data/shop").mkdir(parents=True)
    read = inputs.read(
        given(
            tmp_path,
            paths="flows/*.py\n\n  more/**/*.py \n",
            command="deploy",
            prefect_api_url="https://prefect.example.com/api",
            prefect_api_key=f"pnu_{SECRET}\n",
            prefect_api_auth_string=f"user:{SECRET}:x",
            prefect_headers=json.dumps({"X-Access": SECRET}),
            terraform_binary="tofu",
            install="pip install $(cat x)\n",
            working_directory="data/../data/shop",
            comment="false",
            prune="12",
            on_drift="apply",
            preview="true",
            github_token="ghs_token",
        )
    )
    assert (read.paths, read.prune, read.directory) == (("flows/*.py", "more/**/*.py"), 12, "data/shop")
    env = environment(read, {"PATH": "/bin", "INPUT_GITHUB_TOKEN": "ghs_token"})
    assert env == {
        "PATH": "/bin",
        "PYTHONUNBUFFERED": "1",
        "GLACIER_ENV": "prod",
        "GLACIER_TERRAFORM": "tofu",
        "GLACIER_PIPELINES": "flows/*.py\nmore/**/*.py",
        "PREFECT_API_URL": "https://prefect.example.com/api",
        "PREFECT_API_KEY": f"pnu_{SECRET}",
        "PREFECT_API_AUTH_STRING": f"user:{SECRET}:x",
        "PREFECT_CLIENT_CUSTOM_HEADERS": json.dumps({"X-Access": SECRET}),
    }
    assert {SECRET, f"{SECRET}:x", "ghs_token"} <= set(read.secrets)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("environment", ""),
        ("environment", "../prod"),
        ("environment", "prod\nGITHUB_ENV=x"),
        ("command", "apply"),
        ("paths", "../*.py"),
        ("paths", "/etc/*.py"),
        ("prefect-api-url", "file:///shop/api"),
        ("prefect-api-url", "https://x/api\nX: y"),
        ("prefect-api-key", f"{SECRET}\r\nX: y"),
        ("prefect-headers", f'["{SECRET}"]'),
        ("prefect-headers", SECRET),
        ("terraform-binary", "/bin/sh"),
        ("working-directory", ".."),
        ("working-directory", "/etc"),
        ("working-directory", "missing"),
        ("working-directory", "outside"),
        ("comment", "yes"),
        ("prune", "-1"),
        ("on-drift", "ignore"),
        ("install", "x" * 100_001),
    ],
)
def test_what_cannot_be_is_refused_by_name_without_showing_a_secret(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "outside").symlink_to("/")
    with pytest.raises(Failed, match=f"^The input {name} ") as refused:
        inputs.read(given(tmp_path, **{name: value}))
    assert refused.value.reason is Reason.BAD_INPUT
    assert SECRET not in str(refused.value)
    assert len(str(refused.value)) < 300


def happened(tmp_path: Path, name: str, told: dict[str, Any] | None = None, **more: str) -> events.Event:
    file = tmp_path / "event.json"
    file.write_text(json.dumps(told or {}))
    repository = {"GITHUB_REPOSITORY": "acme/shop", "GITHUB_RUN_ID": "7", "GITHUB_SHA": "c" * 40}
    return events.read({"GITHUB_EVENT_NAME": name, "GITHUB_EVENT_PATH": str(file), **repository, **more})


def pulled(action: str, source: str | None = "acme/shop") -> dict[str, Any]:
    repo = None if source is None else {"full_name": source}
    return {"action": action, "pull_request": {"number": 42, "head": {"repo": repo}, "base": {"sha": "b" * 40}}}


@pytest.mark.parametrize(
    ("name", "told", "command", "expected"),
    [
        ("pull_request", pulled("opened"), "auto", Task.PLAN),
        ("pull_request", pulled("closed"), "auto", Task.NOTHING),
        ("pull_request", pulled("opened", "stranger/shop"), "auto", Task.COMPARE),
        ("pull_request", pulled("opened", "stranger/shop"), "plan", Task.COMPARE),
        ("pull_request", pulled("closed", "stranger/shop"), "auto", Task.NOTHING),
        ("pull_request", pulled("synchronize", None), "auto", Task.COMPARE),
        ("merge_group", {}, "auto", Task.PLAN),
        ("push", {}, "auto", Task.DEPLOY),
        ("push", {"deleted": True}, "auto", Task.NOTHING),
        ("push", {}, "plan", Task.PLAN),
        ("schedule", {}, "auto", Task.DEPLOY),
        ("workflow_dispatch", {}, "destroy", Task.DESTROY),
    ],
)
def test_what_is_done_about_an_event(
    tmp_path: Path, name: str, told: dict[str, Any], command: str, expected: Task
) -> None:
    read = inputs.read(given(tmp_path, command=command))
    assert events.task(happened(tmp_path, name, told), read) is expected


def test_a_closed_pull_request_removes_its_preview_and_dependabot_gets_no_credentials(tmp_path: Path) -> None:
    read = inputs.read(given(tmp_path, preview="true"))
    closed = happened(tmp_path, "pull_request", pulled("closed"))
    assert (closed.pull, closed.run_url) == (42, "https://github.com/acme/shop/actions/runs/7")
    assert events.task(closed, read) is Task.REMOVE_PREVIEW
    bot = happened(tmp_path, "pull_request", pulled("opened"), GITHUB_ACTOR="dependabot[bot]")
    assert events.task(bot, read) is Task.COMPARE


@pytest.mark.parametrize(
    ("name", "told", "command"),
    [
        ("pull_request_target", pulled("opened", "stranger/shop"), "plan"),
        ("pull_request", pulled("opened", "stranger/shop"), "deploy"),
        ("issue_comment", {}, "auto"),
    ],
)
def test_an_event_that_nothing_can_be_done_about_is_refused(
    tmp_path: Path, name: str, told: dict[str, Any], command: str
) -> None:
    with pytest.raises(Failed) as refused:
        events.task(happened(tmp_path, name, told), inputs.read(given(tmp_path, command=command)))
    assert refused.value.reason is Reason.BAD_INPUT


ONLY_IN_RUNS = {
    *["DataError", "CheckError", "SchemaError", "UnreadableError", "TravelError", "SourceNotFoundError"],
    *["SourceChangedError", "SinkExistsError", "RemoteFailed", "RemoteDenied", "RemoteUnreachable"],
}


def test_each_reason_is_described_and_each_error_of_glacier_has_one() -> None:
    assert set(MEANINGS) == set(Reason)
    for name in REASONS:
        error = getattr(glacier_prefect.errors, name)
        kinds = [each.__name__ for each in error.__mro__]
        assert reason_of(kinds) is REASONS[name]
    without = {
        name
        for name, each in vars(glacier_prefect.errors).items()
        if isinstance(each, type)
        and issubclass(each, glacier_prefect.errors.GlacierError)
        and reason_of([kind.__name__ for kind in each.__mro__]) is Reason.UNKNOWN
    }
    assert without == {"GlacierError", *ONLY_IN_RUNS}
    assert reason_of(["CycleError", "DefinitionError", "GlacierError"]) is Reason.BAD_PIPELINE
    assert reason_of(["ValueError"]) is Reason.UNKNOWN
