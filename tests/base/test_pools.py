"""Templates of work pools: what Glacier sets in them, and what stays the operators'."""

from __future__ import annotations

from typing import Any

import pytest

from glacier_prefect.errors import OptionError
from glacier_prefect.pools import TYPES, Pool, merge, updated
from glacier_prefect.providers import PROVIDERS

TEMPLATE: dict[str, Any] = {
    "job_configuration": {"containers": [{"name": "x"}], "command": "{{ command }}"},
    "variables": {"properties": {"region": {"default": "us", "title": "R"}, "credentials": {"title": "C"}}},
}


def default(name: str, value: Any) -> dict[str, Any]:
    return {"variables": {"properties": {name: {"default": value}}}}


def test_what_glacier_sets_is_in_the_template_and_nothing_else_changes() -> None:
    made = merge(TEMPLATE, default("region", "eu"))
    assert made["variables"]["properties"]["region"] == {"default": "eu", "title": "R"}
    assert made["job_configuration"] == TEMPLATE["job_configuration"]
    assert TEMPLATE["variables"]["properties"]["region"]["default"] == "us"


def test_what_is_not_set_any_more_is_as_in_the_template_again() -> None:
    before = merge(default("region", "eu"), default("credentials", {"$ref": "x"}))
    before["job_configuration"] = {"containers": [{"name": "x", "secrets": ["y"]}]}
    there = merge(TEMPLATE, before)
    assert updated(there, TEMPLATE, before, {}) == TEMPLATE
    theirs = merge(there, default("theirs", 1))
    assert updated(theirs, TEMPLATE, before, {})["variables"]["properties"]["theirs"] == {"default": 1}
    assert updated(theirs, TEMPLATE, before, before) == theirs


def test_a_default_is_replaced_as_a_whole() -> None:
    there = merge(TEMPLATE, default("credentials", {"region_name": "eu", "profile_name": "p"}))
    made = updated(there, TEMPLATE, {}, default("credentials", {"$ref": "x"}))
    assert made["variables"]["properties"]["credentials"]["default"] == {"$ref": "x"}


@pytest.mark.parametrize("name", PROVIDERS.names())
def test_each_provider_has_a_usual_work_pool_and_knows_its_types(name: str) -> None:
    provider = PROVIDERS.load(name)()
    assert provider.work_pool().type == provider.work_pools[0]
    assert set(provider.work_pools) <= set(TYPES)
    assert {"aws": "ecs", "azure": "azure-container-instance", "gcp": "cloud-run-v2", "local": "process"}[
        name
    ] == provider.work_pool().type
    with pytest.raises(OptionError, match="has no work pool 'kubernetess'"):
        provider.work_pool("kubernetess")


def test_a_pool_of_processes_needs_no_extra_and_gets_prefects_own_template() -> None:
    template = Pool().template()
    assert Pool(secrets={"DB_PASSWORD": "x"}).changes() == {}
    assert "working_dir" in template["variables"]["properties"]
