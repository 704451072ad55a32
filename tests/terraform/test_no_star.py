"""Nothing that modules and roots give away is a `*` without a reason, which is listed here.

AWS: all policy documents of the roots of the shop and of the bootstrap, as Terraform renders them. Azure and Google
Cloud have no patterns in what they grant; there no role is one of those that may do all.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.infrastructure import modules_folder
from glacier_prefect.providers import AWSProvider
from tests.terraform import roots
from tests.terraform.modules import ALL
from tests.terraform.plugins import Terraform

pytestmark = pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not on PATH")

# Actions on all resources, or patterns of actions.
ALL_OF_IT = {
    r"Deny .*": "it takes rights away and gives none",
    r"own policy: kms:(\*|Decrypt|DescribeKey|Encrypt|GenerateDataKey|ReEncrypt\w+) on \*": "there, * is that key",
    r"ec2:Describe\w+ on \*": "looking at networks takes no resource",
    r"ec2:(AllocateAddress|Create\w+) on \*": "what is made has no name yet",
    r"ecr:GetAuthorizationToken on \*": "it takes no resource",
    r"ecs:(CreateCluster|(Deregister|Describe|Register)TaskDefinition) on \*": "it takes no resource",
    r"emr-serverless:CreateApplication on \*": "what is made has no name yet",
    r"kms:CreateKey on \*": "what is made has no name yet",
    r"logs:((Create|Delete)LogDelivery|DescribeLogGroups) on \*": "it takes no resource",
}
# Names with a pattern: the beginning, or the end, of what AWS or a user names.
PARTS = {
    r"arn:aws:s3:::[^*]+\*": "objects below a prefix",
    r"arn:aws:s3:::[^*]+/\*\.glacier/code/\*": "archives of code, in whatever folder of the exchange",
    r"arn:aws:s3:::[^*]+/\*\.tflock": "the lock beside a state",
    r"arn:aws:s3:::[^*]+/\*/(history/\*\.json|deploy\.json|clock)": "deploy records beside a state",
    r"arn:aws:[a-z-]+:[^*]*[:/]glacier[^*]*\*": "what has the project's prefix",
    r"arn:aws:[a-z-]+:[^*]*[:/](github-)?glacier[^*]*/\*": "what is inside of what has the project's prefix",
    r"arn:aws:secretsmanager:[^*]*:secret:[^*]+\*": "AWS adds six letters to a secret's name",
    r"arn:aws:kms:(\*|[^*:]*):123456789012:key/\*": "AWS names keys; a condition says by which service, or which tag",
    r"arn:aws:ec2:[^*]*:([a-z-]+|\*)/\*": "AWS names it; a condition says by which tag or call",
    r"arn:aws:emr-serverless:[^*]*:/applications/\*": "AWS names applications; a tag, or each role, says which",
    r"(arn-\w+|arn:aws:emr-serverless:[^*]*)/jobruns/\*": "AWS names job runs",
    r"arn:aws:ecr:\*:\*:repository/\*": "images may be another account's; each role says which",
    r"arn:aws:iam::\w+:role/aws-service-role/[^*]+/\*": "AWS names its own roles",
}
OWNERS = re.compile(r"\b(Owner|Contributor|User Access Administrator|roles/(owner|editor|\w+\.admin|\w+Admin))\b")


def documents(state: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each policy document, and the address of what has it."""
    for module in state["values"]["root_module"]["child_modules"]:
        for resource in module["resources"]:
            for value in resource["values"].values():
                if isinstance(value, str) and '"Statement"' in value:
                    text = re.sub(r"account_id-\w+", "123456789012", re.sub(r"partition-\w+", "aws", value))
                    yield resource["address"], json.loads(text)


def stars(document: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield what has a `*` in it, as text, and whether it is a resource's name."""
    for statement in document["Statement"]:
        actions, resources = _list(statement.get("Action")), _list(statement.get("Resource"))
        if statement["Effect"] == "Deny":
            yield f"Deny {actions} on {resources}", False
            continue
        assert not {"NotAction", "NotResource", "NotPrincipal"} & statement.keys(), statement
        for action in actions:
            if "*" in action or "*" in resources:
                yield f"{action} on {' '.join(resources)}", False
        for resource in resources:
            if "*" in resource and resource != "*":
                yield resource, True


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


BOOTSTRAP = {
    "state": {"name": "acme-state"},
    "identity": {
        "name": "github-glacier-shop-prod",
        "prefix": "glacier-shop-prod",
        "repository": "acme/shop",
        "kinds": list(AWSProvider.grantable),
        "buckets": ["raw", "curated"],
        "state": "arn:aws:s3:::acme-state",
        "labels": {"glacier-project": "shop"},
        "previews": True,
        "cloud": {"state_prefix": "shop/prod/", "kept": "shop/prod/bootstrap/", "secrets": ["shop-db"]},
    },
}


@pytest.mark.parametrize("hardened", [False, True], ids=["plain", "hardened"])
def test_each_star_in_a_policy_of_aws_has_its_reason(
    hardened: bool, terraforms: dict[str, Terraform], tmp_path: Path
) -> None:
    folder = roots.generated(roots.shop("aws", tmp_path / "shop", hardened=hardened))
    root = json.loads((folder / "main.tf.json").read_text())
    root["terraform"]["backend"] = {"local": {}}
    for kind, inputs in BOOTSTRAP.items():
        root["module"][f"boot_{kind}"] = {
            "source": str(modules_folder() / "aws" / kind),
            "hardened": hardened,
            **inputs,
        }
    (folder / "main.tf.json").write_text(json.dumps(root))
    terraforms["newer"](folder, "init")
    terraforms["newer"](folder, "apply", "-auto-approve")
    found = [
        (address, text, named)
        for address, document in documents(json.loads(terraforms["newer"](folder, "show", "-json")))
        for text, named in stars(document)
    ]
    without, used = set(), set()
    for address, text, named in found:
        said = f"own policy: {text}" if "aws_kms_key" in address and not named else text
        fitting = {each for each in (PARTS if named else ALL_OF_IT) if re.fullmatch(each, said)}
        used |= fitting
        if not fitting:
            without.add(f"{address}: {said}")
    assert not without, "\n".join(sorted(without))
    assert not hardened or {*PARTS, *ALL_OF_IT} == used, "a reason that nothing needs any more"


@pytest.mark.parametrize("module", [each for each in ALL if each.cloud in ("azure", "gcp")], ids=lambda each: each.name)
def test_no_module_gives_a_role_that_may_do_all(module: Any) -> None:
    text = "\n".join(re.sub(r"#.*", "", each) for each in module.files().values())
    assert not OWNERS.findall(text)
    granted = re.findall(r"(?:actions|permissions)\s*=\s*\[(.*?)\]", text, flags=re.S)
    assert not [each for each in granted if "*" in each]
