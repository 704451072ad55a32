"""How a plan for a cloud is shown: by module, what loses data, and which rights are gained and lost.

The plans in `recorded/` are what `terraform show -json` said of a shop whose pipeline "daily" reads one more folder and
whose bucket "copies" is called "archive" now. Stand-ins plan no replacement: one is written into a plan here.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect import cli_deploy
from glacier_prefect.deployments import show
from glacier_prefect.deployments.deploying import Planned
from glacier_prefect.deployments.state import Record
from glacier_prefect.environments import Environment, Project
from glacier_prefect.terraform_plan import Plan
from glacier_prefect.terraform_rights import rights

RECORDED = Path(__file__).with_name("recorded")


def recorded(cloud: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{cloud}.json").read_text())
    return found


def planned(document: dict[str, Any]) -> Planned:
    plan = Plan(path=Path("plan"), destroy=False, has_changes=True, json=document)
    record = Record(number=1, deploy="d", command="deploy", objects=())
    return Planned(changes=(), infrastructure=plan, api="there", flows={}, record=record)


def shown(document: dict[str, Any]) -> dict[str, Any]:
    return show.tree(planned(document), "shop", "prod")


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_rights_of_a_source_that_is_added_are_gained_and_those_of_a_bucket_that_goes_are_lost(cloud: str) -> None:
    gained, lost = rights(recorded(cloud))
    on_returns = [each for each in gained if "returns/" in each.where]
    assert on_returns
    assert not [each for each in lost if "returns/" in each.where and "orders/" not in each.where]
    assert [each for each in gained if "archive" in each.where]
    assert [each for each in lost if "copies" in each.where]
    assert not [each for each in gained if "copies" in each.where]
    assert not set(gained) & set(lost)


def test_rights_that_only_move_between_documents_are_neither_gained_nor_lost() -> None:
    document = recorded("aws")
    for each in document["resource_changes"]:
        if each["type"] == "aws_iam_role_policy":
            each["change"]["before"] = each["change"]["after"]
    gained, lost = rights(document)
    assert {each.who for each in (*gained, *lost)} == set()


def test_a_policy_that_is_not_known_yet_is_said_to_be_so() -> None:
    change = {"before": None, "after": {"role": "worker"}, "after_unknown": {"policy": True}, "actions": ["create"]}
    [gained], lost = rights({"resource_changes": [{"type": "aws_iam_role_policy", "address": "a", "change": change}]})
    assert (str(gained), lost) == ("worker may (known after apply) on (known after apply)", [])


@pytest.mark.parametrize(
    ("cloud", "bucket"),
    [
        ("aws", "module.aws_bucket_copies.aws_s3_bucket.bucket"),
        ("azure", "module.azure_bucket_copies.azurerm_storage_container.bucket"),
        ("gcp", "module.gcp_bucket_copies.google_storage_bucket.bucket"),
    ],
)
def test_what_a_module_makes_is_one_row_and_what_loses_data_says_so(cloud: str, bucket: str) -> None:
    text = show.as_text(shown(recorded(cloud)))
    assert f"- {bucket} (holds data, needs --allow-data-loss)" in text
    assert f"+ module.{cloud}_bucket_archive (" in text
    assert f"module.{cloud}_bucket_archive.{bucket.split('.')[2]}" not in text
    assert "rights\n" in text


def with_replacement() -> dict[str, Any]:
    """Return a plan in which a bucket that is to be made is replaced instead, beside one that is deleted."""
    document = recorded("gcp")
    [bucket] = [
        each
        for each in document["resource_changes"]
        if each["address"].endswith("archive.google_storage_bucket.bucket")
    ]
    before = {**bucket["change"]["after"], "location": "US"}
    bucket["change"] |= {"actions": ["delete", "create"], "before": before, "before_sensitive": {}}
    return document


def test_a_replacement_of_a_bucket_is_shown_with_what_it_loses() -> None:
    found = shown(with_replacement())
    [replaced] = [each for each in found["infrastructure"] if each["action"] == "replace"]
    assert replaced["loses_data"]
    assert replaced["fields"]["location"] == {"old": "US", "new": "EUROPE-WEST1"}
    assert "-/+ module.gcp_bucket_archive.google_storage_bucket.bucket (holds data" in show.as_text(found)
    assert "1 to replace" in show.as_text(found)
    assert show.as_markdown(found).count("```") % 2 == 0


def test_what_loses_data_comes_first_and_is_red_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("GLACIER_ENV", "prod")
    project = Project(folder=Path(), named="shop", environments={"prod": Environment(name="prod")})
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]

    def printed(stream: io.StringIO, format: str = "text") -> list[str]:
        return cli_deploy._rendered(planned(with_replacement()), project, format, stream).splitlines()

    lines = printed(terminal)
    red = [line for line in lines if "\x1b" in line]
    assert [line.partition("module.")[0] for line in red] == ["│  ├─ \x1b[31m-/+ ", "│  ├─ \x1b[31m- "]
    assert all(line.endswith("(holds data, needs --allow-data-loss)\x1b[0m") for line in red)
    rows = [line for line in lines if line.startswith("│  ├─") or line.startswith("│  └─")]
    assert rows[:2] == red
    assert len(rows) > 5
    plain = [line.replace("\x1b[31m", "").replace("\x1b[0m", "") for line in lines]
    assert printed(io.StringIO()) == plain, "no color where there is no terminal"
    monkeypatch.setenv("NO_COLOR", "1")
    assert printed(terminal) == plain
    markdown = printed(terminal, "markdown")
    assert [line[0] for line in markdown if line.endswith(show.LOSES)] == ["-", "-"], "which is red in a diff"
    first = markdown.index("```diff") + 1
    assert markdown[first].endswith(show.LOSES)
