"""Why a job failed: the closed list that the output `failure-reason` is one of. README.md lists it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum


class Reason(StrEnum):
    """One value of `failure-reason`; `MEANINGS` says what each means."""

    BAD_INPUT = "bad-input"
    INSTALL_FAILED = "install-failed"
    VERSION_MISMATCH = "version-mismatch"
    BAD_CONFIGURATION = "bad-configuration"
    BAD_PIPELINE = "bad-pipeline"
    NO_REMOTE_STATE = "no-remote-state"
    NEEDS_BOOTSTRAP = "needs-bootstrap"
    STATE_LOCKED = "state-locked"
    TERRAFORM_FAILED = "terraform-failed"
    DATA_LOSS = "data-loss"
    DRIFT = "drift"
    DEPLOY_REFUSED = "deploy-refused"
    PREFECT_UNREACHABLE = "prefect-unreachable"
    PREFECT_FAILED = "prefect-failed"
    STORE_FAILED = "store-failed"
    BUILD_FAILED = "build-failed"
    GITHUB_FAILED = "github-failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


MEANINGS = {
    Reason.BAD_INPUT: "an input, or the event with this command, cannot be",
    Reason.INSTALL_FAILED: "the project's packages could not be installed",
    Reason.VERSION_MISMATCH: "the project's glacier-prefect is of another minor version than the action",
    Reason.BAD_CONFIGURATION: "glacier.toml says what it cannot say",
    Reason.BAD_PIPELINE: "a pipeline cannot be loaded, or cannot work as it is written",
    Reason.NO_REMOTE_STATE: "the environment keeps its state on the machine that deploys",
    Reason.NEEDS_BOOTSTRAP: "a bucket of the state or a right is missing; the log has the `glacier bootstrap` to run",
    Reason.STATE_LOCKED: "another deploy of the environment runs",
    Reason.TERRAFORM_FAILED: "Terraform is missing, too old, or failed",
    Reason.DATA_LOSS: "what holds data would be destroyed or replaced",
    Reason.DRIFT: "a deploy would do something else than the merged pull request showed",
    Reason.DEPLOY_REFUSED: "it would touch what is not Glacier's, or delete too much",
    Reason.PREFECT_UNREACHABLE: "no Prefect API is given, or it does not answer",
    Reason.PREFECT_FAILED: "Prefect refused a call; what was changed in it is restored",
    Reason.STORE_FAILED: "a bucket cannot be reached, or not with these credentials",
    Reason.BUILD_FAILED: "an image with the code could not be built or pushed",
    Reason.GITHUB_FAILED: "GitHub refused a call, as without `permissions`",
    Reason.CANCELLED: "the job was cancelled; the next one goes on from there",
    Reason.UNKNOWN: "something else; the log says it",
}
# By the name of Glacier's error, or of one that it derives from; the nearest counts.
REASONS = {
    "StateNotShared": Reason.NO_REMOTE_STATE,
    "BucketNotFoundError": Reason.NEEDS_BOOTSTRAP,
    "NeedsBootstrap": Reason.NEEDS_BOOTSTRAP,
    "ConfigurationError": Reason.BAD_CONFIGURATION,
    "DefinitionError": Reason.BAD_PIPELINE,
    "UsageError": Reason.BAD_PIPELINE,
    "NotAvailableError": Reason.BAD_CONFIGURATION,
    "StateLocked": Reason.STATE_LOCKED,
    "DeployLocked": Reason.STATE_LOCKED,
    "TerraformFailed": Reason.TERRAFORM_FAILED,
    "TerraformMissing": Reason.TERRAFORM_FAILED,
    "TerraformTooOld": Reason.TERRAFORM_FAILED,
    "DataLossRefused": Reason.DATA_LOSS,
    "PlanChanged": Reason.DRIFT,
    "DeployRefused": Reason.DEPLOY_REFUSED,
    "PreviewError": Reason.DEPLOY_REFUSED,
    "DeployFailed": Reason.PREFECT_FAILED,
    "ApiUnreachable": Reason.PREFECT_UNREACHABLE,
    "ApiRequired": Reason.PREFECT_UNREACHABLE,
    "StoreError": Reason.STORE_FAILED,
    "BuildFailed": Reason.BUILD_FAILED,
}


class Failed(Exception):
    """The job cannot be done.

    Attributes:
        reason: Which of the closed list.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(kinds: Sequence[str]) -> Reason:
    """Return the reason for an error of Glacier.

    Args:
        kinds: The name of its class and of those that it derives from, the nearest first.
    """
    return next((REASONS[kind] for kind in kinds if kind in REASONS), Reason.UNKNOWN)
