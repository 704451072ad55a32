"""The contract of executors, kept by Databricks: an emulated workspace, whose runs are real processes."""

from __future__ import annotations

import pytest

from glacier_prefect.testing import Bodies, ExecutorContract, FrameContract, ValueContract
from tests.executors.contract_bodies import UnderTheServer, bodies_in, source_of
from tests.executors.databricks_emulator import Databricks
from tests.executors.databricks_runs import VOLUME, needs_disk

pytestmark = [pytest.mark.slow, needs_disk]


class TestDatabricksExecutor(UnderTheServer, ExecutorContract, FrameContract, ValueContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, databricks: Databricks) -> Bodies:
        marks = databricks.volumes / "main/default/exchange/marks"
        marks.mkdir()
        executor = f"DatabricksExecutor(volume={VOLUME!r}, poll_seconds=1)"
        source = source_of(executor, imports="from glacier_prefect import DatabricksExecutor")
        env = {"DATABRICKS_HOST": databricks.url, "DATABRICKS_TOKEN": databricks.new_token()}
        return bodies_in(marks, source, there=f"{VOLUME}/marks", env=env)
