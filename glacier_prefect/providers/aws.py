"""Amazon Web Services as a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from glacier_prefect.blocks import Block, Kind, Saved
from glacier_prefect.credentials.aws import AWSCredentials
from glacier_prefect.providers import existing
from glacier_prefect.providers.cloud import NOT_OF_A_FORK, CloudProvider, either
from glacier_prefect.sources.base import Sink, Source
from glacier_prefect.sources.s3 import S3Sink, S3Source

if TYPE_CHECKING:
    from glacier_prefect.modules import Granted

CREDENTIALS = Kind(place="prefect_aws:AwsCredentials", slug="aws-credentials", extra="aws")
BUCKET = Kind(place="prefect_aws:S3Bucket", slug="s3-bucket", extra="aws")


@dataclass(frozen=True, kw_only=True)
class AWSProvider(CloudProvider):
    """Amazon Web Services.

    Credentials are looked for in this order: a web identity token (`AWS_WEB_IDENTITY_TOKEN_FILE`), the role of the ECS
    task or EC2 instance; the profile; the Prefect block; the secret; `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and
    `AWS_SESSION_TOKEN`; the default profile.

    Attributes:
        region: AWS region, as in "us-east-1" (`AWS_REGION`, `AWS_DEFAULT_REGION`); else that of the profile.
        profile: Profile of the AWS configuration files (`AWS_PROFILE`).
        endpoint_url: Address of an S3-compatible store (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`).
        credentials_block: Name of a Prefect block AwsCredentials (`GLACIER_AWS_CREDENTIALS_BLOCK`).
        credentials_secret: Name of a `Secret` that is a JSON object with aws_access_key_id and aws_secret_access_key
            (`GLACIER_AWS_CREDENTIALS_SECRET`).
    """

    name: ClassVar[str] = "aws"
    pull: ClassVar[tuple[str, str]] = ("prefect_aws.deployments.steps.pull_from_s3", "prefect-aws")
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
        "profile": ("AWS_PROFILE",),
        "endpoint_url": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        "credentials_block": ("GLACIER_AWS_CREDENTIALS_BLOCK",),
        "credentials_secret": ("GLACIER_AWS_CREDENTIALS_SECRET",),
    }
    grants_at_bucket: ClassVar[bool] = False
    grantable: ClassVar[tuple[str, ...]] = (*CloudProvider.grantable, "budget")
    actions: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "read": ("s3:ListBucket", "s3:GetObject"),
        "write": ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
        "read secret": ("secretsmanager:GetSecretValue",),
        "run jobs": (
            "emr-serverless:ListJobRuns",
            "emr-serverless:StartJobRun",
            "emr-serverless:CancelJobRun",
            "emr-serverless:GetJobRun",
            "iam:PassRole",
        ),
    }
    work_pools: ClassVar[tuple[str, ...]] = ("ecs", "ecs:push", "kubernetes", "process")

    region: str | None = None
    profile: str | None = None

    @property
    def credentials(self) -> AWSCredentials:
        return AWSCredentials(region=self.region, profile=self.profile, **self._access())

    def storage(self, bucket: str, folder: str = "") -> Block:
        data: dict[str, Any] = {"bucket_name": self.bucket_prefix + bucket, "credentials": self.block_of_credentials()}
        return Block(kind=BUCKET, data={**data, "bucket_folder": folder})

    def block_of_credentials(self) -> Block | Saved:
        if self.credentials_block:
            return Saved(kind=CREDENTIALS, name=self.credentials_block)
        client = {"endpoint_url": self.endpoint_url}
        data = {"region_name": self.region, "profile_name": self.profile, "aws_client_parameters": client}
        return Block(kind=CREDENTIALS, data=data)

    def _pull_settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {"credentials": {"region_name": self.region}} if self.region else {}
        return {**found, **({"client_parameters": {"endpoint_url": self.endpoint_url}} if self.endpoint_url else {})}

    def _job_variables(self, type: str) -> Mapping[str, Any]:
        known = {"aws_credentials": {"region_name": self.region}}
        return known if type == "ecs" and self.region else {}  # a worker is somewhere else, and has no profile of ours

    def terraform_provider(self) -> tuple[str, Mapping[str, Any]]:
        return "aws", {"region": self._setting("region"), **({"profile": self.profile} if self.profile else {})}

    def backend(self, state: str, key: str) -> tuple[str, Mapping[str, Any]]:
        place = {"bucket": state, "key": f"{key}/terraform.tfstate", "region": self._setting("region")}
        settings = {
            **place,
            "encrypt": True,
            "use_lockfile": True,
            **({"profile": self.profile} if self.profile else {}),
        }
        if self.endpoint_url:  # a compatible store, which knows nothing else of AWS
            skipped = ("credentials_validation", "region_validation", "requesting_account_id", "metadata_api_check")
            settings |= {"endpoints": {"s3": self.endpoint_url}, "use_path_style": True}
            settings |= {f"skip_{each}": True for each in skipped}
        return "s3", settings

    def module_location(self) -> Mapping[str, str]:
        return {"region": self._setting("region")}

    def identity_inputs(self, state_prefix: str, kept: str, secrets: Sequence[str]) -> Mapping[str, Any]:
        return {"state_prefix": state_prefix, "kept": kept, **({"secrets": list(secrets)} if secrets else {})}

    def existing(self, plan: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
        return existing.on_aws(self.credentials.asking(), plan)

    def granted_inputs(self, kind: str, granted: Granted) -> Mapping[str, Any]:
        makes_roles = kind in ("bucket", "network", "spark", "work_pool")
        return {"permissions_boundary": granted.boundary} if makes_roles else {}

    def workflow(self, granted: Granted) -> str:
        return (
            f"- if: {NOT_OF_A_FORK}\n"
            "  uses: aws-actions/configure-aws-credentials@v6\n"
            "  with:\n"
            f"    aws-region: {self._setting('region')}\n"
            f"    role-to-assume: {either(granted, 'role_arn')}\n"
        )

    def secret(self, name: str) -> str:
        return self._opener(self.credentials).secret(name)

    def _source(self, **settings: Any) -> Source:
        return S3Source(**settings, region=self.region, profile=self.profile, **self._access())

    def _sink(self, **settings: Any) -> Sink:
        return S3Sink(**settings, region=self.region, profile=self.profile, **self._access())
