"""What needs no server of deployments: which code a pipeline is, pull steps, comparing, records, journal."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.deployments import show
from glacier_prefect.deployments.actual import Actual, Existing
from glacier_prefect.deployments.changes import compare, merged
from glacier_prefect.deployments.code import GitCode, LocalCode, code_hash, user_files
from glacier_prefect.deployments.deploying import Planned
from glacier_prefect.deployments.desired import Target, Wanted, desired
from glacier_prefect.deployments.packages import install_steps
from glacier_prefect.deployments.recovery import leftovers
from glacier_prefect.deployments.state import NOTHING, Owned, Record, State
from glacier_prefect.errors import ConfigurationError, DeployRefused
from glacier_prefect.loading import load_pipeline
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.terraform_plan import Plan

FLOW = """
from glacier_prefect import pipeline, task
import deploy_package.near
from deploy_package import other

@task
def one():
    from deploy_late import LATE
    return LATE

@pipeline
def flow():
    return one()
"""


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    package = tmp_path / "deploy_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "near.py").write_text("from . import nearer\n")
    (package / "nearer.py").write_text("")
    (package / "other.py").write_text("")
    (tmp_path / "deploy_late.py").write_text("LATE = 1\n")
    (tmp_path / "deploy_unused.py").write_text("")
    (tmp_path / "deploy_flow.py").write_text(FLOW)
    yield load_pipeline(str(tmp_path / "deploy_flow.py"))
    for name in [name for name in sys.modules if name.startswith("deploy_")]:
        del sys.modules[name]
    sys.path.remove(str(tmp_path))


def test_the_closure_of_a_pipeline_has_what_it_imports_late_and_through_packages(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    found = {str(Path(file).relative_to(tmp_path)) for file in user_files(pipeline, tmp_path)}
    package = {f"deploy_package/{name}.py" for name in ("__init__", "near", "nearer", "other")}
    assert found == {"deploy_flow.py", "deploy_late.py", *package}


def test_the_hash_changes_with_modules_lock_and_settings_and_with_nothing_else(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    def now(**also: Any) -> str:
        return code_hash(pipeline, tmp_path, also)

    first = now()
    (tmp_path / "deploy_unused.py").write_text("changed = True\n")
    assert now() == first
    (tmp_path / "deploy_package/nearer.py").write_text("changed = True\n")
    second = now()
    (tmp_path / "requirements.txt").write_text("polars\n")
    third = now()
    assert len({first, second, third, now(region="eu")}) == 4


def test_what_is_wanted_is_plain_data_with_names_of_project_and_environment(pipeline: Pipeline, tmp_path: Path) -> None:
    wanted = desired([pipeline], Target(project="Acme_x", env="dev", folder=tmp_path))
    assert json.loads(json.dumps([each.fields for each in wanted])) == [each.fields for each in wanted]
    assert [(each.kind, each.name) for each in wanted] == [
        ("work_pool", "glacier-Acme_x-dev-pool"),
        ("deployment", "flow/dev"),
    ]
    assert Target(project="Acme_x", env="dev", folder=tmp_path).name("My.Data") == "glacier-acme-x-dev-my-data"
    with pytest.raises(ConfigurationError, match="needs an environment in a cloud"):
        desired([pipeline], Target(project="acme", env="dev", folder=tmp_path, code="bucket"))


def test_job_variables_that_code_does_not_set_are_the_operators() -> None:
    existing = {"env": {"OURS": "1", "OLD": "1", "THEIRS": "1"}, "image": "theirs", "cpu": 1}
    owned = {"env": {"OURS": "1", "OLD": "1"}, "cpu": 1}
    wanted = {"env": {"OURS": "2", "NEW": "1"}}
    assert merged(existing, owned, wanted) == {"env": {"OURS": "2", "THEIRS": "1", "NEW": "1"}, "image": "theirs"}


def deployments(*names: str) -> Record:
    objects = tuple(
        Owned(kind="deployment", name=each, id=each, fields={"version": "1", "pull_steps": []}) for each in names
    )
    return Record(number=1, deploy="x", command="deploy", objects=objects)


def there(*names: str) -> Actual:
    found = {("deployment", each): Existing(kind="deployment", name=each, id=each, fields={}) for each in names}
    return Actual(objects=found, flows={})


def test_more_is_never_pruned_than_allowed() -> None:
    names = [f"{number}/dev" for number in range(7)]
    left = [Wanted(kind="deployment", name="0/dev", fields={"version": "1", "pull_steps": []})]
    record = deployments(*names)
    with pytest.raises(DeployRefused, match="--prune-limit 6"):
        compare(left, there(*names), record)
    changes = compare(left, there(*names), record, prune_limit=6)
    assert [each.action for each in changes].count("delete") == 6
    with pytest.raises(DeployRefused, match="destroy"):
        compare([], there(*names), record, prune_limit=100)


def test_what_has_the_name_but_not_the_id_of_the_record_is_not_pruned() -> None:
    stranger = Existing(kind="deployment", name="b/dev", id="another", fields={})
    actual = Actual(objects={**there("a/dev").objects, ("deployment", "b/dev"): stranger}, flows={})
    kept = Wanted(kind="deployment", name="a/dev", fields={"version": "2"})
    assert [each.name for each in compare([kept], actual, deployments("a/dev", "b/dev"))] == ["a/dev"]


def test_another_type_of_work_pool_is_refused() -> None:
    pool = Existing(kind="work_pool", name="p", id="1", fields={"type": "docker"})
    wanted = Wanted(kind="work_pool", name="p", fields={"type": "process"})
    record = Record(
        number=1, deploy="x", command="deploy", objects=(Owned(kind="work_pool", name="p", id="1", fields={}),)
    )
    with pytest.raises(DeployRefused, match="'docker'"):
        compare([wanted], Actual(objects={("work_pool", "p"): pool}, flows={}), record)


def test_a_plan_shows_what_changes_in_the_infrastructure_field_by_field(tmp_path: Path) -> None:
    old = {"holds_data": True, "name": "out", "labels": {"team": "a"}, "writers": {"daily": {"prefixes": ["a/"]}}}
    new = {"holds_data": True, "name": "out", "labels": {"team": "b"}, "writers": {}}
    changes = {
        "kept": (["update"], {"id": "1", "input": old, "output": old}, {"id": "1", "input": new}, {"output": True}),
        "moved": (["delete", "create"], {"id": "1", "input": old}, {"input": old}, {"id": True, "input": {}}),
        "added": (["create"], None, {"input": new}, {"id": True}),
        "gone": (["delete"], {"id": "1", "input": old}, None, {}),
    }
    resources = [
        {
            "address": f"module.{name}.terraform_data.bucket",
            "type": "terraform_data",
            "change": {"actions": actions, "before": before, "after": after, "after_unknown": unknown},
        }
        for name, (actions, before, after, unknown) in changes.items()
    ]
    saved = Plan(
        path=tmp_path / "x" / "plan",
        destroy=False,
        has_changes=True,
        json={"resource_changes": resources, "resource_drift": []},
    )
    planned = Planned(changes=(), infrastructure=saved, api="http://prefect/api", flows={}, record=NOTHING)
    assert show.as_text(show.tree(planned, "acme", "dev")) == (
        "acme, dev: 1 to create, 1 to change, 1 to replace, 1 to delete\n"
        "└─ infrastructure\n"
        "   ├─ -/+ module.moved.terraform_data.bucket (holds data, needs --allow-data-loss)\n"
        '   │      id: "1" -> "(known after apply)"\n'
        "   ├─ - module.gone.terraform_data.bucket (holds data, needs --allow-data-loss)\n"
        "   ├─ ~ module.kept.terraform_data.bucket\n"
        '   │      input.labels.team: "a" -> "b"\n'
        '   │      input.writers.daily: {"prefixes": ["a/"]} -> null\n'
        "   └─ + module.added.terraform_data.bucket"
    )


def test_a_record_is_read_as_it_was_written_and_a_broken_one_is_an_error(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert state.record().number == 0
    written = deployments("a/dev")
    state.write(written)
    assert state.record() == written
    (tmp_path / "history/2.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"2\.json"):
        state.record()


def test_a_journal_survives_a_line_that_a_kill_cut_off(tmp_path: Path) -> None:
    journal = State(tmp_path).journal
    journal.begin(deploy="x")
    with open(tmp_path / "journal.jsonl", "a") as file:
        file.write('{"event": "inte')
    [number] = journal.intend([("something", {})])
    journal.done(number, "id")
    assert [each["event"] for each in journal.entries()] == ["begin", "intend", "done"]
    assert (tmp_path / "journal.jsonl").stat().st_mode & 0o777 == 0o600


CREATION = {"method": "DELETE", "kind": "deployment", "name": "a/dev", "match": {"version": "1"}}


@pytest.mark.parametrize(
    ("done", "record", "existing", "left"),
    [
        ("nothing", None, "1", True),  # made, but killed before it knew the id
        ("nothing", None, "theirs", False),
        ("nothing", "id", "1", False),  # the record has it
        ("nothing", "old", "1", True),  # someone deleted that one, and it was made again
        ("noted", None, "1", True),
        ("noted", None, "changed since", True),
        ("noted another", None, "1", False),
        ("refused", None, "1", False),
        ("late", None, "1", True),
        ("late", None, "theirs", False),
        ("recorded", None, "1", True),  # all but the deletions was done
        ("recorded another", None, "1", False),
    ],
)
def test_a_plan_leaves_aside_what_the_next_deploy_deletes_first(
    tmp_path: Path, done: str, record: str | None, existing: str, left: bool
) -> None:
    journal, id = State(tmp_path).journal, "other" if done.endswith("another") else "id"
    recorded = done.startswith("recorded")
    deletions = [{"kind": "deployment", "name": "a/dev", "id": id}] if recorded else []
    journal.begin(deploy="before" if recorded else "killed", deletions=deletions)
    if done == "late":
        journal.expect([CREATION])
    elif not recorded:
        [number] = journal.intend([("deployment a/dev", CREATION)])
        if done.startswith("noted"):
            journal.done(number, id)
        if done == "refused":
            journal.undone([number])
    there = Existing(kind="deployment", name="a/dev", id="id", fields={"version": existing})
    owned = (Owned(kind="deployment", name="a/dev", id=record, fields={}),) if record else ()
    known = Record(number=1, deploy="before", command="deploy", objects=owned)
    found = leftovers(journal, known, Actual(objects={("deployment", "a/dev"): there}, flows={}))
    assert found == ({("deployment", "a/dev")} if left else set())
    assert leftovers(journal, known, Actual(objects={}, flows={})) == set()


def test_a_git_address_with_a_credential_is_refused(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    for url in ("https://me:secret@example.com/x.git", "https://token@example.com/x.git"):
        with pytest.raises(ConfigurationError) as raised:
            _ = GitCode(tmp_path, url).repository
        assert "secret" not in str(raised.value)
        assert "token" not in str(raised.value)
    assert GitCode(tmp_path, "git@example.com:x.git").repository == "git@example.com:x.git"


@pytest.mark.parametrize("lock", ["uv.lock", "requirements.txt"])
def test_the_step_that_installs_is_one_line_of_valid_shell(lock: str, tmp_path: Path) -> None:
    (tmp_path / lock).write_text("")
    step, _ = install_steps(tmp_path)
    script = step["prefect.deployments.steps.run_shell_script"]["script"]
    assert "\n" not in script
    shell, option, text = shlex.split(script)
    assert (shell, option) == ("sh", "-c")
    subprocess.run(["sh", "-n", "-c", text], check=True)
    assert "{{" not in text


def test_a_lock_is_installed_after_the_code_is_there_and_without_one_nothing_is(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    assert len(LocalCode(tmp_path).pull_steps(pipeline)) == 1
    (tmp_path / "requirements.txt").write_text("polars\n")
    names = [next(iter(step)).rpartition(".")[2] for step in LocalCode(tmp_path).pull_steps(pipeline)]
    assert names == ["set_working_directory", "run_shell_script", "addsitedir"]
