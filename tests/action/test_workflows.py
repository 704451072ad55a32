"""Workflows and action.yml, looked at by the linters: this project's, the examples', and those that users are told to
write, which are one and the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from glacier_prefect import __version__
from glacier_prefect.deployments.packages import install_steps
from glacier_prefect.modules import Granted
from glacier_prefect.providers import AWSProvider, AzureProvider, GCPProvider
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.scaffold import write_project

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "deploy_workflow"
ACTION = ROOT / "action.yml"
WORKFLOWS = [*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("examples/*/.github/workflows/*.yml")]
MADE = ("role_arn", "client_id", "tenant_id", "subscription_id", "workload_identity_provider", "service_account")
README = (ROOT / "README.md").read_text()


def run(tool: str, *words: str | Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name(tool), *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def readme_workflow() -> str:
    """The workflow in README.md, for AWS."""
    [found] = re.findall(r"```yaml\n(# [^\n]*\.github/workflows/deploy\.yml.*?)```", README, flags=re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def workflows(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    project = tmp_path_factory.mktemp("init")
    write_project(project)
    return [*WORKFLOWS, project / ".github" / "workflows" / "deploy.yml"]


def test_there_are_workflows_to_look_at() -> None:
    names = {str(each.relative_to(ROOT)) for each in WORKFLOWS}
    assert names == {
        ".github/workflows/test.yml",
        ".github/workflows/release.yml",
        "examples/deploy_workflow/.github/workflows/deploy.yml",
    }


def test_actionlint_has_nothing_to_say(workflows: list[Path]) -> None:
    run("actionlint", "-shellcheck=", "-pyflakes=", *workflows)  # not what happens to be on this machine


def test_zizmor_has_nothing_to_say(workflows: list[Path]) -> None:
    config = ROOT / ".github" / "zizmor.yml"
    run("zizmor", "--offline", "--quiet", "--config", config, *workflows, ACTION)


def test_all_are_valid_by_their_schemas(workflows: list[Path]) -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    run("check-jsonschema", "--builtin-schema", "vendor.github-actions", ACTION)


def test_what_linters_are_told_to_leave_out_has_a_reason() -> None:
    for file in [*WORKFLOWS, ACTION]:
        for line in file.read_text().splitlines():
            assert "ignore[" not in line or re.search(r"# zizmor: ignore\[[\w-]+\] \w+", line), f"{file}: {line}"
    rules = (ROOT / ".github" / "zizmor.yml").read_text()
    assert len(re.findall(r"(?:ref-pin|disable: true)  # \S+", rules)) == len(re.findall("ref-pin|disable", rules))


def others(file: Path) -> list[tuple[str, str]]:
    """The actions of others that a file uses, each as action@commit and version."""
    found = []
    for line in file.read_text().splitlines():
        if used := re.search(r"\buses: ([^\s,]+)(.*)", line):
            version = re.search(r"# v(\d+(\.\d+)*)", used[2])
            found.append((used[1], version[1] if version else ""))
    return [(used, version) for used, version in found if not used.startswith(("./", "glacier/deploy@"))]


def test_others_actions_are_pinned_by_commit_with_the_version_beside_it() -> None:
    for file in [*WORKFLOWS, ACTION]:
        for used, version in others(file):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", used), file
            assert re.fullmatch(r"\d+\.\d+\.\d+", version), f"{file}: {used}"


def test_no_action_needs_a_node_that_github_has_removed(tmp_path: Path) -> None:
    used = {
        f"{used.partition('@')[0]}@v{version.partition('.')[0]}"
        for file in [*WORKFLOWS, ACTION]
        for used, version in others(file)
    }
    told = [README, *(file.read_text() for file in ROOT.glob("glacier_prefect/providers/*.py"))]
    used |= {each for text in told for each in re.findall(r"uses: ([\w/-]+@v\d+)", text)} - {"glacier/deploy@v1"}
    assert {"aws-actions/configure-aws-credentials@v6", "azure/login@v3", "google-github-actions/auth@v3"} <= used
    steps = "".join(f"      - uses: {each}\n" for each in sorted(used))
    file = tmp_path / "workflow.yml"
    file.write_text(f"on: push\njobs:\n  all:\n    runs-on: ubuntu-latest\n    steps:\n{steps}")
    run("actionlint", "-ignore", "missing input", file)


def without_pins(workflow: str) -> dict[Any, Any]:
    """A workflow as data, each action by its major version."""
    unpinned = re.sub(r"@[0-9a-f]{40}(.*) # (v\d+)[\d.]*$", r"@\2\1", workflow, flags=re.MULTILINE)
    found: dict[Any, Any] = yaml.safe_load(unpinned)
    return found


def test_the_readme_shows_the_examples_workflow_in_ten_lines_and_three_for_the_cloud() -> None:
    lines = [line for line in readme_workflow().splitlines() if line and not line.startswith("#")]
    assert len(lines) == 10 + 3
    assert yaml.safe_load(readme_workflow()) == without_pins((EXAMPLE / ".github/workflows/deploy.yml").read_text())


def test_glacier_init_writes_the_same_but_for_the_cloud(workflows: list[Path]) -> None:
    written, shown = without_pins(workflows[-1].read_text()), yaml.safe_load(readme_workflow())
    shown["jobs"]["deploy"]["steps"] = [each for each in shown["jobs"]["deploy"]["steps"] if "if" not in each]
    assert written == shown


@pytest.mark.parametrize("cloud", ["Azure", "Google Cloud"])
def test_the_other_clouds_steps_are_valid_in_it(cloud: str, tmp_path: Path) -> None:
    [step] = re.findall(rf"```yaml\n(# {cloud}\n.*?)```", README, flags=re.DOTALL)
    workflow = yaml.safe_load(readme_workflow())
    steps = workflow["jobs"]["deploy"]["steps"]
    [at] = [number for number, each in enumerate(steps) if "if" in each]
    [new] = yaml.safe_load(step)
    assert new["if"] == steps[at]["if"]
    steps[at] = new
    workflow["on"] = workflow.pop(True)  # YAML reads the key as true
    file = tmp_path / "deploy.yml"
    file.write_text(yaml.safe_dump(workflow))
    run("actionlint", "-shellcheck=", "-pyflakes=", file)


@pytest.mark.parametrize(
    "provider",
    [
        AWSProvider(region="eu-central-1"),
        AzureProvider(resource_group="shop", location="westeurope"),
        GCPProvider(project_id="acme-shop", region="europe-west1"),
    ],
    ids=lambda provider: provider.name,
)
def test_the_step_that_bootstrap_prints_is_the_readmes_with_what_it_made(provider: CloudProvider) -> None:
    made = {name: "made" for name in MADE}
    [step] = yaml.safe_load(provider.workflow(Granted(provider=provider.name, plan=made, deploy=made)))
    found = [
        yaml.safe_load(each)[0]
        for each in re.findall(r"```yaml\n# (?:Azure|Google Cloud)\n(.*?)```", README, re.DOTALL)
    ]
    found += [each for each in yaml.safe_load(readme_workflow())["jobs"]["deploy"]["steps"] if "if" in each]
    [shown] = [each for each in found if each["uses"] == step["uses"]]
    assert step["if"] == shown["if"]
    assert set(step["with"]) == set(shown["with"])
    for name, value in shown["with"].items():
        if "event_name" in value:
            assert step["with"][name].partition("&&")[0] == value.partition("&&")[0]


def test_the_examples_lock_has_all_that_it_needs_so_that_a_worker_installs_it() -> None:
    lines = [line for line in (EXAMPLE / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    locked = {canonicalize_name(each.name): each for each in map(Requirement, lines)}
    assert len(locked) == len(lines)
    assert all(re.fullmatch(r"==[^,*]+", str(each.specifier)) for each in locked.values())  # nor has it an address
    assert str(locked[canonicalize_name("glacier-prefect")]) == f"glacier-prefect[aws]=={__version__}"
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    wanted, seen = [Requirement(each) for each in project["dependencies"]], set()
    while wanted:
        each = wanted.pop()
        pin = locked.get(canonicalize_name(each.name))
        assert pin is not None, each
        assert all(each.specifier.contains(exact.version, prereleases=True) for exact in pin.specifier), (each, pin)
        if (key := (each.name, frozenset(each.extras))) in seen:
            continue
        seen.add(key)
        for more in map(Requirement, requires(each.name) or ()):
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in ("", *each.extras)):
                wanted.append(more)
    assert len(seen) > 50
    [installing, _] = install_steps(EXAMPLE)
    assert " -r requirements.txt" in installing["prefect.deployments.steps.run_shell_script"]["script"]


def test_tests_have_the_terraform_that_the_action_sets_up() -> None:
    """GitHub's machines have none, and without it tests fail."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    [ours] = [each for each in jobs["test"]["steps"] if "setup-terraform" in each.get("uses", "")]
    steps = yaml.safe_load(ACTION.read_text())["runs"]["steps"]
    [users] = [each for each in steps if "setup-terraform" in each.get("uses", "")]
    assert ours["uses"] == users["uses"]
    assert f"'{ours['with']['terraform_version']}'" in users["with"]["terraform_version"]
    assert jobs["test"]["steps"].index(ours) < jobs["test"]["steps"].index({"run": ".ci/run"})
    assert ours["with"]["terraform_wrapper"] is False


@pytest.mark.slow
def test_the_example_runs_is_tested_and_makes_a_root_for_its_account(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GLACIER_", "PREFECT_", "PYTEST"))}
    glacier = "from glacier_prefect.cli import main; main()"
    data = tmp_path / "data" / "orders"
    data.mkdir(parents=True)
    (data / "2026-01-31.csv").write_text("customer,amount\nada,10.0\nada,5.5\nalan,-1.0\n")
    subprocess.run(["cp", "-r", f"{EXAMPLE}/.", tmp_path], check=True)
    for words in (
        ["-m", "pytest", "-q", "-p", "no:cacheprovider"],
        ["-c", glacier, "run", "flows/revenue.py", "--date", "2026-01-31"],
        ["-c", glacier, "generate", "--env", "prod"],
    ):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "data" / "reports" / "revenue" / "2026-01-31.parquet").exists()
    assert '"acme-terraform-state"' in (tmp_path / ".glacier/prod/terraform/main.tf.json").read_text()


class Repository:
    """A clone with the release script, and where it pushes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        (self.folder / ".ci").mkdir(parents=True)
        (self.folder / "glacier_prefect").mkdir()
        (self.folder / ".ci" / "release").write_text((ROOT / ".ci" / "release").read_text())
        self.git("init", "--quiet", "--initial-branch=main")
        subprocess.run(["git", "init", "--quiet", "--bare", folder / "origin"], check=True)
        self.git("remote", "add", "origin", str(folder / "origin"))

    def git(self, *words: str) -> str:
        settings = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "tag.gpgSign=false"]
        done = subprocess.run(
            ["git", *settings, *words], cwd=self.folder, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout.strip()

    def commit(self, version: str, changelog: str) -> str:
        (self.folder / "glacier_prefect" / "__init__.py").write_text(f'"""Glacier."""\n\n__version__ = "{version}"\n')
        (self.folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {changelog}\n")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", version)
        self.git("tag", f"v{version}")
        return self.git("rev-parse", "HEAD")

    def release(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", ".ci/release", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=30)

    def pushed(self, tag: str) -> str:
        return self.git("ls-remote", "origin", f"refs/tags/{tag}").split("\t")[0]


def test_a_release_has_one_version_in_tag_code_and_changelog_and_moves_v1_forward_only(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    first = repository.commit("1.2.0", "1.2.0 (2026-11-27)")
    assert repository.release("check", "v1.2.0").returncode == 0
    assert repository.release("move", "v1.2.0").returncode == 0
    assert repository.pushed("v1") == first
    second = repository.commit("1.10.0", "Unreleased")
    refused = repository.release("check", "v1.10.0")
    assert (refused.returncode, refused.stderr) == (1, "CHANGELOG.md has no section '## 1.10.0'.\n")
    refused = repository.release("check", "v1.11.0")
    assert "The tag is v1.11.0, and the version in glacier_prefect/__init__.py 1.10.0." in refused.stderr
    assert repository.release("move", "v1.10.0").returncode == 0
    assert repository.pushed("v1") == second
    repository.commit("1.2.1", "1.2.1")
    stays = repository.release("move", "v1.2.1")
    assert stays.stdout == "v1 stays at v1.10.0, which is newer than v1.2.1.\n"
    assert repository.pushed("v1") == second
    third = repository.commit("2.0.0", "2.0.0")
    assert repository.release("move", "v2.0.0").returncode == 0
    assert (repository.pushed("v2"), repository.pushed("v1")) == (third, second)
    assert repository.release("unmake", "v1.2.0").returncode == 2
