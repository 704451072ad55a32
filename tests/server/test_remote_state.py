"""Several machines deploy one environment, whose state, records and lock are in a bucket.

A machine is a clone in a folder of its own; the bucket is the emulator's, Terraform is real, its provider of AWS a
stand-in (tests/terraform). What is killed is killed as a runner of GitHub is: Glacier first, or all of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.emulators import S3
from tests.clouds.proxy import Fault, Proxy
from tests.terraform.conftest import mirrors, terraforms
from tests.terraform.plugins import Terraform

__all__ = ["mirrors", "terraforms"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]
NAME = "clones"
NOTHING = "clones, prod: nothing changes\n"
SETTINGS = """
project = "clones"

[environments.prod]
provider = "aws"
region = "us-east-1"
work_pool = "process"
code = "git"
git = "https://example.com/clones.git"
state = "STATE"
"""
FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
out = provider.bucket_sink(bucket="clones-out", path="NAME/rows.parquet")

@task
def rows():
    return pl.LazyFrame({"a": [1, 2, 3]})

@pipeline(name="clones-NAME")
def flow():
    '''Version VERSION.'''
    return out.write(rows())
"""


class Machines:
    """Clones of one repository."""

    def __init__(self, project: Any, api: Any, s3: S3, state: str, terraform: Terraform) -> None:
        self.project, self.api, self.s3, self.state = project, api, s3, state
        self.env = {
            **{name: value for name, value in s3.env.items() if name != "AWS_REGION"},
            "GLACIER_ENV": "prod",
            **terraform.environment(),
            "TF_CLI_ARGS_plan": "-lock-timeout=1s",
            "AWS_REGION": "",
        }
        self.origin: Path = project.folder / "origin"
        self.origin.mkdir()
        (self.origin / "glacier.toml").write_text(SETTINGS.replace("STATE", state))
        (self.origin / ".gitignore").write_text(".glacier\n__pycache__\n")
        self.git("init", "--quiet")
        self._forks = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            env=project.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._forks.communicate(timeout=10)

    def git(self, *words: str, folder: Path | None = None) -> None:
        who = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
        subprocess.run(["git", *who, *words], cwd=folder or self.origin, check=True)

    def push(self, **versions: int) -> None:
        """Make these pipelines, in these versions, all that there are."""
        for old in self.origin.glob("*.py"):
            old.unlink()
        for name, version in versions.items():
            (self.origin / f"{name}.py").write_text(FLOW.replace("NAME", name).replace("VERSION", str(version)))
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "next")

    def clone(self, name: str) -> Path:
        """Return a fresh clone."""
        folder: Path = self.project.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["git", "clone", "--quiet", str(self.origin), str(folder)], check=True)
        return folder

    def run(
        self, folder: Path, *words: str, code: int = 0, kill: int | None = None, **env: str
    ) -> tuple[str, list[str]]:
        """Run a command; returns what it said and its writes to Prefect.

        Args:
            folder: The clone.
            words: The command.
            code: How it has to end.
            kill: The number of the write to Prefect after which it is killed.
            env: Variables of its environment.
        """
        at = {} if kill is None else {"kill": kill}
        command = {"words": words, "folder": str(folder), "env": {**self.env, **env}, "at": at}
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        print(json.dumps(command), file=self._forks.stdin, flush=True)
        done = json.loads(self._forks.stdout.readline())
        said = "".join(each for each in done["said"].splitlines(keepends=True) if " | INFO " not in each)
        assert done["code"] == code, said
        assert "Traceback" not in said, said
        return said, done["writes"]

    def there(self) -> set[str]:
        found = {meta["path"] for page in self.s3.store(self.state).list() for meta in page}
        return {key.removeprefix(f"{NAME}/prod/") for key in found}

    def read(self, key: str) -> Any:
        return json.loads(bytes(self.s3.store(self.state).get(f"{NAME}/prod/{key}").bytes()))

    def described(self) -> dict[str, str]:
        """Return what the deployments say of their version, by pipeline."""
        found = self.api.post("/deployments/filter", deployments={"tags": {"all_": [f"glacier:project={NAME}"]}})
        return {each["entrypoint"].partition(".")[0]: each["description"] for each in found}


@pytest.fixture(scope="module")
def machines(
    project: Any, api: Any, s3: S3, make_bucket: Callable[[Any], str], terraforms: dict[str, Terraform]
) -> Iterator[Machines]:
    made = Machines(project, api, s3, make_bucket(s3), terraforms["newer"])
    try:
        made.push(daily=1)
        yield made
    finally:
        made.close()


def test_another_machine_sees_the_same_records_and_goes_on_with_them(machines: Machines) -> None:
    a = machines.clone("a")
    machines.run(a, "deploy", "--yes")
    assert machines.there() == {"terraform.tfstate", "deploy.json", "history/1.json"}
    assert not list((a / ".glacier").glob("**/history")), "nothing of it is on the machine"
    assert machines.read("deploy.json") == {"version": 1, "holder": None, "killed": [], "journal": []}

    b = machines.clone("b")
    status = json.loads(machines.run(b, "status", "--json")[0])
    assert (status["record"], status["unfinished"]) == (1, False)
    assert (status["code"], status["prefect"], status["infrastructure"]) == ([], [], [])
    for words in (("plan",), ("deploy", "--yes")):
        assert machines.run(b, *words) == (NOTHING, [])

    machines.push(daily=2, weekly=2)
    machines.run(machines.clone("b"), "deploy", "--yes")
    assert machines.described() == {"daily": "Version 2.", "weekly": "Version 2."}
    said, _ = machines.run(a, "rollback", "--to", "1", "--yes")
    assert machines.described() == {"daily": "Version 1.", "weekly": "Version 2."}
    assert machines.read("history/3.json")["command"] == "rollback to 1"
    said, _ = machines.run(machines.clone("c"), "rollback", "--to", "9", "--yes", code=2)
    assert "There is no record 9: there are 1 to 3." in said


@pytest.mark.parametrize("writes", [1, 3])
def test_a_deploy_that_was_killed_is_undone_or_finished_from_another_machine(machines: Machines, writes: int) -> None:
    machines.push(**{"daily": 10 * writes, f"new{writes}": 10 * writes})
    a, b = machines.clone("a"), machines.clone("b")
    before = machines.described()
    machines.run(a, "deploy", "--yes", code=-signal.SIGKILL, kill=writes)
    held = machines.read("deploy.json")
    assert held["holder"]["command"].startswith("forks.py")
    assert len(held["journal"]) > 1
    status = json.loads(machines.run(b, "status", "--json")[0])
    assert status["unfinished"]
    said, _ = machines.run(b, "deploy", "--yes")
    assert "An earlier deploy was killed" in said
    assert machines.described() == {"daily": f"Version {10 * writes}.", f"new{writes}": f"Version {10 * writes}."}
    assert before != machines.described()
    assert machines.run(b, "deploy", "--yes") == (NOTHING, [])


def test_terraform_that_was_killed_with_its_deploy_is_unlocked_by_the_next_from_another_machine(
    machines: Machines,
) -> None:
    machines.push(daily=100, bucket=100)
    for file in ("daily.py", "bucket.py"):
        text = (machines.origin / file).read_text().replace("clones-out", f"clones-out-{file[0]}")
        (machines.origin / file).write_text(text)
    machines.git("commit", "--quiet", "--all", "-m", "another bucket")
    a, b = machines.clone("a"), machines.clone("b")
    records, described = machines.read("deploy.json"), machines.described()
    with Proxy(behind=machines.s3.port) as slow:
        slow.fail(Fault(kind="delay", seconds=60), method="PUT", path=r"terraform\.tfstate\?")
        first = threading.Thread(
            target=machines.run,
            args=(a, "deploy", "--yes", "--allow-data-loss"),
            kwargs={"code": -signal.SIGKILL, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{slow.port}"},
        )
        first.start()
        while not slow.count(method="PUT", path=r"terraform\.tfstate\?"):  # applying, and about to save the state
            assert first.is_alive()
            time.sleep(0.05)
        [note] = (a / ".glacier/prod/terraform/.terraform").glob("glacier-terraform-*")
        os.kill(int(note.name.rpartition("-")[2]), signal.SIGKILL)
        first.join()
        # its Terraform goes on: whoever comes now waits for its lock, and is told who has it
        said, writes = machines.run(b, "deploy", "--yes", "--allow-data-loss", code=1)
        assert "The Terraform state is locked, by " in said
        assert writes == []
        os.kill(int(note.read_text()), signal.SIGKILL)
    assert "terraform.tfstate.tflock" in machines.there()
    assert machines.described() == described
    said, _ = machines.run(b, "deploy", "--yes", "--allow-data-loss")
    assert "Unlocked the Terraform state, which a killed deploy left locked: lock " in said
    assert "terraform.tfstate.tflock" not in machines.there()
    assert machines.described() == {"daily": "Version 100.", "bucket": "Version 100."}
    assert {**machines.read("deploy.json")} == records, "nobody holds it, and nothing is left to do"


def test_a_bucket_or_rights_that_are_missing_are_named_before_terraform_or_prefect_are_asked(
    machines: Machines,
) -> None:
    a = machines.clone("a")
    settings = (a / "glacier.toml").read_text()
    (a / "glacier.toml").write_text(settings.replace(machines.state, "clones-no-such-bucket"))
    for words in (
        ("plan",),
        ("status",),
        ("deploy", "--yes"),
        ("rollback", "--to", "1", "--yes"),
        ("destroy", "--yes"),
    ):
        said, writes = machines.run(a, *words, code=1)
        assert "there is no such bucket, and it is made only once, before the first deploy." in said
        assert "Hint: `glacier bootstrap --env prod` makes it; or correct `state`." in said
        assert writes == []
    (a / "glacier.toml").write_text(settings)
    denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    with Proxy(behind=machines.s3.port) as front:
        front.fail(Fault(kind="answer", status=403, content=denied), times=None)
        said, writes = machines.run(a, "deploy", "--yes", code=1, AWS_ENDPOINT_URL=f"http://127.0.0.1:{front.port}")
    assert "the credentials in use may not do this (AccessDenied)" in said
    assert "Hint: deploys read and write below 'clones/prod/' there; `glacier bootstrap --env prod` makes roles" in said
    assert writes == []


def test_a_state_that_was_on_a_machine_moves_with_its_records_when_its_owner_moves_it(
    machines: Machines, make_bucket: Callable[[Any], str]
) -> None:
    a = machines.clone("mover")
    toml = (a / "glacier.toml").read_text().replace('"clones"', '"moving"')
    for file in a.glob("*.py"):
        file.write_text(file.read_text().replace("clones-", "moving-"))
    bucket = make_bucket(machines.s3)
    (a / "glacier.toml").write_text(toml.replace(f'state = "{machines.state}"\n', ""))
    machines.git("commit", "--quiet", "--all", "-m", "a project of its own", folder=a)
    machines.run(a, "deploy", "--yes")
    (a / "glacier.toml").write_text(toml.replace(machines.state, bucket))
    machines.git("commit", "--quiet", "--all", "-m", "state in a bucket", folder=a)
    for words in (("plan",), ("deploy", "--yes"), ("destroy", "--yes", "--allow-data-loss")):
        said, writes = machines.run(a, *words, code=1)
        assert "is in the backend 'local', path 'terraform.tfstate'" in said
        assert "Deploy records that are on this machine follow with the next deploy." in said
        assert writes == []
    root = a / ".glacier/prod/terraform"
    move = ["terraform", f"-chdir={root}", "init", "-migrate-state", "-force-copy"]
    subprocess.run(move, env={**os.environ, **machines.env}, check=True, stdout=subprocess.DEVNULL)
    said, writes = machines.run(a, "deploy", "--yes")
    assert "moving, prod" in said
    records = {meta["path"] for page in machines.s3.store(bucket).list("moving/prod/history") for meta in page}
    assert records >= {"moving/prod/history/1.json"}
    machines.run(a, "destroy", "--yes", "--allow-data-loss")
    assert not list((a / ".glacier").glob("**/history/*"))


def test_destroying_from_a_fresh_clone_leaves_nothing_but_an_empty_state(machines: Machines) -> None:
    fresh = machines.clone("fresh")
    said, _ = machines.run(fresh, "destroy", "--yes", code=1)
    assert "holds data" in said
    machines.run(fresh, "destroy", "--yes", "--allow-data-loss")
    assert machines.there() == {"terraform.tfstate"}
    assert machines.read("terraform.tfstate")["resources"] == []
    assert machines.described() == {}
    assert machines.api.post("/work_pools/filter", work_pools={"name": {"any_": ["glacier-clones-prod-pool"]}}) == []
