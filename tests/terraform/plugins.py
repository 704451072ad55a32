"""Terraform with the plugins of a mirror: stand-ins in one process that its commands attach to, or real ones.

Starting a plugin takes longer than all that a command does with it, and a command starts it again and again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.terraform.mirror import HOST, REPOSITORY, Mirror, stem


@dataclass(frozen=True, kw_only=True)
class Terraform:
    """Terraform with one version of each provider.

    Args:
        mirror: Where plugins are installed from.
        attached: Variables by which commands find the plugins that run already.
    """

    mirror: Mirror
    attached: Mapping[str, str] = field(default_factory=dict)

    def environment(self, *, attach: bool = True) -> dict[str, str]:
        """Return the variables for a command, beside those of this process."""
        # Terraform does not look at the versions of plugins that it attaches to, so `init` never does.
        return {"TF_CLI_CONFIG_FILE": str(self.mirror.config), **(self.attached if attach else {})}

    def __call__(self, folder: Path, *words: str, code: int = 0) -> str:
        """Run a command in a folder and return what it printed, plain; with any other exit code the test fails."""
        plain = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
        env = {**os.environ, **plain, **self.environment(attach=words[0] != "init")}
        done = subprocess.run(["terraform", *words], cwd=folder, env=env, capture_output=True, text=True)
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        assert done.returncode == code, f"terraform {' '.join(words)} ended with {done.returncode}:\n{said}"
        return said


@contextlib.contextmanager
def running(mirrors: Mapping[str, Mirror]) -> Iterator[dict[str, Terraform]]:
    """Run the stand-ins of some mirrors meanwhile; real plugins are started by the commands themselves."""
    data = {each.data for each in mirrors.values()}
    if data == {None}:
        yield {name: Terraform(mirror=mirror) for name, mirror in mirrors.items()}
        return
    [place] = data
    command = [sys.executable, "-P", "-s", "-m", "tests.terraform.stand_ins", str(place)]
    with subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,  # its end is the end of the process
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            ports = json.loads(server.stdout.readline())
            yield {
                name: Terraform(mirror=mirror, attached=_attached(mirror, ports, server.pid))
                for name, mirror in mirrors.items()
            }
        finally:
            server.stdin.close()


def _attached(mirror: Mirror, ports: Mapping[str, int], process: int) -> dict[str, str]:
    address = {
        f"{HOST}/{source}": {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": process,
            "Test": True,  # it is not Terraform's to stop
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{ports[stem(source, version)]}"},
        }
        for source, version in mirror.versions.items()
    }
    return {"TF_REATTACH_PROVIDERS": json.dumps(address)}
