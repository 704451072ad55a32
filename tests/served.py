"""Servers that run in a thread of the test's own process."""

from __future__ import annotations

import socketserver
import threading
from typing import Self


class Served(socketserver.BaseServer):
    """A server that runs while its `with` block does; stands before the server's class among the bases."""

    def __enter__(self) -> Self:
        self._serving = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._serving.join()
        self.server_close()
