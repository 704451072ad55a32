"""From pipelines to a root module: what is in it, that it is the same each time, and that Terraform takes it.

`python tests/base/test_infrastructure.py` writes the snapshots anew; look at the difference.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from glacier_prefect import infrastructure
from glacier_prefect.cli import main
from glacier_prefect.environments import PREVIEW_IDENTITY, PREVIEWS
from glacier_prefect.errors import ConfigurationError, NameTakenError, UsageError
from glacier_prefect.executors import EXECUTORS, LocalExecutor
from glacier_prefect.loading import load_project
from glacier_prefect.modules import ModuleCall, Needs, Reference, expression, merge, module_name
from glacier_prefect.terraform_cli import TerraformCLI

ROOT = Path(__file__).parents[2]
SNAPSHOTS = Path(__file__).with_name("snapshots")
EXAMPLE = ROOT / "examples" / "flight_delays"
SETTINGS = """
project = "acme"
[environments.dev]
base_path = "store"
[environments.staging]
bucket_prefix = "stage-"
[environments.prod]
provider = "aws"
region = "us-east-1"
"""
SMALL = """
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
orders = provider.bucket_source("shop", "orders/{run_date:%Y}/*.parquet")
late = provider.bucket_source("shop", "orders/2020/late.parquet")
daily_out = provider.bucket_sink("reports", "daily/{run_date:%Y-%m-%d}.parquet")
total_out = provider.bucket_sink("reports", "total.parquet")

@task
def load(source):
    return source.scan()

@task
def add(frame, more):
    return frame

@task
def again(source):
    return source.scan()

@pipeline
def inner():
    return daily_out.write(load(orders))

@pipeline
def outer():
    written = total_out.write(add(load(orders), load(late)))
    return again(written), inner()
"""
needs_terraform = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project's folder, which is also the working directory."""
    for name in ("GLACIER_ENV", "GLACIER_PROJECT", "GLACIER_BASE_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "path", list(sys.path))
    project(tmp_path / "project", SMALL)
    monkeypatch.chdir(tmp_path / "project")
    modules = set(sys.modules)
    yield tmp_path / "project"
    for name in set(sys.modules) - modules:
        if "flow" in name:
            del sys.modules[name]


def project(folder: Path, flow: str, settings: str = SETTINGS) -> Path:
    folder.mkdir(parents=True)
    (folder / "glacier.toml").write_text(settings)
    (folder / "flow.py").write_text(flow)
    return folder


def generated(*files: str) -> tuple[infrastructure.Root, dict[str, Any]]:
    found, pipelines = load_project(files)
    made = infrastructure.generate(pipelines, found)
    return made, json.loads(made.file.read_text())


def tree(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def ended(*words: str) -> int:
    try:
        main(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def snapshot(folder: Path) -> str:
    """Return the root of the project in a folder."""
    found, pipelines = load_project([str(folder / "flow.py")])
    return infrastructure.rendered(infrastructure.root(pipelines, found)[1])


# -- the root ----------------------------------------------------------------------------------------------------------


def test_root_of_the_flight_example_is_its_snapshot() -> None:
    assert snapshot(EXAMPLE) == (SNAPSHOTS / "flight_delays.local.tf.json").read_text()


def test_root_of_a_small_project_is_its_snapshot(folder: Path) -> None:
    assert snapshot(folder) == (SNAPSHOTS / "small.local.tf.json").read_text()


def test_generating_twice_and_in_another_place_gives_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tree(generated()[0].folder)
    assert tree(generated()[0].folder) == first
    elsewhere = project(tmp_path / "some" / "other place", SMALL)
    monkeypatch.chdir(elsewhere)
    assert tree(generated()[0].folder) == first
    monkeypatch.chdir("/")
    assert tree(generated(str(elsewhere / "flow.py"))[0].folder) == first


def test_a_pipeline_is_granted_what_its_sub_flows_touch_and_what_it_reads_back(folder: Path) -> None:
    _, root = generated()
    assert root["module"]["local_work_pool"]["pipelines"] == {
        "inner": {"reads": {"shop": ["orders/"]}, "writes": {"reports": ["daily/"]}},
        "outer": {
            "reads": {"reports": ["total.parquet"], "shop": ["orders/"]},  # which covers orders/2020/late.parquet
            "writes": {"reports": ["daily/", "total.parquet"]},
        },
    }
    assert root["module"]["local_bucket_reports"]["writers"] == {
        "inner": {"prefixes": ["daily/"]},
        "outer": {"prefixes": ["daily/", "total.parquet"]},
    }
    assert "writers" not in root["module"]["local_bucket_shop"]


def test_what_a_task_declares_is_granted(folder: Path) -> None:
    (folder / "flow.py").write_text(
        SMALL.replace(
            "@task\ndef again(",
            '@task(reads=[provider.bucket_source("shop", "rates.csv")],\n'
            '      writes=provider.bucket_sink("reports", "seen/{run_date:%Y}.parquet"))\ndef again(',
        )
    )
    _, root = generated()
    assert root["module"]["local_work_pool"]["pipelines"]["outer"] == {
        "reads": {"reports": ["total.parquet"], "shop": ["orders/", "rates.csv"]},
        "writes": {"reports": ["daily/", "seen/", "total.parquet"]},
    }


def test_values_known_only_after_apply_are_references_and_paths_are_relative(folder: Path) -> None:
    made, root = generated()
    assert root["output"]["buckets"]["value"]["local_bucket_shop"] == "${module.local_bucket_shop.uri}"
    assert root["module"]["local_bucket_shop"]["location"] == {"base_path": "../../../store"}
    assert str(folder.parent) not in made.file.read_text()


def test_empty_sections_are_left_out(folder: Path) -> None:
    assert sorted(generated()[1]) == ["//", "module", "output", "terraform"]


def test_a_base_path_outside_the_project_stays_absolute_and_a_link_to_the_project_is_no_difference(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(folder)
    needs = Needs(
        project="acme", environment="dev", folder=folder, root=folder / ".glacier" / "dev" / "terraform", pipelines={}
    )
    assert needs.path(str(folder / "data")) == needs.path(str(tmp_path / "link" / "data")) == "../../../data"
    assert needs.path(str(folder)) == "../../.."
    assert needs.path(str(tmp_path / "far")) == str(tmp_path / "far")


def test_an_environments_prefix_is_in_the_buckets_and_its_name_in_folder_pool_and_variables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLACIER_ENV", "staging")
    made, root = generated()
    assert made.folder == folder / ".glacier" / "staging" / "terraform"
    assert root["module"]["local_bucket_stage-shop"]["name"] == "stage-shop"
    pool = root["module"]["local_work_pool"]
    assert pool["name"] == "glacier-acme-staging-pool"
    assert pool["env"]["GLACIER_ENV"] == "staging"
    assert pool["env"]["GLACIER_PROJECT"] == "acme"
    assert pool["labels"] == {"glacier-env": "staging", "glacier-project": "acme"}


def test_a_run_is_told_of_a_provider_that_a_variable_chose(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLACIER_ENV", "prod")
    monkeypatch.setenv("GLACIER_PROVIDER", "local")
    assert generated()[1]["module"]["local_work_pool"]["env"] == {
        "GLACIER_ENV": "prod",
        "GLACIER_PROJECT": "acme",
        "GLACIER_PROVIDER": "local",
        "GLACIER_BASE_PATH": '${abspath("../../../data")}',
    }


def test_providers_of_one_folder_are_one_and_of_two_folders_two(folder: Path) -> None:
    (folder / "flow.py").write_text(
        "from pathlib import Path\n"
        "from glacier_prefect import pipeline, task\n"
        "from glacier_prefect.providers import LocalProvider\n"
        "here = Path(__file__).parent\n"
        "one = LocalProvider(base_path='store').bucket_source('a', 'x.csv')\n"
        "same = LocalProvider(base_path=here / 'flows' / '..' / 'store').bucket_sink('a', 'y.csv')\n"
        "other = LocalProvider(base_path='other').bucket_sink('b', 'y.csv')\n"
        "@task\n"
        "def load(source):\n    return source.scan()\n"
        "@pipeline\n"
        "def daily():\n    frame = load(one)\n    return same.write(frame), other.write(frame)\n"
    )
    modules = generated()[1]["module"]
    places = {name: call["location"]["base_path"] for name, call in modules.items() if "bucket" in name}
    assert places == {"local_bucket_a": "../../../store", "local_bucket_b": "../../../other"}
    assert set(modules["local_work_pool"]["pipelines"]["daily"]["writes"]) == {"a", "b"}


def test_executors_add_the_modules_that_they_need_in_a_cloud(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cluster(LocalExecutor):
        name: ClassVar[str] = "test-cluster"

        def modules(self) -> tuple[ModuleCall, ...]:
            return (ModuleCall(name="cluster", source="local/work_pool", inputs={"name": "c"}),)

    assert LocalExecutor().modules() == ()
    monkeypatch.setitem(EXECUTORS.table, "test-cluster", Cluster)
    text = SMALL.replace("@task\ndef add", "@task(executor='test-cluster')\ndef add")
    (folder / "flow.py").write_text(text)
    assert "cluster" not in generated()[1]["module"]
    monkeypatch.setenv("GLACIER_ENV", "prod")
    assert generated()[1]["module"]["cluster"]["name"] == "c"


def test_a_spark_service_is_made_for_the_pipelines_that_use_it_and_for_previews(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "flow.py").unlink()

    def spark(settings: str) -> dict[str, Any]:
        (folder / "glacier.toml").write_text(f"{SETTINGS}{settings}")
        flow = folder / f"flow_{len(settings)}.py"  # a new one, as a process loads a file once
        flow.write_text(SMALL.replace("@task\ndef add", "@task(executor='spark')\ndef add"))
        return dict(generated(str(flow))[1])

    monkeypatch.setenv("GLACIER_ENV", "prod")
    service = '[environments.prod.executors.spark]\nservice = "emr-serverless"\n'
    plain = spark(service)
    assert set(plain["module"]["aws_spark"]["pipelines"]) == set(plain["output"]["executors"]["value"]) == {"outer"}
    assert set(plain["module"]["aws_spark"]["submitters"]) == {"outer"}
    assert plain["module"]["aws_spark"]["pipelines"]["outer"] == {"writes": {"reports": [".glacier/exchange/outer/"]}}
    by_hand = spark(f'{service}application_id = "00f"\nrole_arn = "arn:aws:iam::123456789012:role/jobs"\n')
    assert "aws_spark" not in by_hand["module"]
    assert "executors" not in by_hand["output"]
    previews = spark(f"previews = true\n{service}")
    assert set(previews["module"]["aws_spark"]["submitters"]) == {"outer", PREVIEW_IDENTITY}
    assert set(previews["output"]["executors"]["value"]) == {"outer", PREVIEW_IDENTITY}
    assert previews["module"]["aws_spark"]["pipelines"][PREVIEW_IDENTITY] == {"writes": {"reports": [PREVIEWS]}}
    with pytest.raises(ConfigurationError, match="needs 'gcp/spark' of the provider 'gcp', and the environment is of"):
        spark(service.replace("emr", "dataproc"))
    process = spark(f'work_pool = "process"\n{service}')["module"]["aws_spark"]
    assert "network" not in process
    assert "submitters" not in process, "who runs a worker elsewhere is not known"


def test_files_of_one_name_in_two_folders_each_have_their_pipelines(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        text = (folder / "flow.py").read_text().replace("def inner", f"def {name}").replace("inner()", f"{name}()")
        (folder / name / "flow.py").write_text(text.replace("def outer", f"def {name}_outer"))
    found, pipelines = load_project()
    made = {each.name: (each.variable, str(Path(str(each.file)).relative_to(folder))) for each in pipelines}
    assert made == {
        "inner": ("inner", "flow.py"),
        "outer": ("outer", "flow.py"),
        "one": ("one", "one/flow.py"),
        "one-outer": ("one_outer", "one/flow.py"),
        "two": ("two", "two/flow.py"),
        "two-outer": ("two_outer", "two/flow.py"),
    }
    assert set(infrastructure.module_calls(pipelines, found)) == {
        "local_bucket_reports",
        "local_bucket_shop",
        "local_work_pool",
    }


# -- the folder --------------------------------------------------------------------------------------------------------


def test_the_folder_is_the_owners_and_the_state_in_it_stays(folder: Path) -> None:
    made, _ = generated()
    assert stat.S_IMODE(made.folder.stat().st_mode) == stat.S_IMODE(made.folder.parent.stat().st_mode) == 0o700
    (made.folder / "terraform.tfstate").write_text("the state")
    (made.folder / "modules" / "local" / "old").mkdir()
    (made.folder / "modules" / "local" / "old" / "main.tf").touch()
    generated()
    assert (made.folder / "terraform.tfstate").read_text() == "the state"
    assert sorted(os.listdir(made.folder)) == [".gitignore", "main.tf.json", "modules", "terraform.tfstate"]
    assert sorted(os.listdir(made.folder / "modules" / "local")) == ["bucket", "work_pool"]


def test_modules_are_copied_without_their_tests_and_what_terraform_left(folder: Path) -> None:
    copied = generated()[0].folder / "modules" / "local" / "bucket"
    original = infrastructure.modules_folder() / "local" / "bucket"
    assert sorted(os.listdir(copied)) == sorted(file.name for file in original.glob("*.tf"))
    assert (copied / "main.tf").read_bytes() == (original / "main.tf").read_bytes()


# -- module calls ------------------------------------------------------------------------------------------------------


def test_equal_calls_merge_and_are_sorted() -> None:
    one, other = (ModuleCall(name=name, source="local/bucket", inputs={"name": name}) for name in "ab")
    again = ModuleCall(name="b", source="local/bucket", inputs={"name": "b"})
    assert list(merge([other, one, again]).items()) == [("a", one), ("b", other)]


@pytest.mark.parametrize(
    ("source", "inputs", "message"),
    [
        ("local/bucket", {"name": "b"}, r"named 'it' and differ: one has name='a', one has name='b'\.\nHint: give one"),
        ("local/bucket", {}, r"one has name='a', one has name=None"),
        ("local/work_pool", {"name": "a"}, r"one is of 'local/bucket', one of 'local/work_pool'"),
    ],
)
def test_unequal_calls_of_one_name_are_an_error(source: str, inputs: dict[str, Any], message: str) -> None:
    calls = [
        ModuleCall(name="it", source="local/bucket", inputs={"name": "a"}),
        ModuleCall(name="it", source=source, inputs=inputs),
    ]
    with pytest.raises(NameTakenError, match=message):
        merge(calls)


def test_different_names_give_different_calls_that_terraform_takes() -> None:
    names = [module_name("local", "bucket", name) for name in ("a-b", "a_b", "a b", "a.b", "ä")]
    assert len(set(names)) == len(names)
    assert names[:2] == ["local_bucket_a-b", "local_bucket_a_b"]
    assert all(name.isascii() and " " not in name and "." not in name for name in names)


def test_texts_that_look_like_references_stay_texts() -> None:
    given = {"${a}": ["%{b}", Reference("module.c.d"), 5, None]}
    assert expression(given) == {"$${a}": ["%%{b}", "${module.c.d}", 5, None]}


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('provider = "aws"', r"AWSProvider needs region= \(in glacier.toml, or by AWS_REGION or AWS_DEFAULT_REGION\)"),
        ('provider = "azure"\nlocation = "eastus"', r"AzureProvider needs resource_group= .*AZURE_RESOURCE_GROUP"),
        ('provider = "gcp"\nregion = "us-east1"', r"GCPProvider needs project_id= .*GOOGLE_CLOUD_PROJECT"),
        ('state = "somewhere"', r"state = 'somewhere' is in no cloud: .*'local'"),
        ('provider = "azure"\nlocation = "a"\nresource_group = "b"\nstate = "acme"', "'storage-account/container'"),
        ("infrastructure = 5", "infrastructure is int; expected a table"),
        ("infrastructure = { worker = 'always' }", "worker = 'always'; expected 'service' or 'none'"),
        ("infrastructure = { hardend = true }", "unknown key 'hardend'. Did you mean 'hardened'"),
        ("infrastructure = { monthly_budget = true }", "monthly_budget = True; expected a number"),
    ],
)
def test_settings_that_are_missing_or_cannot_be_are_errors_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: str, said: str
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    (folder / "glacier.toml").write_text(f'project = "acme"\n[environments.dev]\n{settings}\n')
    with pytest.raises(ConfigurationError, match=said):
        generated()
    assert ended("generate") == 2
    assert not (folder / ".glacier").exists()


def test_a_project_without_a_name_cannot_generate(folder: Path) -> None:
    (folder / "glacier.toml").write_text("")
    with pytest.raises(ConfigurationError, match="has no name"):
        generated()


def test_two_pipelines_with_one_name_are_an_error(folder: Path) -> None:
    (folder / "flow_too.py").write_text(SMALL)
    with pytest.raises(NameTakenError, match=r"Two pipelines are named 'inner', in .*flow.py and in .*flow_too.py"):
        generated()


def test_files_of_two_projects_and_a_folder_without_pipelines_are_errors(folder: Path, tmp_path: Path) -> None:
    other = project(tmp_path / "other", SMALL)
    with pytest.raises(UsageError, match=r"flow.py is of the project in .*\nHint: name files of one project"):
        generated("flow.py", str(other / "flow.py"))
    (folder / "flow.py").unlink()
    with pytest.raises(UsageError, match=r"There is no pipeline in .*project\.\nHint: name its file"):
        generated()


def test_two_buckets_of_one_name_in_two_folders_are_an_error(folder: Path) -> None:
    text = SMALL.replace(
        'provider.bucket_source("shop", "orders/2020/late.parquet")',
        'type(provider)(base_path="else").bucket_source("shop", "late.parquet")',
    )
    (folder / "flow.py").write_text(text)
    with pytest.raises(NameTakenError, match=r"named 'local_bucket_shop' and differ: one has location="):
        generated()


# -- the command -------------------------------------------------------------------------------------------------------


def test_generate_says_what_it_wrote(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("generate") == 0
    assert capsys.readouterr().out == (
        "Written to .glacier/dev/terraform/main.tf.json:\n"
        "  local_bucket_reports  (local/bucket)\n"
        "  local_bucket_shop  (local/bucket)\n"
        "  local_work_pool  (local/work_pool)\n"
    )


def test_generate_takes_files_and_an_environment_and_says_it_to_programs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("generate", "flow.py:inner", "--env", "staging", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    root = json.loads((folder / ".glacier" / "staging" / "terraform" / "main.tf.json").read_text())
    assert said == {
        "root": root,
        "version": 1,
        "project": "acme",
        "environment": "staging",
        "folder": str(folder / ".glacier" / "staging" / "terraform"),
        "pipelines": ["inner"],
        "modules": [
            {"name": "local_bucket_stage-reports", "source": "local/bucket"},
            {"name": "local_bucket_stage-shop", "source": "local/bucket"},
            {"name": "local_work_pool", "source": "local/work_pool"},
        ],
    }


def test_generating_loads_neither_prefect_nor_a_cloud_sdk(folder: Path) -> None:
    script = """
import sys
from glacier_prefect.cli import main
main(["generate"])
print(sorted({"prefect", "python_terraform", "boto3", "azure", "google"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


# -- with the real Terraform -------------------------------------------------------------------------------------------


@needs_terraform
def test_terraform_validates_and_applies_a_root_and_a_second_plan_changes_nothing(folder: Path) -> None:
    made, _ = generated()
    cli = TerraformCLI(made.folder)
    cli.init()
    assert cli.validate() == ()
    with cli.plan() as plan:
        assert plan.has_changes
        assert sorted(cli.apply(plan)) == [
            "module.local_bucket_reports.terraform_data.bucket",
            "module.local_bucket_shop.terraform_data.bucket",
            "module.local_work_pool.terraform_data.work_pool",
        ]
    assert sorted(os.listdir(folder / "store")) == ["reports", "shop"]
    outputs = {name: output.value for name, output in cli.output().items()}
    assert outputs["buckets"]["local_bucket_shop"] == (folder / "store" / "shop").as_uri()
    assert outputs["work_pool"] == {"name": "glacier-acme-dev-pool", "type": "process"}
    env = {"GLACIER_ENV": "dev", "GLACIER_PROJECT": "acme", "GLACIER_BASE_PATH": str(folder / "store")}
    assert outputs["job_variables"] == {"env": env}
    assert outputs["pipeline_job_variables"] == {"inner": {}, "outer": {}}
    generated()
    cli.init()
    with cli.plan() as second:
        assert not second.has_changes


@needs_terraform
def test_a_name_that_looks_like_a_template_is_a_name(folder: Path, tmp_path: Path) -> None:
    (folder / "flow.py").write_text(SMALL.replace('"shop", "orders/2020', '"a ${b} %{c}", "x ${{y}}/2020'))
    made, _ = generated()
    cli = TerraformCLI(made.folder)
    cli.init()
    with cli.plan() as plan:
        cli.apply(plan)
    assert (folder / "store" / "a ${b} %{c}").is_dir()


if __name__ == "__main__":
    import tempfile

    SNAPSHOTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        for place, file in ((EXAMPLE, "flight_delays"), (project(Path(name) / "project", SMALL), "small")):
            (SNAPSHOTS / f"{file}.local.tf.json").write_text(snapshot(place))
