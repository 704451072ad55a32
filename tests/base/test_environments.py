"""Environments: where `glacier.toml` is looked for, what beats what, and what is said about a wrong one."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect import environments
from glacier_prefect.cli import main
from glacier_prefect.environments import Environment, check_registered, find_project, loading
from glacier_prefect.errors import ConfigurationError, OptionError, PathError
from glacier_prefect.executors import LocalExecutor
from glacier_prefect.providers import AWSProvider, AzureProvider, LocalProvider, Provider
from glacier_prefect.providers.base import PROVIDERS
from glacier_prefect.providers.environment import environment_provider

PROD = """
project = "acme"
[environments.dev]
base_path = "here"
[environments.prod]
provider = "aws"
region = "us-east-1"
bucket_prefix = "acme-prod-"
[environments.prod.providers.dr]
provider = "azure"
resource_group = "dr-rg"
"""
FLOW = """
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()

@task
def place() -> str:
    return str(provider)

@pipeline
def daily():
    return place()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project's folder, which is also the working directory, and no variable that is not set by the test."""
    names = ["GLACIER_ENV", "GLACIER_PROJECT"]
    names += [name for kind in PROVIDERS.names() for each in PROVIDERS.load(kind).variables.values() for name in each]
    for name in names:
        monkeypatch.setenv(name, "")  # so that a value that the command line puts there is taken away again
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    modules = set(sys.modules)
    yield folder
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def wrong(text: str, name: str = "glacier.toml", environment: str | None = None) -> str:
    """Return the message about a file."""
    Path(name).write_text(text)
    try:
        project = find_project(Path.cwd())
        project.environment(environment)
        environment_provider(project)
    except ConfigurationError as error:
        return "\n".join([str(error), *getattr(error, "__notes__", ())])
    raise AssertionError(f"nothing is wrong with {text!r}")


def imported(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"user_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ended(*words: str) -> int:
    try:
        main(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


# -- where the file is looked for --------------------------------------------------------------------------------------


def test_the_file_is_looked_for_from_the_users_file_upwards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "flows").mkdir()
    (folder / "flows" / "flow.py").write_text(FLOW)
    (folder / "glacier.toml").write_text(PROD)
    monkeypatch.chdir("/")
    assert find_project(folder / "flows" / "flow.py").folder == folder
    module = imported(folder / "flows" / "flow.py")  # as Provider.from_env() finds it
    assert module.provider == LocalProvider(base_path=folder / "here")


def test_else_it_is_looked_for_from_the_working_directory_upwards(folder: Path, tmp_path: Path) -> None:
    (folder / "glacier.toml").write_text(PROD)
    (tmp_path / "elsewhere.py").write_text(FLOW)
    assert imported(tmp_path / "elsewhere.py").provider == LocalProvider(base_path=folder / "here")


def test_a_file_that_is_being_loaded_counts_for_all_that_it_imports(folder: Path, tmp_path: Path) -> None:
    (folder / "glacier.toml").write_text(PROD)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "glacier.toml").write_text('[environments.dev]\nbase_path = "shared"')
    (tmp_path / "shared" / "common.py").write_text(FLOW)
    with loading(folder / "flow.py"):
        assert imported(tmp_path / "shared" / "common.py").provider == LocalProvider(base_path=folder / "here")


def test_nothing_at_all_is_the_local_disk_of_the_working_directory(folder: Path) -> None:
    assert Provider.from_env() == LocalProvider(base_path="data")
    project = find_project(folder)
    assert (project.folder, project.file, project.name) == (folder, None, None)
    assert project.environment() == Environment(name="dev")


def test_a_package_that_is_installed_elsewhere_follows_the_file_that_uses_it(folder: Path, tmp_path: Path) -> None:
    installed = tmp_path / "other" / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (tmp_path / "other" / "glacier.toml").write_text('[environments.dev]\nbase_path = "wrong"')
    (installed / "company_flow.py").write_text(FLOW)
    (folder / "glacier.toml").write_text(PROD)
    (folder / "user.py").write_text("from company_flow import provider\n")
    sys.path.append(str(installed))
    assert imported(folder / "user.py").provider == LocalProvider(base_path=folder / "here")


def test_a_command_that_is_installed_in_another_project_finds_that_of_the_working_directory(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "other" / ".venv" / "lib" / "site-packages").mkdir(parents=True)
    (tmp_path / "other" / ".venv" / "lib" / "site-packages" / "runner.py").touch()
    (tmp_path / "other" / "glacier.toml").write_text('[environments.dev]\nbase_path = "wrong"')
    (folder / "glacier.toml").write_text(PROD)
    runner = compile("found = find_project()", str(tmp_path / "other/.venv/lib/site-packages/runner.py"), "exec")
    names: dict[str, Any] = {"find_project": find_project, "__name__": "runner"}
    exec(runner, names)
    assert names["found"].folder == folder


def test_a_section_of_pyproject_says_the_same(folder: Path) -> None:
    text = '[project]\nname = "acme-flows"\n[tool.glacier.environments.prod]\nprovider = "aws"\nregion = "r"\n'
    (folder / "pyproject.toml").write_text(text)
    project = find_project(folder)
    assert (project.name, project.file) == ("acme-flows", folder / "pyproject.toml")
    assert project.environment("prod").settings == {"region": "r"}


def test_two_files_that_describe_one_project_are_an_error(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.glacier]\n")
    assert wrong("") == (
        "Both glacier.toml and [tool.glacier] of pyproject.toml describe the project.\nHint: keep one of them."
    )


# -- the project's name ------------------------------------------------------------------------------------------------


def test_the_name_is_the_files_else_that_of_pyproject(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "from-pyproject"\n')
    assert find_project(folder).require_name() == "from-pyproject"
    (folder / "glacier.toml").write_text("")
    assert find_project(folder).require_name() == "from-pyproject"
    (folder / "glacier.toml").write_text('project = "acme"')
    assert find_project(folder).require_name() == "acme"


def test_deploying_without_a_name_is_an_error_that_says_where_to_write_it(folder: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r'has no name.*\nHint: write project = "my-project" into glacier.toml'
    ):
        find_project(folder).require_name()


# -- what beats what ---------------------------------------------------------------------------------------------------


def test_arguments_beat_variables_and_variables_beat_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "glacier.toml").write_text(PROD)
    monkeypatch.setenv("GLACIER_ENV", "prod")
    with loading(folder / "flow.py"):
        assert Provider.from_env() == AWSProvider(region="us-east-1", bucket_prefix="acme-prod-")
        monkeypatch.setenv("AWS_REGION", "from-variable")
        assert Provider.from_env() == AWSProvider(region="from-variable", bucket_prefix="acme-prod-")
        assert Provider.from_env(region="given") == AWSProvider(region="given", bucket_prefix="acme-prod-")
        assert Provider.from_env(region=None) == AWSProvider(region="from-variable", bucket_prefix="acme-prod-")


def test_another_kind_by_variable_leaves_the_files_settings_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "glacier.toml").write_text(PROD)
    monkeypatch.setenv("GLACIER_ENV", "prod")
    monkeypatch.setenv("GLACIER_PROVIDER", "local")
    with loading(folder / "flow.py"):
        assert Provider.from_env() == LocalProvider(base_path=folder / "data", bucket_prefix="acme-prod-")


def test_a_providers_own_from_env_does_not_follow_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "glacier.toml").write_text(PROD)
    monkeypatch.setenv("GLACIER_ENV", "prod")
    with loading(folder / "flow.py"):
        assert AWSProvider.from_env() == AWSProvider()
        assert LocalProvider.from_env(base_path="x") == LocalProvider(base_path="x")
        with pytest.raises(OptionError, match=r"AWSProvider has no setting 'regin'. Did you mean 'region'\?"):
            AWSProvider.from_env(regin="x")
        with pytest.raises(OptionError, match=r"does not follow the environment.\nHint: use Provider.from_env\('dr'\)"):
            AzureProvider.from_env("dr")


def test_a_further_provider_is_named_and_variables_only_fill_its_gaps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "glacier.toml").write_text(PROD)
    monkeypatch.setenv("GLACIER_ENV", "prod")
    monkeypatch.setenv("AZURE_RESOURCE_GROUP", "of-the-own-provider")
    monkeypatch.setenv("AZURE_LOCATION", "eastus")
    with loading(folder / "flow.py"):
        expected = AzureProvider(resource_group="dr-rg", location="eastus", bucket_prefix="acme-prod-")
        assert Provider.from_env("dr") == expected
        with pytest.raises(
            ConfigurationError, match=r"Environment 'prod' has no further provider 'drr'. Did you mean 'dr'"
        ):
            Provider.from_env("drr")


def test_a_relative_base_path_is_relative_to_the_files_folder_and_a_variable_to_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "glacier.toml").write_text(PROD)
    monkeypatch.chdir("/")
    with loading(folder / "flow.py"):
        assert Provider.from_env() == LocalProvider(base_path=folder / "here")
        monkeypatch.setenv("GLACIER_BASE_PATH", "there")
        assert Provider.from_env() == LocalProvider(base_path="there")
    monkeypatch.delenv("GLACIER_BASE_PATH")
    (folder / "glacier.toml").write_text("[environments.prod]\n")  # dev need not be there
    with loading(folder / "flow.py"):
        assert Provider.from_env() == LocalProvider(base_path=folder / "data")


# -- bucket_prefix -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PROVIDERS.names())
def test_a_bucket_prefix_is_in_the_uri_and_not_in_the_bucket_of_code(kind: str) -> None:
    settings = {"storage_account": "acct"} if kind == "azure" else {}
    provider: Provider = PROVIDERS.load(kind)(bucket_prefix="acme-prod-", **settings)
    source, sink = provider.bucket_source("my-data", "a.parquet"), provider.bucket_sink("my-data", "a.parquet")
    for location in (source, sink, sink.twin(), source.at({})):
        assert location.bucket == "my-data"
        assert "acme-prod-my-data" in location.uri
        assert location.metadata()["bucket"] == "my-data"


def test_data_is_written_to_the_bucket_with_the_prefix_and_read_back(folder: Path) -> None:
    import polars as pl

    provider = LocalProvider(base_path=folder / "data", bucket_prefix="dev-")
    written = provider.bucket_sink("out", "a.csv").write(pl.DataFrame({"v": [1]}))
    assert (folder / "data" / "dev-out" / "a.csv").is_file()
    assert written.scan().collect().to_dicts() == [{"v": 1}]
    assert str(provider.storage_block("out").basepath) == str(folder / "data" / "dev-out")


def test_one_bucket_under_two_names_is_seen_to_overlap(folder: Path) -> None:
    prefixed = LocalProvider(base_path=folder, bucket_prefix="dev-").bucket_sink("out", "a.csv")
    assert prefixed.overlaps(LocalProvider(base_path=folder).bucket_source("dev-out", "a.csv"))
    assert not prefixed.overlaps(LocalProvider(base_path=folder).bucket_source("out", "a.csv"))


def test_a_bucket_prefix_cannot_leave_the_folder() -> None:
    with pytest.raises(PathError, match="bucket_prefix"):
        LocalProvider(bucket_prefix="../").bucket_source("out", "a.csv")


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("projekt = 'x'", "glacier.toml has the unknown key 'projekt'. Did you mean 'project'?"),
        ("project = 5", "glacier.toml: project is 5; expected letters, digits"),
        ("project = 'a/b'", "glacier.toml: project is 'a/b'; expected letters, digits"),
        ("pipelines = 'x'", 'glacier.toml: pipelines is a list of globs, as in ["flows/*.py"].'),
        ("pipelines = ['../*.py']", "glacier.toml: pipelines has '../*.py', which leaves the project's folder."),
        ("environments = 5", "glacier.toml: environments is int; expected a table."),
        ("environments.dev = 'x'", "glacier.toml: [environments.dev] is str; expected a table."),
        ("[environments.'../x']", "glacier.toml: the name of an environment is '../x'; expected letters"),
        (
            "[environments.dev]\nbase_pth = 'x'",
            "glacier.toml: [environments.dev] has the unknown key 'base_pth'. Did you mean 'base_path'?",
        ),
        (
            "[environments.dev]\nbucket_prefx = 'x'",
            "glacier.toml: [environments.dev] has the unknown key 'bucket_prefx'. Did you mean 'bucket_prefix'?",
        ),
        ("[environments.dev]\nregion = 'x'", "glacier.toml: [environments.dev] has the unknown key 'region'."),
        ("[environments.dev]\nbase_path = ''", "base_path=''; expected a folder, as in base_path='./data'.\nIn glac"),
        ("[environments.dev]\nprovider = 5", "glacier.toml: [environments.dev] has provider as int; expected a text."),
        (
            "[environments.dev]\nprovider = 'aws'\nregion = 5",
            "AWSProvider has region=5 (int); expected a text.\nIn glacier.toml: [environments.dev].",
        ),
        ("[environments.dev]\ncode = 'gitt'", "[environments.dev] has code = 'gitt'. Did you mean 'git'?"),
        ("[environments.dev]\nterraform = 'x'", "has terraform = 'x'. Known: 'terraform', 'tofu'."),
        (
            "[environments.dev.secrets]\nA = 7",
            "[environments.dev]: secret 'A' has to be a text, its name in the secret",
        ),
        ("[environments.dev.providers.dr]", "provider 'dr' does not say its kind, as in provider = \"azure\"."),
    ],
)
def test_a_wrong_file_is_an_error_with_its_name_and_the_nearest_match(text: str, message: str) -> None:
    assert message in wrong(text)


def test_an_unknown_provider_is_an_error_with_the_files_name(folder: Path) -> None:
    (folder / "glacier.toml").write_text("[environments.dev]\nprovider = 'locl'")
    message = r"glacier.toml: \[environments.dev\] has the unknown provider 'locl'. Did you mean 'local'\?"
    with pytest.raises(OptionError, match=message), loading(folder / "flow.py"):
        Provider.from_env()


@pytest.mark.parametrize(
    ("text", "place"),
    [("project = 'a'\n\n[environments.dev\n", "line 3"), ("a = 1\na = 2", "line 2"), ("a = [1,\n2,\n", "line 3")],
)
def test_malformed_toml_is_an_error_with_its_line(text: str, place: str) -> None:
    message = wrong(text)
    assert message.startswith("glacier.toml is not valid TOML: ")
    assert place in message


def test_a_file_that_is_no_text_is_an_error(folder: Path) -> None:
    (folder / "glacier.toml").write_bytes(b"project = '\xff'")
    with pytest.raises(ConfigurationError, match=r"glacier\.toml is not UTF-8 text"):
        find_project(folder)


def test_an_unknown_environment_is_an_error_with_the_nearest_match(folder: Path) -> None:
    assert wrong(PROD, environment="prd") == "glacier.toml has no environment 'prd'. Did you mean 'prod'?"
    (folder / "glacier.toml").unlink()
    with pytest.raises(
        ConfigurationError, match=r"no environment 'prod', since there is no glacier.toml in .*project or"
    ):
        find_project(folder).environment("prod")


def test_providers_hold_no_secrets_and_a_file_cannot_give_them_any(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_CLIENT_SECRET"]
    for name in names:
        monkeypatch.setenv(name, "hunter2")
    for kind in PROVIDERS.names():
        provider = PROVIDERS.load(kind).from_env()
        assert "hunter2" not in str(dataclasses.asdict(provider))
    message = wrong("[environments.dev]\nprovider = 'aws'\nsecret_access_key = 'hunter2'")
    assert "unknown key 'secret_access_key'" in message
    assert "hunter2" not in message


# -- which files have pipelines ----------------------------------------------------------------------------------------


def test_without_globs_all_files_count_that_import_glacier_but_not_in_tests_or_environments(folder: Path) -> None:
    for name in ("flow.py", "flows/daily.py", ".hidden/a.py", "tests/test_flow.py", ".venv/a.py", "env/lib/a.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FLOW)
    (folder / "env" / "pyvenv.cfg").touch()
    (folder / "other.py").write_text("import os, glacier_prefect_other  # import glacier_prefect\n")
    (folder / "plain.py").write_text("import polars, glacier_prefect\n")
    assert [str(file.relative_to(folder)) for file in find_project(folder).files()] == [
        "flow.py",
        "flows/daily.py",
        "plain.py",
    ]


def test_globs_name_the_files_and_one_that_names_none_is_an_error(folder: Path) -> None:
    (folder / "flows").mkdir()
    (folder / "flows" / "daily.py").touch()
    (folder / "glacier.toml").write_text('pipelines = ["flows/*.py", "**/daily.py"]')
    assert find_project(folder).files() == [folder / "flows" / "daily.py"]
    (folder / "glacier.toml").write_text('pipelines = ["flow/*.py"]')
    with pytest.raises(
        ConfigurationError, match=r"glacier.toml: pipelines has 'flow/\*.py', which names no Python file"
    ):
        find_project(folder).files()


# -- runs that were registered -----------------------------------------------------------------------------------------


def test_a_run_in_the_project_and_environment_that_it_was_registered_for_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "glacier.toml").write_text(PROD)
    check_registered(str(folder / "flow.py"))
    monkeypatch.setenv("GLACIER_PROJECT", "acme")
    monkeypatch.setenv("GLACIER_ENV", "prod")
    check_registered(str(folder / "flow.py"))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"GLACIER_PROJECT": "acne"}, r"registered for project 'acne' .*are of project 'acme' in .*\nHint: .*deploy"),
        ({"GLACIER_PROJECT": "acme", "GLACIER_ENV": "staging"}, r"has no environment 'staging'"),
    ],
)
def test_a_run_that_resolves_another_environment_fails_before_its_first_task(
    folder: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    (folder / "glacier.toml").write_text(PROD)
    text = FLOW.replace("Provider.from_env()", "None").replace("return str(provider)", "open('ran', 'w').close()")
    (folder / "flow.py").write_text(text)
    module = imported(folder / "flow.py")
    monkeypatch.setattr(module.daily.function, "__module__", "user_flow")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=message):
        module.daily.run()
    assert not (folder / "ran").exists()


def test_a_run_whose_file_was_not_delivered_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLACIER_PROJECT", "acme")
    with pytest.raises(
        ConfigurationError, match=r"of no project with a name in .*\nHint: glacier.toml has to be deliv"
    ):
        check_registered(str(folder / "flow.py"))


# -- on the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "analyze", "validate", "generate"])
@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[environments.dev", (), "glacier.toml is not valid TOML"),
        ("[environments.dev]\nbase_pth = 'x'", (), "has the unknown key 'base_pth'. Did you mean 'base_path'?"),
        (PROD, ("--env", "prd"), "glacier.toml has no environment 'prd'. Did you mean 'prod'?"),
        (PROD, ("--env=prd",), "glacier.toml has no environment 'prd'. Did you mean 'prod'?"),
    ],
)
def test_a_wrong_environment_ends_every_command_with_2(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, text: str, words: tuple[str, ...], message: str
) -> None:
    (folder / "flow.py").write_text(FLOW.replace("Provider.from_env()", "None"))
    (folder / "glacier.toml").write_text(text)
    assert ended(command, "flow.py", *words) == 2
    said = capsys.readouterr()
    assert message in said.out + said.err
    assert "Traceback" not in said.err


def test_env_is_set_before_the_file_is_loaded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "flow.py").write_text(FLOW)
    (folder / "glacier.toml").write_text(PROD)
    assert ended("run", "flow.py", "--env", "prod") == 0
    out = capsys.readouterr().out
    assert "AWSProvider(bucket_prefix='acme-prod-', " in out
    assert " region='us-east-1'" in out


def test_the_caller_is_found_through_glaciers_own_frames(folder: Path) -> None:
    find: Callable[[], Path | None] = environments._calling_file
    assert find() == Path(__file__)


# -- executors ---------------------------------------------------------------------------------------------------------

TWO_TASKS = """
from glacier_prefect import LocalExecutor, pipeline, task

@task
def first() -> int:
    return 1

@task(executor=LocalExecutor(processes=0))
def second(value: int) -> int:
    return value

@pipeline
def daily():
    return second(first())
"""


def executors_of(folder: Path, settings: str, text: str = TWO_TASKS) -> dict[str, Any]:
    (folder / "glacier.toml").write_text(settings)
    (folder / "flow.py").write_text(text)
    return {name: node.executor for name, node in imported(folder / "flow.py").daily.graph.nodes.items()}


def test_an_executor_takes_the_environments_settings_and_what_code_gives_beats_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "[environments.dev.executors.local]\nprocesses = 2\n[environments.prod]\n"
    assert executors_of(folder, settings) == {"first": LocalExecutor(processes=2), "second": LocalExecutor()}
    monkeypatch.setenv("GLACIER_ENV", "prod")
    assert executors_of(folder, settings) == {"first": LocalExecutor(), "second": LocalExecutor()}


def test_a_relative_path_of_an_executor_is_taken_from_the_files_folder(folder: Path) -> None:
    text = TWO_TASKS.replace("@task\n", "@task(executor='dbt')\n").replace("return 1", "return 'a_model'")
    made = executors_of(folder, '[environments.dev.executors.dbt]\nproject_dir = "warehouse"\n', text)
    assert made["first"].project_dir == str(folder / "warehouse")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("executors.local]\nproceses = 2", "executors.local] has the unknown setting 'proceses'. Did you mean"),
        ("executors.lcoal]\nprocesses = 2", "has settings of an unknown executor 'lcoal'. Did you mean 'local'?"),
        ("executors]\nlocal = 2", "[environments.dev]: executor 'local' is int; expected a table"),
        ("executors.local]\nprocesses = -1", "executors.local]: LocalExecutor has processes=-1; expected"),
    ],
)
def test_a_wrong_setting_of_an_executor_names_the_place_and_the_nearest(
    folder: Path, settings: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        executors_of(folder, f"[environments.dev.{settings}\n")
    assert message in str(raised.value)
