"""What a pull request showed is compared with what its merge would do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.deployments.actual import Existing
from glacier_prefect.deployments.change_set import ROOM, change_set, differences, digest
from glacier_prefect.deployments.changes import Change
from glacier_prefect.deployments.deploying import Planned
from glacier_prefect.deployments.desired import Wanted
from glacier_prefect.deployments.state import NOTHING, State
from glacier_prefect.errors import UsageError
from glacier_prefect.terraform_plan import Plan


def resource(address: str, before: Any, after: Any, **more: Any) -> dict[str, Any]:
    actions = ["create"] if before is None else ["delete"] if after is None else ["update"]
    change = {"actions": actions, "before": before, "after": after, **more}
    return {"address": address, "type": "aws_x", "change": change}


def deployment(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Change:
    wanted = Wanted(kind="deployment", name=name, fields=new)
    existing = None if old is None else Existing(kind="deployment", name=name, id="1", fields=old)
    action: Any = "create" if old is None else "update"
    return Change(
        action=action, kind="deployment", name=name, wanted=wanted, existing=existing, fields=new if old else {}
    )


def planned(*changes: Change, resources: list[dict[str, Any]] | None = None) -> Planned:
    document = {"resource_changes": resources or [], "resource_drift": []}
    saved = Plan(path=Path("x/plan"), destroy=False, has_changes=bool(resources), json=document)
    return Planned(changes=changes, infrastructure=saved, api="http://prefect/api", flows={}, record=NOTHING)


def now(commit: str, time: str, run: str, cron: str = "0 6 * * *", size: int = 1) -> dict[str, str]:
    steps = [{"prefect.deployments.steps.git_clone": {"repository": "https://x", "commit_sha": commit}}]
    steps.append({"prefect_aws.deployments.steps.pull_from_s3": {"folder": f".glacier/code/x/prod/{commit[:32]}/"}})
    image = {"image": f"registry.example.com/x:{commit[:32]}"}
    made = {"pull_steps": steps, "description": f"made {time} by {run}", "schedule": {"cron": cron}}
    made["job_variables"] = image
    changed = [
        resource("module.a.aws_x.new", None, {"size": size, "arn": None}, after_unknown={"arn": True}),
        resource("module.a.aws_x.old", {"tag": run, "size": 1}, {"tag": run, "size": 2}, after_unknown={}),
    ]
    both = [deployment("a/prod", None, made), deployment("b/prod", {**made, "version": "1"}, {**made, "version": "2"})]
    return change_set(planned(*both, resources=changed))


FIRST = ("a" * 40, "2026-01-31T06:00:00Z", "0f0e0d0c-0000-4000-8000-00000000000a")
SECOND = ("b" * 40, "2026-02-01 07:30:12.5+01:00", "0f0e0d0c-0000-4000-8000-00000000000b")


def test_commits_times_and_ids_are_no_difference_and_anything_else_is() -> None:
    agreed = digest(now(*FIRST))
    assert differences(agreed, now(*SECOND)) == []
    assert differences(agreed, now(*SECOND, cron="0 7 * * *")) == [
        "in another way: create deployment a/prod",
    ]
    assert differences(agreed, now(*SECOND, size=2)) == ["in another way: create module.a.aws_x.new"]
    less = {name: value for name, value in now(*SECOND).items() if "b/prod" not in name} | {"delete block x": "1"}
    assert differences(agreed, less) == [
        "not expected: delete block x",
        "expected, and not to be done: update deployment b/prod",
    ]


def test_a_digest_says_of_a_small_plan_what_was_in_it_and_fits_into_a_comment_with_a_large_one() -> None:
    small = digest({"create a": "0"})
    assert len(small) < 120
    large = {f"create module.aws_bucket_{number}.aws_s3_bucket.bucket": f"{number:012x}" for number in range(5000)}
    assert len(digest(large)) <= ROOM + 65
    assert differences(digest(large), large) == []
    first = next(iter(large))
    assert differences(digest(large), {first: "f"}) == [f"now: {first}"], "all that can be said"
    cut = small.partition(".")[0]
    assert differences(cut, {"create a": "0"}) == []
    assert differences(cut, {"create b": "0"}) == ["now: create b"]


@pytest.mark.parametrize("wrong", ["", "abc", "a" * 64 + ".$(id)", "a" * 64 + "\n", "A" * 64])
def test_what_is_no_digest_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="no digest"):
        differences(wrong, {})


@pytest.mark.parametrize("damage", ["AAAA", "eJw="])
def test_a_digest_whose_names_are_damaged_still_compares(damage: str) -> None:
    agreed = digest(now(*FIRST)).partition(".")[0]
    assert differences(f"{agreed}.{damage}", now(*SECOND)) == []
    assert differences(f"{agreed}.{damage}", {"create b": "0"}) == ["now: create b"]


def test_what_was_agreed_to_is_known_until_it_is_done(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.agreed() is None
    state.agree("abc")
    assert State(tmp_path).agreed() == "abc"
    state.agree(None)
    state.agree(None)
    assert state.agreed() is None
