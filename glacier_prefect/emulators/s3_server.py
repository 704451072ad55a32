"""moto's server, with writes one after another: moto looks at If-Match, then writes, and holds no lock in between.

S3 lets exactly one of several conditional writes win; with threads that take turns often, moto let two win. Run as
`python -m glacier_prefect.emulators.s3_server PORT`.
"""

from __future__ import annotations

import io
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any


def main() -> None:
    """Serve until SIGTERM."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import run_simple

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    answer: Callable[[dict[str, Any], Any], Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
    one_writes = threading.Lock()

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in ("PUT", "POST", "DELETE") or "CONTENT_LENGTH" not in environ:
            return answer(environ, start_response)
        # Before the lock, so that nobody waits for a slow client; moto holds whole bodies in memory anyway.
        size = int(environ["CONTENT_LENGTH"] or 0)
        body = environ["wsgi.input"].read(size)
        if len(body) < size:
            raise ConnectionResetError("the client went away in the middle of its request")
        environ["wsgi.input"] = io.BytesIO(body)
        with one_writes:
            return answer(environ, start_response)

    class Handler(MotoRequestHandler):
        disable_nagle_algorithm = True  # else each answer on a kept connection waits 40 ms

    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=Handler)


if __name__ == "__main__":
    main()
