"""The contract of executors, kept by local processes and by the example of an executor of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from glacier_prefect.testing import Bodies, ExecutorContract, FrameContract, ValueContract
from tests.executors.contract_bodies import EXAMPLE, UnderTheServer, bodies_in, source_of

pytestmark = pytest.mark.slow


class TestLocalExecutor(UnderTheServer, ExecutorContract, FrameContract, ValueContract):
    outlives: ClassVar[bool] = False

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, marks: Path) -> Bodies:
        imports = "from glacier_prefect import LocalExecutor"
        return bodies_in(marks, source_of("LocalExecutor(processes=8)", imports=imports))


class TestDetachedExecutor(UnderTheServer, ExecutorContract, FrameContract, ValueContract):
    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, marks: Path, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        jobs = tmp_path_factory.mktemp("jobs")
        executor = f"detached.DetachedExecutor(folder={str(jobs)!r}, poll_seconds=1)"
        imports = f"import sys; sys.path.insert(0, {str(EXAMPLE)!r}); import detached"
        return bodies_in(marks, source_of(executor, imports=imports))
