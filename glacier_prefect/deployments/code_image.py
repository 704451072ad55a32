"""`code = "image"`: runs start from an image with the project's files, which a deploy builds and pushes.

The one file that runs docker (buildx). What goes in is the project's archive and nothing else, so that its hash names
the image.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect.credentials.redaction import hidden
from glacier_prefect.deployments.archive import Archive
from glacier_prefect.deployments.code import Delivery
from glacier_prefect.deployments.packages import STEPS, digest
from glacier_prefect.environments import Image
from glacier_prefect.errors import BuildFailed, ConfigurationError
from glacier_prefect.pipeline import Pipeline

if TYPE_CHECKING:
    from glacier_prefect.deployments.changes import Change
    from glacier_prefect.deployments.state import State

UNKNOWN = "(known after apply)"
LINES = 15  # of what a failed build said last
_MISSING = re.compile(r"is not a docker command|unknown command: docker buildx|unknown flag: --metadata-file")
_NO_DAEMON = re.compile(r"connect to the [Dd]ocker (daemon|API)|docker daemon running", re.IGNORECASE)
_DENIED = re.compile(
    r"denied|unauthori[sz]ed|not authorized|authorization failed|no basic auth|authentication required"
    r"|\b40[13] (Unauthorized|Forbidden)",
    re.IGNORECASE,
)


class ImageCode(Delivery):
    """A run's image has the code and the packages, and its working directory is the project's folder.

    All pipelines get each new image, since a registry keeps only so many.

    Args:
        archive: The project's files.
        image: What the environment says of the image.
        on_line: Called with each line of a build.
    """

    def __init__(self, archive: Archive, image: Image, on_line: Callable[[str], object] = lambda line: None) -> None:
        self._archive, self._image, self._on_line = archive, image, on_line
        self._known: str | None = None

    @property
    def tag(self) -> str:
        """Names the image: a hash of all that it is built from but its base."""
        return digest(" ".join([self._archive.hash, self._image.dockerfile, self._image.platform]).encode())[:32]

    def pull_steps(self, pipeline: Pipeline) -> list[dict[str, Any]]:
        if self._image.dockerfile not in self._archive.files:
            raise ConfigurationError(
                f'code = "image" builds what {self._image.dockerfile!r} says, which is no file of the project (in a '
                "repository: none that git tracks).\nHint: write one; the README of Glacier has an example."
            )
        return [{f"{STEPS}.set_working_directory": {"directory": "."}}]  # where the image's process starts

    def identity(self, pipeline: Pipeline) -> dict[str, str]:
        return {"code": "image", "image": self.tag}

    def job_variables(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {"image": self._known or self._reference(outputs)}

    def deliver(self, changes: Sequence[Change], outputs: Mapping[str, Any]) -> bool:
        reference = self._reference(outputs)
        wanted = [each.wanted for each in changes if each.kind == "deployment" and each.action in ("create", "update")]
        if not any(each and each.fields["job_variables"].get("image") == reference for each in wanted):
            return False
        if reference == UNKNOWN:
            raise ConfigurationError(
                'code = "image" needs a place for images, and this environment makes none.\n'
                'Hint: name one, as in image = { repository = "registry.example.com/shop" }.'
            )
        found = self._there(reference) or self._built(reference)
        self._known = f"{reference.rpartition(':')[0]}@{found}"
        return True

    def tidy(self, state: State) -> None:
        """Leave it to the registry, which keeps only so many images."""

    def _reference(self, outputs: Mapping[str, Any]) -> str:
        repository = self._image.repository or outputs.get("registry")
        return f"{repository}:{self.tag}" if repository else UNKNOWN

    def _there(self, reference: str) -> str | None:
        """Return the digest of an image, None if it cannot be seen; of one that may not be, the push says more."""
        done = self._docker("imagetools", "inspect", reference, "--format", "{{json .Manifest}}")
        return str(json.loads(done.stdout)["digest"]) if done.returncode == 0 else None

    def _built(self, reference: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            metadata = Path(folder) / "metadata.json"
            said = self._build(
                "--push",
                "--platform",
                self._image.platform,
                "--file",
                self._image.dockerfile,
                "--tag",
                reference,
                "--metadata-file",
                str(metadata),
                "--provenance=false",  # with it, the image is an index, which not every service starts
                "--progress=plain",
                "-",  # the files come as a tar: what is not in it cannot get into the image
            )
            if said is None:
                return str(json.loads(metadata.read_text())["containerimage.digest"])
        if (found := self._there(reference)) is not None:  # another deploy was quicker, and tags stay what they are
            return found
        raise BuildFailed(self._failed(reference, said))

    def _build(self, *words: str) -> list[str] | None:
        """Build; return what was said if it failed."""
        with tempfile.TemporaryFile() as context:
            context.write(self._archive.tar)
            context.seek(0)
            with self._started("build", *words, stdin=context) as process:
                assert process.stderr is not None
                lines = []
                for line in process.stderr:
                    lines.append(hidden(line.rstrip()))
                    self._on_line(lines[-1])
        return lines if process.returncode else None

    def _docker(self, *words: str) -> subprocess.CompletedProcess[str]:
        with self._started(*words, stdin=subprocess.DEVNULL) as process:
            output, error = process.communicate()
        if process.returncode and _MISSING.search(error):
            raise ConfigurationError(
                'code = "image" needs docker buildx, and this docker has none.\n'
                "Hint: install the plugin (package docker-buildx-plugin)."
            )
        return subprocess.CompletedProcess(words, process.returncode, output, error)

    @staticmethod
    def _started(*words: str, stdin: Any) -> subprocess.Popen[str]:
        try:
            return subprocess.Popen(
                ["docker", "buildx", *words],
                stdin=stdin,
                stdout=subprocess.PIPE if stdin == subprocess.DEVNULL else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except FileNotFoundError:
            raise ConfigurationError('code = "image" needs docker, and there is none on PATH.') from None

    def _failed(self, reference: str, said: Sequence[str]) -> str:
        text, last = "\n".join(said), "\n".join(f"  {line}" for line in said[-LINES:])
        if _NO_DAEMON.search(text):
            why, hint = "no docker daemon answers", "start one, or `docker context use` one that runs"
        elif _DENIED.search(text):
            host = reference.partition("/")[0]
            why, hint = f"{host} does not let it be pushed", f"{_login(host)}, as somebody who may push there"
        else:
            why, hint = "its build failed", f"correct {self._image.dockerfile}; the line that failed is above"
        return f"The image {reference} could not be made: {why}. Docker said last:\n{last}\nHint: {hint}."


def _login(host: str) -> str:
    """Return the command that logs docker in to a registry."""
    if found := re.fullmatch(r"\d+\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", host):
        password = f"aws ecr get-login-password --region {found[1]}"
        return f"{password} | docker login --username AWS --password-stdin {host}"
    if host.endswith(".azurecr.io"):
        return f"az acr login --name {host.partition('.')[0]}"
    if host.endswith("-docker.pkg.dev"):
        return f"gcloud auth configure-docker {host}"
    return f"docker login {host}"
