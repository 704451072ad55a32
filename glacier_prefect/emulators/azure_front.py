"""In front of Azurite, which lists a container from its beginning though a client asks for what comes from a name on.

Delta's log is read that way. Everything else is passed on.

Run as `python -m glacier_prefect.emulators.azure_front PORT BEHIND`.
"""

from __future__ import annotations

import signal
import sys
from xml.etree import ElementTree

from .forward import Forwarder, Server, split_path


class Request(Forwarder):
    """One client's requests."""

    def respond(self) -> None:
        query = split_path(self.path)[2]
        if query.get("comp") != "list" or not (start := query.get("startFrom")):
            return super().respond()
        with self.ask(self.command, self.path, self.passed_on(), self.body) as response:
            if response.status != 200:
                return self.relay(response)
            listing = ElementTree.fromstring(response.read())
        for blobs in listing.findall("Blobs"):
            for each in list(blobs):
                if each.tag == "Blob" and each.findtext("Name", "") < start:
                    blobs.remove(each)
        self.reply(200, {"Content-Type": "application/xml"}, ElementTree.tostring(listing))


def main() -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Server(int(sys.argv[1]), int(sys.argv[2]), Request).serve_forever()


if __name__ == "__main__":
    main()
