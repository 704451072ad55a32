"""Each step of Terraform fails or is killed in turn, under `glacier deploy` and `destroy`; the next one goes on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

TERRAFORM = shutil.which("terraform") or ""
BEFORE = ("version", "init", "plan", "show")  # the steps before Terraform changes anything

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(not TERRAFORM, reason="terraform is not on PATH"),
]

FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()

@task
def rows() -> pl.LazyFrame:
    return pl.LazyFrame({"a": [1]})

@pipeline(name="NAME")
def flow():
    '''Version VERSION.'''
    for bucket in BUCKETS:
        provider.bucket_sink(bucket=bucket, path="NAME.parquet").write(rows())
"""

# What stands in the file `fault` happens once: "STEP HOW", the step being Terraform's command, or "plan-destroy". How:
# `fail` and `kill` (Glacier, and Terraform with its process group) before the step does anything, or after; `orphan`
# kills Glacier with its process group, so that Terraform goes on alone. All else is the real Terraform.
WRAPPER = """#!/bin/sh
real='TERRAFORM' fault='FAULT' held='HELD' step=$1
case " $* " in *" -destroy "*) step=$1-destroy ;; esac
export GLACIER=$PPID
wanted= how=
[ -e "$fault" ] && read -r wanted how < "$fault"
[ "$step" = "$wanted" ] || exec "$real" "$@"
case $how in half*) exec "$real" "$@" ;; esac
[ "$how" = hold ] || rm "$fault"
case $how in
  fail) ;;
  fail-after) "$real" "$@" > /dev/null 2>&1 ;;
  overtaken) "$real" apply -auto-approve -input=false > /dev/null 2>&1; exec "$real" "$@" ;;
  kill) kill -9 $GLACIER 0 ;;
  kill-after) "$real" "$@" > /dev/null; kill -9 $GLACIER 0 ;;
  orphan) kill -9 -$GLACIER; exec "$real" "$@" ;;
  hold) touch "$held"; while [ -e "$fault" ]; do sleep 0.05; done; rm "$held"; exec "$real" "$@" ;;
  *) eval "$how"; exec "$real" "$@" ;;
esac
echo 'Error: broken on purpose' >&2
exit 1
"""
# Makes the folder of a bucket, as the module asks it to, but in the middle of an apply breaks once, others being done.
MKDIR = """#!/bin/sh
fault='FAULT' held='HELD'
wanted= how=
for late; do late=${late##*/}; done
[ -e "$fault" ] && read -r wanted how < "$fault"
case "$how:$*" in
  half*:*-late)
    for each in 1 2 3 4 5 6 7 8 9 10; do
      grep -q "$late" terraform.tfstate && grep -q "${late%late}early" terraform.tfstate && break
      sleep 0.1
    done
    [ "$how" = half-hold ] || rm "$fault"
    case $how in
      half-hold) touch "$held"; while [ -e "$fault" ]; do sleep 0.05; done; rm "$held" ;;
      half-kill) kill -9 $GLACIER 0 ;;
      half-orphan) kill -9 -$GLACIER; sleep 1 ;;
      half) echo 'broken on purpose' >&2; exit 1 ;;
    esac ;;
esac
exec /bin/mkdir "$@"
"""


class World:
    """A deployed project, whose every next version creates, changes and deletes something everywhere."""

    def __init__(self, project: Any, api: Any) -> None:
        self.api, self.name, self.version = api, "tf-halted", 0
        self.folder: Path = project.folder / self.name
        self.root = self.folder / ".glacier/dev/terraform"
        self.state, self.fault = self.root / "terraform.tfstate", project.folder / "fault"
        self.bin = project.folder / "bin"
        for name, text in (("terraform", WRAPPER), ("mkdir", MKDIR)):
            file = self.bin / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(
                text.replace("TERRAFORM", TERRAFORM)
                .replace("FAULT", str(self.fault))
                .replace("HELD", str(self.fault.with_name("held")))
            )
            file.chmod(0o755)
        self.env = {**project.env, "PATH": f"{self.bin}:{os.environ['PATH']}"}
        self.folder.mkdir()
        (self.folder / "glacier.toml").write_text(f'project = "{self.name}"\n')
        self._forks = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py"))],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._forks.communicate(timeout=10)

    def change(self) -> None:
        """Write the next version: a bucket, a pipeline and their blocks and deployments give way to others."""
        self.version += 1
        for old in self.folder.glob("only_*.py"):
            old.unlink()
        buckets = [f"{self.version}-early", f"{self.version}-late"]
        for file, written in (("kept", ["kept"]), (f"only_{self.version}", buckets)):
            text = FLOW.replace("NAME", f"{self.name}-{file}").replace("VERSION", str(self.version))
            (self.folder / f"{file}.py").write_text(text.replace("BUCKETS", repr(written)))

    def run(
        self, *words: str, fault: str | None = None, at: dict[str, Any] | None = None, **env: str
    ) -> dict[str, Any]:
        """Run a command; `code`, what it `said`, its `writes` to Prefect.

        Args:
            words: The command.
            fault: A step of Terraform and how it breaks.
            at: What else breaks; see `forks.py`.
            env: Variables of the command's environment.
        """
        if fault:
            self.fault.write_text(fault + "\n")
        command = {"words": words, "folder": str(self.folder), "env": env, "at": at or {}}
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        print(json.dumps(command), file=self._forks.stdin, flush=True)
        done: dict[str, Any] = json.loads(self._forks.stdout.readline())
        assert "Traceback" not in done["said"], done["said"]
        assert not fault or not self.fault.exists(), f"{fault} never happened: {done}"
        return done

    def deploy(self, **given: Any) -> dict[str, Any]:
        return self.run("deploy", "--yes", "--allow-data-loss", **given)

    def destroy(self, **given: Any) -> dict[str, Any]:
        return self.run("destroy", "--yes", "--allow-data-loss", **given)

    def prefect(self) -> dict[str, Any]:
        """Return all that Prefect has of this project, down to when each was written."""
        name = f"glacier-{self.name}-"
        tags = {"deployments": {"tags": {"all_": [f"glacier:project={self.name}"]}}}
        found = [
            *self.api.post("/deployments/filter", **tags),
            *self.api.post("/block_documents/filter", block_documents={"name": {"like_": name}}),
            *(each for each in self.api.post("/work_pools/filter") if each["name"].startswith(name)),
        ]
        return {f"{each['name']} {each.get('entrypoint', '')}": each for each in found}

    def description(self) -> str:
        return str(self.prefect()["dev kept.py:flow.flow"]["description"])

    def ids(self) -> dict[str, str]:
        return {name: each["id"] for name, each in self.prefect().items()}

    def disk(self) -> dict[str, bytes | None]:
        """Return what stands on the disk, but for what is generated or Terraform's own working files."""
        own = ("state", "history", "journal")
        found = {file: file.read_bytes() if file.is_file() else None for file in self.folder.rglob("*")}
        return {
            name: text
            for file, text in found.items()
            if (name := str(file.relative_to(self.folder))).startswith("data") or any(each in name for each in own)
        }

    def addresses(self) -> set[str]:
        """Return the buckets that Terraform's state has."""
        resources = json.loads(self.state.read_text())["resources"] if self.state.exists() else []
        return {
            each["instances"][0]["attributes"]["input"]["value"].get("path", "pool").rpartition("/")[2]
            for each in resources
        }

    def is_whole(self) -> None:
        """Assert that the present version is there, and once."""
        early, late, only = f"{self.version}-early", f"{self.version}-late", f"only_{self.version}"
        blocks = {f"glacier-{self.name}-dev-{bucket} " for bucket in ("kept", early, late)}
        deployments = {f"dev {file}.py:flow.flow" for file in ("kept", only)}
        found = self.prefect()
        assert set(found) == {*blocks, *deployments, f"glacier-{self.name}-dev-pool "}
        assert found["dev kept.py:flow.flow"]["description"] == f"Version {self.version}."
        assert self.addresses() == {"kept", early, late, "pool"}
        assert {each.name for each in (self.folder / "data").iterdir()} >= {"kept", early, late}
        assert not (self.folder / ".glacier/dev/journal.jsonl").exists()
        assert not list((self.root / ".terraform").glob("glacier-plan-*"))

    def is_steady(self) -> None:
        """Assert that deploying again does nothing."""
        again = self.run("deploy", "--yes")
        assert (again["said"], again["writes"]) == (f"{self.name}, dev: nothing changes\n", [])


@pytest.fixture(scope="module")
def world(project: Any, api: Any) -> Iterator[World]:
    world = World(project, api)
    try:
        world.change()
        done = world.deploy()
        assert done["code"] == 0, done["said"]
        yield world
        done = world.destroy()
        assert done["code"] == 0, done["said"]
        assert world.prefect() == {}
        assert not (world.folder / ".glacier").exists()
    finally:
        world.close()


def wait_for(look: Callable[[], bool]) -> None:
    for _ in range(400):
        if look():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def goes_on(world: World, kept: dict[str, str]) -> str:
    """Deploy again and assert that all is there, with the ids that it had; returns what was said."""
    done = world.deploy()
    assert done["code"] == 0, done["said"]
    world.is_whole()
    now = world.ids()
    assert {name: id for name, id in kept.items() if name in now} == {
        name: id for name, id in now.items() if name in kept
    }
    return str(done["said"])


# --- a step of Terraform fails


@pytest.mark.parametrize("step", BEFORE)
def test_what_fails_before_the_apply_changes_nothing(world: World, step: str) -> None:
    prefect, disk = world.prefect(), world.disk()
    world.change()
    done = world.deploy(fault=f"{step} fail")
    assert (done["code"], done["writes"]) == (1, [])
    assert "broken on purpose" in done["said"]
    assert (world.prefect(), world.disk()) == (prefect, disk)
    goes_on(world, world.ids())


@pytest.mark.parametrize(
    ("how", "far"),
    [
        ("fail", "It is not known to have done anything before. The state is kept."),
        ("fail-after", "It is not known to have done anything before. The state is kept."),
        ("half", "The state is kept."),
    ],
    ids=["before it did anything", "when it had done all", "half-way"],
)
def test_an_apply_that_fails_keeps_its_state_and_the_next_deploy_goes_on(world: World, how: str, far: str) -> None:
    prefect = world.prefect()
    world.change()
    done = world.deploy(fault=f"apply {how}")
    assert (done["code"], done["writes"]) == (1, [])
    assert world.prefect() == prefect
    assert (f"{world.version}-early" in world.addresses()) == (how != "fail")
    assert "Error: terraform apply failed:\n" in done["said"]
    assert "broken on purpose" in done["said"]
    if how == "half":
        (listed,) = re.findall(r"^Done before: (.+)\. The state is kept\.$", done["said"], re.MULTILINE)
        early = f"module.local_bucket_{world.version}-early.terraform_data.bucket"
        assert early in listed.split(", "), listed  # in the order in which Terraform was done with them
    assert done["said"].endswith(
        f"{far}\nHint: remove the cause and do it again; it goes on from here.\nNothing was changed in Prefect.\n"
    )
    goes_on(world, world.ids())


def test_outputs_that_cannot_be_read_leave_prefect_alone_and_the_state_as_applied(world: World) -> None:
    prefect = world.prefect()
    world.change()
    done = world.deploy(fault="output fail")
    assert (done["code"], done["writes"]) == (1, [])
    assert world.prefect() == prefect
    assert f"{world.version}-late" in world.addresses()
    assert done["said"].endswith(
        "Error: terraform output failed:\n  Error: broken on purpose\nHint: remove the cause and do it again.\n"
        "The infrastructure is changed already and stays so; the next deploy goes on from there.\n"
    )
    goes_on(world, world.ids())


@pytest.mark.parametrize("refuse", [0, 2, 4])
def test_prefect_that_fails_after_the_apply_is_restored_and_terraforms_state_is_kept(world: World, refuse: int) -> None:
    ids, before = world.ids(), world.description()
    world.change()
    done = world.deploy(at={"refuse": refuse})
    assert done["code"] == 1
    assert world.ids() == ids, "what was there has its id, what was created is gone"
    assert world.description() == before
    assert f"{world.version}-late" in world.addresses()
    assert done["said"].endswith(
        "Error: Prefect refused it on purpose\nWhat this deploy had changed in Prefect is restored.\n"
        "The infrastructure is changed already and stays so; the next deploy goes on from there.\n"
    )
    goes_on(world, ids)


# --- Glacier is killed while Terraform works


@pytest.mark.parametrize(
    ("step", "how"),
    [
        *((step, how) for step in (*BEFORE, "apply", "output") for how in ("kill", "orphan")),
        ("apply", "kill-after"),
    ],
)
def test_a_kill_at_any_step_is_made_good_by_the_next_deploy(world: World, step: str, how: str) -> None:
    kept = world.ids()
    world.change()
    done = world.deploy(fault=f"{step} {how}")
    assert (done["code"], done["writes"]) == (-9, [])
    goes_on(world, kept)
    world.is_steady()


@pytest.mark.parametrize("how", ["half-kill", "half-orphan"])
def test_a_kill_half_way_through_an_apply_is_made_good_by_the_next_deploy(world: World, how: str) -> None:
    kept = world.ids()
    world.change()
    done = world.deploy(fault=f"apply {how}")
    assert (done["code"], done["writes"]) == (-9, [])
    said = goes_on(world, kept)
    late = f"module.local_bucket_{world.version}-late.terraform_data.bucket"
    if how == "half-kill":
        assert f"+ {late}" in said, "-/+ if Terraform takes it for made, though it was killed while it made its folder"
    else:
        assert said.startswith("Acquiring state lock."), "the Terraform that goes on is waited for"


def test_a_bucket_whose_folder_is_gone_is_made_again_without_leave_to_lose_data(world: World) -> None:
    folder = world.folder / "data/kept"
    shutil.rmtree(folder)
    done = world.run("deploy", "--yes")
    assert done["code"] == 0, done["said"]
    assert "-/+ module.local_bucket_kept.terraform_data.bucket" in done["said"]
    assert done["writes"] == []
    assert folder.is_dir()
    world.is_whole()
    world.is_steady()


# --- destroying


@pytest.mark.parametrize("step", ["version", "init", "plan-destroy", "show"])
def test_a_destroy_that_fails_before_the_apply_changes_nothing(world: World, step: str) -> None:
    prefect, disk = world.prefect(), world.disk()
    done = world.destroy(fault=f"{step} fail")
    assert (done["code"], done["writes"]) == (1, [])
    assert "broken on purpose" in done["said"]
    assert (world.prefect(), world.disk()) == (prefect, disk)


@pytest.mark.parametrize(
    ("how", "then"),
    [
        ("fail", "destroy"),
        ("kill", "destroy"),
        ("orphan", "destroy"),
        ("fail-after", "deploy"),
        ("kill-after", "deploy"),
        ("orphan", "deploy"),
    ],
)
def test_a_destroy_that_breaks_in_its_apply_goes_on_or_is_made_good(world: World, how: str, then: str) -> None:
    done = world.destroy(fault=f"apply {how}")
    assert done["code"] == (1 if "fail" in how else -9)
    assert world.prefect() == {}, "what others see goes first, the infrastructure beneath it last"
    if "fail" in how:
        assert done["said"].endswith(
            "In Prefect all is deleted; `glacier destroy` again goes on with the infrastructure.\n"
        )
    if then == "destroy":
        done = world.destroy()
        assert done["code"] == 0, done["said"]
        assert not (world.folder / ".glacier").exists()
        assert not (world.folder / "data/kept").exists()
    goes_on(world, {})
    world.is_steady()


def test_a_rollback_needs_no_terraform(world: World, tmp_path: Path) -> None:
    kept, before, number = world.ids(), world.description(), len(list((world.root.parent / "history").iterdir()))
    world.change()
    goes_on(world, kept)
    done = world.run("rollback", "--to", str(number), "--yes", PATH=str(tmp_path))
    assert done["code"] == 0, done["said"]
    assert world.description() == before
    goes_on(world, kept)


# --- the state is moved or locked by someone else


def test_a_plan_that_a_real_second_apply_overtook_is_stale(world: World) -> None:
    prefect = world.prefect()
    world.change()
    done = world.deploy(fault="apply overtaken")
    assert (done["code"], done["writes"]) == (1, [])
    assert world.prefect() == prefect
    assert done["said"].endswith(
        "Error: The state has changed since the plan was made. Nothing was done.\n"
        "Hint: make a new plan and look at it.\nNothing was changed in Prefect.\n"
    )
    goes_on(world, world.ids())


def test_a_state_that_another_terraform_holds_is_waited_for_and_then_named(world: World) -> None:
    world.change()
    done = world.run("generate")
    assert done["code"] == 0, done["said"]
    subprocess.run([world.bin / "terraform", "init", "-no-color"], cwd=world.root, capture_output=True, check=True)
    world.fault.write_text("apply half-hold\n")
    holder = subprocess.Popen(
        [world.bin / "terraform", "apply", "-auto-approve", "-input=false"],
        cwd=world.root,
        env=world.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    held = world.fault.with_name("held")
    wait_for(lambda: held.exists() or holder.poll() is not None)
    assert holder.poll() is None
    prefect = world.prefect()
    done = world.run("deploy", "--yes", TF_CLI_ARGS_plan="-lock-timeout=1s")
    assert (done["code"], done["writes"]) == (1, [])
    assert world.prefect() == prefect
    assert done["said"].startswith("Acquiring state lock.")
    for each in ("The Terraform state is locked, by ", ", since ", ", lock ", "Nothing was done.", "force-unlock "):
        assert each in done["said"]
    world.fault.unlink()
    holder.wait(20)
    goes_on(world, world.ids())


# --- two at once


def test_of_two_deploys_at_once_the_second_is_told_who_deploys_since_when(world: World) -> None:
    world.change()
    held = world.fault.with_name("held")
    world.fault.write_text("plan hold\n")
    command = [sys.executable, "-c", "from glacier_prefect.cli import main; main()", "deploy", "--yes"]
    command.append("--allow-data-loss")
    first = subprocess.Popen(
        command, cwd=world.folder, env=world.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for(held.exists)
    root = world.root / "main.tf.json"
    before, more = root.read_bytes(), world.folder / "more.py"
    more.write_text(FLOW.replace("NAME", f"{world.name}-more").replace("BUCKETS", "['more']"))
    second = world.run("deploy", "--yes")
    assert (second["code"], second["writes"]) == (1, [])
    now = datetime.now(UTC).strftime("%Y-%m-%d ")
    assert re.search(
        rf"^Error: \S+ on \S+, process {first.pid} \(-c deploy\), since {now}[\d:]+\+00:00, is deploying this "
        r"environment\. Nothing was done\.\nHint: wait until",
        second["said"],
    ), second["said"]
    assert root.read_bytes() == before
    more.unlink()
    world.fault.unlink()
    said, _ = first.communicate(timeout=60)
    assert (first.returncode, said.splitlines()[-1]) == (0, "Deployed.")
    goes_on(world, {})


# --- a full disk


@pytest.fixture
def small_disk(world: World) -> Iterator[Path]:
    """A file system of little room in the place of `.glacier`."""
    folder = world.folder / ".glacier"
    folder.rename(world.folder / "glacier-kept")
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True)
    if made.returncode == 0:
        shutil.copytree(world.folder / "glacier-kept/dev", folder / "dev", symlinks=True)
        yield folder
        shutil.rmtree(world.folder / "glacier-kept/dev")
        shutil.copytree(folder / "dev", world.folder / "glacier-kept/dev", symlinks=True)
        subprocess.run(["umount", folder], check=True)
    folder.rmdir()
    (world.folder / "glacier-kept").rename(folder)
    if made.returncode:
        pytest.skip("mounting a file system is not permitted here")


FILL = 'head -c 8000000 /dev/zero > "FOLDER/fill" 2>/dev/null; cat /dev/zero >> "FOLDER/fill" 2>/dev/null;'


@pytest.mark.parametrize(
    ("when", "named"),
    [
        ("before", r"no room on the disk for \.glacier/dev/"),
        ("plan", r"(.|\n)*no space left on device"),
        ("show", r"no room for Terraform's state in "),
        ("output", r"no room on the disk for \.glacier/dev/journal\.jsonl: "),
        ("journal", r"no room on the disk for \.glacier/dev/journal\.jsonl: "),
        ("record", r"no room on the disk for \.glacier/dev/history/\d+\.json: "),
    ],
    ids=["before", "plan", "show", "output", "journal", "record"],
)
def test_a_full_disk_loses_nothing_and_is_named(world: World, small_disk: Path, when: str, named: str) -> None:
    kept, before, records = world.ids(), world.description(), sorted((small_disk / "dev/history").iterdir())
    world.change()
    fill = FILL.replace("FOLDER", str(small_disk))
    if when == "before":
        subprocess.run(fill, shell=True, check=False)
        done = world.deploy()
    elif when in ("plan", "show", "output"):
        done = world.deploy(fault=f"{when} {fill}")
    else:
        done = world.deploy(at={when: str(small_disk)})
    assert done["code"] == 1
    assert re.search(rf"Error: .*{named}(.|\n)*Hint: make room", done["said"]), done["said"]
    assert "nfrastructure is changed already" in done["said"] or when in ("before", "plan", "show")
    assert world.ids() == kept
    assert world.description() == before
    assert sorted((small_disk / "dev/history").iterdir()) == records
    (small_disk / "fill").unlink()
    goes_on(world, kept)


# --- Terraform and the server


def test_terraform_that_is_missing_or_too_old_is_named_before_anything_is_done(world: World, tmp_path: Path) -> None:
    prefect, disk = world.prefect(), world.disk()
    done = world.deploy(PATH=str(tmp_path))
    assert (done["code"], done["writes"]) == (1, [])
    assert done["said"].startswith(
        "Error: There is no program 'terraform' on PATH.\nHint: install terraform 1.7 or newer"
    )
    old = tmp_path / "terraform"
    old.write_text("""#!/bin/sh\necho '{"terraform_version": "1.6.6"}'\n""")
    old.chmod(0o755)
    done = world.deploy(PATH=f"{tmp_path}:/bin")
    assert (done["code"], done["writes"]) == (1, [])
    assert done["said"].startswith(f"Error: {old} is version 1.6.6; Glacier needs 1.7 or newer.\nHint: see https://")
    assert (world.prefect(), world.disk()) == (prefect, disk)


def test_a_server_of_another_major_version_is_refused(world: World) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = b'"2.20.4"' if self.path.endswith("/admin/version") else b"true"
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    disk = world.disk()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run(
            [sys.executable, "-c", "from glacier_prefect.cli import main; main()", "deploy", "--yes"],
            cwd=world.folder,
            env={**world.env, "PREFECT_API_URL": f"http://127.0.0.1:{server.server_port}/api"},
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The Prefect server is of another version: ")
    assert "server: 2.20.4" in done.stderr
    assert "Hint: use a server and a client of one version." in done.stderr
    assert "Traceback" not in done.stderr
    assert world.disk() == disk
