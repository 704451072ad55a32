"""A preview beside its environment on a real Prefect server: deployed, run by a worker, and removed without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.server.conftest import eventually
from tests.server.test_deploy import Glacier, everything, worker

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deploy")]
FLOW = """
import time
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
raw = provider.bucket_source(bucket="raw", path="in/*.parquet")
out = provider.bucket_sink(bucket="OUT", path="NAME.parquet")

@task
def scaled(seconds: int) -> pl.LazyFrame:
    for _ in range(seconds):
        time.sleep(1)
    return raw.scan().select(pl.all() * FACTOR)

@pipeline(name="NAME", schedule="0 6 * * *")
def flow(seconds: int = 0):
    return out.write(scaled(seconds))
"""


def flow(glacier: Glacier, name: str, factor: int, out: str = "out") -> None:
    text = FLOW.replace("NAME", name).replace("FACTOR", str(factor)).replace("OUT", out)
    glacier.write(f"flows/flow_{name}.py", text)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file() and "exchange" not in each.parts
    }


def owned(api: Any) -> list[dict[str, Any]]:
    """Return what the server has of the project, but for what its worker moves."""
    names = ("id", "name", "tags", "version", "entrypoint", "pull_steps", "job_variables", "paused", "data")
    found = [{name: each.get(name) for name in names} for each in everything(api, "viewed")]
    schedules = [each["schedules"] for each in everything(api, "viewed") if "schedules" in each]
    return [*found, {"schedules": schedules}]


def test_a_preview_is_deployed_run_and_removed_and_its_environment_stays_as_it_is(project: Any, api: Any) -> None:
    glacier = Glacier(project, "viewed")
    data = glacier.folder / "data"
    for number in (1, 2):
        (data / "raw/in").mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"a": [number]}).write_parquet(data / f"raw/in/{number}.parquet")
    flow(glacier, "viewed-daily", 10)
    preview = ("--preview", "pr-42")
    assert "1 to 30 small letters" in glacier.run("deploy", "--yes", "--preview", "PR_42", code=2)[0]
    assert "Environment 'dev' is not deployed, and a preview" in glacier.run("deploy", "--yes", *preview, code=1)[0]
    glacier.run("deploy", "--yes")
    of_env, objects = api.deployment("viewed-daily/dev"), owned(api)

    flow(glacier, "viewed-daily", 100)
    flow(glacier, "viewed-more", 7, out="new")
    said, writes = glacier.run("plan", *preview)
    assert ("+ deployment viewed-daily/pr-42" in said, "work_pool" in said, writes) == (True, False, [])
    said, writes = glacier.run("deploy", "--yes", *preview)
    assert len(writes) == 3, "two deployments, and the flow that the environment does not have"
    assert glacier.run("deploy", "--yes", *preview) == ("viewed, dev: nothing changes\n", [])
    made = api.deployment("viewed-daily/pr-42")
    assert (made["schedules"], made["work_pool_name"]) == ([], "glacier-viewed-dev-pool")
    assert made["tags"] == ["glacier:env=dev", "glacier:preview=pr-42", "glacier:project=viewed"]
    variables = made["job_variables"]["env"]
    assert variables.pop("GLACIER_PREVIEW_DATA").count('"local"') == 2
    assert variables == {
        "GLACIER_ENV": "dev",
        "GLACIER_PREVIEW": "pr-42",
        "GLACIER_PROJECT": "viewed",
        "GLACIER_BASE_PATH": str(data),
    }
    assert '"record": 1' in glacier.run("status", "--json", *preview)[0]
    changed = glacier.folder / "flows/flow_viewed-daily.py"

    with worker(project, "glacier-viewed-dev-pool"):
        changed.write_text(changed.read_text().replace("* 100", "* 10"))  # what the environment's worker has
        of_env_run = api.post(f"/deployments/{of_env['id']}/create_flow_run")
        assert api.finished(of_env_run["id"])["state_type"] == "COMPLETED"
        before = contents(data)
        changed.write_text(changed.read_text().replace("* 10", "* 100"))
        more = api.deployment("viewed-more/pr-42")
        runs = [api.post(f"/deployments/{each['id']}/create_flow_run") for each in (made, more)]
        assert [api.finished(each["id"])["state_type"] for each in runs] == ["COMPLETED"] * 2
        own = ".glacier/preview/pr-42"
        assert pl.read_parquet(data / f"out/{own}/viewed-daily.parquet")["a"].to_list() == [100, 200]
        assert pl.read_parquet(data / f"new/{own}/viewed-more.parquet")["a"].to_list() == [7, 14]
        assert {key: each for key, each in contents(data).items() if own not in key} == before
        late = api.post(f"/deployments/{made['id']}/create_flow_run", parameters={"seconds": 100})
        eventually(lambda: api.get(f"/flow_runs/{late['id']}")["state_type"] == "RUNNING", "the late run runs")

        changed.write_text(changed.read_text().replace("* 100", "* 10"))  # the branch is gone
        (glacier.folder / "flows/flow_viewed-more.py").unlink()
        assert glacier.run("deploy", "--yes") == ("viewed, dev: nothing changes\n", []), "it prunes no preview"
        assert "Hint: glacier destroy --preview pr-42" in glacier.run("destroy", "--yes", code=1)[0]
        said, _ = glacier.run("destroy", "--yes", *preview)
        assert "- deployment viewed-daily/pr-42" in said
        assert "Removed what the preview wrote: " in said
        assert "Only what is recorded" not in said
        assert api.finished(late["id"])["state_type"] == "CANCELLED"
    assert contents(data) == before
    assert owned(api) == objects
    assert api.deployment("viewed-more/pr-42") is None
    assert not list(glacier.folder.rglob("*pr-42*"))
    said, writes = glacier.run("destroy", "--yes", *preview)
    assert ("Removed what the preview wrote: 0 objects." in said, writes) == (True, [])
    assert not (glacier.folder / ".glacier/dev/preview").exists()
