"""A repository's life with the action: pull request, merge, pushes, drift, fork, destroy. By act where the workflow and
action.yml are the point, else the step by itself. Each test goes on from the one before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from glacier_prefect.emulators import S3
from tests.action.world import PLANTED, World, world_of
from tests.server.conftest import api, s3, server
from tests.terraform.conftest import mirrors, terraforms
from tests.terraform.plugins import Terraform

__all__ = ["api", "mirrors", "s3", "server", "terraforms"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]
KINDS = {"deployments": "entrypoint", "blocks": "block_type", "work pools": "base_job_template"}
THEIRS = """
resource "terraform_data" "theirs" { input = sensitive("OUTPUT") }

output "theirs" { value = "KEY" } # a secret that nobody marked

output "hidden" {
  value     = terraform_data.theirs.input
  sensitive = true
}
"""


def theirs(world: World, output: str) -> None:
    """Write something of the user's own beside what Glacier generates, with a secret in it."""
    text = THEIRS.replace("OUTPUT", output).replace("KEY", PLANTED["key"])
    world.write(".glacier/prod/terraform/theirs.tf", text)
    world.git("add", "--force", ".glacier/prod/terraform/theirs.tf")


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, api: Any, server: str, s3: S3, terraforms: dict[str, Terraform]
) -> Iterator[World]:
    with world_of("actshop", tmp_path_factory, api, server, s3, terraforms["newer"]) as made:
        yield made


def test_a_pull_request_is_planned_in_its_comment_and_nothing_is_changed(world: World) -> None:
    world.commit("first")
    base = world.git("rev-parse", "HEAD")
    world.git("checkout", "--quiet", "-b", "feature")
    world.flow("daily", "one")
    theirs(world, PLANTED["output"])
    world.commit("flows", "feature")
    world.github.open_pull(1)
    before = world.prefect(), world.objects()

    ran = world.act("pull_request", world.pull(1, base=base))
    assert ran.code == 0, ran.log
    assert (world.prefect(), world.objects()) == before
    assert world.counter.writes == []
    assert (ran.outputs["changed"], ran.outputs.get("failure-reason", "")) == ("true", "")
    deployments = {each["name"]: each["action"] for each in json.loads(ran.outputs["deployments"])}
    assert deployments == {"actshop-daily/prod": "create"}
    (comment,) = map(dict, world.github.of(1))
    for each in ("```mermaid", "deployment actshop-daily/prod", "module.aws_bucket_", "Rights gained"):
        assert each in comment["body"], each
    (artifact,) = world.artifacts.rglob("*.md")
    assert artifact.name == "glacier-prod.md"
    assert artifact.stat().st_size > len(comment["body"])
    assert "***" in json.loads(ran.outputs["terraform-outputs"])["theirs"]

    world.flow("hourly", "one")
    world.commit("hourly", "feature")
    ran = world.act("pull_request", world.pull(1, "synchronize", base=base))
    assert ran.code == 0, ran.log
    assert (world.prefect(), world.objects(), world.counter.writes) == (*before, [])
    (updated,) = world.github.of(1)
    assert updated["id"] == comment["id"]
    assert "deployment actshop-hourly/prod" not in comment["body"]
    for each in ("deployment actshop-daily/prod", "deployment actshop-hourly/prod"):
        assert each in updated["body"], each


def test_the_merge_deploys_what_the_comment_showed(world: World, api: Any) -> None:
    world.git("checkout", "--quiet", "main")
    world.git("merge", "--quiet", "--no-ff", "-m", "Merge pull request 1", "feature")
    world.git("push", "--quiet", "origin", "main")
    world.github.merge_pull(1, world.git("rev-parse", "HEAD"))
    flow = api.post("/flows/", name="actshop-theirs")["id"]
    api.post("/deployments/", name="theirs", flow_id=flow, tags=["glacier:env=prod"])

    ran = world.act("push")
    assert ran.code == 0, ran.log
    assert "Pull request 1 showed the plan" in ran.log
    assert "Not as the pull request showed" not in ran.log
    assert world.descriptions() == {"flows/daily.py": "one", "flows/hourly.py": "one"}
    made = api.deployment("actshop-daily/prod")
    clone = made["pull_steps"][0]["prefect.deployments.steps.git_clone"]
    assert (clone["repository"], clone["commit_sha"]) == (str(world.origin), world.git("rev-parse", "HEAD"))
    ids = {each["name"]: each["id"] for each in json.loads(ran.outputs["deployments"])}
    assert ids == {name: api.deployment(name)["id"] for name in ("actshop-daily/prod", "actshop-hourly/prod")}
    outputs = json.loads(ran.outputs["terraform-outputs"])
    assert outputs["work_pool"] == {"name": "glacier-actshop-prod-pool", "type": "ecs"}
    assert "hidden" not in outputs
    assert PLANTED["output"].encode() in world.objects()["actshop/prod/terraform.tfstate"], "it is there to be shown"
    assert "password" in made["parameter_openapi_schema"]["properties"], "it is there to be shown, too"
    there = {kind: [each for each in world.prefect() if name in each] for kind, name in KINDS.items()}
    assert len(there["deployments"]) == 2
    assert [(each["name"], each["type"]) for each in there["work pools"]] == [("glacier-actshop-prod-pool", "ecs")]
    assert made["work_pool_name"] == "glacier-actshop-prod-pool"
    blocks = {each["name"].removeprefix("glacier-actshop-prod-"): each["data"] for each in there["blocks"]}
    assert {name: data["bucket_name"] for name, data in blocks.items()} == dict.fromkeys(
        ("actshop-lake", "results-actshop-daily", "results-actshop-hourly"), "actshop-lake"
    )
    assert {"actshop/prod/terraform.tfstate", "actshop/prod/history/1.json"} <= set(world.objects())


def test_a_push_that_changes_nothing_writes_nothing_and_is_quick(world: World, record_property: Any) -> None:
    took: list[float] = []
    while len(took) < 3 and min(took, default=10) >= 10:  # one that is slow may be the machine's
        world.write("README.md", f"Shop {len(took)}.\n")
        world.commit("readme")
        before = world.prefect()
        step = world.direct("push")
        code, said = step.ended()
        assert code == 0, said
        assert (world.prefect(), world.counter.writes) == (before, [])
        assert step.outputs()["changed"] == "false"
        took.append(float(said.rpartition("glacier: deploy: ")[2].partition(" s")[0]))
    record_property("seconds", took)
    print(f"a push that changes nothing: {', '.join(map(str, took))} s besides installing")
    assert min(took) < 10


def test_a_push_with_one_changed_flow_writes_that_one_only(world: World, api: Any) -> None:
    world.flow("hourly", "two")
    world.commit("hourly")
    id = api.deployment("actshop-hourly/prod")["id"]
    ran = world.act("push")
    assert ran.code == 0, ran.log
    assert world.counter.writes == [f"PATCH /deployments/{id}"]
    assert world.descriptions() == {"flows/daily.py": "one", "flows/hourly.py": "two"}


def test_a_merge_that_would_do_something_else_than_was_shown_stops(world: World, api: Any) -> None:
    world.git("checkout", "--quiet", "-b", "drifting")
    world.flow("daily", "two", parameter=PLANTED["parameter"] + "-two")
    theirs(world, PLANTED["output"] + "-two")
    world.commit("daily", "drifting")
    world.github.open_pull(2)
    before = world.prefect(), world.objects()
    code, said = world.direct("pull_request", world.pull(2)).ended()
    assert code == 0, said
    assert (world.prefect(), world.objects(), world.counter.writes) == (*before, [])
    (comment,) = map(dict, world.github.of(2))
    theirs(world, PLANTED["output"])
    world.commit("as before", "drifting")
    code, said = world.direct("pull_request", world.pull(2, "synchronize")).ended()
    assert code == 0, said
    assert (world.prefect(), world.objects(), world.counter.writes) == (*before, [])
    (updated,) = world.github.of(2)
    assert updated["id"] == comment["id"]
    changed = {"deployment actshop-daily/prod": (True, True), "terraform_data.theirs": (True, False)}
    assert {each: (each in comment["body"], each in updated["body"]) for each in changed} == changed
    world.git("checkout", "--quiet", "main")
    world.git("merge", "--quiet", "--ff-only", "drifting")
    world.git("push", "--quiet", "origin", "main")
    world.github.merge_pull(2, world.git("rev-parse", "HEAD"))
    id = api.deployment("actshop-hourly/prod")["id"]
    api.call("PATCH", f"/deployments/{id}", {"description": "Theirs."})
    there = world.prefect()

    step = world.direct("push")
    code, said = step.ended()
    assert code == 1
    assert step.outputs()["failure-reason"] == "drift"
    assert "not expected: update deployment actshop-hourly/prod" in said
    assert "drift" in (step.folder / "summary").read_text()
    assert (world.prefect(), world.counter.writes) == (there, [])

    step = world.direct("push", on_drift="apply")
    code, said = step.ended()
    assert code == 0, said
    assert "::warning::Not as the pull request showed: not expected: update deployment actshop-hourly/prod" in said
    assert world.descriptions() == {"flows/daily.py": "two", "flows/hourly.py": "two"}


def test_a_preview_is_there_while_its_pull_request_is_open(world: World, api: Any) -> None:
    world.git("checkout", "--quiet", "-b", "previewed")
    world.flow("daily", "three")
    world.flow("monthly", "one")
    world.commit("daily", "previewed")
    world.github.open_pull(4)
    before, objects = world.prefect(), world.objects(f"{world.name}-lake")
    ran = world.act("pull_request", world.pull(4), preview="true")
    assert ran.code == 0, ran.log
    found = {each: api.deployment(f"actshop-{each}/pr-4") for each in ("daily", "monthly")}
    assert {each["description"] for each in found.values()} == {"three", "one"}
    (comment,) = world.github.of(4)
    assert "Preview <code>pr&#45;4</code>" in comment["body"]
    step = world.direct("pull_request", world.pull(4, "synchronize"), preview="true")
    code, said = step.ended()
    assert code == 0, said
    assert "Preview <code>pr&#45;4</code>" in (step.folder / "summary").read_text()
    assert [each["id"] for each in world.github.of(4)] == [comment["id"]]
    others = [each for each in world.prefect() if "pr-4" not in each["name"]]
    assert others == before, "the environment's own are untouched"

    world.git("checkout", "--quiet", "main")  # the branch may be gone
    ran = world.act("pull_request", world.pull(4, "closed"), preview="true")
    assert ran.code == 0, ran.log
    assert (world.prefect(), world.objects(f"{world.name}-lake")) == (before, objects)
    assert not [key for key in world.objects() if "/preview/" in key]


def test_a_fork_is_compared_with_the_base_branch_without_credentials(world: World) -> None:
    base = world.git("rev-parse", "HEAD")
    world.git("checkout", "--quiet", "-b", "fork")
    world.flow("weekly", "one")
    world.commit("weekly", "fork")
    told = world.pull(3, base=base)
    told["pull_request"]["head"]["repo"] = {"full_name": "stranger/shop"}
    world.github.open_pull(3)
    requests, before = len(world.github.requests), world.prefect()
    nothing = {name: "" for name in ("prefect_api_key", "github_token", "prefect_api_url", "prefect_headers")}
    kept, world.env = world.env, {n: v for n, v in world.env.items() if not n.startswith("AWS_")}
    try:
        step = world.direct("pull_request", told, **nothing)
        code, said = step.ended()
    finally:
        world.env = kept
    assert code == 0, said
    summary = (step.folder / "summary").read_text()
    assert "@@ deployment actshop-weekly/prod @@" in summary
    assert "+ " in summary
    assert "@@ deployment actshop-daily/prod @@" not in summary
    assert (len(world.github.requests), world.prefect()) == (requests, before)
    world.git("checkout", "--quiet", "main")


def test_an_environment_whose_state_is_on_the_runner_is_refused(world: World) -> None:
    text = (world.work / "glacier.toml").read_text()
    world.write("glacier.toml", text.replace(f'state = "{world.state}"\n', ""))
    world.commit("no state")
    step = world.direct("push")
    code, said = step.ended()
    assert (code, step.outputs()["failure-reason"]) == (1, "no-remote-state")
    assert 'Hint: write state = "BUCKET" there' in said
    world.write("glacier.toml", text)
    world.commit("state again")


def test_a_removed_flow_is_pruned_and_a_strangers_is_untouched(world: World, api: Any) -> None:
    (world.work / "flows/hourly.py").unlink()
    world.commit("no hourly")
    theirs = api.deployment("actshop-theirs/theirs")
    ran = world.act("push")
    assert ran.code == 0, ran.log
    assert api.deployment("actshop-hourly/prod") is None
    assert api.deployment("actshop-theirs/theirs") == theirs
    assert world.descriptions() == {"flows/daily.py": "two"}


def test_destroy_leaves_nothing_but_what_is_not_glaciers(world: World, api: Any) -> None:
    step = world.direct("workflow_dispatch", command="destroy")
    code, said = step.ended()
    assert (code, step.outputs()["failure-reason"]) == (1, "data-loss"), said
    assert world.descriptions() == {"flows/daily.py": "two"}
    ran = world.act("workflow_dispatch", command="destroy", **{"allow-data-loss": "true"})
    assert ran.code == 0, ran.log
    assert world.prefect() == []
    assert api.deployment("actshop-theirs/theirs") is not None
    assert not [key for key in world.objects() if "history" in key]
    world.clear()
