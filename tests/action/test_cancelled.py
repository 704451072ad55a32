"""Jobs that are cancelled at any moment: GitHub interrupts them, and later kills them. The next job goes on."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from glacier_prefect.emulators import S3
from tests.action.world import World, world_of
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
KILL_AFTER = 7  # seconds, as GitHub does; every other time at once, so that no more than a part is undone
RANDOM = random.Random(7)
MOMENTS = [(number, (number + RANDOM.random()) / 10) for number in range(10)]  # parts of a whole deploy


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, api: Any, server: str, s3: S3, terraforms: dict[str, Terraform]
) -> Iterator[World]:
    with world_of("actstop", tmp_path_factory, api, server, s3, terraforms["newer"]) as made:
        yield made


@pytest.mark.parametrize("moment", MOMENTS, ids=[f"at {100 * part:.0f} %" for _, part in MOMENTS])
def test_a_job_that_is_cancelled_leaves_all_to_the_next(world: World, moment: tuple[int, float]) -> None:
    number, part = moment
    if not world.prefect():
        for text in ("first", "second"):  # the first makes the infrastructure, too, and takes longer
            world.flow("kept", text)
            world.commit(text)
            began = time.monotonic()
            code, said = world.direct("push").ended()
            assert code == 0, said
            world.took = time.monotonic() - began
            world.clear()
    # something is created, something changed, something deleted
    for old in (world.work / "flows").glob("only_*.py"):
        old.unlink()
    world.flow(f"only_{number}", "new")
    world.flow("kept", f"version {number}")
    world.commit(f"{number}")

    step = world.direct("push")
    time.sleep(part * world.took)
    if step.process.poll() is None:
        step.process.send_signal(signal.SIGINT)
        end = time.monotonic() + (KILL_AFTER if number % 2 else 0.3)
        while time.monotonic() < end and step.process.poll() is None:
            time.sleep(0.05)
        if step.process.poll() is None:
            step.kill()
        else:
            code, said = step.ended()
            assert "Traceback" not in said, said
            assert code == 0 or step.outputs()["failure-reason"] == "cancelled", said
    else:
        step.ended()
    world.clear()

    code, said = world.direct("push").ended()
    assert code == 0, said
    assert world.descriptions() == {"flows/kept.py": f"version {number}", f"flows/only_{number}.py": "new"}
    kinds = [each["entrypoint"] for each in world.prefect() if "entrypoint" in each]
    assert len(kinds) == 2
    objects = world.objects()
    assert not [key for key in objects if key.endswith(".tflock")]
    numbers = sorted(int(key.rpartition("/")[2][:-5]) for key in objects if "/history/" in key)
    assert numbers == [*range(1, len(numbers) + 1)]
    world.counter.writes.clear()
    world.clear()
