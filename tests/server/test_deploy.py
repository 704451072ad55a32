"""`glacier deploy` and its sisters with real parts: a Prefect server, Terraform, git, an ordinary worker."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deploy")]

FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider
from numbers_to_write import NUMBERS

provider = Provider.from_env()

@task
def rows(count: int) -> pl.LazyFrame:
    return pl.LazyFrame({"a": NUMBERS[:count]})

out = provider.bucket_sink(bucket="out", path="NAME.parquet")

@pipeline(name="NAME", schedule=SCHEDULE, timezone="Asia/Tokyo", tags=["mine"])
def flow(count: int = 2):
    '''What it is for.'''
    return out.write(rows(count))
"""
COUNTED = """
import sys
from glacier_prefect.cli import main
from glacier_prefect.deployments.api import Api
made, write = [], Api.write
Api.write = lambda self, *given: (made.append(" ".join(given[:2])), write(self, *given))[1]
try:
    main(sys.argv[1:])
finally:
    print("WRITES", *made, sep="\\n", file=sys.stderr)
"""


class Glacier:
    """A project of its own, and the command line in it, which says how often it wrote to Prefect."""

    def __init__(self, project: Any, name: str, code: str = "local", terraform: str = "terraform") -> None:
        self.name, self.env, self.forks = name, project.env, project.forks
        self.folder: Path = project.folder / name
        self.write(
            "glacier.toml",
            f'project = "{name}"\npipelines = ["flows/flow_*.py"]\n'
            f'[environments.dev]\nprovider = "local"\ncode = "{code}"\nterraform = "{terraform}"\n',
        )
        self.write("flows/numbers_to_write.py", "NUMBERS = [1, 2, 3]\n")
        (project.folder / "counted.py").write_text(COUNTED)

    def write(self, file: str, text: str) -> None:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def flow(self, name: str, schedule: str | None = None) -> str:
        """Write a pipeline and return the name of its deployment."""
        name = f"{self.name}-{name}"
        self.write(f"flows/flow_{name}.py", FLOW.replace("NAME", name).replace("SCHEDULE", repr(schedule)))
        return f"{name}/dev"

    def run(self, *words: str, code: int = 0) -> tuple[str, list[str]]:
        """Run a command; returns what it said and its writes."""
        counted = str(self.folder.parent / "counted.py")
        done = self.forks.run(counted, *words, cwd=self.folder, env=self.env, timeout=120)
        said, _, writes = done.stderr.partition("WRITES")
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in said, said
        return done.stdout + said, writes.split("\n")[1:-1]

    def files(self) -> set[str]:
        return {str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if ".git/" not in str(file)}


@contextmanager
def worker(project: Any, pool: str) -> Iterator[None]:
    with project.running("-m", "prefect", "worker", "start", "--pool", pool, PREFECT_WORKER_QUERY_SECONDS="1"):
        yield


def everything(api: Any, name: str) -> list[Any]:
    """Return the deployments, blocks, pools and variables with `name` in their name or tags, as Prefect has them."""
    found = [
        *api.post("/deployments/filter", deployments={"tags": {"any_": [name, f"glacier:project={name}"]}}),
        *api.post("/block_documents/filter", block_documents={"name": {"like_": name}}),
        *(each for each in api.post("/work_pools/filter", limit=200) if name in each["name"]),
        *api.post("/variables/filter", variables={"name": {"like_": name}}),
    ]
    return sorted(found, key=lambda each: str(each["id"]))


# the name of the test says which ran
@pytest.mark.parametrize("terraform", ["tofu" if shutil.which("tofu") else "terraform"])
def test_from_deploy_over_a_workers_run_to_destroy(project: Any, api: Any, terraform: str) -> None:
    glacier = Glacier(project, "whole", terraform=terraform)
    name = glacier.flow("daily")
    flow = api.post("/flows/", name="whole-theirs")["id"]
    api.post("/deployments/", name="dev", flow_id=flow, tags=["whole"])
    api.post("/work_pools/", name="whole-theirs", type="process")
    api.post("/variables/", name="whole_theirs", value="kept")
    before, others = glacier.files(), everything(api, "whole")
    assert len(others) == 3
    said, writes = glacier.run("deploy", "--yes")
    assert "+ deployment whole-daily/dev" in said
    assert "+ module.local_bucket_out.terraform_data.bucket" in said
    assert len(writes) == 4, "block, pool, flow, deployment; one with a schedule is unpaused, too"
    made = api.deployment(name)
    assert made["entrypoint"] == "flows/flow_whole-daily.py:flow.flow"
    assert made["tags"] == ["glacier:env=dev", "glacier:project=whole", "mine"]
    assert made["description"] == "What it is for."
    data = str(glacier.folder / "data")
    variables = {"GLACIER_ENV": "dev", "GLACIER_PROJECT": "whole", "GLACIER_BASE_PATH": data}
    assert made["job_variables"] == {"env": variables}
    assert made["work_pool_name"] == "glacier-whole-dev-pool"
    assert not made["paused"]

    said, writes = glacier.run("deploy", "--yes")
    assert (said, writes) == ("whole, dev: nothing changes\n", [])

    run = api.post(f"/deployments/{made['id']}/create_flow_run", parameters={"count": 3})
    with worker(project, "glacier-whole-dev-pool"):
        assert api.finished(run["id"])["state_type"] == "COMPLETED"
    written = glacier.folder / "data/out/whole-daily.parquet"
    assert pl.read_parquet(written)["a"].to_list() == [1, 2, 3]
    assert glacier.run("deploy", "--yes")[1] == [], "what a worker did to its pool is nobody's business"

    said, writes = glacier.run("destroy", "--yes", code=1)
    assert "holds data" in said
    assert writes == []
    flow_file = glacier.folder / "flows/flow_whole-daily.py"
    flow_file.write_text(flow_file.read_text().replace('bucket="out"', 'bucket="other"'))
    lost = "- module.local_bucket_out.terraform_data.bucket (holds data, needs --allow-data-loss)"
    assert lost in glacier.run("plan")[0]
    said, writes = glacier.run("deploy", code=1)
    assert "would destroy or replace what holds data: module.local_bucket_out." in said, "before anybody is asked"
    assert writes == []
    assert written.exists()
    glacier.run("destroy", "--yes", "--allow-data-loss")
    assert api.deployment(name) is None
    assert everything(api, "whole") == others
    left = {each for each in glacier.files() - before if "__pycache__" not in each}
    assert {each for each in left if not each.startswith("data/.glacier")} == {"data"}, "what runs exchange is data"
    assert [each["id"] for each in api.flow_runs("whole-daily")] == [run["id"]], "run history is kept"


def test_what_operators_own_survives_a_deploy(project: Any, api: Any) -> None:
    glacier = Glacier(project, "owned")
    daily, hourly = glacier.flow("daily", "0 6 * * *"), glacier.flow("hourly", "0 * * * *")
    glacier.run("deploy", "--yes")
    before = {name: api.deployment(name) for name in (daily, hourly)}
    id, schedule = before[daily]["id"], before[daily]["schedules"][0]
    assert schedule["schedule"]["timezone"] == "Asia/Tokyo"
    api.call("PATCH", f"/deployments/{id}/schedules/{schedule['id']}", {"active": False})
    variables = {"env": {**before[daily]["job_variables"]["env"], "THEIRS": "1"}, "stream_output": False}
    api.call("PATCH", f"/deployments/{id}", {"job_variables": variables, "parameters": {"count": 1}})
    theirs = [{"schedule": {"interval": 86400}, "active": False}]
    api.call("POST", f"/deployments/{id}/schedules", theirs)
    api.post(f"/deployments/{before[hourly]['id']}/pause_deployment")
    api.call("PATCH", "/work_pools/glacier-owned-dev-pool", {"is_paused": True, "concurrency_limit": 3})

    glacier.flow("daily", "0 7 * * *")
    glacier.write("flows/numbers_to_write.py", "NUMBERS = [4, 5, 6]\n")
    said, writes = glacier.run("deploy", "--yes")
    assert 'schedule.cron: "0 6 * * *" -> "0 7 * * *"' in said
    assert len(writes) == 3, "one for each deployment, and one for the schedule"
    after = {name: api.deployment(name) for name in (daily, hourly)}
    assert after[daily]["job_variables"] == variables
    assert after[daily]["parameters"] == {"count": 1}
    ours, other = sorted(after[daily]["schedules"], key=lambda each: each["slug"] is None)
    assert (ours["id"], ours["active"], ours["schedule"]["cron"]) == (schedule["id"], False, "0 7 * * *")
    assert other["schedule"]["interval"] == 86400
    assert after[hourly]["paused"]
    assert after[hourly]["version"] != before[hourly]["version"], "a module that it imports changed"
    pool = api.get("/work_pools/glacier-owned-dev-pool")
    assert (pool["is_paused"], pool["concurrency_limit"]) == (True, 3)

    glacier.flow("daily", None)
    assert len(glacier.run("deploy", "--yes")[1]) == 2
    assert [each["schedule"]["interval"] for each in api.deployment(daily)["schedules"]] == [86400]
    glacier.run("destroy", "--yes", "--allow-data-loss")


def test_what_others_made_is_not_touched_unless_adopted(project: Any, api: Any) -> None:
    glacier = Glacier(project, "strange")
    name = glacier.flow("daily")
    flow = api.post("/flows/", name="strange-daily")["id"]
    theirs = api.post("/deployments/", name="dev", flow_id=flow, entrypoint="x.py:x", job_variables={"a": 1})
    pool = api.post("/work_pools/", name="glacier-strange-dev-pool", type="process", description="theirs")
    kind = api.get("/block_types/slug/local-file-system")["id"]
    schema = api.post("/block_schemas/filter", block_schemas={"block_type_id": {"any_": [kind]}})[0]["id"]
    block = {"name": "glacier-strange-dev-out", "data": {"basepath": "/theirs"}, "block_schema_id": schema}
    made = api.post("/block_documents/", **block, block_type_id=kind)
    said, writes = glacier.run("deploy", "--yes", code=1)
    assert writes == []
    for each in (theirs, pool, made):
        assert each["id"] in said
    assert api.deployment(name)["updated"] == theirs["updated"]
    assert api.get("/work_pools/glacier-strange-dev-pool")["description"] == "theirs"

    said, _ = glacier.run("deploy", "--yes", "--adopt")
    assert "3 to take over" in said
    adopted = api.deployment(name)
    assert (adopted["id"], adopted["entrypoint"]) == (theirs["id"], "flows/flow_strange-daily.py:flow.flow")
    assert adopted["job_variables"]["a"] == 1
    assert glacier.run("deploy", "--yes")[1] == []
    glacier.run("destroy", "--yes", "--allow-data-loss")


def test_a_removed_pipeline_is_pruned_but_never_all_and_never_a_strangers(project: Any, api: Any) -> None:
    glacier = Glacier(project, "pruned")
    kept, removed = glacier.flow("kept"), glacier.flow("removed")
    glacier.run("deploy", "--yes")
    tags = ["glacier:project=pruned", "glacier:env=dev"]
    flow = api.post("/flows/", name="pruned-strangers")["id"]
    stranger = api.post("/deployments/", name="dev", flow_id=flow, tags=tags)["id"]
    (glacier.folder / "flows/flow_pruned-removed.py").unlink()
    said, _ = glacier.run("deploy", "--yes", "--prune-limit", "0", code=1)
    assert "--prune-limit 1" in said
    said, writes = glacier.run("deploy", "--yes")
    assert "- deployment pruned-removed/dev" in said
    assert [each.split()[0] for each in writes] == ["DELETE"]
    assert api.deployment(removed) is None
    assert api.deployment("pruned-strangers/dev")["id"] == stranger
    (glacier.folder / "flows/flow_pruned-kept.py").unlink()
    glacier.flow("renamed")
    said, writes = glacier.run("deploy", "--yes", code=1)
    assert "None of the deployed pipelines is there any more" in said
    assert writes == []
    assert api.deployment(kept)
    glacier.run("deploy", "--yes", "--prune-limit", "1")
    assert api.deployment(kept) is None
    api.call("DELETE", f"/deployments/{stranger}")
    glacier.run("destroy", "--yes", "--allow-data-loss")


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    return subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_rollback_runs_the_old_code_with_the_old_parameters(project: Any, api: Any) -> None:
    glacier = Glacier(project, "rolled", code="git")
    name, other = glacier.flow("daily", "0 1 * * *"), glacier.flow("other")
    glacier.write(".gitignore", ".glacier\ndata\n__pycache__\n")
    git(glacier.folder, "init", "--quiet")
    file, commits = glacier.folder / "flows/flow_rolled-daily.py", []
    text = file.read_text()
    for number in (1, 2, 3):
        file.write_text(
            text.replace("count: int = 2", f"count: int = {number}").replace("NUMBERS[", f"[{number}0, 0, 0][")
        )
        assert "commit" in glacier.run("deploy", "--yes", code=2)[0]
        git(glacier.folder, "add", ".")
        git(glacier.folder, "commit", "--quiet", "-m", str(number))
        commits.append(git(glacier.folder, "rev-parse", "HEAD").strip())
        _, writes = glacier.run("deploy", "--yes")
        assert number == 1 or len(writes) == 1, "the other pipeline stays at the commit that it was deployed from"
    steps = api.deployment(name)["pull_steps"]
    assert steps[0]["prefect.deployments.steps.git_clone"]["commit_sha"] == commits[2]
    assert api.deployment(other)["pull_steps"][0]["prefect.deployments.steps.git_clone"]["commit_sha"] == commits[0]
    said, _ = glacier.run("rollback", "--to", "1", "--yes")
    assert "Not touched" in said
    back = api.deployment(name)
    assert back["parameter_openapi_schema"]["properties"]["count"]["default"] == 1
    run = api.post(f"/deployments/{back['id']}/create_flow_run")
    with worker(project, "glacier-rolled-dev-pool"):
        assert api.finished(run["id"])["state_type"] == "COMPLETED"
    assert pl.read_parquet(glacier.folder / "data/out/rolled-daily.parquet")["a"].to_list() == [10]
    history = sorted(int(file.stem) for file in (glacier.folder / ".glacier/dev/history").iterdir())
    assert history == [1, 2, 3, 4]
    assert "There is no record 9" in glacier.run("rollback", "--to", "9", "--yes", code=2)[0]
    glacier.run("destroy", "--yes", "--allow-data-loss")
    assert [each["id"] for each in api.flow_runs("rolled-daily")] == [run["id"]]


def test_plan_and_status_show_what_differs(project: Any, api: Any) -> None:
    glacier = Glacier(project, "shown")
    name = glacier.flow("daily", "0 6 * * *")
    said, writes = glacier.run("plan", "--json")
    assert writes == []
    planned = json.loads(said)
    assert (planned["version"], planned["has_changes"]) == (1, True)
    assert [(each["action"], each["kind"]) for each in planned["prefect"]] == [
        ("create", "block"),
        ("create", "work_pool"),
        ("create", "deployment"),
    ]
    assert {each["action"] for each in planned["infrastructure"]} == {"create"}
    assert "Nobody can be asked" in glacier.run("deploy", code=2)[0]
    assert api.deployment(name) is None
    glacier.run("deploy", "--yes")
    assert glacier.run("status")[0] == (
        "shown, dev: record 1\nCode: as deployed\nPrefect: as deployed\nInfrastructure: as deployed\n"
    )
    api.call("PATCH", f"/deployments/{api.deployment(name)['id']}", {"description": "Theirs."})
    api.post(f"/deployments/{api.deployment(name)['id']}/pause_deployment")
    glacier.flow("daily", "0 7 * * *")
    shutil.rmtree(glacier.folder / "data/out")
    said, _ = glacier.run("status")
    assert "deployment shown-daily/dev: code is newer" in said
    assert 'description: "What it is for." was deployed, "Theirs." is there' in said
    assert "paused, which is left as it is" in said
    assert said.count("missing on the disk") == 1, "Terraform does not look at the disk"
    said, _ = glacier.run("plan", "--format", "markdown")
    assert "! deployment shown-daily/dev" in said
    assert '    description: "Theirs." -> "What it is for."' in said
    assert "! module.local_work_pool.terraform_data.work_pool" not in said
    glacier.flow("hourly")
    said, _ = glacier.run("plan")
    assert "~ module.local_work_pool.terraform_data." in said
    assert '    input.pipelines.shown-hourly: null -> {"' in said
    glacier.run("destroy", "--yes", "--allow-data-loss")


def test_a_second_deploy_at_once_is_told_who_deploys(project: Any) -> None:
    glacier = Glacier(project, "locked")
    glacier.flow("daily")
    lock = glacier.folder / ".glacier/dev/lock"
    lock.parent.mkdir(parents=True)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("ada on engine, process 1 (glacier deploy)")
        held.flush()
        said, writes = glacier.run("deploy", "--yes", code=1)
    assert "ada on engine, process 1 (glacier deploy) is deploying" in said
    assert writes == []


def test_a_failing_terraform_leaves_prefect_alone_and_the_next_deploy_goes_on(project: Any, api: Any) -> None:
    glacier = Glacier(project, "broken")
    name = glacier.flow("daily")
    glacier.write("data", "a file in the place of the folder of buckets")
    said, writes = glacier.run("deploy", "--yes", code=1)
    assert "apply failed" in said
    assert writes == []
    assert api.deployment(name) is None
    (glacier.folder / "data").unlink()
    glacier.run("deploy", "--yes")
    assert api.deployment(name)
    glacier.run("destroy", "--yes", "--allow-data-loss")


def test_a_server_that_is_away_is_named_before_anything_is_done(project: Any) -> None:
    glacier = Glacier(project, "away")
    glacier.flow("daily")
    glacier.env = {**glacier.env, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    said, _ = glacier.run("deploy", "--yes", code=1)
    assert "http://127.0.0.1:9/api" in said
    glacier.env = {name: value for name, value in glacier.env.items() if name != "PREFECT_API_URL"}
    assert "PREFECT_API_URL" in glacier.run("deploy", "--yes", code=1)[0]


def test_python_deploys_what_the_command_line_does(project: Any, api: Any) -> None:
    glacier = Glacier(project, "python")
    name = glacier.flow("daily")
    file = glacier.folder / f"flows/flow_{name.partition('/')[0]}.py"
    verbs = (
        "import json, sys\n    print(json.dumps(getattr(flow, sys.argv[1])(**json.loads(sys.argv[2])), default=str))"
    )
    file.write_text(f"{file.read_text()}\nif __name__ == '__main__':\n    {verbs}\n")

    def call(verb: str, **options: Any) -> Any:
        command = [sys.executable, str(file), verb, json.dumps(options)]
        done = subprocess.run(command, cwd=project.folder, env=glacier.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert call("generate") == str(glacier.folder / ".glacier/dev/terraform/main.tf.json")
    assert call("plan") == json.loads(glacier.run("plan", "--json")[0].partition("WRITES")[0])
    assert api.deployment(name) is None
    assert {each["action"] for each in call("deploy")["prefect"]} == {"create"}
    assert api.deployment(name)
    assert glacier.run("deploy", "--yes")[1] == []
    assert {each["action"] for each in call("destroy", allow_data_loss=True)["prefect"]} == {"delete"}
    assert api.deployment(name) is None


def test_a_secret_among_terraforms_outputs_is_in_nothing_but_its_state(project: Any, api: Any) -> None:
    glacier = Glacier(project, "outputs")
    name = glacier.flow("daily")
    glacier.write(
        ".glacier/dev/terraform/theirs.tf",
        'resource "terraform_data" "theirs" {\n  input = sensitive("planted-input")\n}\n'
        'output "theirs" {\n  value     = "planted-${terraform_data.theirs.output}"\n  sensitive = true\n}\n',
    )
    said = [glacier.run(*words.split())[0] for words in ("plan", "plan --json", "deploy --yes --json", "status --json")]
    held = [json.dumps(api.deployment(name)), json.dumps(api.post("/block_documents/filter"))]
    files = {
        file: file.read_bytes()
        for file in glacier.folder.rglob("*")
        if file.is_file() and file.name not in ("theirs.tf", "terraform.tfstate", "terraform.tfstate.backup")
    }
    assert b"planted-planted-input" in (glacier.folder / ".glacier/dev/terraform/terraform.tfstate").read_bytes()
    assert not [text for text in (*said, *held) if "planted" in text]
    assert not [file for file, content in files.items() if b"planted" in content]
    glacier.run("destroy", "--yes", "--allow-data-loss")


def test_a_deploy_does_what_was_agreed_to_or_stops_and_finishes_what_it_began(project: Any, api: Any) -> None:
    glacier = Glacier(project, "agreed")
    first = glacier.flow("first")

    def planned() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(glacier.run("plan", "--json")[0].partition("WRITES")[0])
        return found

    def error(*words: str, code: int = 1) -> dict[str, Any]:
        said, writes = glacier.run(*words, "--json", code=code)
        assert writes == []
        found: dict[str, Any] = json.JSONDecoder().raw_decode(said)[0]["error"]
        return found

    agreed = planned()
    assert agreed["graphs"]["agreed-first"].startswith("flowchart LR")
    assert error("deploy", "--yes", "--shared-state", code=2)["kinds"] == [
        "StateNotShared",
        "ConfigurationError",
        "GlacierError",
    ]
    second = glacier.flow("second")
    refused = error("deploy", "--yes", "--expect", agreed["digest"])
    assert refused["kind"] == "PlanChanged"
    assert f"  not expected: create deployment {second}\n" in refused["message"]
    assert refused["kinds"][1:] == ["DeployRefused", "GlacierError"]
    said, _ = glacier.run("deploy", "--yes", "--expect", agreed["digest"], "--on-drift", "apply", "--json")
    assert f"not as shown before: not expected: create deployment {second}" in said
    done = json.JSONDecoder().raw_decode(said)[0]
    assert {each["name"]: each["id"] for each in done["prefect"] if each["kind"] == "deployment"} == {
        name: api.deployment(name)["id"] for name in (first, second)
    }
    assert done["outputs"]["work_pool"] == {"name": "glacier-agreed-dev-pool", "type": "process"}
    assert glacier.run("deploy", "--yes", "--expect", agreed["digest"])[1] == [], "nothing to do is no drift"

    third = glacier.flow("third")
    agreed = planned()
    state = glacier.folder / ".glacier/dev/agreed"
    state.write_text(agreed["digest"])  # as a deploy leaves it that was killed half-way
    glacier.flow("second", "0 6 * * *")
    glacier.run("deploy", "--yes", "--expect", agreed["digest"])
    assert api.deployment(third)
    assert not state.exists()

    (glacier.folder / "flows" / "flow_agreed-third.py").unlink()
    assert glacier.run("deploy", "--yes", "--no-prune")[1] == []
    kept = api.deployment(third)["id"]
    assert "- deployment agreed-third/dev" in glacier.run("plan")[0], "it stays Glacier's"
    assert f"~ deployment {first}" not in glacier.run("deploy", "--yes", "--no-prune")[0]
    assert api.deployment(third)["id"] == kept
    found = json.loads(glacier.run("generate", "--json", "--check", "--deployments")[0].partition("WRITES")[0])
    assert set(found["root"]["module"]) == {each["name"] for each in found["modules"]}
    assert found["prefect"][f"deployment {first}"]["entrypoint"] == "flows/flow_agreed-first.py:flow.flow"
    glacier.run("destroy", "--yes", "--allow-data-loss")
    assert api.deployment(third) is None
