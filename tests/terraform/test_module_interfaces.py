"""What every module is like: the same names in every cloud, a README that is true, and nothing that is a root's."""

from __future__ import annotations

import re

import pytest

from tests.terraform.modules import ALL, MODULES, NAMES, Module, default_shown, type_shown

# What a module of a kind is called with and gives, in every cloud.
VARIABLES = {
    "bucket": "name location readers writers lifecycle_days replica labels hardened allow_data_loss cloud",
    "work_pool": "name type worker env pipelines location network server image labels hardened cloud",
    "network": "name location cidr existing public labels hardened cloud",
    "registry": "name location keep_images untagged_days readers writers labels hardened allow_data_loss cloud",
    "secrets": "names prefix location readers labels hardened allow_data_loss cloud",
    "state": "name location labels hardened allow_data_loss cloud",
    "identity": "name location repository branch github_environment kinds prefix buckets state labels hardened "
    "previews cloud",
    "spark": "name location pipelines network submitters labels hardened cloud",
    "budget": "name location monthly_limit notify labels cloud",
}
OUTPUTS = {
    "bucket": "name uri id",
    "work_pool": "name type job_variables pipeline_job_variables identities worker_identity",
    "network": "id subnets security_groups",
    "registry": "name url id",
    "secrets": "names ids",
    "state": "name id backend",
    "identity": "plan deploy boundary provider_id",
    "spark": "settings pipeline_settings identities",
    "budget": "name",
}
# On one machine there is nobody to keep out, and nothing that costs.
LOCAL_VARIABLES = {
    "bucket": "name location readers writers labels allow_data_loss",
    "work_pool": "name type worker env pipelines labels",
}
LOCAL_OUTPUTS = {
    "bucket": "name uri path readers writers",
    "work_pool": "name type job_variables pipeline_job_variables",
}
# What one cloud has beside these, for the modules of the same cloud that a root calls.
MORE_OUTPUTS = {
    "azure/secrets": "store",
    "azure/spark": "workspace_id access_connectors",
    "gcp/identity": "roles",
}
BOUNDS = r">= \d+\.\d+(\.\d+)?, < \d+\.\d+(\.\d+)?"

each_module = pytest.mark.parametrize("module", ALL, ids=NAMES)


def names(text: str) -> set[str]:
    return set(text.split())


@pytest.mark.parametrize("module", [each for each in ALL if each.kind in VARIABLES], ids=lambda each: each.name)
def test_module_has_the_names_that_it_has_in_every_cloud(module: Module) -> None:
    local = module.cloud == "local"
    variables, outputs = (LOCAL_VARIABLES, LOCAL_OUTPUTS) if local else (VARIABLES, OUTPUTS)
    assert set(module.declared("variable")) == names(variables[module.kind])
    assert set(module.declared("output")) == names(outputs[module.kind]) | names(MORE_OUTPUTS.get(module.name, ""))


@pytest.mark.parametrize("kind", LOCAL_VARIABLES)
def test_what_is_known_on_a_machine_is_known_in_a_cloud(kind: str) -> None:
    assert names(LOCAL_VARIABLES[kind]) <= names(VARIABLES[kind])
    assert names(LOCAL_OUTPUTS[kind]) - names(OUTPUTS[kind]) <= {"path", "readers", "writers"}


@each_module
@pytest.mark.parametrize("kind", ["variable", "output"])
def test_everything_is_described_and_stands_in_the_readme(module: Module, kind: str) -> None:
    blocks = module.declared(kind)
    assert [name for name, text in blocks.items() if not re.search(r'^  description\s+= "\S', text, re.M)] == []
    assert list(module.table(kind)) == list(blocks)


@each_module
def test_types_and_defaults_in_the_readme_are_those_of_the_code(module: Module) -> None:
    code = {name: [type_shown(text), default_shown(text)] for name, text in module.declared("variable").items()}
    assert {name: cells[:2] for name, cells in module.table("variable").items()} == code


def test_types_and_defaults_are_written_alike() -> None:
    def shown(given: str, default: str = "") -> tuple[str, str]:
        text = f'  description = "x"\n  type = {given}\n' + (f"  default = {default}\n" if default else "")
        return type_shown(text), default_shown(text)

    assert shown("string") == ("string", "")
    assert shown("string", '"main"') == ("string", "`main`")
    assert shown("string", '""') == ("string", '`""`')
    assert shown("set(string)", '["a", "b"]') == ("set of strings", '`["a", "b"]`')
    fields = 'a = optional(set(string), [""])\n    b = optional(object({ c = optional(bool, true), d = number }), {})'
    assert shown(f"map(object({{\n    {fields}\n  }}))", "{}") == ("map of `{ a, b }`", "`{}`")
    assert shown("object({})", "null") == ("`{}`", "`null`")
    fields = (
        'a = optional(number, 7)\n    b = optional(map(set(string)), {})\n    c = optional(string, "x y")\n    d = bool'
    )
    assert shown(f"object({{\n    {fields}\n  }})") == ('`{ a = 7, b, c = "x y", d }`', "")


def test_the_table_of_modules_has_all_of_them() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|(.*)\|$", (MODULES / "README.md").read_text(), flags=re.M)
    linked = [(kind, name) for kind, cells in rows for name in re.findall(r"\((\S+)/README\.md\)", cells)]
    assert sorted(name for _, name in linked) == sorted(NAMES)
    assert [(kind, name) for kind, name in linked if name.partition("/")[2] != kind] == []


@each_module
def test_readme_shows_one_example_which_calls_the_module(module: Module) -> None:
    [example] = module.examples
    assert f'= "./modules/{module.name}"\n' in example
    assert re.findall(r'^(\w+) "', example, flags=re.M) == ["module"]
    required = [
        name for name, text in module.declared("variable").items() if not re.search(r"^  default\s", text, re.M)
    ]
    if len(required) < 2:
        assert len(example.splitlines()) <= 4, "three lines, and the closing brace"


@each_module
def test_module_leaves_providers_to_the_root_and_names_to_who_calls_it(module: Module) -> None:
    for name, text in module.files().items():
        assert not re.search(r"^provider\b|^\s*backend\b", text, re.M), name
        assert "random_" not in text, name


@each_module
def test_versions_have_lower_and_upper_bounds(module: Module) -> None:
    text = module.files()["versions.tf"]
    assert re.findall(r'required_version\s*=\s*"(.*)"', text) == [">= 1.7, < 2.0"]
    assert [each for each in module.requires.values() if not re.fullmatch(BOUNDS, each)] == []
    assert len(module.requires) == len(re.findall(r"\bsource\b\s*=", text))


@each_module
def test_its_own_tests_show_one_thing_each_and_say_what_was_expected(module: Module) -> None:
    files = sorted((module.folder / "tests").glob("*.tftest.hcl"))
    for file in files:
        runs = re.findall(r'^run "(\w+)" \{\n(.*?)^\}', file.read_text(), flags=re.M | re.S)
        several = [name for name, text in runs if len(re.findall(r"^  assert\b|^  expect_failures\b", text, re.M)) > 1]
        assert several == [], file.name
        messages = re.findall(r'^\s*error_message\s*=\s*"(.*)"$', file.read_text(), re.M)
        assert [message for message in messages if not message.startswith("Expected")] == [], file.name
    assert files
