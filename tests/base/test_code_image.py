"""`code = "image"`: what docker is asked, what becomes of its answers, and each way in which it fails.

Docker is a stand-in (fake_docker.py), since a build needs a daemon.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect.credentials import redaction
from glacier_prefect.deployments.actual import Existing
from glacier_prefect.deployments.archive import Archive
from glacier_prefect.deployments.changes import Change, _same_code
from glacier_prefect.deployments.code_image import ImageCode
from glacier_prefect.deployments.desired import Wanted
from glacier_prefect.deployments.state import Owned
from glacier_prefect.environments import Image, Project, find_project
from glacier_prefect.errors import BuildFailed, ConfigurationError
from glacier_prefect.pipeline import Pipeline

DOCKERFILE = "FROM prefecthq/prefect:3-python3.12\nWORKDIR /app\nCOPY . .\n"


class Docker:
    """The stand-in on PATH, its registry, and a project that is built by it."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.project = folder / "docker", folder / "shop"
        for each in (self.folder, self.project):
            each.mkdir()
        program = self.folder / "docker"
        program.write_text(f"#!{sys.executable}\n{Path(__file__).with_name('fake_docker.py').read_text()}")
        program.chmod(0o755)
        patch.setenv("PATH", str(self.folder))
        patch.setenv("FAKE_DOCKER", str(self.folder))
        (self.project / "glacier.toml").write_text('project = "shop"\n')
        (self.project / "flow.py").write_text("A = 1\n")
        (self.project / "Dockerfile").write_text(DOCKERFILE)
        (self.project / ".env").write_text("PASSWORD=planted-secret\n")

    def code(self, **image: Any) -> ImageCode:
        project: Project = find_project(self.project / "glacier.toml")
        return ImageCode(Archive(project), Image(**image))

    def fails(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    @property
    def calls(self) -> list[list[str]]:
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    return Docker(tmp_path, monkeypatch)


OUTPUTS = {"registry": "registry.example.com/shop"}


def changes(code: ImageCode, action: str = "create", outputs: Any = OUTPUTS) -> list[Change]:
    fields = {"job_variables": {"cpu": 1, **code.job_variables(outputs)}, "pull_steps": [], "version": code.tag}
    wanted = Wanted(kind="deployment", name="daily/prod", fields=fields)
    return [Change(action=action, kind="deployment", name="daily/prod", wanted=wanted)]  # type: ignore[arg-type]


def test_the_project_and_nothing_else_is_built_pushed_and_named_by_its_digest(docker: Docker) -> None:
    code = docker.code()
    reference = f"registry.example.com/shop:{code.tag}"
    assert code.job_variables(OUTPUTS) == {"image": reference}, "as far as a plan knows"
    assert code.deliver(changes(code), OUTPUTS) is True
    asked, built = docker.calls
    assert asked == ["buildx", "imagetools", "inspect", reference, "--format", "{{json .Manifest}}"]
    metadata = built[built.index("--metadata-file") + 1]
    assert built == [
        "buildx", "build", "--push", "--platform", "linux/amd64", "--file", "Dockerfile", "--tag", reference,
        "--metadata-file", metadata, "--provenance=false", "--progress=plain", "-",
    ]  # fmt: skip
    assert not Path(metadata).exists()
    assert (docker.folder / "contexts" / code.tag).read_text().split() == ["Dockerfile", "flow.py", "glacier.toml"]
    digest = json.loads((docker.folder / "registry.json").read_text())[reference]
    assert code.job_variables(OUTPUTS) == {"image": f"registry.example.com/shop@{digest}"}

    again = docker.code()
    assert again.deliver(changes(again), OUTPUTS) is True
    assert [call[1] for call in docker.calls] == ["imagetools", "build", "imagetools"], "it is there: not built again"
    assert again.job_variables(OUTPUTS) == code.job_variables(OUTPUTS)


def test_what_it_is_built_from_names_it(docker: Docker) -> None:
    tags = [docker.code().tag, docker.code(platform="linux/arm64").tag, docker.code(dockerfile="other").tag]
    (docker.project / "data.json").write_text("{}")
    tags.append(docker.code().tag)
    (docker.project / ".env").write_text("PASSWORD=another\n")
    assert docker.code().tag == tags[-1]
    assert len(set(tags)) == 4
    assert docker.code(repository="mine:5000/x").job_variables(OUTPUTS) == {"image": f"mine:5000/x:{tags[-1]}"}


def test_docker_is_asked_only_if_a_deployment_gets_the_image(
    docker: Docker, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    code = docker.code()
    assert code.deliver(changes(code, "keep"), OUTPUTS) is False
    assert code.job_variables({}) == {"image": "(known after apply)"}
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "."}}
    assert code.pull_steps(pipeline) == [step]
    [wanted] = [each.wanted for each in changes(code) if each.wanted]
    known = {**wanted.fields, "job_variables": {"cpu": 1, "image": "registry.example.com/shop@sha256:1"}}
    owned = Owned(kind="deployment", name=wanted.name, id="1", fields=known)
    assert _same_code(wanted, owned).fields["job_variables"] == known["job_variables"], "the image that it has"
    newer = Owned(kind="deployment", name=wanted.name, id="1", fields={**known, "version": "another"})
    assert _same_code(wanted, newer) == wanted
    existing = Existing(kind="deployment", name=wanted.name, id="1", fields=known)
    kept = Change(action="update", kind="deployment", name=wanted.name, wanted=_same_code(wanted, owned))
    assert existing.fields == known
    assert code.deliver([kept], OUTPUTS) is False, "of another field"


@pytest.fixture
def pipeline() -> Pipeline:
    from glacier_prefect import task

    @task
    def one() -> int:
        return 1

    return Pipeline("daily", tasks=[one])


def test_a_dockerfile_that_the_project_does_not_have_is_named(docker: Docker, pipeline: Pipeline) -> None:
    with pytest.raises(ConfigurationError, match=r"builds what 'build/Dockerfile' says, which is no file"):
        docker.code(dockerfile="build/Dockerfile").pull_steps(pipeline)


def test_without_a_place_for_images_it_says_how_to_name_one(docker: Docker) -> None:
    code = docker.code()
    with pytest.raises(ConfigurationError, match=r'image = \{ repository = "registry'):
        code.deliver(changes(code, outputs={}), {})
    assert docker.calls == []


def test_without_docker_or_buildx_it_says_what_to_install(docker: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    docker.fails("no buildx")
    code = docker.code()
    with pytest.raises(ConfigurationError, match="needs docker buildx, and this docker has none"):
        code.deliver(changes(code), OUTPUTS)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="needs docker, and there is none on PATH"):
        code.deliver(changes(code), OUTPUTS)


def failure(docker: Docker, code: ImageCode, outputs: Any = OUTPUTS) -> str:
    with pytest.raises(BuildFailed) as raised:
        code.deliver(changes(code, outputs=outputs), outputs)
    assert code.job_variables(outputs)["image"].endswith(f":{code.tag}"), "nothing else is told to Prefect"
    return str(raised.value)


def test_without_a_daemon_it_says_so(docker: Docker) -> None:
    docker.fails("no daemon")
    said = failure(docker, docker.code())
    assert "could not be made: no docker daemon answers" in said
    assert "Hint: start one" in said


def test_a_build_that_fails_is_shown_by_its_last_lines_without_secrets(docker: Docker) -> None:
    redaction.reveal("planted-secret")
    steps = "".join(f"RUN echo {number}\n" for number in range(30))
    (docker.project / "Dockerfile").write_text(f"FROM x\n{steps}RUN echo planted-secret\nRUN false\n")
    lines: list[str] = []
    code = docker.code()
    code._on_line = lines.append
    said = failure(docker, code)
    assert "could not be made: its build failed. Docker said last:" in said
    assert "did not complete successfully: exit code: 1" in said
    assert "RUN echo 29" in said
    assert "RUN echo 2\n" not in said
    assert "planted-secret" not in said
    assert len(lines) > 30
    assert not any("planted-secret" in line for line in lines)
    assert "Hint: correct Dockerfile" in said


ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("repository", "answer", "hint"),
    [
        (
            f"{ECR}/glacier-shop-prod",
            "denied: User: arn:aws:iam::123456789012:user/me is not authorized to perform: ecr:InitiateLayerUpload",
            f"aws ecr get-login-password --region eu-west-1 | docker login --username AWS --password-stdin {ECR}",
        ),
        ("acmeprod.azurecr.io/code", "unauthorized: authentication required", "az acr login --name acmeprod"),
        (
            "europe-west1-docker.pkg.dev/acme/shop/code",
            "unexpected status from POST request: 403 Forbidden",
            "gcloud auth configure-docker europe-west1-docker.pkg.dev",
        ),
        ("ghcr.io/acme/shop", "failed to authorize: 401 Unauthorized", "docker login ghcr.io"),
    ],
)
def test_a_push_that_is_denied_says_how_to_log_in(docker: Docker, repository: str, answer: str, hint: str) -> None:
    docker.fails(f"denied: {answer}")
    said = failure(docker, docker.code(), {"registry": repository})
    assert f"{repository.partition('/')[0]} does not let it be pushed" in said
    assert answer in said
    assert f"Hint: {hint}, as somebody who may push there." in said


def test_an_image_that_another_deploy_pushed_meanwhile_is_taken(docker: Docker) -> None:
    docker.fails("quicker")
    code = docker.code()
    assert code.deliver(changes(code), OUTPUTS) is True
    assert code.job_variables(OUTPUTS) == {"image": f"registry.example.com/shop@sha256:{'0' * 64}"}


@pytest.mark.parametrize(
    ("said", "match"),
    [
        ('{ dockerfil = "x" }', r"unknown key 'dockerfil'. Did you mean 'dockerfile'"),
        ('{ repository = "shop:latest" }', r"repository = 'shop:latest'; expected the name of an image without tag"),
        ('{ repository = "x.example.com/shop@sha256:1" }', "without tag or digest"),
        ('{ platform = "linux amd64" }', "platform = 'linux amd64'; expected one"),
        ("{ dockerfile = 1 }", "dockerfile = 1; expected a text"),
        ('"shop"', "image is str; expected a table"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, said: str, match: str) -> None:
    (tmp_path / "glacier.toml").write_text(f'[environments.prod]\nprovider = "aws"\ncode = "image"\nimage = {said}\n')
    with pytest.raises(ConfigurationError, match=match):
        find_project(tmp_path)
