"""What clouds answer to a program that asks who it is: metadata addresses and token services, on loopback.

    with Identities(lifetime=3) as identities:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{identities.url}/ecs")

Each answer has a new token, numbered, that ends after `lifetime` seconds. Answers have the form that botocore,
azure-identity and google-auth read; that a cloud would give them, nothing here can prove.
"""

from __future__ import annotations

import ipaddress
import json
import ssl
import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.served import Served


class Identities(Served, ThreadingHTTPServer):
    """A server of tokens; runs while its `with` block does."""

    daemon_threads = True

    def __init__(self, lifetime: int = 3600) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.lifetime = lifetime
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.issued = 0
        self.resources: dict[str, str] = {}  # what a token of a managed identity is for

    def speak_tls(self, folder: Path) -> str:
        """Speak https from now on, with a certificate made for this; return its file, which clients have to trust."""
        context, certificate = certified(folder, "127.0.0.1")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")
        return certificate

    def token(self) -> str:
        self.issued += 1
        return f"issued-token-{self.issued:04}"


def certified(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """Return what a server of this name or address speaks TLS by, and the file of its certificate."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(own, own, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
    address = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    made = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context, str(folder / "certificate.pem")


def on_google(identities: Identities, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Google's libraries ask `identities`; they read the variable when they are imported."""
    from google.auth.compute_engine import _metadata

    host = identities.url.removeprefix("http://")
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host)


def external_account(url: str, folder: Path) -> str:
    """Return a file of credentials by which a token of another service is exchanged for one of Google."""
    (folder / "jwt").write_text("a-jwt")
    return json.dumps(
        {
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{url}/exchange",
            "credential_source": {"file": str(folder / "jwt")},
        }
    )


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Identities

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        path, _, query = self.path.partition("?")
        self.server.asked.append(f"{self.command} {path}")
        found = self.found(path, {name: values[0] for name, values in urllib.parse.parse_qs(query).items()})
        content = found.encode() if isinstance(found, str) else json.dumps(found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "text/plain" if isinstance(found, str) else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Metadata-Flavor", "Google")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = answer

    def found(self, path: str, query: dict[str, str]) -> Any:
        ends = time.time() + self.server.lifetime
        if path in ("/ecs", "/latest/meta-data/iam/security-credentials/the-role"):
            return {
                "Code": "Success",
                "AccessKeyId": "issued-key-id",
                "SecretAccessKey": "issued-secret-key",
                "Token": self.server.token(),
                "Expiration": datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        if path == "/latest/api/token":
            return "a-session"
        if path == "/latest/meta-data/iam/security-credentials/":
            return "the-role"
        if path == "/msi" or path.endswith("/oauth2/v2.0/token"):
            token, resource = self.server.token(), query.get("resource", "https://storage.azure.com")
            self.server.resources[token] = resource
            return {
                "access_token": token,
                "expires_on": str(int(ends)),
                "expires_in": self.server.lifetime,
                "token_type": "Bearer",
                "resource": resource,
            }
        if path.endswith("/service-accounts/default/token") or path == "/exchange":
            return {
                "access_token": self.server.token(),
                "expires_in": self.server.lifetime,
                "token_type": "Bearer",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            }
        if path == "/v1/projects/p/secrets/db/versions/latest:access":  # Google Secret Manager
            return {"name": "projects/1/secrets/db/versions/1", "payload": {"data": "cGxhbnRlZC12YWx1ZQ=="}}
        if "/service-accounts/" in path:
            return {"email": "job@project.iam.gserviceaccount.com", "scopes": []}
        return None

    def log_message(self, *_: object) -> None:
        pass
