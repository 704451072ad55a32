"""A deploy that breaks at any of its writes: undone when it fails, undone or finished by the next one when killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

WRITES = 12  # of a deploy from one version to the other: 9 that can be undone, 3 deletions


def outcomes(mode: str, when: str, project: Any) -> list[dict[str, Any]]:
    script = str(Path(__file__).with_name("deploys.py"))
    folder = project.folder / f"{mode}-{when}"
    folder.mkdir()
    done = project.run(script, mode, when, str(folder))
    assert not done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert not any(found["left"][kind] for kind in ("deployments", "blocks", "pools"))  # flows are kept
    assert found["folder"] == [], "destroy leaves nothing of .glacier"
    assert len(found["results"]) >= WRITES
    return list(found["results"])


@pytest.mark.parametrize("when", ["before", "after"])  # the call reaches Prefect, or its answer does not come back
def test_a_failure_at_any_write_leaves_everything_as_it_was(project: Any, when: str) -> None:
    restored = 0
    for each in outcomes("fail", when, project):
        if each["broken"] == each["first"]:
            restored += 1
        else:
            new, where = name_of_new(each["version"]), (each["at"], each["broken"], each["first"])
            assert not each["broken"]["deployments"][new]["paused"], where  # recorded: only deletions are left
        check_second(each)
    assert restored >= WRITES - 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_write_is_made_good_by_the_next_deploy(project: Any, when: str) -> None:
    for each in outcomes("kill", when, project):
        assert each["broken"] is None
        check_second(each)


def name_of_new(version: int) -> str:
    return "added.py:added.flow" if version == 2 else "removed.py:removed.flow"


def check_second(each: dict[str, Any]) -> None:
    """After the next deploy everything is new, what there was before has its ids, and nothing is double."""
    first, second, version = each["first"], each["second"], each["version"]
    where = (each["at"], first, second)
    names = {"kept", "plain", "unscheduled"}
    entrypoints = {f"{name}.py:{name}.flow" for name in names}
    assert set(second["deployments"]) == {*entrypoints, name_of_new(version)}, where
    new_block = "glacier-faults-added" if version == 2 else "glacier-faults-removed"
    assert set(second["blocks"]) == {"glacier-faults-one", new_block}, where
    for entrypoint, new in second["deployments"].items():
        assert new["description"] == f"version {version}", where
        assert new["job_variables"] == {"env": {"VERSION": str(version)}}, where
        assert not new["paused"], where
        if old := first["deployments"].get(entrypoint):
            assert new["id"] == old["id"], where
    kept, plain, unscheduled = (f"{name}.py:{name}.flow" for name in ("kept", "plain", "unscheduled"))
    assert second["deployments"][kept]["schedules"] == first["deployments"][kept]["schedules"], where
    assert len(second["deployments"][plain]["schedules"]) == version - 1, where
    assert len(second["deployments"][unscheduled]["schedules"]) == 2 - version, where
    pool = "glacier-faults-pool"
    assert second["pools"][pool][:2] == [first["pools"][pool][0], f"version {version}"], where
    assert second["blocks"]["glacier-faults-one"][0] == first["blocks"]["glacier-faults-one"][0], where
    assert each["again"] == 0, where
