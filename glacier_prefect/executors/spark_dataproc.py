"""Google Dataproc Serverless as a service that runs Spark jobs, through its REST API."""

from __future__ import annotations

import math
import os
from typing import Any, ClassVar

from glacier_prefect.credentials.base import required
from glacier_prefect.errors import RemoteDenied, RemoteFailed, RemoteUnreachable
from glacier_prefect.executors.remote import RemoteState
from glacier_prefect.executors.spark_service import ARCHIVED, BucketService, Kind, state_of

ENDPOINT = "https://dataproc.googleapis.com"
OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAPROC"  # where gcloud has another address of the service from
CALL_SECONDS = 30
ENDED: dict[str, Kind] = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELLED": "cancelled"}


class DataprocServerless(BucketService):
    """Dataproc Serverless: batches of a project and region. A batch's id is the token, so it is found by it."""

    name: ClassVar[str] = "dataproc-serverless"
    provider: ClassVar[str] = "gcp"
    place_settings: ClassVar[tuple[str, ...]] = ("project_id", "region", "service_account", "subnetwork")
    needs: ClassVar[tuple[str, ...]] = ("project_id", "region")
    takes: ClassVar[tuple[str, ...]] = ("archive", "container_image", "service_account", "subnetwork")

    def submit(self, token: str, label: str, entry: str, arguments: list[str], seconds: float) -> str:
        given = self.settings
        properties = {key: str(value) for key, value in given.conf.items()}
        batch: dict[str, Any] = {"mainPythonFileUri": entry, "args": arguments}
        if given.archive is not None:
            batch["archiveUris"] = [f"{given.archive}#{ARCHIVED}"]
            for name in ("dataproc.driverEnv.PYSPARK_DRIVER_PYTHON", "pyspark.driver.python", "pyspark.python"):
                properties[f"spark.{name}"] = self.packed_python()
        runtime = {"containerImage": given.container_image, "properties": properties}
        execution = {
            "serviceAccount": given.service_account,
            "subnetworkUri": given.subnetwork,
            "ttl": f"{max(600, math.ceil(seconds) + 60)}s",  # ten minutes is the least that it takes
        }
        body = {
            "pysparkBatch": batch,
            "runtimeConfig": {key: value for key, value in runtime.items() if value},
            "environmentConfig": {"executionConfig": {key: value for key, value in execution.items() if value}},
        }
        self._call("POST", f"{self._batches}?batchId={token}", body, fine=(409,))  # 409: it is there already
        return token

    def look(self, remote: str) -> tuple[RemoteState, str]:
        batch = self._call("GET", f"{self._batches}/{remote}", fine=(404,))
        if batch is None:
            return RemoteState(kind="gone"), ""
        url = f"https://console.cloud.google.com/dataproc/batches/{self.settings.region}/{remote}"
        url += f"?project={self.settings.project_id}"
        folder = batch["pysparkBatch"]["args"][0]
        kind = ENDED.get(batch.get("state", ""), "running")
        return state_of(self, kind, folder, batch.get("stateMessage", ""), url), folder

    def cancel(self, remote: str) -> None:
        batch = self._call("GET", f"{self._batches}/{remote}", fine=(404,))
        if batch is not None and batch.get("state") not in ENDED:
            self._call("POST", f"/v1/{batch['operation']}:cancel", {}, fine=(400, 404))

    def find(self, token: str) -> str | None:
        return None if self._call("GET", f"{self._batches}/{token}", fine=(404,)) is None else token

    @property
    def _batches(self) -> str:
        return f"/v1/projects/{self.settings.project_id}/locations/{self.settings.region}/batches"

    def _call(self, method: str, path: str, body: Any = None, *, fine: tuple[int, ...] = ()) -> Any:
        """Return the answer to a call; None for a status that is fine too."""
        session = self.credentials().session()
        google = required("google.auth.exceptions", "gcp")
        cut_off = required("requests.exceptions", "gcp").RequestException
        url = os.environ.get(OVERRIDE, ENDPOINT).rstrip("/") + path
        try:
            answer = session.request(method, url, json=body, timeout=CALL_SECONDS)
        except (google.TransportError, cut_off) as error:
            raise RemoteUnreachable(f"Dataproc: {error}") from None
        except google.GoogleAuthError as error:
            problem = RemoteUnreachable if error.retryable else RemoteDenied
            raise problem(f"Dataproc: no token of Google Cloud: {error}") from None
        finally:
            session.close()
        if answer.status_code in fine:
            return None
        if answer.status_code == 429 or answer.status_code >= 500:
            raise RemoteUnreachable(f"Dataproc: {answer.status_code} {answer.text[:500]}")
        if answer.status_code in (401, 403):
            raise RemoteDenied(f"Dataproc does not allow {method} {path}: {answer.status_code} {answer.text[:1000]}")
        if not answer.ok:
            raise RemoteFailed(f"Dataproc refused {method} {path}: {answer.status_code} {answer.text[:1000]}")
        return answer.json()
