"""Amazon EMR Serverless as a service that runs Spark jobs, through boto3."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any, ClassVar

from glacier_prefect.credentials.base import required
from glacier_prefect.errors import RemoteDenied, RemoteFailed, RemoteUnreachable
from glacier_prefect.executors.remote import RemoteState
from glacier_prefect.executors.spark_service import ARCHIVED, BucketService, Kind, state_of

SHORTEST_MINUTES = 5  # that the service takes
BAD_CREDENTIALS = ("ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException")  # whatever the status
LIVE = ("SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "QUEUED")
ENDED: dict[str, Kind] = {"SUCCESS": "succeeded", "FAILED": "failed", "CANCELLED": "cancelled"}


class EmrServerless(BucketService):
    """EMR Serverless: job runs of an application."""

    name: ClassVar[str] = "emr-serverless"
    provider: ClassVar[str] = "aws"
    place_settings: ClassVar[tuple[str, ...]] = ("application_id", "role_arn")
    needs: ClassVar[tuple[str, ...]] = ("application_id", "role_arn")
    takes: ClassVar[tuple[str, ...]] = ("archive",)

    def submit(self, token: str, label: str, entry: str, arguments: list[str], seconds: float) -> str:
        conf = dict(self.settings.conf)
        if self.settings.archive is not None:
            conf["spark.archives"] = f"{self.settings.archive}#{ARCHIVED}"
            for name in (
                "emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON",
                "emr-serverless.driverEnv.PYSPARK_PYTHON",
                "executorEnv.PYSPARK_PYTHON",
            ):
                conf[f"spark.{name}"] = self.packed_python()
        driver = {"entryPoint": entry, "entryPointArguments": arguments}
        with self._calling() as client:
            made = client.start_job_run(
                applicationId=self.settings.application_id,
                clientToken=token,
                executionRoleArn=self.settings.role_arn,
                name=f"{label[:200]} {token}",
                jobDriver={"sparkSubmit": driver},
                configurationOverrides={
                    "applicationConfiguration": [
                        {
                            "classification": "spark-defaults",
                            "properties": {key: str(value) for key, value in conf.items()},
                        }
                    ]
                },
                executionTimeoutMinutes=max(SHORTEST_MINUTES, math.ceil(seconds / 60) + 1),
            )
        return str(made["jobRunId"])

    def look(self, remote: str) -> tuple[RemoteState, str]:
        with self._calling() as client:
            try:
                run = client.get_job_run(applicationId=self.settings.application_id, jobRunId=remote)["jobRun"]
            except client.exceptions.ResourceNotFoundException:
                return RemoteState(kind="gone"), ""
        region = run["arn"].split(":")[3]
        url = f"https://{region}.console.aws.amazon.com/emr/home?region={region}#/serverless-applications/"
        url += f"{self.settings.application_id}/{remote}"
        folder = run["jobDriver"]["sparkSubmit"]["entryPointArguments"][0]
        kind = ENDED.get(run["state"], "running")
        return state_of(self, kind, folder, run.get("stateDetails", ""), url), folder

    def cancel(self, remote: str) -> None:
        with self._calling() as client:
            over = (client.exceptions.ResourceNotFoundException, client.exceptions.ValidationException)
            with contextlib.suppress(*over):
                client.cancel_job_run(applicationId=self.settings.application_id, jobRunId=remote)

    def find(self, token: str) -> str | None:
        with self._calling() as client:
            pages = client.get_paginator("list_job_runs").paginate(
                applicationId=self.settings.application_id, states=list(LIVE)
            )
            runs = (run for page in pages for run in page["jobRuns"])
            return next((str(run["id"]) for run in runs if run.get("name", "").endswith(token)), None)

    @contextlib.contextmanager
    def _calling(self) -> Iterator[Any]:
        errors = required("botocore.exceptions", "aws")
        no_credentials = (
            errors.NoCredentialsError,
            errors.PartialCredentialsError,
            errors.CredentialRetrievalError,
            errors.TokenRetrievalError,
            errors.SSOError,
        )
        where = f"EMR Serverless (application {self.settings.application_id})"
        try:
            yield self.credentials().client("emr-serverless")
        except no_credentials as error:
            raise RemoteDenied(f"{where}: {error}") from None
        except (errors.ConnectionError, errors.HTTPClientError) as error:
            raise RemoteUnreachable(f"EMR Serverless: {error}") from None
        except errors.ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response["Error"].get("Code", "")
            if status == 429 or status >= 500 or "Throttl" in code:
                raise RemoteUnreachable(f"EMR Serverless: {error}") from None
            if status in (401, 403) or code in BAD_CREDENTIALS:
                raise RemoteDenied(f"{where} does not allow it: {error}") from None
            raise RemoteFailed(f"{where} refused it: {error}") from None
