"""`glacier doctor` and the environment's work pool on a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow

DOCTOR = "from glacier_prefect.cli import main; main(['doctor', '--json'])"


@pytest.fixture
def work_pool(project: Any) -> Any:
    """What the check of the work pool says."""
    project.write(
        "glacier.toml",
        'project = "pooled"\n[environments.dev]\nprovider = "gcp"\nproject_id = "p"\nendpoint_url = "http://127.0.0.1:1"\n',
    )

    def look() -> Any:
        done = project.run("-c", DOCTOR, check=False, HOME=str(project.folder))
        (found,) = [each for each in json.loads(done.stdout)["checks"] if each["id"] == "work_pool"]
        return found

    return look


def test_a_pool_is_told_that_is_not_there_has_no_worker_or_is_paused(work_pool: Any, api: Any) -> None:
    before = work_pool()
    assert before["status"] == "skipped"
    assert "has none yet; `glacier deploy` makes it" in before["seen"]
    api.post("/work_pools/", name="glacier-pooled-dev-pool", type="process")
    idle = work_pool()
    assert (idle["status"], idle["seen"]) == ("warning", "glacier-pooled-dev-pool: has no worker online")
    assert idle["fix"] == "prefect worker start --pool glacier-pooled-dev-pool"
    api.post("/work_pools/glacier-pooled-dev-pool/workers/heartbeat", name="one", heartbeat_interval_seconds=60)
    online = work_pool()
    assert (online["status"], online["seen"]) == ("ok", "glacier-pooled-dev-pool: online")
    api.call("PATCH", "/work_pools/glacier-pooled-dev-pool", {"is_paused": True})
    paused = work_pool()
    assert (paused["status"], paused["seen"]) == ("warning", "glacier-pooled-dev-pool: is paused")
