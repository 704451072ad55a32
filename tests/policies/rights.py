"""What the runs of pipelines may do by an applied root, asked in the same way of each cloud."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from tests.policies import aws, azure, gcp

RUNS = ("work_pool", "spark")


class Rights(ABC):
    """What an applied root allows.

    Args:
        state: As `terraform show -json` prints it; of a plan, the part `planned_values` as `values`.
        of: The module that makes the pipelines' identities: "work_pool" for those of runs, "spark" for those of jobs.

    Raises:
        AssertionError: Something gives such an identity rights, or takes them, that nothing here reads.
    """

    def __init__(self, state: Mapping[str, Any], of: str = "work_pool") -> None:
        self.state, self.of = state, of
        self.read()
        unread = [*self.unread()] if of in RUNS else []  # others have rights by what their own tests read
        assert not unread, f"nothing here reads {', '.join(unread)}"

    @abstractmethod
    def read(self) -> None:
        """Look up what is asked again and again."""

    @abstractmethod
    def unread(self) -> Iterator[str]:
        """Yield the address of each resource that may say what the identities may do, and that nothing here reads."""

    def everything(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield address, type and values of each resource, whatever module it is in."""
        modules = [self.state["values"]["root_module"]]
        for module in modules:
            modules += module.get("child_modules", ())
            for resource in module.get("resources", ()):
                if resource["mode"] == "managed":
                    yield resource["address"], resource["type"], resource["values"]

    def each(self, type: str, of: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield key and values of each resource of a type, in a module whose name ends so."""
        for module in self.state["values"]["root_module"]["child_modules"]:
            for resource in module["resources"]:
                if resource["type"] == type and module["address"].endswith(of):
                    yield str(resource.get("index", "")), resource["values"]

    def of_pipelines(self, type: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield pipeline and values of each identity of a type; that of a worker is of no pipeline."""
        for address, found, values in self.everything():
            if found == type and (key := re.search(rf'{self.of}\.\w+\.\w+\["(.*)"\]$', address)):
                yield key[1], values

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
    KNOWN = re.compile(
        r"s3:(ListBucket|(Get|Put|Delete)Object|AbortMultipartUpload)|secretsmanager:GetSecretValue"
        r"|kms:(Decrypt|GenerateDataKey)|iam:PassRole"
        r"|emr-serverless:(StartJobRun|ListJobRuns|GetJobRun|CancelJobRun)"
    )
    GRANTING = re.compile(
        r"aws_(iam_(role_)?|s3_\w*|s3control_\w*|secretsmanager_\w*)"
        r"(polic(y|ies)|(policy_)?attachments?|acl|access_(grant|point))(_\w*)?"
    )

    def read(self) -> None:
        # All policies in a role, whichever module puts them there.
        self.roles = {values["name"]: pipeline for pipeline, values in self.of_pipelines("aws_iam_role")}
        self.policies: dict[str, dict[str, list[Any]]] = {}
        for _, type, values in self.everything():
            if type == "aws_iam_role_policy" and values["role"] in self.roles:
                policy = self.policies.setdefault(self.roles[values["role"]], {"Statement": []})
                policy["Statement"] += json.loads(values["policy"])["Statement"]
        found = re.search(r"arn:([^:]+):s3:::", json.dumps(self.policies))
        assert found
        self.partition = found[1]  # the stand-in makes one up

    def unread(self) -> Iterator[str]:
        for address, type, values in self.everything():
            if type == "aws_iam_role" and values["name"] in self.roles:
                further = any(
                    values.get(each) for each in ("inline_policy", "managed_policy_arns", "permissions_boundary")
                )
            elif type == "aws_iam_role_policy":
                statements = json.loads(values["policy"])["Statement"] if values["role"] in self.roles else []
                actions = [each for statement in statements for each in aws.listed(statement.get("Action", "none"))]
                further = not all(self.KNOWN.fullmatch(each) for each in actions)
            elif type in ("aws_s3_bucket_policy", "aws_secretsmanager_secret_policy"):
                statements = json.loads(values["policy"])["Statement"]
                further = not all(self._is_of_others(each) for each in statements)
            elif self.GRANTING.fullmatch(type) and type != "aws_iam_policy":
                named = [values.get("role"), values.get("role_name"), *(values.get("roles") or ())]
                others = any(named) or values.get("users") or values.get("groups")  # none is known: not applied yet
                further = not type.startswith("aws_iam_") or not others or any(each in self.roles for each in named)
            else:
                further = False
            if further:
                yield address

    @staticmethod
    def _is_of_others(statement: Mapping[str, Any]) -> bool:
        """Whether a statement of a bucket's or secret's policy says nothing of runs: none of them is a service of AWS,
        or asks without TLS.
        """
        if statement["Effect"] == "Deny":
            return bool(statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}})
        principal = statement.get("Principal")
        return isinstance(principal, dict) and set(principal) == {"Service"}

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
    READ_SECRET = "4633458b-17de-408a-b874-0445c86b69e6"  # Azure's own role "Key Vault Secrets User"
    BLOBS: ClassVar[set[str]] = {f"{azure.BLOBS}/{each}" for each in ("read", "write", "add/action", "delete")}
    WORKSPACE: ClassVar[set[str]] = {"Microsoft.Databricks/workspaces/read"}

    def read(self) -> None:
        self.definitions = {each["role_definition_id"]: each for _, each in self.each("azurerm_role_definition")}
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

    def unread(self) -> Iterator[str]:
        principals = {each["principal_id"] for _, each in self.of_pipelines("azurerm_user_assigned_identity")}
        for address, type, values in self.everything():
            named = any(isinstance(each, str) and each in principals for each in values.values())
            if type == "azurerm_role_assignment":
                further = named and not self._reads(values)
            elif type == "azurerm_storage_container":
                further = values["container_access_type"] not in (None, "private")
            else:
                further = named and type != "azurerm_user_assigned_identity"
            if further:
                yield address

    def _reads(self, assignment: Mapping[str, Any]) -> bool:
        """Whether what an assignment allows is asked here: blobs of a container or group, a secret, a workspace."""
        role, scope = assignment["role_definition_id"].rpartition("/")[2], assignment["scope"]
        if role == self.READ_SECRET:
            return not assignment.get("condition") and bool(re.search(r"/vaults/[^/]+/secrets/[^/]+$", scope))
        if role not in self.definitions:
            return False
        permissions = self.definitions[role]["permissions"]
        if len(permissions) != 1 or permissions[0]["not_actions"] or permissions[0]["not_data_actions"]:
            return False
        data, actions = ({*(permissions[0][each] or ())} for each in ("data_actions", "actions"))
        if data:
            place = re.search(r"/blobServices/default/containers/[^/]+$", scope) or "/providers/" not in scope
            return not actions and data <= self.BLOBS and bool(place)
        return actions <= self.WORKSPACE

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
        return any(
            each["scope"].endswith(f"/secrets/{secret}") and each["role_definition_id"].endswith(f"/{self.READ_SECRET}")
            for each in found
        )

    def may_submit(self, pipeline: str, other: str) -> bool:
        # That it sees the workspace; whose jobs it starts there, Databricks says.
        runs = {key: each["principal_id"] for key, each in self.each("azurerm_user_assigned_identity", "work_pool")}
        found = self.assignments.get(runs[pipeline], [])
        return pipeline == other and any("/Microsoft.Databricks/workspaces/" in each["scope"] for each in found)


class OnGCP(Rights):
    ACCESS_SECRET = "roles/secretmanager.secretAccessor"
    ACT_AS = "roles/iam.serviceAccountUser"
    PULL = "roles/artifactregistry.reader"
    OF_OBJECTS = re.compile(r"storage\.(objects\.(list|get|create|delete)|multipartUploads\.\w+|buckets\.get)")
    OF_JOBS = re.compile(r"(dataproc|logging|monitoring)\.\w+\.\w+")  # permissions that reach no data of pipelines
    DATAPROCS_OWN = r'resource\.name\.startsWith\("projects/_/buckets/dataproc-(staging|temp)-[a-z0-9-]+-"\)'

    def read(self) -> None:
        self.roles = {
            f"projects/{each['project']}/roles/{each['role_id']}": each["permissions"]
            for _, each in self.each("google_project_iam_custom_role")
        }
        self.members = {
            key: f"serviceAccount:{values['account_id']}@{values['project']}.iam.gserviceaccount.com"
            for key, values in self.each("google_service_account", self.of)
        }
        self.buckets = self._by_member("google_storage_bucket_iam_member")
        self.folders = self._by_member("google_storage_managed_folder_iam_member")
        self.secrets = [each for _, each in self.each("google_secret_manager_secret_iam_member")]

    def _by_member(self, type: str) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Return the resources of a type by whom they are of and the bucket."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for _, each in self.each(type):
            found.setdefault((each["member"], each["bucket"]), []).append(each)
        return found

    def unread(self) -> Iterator[str]:
        own = {self.members[pipeline] for pipeline, _ in self.of_pipelines("google_service_account")}
        for address, type, values in self.everything():
            named = {values.get("member"), *(values.get("members") or ())}
            everyone = {each for each in named if str(each).startswith(("all", "domain:", "principalSet:"))}
            unknown = type.endswith("_iam_member") and not values.get("member")  # before it is applied
            whole = re.fullmatch(r"google_(\w+_iam_policy|storage_\w+_(acl|access_control))", type)
            if unknown or whole or everyone or (named & own and not self._reads(type, values)):
                yield address

    def _reads(self, type: str, values: Mapping[str, Any]) -> bool:
        """Whether what a member may do is asked here, or reaches no data of pipelines."""
        role, conditions = values.get("role"), values.get("condition") or []
        if type in ("google_storage_bucket_iam_member", "google_storage_managed_folder_iam_member"):
            known_ones = all(self.OF_OBJECTS.fullmatch(each) for each in self.roles.get(str(role), ["*"]))
            return known_ones and not (conditions and "folder" in type)
        if type == "google_project_iam_member":
            permissions = self.roles.get(str(role), ["*"])
            of_dataproc = rf"{self.DATAPROCS_OWN}( \|\| {self.DATAPROCS_OWN})*"
            return all(self.OF_JOBS.fullmatch(each) for each in permissions) or (
                str(role) in self.roles and any(re.fullmatch(of_dataproc, each["expression"]) for each in conditions)
            )
        if type == "google_service_account_iam_member":
            jobs = {each["account_id"] for _, each in self.each("google_service_account", "spark")}
            account = values["service_account_id"].rpartition("/")[2].partition("@")[0]
            return role == self.ACT_AS and account in jobs
        known = {
            "google_secret_manager_secret_iam_member": self.ACCESS_SECRET,
            "google_artifact_registry_repository_iam_member": self.PULL,
        }
        return type in known and role == known[type] and not conditions

    def may(self, pipeline: str, verb: str, bucket: str, name: str) -> bool:
        def fits(each: Mapping[str, Any]) -> bool:
            return gcp.PERMISSIONS[verb] in self.roles[each["role"]]

        own = (self.members[pipeline], bucket)
        return any(fits(each) and gcp.on_bucket(each, verb, bucket, name) for each in self.buckets.get(own, ())) or any(
            fits(each) and gcp.in_folder(each, bucket, name) for each in self.folders.get(own, ())
        )

    def may_read_secret(self, pipeline: str, secret: str) -> bool:
        found = [each for each in self.secrets if each["secret_id"].rpartition("/")[2] == secret]
        return self.members[pipeline] in [each["member"] for each in found]

    def may_submit(self, pipeline: str, other: str) -> bool:
        runs = OnGCP(self.state, "work_pool").members[pipeline]
        found = [each["role"] for _, each in self.each("google_project_iam_member") if each["member"] == runs]
        granted = {permission for role in found for permission in self.roles.get(role, ())}
        needed = {f"dataproc.batches.{each}" for each in ("create", "get", "cancel")}
        acts_as = {
            each["service_account_id"].rpartition("/")[2]
            for _, each in self.each("google_service_account_iam_member", "spark")
            if each["member"] == runs and each["role"] == self.ACT_AS
        }
        account = OnGCP(self.state, "spark").members[other].removeprefix("serviceAccount:")
        return needed <= granted and account in acts_as

    def sees(self, prefix: str, verb: str, name: str) -> bool:
        if verb == "list" and prefix and not prefix.endswith("/"):
            return name.startswith(f"{prefix}/")  # a condition cannot limit listing
        return name.startswith(prefix)


KINDS: dict[str, type[Rights]] = {"aws": OnAWS, "azure": OnAzure, "gcp": OnGCP}
