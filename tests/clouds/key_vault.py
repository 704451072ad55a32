"""Azure Key Vault on loopback: the part of its REST API that reads secrets, and how it asks who wants them.

    with KeyVault(identities, tmp_path, "acme", {"db": "planted"}) as vault:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", vault.certificate)
        monkeypatch.setattr(socket, "getaddrinfo", vault.resolve)

It has the vault's own name and speaks TLS. A call without a token is challenged with where to get one and what for; one
with a token for something else is refused. Its answers have the form that Microsoft documents; that Azure would give
them, nothing here can prove. See https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret/get-secret.
"""

from __future__ import annotations

import json
import socket
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.clouds.identities import Identities, certified
from tests.served import Served

RESOURCE = "https://vault.azure.net"


class KeyVault(Served, ThreadingHTTPServer):
    """A vault; runs while its `with` block does.

    Attributes:
        host: Its name, as Azure would give it.
        certificate: File of the certificate that clients have to trust.
        secrets: Values by name; None is one that may not be read.
        answered: Status of each answer, in order.
    """

    daemon_threads = True

    def __init__(self, identities: Identities, folder: Path, name: str, secrets: Mapping[str, str | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.identities, self.secrets = identities, secrets
        self.host = f"{name}.vault.azure.net"
        context, self.certificate = certified(folder, self.host)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answered: list[int] = []
        self._resolve = socket.getaddrinfo

    def resolve(self, host: Any, *args: Any, **options: Any) -> Any:
        """Do what `socket.getaddrinfo` does, but for the vault's name, which is this server."""
        if host == self.host:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", self.server_port))]
        return self._resolve(host, *args, **options)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: KeyVault

    def do_GET(self) -> None:
        status, body = self.answer()
        content = json.dumps(body).encode()
        self.server.answered.append(status)
        self.send_response(status)
        if status == 401:
            tenant = "https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000"
            self.send_header("WWW-Authenticate", f'Bearer authorization="{tenant}", resource="{RESOURCE}"')
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer(self) -> tuple[int, Any]:
        url = urllib.parse.urlsplit(self.path)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or self.server.identities.resources.get(token) != RESOURCE:
            return _error(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
        if "api-version" not in urllib.parse.parse_qs(url.query):
            return _error(400, "BadParameter", "Method GET requires an api-version query parameter.")
        name = url.path.removeprefix("/secrets/").strip("/")
        if name not in self.server.secrets:
            return _error(404, "SecretNotFound", f"A secret with (name/id) {name} was not found in this key vault.")
        if (value := self.server.secrets[name]) is None:
            return _error(403, "Forbidden", "Caller is not authorized to perform action on resource.")
        known = {"enabled": True, "created": 1, "updated": 1, "recoveryLevel": "Recoverable+Purgeable"}
        version = f"https://{self.server.host}/secrets/{name}/0123456789abcdef0123456789abcdef"
        return 200, {"value": value, "id": version, "attributes": known}

    def log_message(self, *_: object) -> None:
        pass


def _error(status: int, code: str, message: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": message}}
