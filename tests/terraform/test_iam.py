"""`glacier iam` tells what the roots grant, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from glacier_prefect import infrastructure
from glacier_prefect.cli import main
from glacier_prefect.iam import permissions
from glacier_prefect.providers import PROVIDERS
from tests.terraform import roots

VERBS = {"reads": "read", "writes": "write"}


@pytest.mark.parametrize("environment", [*roots.PLACES, "aws+azure", "aws previews", "azure previews", "gcp previews"])
def test_it_says_what_the_modules_are_given(environment: str, tmp_path: Path) -> None:
    environment, _, previews = environment.partition(" ")
    folder = roots.shop(environment, tmp_path / "shop")
    settings = folder / "glacier.toml"
    if previews:
        settings.write_text(
            settings.read_text().replace("[environments.prod]\n", "[environments.prod]\npreviews = true\n")
        )
    with roots.entered(folder) as (project, pipelines):
        told = permissions(pipelines, project)
        accesses = [
            (provider.name, identity, access)
            for provider, needs in infrastructure.needs(pipelines, project)
            for identity, access in [
                *needs.pipelines.items(),
                *((f"{name} as jobs", each) for jobs in needs.jobs for name, each in jobs.pipelines.items()),
            ]
        ]
        given = {
            (provider, identity, VERBS[verb], f"{bucket}/{prefix}")
            for provider, identity, access in accesses
            for verb in VERBS
            for bucket, prefixes in getattr(access, verb).items()
            for prefix in prefixes
        }
        secrets = {(each.identity, each.where) for each in told if each.verb == "read secret"}
    assert {
        (each.provider, each.identity, each.verb, each.where) for each in told if each.verb in VERBS.values()
    } == given
    assert secrets == {("daily", "shop-db-password")}
    jobs = {"daily as jobs"} if environment != "local" else set()
    if previews:
        jobs.add("preview as jobs")
    assert {each.identity for each in told} == {"daily", "copy", *jobs, *([previews[:-1]] if previews else [])}
    assert {each.where for each in told if each.verb == "run jobs"} == jobs
    assert all(each.where == f"{each.identity} as jobs" for each in told if each.verb == "run jobs")
    assert all(bool(each.actions) == (environment != "local") for each in told)


@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_who_runs_jobs_may_what_the_module_of_spark_grants(cloud: str) -> None:
    files = (Path(__file__).parents[2] / "terraform_modules" / cloud / "spark").glob("*.tf")
    granted = "".join(file.read_text() for file in files).replace("iam.serviceAccountUser", "iam.serviceAccounts.actAs")
    actions = PROVIDERS.load(cloud).actions["run jobs"]
    assert [each for each in actions if each not in granted] == []


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
        assert "\nruns of daily as jobs may\n" in said
        with pytest.raises(SystemExit) as raised:
            main(["iam", "flow.py:daily", "--task", "lod"])
        assert raised.value.code == 2
        assert "Did you mean 'load'?" in capsys.readouterr().err
