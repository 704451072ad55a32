"""What members of IAM on buckets and managed folders of Google Cloud allow, and the conditions on names of objects.

Managed folders: https://cloud.google.com/storage/docs/managed-folders. A condition on `resource.name` does not hold for
listing, whose resource is the bucket: https://cloud.google.com/storage/docs/access-control/iam#conditions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

PERMISSIONS = {
    "list": "storage.objects.list",
    "get": "storage.objects.get",
    "put": "storage.objects.create",
    "delete": "storage.objects.delete",
}


def on_bucket(member: Mapping[str, Any], verb: str, bucket: str, name: str) -> bool:
    """Whether a member of a bucket's policy may do something, its role's permissions aside."""
    if member["bucket"] != bucket:
        return False
    for condition in member.get("condition") or []:
        found = re.fullmatch(r"(!?)resource\.name\.startsWith\((\".*\")\)", condition["expression"])
        if found is None:
            raise ValueError(f"there is no rule here for {condition['expression']}")
        of = f"projects/_/buckets/{bucket}" if verb == "list" else f"projects/_/buckets/{bucket}/objects/{name}"
        if of.startswith(json.loads(found[2])) is (found[1] == "!"):
            return False
    return True


def in_folder(member: Mapping[str, Any], bucket: str, name: str) -> bool:
    """Whether what begins with a name is in a managed folder that a member may use, its role's permissions aside."""
    return member["bucket"] == bucket and name.startswith(member["managed_folder"])
