"""Providers as servers: started by Terraform for one command, or all in one process that commands attach to."""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc

from tests.terraform.stand_ins.provider import Provider

PROTOCOL = 6
COOKIE = "TF_PLUGIN_MAGIC_COOKIE"
COOKIE_VALUE = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"  # by which Terraform knows plugins
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class _Calls(grpc.GenericRpcHandler):
    def __init__(self, provider: Provider, shutdown: Callable[[], object]) -> None:
        self._provider, self._shutdown = provider, shutdown

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        service, _, method = details.method.lstrip("/").partition("/")
        if details.method == "/plugin.GRPCController/Shutdown":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: self._shutdown() or b"")
        answer = getattr(self._provider, method, None) if method[:1].isupper() else None
        if service != f"tfplugin{PROTOCOL}.Provider" or answer is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, context: answer(request))


def serve_terraform(data: Path, name: str) -> None:
    """Be a plugin of the Terraform that started this process, until it says so or is gone."""
    if os.environ.get(COOKIE) != COOKIE_VALUE:
        sys.exit("This is a provider plugin for tests. Terraform starts it: see tests/terraform/README.md.")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Terraform decides when to stop
    done = threading.Event()
    server = _server(Provider(data, name), done.set)
    if os.environ.get("PLUGIN_CLIENT_CERT"):
        certificate = (data / "server.crt").read_bytes()
        credentials = grpc.ssl_server_credentials([((data / "server.key").read_bytes(), certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        der = base64.b64decode(b"".join(certificate.split(b"\n")[1:-2]))
        said = base64.b64encode(der).decode().rstrip("=")
    else:
        port, said = server.add_insecure_port("127.0.0.1:0"), ""
    server.start()
    print(f"1|{PROTOCOL}|tcp|127.0.0.1:{port}|grpc|{said}", flush=True)
    parent = os.getppid()
    while not done.wait(1) and os.getppid() == parent:
        pass
    server.stop(0.2).wait()
    os._exit(0)  # threads of gRPC would keep it


def serve_all(data: Path) -> None:
    """Serve every provider of a folder until standard input ends; print their ports by name first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever holds the other end of the input decides
    ports = {}
    servers = []
    for file in sorted(data.glob("*.pb")):
        servers.append(server := _server(Provider(data, file.stem), lambda: None))
        ports[file.stem] = server.add_insecure_port("127.0.0.1:0")
        server.start()
    print(json.dumps(ports), flush=True)
    sys.stdin.read()
    os._exit(0)


def _server(provider: Provider, shutdown: Callable[[], object]) -> grpc.Server:
    threads = futures.ThreadPoolExecutor(max_workers=4)
    return grpc.server(threads, handlers=(_Calls(provider, shutdown),), options=UNLIMITED)
