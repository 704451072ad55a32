"""Jobs that are cancelled at any moment: GitHub interrupts them, and later kills them. The next job goes on."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from glacier_prefect.emulators import S3
from tests.action.world import Counter, World, world_of
from tests.server.conftest import api, s3, server
from tests.terraform.conftest import mirrors, terraforms
from tests.terraform.plugins import Terraform

__all__ = ["api", "mirrors", "s3", "server", "terraforms"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH"),
]
LOCK = r"PUT \S*/terraform\.tfstate\.tflock"
UNLOCK = LOCK.replace("PUT", "DELETE")
# What a job has said and written when it is cancelled, in the order of a deploy
MOMENTS = {
    "installing": r"::group::Installing",
    "Glacier starts": r"::group::glacier: deploy",
    "it takes the lease": r"PUT \S*/deploy\.json",
    "Terraform plans": LOCK,
    "Terraform applies": rf"{UNLOCK}.*{LOCK}",
    "Terraform has saved its state": r"PUT \S*/terraform\.tfstate\b(?!\.)",
    "Terraform has ended": rf"{UNLOCK}.*{UNLOCK}",
    "the first write to Prefect": r"POST /(block_documents|flows|deployments)/\n",
    "an update in Prefect": r"PATCH /deployments/",
    "the record, and deletions follow": r"PUT \S*/history/",
}
UNCHANGED = ("installing", "Glacier starts")  # then nothing has begun
# Seconds until it is killed: as GitHub does it, and at some moments at once, so that no more than a part is undone
CASES = [(moment, 7) for moment in MOMENTS] + [(moment, 0.3) for moment in list(MOMENTS)[::2]]
SEED = int(os.environ.get("CANCEL_SEED") or random.SystemRandom().randrange(10**6))  # how long after that


@pytest.fixture(scope="module")
def store(s3: S3) -> Iterator[Counter]:
    """AWS with its writes kept."""
    with Counter(s3.url) as made:
        yield made


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    api: Any,
    server: str,
    s3: S3,
    terraforms: dict[str, Terraform],
    store: Counter,
) -> Iterator[World]:
    with world_of("actstop", tmp_path_factory, api, server, s3, terraforms["newer"]) as made:
        made.env["AWS_ENDPOINT_URL"] = store.url
        yield made


@pytest.mark.parametrize(("moment", "seconds"), CASES)
def test_a_job_that_is_cancelled_leaves_all_to_the_next(
    world: World, store: Counter, moment: str, seconds: float
) -> None:
    number = CASES.index((moment, seconds))
    print(f"CANCEL_SEED={SEED}")
    before = world.prefect(), world.objects()
    # something is created, something changed, something deleted, with a bucket for each
    for old in (world.work / "flows").glob("only_*.py"):
        old.unlink()
    world.flow(f"only_{number}", "new", bucket=f"only-{number}")
    world.flow("kept", f"version {number}")
    world.commit(moment)

    store.writes.clear()
    step = world.direct("push", allow_data_loss="true")

    def reached() -> bool:
        done = "\n".join([step.said(), *store.writes, *world.counter.writes, ""])
        return re.search(MOMENTS[moment], done, re.DOTALL) is not None

    while step.process.poll() is None and not reached():
        time.sleep(0.01)
    assert step.process.poll() is None, step.said()
    time.sleep(random.Random(f"{SEED} {number}").uniform(0, 0.3))
    with contextlib.suppress(ProcessLookupError):
        step.process.send_signal(signal.SIGINT)
    end = time.monotonic() + seconds
    while time.monotonic() < end and step.process.poll() is None:
        time.sleep(0.05)
    if step.process.poll() is None:
        step.kill()
    else:
        code, said = step.ended()
        assert "Traceback" not in said, said
        assert code == 0 or step.outputs()["failure-reason"] == "cancelled", said
    world.clear()
    if moment in UNCHANGED:
        assert (world.prefect(), world.objects()) == before

    code, said = world.direct("push", allow_data_loss="true").ended()
    assert code == 0, said
    assert world.descriptions() == {"flows/kept.py": f"version {number}", f"flows/only_{number}.py": "new"}
    buckets = [f"module.aws_bucket_actstop-{each}.aws_s3_bucket.bucket" for each in ("lake", f"only-{number}")]
    assert world.buckets() == buckets
    kinds = [each["entrypoint"] for each in world.prefect() if "entrypoint" in each]
    assert len(kinds) == 2
    objects = world.objects()
    assert not [key for key in objects if key.endswith(".tflock")]
    numbers = sorted(int(key.rpartition("/")[2][:-5]) for key in objects if "/history/" in key)
    assert numbers == [*range(1, len(numbers) + 1)]
    world.clear()
