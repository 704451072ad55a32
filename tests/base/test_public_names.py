"""Each name in `__all__` of each public package can be imported."""

from __future__ import annotations

import importlib

import pytest

import glacier_prefect

PACKAGES = [
    "glacier_prefect",
    "glacier_prefect.executors",
    "glacier_prefect.providers",
    "glacier_prefect.report",
    "glacier_prefect.sources",
    "glacier_prefect.testing",
]
NAMES = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_each_public_name_can_be_imported(package: str, name: str) -> None:
    assert getattr(importlib.import_module(package), name) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_listed_once(package: str) -> None:
    names = importlib.import_module(package).__all__
    assert len(names) == len(set(names))


def test_the_names_that_the_readme_of_every_pipeline_begins_with_are_there() -> None:
    assert {"pipeline", "task", "Pipeline", "Task", "unmapped"} <= set(glacier_prefect.__all__)
