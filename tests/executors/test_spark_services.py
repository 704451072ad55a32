"""Bodies as jobs of EMR Serverless and Dataproc Serverless: stand-ins of the services, real jobs, emulated buckets."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import botocore.exceptions
import polars as pl
import pytest
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession

from glacier_prefect import SparkExecutor, run_context
from glacier_prefect.credentials import AWSCredentials
from glacier_prefect.emulators import GCS, S3
from glacier_prefect.errors import ConfigurationError, OptionError, RemoteDenied, RemoteFailed, RemoteUnreachable
from glacier_prefect.executors import Body
from glacier_prefect.executors.remote import _Following
from glacier_prefect.providers import AWSProvider, GCPProvider
from glacier_prefect.run_context import RunContext
from glacier_prefect.sources.shared import Shared
from tests.executors.spark_services import CUT, Services
from tests.server.conftest import azure, eventually, gcs, make_bucket, s3

__all__ = ["azure", "gcs", "make_bucket", "s3"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.usefixtures("brief_java")]

EMR = {"service": "emr-serverless", "application_id": "00app", "role_arn": "arn:aws:iam::123456789012:role/jobs"}
DATAPROC = {"service": "dataproc-serverless", "project_id": "emulated", "region": "europe-west1"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    services = Services(folder=tmp_path_factory.mktemp("jobs"))
    server = services.start()
    yield services
    services.stop()
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["emr", "dataproc"])
def submitted(
    request: pytest.FixtureRequest,
    services: Services,
    make_bucket: Callable[[Any], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    """Runs a body as a job of each service in turn, in a run with an exchange bucket."""
    is_emr = request.param == "emr"
    emulator: S3 | GCS = request.getfixturevalue("s3" if is_emr else "gcs")
    bucket = make_bucket(emulator)
    for name, value in emulator.env.items():
        monkeypatch.setenv(name, value)
    if is_emr:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EMR_SERVERLESS", services.url)
        location = AWSProvider.from_env().bucket_source(bucket, "x.parquet")
    else:
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAPROC", services.url)
        location = GCPProvider.from_env().bucket_source(bucket, "x.parquet")
    services.stores[f"{'s3' if is_emr else 'gs'}://{bucket}"] = emulator.store(bucket)
    services.env = dict(emulator.env)
    services.failing.clear()
    made = EMR if is_emr else DATAPROC  # as a deployment's runs are told of what `glacier deploy` has made
    monkeypatch.setenv("GLACIER_EXECUTORS", json.dumps({"spark": {**made, "later": "of a newer module"}}))
    executor = SparkExecutor(service=made["service"], poll_seconds=0.5, patience_seconds=20)
    context = RunContext(
        run_id=f"run-{time.monotonic_ns()}",
        node="body",
        project="tests",
        exchange=str(tmp_path / "exchange"),
        shared=Shared(location=location, folder="exchange/run"),
    )

    def run(body: Callable[..., Any], inputs: Mapping[str, Any], **options: Any) -> Any:
        with run_context.entered(context):
            return executor.run(Body(function=body, inputs=inputs, **options))

    run.executor, run.context = executor, context
    return run


def test_polars_frames_and_values_go_there_and_come_back(submitted: Callable[..., Any], services: Services) -> None:
    def body(frame: pl.LazyFrame, number: int) -> Any:
        return {"frame": frame.with_columns(doubled=2 * pl.col("a")), "pid": os.getpid(), "number": number + 1}

    services.failing += [503, 429]
    before = len(services.jobs)
    made = submitted(body, {"frame": pl.LazyFrame({"a": [1, 2]}), "number": 41})
    assert made["frame"].collect().to_dict(as_series=False) == {"a": [1, 2], "doubled": [2, 4]}
    assert made["number"] == 42
    assert made["pid"] != os.getpid()
    assert len(services.jobs) == before + 1


def test_a_failure_has_the_error_of_the_body_and_the_address_of_the_job(submitted: Callable[..., Any]) -> None:
    def body() -> None:
        raise ValueError("broken on purpose")

    with pytest.raises(RemoteFailed, match="ValueError: broken on purpose") as raised:
        submitted(body, {})
    assert "https://" in str(raised.value)
    assert "of task 'body' on executor 'spark'" in str(raised.value)


def test_a_timeout_and_the_end_of_the_run_cancel_the_job(submitted: Callable[..., Any], services: Services) -> None:
    def body() -> None:
        time.sleep(100)

    with pytest.raises(TimeoutError, match="cancelled after 2 s"):
        submitted(body, {}, timeout=2)
    assert list(services.jobs.values())[-1].state == "CANCELLED"
    event, count = threading.Event(), len(services.jobs)
    reset = run_context.stop.set(event)
    threading.Thread(target=lambda: (eventually(lambda: len(services.jobs) > count, "the job"), event.set())).start()
    try:
        with pytest.raises(RemoteFailed, match="because the run ended"):
            submitted(body, {})
    finally:
        run_context.stop.reset(reset)
    assert list(services.jobs.values())[-1].state == "CANCELLED"


def test_a_job_that_was_left_is_found_by_its_token(submitted: Callable[..., Any], services: Services) -> None:
    def body(mark: str) -> int:
        Path(mark).touch()
        time.sleep(3)
        return 7

    executor, context, submit = submitted.executor, submitted.context, SparkExecutor.submit
    before = len(services.jobs)
    mark = str(Path(context.exchange).parent / "mark")

    def submit_and_die(self: SparkExecutor, work: Any) -> str:
        submit(self, work)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparkExecutor, "submit", submit_and_die)
        patch.setattr(_Following, "_cancel", lambda _: None)  # which a process that is killed does not do
        with pytest.raises(KeyboardInterrupt):
            submitted(body, {"mark": mark})
    assert submitted(body, {"mark": mark}) == 7
    assert len(services.jobs) == before + 1
    with run_context.entered(context):
        executor.cancel(list(services.jobs)[-1])  # one that is over
        assert executor.look("gone").kind == "gone"


def test_what_says_nothing_of_the_job_does_not_cancel_it(
    submitted: Callable[..., Any], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = submitted.executor
    with run_context.entered(submitted.context):
        services.failing += [CUT] * 10  # boto3 asks again by itself
        with pytest.raises(RemoteUnreachable):
            executor.look("job")
        services.failing[:] = [403]
        with pytest.raises(RemoteDenied, match="does not allow"):
            executor.look("job")
        monkeypatch.setattr(AWSCredentials, "client", _ended(botocore.exceptions.NoCredentialsError()))
        monkeypatch.setattr(AuthorizedSession, "request", _ended(RefreshError("it was revoked")))
        with pytest.raises(RemoteDenied):
            executor.look("job")
    services.failing.clear()


def _ended(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize("submitted", ["emr"], indirect=True)
def test_spark_frames_go_there_and_come_back(submitted: Callable[..., Any]) -> None:
    def body(frame, spark):
        return frame.selectExpr("a", "2 * a as doubled").union(spark.sql("select 3L, 6L"))

    made = submitted(body, {"frame": pl.LazyFrame({"a": [1, 2]})})
    assert sorted(made.collect().rows()) == [(1, 2), (2, 4), (3, 6)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"service": "emr"}, "service='emr'; expected 'emr-serverless' or 'dataproc-serverless' or 'databricks'"),
        ({"service": "dataproc-serverless", "subnetwork": "x"}, "no project_id, which that needs"),
        ({"service": "databricks"}, "no volume, which that needs"),
        ({"service": "emr-serverless", "application_id": "a"}, "no role_arn, which that needs"),
        ({**EMR, "master": "local[2]"}, "service and master"),
        ({**EMR, "subnetwork": "x"}, "subnetwork with service='emr-serverless', where it means nothing"),
        ({"role_arn": "x"}, "role_arn without a service"),
    ],
)
def test_settings_that_cannot_be_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        SparkExecutor(**settings)


def test_a_run_without_an_exchange_bucket_says_what_is_needed(tmp_path: Path) -> None:
    context = RunContext(run_id="r", node="body", exchange=str(tmp_path))
    with run_context.entered(context), pytest.raises(ConfigurationError, match="no exchange bucket of provider 'aws'"):
        SparkExecutor(**EMR).run(Body(function=lambda: None))


def test_a_service_that_no_setting_places_needs_terraform_modules() -> None:
    assert SparkExecutor().modules() == SparkExecutor(**DATAPROC).modules() == SparkExecutor(**EMR).modules() == ()
    (call,) = SparkExecutor(service="emr-serverless", archive="s3://b/a.tar.gz").modules()
    assert (call.source, call.inputs, call.settings) == ("aws/spark", {"cloud": {"archive": "s3://b/a.tar.gz"}}, True)
    found = SparkExecutor(service="databricks", volume="/Volumes/a/b/c").modules()
    assert [each.source for each in found] == ["azure/spark", "databricks/job_policy", "databricks/exchange"]


def test_what_settings_say_beats_what_a_deployment_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {**EMR, "archive": "s3://b/made.tar.gz"}
    monkeypatch.setenv("GLACIER_EXECUTORS", json.dumps({"spark": made, "dbt": {"service": "x"}}))

    def used(**settings: Any) -> tuple[Any, ...]:
        found = SparkExecutor(**settings)._of_service.settings
        return found.application_id, found.archive

    assert used(service="emr-serverless") == ("00app", "s3://b/made.tar.gz")
    assert used(service="emr-serverless", archive="s3://b/own.tar.gz") == ("00app", "s3://b/own.tar.gz")
    assert used(**{**EMR, "application_id": "00own"}) == ("00own", None), "what is elsewhere has nothing of here"
    assert SparkExecutor(service="emr-serverless").completed({"archive": "s3://b/file.tar.gz"}).archive is not None


@pytest.mark.parametrize("made", ["", "{}", json.dumps({"spark": DATAPROC})], ids=["no deployment", "none", "another"])
def test_a_run_that_nobody_told_of_a_service_says_how_to(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLACIER_EXECUTORS", made)
    context = RunContext(run_id="r", node="body", exchange="nowhere")
    with (
        run_context.entered(context),
        pytest.raises(ConfigurationError, match=r"task 'body'.*application_id") as raised,
    ):
        SparkExecutor(service="emr-serverless").submit(Any)
    assert "set application_id and role_arn in [environments.X.executors.spark]" in str(raised.value)
