"""What becomes of the runs of deployments that are removed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from glacier_prefect.deployments.api import PAGE, Api
from glacier_prefect.deployments.changes import Change
from glacier_prefect.deployments.recovery import is_used

CANCEL_SECONDS = 60


def cancel_runs(api: Api, changes: Iterable[Change]) -> None:
    """Cancel the runs of deployments, and wait until they have ended; not forever, as a worker that is gone cancels
    nothing.
    """
    ids = [each.existing.id for each in changes if each.kind == "deployment" and each.existing]
    active = {
        "flow_runs": {
            "deployment_id": {"any_": ids},
            "state": {"type": {"any_": ["PENDING", "RUNNING", "PAUSED", "CANCELLING"]}},
        },
        "limit": PAGE,
    }
    until = time.monotonic() + CANCEL_SECONDS
    while ids and (runs := api.read("POST", "/flow_runs/filter", active)) and time.monotonic() < until:
        for run in runs:
            if run["state_type"] != "CANCELLING":
                api.write("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
        time.sleep(1)


def purge_runs(api: Api, changes: Iterable[Change]) -> None:
    """Delete the runs of deployments that go."""
    for each in changes:
        if each.kind == "deployment" and each.existing is not None:
            runs = {"flow_runs": {"deployment_id": {"any_": [each.existing.id]}}, "limit": PAGE}
            while page := api.read("POST", "/flow_runs/filter", runs):
                for run in page:
                    api.write("DELETE", f"/flow_runs/{run['id']}")


def purge_flows(api: Api, changes: Iterable[Change], flows: Mapping[str, str]) -> None:
    """Delete the flows of deployments that are gone, if nobody else uses them."""
    for flow in sorted({each.name.rpartition("/")[0] for each in changes if each.kind == "deployment"}):
        if not is_used(api, flows[flow]):
            api.write("DELETE", f"/flows/{flows[flow]}")
