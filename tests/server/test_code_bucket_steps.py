"""The pull steps of three clouds' integrations really take an archive of code, in a process of its own.

Azure's step takes credentials of its own kinds only, and none is the emulator's key, so there it has a saved block.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from glacier_prefect.emulators import GCS, S3, Azure
from tests.clouds.provided import KINDS
from tests.clouds.test_code_bucket import FLOW, PLACES

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("steps")]
BLOCK = """
import sys
from prefect_azure import AzureBlobStorageCredentials
AzureBlobStorageCredentials(connection_string=sys.argv[1]).save("coded-azure")
"""
DELIVER = """
import json
from pathlib import Path
from glacier_prefect.deployments.actual import Actual
from glacier_prefect.deployments.archive import Archive
from glacier_prefect.deployments.changes import compare
from glacier_prefect.deployments.code_bucket import BucketCode
from glacier_prefect.deployments.desired import Target, desired
from glacier_prefect.deployments.state import NOTHING
from glacier_prefect.loading import load_project
from glacier_prefect.providers.environment import environment_provider

project, pipelines = load_project()
code = BucketCode(Archive(project), project, environment_provider(project).resolved())
wanted = list(desired(pipelines, Target(project="coded", env="prod", folder=Path.cwd(), code="bucket", delivery=code)))
code.deliver(compare(wanted, Actual(objects={}, flows={}), NOTHING), {})
print(json.dumps(wanted[-1].fields["pull_steps"]))
"""
PULL = """
import asyncio, json, os, sys
from pathlib import Path
from prefect.deployments.steps.core import run_steps
os.chdir(sys.argv[1])
asyncio.run(run_steps(json.loads(sys.argv[2])))
print(json.dumps([os.getcwd(), sorted(each.name for each in Path.cwd().iterdir())]))
"""


def test_the_pull_steps_take_the_archive_and_make_its_folder_the_working_directory(
    cloud: S3 | Azure | GCS, make_bucket: Any, project: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind, bucket, empty = KINDS[cloud.name].name, make_bucket(cloud), tmp_path_factory.mktemp("run")
    env = {**cloud.env, "NO_PROXY": "127.0.0.1", "GLACIER_ENV": "prod"}
    if isinstance(cloud, GCS):  # what Google's default credentials are in the run
        env["GOOGLE_APPLICATION_CREDENTIALS"] = str(project.write("key.json", json.dumps(cloud.service_account)))
    more = ""
    if kind == "azure":
        project.run("-c", BLOCK, cloud.connection_string, **env)
        more = 'credentials_block = "coded-azure"\n'
    project.write(
        "glacier.toml",
        f'project = "coded"\n[environments.prod]\nprovider = "{kind}"\ncode = "bucket"\n{more}{PLACES[kind]}\n',
    )
    project.write(".gitignore", "key.json\n")
    subprocess.run(["git", "init", "--quiet"], cwd=project.folder, check=True)
    project.write("coded_helper.py", "VALUE = 1\n")
    project.write("coded_flow.py", FLOW.replace("NAME", "coded").replace("BUCKET", bucket))
    subprocess.run(["git", "add", "."], cwd=project.folder, check=True)
    steps = json.loads(project.run("-c", DELIVER, **env).stdout.splitlines()[-1])
    [first, *_] = steps
    [settings] = first.values()
    assert settings["folder"].startswith(".glacier/code/coded/prod/")
    if kind == "azure":
        assert settings["credentials"] == "{{ prefect.blocks.azure-blob-storage-credentials.coded-azure }}"
    secret = {"aws": "secret_access_key", "azure": "account_key", "gcp": "service_account"}[kind]
    assert "PRIVATE KEY" not in json.dumps(steps)
    assert str(getattr(cloud, secret)) not in json.dumps(steps)

    done = project.run("-c", PULL, str(empty), json.dumps(steps), **env)
    where, found = json.loads(done.stdout.splitlines()[-1])
    assert where == str(empty / "code")
    assert found == [".gitignore", "coded_flow.py", "coded_helper.py", "glacier.toml"]
