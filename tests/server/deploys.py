"""Deploys a made-up set of objects with a failure or a SIGKILL at one write after the other; prints what came of it.

Run by test_deploy_faults.py as a process of its own: Prefect is imported once, and each deploy is a fork. Nothing here
knows pipelines; what is wanted is plain data.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from glacier_prefect.deployments.api import Api
from glacier_prefect.deployments.deploying import deploy, destroy
from glacier_prefect.deployments.desired import Wanted
from glacier_prefect.deployments.state import State

NAME = "faults"


class Broken(RuntimeError):
    pass


class BreakingApi(Api):
    """Breaks at its n-th write: `before` it reaches Prefect, `after` it did; by an error or by SIGKILL.

    What the undoing writes does not count: it has to work.
    """

    def __init__(self, at: int, when: str, kill: bool) -> None:
        super().__init__()
        self.at, self.when, self.kill, self.broken = at, when, kill, False

    def write(self, method: str, path: str, body: Any = None) -> Any:
        here = not self.broken and self.writes == self.at
        if here and self.when == "before":
            self._break()
        answer = super().write(method, path, body)
        if here and self.when == "after":
            self._break()
        return answer

    def _break(self) -> None:
        self.broken = True
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise Broken("broken on purpose")


def wanted(version: int) -> list[Wanted]:
    """Return what is wanted: from each version to the other something of every kind is created, updated, deleted."""
    pool = Wanted(
        kind="work_pool", name=f"glacier-{NAME}-pool", fields={"type": "process", "description": f"version {version}"}
    )
    names = [("kept", "0 1 * * *"), ("plain", None if version == 1 else "0 2 * * *")]
    names += [("unscheduled", "0 3 * * *" if version == 1 else None)]
    names += [("removed", None)] if version == 1 else [("added", "0 4 * * *")]
    buckets = ["one", "removed"] if version == 1 else ["one", "added"]
    return [
        *(block(bucket, version) for bucket in buckets),
        pool,
        *(deployment(name, version, cron) for name, cron in names),
    ]


def block(name: str, version: int) -> Wanted:
    fields = {"block_type": "local-file-system", "data": {"basepath": f"/tmp/{name}-{version}"}}
    return Wanted(kind="block", name=f"glacier-{NAME}-{name}", fields=fields)


def deployment(name: str, version: int, cron: str | None) -> Wanted:
    fields = {
        "entrypoint": f"{name}.py:{name}.flow",
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": f"/tmp/{version}"}}],
        "parameter_openapi_schema": {"type": "object", "properties": {"a": {"type": "integer", "default": version}}},
        "enforce_parameter_schema": True,
        "tags": sorted(["glacier:project=faults", f"v{version}"]),
        "description": f"version {version}",
        "version": f"{name}-{version}",
        "work_pool_name": f"glacier-{NAME}-pool",
        "job_variables": {"env": {"VERSION": str(version)}},
        "schedule": {"cron": cron, "timezone": "UTC"} if cron else None,
    }
    return Wanted(kind="deployment", name=f"{NAME}-{name}/dev", fields=fields)


def snapshot(api: Api) -> dict[str, Any]:
    """Return all that the server has of these names, without what each write moves."""
    deployments = api.read("POST", "/deployments/filter", {"flows": {"name": {"like_": f"{NAME}-"}}})
    blocks = api.read("POST", "/block_documents/filter", {"block_documents": {"name": {"like_": f"glacier-{NAME}-"}}})
    pools = [api.read("GET", f"/work_pools/glacier-{NAME}-pool")]
    flows = api.read("POST", "/flows/filter", {"flows": {"name": {"like_": f"{NAME}-"}}})
    names = ("id", "name", "entrypoint", "pull_steps", "parameter_openapi_schema", "tags", "description", "version")
    return {
        "deployments": {
            each["entrypoint"]: {
                **{name: each[name] for name in (*names, "job_variables", "paused", "work_pool_name", "parameters")},
                "schedules": [
                    {name: schedule[name] for name in ("id", "slug", "active", "schedule", "parameters")}
                    for schedule in each["schedules"]
                ],
            }
            for each in deployments
        },
        "blocks": {each["name"]: [each["id"], each["data"]] for each in blocks},
        "pools": {each["name"]: [each["id"], each["description"], each["is_paused"]] for each in pools if each},
        "flows": {each["name"]: each["id"] for each in flows},
    }


def forked(work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Return what `work` returns in a process of its own, None if that was killed. This one opens no client, so that it
    can be forked.
    """
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            with os.fdopen(sending, "w") as pipe:
                json.dump(work(), pipe)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            code = 1
        os._exit(code)
    os.close(sending)
    with os.fdopen(receiving) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return None if os.WIFSIGNALED(status) else dict(json.loads(text))


def broken(state: State, version: int, at: int, when: str, kill: bool) -> dict[str, Any]:
    """Deploy, and break at a write."""
    with BreakingApi(at, when, kill) as api:
        try:
            deploy(api, state, lambda outputs: wanted(version))
        except Broken:
            assert api.broken
        return {"broke": api.broken, "snapshot": snapshot(api)}


def whole(state: State, version: int) -> dict[str, Any]:
    """Deploy, and once more: the second time writes nothing. Then forget the flow that only the other version has."""
    with Api() as api:
        deploy(api, state, lambda outputs: wanted(version))
        writes = api.writes
        deploy(api, state, lambda outputs: wanted(version))
        found = {"again": api.writes - writes}
        other = api.read("GET", f"/flows/name/{NAME}-{'added' if version == 1 else 'removed'}")
        if other:
            api.write("DELETE", f"/flows/{other['id']}")
        return {**found, "snapshot": snapshot(api)}


def destroyed(state: State) -> dict[str, Any]:
    with Api() as api:
        destroy(api, state)
        return snapshot(api)


def main(arguments: Sequence[str]) -> None:
    mode, when, folder = arguments
    state = State(Path(folder) / ".glacier" / "dev")
    version, results = 1, []
    before = forked(lambda: whole(state, 1))
    assert before is not None
    for at in range(40):
        version = 3 - version  # there and back again: each way creates, updates and deletes
        break_at = partial(broken, state, version, at, when, mode == "kill")
        after = forked(break_at)
        if after is not None and not after["broke"]:
            break  # there are no more writes
        then = forked(partial(whole, state, version))
        assert then is not None
        entry = {"at": at, "version": version, "first": before["snapshot"], "again": then["again"]}
        results.append({**entry, "broken": after and after["snapshot"], "second": then["snapshot"]})
        before = then
    left = forked(lambda: destroyed(state))
    print(json.dumps({"results": results, "left": left, "folder": [str(each) for each in Path(folder).iterdir()]}))


if __name__ == "__main__":
    main(sys.argv[1:])
