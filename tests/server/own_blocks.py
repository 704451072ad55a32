"""Credentials of the emulators: as variables of a process, and as a user's own block in Prefect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OWN = {
    "s3": "from prefect_aws import AwsCredentials; import sys; AwsCredentials(aws_access_key_id=sys.argv[2], "
    "aws_secret_access_key=sys.argv[3], region_name='us-east-1', aws_client_parameters="
    "{'endpoint_url': sys.argv[4]}).save(sys.argv[1])",
    "azure": "from prefect_azure import AzureBlobStorageCredentials; import sys; "
    "AzureBlobStorageCredentials(connection_string=sys.argv[2]).save(sys.argv[1])",
    "gcs": "from prefect_gcp import GcpCredentials; import sys; "
    "GcpCredentials(service_account_info=sys.argv[2]).save(sys.argv[1])",
}


def variables_of(cloud: Any, folder: Path) -> dict[str, str]:
    """Return variables by which a process finds an emulator, and the credentials that are its own."""
    found = dict(cloud.env)
    if cloud.name == "gcs":
        file = folder / "key.json"
        file.write_text(json.dumps(cloud.service_account))
        found["GOOGLE_APPLICATION_CREDENTIALS"] = str(file)
    return found


def save_own(project: Any, cloud: Any, name: str) -> list[str]:
    """Save a credentials block with secrets, as a user does; returns what is secret in it."""
    secrets = {
        "s3": lambda: [cloud.access_key_id, cloud.secret_access_key, cloud.url],
        "azure": lambda: [cloud.connection_string],
        "gcs": lambda: [json.dumps(cloud.service_account)],
    }[cloud.name]()
    project.run("-c", OWN[cloud.name], name, *secrets)
    return secrets[1:2] if cloud.name == "s3" else secrets
