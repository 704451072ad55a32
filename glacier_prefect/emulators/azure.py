"""Azure's Blob Storage: Azurite, which npm installs once into a folder."""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from .start import Unavailable, server

if TYPE_CHECKING:
    from obstore.store import AzureStore

VERSION = "3.35.0"  # later ones want a newer Node than 20


@dataclass(frozen=True, kw_only=True)
class Azure:
    """A running emulator of Azure's Blob Storage, and how to reach it."""

    name: ClassVar[str] = "azure"
    scheme: ClassVar[str] = "az"

    port: int
    account_name: str = "devstoreaccount1"
    account_key: str = field(repr=False)

    @classmethod
    @contextmanager
    def start(cls, *, account_name: str = "devstoreaccount1", installed_in: Path | None = None) -> Iterator[Self]:
        """Run it while the block runs, with a key of its own.

        Args:
            account_name: The storage account that it has.
            installed_in: The folder that has Azurite, or gets it; else one in the user's cache.

        Raises:
            Unavailable: It cannot be installed or does not start.
        """
        program = install(installed_in or _user_cache())
        key = base64.b64encode(secrets.token_bytes(64)).decode()

        def command(port: int, folder: Path) -> list[str]:
            address = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
            return [str(program), *address, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]

        with server("azure", command, env={"AZURITE_ACCOUNTS": f"{account_name}:{key}"}) as behind:

            def front(port: int, _: Path) -> list[str]:
                return [sys.executable, "-m", f"{__package__}.azure_front", str(port), str(behind)]

            with server("azure-front", front) as port:
                yield cls(port=port, account_name=account_name, account_key=key)

    def at(self, port: int) -> Self:
        """Return the same emulator, reached through a proxy with that port."""
        return replace(self, port=port)

    @property
    def url(self) -> str:
        """Its endpoint, which names the account."""
        return f"http://127.0.0.1:{self.port}/{self.account_name}"

    @property
    def connection_string(self) -> str:
        """What Azure's SDK and prefect-azure take."""
        account = f"AccountName={self.account_name};AccountKey={self.account_key}"
        return f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={self.url};"

    @property
    def storage_options(self) -> dict[str, str]:
        """What Polars takes."""
        return {"account_name": self.account_name, "account_key": self.account_key, "endpoint": self.url}

    @property
    def env(self) -> dict[str, str]:
        """The variables by which Azure's SDK, obstore and `AzureProvider.from_env()` find it; Polars looks at none."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": self.account_name,
            "AZURE_STORAGE_ACCOUNT_KEY": self.account_key,
            "AZURE_STORAGE_ENDPOINT": self.url,
            "AZURE_STORAGE_CONNECTION_STRING": self.connection_string,
            "AZURE_ALLOW_HTTP": "true",  # obstore
        }

    def uri(self, bucket: str, key: str) -> str:
        """Return the address of an object as Polars takes it."""
        return f"az://{bucket}/{key}"

    def store(self, bucket: str) -> AzureStore:
        """Return obstore's store of a container."""
        from obstore.store import AzureStore

        return AzureStore(
            container_name=bucket,
            account_name=self.account_name,
            account_key=self.account_key,
            endpoint=self.url,
            client_options={"allow_http": True},
        )

    def make_bucket(self, bucket: str) -> None:
        """Create a container, if it is not there."""
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.blob import ContainerClient

        client = ContainerClient.from_connection_string(self.connection_string, bucket)
        with client, suppress(ResourceExistsError):
            client.create_container()


def install(folder: Path) -> Path:
    """Return the program, installed into `folder` if it is not there yet."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Unavailable("The emulator of Azure needs Node.js 20 or later with npm, and there is none on PATH.")
    target = folder / f"azurite-{VERSION}"
    program = target / "node_modules" / ".bin" / "azurite-blob"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "azurite.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            coming = Path(tempfile.mkdtemp(prefix="azurite-", dir=folder))
            # No lock file: it would have the addresses of whichever registry is configured here.
            flags = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--no-update-notifier"]
            command = ["npm", "install", "--prefix", str(coming), "--cache", str(folder / "npm"), *flags]
            npm = subprocess.run(
                [*command, f"azurite@{VERSION}"], stdin=subprocess.DEVNULL, capture_output=True, text=True
            )
            if npm.returncode:
                shutil.rmtree(coming)
                raise Unavailable(f"npm could not install azurite {VERSION}. It said:\n{npm.stderr[-2000:]}")
            shutil.rmtree(target, ignore_errors=True)
            coming.rename(target)  # whole, or not there
    return program


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "glacier"
