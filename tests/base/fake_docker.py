"""A docker with buildx for tests, run as `docker`: it takes the words that buildx takes and says what buildx says.

Its registry is a file. No image is built, so what it shows is that our calls are well formed, not more.
`FAKE_DOCKER` names a folder: `calls.jsonl` is what it was asked, `registry.json` what is pushed, `contexts/` the files
that builds got, `mode` (a file) how it fails.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import NoReturn

HERE = Path(os.environ["FAKE_DOCKER"])
NO_DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        ended(message, 125)


def ended(message: str, code: int = 1) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def main(words: list[str]) -> None:
    with open(HERE / "calls.jsonl", "a") as calls:
        print(json.dumps(words), file=calls)
    mode = (HERE / "mode").read_text() if (HERE / "mode").exists() else ""
    if mode == "no buildx":
        ended("docker: unknown command: docker buildx\n\nRun 'docker --help' for more information", 1)
    assert words[0] == "buildx"
    registry = json.loads((HERE / "registry.json").read_text()) if (HERE / "registry.json").exists() else {}
    if words[1:3] == ["imagetools", "inspect"]:
        parser = Parser(allow_abbrev=False)
        parser.add_argument("name")
        parser.add_argument("--format", required=True)
        given = parser.parse_args(words[3:])
        if given.name not in registry:
            ended(f"ERROR: {given.name}: not found")
        assert given.format == "{{json .Manifest}}"
        kind = "application/vnd.oci.image.manifest.v1+json"
        print(json.dumps({"schemaVersion": 2, "mediaType": kind, "digest": registry[given.name], "size": 1638}))
        return
    assert words[1] == "build"
    if mode == "no daemon":
        ended(f"ERROR: {NO_DAEMON}")
    parser = Parser(allow_abbrev=False)
    for name in ("--platform", "--file", "--tag", "--metadata-file", "--provenance", "--progress"):
        parser.add_argument(name, required=True)
    parser.add_argument("--push", action="store_true", required=True)
    parser.add_argument("context", choices=["-"])
    given = parser.parse_args(words[2:])
    context = sys.stdin.buffer.read()
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        names = tar.getnames()
        print("#1 [internal] load remote build context", file=sys.stderr)
        if given.file not in names:
            ended(f"ERROR: failed to build: failed to read dockerfile: open {given.file}: no such file or directory")
        made = tar.extractfile(given.file)
        assert made is not None
        lines = made.read().decode().splitlines()
    for number, line in enumerate(lines, 2):
        print(f"#{number} {line}", file=sys.stderr)
        if line == "RUN false":
            said = 'process "/bin/sh -c false" did not complete successfully: exit code: 1'
            print(f"#{number} ERROR: {said}\n------\n > {line}:\n------", file=sys.stderr)
            ended(f"ERROR: failed to build: failed to solve: {said}")
    if mode.startswith("denied: "):
        ended(f"ERROR: failed to build: failed to solve: failed to push {given.tag}: {mode.removeprefix('denied: ')}")
    digest = f"sha256:{hashlib.sha256(context).hexdigest()}"
    if mode == "quicker":
        registry[given.tag] = f"sha256:{'0' * 64}"
    taken = given.tag in registry
    registry.setdefault(given.tag, digest)
    (HERE / "registry.json").write_text(json.dumps(registry))
    if taken:
        ended(f"ERROR: failed to push {given.tag}: tag invalid: the image tag already exists and is immutable")
    (HERE / "contexts").mkdir(exist_ok=True)
    (HERE / "contexts" / given.tag.rpartition(":")[2]).write_text("\n".join(sorted(names)))
    Path(given.metadata_file).write_text(json.dumps({"containerimage.digest": digest, "image.name": given.tag}))


if __name__ == "__main__":
    main(sys.argv[1:])
