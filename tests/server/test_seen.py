"""What a run shows in Prefect besides its task runs: assets and one Markdown artifact."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FLOW = """
import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import LocalProvider

provider = LocalProvider(base_path="data")
provider.bucket_sink("raw", "orders.parquet").write(pl.DataFrame({"shop": ["a", "b", "a"], "amount": [1, 2, 3]}))
orders = provider.bucket_source("raw", "orders.parquet")
daily = provider.bucket_sink("out", "daily/{run_date:%Y-%m-%d}.parquet")
shops = provider.bucket_sink("out", "by shop", partition_by=["shop"])

@task
def load(source):
    return source.scan()

@task(retries=1)
def clean(frame):
    return frame.filter(pl.col("amount") > 1)

@task
def broken(frame):
    raise ValueError("on purpose")

@pipeline
def seen_daily(fail: bool = False):
    frame = clean(load(orders))
    return daily.write(frame), shops.write(frame)

@pipeline
def seen_broken():
    return broken(clean(load(orders)))

if __name__ == "__main__":
    seen_daily.run(run_date="2026-01-31")
    try:
        seen_broken.run()
    except ValueError:
        pass
"""


@pytest.fixture(scope="module")
def shown(project: Any) -> Any:
    project.write("flow.py", FLOW)
    project.run("flow.py")
    return project.folder.resolve().as_uri()


def test_each_published_sink_is_an_asset_with_rows_bytes_and_schema(shown: str, api: Any, wait_until: Any) -> None:
    # Prefect has no place for a space in a key.
    shops = f"{shown}/data/out/by-shop-{zlib.crc32(f'{shown}/data/out/by shop'.encode()):08x}"
    wanted = {f"{shown}/data/out/daily/2026-01-31.parquet", shops}

    def look() -> Any:
        page = api.post("/events/filter", filter={"event": {"name": ["prefect.asset.materialization.succeeded"]}})
        found = {each["resource"]["prefect.resource.id"]: each for each in page["events"]}
        return found if found.keys() >= wanted else None

    found = wait_until(look, "the materializations")
    for key in wanted:
        payload = found[key]["payload"]
        assert payload["rows"] == 2
        assert payload["bytes"] > 0
        assert payload["schema"] == {"shop": "String", "amount": "Int64"}
        upstream = {each["prefect.resource.id"] for each in found[key]["related"]}
        assert f"{shown}/data/raw/orders.parquet" in upstream, "Prefect shows which data it was made of"


def test_each_run_has_one_artifact_with_its_nodes_rows_and_what_it_published(shown: str, api: Any) -> None:
    made = api.post("/artifacts/filter", artifacts={"key": {"any_": ["glacier-seen-daily"]}})
    assert len(made) == 1
    text = made[0]["data"]
    assert "| clean | load | local | Completed | 2 |" in text
    assert "| load |  | local | Lazy |" in text
    assert f"* `{shown}/data/out/daily/2026-01-31.parquet` by write-daily" in text


def test_a_failed_run_has_its_artifact_too(shown: str, api: Any) -> None:
    made = api.post("/artifacts/filter", artifacts={"key": {"any_": ["glacier-seen-broken"]}})
    assert len(made) == 1
    assert "| broken | clean | local | Failed |" in made[0]["data"]
