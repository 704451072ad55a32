"""The local Terraform modules, with the real Terraform: no plugin, no network. Of all modules: tests/terraform."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.errors import ApplyFailed, DataLossRefused
from glacier_prefect.providers import LocalProvider
from glacier_prefect.terraform_cli import TerraformCLI
from glacier_prefect.terraform_plan import data_loss

MODULES = Path(__file__).parents[2] / "terraform_modules"

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")


def terraform(folder: Path, *command: str) -> str:
    done = subprocess.run(["terraform", *command], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def root(folder: Path, module: str = "bucket", **variables: Any) -> TerraformCLI:
    """Write a root with one call of a module, and initialise it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "modules").exists():
        shutil.copytree(MODULES, folder / "modules")
    outputs = {
        name: {"value": f"${{module.it.{name}}}"} for name in declared(MODULES / "local" / module / "outputs.tf")
    }
    call = {"source": f"./modules/local/{module}", **variables}
    # Terraform refuses an empty "module": {}
    (folder / "main.tf.json").write_text(json.dumps({"module": {"it": call}, "output": outputs} if variables else {}))
    cli = TerraformCLI(folder)
    cli.init()
    return cli


def apply(cli: TerraformCLI, *, destroy: bool = False, allow_data_loss: bool = False) -> tuple[str, ...]:
    with cli.plan(destroy=destroy) as plan:
        return cli.apply(plan, allow_data_loss=allow_data_loss)


def declared(file: Path) -> dict[str, str]:
    """Return the blocks of a file by name: of variables or outputs."""
    return {
        found[1]: found[2]
        for found in re.finditer(r'^(?:variable|output) "(\w+)" \{(.*?)^\}', file.read_text(), re.M | re.S)
    }


@pytest.mark.parametrize("module", ["bucket", "work_pool"])
def test_module_needs_no_plugin(module: str) -> None:
    assert "required_providers" not in (MODULES / "local" / module / "versions.tf").read_text()


def test_bucket_is_made_once_and_destroyed_when_empty(tmp_path: Path) -> None:
    cli = root(tmp_path / "root", name="my-data", location={"base_path": str(tmp_path / "data")})
    assert apply(cli) == ("module.it.terraform_data.bucket",)
    folder = tmp_path / "data" / "my-data"
    assert folder.is_dir()
    outputs = cli.output()
    assert (outputs["name"].value, outputs["path"].value) == ("my-data", str(folder))
    with cli.plan() as second:
        assert not second.has_changes
    apply(cli, destroy=True, allow_data_loss=True)
    assert not folder.exists()
    assert cli.state_list() == []


def test_relative_base_path_is_taken_from_the_root_and_moves_with_the_project(tmp_path: Path) -> None:
    apply(root(tmp_path / "project" / "root", name="my-data", location={"base_path": "../data"}))
    assert (tmp_path / "project" / "data" / "my-data").is_dir()
    moved = tmp_path / "moved"
    (tmp_path / "project").rename(moved)
    with TerraformCLI(moved / "root").plan() as plan:
        assert plan.changes == []
        assert data_loss(plan) == []


def test_name_is_never_read_as_shell_code_and_the_uri_is_glaciers(tmp_path: Path) -> None:
    names = ["with space", "it's", 'a "b"', "$(touch hacked) `touch hacked`; touch hacked", "-rf", "ä%20\\n", "${HOME}"]
    base, folder = tmp_path / "some 'where' else", tmp_path / "root"
    shutil.copytree(MODULES, folder / "modules")
    call = {"source": "./modules/local/bucket", "for_each": "${toset(var.names)}", "name": "${each.value}"}
    document = {
        "variable": {"names": {"type": "list(string)"}},
        "module": {"it": {**call, "location": {"base_path": str(base)}}},
        "output": {"uris": {"value": "${values(module.it)[*].uri}"}},
    }
    (folder / "main.tf.json").write_text(json.dumps(document))
    cli = TerraformCLI(folder, variables={"names": names})
    cli.init()
    apply(cli)
    assert {each.name for each in base.iterdir()} == set(names)
    assert set(cli.output()["uris"].value) == {(base / name).as_uri() for name in names}
    for name in names:
        (base / name / "file").touch()
    apply(cli, destroy=True, allow_data_loss=True)
    assert list(base.iterdir()) == []
    assert list(tmp_path.rglob("hacked")) == []


def test_uri_is_the_one_of_a_local_source(tmp_path: Path) -> None:
    apply(cli := root(tmp_path / "root", name="my data", location={"base_path": str(tmp_path / "d")}))
    source = LocalProvider(base_path=tmp_path / "d").bucket_source(bucket="my data", path="x.parquet")
    assert source.uri == cli.output()["uri"].value + "/x.parquet"


def test_destroying_a_bucket_with_data_is_refused_before_anything_happens(tmp_path: Path) -> None:
    cli = root(tmp_path / "root", name="my-data", location={"base_path": str(tmp_path)})
    apply(cli)
    with pytest.raises(DataLossRefused, match=r"module\.it\.terraform_data\.bucket.*\nHint: .*--allow-data-loss"):
        apply(cli, destroy=True)
    assert (tmp_path / "my-data").is_dir()


def test_destroying_a_folder_with_data_fails_by_itself_and_goes_on_the_second_time(tmp_path: Path) -> None:
    folder = tmp_path / "root"
    cli = root(folder, name="my-data", location={"base_path": str(tmp_path)})
    apply(cli)
    (tmp_path / "my-data" / "rows.csv").write_text("1")
    terraform(folder, "plan", "-destroy", "-out=by-hand")
    done = subprocess.run(["terraform", "apply", "by-hand"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "allow_data_loss lets it be removed" in done.stderr
    assert (tmp_path / "my-data" / "rows.csv").read_text() == "1"
    assert cli.state_list() == ["module.it.terraform_data.bucket"]
    (tmp_path / "my-data" / "rows.csv").unlink()
    terraform(folder, "plan", "-destroy", "-out=by-hand")
    terraform(folder, "apply", "by-hand")
    assert not (tmp_path / "my-data").exists()
    assert cli.state_list() == []


def test_allow_data_loss_as_a_variable_is_no_loss_itself_and_lets_terraform_alone_destroy(tmp_path: Path) -> None:
    folder, place = tmp_path / "root", {"base_path": str(tmp_path)}
    apply(root(folder, name="my-data", location=place))
    (tmp_path / "my-data" / "rows.csv").touch()
    apply(root(folder, name="my-data", location=place, allow_data_loss=True))
    assert (tmp_path / "my-data" / "rows.csv").exists()
    terraform(folder, "destroy", "-auto-approve")
    assert not (tmp_path / "my-data").exists()


@pytest.mark.parametrize("change", ["name", "location"])
def test_renaming_or_moving_a_bucket_is_a_replacement_that_loses_data(change: str, tmp_path: Path) -> None:
    before: dict[str, Any] = {"name": "old", "location": {"base_path": str(tmp_path / "a")}}
    after: dict[str, Any] = {"name": "new"} if change == "name" else {"location": {"base_path": str(tmp_path / "b")}}
    apply(root(tmp_path / "root", **before))
    (tmp_path / "a" / "old" / "rows.csv").touch()
    cli = root(tmp_path / "root", **{**before, **after})
    with cli.plan() as plan:
        assert data_loss(plan) == ["module.it.terraform_data.bucket"]
        assert [each["change"]["actions"] for each in plan.changes] == [["delete", "create"]]
        cli.apply(plan, allow_data_loss=True)
    assert not (tmp_path / "a" / "old").exists()
    assert Path(cli.output()["path"].value).is_dir()


def test_labels_and_grants_are_changed_in_place(tmp_path: Path) -> None:
    place = {"base_path": str(tmp_path)}
    apply(root(tmp_path / "root", name="my-data", location=place))
    readers = {"daily": {"prefixes": ["orders/"]}}
    cli = root(tmp_path / "root", name="my-data", location=place, labels={"glacier-env": "dev"}, readers=readers)
    with cli.plan() as plan:
        assert [each["change"]["actions"] for each in plan.changes] == [["update"]]
        assert data_loss(plan) == []
        cli.apply(plan)
    assert cli.output()["readers"].value == {"daily": {"identity": None, "prefixes": ["orders/"]}}


@pytest.mark.parametrize("destroy", [False, True])
def test_bucket_that_is_no_longer_called_goes_with_its_folder_if_data_loss_is_allowed(
    tmp_path: Path, destroy: bool
) -> None:
    apply(root(tmp_path / "root", name="my-data", location={"base_path": ".."}))
    (tmp_path / "my-data" / "rows.csv").touch()
    cli = root(tmp_path / "root")
    with pytest.raises(DataLossRefused):
        apply(cli, destroy=destroy)
    assert (tmp_path / "my-data" / "rows.csv").exists()
    apply(cli, destroy=destroy, allow_data_loss=True)
    assert cli.state_list() == []
    assert not (tmp_path / "my-data").exists()  # Terraform itself runs no provisioner that is not in the configuration


def test_folder_that_was_there_before_a_bucket_stays_when_that_is_no_longer_called(tmp_path: Path) -> None:
    (tmp_path / "my-data").mkdir()
    apply(root(tmp_path / "root", name="my-data", location={"base_path": ".."}))
    apply(root(tmp_path / "root"), allow_data_loss=True)
    assert (tmp_path / "my-data").is_dir()


def test_one_bucket_can_be_destroyed_while_it_is_still_called(tmp_path: Path) -> None:
    cli = root(tmp_path / "root", name="my-data", location={"base_path": str(tmp_path)})
    apply(cli)
    (tmp_path / "my-data" / "rows.csv").touch()
    with cli.plan(destroy=True, targets=["module.it"]) as plan:
        cli.apply(plan, allow_data_loss=True)
    assert not (tmp_path / "my-data").exists()


def test_folder_that_could_not_be_made_is_made_by_the_next_apply_without_allowing_data_loss(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    cli = root(tmp_path / "root", name="my-data", location={"base_path": str(tmp_path / "data")})
    with pytest.raises(ApplyFailed, match="Not a directory"):
        apply(cli)
    (tmp_path / "data").unlink()
    apply(cli)
    assert (tmp_path / "data" / "my-data").is_dir()
    with cli.plan() as plan:
        assert not plan.has_changes


def test_link_in_place_of_the_folder_is_not_followed_when_destroying(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "rows.csv").touch()
    (tmp_path / "my-data").symlink_to(tmp_path / "elsewhere")
    cli = root(tmp_path / "root", name="my-data", location={"base_path": str(tmp_path)})
    apply(cli)
    apply(cli, destroy=True, allow_data_loss=True)
    assert (tmp_path / "my-data").is_symlink()
    assert (tmp_path / "elsewhere" / "rows.csv").exists()


def test_work_pool_gives_what_python_needs_and_is_destroyed_without_a_question(tmp_path: Path) -> None:
    cli = root(
        tmp_path, "work_pool", name="pool", env={"GLACIER_ENV": "dev"}, pipelines={"daily": {"reads": {"raw": ["a/"]}}}
    )
    apply(cli)
    assert {name: output.value for name, output in cli.output().items()} == {
        "name": "pool",
        "type": "process",
        "job_variables": {"env": {"GLACIER_ENV": "dev"}},
        "pipeline_job_variables": {"daily": {}},
    }
    with cli.plan() as second:
        assert not second.has_changes
    apply(cli, destroy=True)
    assert cli.state_list() == []


def test_a_folder_that_was_there_before_is_no_destroys_to_remove(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "rows.csv").write_text("mine")
    folders = {}
    for name in ("raw", "made"):
        folders[name] = root(tmp_path / f"root-{name}", name=name, location={"base_path": str(tmp_path)})
        apply(folders[name])
        (tmp_path / name / "added.csv").touch()
        apply(folders[name], destroy=True, allow_data_loss=True)
    assert sorted(each.name for each in (tmp_path / "raw").iterdir()) == ["added.csv", "rows.csv"]
    assert not (tmp_path / "made").exists()
