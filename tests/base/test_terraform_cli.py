"""Driving the real Terraform: plans, applies, what goes wrong, and the facts about python-terraform behind it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from python_terraform import IsFlagged, Terraform

from glacier_prefect.errors import (
    ApplyFailed,
    DataLossRefused,
    PlanStale,
    StateLocked,
    TerraformFailed,
    TerraformMissing,
    TerraformTooOld,
    UsageError,
)
from glacier_prefect.terraform_cli import TerraformCLI
from glacier_prefect.terraform_plan import SENSITIVE, Event, data_loss, masked

TERRAFORM = shutil.which("terraform") or ""

pytestmark = pytest.mark.skipif(not TERRAFORM, reason="terraform is not on PATH")

NUMBERS = """
    variable "count_to" {
      type    = number
      default = 2
    }
    resource "terraform_data" "it" { input = var.count_to }
    output "number" { value = var.count_to }
    output "list" { value = ["a", "b"] }
    output "object" { value = { on = true, ratio = 0.5, nothing = null } }
"""
SECRETS = """
    variable "password" {
      type      = string
      sensitive = true
    }
    resource "terraform_data" "it" {
      input = { user = "ada", password = var.password, list = ["open", var.password] }
    }
    output "password" {
      value     = var.password
      sensitive = true
    }
    output "object" { value = { a = 1 } }
"""


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "main.tf").write_text(textwrap.dedent(text))
    return folder


def ready(folder: Path, text: str, **options: Any) -> TerraformCLI:
    cli = TerraformCLI(write(folder, text), **options)
    cli.init()
    return cli


def program(file: Path, script: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


# --- plan, apply, read


def test_apply_does_the_plan_and_a_second_plan_has_no_changes(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    assert cli.output() == {}
    assert cli.state_list() == []
    with cli.plan() as plan:
        assert plan.has_changes
        assert [(each["address"], each["change"]["actions"]) for each in plan.changes] == [
            ("terraform_data.it", ["create"])
        ]
        assert cli.apply(plan) == ("terraform_data.it",)
    assert cli.state_list() == ["terraform_data.it"]
    with cli.plan() as plan:
        assert not plan.has_changes
        assert plan.changes == []


def test_outputs_have_the_types_that_terraform_says(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    with cli.plan() as plan:
        cli.apply(plan)
    outputs = cli.output()
    assert outputs["number"].value == 2
    assert outputs["number"].type == "number"
    assert outputs["list"].value == ["a", "b"]
    assert outputs["object"].value == {"on": True, "ratio": 0.5, "nothing": None}


def test_destroying_is_a_plan_that_is_applied(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    with cli.plan() as plan:
        cli.apply(plan)
    with cli.plan(destroy=True) as plan:
        assert plan.destroy
        assert cli.state_list() == ["terraform_data.it"]
        cli.apply(plan)
    assert cli.state_list() == []
    assert cli.output() == {}


def test_plan_can_keep_to_some_addresses_and_gives_terraforms_warning(tmp_path: Path) -> None:
    cli = ready(tmp_path, 'resource "terraform_data" "a" {}\nresource "terraform_data" "b" {}')
    with cli.plan(targets=["terraform_data.a"]) as plan:
        assert [each["address"] for each in plan.changes] == ["terraform_data.a"]
        assert "targeting" in plan.warnings[0].summary


def test_progress_arrives_line_by_line_while_terraform_works(tmp_path: Path) -> None:
    seen: list[tuple[float, Event]] = []
    cli = ready(
        tmp_path,
        """
        resource "terraform_data" "slow" {
          provisioner "local-exec" { command = "sleep 1" }
        }
        """,
        on_event=lambda event: seen.append((time.monotonic(), event)),
    )
    with cli.plan() as plan:
        cli.apply(plan)
    at = {event.kind: when for when, event in seen}
    assert at["apply_complete"] - at["apply_start"] > 0.8
    events = [(event.kind, event.address, event.action) for _, event in seen]
    assert ("planned_change", "terraform_data.slow", "create") in events
    assert ("apply_complete", "terraform_data.slow", "create") in events
    assert "Creation complete" in next(event.message for _, event in seen if event.kind == "apply_complete")


def test_wrong_configuration_is_an_error_with_its_place(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    assert cli.validate() == ()
    write(tmp_path, 'resource "terraform_data" "it" { inptu = 1 }')
    with pytest.raises(
        TerraformFailed, match=r'(?s)validate failed:.*"inptu" is not expected here.*\(main.tf:1\)'
    ) as failed:
        cli.validate()
    assert [each.severity for each in failed.value.diagnostics] == ["error"]
    with pytest.raises(TerraformFailed, match=r"terraform plan failed:\n.*main.tf:1"):
        cli.plan()


def test_init_says_what_terraform_says_without_boxes_and_colours(tmp_path: Path) -> None:
    cli = TerraformCLI(write(tmp_path, 'module "a" { source = "./nowhere" }'))
    with pytest.raises(TerraformFailed, match="terraform init failed:\n  Unreadable module directory") as failed:
        cli.init()
    assert not set("╷│╵\x1b") & set(str(failed.value))


def test_plan_before_init_says_so(tmp_path: Path) -> None:
    cli = TerraformCLI(write(tmp_path, 'module "a" { source = "./b" }'))
    with pytest.raises(TerraformFailed, match="terraform init"):
        cli.plan()


# --- values and secrets


def test_values_never_stand_on_a_command_line_and_their_file_is_private_and_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = tmp_path / "said"
    spy = program(
        tmp_path / "bin" / "terraform",
        f'echo "$*" >> "{said}"\n'
        'for word in "$@"; do case $word in -var-file=*)\n'
        f'stat -c "%a" "${{word#-var-file=}}" >> "{said}";; esac; done\n'
        f'exec "{TERRAFORM}" "$@"',
    )
    caplog.set_level(logging.DEBUG)
    cli = ready(tmp_path / "root", SECRETS, binary=str(spy), variables={"password": "hunter2"})
    with cli.plan() as plan:
        assert list(plan.path.parent.iterdir()) == [plan.path]
        cli.apply(plan)
    assert "hunter2" not in said.read_text()
    assert "\n600\n" in said.read_text()
    assert "hunter2" not in caplog.text
    assert cli.output()["password"].value == "hunter2"


def test_saved_plan_is_private_and_gone_after_use_even_if_applying_failed(tmp_path: Path) -> None:
    cli = ready(tmp_path, 'resource "terraform_data" "it" {\n  provisioner "local-exec" { command = "false" }\n}')
    plan = cli.plan()
    assert plan.path.stat().st_mode & 0o777 == 0o600
    assert plan.path.parent.stat().st_mode & 0o777 == 0o700
    assert plan.path.stat().st_size > 0
    with pytest.raises(ApplyFailed):
        cli.apply(plan)
    assert not plan.path.parent.exists()


def test_saved_plan_of_a_killed_process_is_removed_by_the_next_plan(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / ".terraform" / f"glacier-plan-{dead.pid}-x"
    left.mkdir(parents=True)
    with cli.plan() as mine, cli.plan():
        assert not left.exists()
        assert mine.path.exists()


def test_state_beside_the_root_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    cli = ready(tmp_path, SECRETS, variables={"password": "hunter2"})
    with cli.plan() as plan:
        cli.apply(plan)
    assert "hunter2" in (tmp_path / "terraform.tfstate").read_text()
    assert (tmp_path / "terraform.tfstate").stat().st_mode & 0o777 == 0o600


def test_sensitive_values_are_masked_in_all_that_is_shown(tmp_path: Path) -> None:
    shown: list[Event] = []
    cli = ready(tmp_path, SECRETS, variables={"password": "hunter2"}, on_event=shown.append)
    with cli.plan() as plan:
        assert "hunter2" in json.dumps(plan.json)
        assert "hunter2" not in json.dumps(plan.masked) + json.dumps(plan.changes) + repr(plan)
        assert plan.changes[0]["change"]["after"]["input"] == {
            "user": "ada",
            "password": SENSITIVE,
            "list": ["open", SENSITIVE],
        }
        cli.apply(plan)
    outputs = cli.output()
    assert outputs["password"].sensitive
    assert outputs["password"].shown == SENSITIVE
    assert "hunter2" not in repr(outputs) + repr(shown)
    with cli.plan(destroy=True) as plan:
        assert "hunter2" not in json.dumps(plan.masked)


# --- what holds data


def change(address: str, *actions: str, **before: Any) -> dict[str, Any]:
    kind = address.split(".")[-2]
    return {"address": address, "type": kind, "change": {"actions": list(actions), "before": before or None}}


def test_data_is_lost_by_destroying_or_replacing_what_holds_it() -> None:
    document = {
        "resource_changes": [
            change("aws_s3_bucket.gone", "delete"),
            change("module.a.google_storage_bucket.replaced", "create", "delete"),
            change("azurerm_storage_container.changed", "update"),
            change("aws_s3_bucket.new", "create"),
            change("aws_s3_bucket.forgotten", "forget"),
            change("aws_iam_role.gone", "delete"),
            change("terraform_data.folder", "delete", "create", input={"holds_data": True}),
            change("terraform_data.pool", "delete", input={"name": "pool"}),
            change("terraform_data.odd", "delete", input="holds_data"),
        ]
    }
    assert data_loss(document) == [
        "aws_s3_bucket.gone",
        "module.a.google_storage_bucket.replaced",
        "terraform_data.folder",
    ]


def test_apply_refuses_data_loss_unless_it_is_allowed(tmp_path: Path) -> None:
    cli = ready(tmp_path, 'resource "terraform_data" "it" { input = { holds_data = true } }')
    with cli.plan() as plan:
        cli.apply(plan)
    with pytest.raises(DataLossRefused, match=r"terraform_data\.it"):
        cli.apply(cli.plan(destroy=True))
    assert cli.state_list() == ["terraform_data.it"]
    cli.apply(cli.plan(destroy=True), allow_data_loss=True)
    assert cli.state_list() == []


def test_a_bucket_whose_folder_is_gone_is_made_again_and_that_loses_no_data(tmp_path: Path) -> None:
    cli = ready(
        tmp_path,
        """
        resource "terraform_data" "bucket" {
          input = { holds_data = true, path = "data/it" }
          provisioner "local-exec" { command = "mkdir -p data/it" }
        }
        """,
    )
    cli.apply(cli.plan())
    (tmp_path / "data/it").rmdir()
    with cli.plan() as plan:
        assert plan.lost == ("terraform_data.bucket",)
        assert [each["change"]["actions"] for each in plan.changes] == [["delete", "create"]]
        assert cli.apply(plan)
    assert (tmp_path / "data/it").is_dir()
    assert not cli.plan().has_changes
    (tmp_path / "data/it").rmdir()
    with cli.plan(destroy=True) as plan:
        assert plan.lost == ()


def test_terraform_is_told_of_allowed_data_loss_by_this_apply_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLACIER_ALLOW_DATA_LOSS", "true")
    script = 'provisioner "local-exec" {\n command = "echo [$GLACIER_ALLOW_DATA_LOSS] >> said"\n}'
    cli = ready(tmp_path, f'resource "terraform_data" "it" {{\n{script}\n}}')
    cli.apply(cli.plan())
    cli.apply(cli.plan(destroy=True))
    cli.apply(cli.plan(), allow_data_loss=True)
    assert (tmp_path / "said").read_text() == "[]\n[true]\n"


def test_mask_leaves_out_parts_where_sensitive_values_are_not_marked() -> None:
    assert masked(
        {"variables": {"p": {"value": "x"}}, "configuration": {}, "prior_state": {}, "format_version": "1.2"}
    ) == {
        "format_version": "1.2",
        "resource_changes": [],
        "resource_drift": [],
        "output_changes": {},
    }


# --- which program


def test_missing_program_is_an_error_with_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        TerraformMissing, match=r"no program 'terraform' on PATH\.\nHint: install terraform 1\.7 .*hashicorp"
    ):
        TerraformCLI(tmp_path).version()
    with pytest.raises(TerraformMissing, match=r"no program 'tofu' on PATH\.\nHint: install tofu 1\.7 .*opentofu\.org"):
        TerraformCLI(tmp_path, binary="tofu").version()


@pytest.mark.parametrize(
    ("number", "fine"), [("1.6.9", False), ("0.15.0", False), ("1.7.0", True), ("2.0.0-beta1", True)]
)
def test_version_must_be_at_least_1_7(number: str, fine: bool, tmp_path: Path) -> None:
    old = program(tmp_path / "terraform", f"""echo '{{"terraform_version": "{number}"}}'""")
    cli = TerraformCLI(tmp_path, binary=str(old))
    if fine:
        assert cli.version().number == number
    else:
        with pytest.raises(TerraformTooOld, match=rf"is version {number}; Glacier needs 1\.7 or newer"):
            cli.init()


def test_program_that_does_not_answer_like_terraform_is_an_error(tmp_path: Path) -> None:
    other = program(tmp_path / "terraform", "echo hello")
    with pytest.raises(TerraformFailed, match="did not tell its version: 'hello"):
        TerraformCLI(tmp_path, binary=str(other)).version()


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        TerraformCLI(tmp_path / "nowhere").init()


def test_tofu_is_run_when_asked_for__here_a_script_named_tofu_that_calls_terraform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "tofu", f'touch "{tmp_path}/tofu-ran"\nexec "{TERRAFORM}" "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    cli = ready(tmp_path / "root", NUMBERS, binary="tofu")
    cli.apply(cli.plan())
    assert str(cli.version()).startswith("tofu 1.")
    assert (tmp_path / "tofu-ran").exists()
    with pytest.raises(TerraformFailed, match="tofu validate failed"):
        TerraformCLI(write(tmp_path / "root", "x = 1"), binary="tofu").validate()


def test_command_that_glacier_does_not_know_is_refused_and_not_run(tmp_path: Path) -> None:
    driver, _ = TerraformCLI(tmp_path)._checked
    with pytest.raises(UsageError, match=r"'aply' is not a command that Glacier runs\. Did you mean 'apply'"):
        driver.cmd("aply")
    for command in ("destroy", "import", "state rm"):
        with pytest.raises(UsageError):
            driver.cmd(command)
    with pytest.raises(AttributeError):
        driver.aply()
    with pytest.raises(UsageError, match="file or the environment"):
        driver.cmd("plan", var={"password": "x"})


def test_terraform_knows_that_it_is_automated_and_has_a_settings_file_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    spy = program(
        tmp_path / "bin" / "terraform",
        f'echo "$TF_IN_AUTOMATION $TF_INPUT $MINE $TF_CLI_CONFIG_FILE" >> "{said}"\n"{TERRAFORM}" "$@" 2>> "{said}"',
    )
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("TF_CLI_CONFIG_FILE", raising=False)
    ready(tmp_path / "root", NUMBERS, binary=str(spy), environment={"MINE": "x"})
    [line, *_] = lines = said.read_text().splitlines()
    assert line.startswith("1 0 x /")
    assert Path(line.removeprefix("1 0 x ")).is_file()
    assert set(lines) == {line}  # no warning in stderr


# --- what goes wrong


def test_failed_apply_names_resource_and_cause_keeps_the_state_and_the_next_goes_on(tmp_path: Path) -> None:
    cli = ready(
        tmp_path,
        """
        resource "terraform_data" "first" {}
        resource "terraform_data" "second" {
          depends_on = [terraform_data.first]
          provisioner "local-exec" { command = "test -e fixed || { echo 'no such thing' >&2; exit 3; }" }
        }
        """,
    )
    with pytest.raises(ApplyFailed) as failed:
        cli.apply(cli.plan())
    assert str(failed.value) == (
        "terraform apply failed:\n"
        "  terraform_data.second: no such thing (main.tf:5)\n"
        "Done before: terraform_data.first. The state is kept.\n"
        "Hint: remove the cause and do it again; it goes on from here."
    )
    assert (failed.value.done, failed.value.failed) == (("terraform_data.first",), ("terraform_data.second",))
    (tmp_path / "fixed").touch()
    assert cli.apply(cli.plan())[-1] == "terraform_data.second"
    assert not cli.plan().has_changes


def test_plan_that_was_overtaken_is_stale_and_changes_nothing(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    first, second = cli.plan(), cli.plan()
    cli.apply(first)
    before = (tmp_path / "terraform.tfstate").read_bytes()
    with pytest.raises(PlanStale, match="state has changed since the plan was made"):
        cli.apply(second)
    assert (tmp_path / "terraform.tfstate").read_bytes() == before


def test_plan_can_be_applied_once(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    plan = cli.plan()
    cli.apply(plan)
    with pytest.raises(PlanStale, match="applied or given up before"):
        cli.apply(plan)


def test_plan_for_a_state_that_is_gone_is_stale(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    cli.apply(cli.plan())
    plan = cli.plan(destroy=True)
    (tmp_path / "terraform.tfstate").unlink()
    with pytest.raises((PlanStale, ApplyFailed)):
        cli.apply(plan)


def test_full_disk_is_noticed_before_terraform_could_cut_off_its_state(tmp_path: Path) -> None:
    cli = ready(tmp_path, NUMBERS)
    cli.apply(cli.plan())
    before = (tmp_path / "terraform.tfstate").read_bytes()
    script = "import sys; from glacier_prefect.terraform_cli import TerraformCLI as CLI; CLI(sys.argv[1]).plan()"
    limited = f'ulimit -f 64; "{sys.executable}" -c "{script}" "{tmp_path}"'  # no file above 64 kB
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True)
    assert "There is no room for Terraform's state in" in done.stderr
    assert "Hint: make room on that disk." in done.stderr
    assert (tmp_path / "terraform.tfstate").read_bytes() == before


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("write x: no space left on device", "make room on that disk"),
        ("unexpected status 403 (AuthorizationPermissionMismatch) Lock Info: ID:", "grant what is missing"),
    ],
)
def test_a_lock_that_a_full_disk_or_missing_rights_prevent_is_not_taken_for_someone_elses(
    said: str, hint: str, tmp_path: Path
) -> None:
    prevented = program(
        tmp_path / "terraform",
        f'[ "$1" = plan ] || exec "{TERRAFORM}" "$@"\n'
        'echo \'{"type": "diagnostic", "diagnostic": {"severity": "error", "summary": '
        f'"Error acquiring the state lock", "detail": "{said}"}}}}\'; exit 1',
    )
    with pytest.raises(TerraformFailed, match=hint) as failed:
        ready(tmp_path / "root", NUMBERS, binary=str(prevented)).plan()
    assert not isinstance(failed.value, StateLocked)


def test_a_wait_for_the_lock_that_terraforms_own_variables_set_is_not_overruled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    spy = program(tmp_path / "terraform", f'echo "$@" >> "{said}"\nexec "{TERRAFORM}" "$@"')
    monkeypatch.setenv("TF_CLI_ARGS_plan", "-lock-timeout=1s")
    ready(tmp_path / "root", NUMBERS, binary=str(spy), lock_seconds=7).plan()
    lines = {line.split()[0]: line for line in said.read_text().splitlines()}
    assert "-lock-timeout=7s" in lines["init"]
    assert "-lock-timeout" not in lines["plan"]


def test_state_that_could_not_be_saved_in_its_place_is_pointed_to(tmp_path: Path) -> None:
    # a full disk: no file above 6 blocks, of 512 or 1024 bytes
    limited = program(tmp_path / "terraform", f'[ "$1" = apply ] && ulimit -f 6\nexec "{TERRAFORM}" "$@"')
    large = 'resource "terraform_data" "it" { input = join("", [for i in range(1000) : "ten bytes "]) }'
    cli = ready(tmp_path / "root", large, binary=str(limited))
    with pytest.raises(ApplyFailed) as failed:
        cli.apply(cli.plan())
    assert f"look at {tmp_path / 'root' / 'errored.tfstate'}, then `terraform state push` it" in str(failed.value)


def test_terraform_that_dies_without_a_word_is_an_error(tmp_path: Path) -> None:
    dying = program(tmp_path / "terraform", f'[ "$1" = apply ] && kill -9 $$\nexec "{TERRAFORM}" "$@"')
    cli = ready(tmp_path / "root", NUMBERS, binary=str(dying))
    with pytest.raises(ApplyFailed, match="it said nothing; maybe it was killed"):
        cli.apply(cli.plan())


SLOW = """
    resource "terraform_data" "first" {}
    resource "terraform_data" "slow" {
      depends_on = [terraform_data.first]
      provisioner "local-exec" { command = "echo $$ > started; exec sleep 60" }
    }
"""


@pytest.fixture
def applying(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that applies something slow, has begun with it, and prints what it is told."""
    ready(tmp_path, SLOW)
    script = textwrap.dedent("""
        import sys
        from glacier_prefect.terraform_cli import TerraformCLI
        cli = TerraformCLI(sys.argv[1], on_event=lambda event: print(event.kind, flush=True), stop_seconds=20)
        try:
            cli.apply(cli.plan())
        except KeyboardInterrupt:
            print("stopped", flush=True)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for(tmp_path / "started")
    yield process
    process.send_signal(signal.SIGINT)  # killing it would leave Terraform running
    process.communicate(timeout=15)


def wait_for(file: Path) -> int:
    for _ in range(400):
        if file.exists() and (text := file.read_text().strip()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError(f"{file} was not written")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_interrupt_lets_terraform_stop_in_order_and_save_its_state(
    applying: subprocess.Popen[str], tmp_path: Path
) -> None:
    slow = wait_for(tmp_path / "started")
    os.killpg(applying.pid, signal.SIGINT)  # as a terminal does it, to all processes of the group
    out, _ = applying.communicate(timeout=15)
    assert out.split()[-2:] == ["interrupted", "stopped"]
    assert not alive(slow)
    cli = TerraformCLI(tmp_path)
    assert cli.state_list() == ["terraform_data.first", "terraform_data.slow"]
    cli.plan().close()  # not locked
    assert list((tmp_path / ".terraform").glob("glacier-plan-*")) == []


def test_an_interrupt_while_terraform_is_being_started_reaches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    slow = program(
        tmp_path / "terraform",
        f'[ "$1" = apply ] || exec "{TERRAFORM}" "$@"\ntrap "touch {told}; exit 1" INT\n'
        f'echo $$ > "{tmp_path}/started"\nsleep 20 & wait',
    )
    ready(tmp_path / "root", NUMBERS)
    cli = TerraformCLI(tmp_path / "root", binary=str(slow))
    start = subprocess.Popen

    def interrupted(command: Any, **options: Any) -> Any:
        process = start(command, **options)
        if "apply" in str(command):
            wait_for(tmp_path / "started")
            signal.raise_signal(signal.SIGINT)  # before anybody knows of the process
        return process

    with cli.plan() as plan:
        monkeypatch.setattr(subprocess, "Popen", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cli.apply(plan)
    assert told.exists()


def test_second_interrupt_kills_a_terraform_that_does_not_stop(tmp_path: Path) -> None:
    deaf = program(
        tmp_path / "terraform",
        f'[ "$1" = apply ] || exec "{TERRAFORM}" "$@"\ntrap "" INT\necho $$ > "{tmp_path}/started"\nsleep 60',
    )
    ready(tmp_path / "root", NUMBERS)
    script = (
        "import sys\nfrom glacier_prefect.terraform_cli import TerraformCLI\n"
        "cli = TerraformCLI(sys.argv[1], binary=sys.argv[2])\n"
        "try:\n    cli.apply(cli.plan())\nexcept KeyboardInterrupt:\n    print('stopped')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "root"), str(deaf)], stdout=subprocess.PIPE, text=True
    )
    group = wait_for(tmp_path / "started")
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert out == "stopped\n"
    assert not alive(group)


def test_terraform_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    deaf = program(
        tmp_path / "terraform",
        f'[ "$1" = apply ] || exec "{TERRAFORM}" "$@"\ntrap "" INT\n'
        f'echo $$ > "{tmp_path}/started"\necho hello; sleep 60',
    )

    def fail(event: Event) -> None:
        if event.message == "hello":
            raise ZeroDivisionError

    cli = ready(tmp_path / "root", NUMBERS, binary=str(deaf), on_event=fail, stop_seconds=0.5)
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        cli.apply(cli.plan())
    assert time.monotonic() - start < 10
    assert not alive(wait_for(tmp_path / "started"))


def test_locked_state_names_the_lock_and_who_holds_it(applying: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(
        StateLocked, match=r"(?s)state is locked, by \S+@\S+, since .*, lock \S+-.*force-unlock"
    ) as locked:
        TerraformCLI(tmp_path).plan()
    assert locked.value.lock_id is not None
    assert locked.value.lock_id in str(locked.value)
    assert locked.value.who is not None
    start = time.monotonic()
    with pytest.raises(StateLocked):
        TerraformCLI(tmp_path, lock_seconds=1).plan()
    assert time.monotonic() - start > 1


def test_terraform_goes_on_and_saves_its_state_when_glacier_is_killed(
    applying: subprocess.Popen[str], tmp_path: Path
) -> None:
    slow = wait_for(tmp_path / "started")
    applying.kill()
    applying.wait()
    os.kill(slow, signal.SIGKILL)  # Terraform says that it failed, with nobody to hear it
    cli = TerraformCLI(tmp_path, lock_seconds=10)
    with cli.plan() as plan:
        assert cli.state_list() == ["terraform_data.first", "terraform_data.slow"]
        assert [each["action_reason"] for each in plan.changes] == ["replace_because_tainted"]


# --- facts about python-terraform 0.10.1, for which terraform_cli has its own way


@pytest.fixture
def bare(tmp_path: Path) -> Terraform:
    ready(tmp_path, SECRETS)
    (tmp_path / "terraform.tfvars.json").write_text('{"password": "hunter2"}')
    return Terraform(working_dir=str(tmp_path))


def test_fact_plan_returns_2_for_changes_and_0_for_none(bare: Terraform) -> None:
    with pytest.warns(DeprecationWarning, match="warn"):
        assert bare.plan(out="plan.bin")[0] == 2
    assert bare.apply("plan.bin", skip_plan=True)[0] == 0
    assert bare.plan()[0] == 0


def test_fact_any_exit_code_but_0_calls_the_deprecated_log_warn(bare: Terraform) -> None:
    with pytest.warns(DeprecationWarning, match="'warn' method is deprecated"):
        bare.cmd("nonsense")


def test_fact_a_misspelt_method_runs_as_a_command(bare: Terraform) -> None:
    with pytest.warns(DeprecationWarning, match="warn"):
        code, _, err = bare.aply()
    assert code == 1
    assert 'no command named "aply"' in err


def test_fact_auto_approve_of_apply_is_overwritten(bare: Terraform) -> None:
    with pytest.warns(DeprecationWarning, match="warn"):
        code, _, err = bare.apply(auto_approve=True)
    assert code == 1
    assert "approv" in err
    assert bare.apply(skip_plan=True)[0] == 0


def test_fact_synchronous_reaches_terraform_as_an_argument(bare: Terraform) -> None:
    process, out, err = bare.cmd("validate", synchronous=False)
    said = b"".join(process.communicate())
    assert (out, err, process.returncode) == (None, None, 1)
    assert b"-synchronous" in said


def test_fact_one_output_by_name_cannot_be_had_and_sensitive_values_are_in_clear(bare: Terraform) -> None:
    assert bare.apply(skip_plan=True)[0] == 0
    with pytest.raises(KeyError):
        bare.output("object")
    with pytest.raises(TypeError):
        bare.output("password")
    assert bare.output()["password"] == {"sensitive": True, "type": "string", "value": "hunter2"}
    assert "hunter2" in bare.cmd("show", json=IsFlagged)[1]
    assert "hunter2" in Path(bare.working_dir, "terraform.tfstate").read_text()


def test_fact_a_missing_settings_file_puts_a_warning_into_stderr_of_a_success(
    bare: Terraform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(tmp_path / "nowhere"))
    code, _, err = bare.cmd("version")
    assert code == 0
    assert "Unable to open CLI configuration file" in err


def test_fact_values_given_as_a_dict_are_logged_in_clear(bare: Terraform, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.warns(DeprecationWarning, match="warn"):
        bare.cmd("output", "object", var={"password": "hunter2"})
    assert "hunter2" in caplog.text
