"""The contract of executors, kept by dbt: each body of it is a dbt project."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest

from glacier_prefect.testing import Bodies, ExecutorContract, FrameContract
from tests.executors.contract_bodies import UnderTheServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("dbt") is None, reason="needs the extra dbt"),
]
TABLE = "{{ config(materialized='table') }} "
MODELS = {
    "frames": {"made.sql": TABLE + "select *, 2 * number as doubled from {{ source('glacier', 'frame') }}"},
    "same": {"made.sql": TABLE + "select * from {{ source('glacier', 'frame') }}"},
    "failing": {"deep_inside.sql": TABLE + "select error('broken on purpose') as a"},
    "slow": {"made.sql": TABLE + "select sleep_ms(100000) as n"},
    "brief": {
        "made.py": "import pathlib, time, uuid\n\ndef model(dbt, session):\n"
        "    pathlib.Path(f'MARKS/killed-{uuid.uuid4()}.csv').touch()\n"
        "    print('said by the body', flush=True)\n    time.sleep(6)\n    return session.sql('select 1 as a')\n"
    },
    "third_time": {
        "made.sql": "{{ config(materialized='table', pre_hook=\"copy (select 1 as a) to"
        " 'MARKS/third_time-{{ invocation_id }}.csv'\") }}\n"
        "select case when count(*) < 3 then error('not yet') end as a from glob('MARKS/third_time-*.csv')"
    },
}
# Runs of one project go on at once, and a DuckDB file is open in one process only; a retried run finds its own again.
PROFILE = """
bodies:
  target: dev
  outputs:
    dev: {type: duckdb, path: "HERE/{{ env_var('PREFECT__FLOW_RUN_ID', 'alone') }}.duckdb"}
"""
SOURCE = """
from glacier_prefect import DbtExecutor, task

def on(project, **settings):
    return DbtExecutor(project_dir=f"PROJECTS/{project}", **settings)

@task(executor=on("frames", returns="made"))
def frames(frame): ...

@task(executor=on("same", returns="made"))
def same(frame): ...

@task(executor=on("failing"))
def failing(): ...

@task(executor=on("slow"))
def slow(where): ...

@task(executor=on("brief"))
def brief(where): ...

@task(executor=on("third_time"))
def third_time(where): ...
"""


def of_node(node: str) -> Iterator[Path]:
    """Yield the processes of dbt for a node, as folders of /proc, which have opened the warehouse."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"/dbt-{node}/job.json" not in (process / "cmdline").read_text():
                continue
            if any(str(each.readlink()).endswith(".duckdb") for each in (process / "fd").iterdir()):
                yield process


class TestDbtExecutor(UnderTheServer, ExecutorContract, FrameContract):
    outlives: ClassVar[bool] = False
    changed: ClassVar[dict[str, Any]] = {
        "category": pl.String,
        "enumeration": pl.String,
        "array": pl.List(pl.Float64),
        "null": pl.Int32,
    }
    refused: ClassVar[dict[str, str]] = {"duration": "a number without a unit"}

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, marks: Path, tmp_path_factory: pytest.TempPathFactory) -> Bodies:
        projects = tmp_path_factory.mktemp("projects")
        for name, models in MODELS.items():
            folder = projects / name
            (folder / "models").mkdir(parents=True)
            (folder / "dbt_project.yml").write_text(f"name: {name}\nversion: '1.0'\nprofile: bodies\n")
            (folder / "profiles.yml").write_text(PROFILE.replace("HERE", str(folder)))
            for file, text in models.items():
                (folder / "models" / file).write_text(text.replace("MARKS", str(marks)))
        return Bodies(
            source=SOURCE.replace("PROJECTS", str(projects)),
            going=lambda node: len(list(of_node(node))),
            begun=lambda node: len(list(marks.glob(f"{node}-*.csv"))),
        )
