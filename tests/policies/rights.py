"""What the runs of pipelines may do by an applied root, asked in the same way of each cloud."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tests.policies import aws, azure, gcp


class Rights(ABC):
    """What an applied root allows.

    Args:
        state: As `terraform show -json` prints it.
        of: The module that makes the pipelines' identities: "work_pool" for those of runs, "spark" for those of jobs.
    """

    def __init__(self, state: Mapping[str, Any], of: str = "work_pool") -> None:
        self.state, self.of = state, of
        self.read()

    @abstractmethod
    def read(self) -> None:
        """Look up what is asked again and again."""

    def each(self, type: str, of: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield key and values of each resource of a type, in a module whose name ends so."""
        for module in self.state["values"]["root_module"]["child_modules"]:
            for resource in module["resources"]:
                if resource["type"] == type and module["address"].endswith(of):
                    yield str(resource.get("index", "")), resource["values"]

    @abstractmethod
    def may(self, pipeline: str, verb: str, bucket: str, name: str) -> bool:
        """Whether a pipeline's runs may do something with an object or, for "list", list what begins with a name."""

    @abstractmethod
    def may_read_secret(self, pipeline: str, secret: str) -> bool:
        """Whether they may read a secret."""

    @abstractmethod
    def may_submit(self, pipeline: str, other: str) -> bool:
        """Whether a pipeline's runs may start, look at and cancel jobs with the identity of those of another."""

    def sees(self, prefix: str, verb: str, name: str) -> bool:
        """Whether a grant of a prefix is meant to allow something."""
        return name.startswith(prefix)


class OnAWS(Rights):
    ACTIONS: ClassVar[dict[str, str]] = {
        "list": "s3:ListBucket",
        "get": "s3:GetObject",
        "put": "s3:PutObject",
        "delete": "s3:DeleteObject",
    }

    def read(self) -> None:
        self.policies = {
            key: json.loads(values["policy"])
            for key, values in self.each("aws_iam_role_policy", self.of)
            if values["name"] == "pipeline"
        }
        found = re.search(r"arn:([^:]+):s3:::", json.dumps(self.policies))
        assert found
        self.partition = found[1]  # the stand-in makes one up

    def may(self, pipeline: str, verb: str, bucket: str, name: str) -> bool:
        arn, context = f"arn:{self.partition}:s3:::{bucket}", {}
        if verb == "list":
            context = {"s3_prefix": name}
        else:
            arn = f"{arn}/{name}"
        return pipeline in self.policies and aws.allows(self.policies[pipeline], self.ACTIONS[verb], arn, **context)

    def may_read_secret(self, pipeline: str, secret: str) -> bool:
        place = re.search(r'arn:[^"]*?:secretsmanager:[^"]*?:secret:', json.dumps(self.policies))
        assert place
        action = "secretsmanager:GetSecretValue"
        return pipeline in self.policies and aws.allows(self.policies[pipeline], action, f"{place[0]}{secret}-AbCdEf")

    def may_submit(self, pipeline: str, other: str) -> bool:
        [(_, application)] = self.each("aws_emrserverless_application")
        runs = {key: values["name"] for key, values in self.each("aws_iam_role", "work_pool")}
        roles = {key: values["name"] for key, values in self.each("aws_iam_role", "spark")}
        policies = [
            json.loads(values["policy"])
            for _, values in self.each("aws_iam_role_policy", "spark")
            if values["role"] == runs[pipeline]
        ]
        account = re.search(r"arn:[^:]+:iam::[^:]*:role/", json.dumps(policies))
        assert account
        asked = [
            *(("emr-serverless:" + each, application["arn"]) for each in ("StartJobRun", "ListJobRuns")),
            *(("emr-serverless:" + each, f"{application['arn']}/jobruns/1") for each in ("GetJobRun", "CancelJobRun")),
            ("iam:PassRole", account[0] + roles[other]),
        ]
        service = {"iam_PassedToService": "emr-serverless.amazonaws.com"}
        return all(any(aws.allows(each, action, arn, **service) for each in policies) for action, arn in asked)


class OnAzure(Rights):
    def read(self) -> None:
        self.actions = {
            values["role_definition_id"]: values["permissions"][0]["data_actions"]
            for _, values in self.each("azurerm_role_definition")
            if values["permissions"][0]["data_actions"]
        }
        found = self.each("azurerm_user_assigned_identity", self.of)
        self.principals = {key: each["principal_id"] for key, each in found}
        self.assignments: dict[str, list[dict[str, Any]]] = {}
        for _, values in self.each("azurerm_role_assignment"):
            self.assignments.setdefault(values["principal_id"], []).append(values)

    def may(self, pipeline: str, verb: str, bucket: str, name: str) -> bool:
        return any(
            azure.allows(
                each, self.actions.get(each["role_definition_id"].rpartition("/")[2], []), azure.calls(verb, name)
            )
            for each in self.assignments.get(self.principals[pipeline], [])
            if each["scope"].endswith(f"/containers/{bucket}")
            or "/providers/" not in each["scope"]  # of the whole group
        )

    def may_read_secret(self, pipeline: str, secret: str) -> bool:
        found = self.assignments.get(self.principals[pipeline], [])
        return any(each["scope"].endswith(f"/secrets/{secret}") for each in found)

    def may_submit(self, pipeline: str, other: str) -> bool:
        # That it sees the workspace; whose jobs it starts there, Databricks says.
        runs = {key: each["principal_id"] for key, each in self.each("azurerm_user_assigned_identity", "work_pool")}
        found = self.assignments.get(runs[pipeline], [])
        return pipeline == other and any("/Microsoft.Databricks/workspaces/" in each["scope"] for each in found)


class OnGCP(Rights):
    def read(self) -> None:
        self.roles = {
            f"projects/{each['project']}/roles/{each['role_id']}": each["permissions"]
            for _, each in self.each("google_project_iam_custom_role")
        }
        self.members = {
            key: f"serviceAccount:{values['account_id']}@{values['project']}.iam.gserviceaccount.com"
            for key, values in self.each("google_service_account", self.of)
        }
        self.buckets = [each for _, each in self.each("google_storage_bucket_iam_member")]
        self.folders = [each for _, each in self.each("google_storage_managed_folder_iam_member")]
        self.secrets = [each for _, each in self.each("google_secret_manager_secret_iam_member")]

    def may(self, pipeline: str, verb: str, bucket: str, name: str) -> bool:
        def fits(each: Mapping[str, Any]) -> bool:
            return each["member"] == self.members[pipeline] and gcp.PERMISSIONS[verb] in self.roles[each["role"]]

        return any(fits(each) and gcp.on_bucket(each, verb, bucket, name) for each in self.buckets) or any(
            fits(each) and gcp.in_folder(each, bucket, name) for each in self.folders
        )

    def may_read_secret(self, pipeline: str, secret: str) -> bool:
        found = [each for each in self.secrets if each["secret_id"].rpartition("/")[2] == secret]
        return self.members[pipeline] in [each["member"] for each in found]

    def may_submit(self, pipeline: str, other: str) -> bool:
        runs = OnGCP(self.state, "work_pool").members[pipeline]
        role = next((each["role"] for _, each in self.each("google_project_iam_member") if each["member"] == runs), "")
        needed = {f"dataproc.batches.{each}" for each in ("create", "get", "cancel")}
        acts_as = {
            each["service_account_id"].rpartition("/")[2]
            for _, each in self.each("google_service_account_iam_member", "spark")
            if each["member"] == runs and each["role"] == "roles/iam.serviceAccountUser"
        }
        account = OnGCP(self.state, "spark").members[other].removeprefix("serviceAccount:")
        return needed <= set(self.roles.get(role, ())) and account in acts_as

    def sees(self, prefix: str, verb: str, name: str) -> bool:
        if verb == "list" and prefix and not prefix.endswith("/"):
            return name.startswith(f"{prefix}/")  # a condition cannot limit listing
        return name.startswith(prefix)


KINDS: dict[str, type[Rights]] = {"aws": OnAWS, "azure": OnAzure, "gcp": OnGCP}
