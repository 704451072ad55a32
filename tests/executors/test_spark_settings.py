"""Settings of the Spark executor, and what annotations say of whose frames a parameter takes."""

from __future__ import annotations

from typing import Any

import pytest

from glacier_prefect import SparkExecutor
from glacier_prefect.errors import OptionError
from glacier_prefect.executors.spark_frames import polars_parameters
from glacier_prefect.executors.spark_parameters import frame_parameters, session_parameters

ANNOTATED = """
from typing import TYPE_CHECKING, Optional
import polars
import polars as pl
from polars import DataFrame
from pyspark import sql
if TYPE_CHECKING:
    from pyspark.sql import SparkSession
Frame = pl.LazyFrame | None

def here(a: DataFrame, b: pl.LazyFrame | None, c: "Optional[polars.DataFrame]", d: list["DataFrame"], e: Frame): ...

def there(a: sql.DataFrame | None, b: "sql.DataFrame", c, d: int, spark: "SparkSession | None"): ...

def unseen(a: "lazy.LazyFrame | None", b: "pyspark.sql.DataFrame | None", spark: "Unseen"): ...
"""


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_annotations_say_whose_frame_a_parameter_takes_however_they_are_written(future: str) -> None:
    module: dict[str, Any] = {}
    exec(future + ANNOTATED, module)
    here, there, unseen = module["here"], module["there"], module["unseen"]
    found = {each.__name__: (polars_parameters(each), frame_parameters(each)) for each in (here, there, unseen)}
    assert found == {"here": (tuple("abcde"), ()), "there": ((), ("a", "b")), "unseen": (("a",), ("b",))}
    assert [session_parameters(each) for each in (here, there, unseen)] == [(), ("spark",), ()]


EMR = {"service": "emr-serverless", "application_id": "00abc", "role_arn": "arn:aws:iam::1:role/jobs"}
DATAPROC = {"service": "dataproc-serverless", "project_id": "p", "region": "r", "archive": "gs://b/environment.tar.gz"}


def test_what_code_says_of_where_it_runs_stands_alone() -> None:
    for here in (SparkExecutor(master="local[*]"), SparkExecutor(service=None)):
        assert here.completed(EMR).service is None
    assert SparkExecutor(master="local[2]", files=False).completed({**EMR, "arrow_bytes": 5}) == SparkExecutor(
        master="local[2]", files=False, arrow_bytes=5
    )
    there = SparkExecutor(**EMR)
    assert there.completed({"master": "spark://host:7077", "archive": "s3://b/e.tar.gz"}).archive == "s3://b/e.tar.gz"
    assert there.completed(DATAPROC) == there
    assert SparkExecutor(app_name="mine").completed(EMR) == SparkExecutor(app_name="mine", **EMR)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"master": "lokal[2]"}, "master='lokal\\[2\\]'; expected 'local"),
        ({"master": "sc://host/;token=abc"}, "token in its master"),
        ({"conf": {"spark.master": "local"}}, "master in its conf"),
        ({"arrow_bytes": -1}, "arrow_bytes=-1; expected a number of bytes"),
        ({"files": "yes"}, "files='yes'; expected True, False or None"),
    ],
)
def test_settings_that_cannot_be_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        SparkExecutor(**settings)


def test_what_stores_need_to_know_is_not_shown() -> None:
    assert "hidden" not in repr(SparkExecutor(conf={"spark.hadoop.fs.s3a.secret.key": "hidden"}))
