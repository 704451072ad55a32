"""Lets Terraform's azurerm backend reach the emulator: it takes no other address than that of Azure's own service.

A proxy to which it is sent by HTTPS_PROXY, with a certificate of ours for that name. It proves nothing of Azure's
certificates or of its signatures: the emulator is asked with a token for the whole account, in whatever name.
"""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from glacier_prefect.emulators import Azure
from glacier_prefect.emulators.forward import Forwarder, Server
from tests.served import Served

DOMAIN = "blob.core.windows.net"


class AzureFront(Served, Server):
    """Azure's Blob Storage under its own name, for what uses this as its proxy; runs while its `with` block does.

    Attributes:
        env: Variables of a Terraform that is to use it.
    """

    def __init__(self, azure: Azure, folder: Path) -> None:
        super().__init__(0, azure.port, _Connection)
        self.account = azure.account_name
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(_certificate(folder))
        now = datetime.datetime.now(datetime.UTC)
        token = generate_account_sas(
            azure.account_name,
            azure.account_key,
            ResourceTypes(service=True, container=True, object=True),
            AccountSasPermissions(read=True, write=True, delete=True, list=True, create=True, add=True),
            now + datetime.timedelta(hours=3),
        )
        self.env = {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.server_port}",
            "SSL_CERT_FILE": str(folder / "front.pem"),
            "ARM_SAS_TOKEN": token,
        }


class _Connection(Forwarder):
    server: AzureFront

    def do_CONNECT(self) -> None:
        if not self.path.startswith(f"{self.server.account}.{DOMAIN}:"):
            return self.reply(403)  # as Terraform's question for a newer version of itself
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.wfile.flush()
        self.connection = self.server.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb")
        self.close_connection = False

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def respond(self) -> None:
        headers = {**self.passed_on(), "Host": f"127.0.0.1:{self.server.behind}"}
        with self.ask(self.command, f"/{self.server.account}{self.path}", headers, self.body) as response:
            self.relay(response)


def _certificate(folder: Path) -> Path:
    """Write a certificate for all accounts, and its key, into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=1),
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"*.{DOMAIN}")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, file = serialization.Encoding.PEM, folder / "front.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(pem) + secret)
    return file
