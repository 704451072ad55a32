"""A mirror of provider plugins below `.cache`, from which Terraform installs without a network, and its configurations.

It is made of the stand-ins in this folder and used again while they are unchanged. `TERRAFORM_PROVIDERS=real` makes one
of real plugins instead, on a machine that can download them. There are two mirrors, of the oldest and of the newest
version that `schemas` has of each provider: one major version each where it has two.

A stand-in knows the types that this repository names anywhere, and no others: each command of Terraform reads all that
a provider has, which takes it longer than all that it does then.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import lzma
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from packaging.version import Version

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
CACHE = REPOSITORY / ".cache" / "terraform"
SCHEMAS = HERE / "schemas"
HOST = "registry.terraform.io"
PREFIX = "terraform-provider"
WRITTEN = (".tf", ".hcl", ".json", ".md", ".py")
REAL = os.environ.get("TERRAFORM_PROVIDERS") == "real"


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """One version of each provider.

    Args:
        config: The file for TF_CLI_CONFIG_FILE.
        data: What the stand-ins read; None if the plugins are real.
        versions: The version of each provider by its source, as in "hashicorp/aws".
    """

    config: Path
    data: Path | None
    versions: dict[str, str]


def known_versions() -> dict[str, list[str]]:
    """Return the versions that there are schemas of, by source, the oldest first."""
    found: dict[str, list[str]] = {}
    for file in SCHEMAS.glob("*/*/*.json.xz"):
        found.setdefault(f"{file.parts[-3]}/{file.parts[-2]}", []).append(file.name.removesuffix(".json.xz"))
    return {source: sorted(versions, key=Version) for source, versions in sorted(found.items())}


VERSIONS = {
    "older": {source: versions[0] for source, versions in known_versions().items()},
    "newer": {source: versions[-1] for source, versions in known_versions().items()},
}


def schema_of(source: str, version: str) -> bytes:
    """Return the schema of a provider as JSON, with `source`, `version`, `notes` and `schema`."""
    return lzma.decompress((SCHEMAS / source / f"{version}.json.xz").read_bytes())


def stem(source: str, version: str) -> str:
    """Return the name of a provider's files among what stand-ins read."""
    return f"{source.replace('/', '-')}-{version}"


def named_types() -> frozenset[str]:
    """Return all that this repository names and that could be a type of one of the providers."""
    names = "|".join(source.rpartition("/")[2] for source in known_versions())
    folders = [REPOSITORY / name for name in ("terraform_modules", "glacier_prefect", "examples", "tests")]
    files = [file for folder in folders for file in folder.rglob("*.*") if file.suffix in WRITTEN]
    return frozenset(word for file in files for word in re.findall(rf"\b(?:{names})_\w+", file.read_text()))


def install(cache: Path = CACHE, *, real: bool = REAL) -> dict[str, Mirror]:
    """Make the mirrors, unless they are there; safe in several processes at once.

    Args:
        cache: Where they are made.
        real: Whether plugins are downloaded.
    """
    cache = cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    types = named_types()
    home = cache / ("real" if real else _stamp(types))
    with open(cache / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            _whole(home, _download if real else partial(_build, types))
    data = None if real else home / "data"
    return {
        name: Mirror(config=home / f"{name}.rc", data=data, versions=versions) for name, versions in VERSIONS.items()
    }


def _whole(home: Path, make: Callable[[Path, Path], None]) -> None:
    """Make a folder that is there as a whole or not at all."""
    work = Path(tempfile.mkdtemp(dir=home.parent, prefix=".new-"))
    try:
        make(work, home)
        for name in VERSIONS:
            mirror = json.dumps(str(home / name))
            text = f"provider_installation {{\n  filesystem_mirror {{\n    path = {mirror}\n  }}\n}}\n"
            (work / f"{name}.rc").write_text("disable_checkpoint = true\n\n" + text)
        work.rename(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _stamp(types: Iterable[str]) -> str:
    """Return a name for all that the mirror of stand-ins depends on."""
    seed = f"{sys.executable} {sys.version_info[:2]} {_platform()} {REPOSITORY} {sorted(types)}"
    digest = hashlib.sha256(seed.encode())
    for file in (HERE / "mirror.py", *(HERE / "stand_ins").glob("*.py"), *SCHEMAS.glob("*/*/*.xz")):
        digest.update(hashlib.sha256(file.read_bytes()).digest() + str(file.relative_to(HERE)).encode())
    return digest.hexdigest()[:16]


def _platform() -> str:
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def _build(types: Container[str], work: Path, home: Path) -> None:
    """Write the stand-ins' mirror."""
    from tests.terraform.stand_ins.messages import schema_response

    (work / "data").mkdir()
    _certificate(work / "data")
    written = set()
    for name, versions in VERSIONS.items():
        for source, version in versions.items():
            if (file := stem(source, version)) not in written:
                schema = _with_types(json.loads(schema_of(source, version))["schema"], types)
                (work / "data" / f"{file}.json").write_text(json.dumps(schema))
                (work / "data" / f"{file}.pb").write_bytes(schema_response(schema))
                written.add(file)
            place = work / name / HOST / source / version / _platform()
            place.mkdir(parents=True)
            launcher = place / f"{PREFIX}-{source.rpartition('/')[2]}_v{version}"
            # The same text wherever the cache is, so that checksums in lock files are the same too. Terraform links the
            # plugin's folder, hence the physical way up.
            up = '"$(cd -P "$(dirname "$0")/../../../../../.." && pwd -P)/start"'
            launcher.write_text(f"#!/bin/sh\nexec /bin/sh {up} {file}\n")
            launcher.chmod(0o755)
    command = shlex.join([sys.executable, "-P", "-s", "-m", "tests.terraform.stand_ins", str(home / "data")])
    (work / "start").write_text(f'PYTHONPATH={shlex.quote(str(REPOSITORY))} exec {command} "$1"\n')


def _with_types(schema: dict[str, Any], types: Container[str]) -> dict[str, Any]:
    return {
        kind: {name: each for name, each in found.items() if name in types} if kind.endswith("_schemas") else found
        for kind, found in schema.items()
    }


def _certificate(folder: Path) -> None:
    """Write a certificate of this machine for ten years, and its key: Terraform talks to plugins over TLS."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    unsigned = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(days=2),
        not_valid_after=now + datetime.timedelta(days=3650),
    )
    unsigned = unsigned.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    unsigned = unsigned.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = serialization.Encoding.PEM
    (folder / "server.crt").write_bytes(unsigned.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "server.key").touch(mode=0o600)
    (folder / "server.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _download(work: Path, home: Path) -> None:
    """Fill the mirrors with real plugins, the newest of the major versions that there are schemas of."""
    for name, versions in VERSIONS.items():
        root = work / f"{name}-root"
        root.mkdir()
        required = {
            stem(*each).replace(".", "-"): {"source": each[0], "version": f"~> {Version(each[1]).major}.0"}
            for each in versions.items()
        }
        (root / "main.tf.json").write_text(json.dumps({"terraform": {"required_providers": required}}))
        env = {key: value for key, value in os.environ.items() if key != "TF_CLI_CONFIG_FILE"}
        subprocess.run(["terraform", "providers", "mirror", work / name], cwd=root, env=env, check=True)
        for archive in (work / name).rglob("*.zip"):
            _unpack(archive)


def _unpack(archive: Path) -> None:
    """Put a plugin in place of its archive in a mirror: Terraform links a folder, and unpacks an archive each time."""
    _, version, system, machine = archive.stem.removeprefix(f"{PREFIX}-").rsplit("_", 3)
    place = archive.parent / version / f"{system}_{machine}"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(place)
    for plugin in place.glob(f"{PREFIX}-*"):
        plugin.chmod(0o755)
    archive.unlink()


if __name__ == "__main__":  # by hand: `export TF_CLI_CONFIG_FILE=$(python -m tests.terraform.mirror)`
    print(install()["newer"].config)
