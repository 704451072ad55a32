"""Google Cloud as a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.blocks import Block, Kind, Saved
from glacier_prefect.credentials.gcp import GCPCredentials
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.providers import existing
from glacier_prefect.providers.cloud import NOT_OF_A_FORK, CloudProvider, either
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.gcs import GCSSink, GCSSource

if TYPE_CHECKING:
    from glacier_prefect.modules import Granted, Infrastructure

CREDENTIALS = Kind(place="prefect_gcp:GcpCredentials", slug="gcp-credentials", extra="gcp")
BUCKET = Kind(place="prefect_gcp.cloud_storage:GcsBucket", slug="gcs-bucket", extra="gcp")


@dataclass(frozen=True, kw_only=True)
class GCPProvider(CloudProvider):
    """Google Cloud.

    Credentials are looked for in this order: a federated token (`GOOGLE_APPLICATION_CREDENTIALS` names a file of type
    external_account), the service account of the job or machine; one that is impersonated (by such a file); the Prefect
    block; the secret; the key of a service account in `GOOGLE_APPLICATION_CREDENTIALS` (a file) or
    `GOOGLE_SERVICE_ACCOUNT_KEY` (its text); the login of `gcloud`. To an `endpoint_url` requests go unsigned if none of
    these but the last is there.

    Attributes:
        project_id: Google Cloud project (`GOOGLE_CLOUD_PROJECT`, `GCLOUD_PROJECT`, `GCP_PROJECT`).
        region: Region, as in "us-central1" (`GOOGLE_CLOUD_REGION`, `CLOUDSDK_COMPUTE_REGION`).
        endpoint_url: Address of the storage service where it is not Google's own, as that of an emulator
            (`STORAGE_EMULATOR_HOST`).
        credentials_block: Name of a Prefect block GcpCredentials (`GLACIER_GCP_CREDENTIALS_BLOCK`).
        credentials_secret: Name of a `Secret` that is the JSON key of a service account
            (`GLACIER_GCP_CREDENTIALS_SECRET`).
    """

    name: ClassVar[str] = "gcp"
    pull: ClassVar[tuple[str, str]] = ("prefect_gcp.deployments.steps.pull_from_gcs", "prefect-gcp")
    actions: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "read": ("storage.objects.list", "storage.objects.get"),
        "write": (
            "storage.objects.list",
            "storage.objects.get",
            "storage.objects.create",
            "storage.objects.delete",
            "storage.multipartUploads.*",
        ),
        "read secret": ("secretmanager.versions.access",),
        "run jobs": (
            "dataproc.batches.cancel",
            "dataproc.batches.create",
            "dataproc.batches.get",
            "dataproc.operations.cancel",
            "iam.serviceAccounts.actAs",
        ),
    }
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "project_id": ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GCP_PROJECT"),
        "region": ("GOOGLE_CLOUD_REGION", "CLOUDSDK_COMPUTE_REGION"),
        "endpoint_url": ("STORAGE_EMULATOR_HOST",),
        "credentials_block": ("GLACIER_GCP_CREDENTIALS_BLOCK",),
        "credentials_secret": ("GLACIER_GCP_CREDENTIALS_SECRET",),
    }
    jobs_network: ClassVar[Mapping[str, Any]] = {"internal": True}  # Dataproc's machines talk to each other
    work_pools: ClassVar[tuple[str, ...]] = ("cloud-run-v2", "cloud-run-v2:push", "kubernetes", "process")

    project_id: str | None = None
    region: str | None = None

    @classmethod
    def _from_variables(cls) -> dict[str, Any]:
        found = super()._from_variables()
        if (host := found.get("endpoint_url")) and "://" not in host:  # as Google's own clients read it
            found["endpoint_url"] = f"http://{host}"
        return found

    @property
    def credentials(self) -> GCPCredentials:
        return GCPCredentials(project_id=self.project_id, **self._access())

    def storage(self, bucket: str, folder: str = "") -> Block:
        data: dict[str, Any] = {"bucket": self.bucket_prefix + bucket, "gcp_credentials": self.block_of_credentials()}
        # There is no place for an endpoint_url: Google's client has it from STORAGE_EMULATOR_HOST only.
        return Block(kind=BUCKET, data={**data, "bucket_folder": folder})

    def block_of_credentials(self) -> Block | Saved:
        if self.credentials_block:
            return Saved(kind=CREDENTIALS, name=self.credentials_block)
        return Block(kind=CREDENTIALS, data={"project": self.project_id})

    def _pull_settings(self) -> dict[str, Any]:
        return {"credentials": {"project": self.project_id}} if self.project_id else {}

    def _job_variables(self, type: str) -> Mapping[str, Any]:
        if not type.startswith("cloud-run"):
            return {}
        known = {"region": self.region, "credentials": {"project": self.project_id} if self.project_id else None}
        return {name: value for name, value in known.items() if value}

    def terraform_provider(self) -> tuple[str, Mapping[str, Any]]:
        return "google", {"project": self._setting("project_id"), "region": self._setting("region")}

    def backend(self, state: str, key: str) -> tuple[str, Mapping[str, Any]]:
        elsewhere = {"storage_custom_endpoint": f"{self.endpoint_url}/storage/v1/"} if self.endpoint_url else {}
        return "gcs", {"bucket": state, "prefix": key, **elsewhere}

    def identity_inputs(self, state_prefix: str, kept: str, secrets: Sequence[str]) -> Mapping[str, Any]:
        return {"state_prefix": state_prefix, "kept": kept, **({"secrets": list(secrets)} if secrets else {})}

    def existing(self, plan: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
        return existing.on_gcp(self.credentials.asking(), plan), {}

    def granted_inputs(self, kind: str, granted: Granted) -> Mapping[str, Any]:
        of = granted.roles
        if kind == "bucket":
            return {"roles": {use: of[use] for use in ("read", "write", "metadata")}}
        if kind == "work_pool":
            return {"worker_role": of["worker"]}
        if kind == "spark":
            return {"roles": {use: of[f"spark_{use}"] for use in ("run", "staging", "submit")}}
        return {}

    def granted_writer(self, granted: Granted) -> str:
        return f"serviceAccount:{granted.plan['service_account']}"

    def workflow(self, granted: Granted) -> str:
        return (
            f"- if: {NOT_OF_A_FORK}\n"
            "  uses: google-github-actions/auth@v3\n"
            "  with:\n"
            f"    workload_identity_provider: {granted.deploy['workload_identity_provider']}\n"
            f"    service_account: {either(granted, 'service_account')}\n"
        )

    def module_location(self) -> Mapping[str, str]:
        return {"project": self._setting("project_id"), "region": self._setting("region")}

    def bucket_inputs(self, keepers: Sequence[str]) -> Mapping[str, Any]:
        # Google's client, which the block uses, asks for the bucket before it asks for an object
        return {"cloud": {"metadata": list(keepers)}} if keepers else {}

    def budget_place(self, wanted: Infrastructure) -> Mapping[str, str]:
        if wanted.billing_account is None:
            raise ConfigurationError(
                "monthly_budget in Google Cloud needs a billing account.\n"
                'Hint: write billing_account = "012345-6789AB-CDEF01" beside it.'
            )
        return {"billing_account": wanted.billing_account}

    def secret(self, name: str) -> str:
        return self._opener(self.credentials).secret(name)

    def _source(self, **settings: Any) -> Source:
        return GCSSource(**settings, project_id=self.project_id, region=self.region, **self._access())

    def _sink(self, **settings: Any) -> Sink:
        return GCSSink(**settings, project_id=self.project_id, region=self.region, **self._access())
