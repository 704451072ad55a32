"""`glacier iam` tells what the roots grant, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glacier_prefect import infrastructure
from glacier_prefect.cli import main
from glacier_prefect.iam import permissions
from tests.terraform import roots

VERBS = {"reads": "read", "writes": "write"}


@pytest.mark.parametrize("environment", [*roots.PLACES, "aws+azure"])
def test_it_says_what_the_modules_are_given(environment: str, tmp_path: Path) -> None:
    with roots.entered(roots.shop(environment, tmp_path / "shop")) as (project, pipelines):
        told = permissions(pipelines, project)
        given = {
            (provider.name, pipeline, VERBS[verb], f"{bucket}/{prefix}")
            for provider, needs in infrastructure.needs(pipelines, project)
            for pipeline, access in needs.pipelines.items()
            for verb in VERBS
            for bucket, prefixes in getattr(access, verb).items()
            for prefix in prefixes
        }
        secrets = {(each.identity, each.where) for each in told if each.verb == "read secret"}
    assert {
        (each.provider, each.identity, each.verb, each.where) for each in told if each.verb in VERBS.values()
    } == given
    assert secrets == {("daily", "shop-db-password")}
    assert all(bool(each.actions) == (environment != "local") for each in told)


def test_the_command_shows_the_line_that_is_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with roots.entered(roots.shop("aws", tmp_path / "shop")):
        main(["iam", "flow.py:daily", "--task", "load", "--json"])
        found = json.loads(capsys.readouterr().out)["permissions"]
        assert {each["task"] for each in found} == {"load"}
        assert "flow.py:13 reads raw/prices.csv" in {each["reason"] for each in found}
        main(["iam", "flow.py:daily"])
        said = capsys.readouterr().out
        assert "read secret  aws: shop-db-password\n               secretsmanager:GetSecretValue\n" in said
        assert "since every run keeps results for retries\n" in said
        with pytest.raises(SystemExit) as raised:
            main(["iam", "flow.py:daily", "--task", "lod"])
        assert raised.value.code == 2
        assert "Did you mean 'load'?" in capsys.readouterr().err
