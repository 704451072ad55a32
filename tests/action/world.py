"""A user's repository that deploys to AWS with the action, and all around it: the real Prefect server behind a counter
of writes, S3 by moto, the real Terraform with stand-ins for its providers, and a GitHub on loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
import pytest

from glacier_prefect.emulators import S3
from glacier_prefect.emulators.forward import Forwarder, Server
from tests.action.act import REPOSITORY, Act, Ran
from tests.action.github import GitHub, Token, running
from tests.served import Served
from tests.terraform.plugins import Terraform

SETTINGS = """
project = "NAME"
pipelines = ["flows/*.py"]

[environments.prod]
provider = "aws"
region = "eu-west-1"
bucket_prefix = "NAME-"
state = "STATE"
code = "git"
previews = true
git = "ORIGIN"

[environments.prod.infrastructure]
server = { api_url = "https://prefect.example.com/api", api_key_secret = "prefect-api-key" }
"""
FLOW = """
import polars as pl
from pydantic import SecretStr
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()
out = provider.bucket_sink(bucket="BUCKET", path="FLOW/rows.parquet")

@task
def rows(count):
    return pl.LazyFrame({"a": [1, 2, 3][:count]})

@pipeline(name="FLOW")
def flow(count: int = 1, note: str = "plain", password: SecretStr = SecretStr("PARAMETER")):
    '''VERSION'''
    return out.write(rows(count))
"""
WORKFLOW = """
on: { push: { branches: [main] }, pull_request: { types: [opened, synchronize, closed] }, workflow_dispatch: {} }
permissions: { contents: read, id-token: write, pull-requests: write }
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: glacier/deploy@v1
        id: deploy
        with:
          environment: prod
          prefect-api-url: ${{ github.event.job.url }}
          prefect-api-key: ${{ github.event.job.key }}
          prefect-headers: ${{ github.event.job.headers }}
          install: ln -s "$TESTS_ENVIRONMENT" .venv
          command: ${{ github.event.job.command || 'auto' }}
          preview: ${{ github.event.job.preview || 'false' }}
          allow-data-loss: ${{ github.event.job.allow-data-loss || 'false' }}
      - if: always()
        run: printf %s "$OUTPUTS" > "$OUTPUTS_FILE"
        env:
          OUTPUTS: ${{ toJSON(steps.deploy.outputs) }}
"""
# The first four are known to the action, which masks them; no mask hides the last two
PLANTED = {name: f"planted-{name}-5ecret" for name in ("key", "header", "environment", "token", "parameter", "output")}
HEADERS = json.dumps({"X-Planted": PLANTED["header"]})
READS = ("/filter", "/count", "/paginate")


class Counter(Served, Server):
    """Stands before a Prefect server or another one, and keeps its writes.

    Args:
        url: Of what is behind.
    """

    def __init__(self, url: str) -> None:
        behind = urllib.parse.urlsplit(url)
        assert behind.port is not None
        super().__init__(0, behind.port, _Counted)
        self.writes: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}{behind.path}"


class _Counted(Forwarder):
    server: Counter  # type: ignore[assignment]

    def respond(self) -> None:
        if self.command not in ("GET", "HEAD") and not self.path.rstrip("/").endswith(READS):
            self.server.writes.append(f"{self.command} {self.path.removeprefix('/api')}")
        super().respond()


@dataclass
class Direct:
    """A step that runs without act around it.

    Attributes:
        process: The step's first process.
        folder: Its machine's folder.
        github: GitHub.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    github: GitHub

    def outputs(self) -> dict[str, str]:
        """Return the step's outputs."""
        found, lines = {}, iter((self.folder / "output").read_text().splitlines())
        for line in lines:
            name, _, end = line.partition("<<")
            value = []
            while (each := next(lines)) != end:
                value.append(each)
            found[name] = "\n".join(value)
        return found

    def said(self) -> str:
        """Return what it has said so far."""
        return (self.folder / "log").read_text(errors="replace")

    def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code and what it said. Nothing that it leaves behind shows a planted secret."""
        code = self.process.wait(600)
        told = [file.read_bytes() for name in ("output", "summary") if (file := self.folder / name).exists()]
        # what is to be masked is told to the runner in lines that it does not show
        log = [line for line in self.said().splitlines() if not line.startswith("::add-mask::")]
        assert_nothing_planted(["\n".join(log), *told, *_left(self.folder / "temp", self.github)])
        return code, self.said()

    def kill(self) -> None:
        """Kill it and all that it started, as GitHub does at last."""
        for each in [*reversed(_children(self.process.pid)), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self.ended()


class World:
    """The repository and its services.

    Args:
        folder: A folder of its own.
        name: The project's name, unlike any other on the server.
        api: The Prefect server.
        s3: AWS.
        terraform: Terraform, with AWS's provider.
        counter: In front of the server.
        github: GitHub.
    """

    def __init__(
        self, folder: Path, name: str, api: Any, s3: S3, terraform: Terraform, counter: Counter, github: GitHub
    ) -> None:
        self.folder, self.name, self.api, self.s3, self.counter, self.github = folder, name, api, s3, counter, github
        self.state = f"{name}-state"
        s3.make_bucket(self.state)
        s3.make_bucket(f"{name}-lake")
        self.origin, self.work = folder / "origin.git", folder / "work"
        self.env = {
            **terraform.environment(),
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ACCESS_KEY_ID": s3.access_key_id,
            "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
            "AWS_DEFAULT_REGION": "eu-west-1",
            "OTHERS_PASSWORD": PLANTED["environment"],
            "TESTS_ENVIRONMENT": sys.prefix,
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "GOGC": os.environ["GOGC"],  # as in tests/conftest.py
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": github.repository,
        }
        self._act: Act | None = None
        self._machines = 0
        subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", self.origin], check=True)
        subprocess.run(["git", "clone", "--quiet", self.origin, self.work], check=True, capture_output=True)
        self.git("config", "user.name", "Test")
        self.git("config", "user.email", "test@example.com")
        self.git("checkout", "--quiet", "-b", "main")
        settings = SETTINGS.replace("NAME", name).replace("STATE", self.state).replace("ORIGIN", str(self.origin))
        self.write("glacier.toml", settings)
        self.write(".gitignore", "/.glacier/\n/.venv\n__pycache__/\n")
        self.write(".github/workflows/deploy.yml", WORKFLOW)
        self.write("README.md", "A shop.\n")

    # --- the repository

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.work, check=True, capture_output=True, text=True).stdout.strip()

    def write(self, name: str, text: str) -> None:
        file = self.work / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def flow(self, name: str, version: str, parameter: str = PLANTED["parameter"], bucket: str = "lake") -> str:
        """Write a pipeline; returns the name of its deployment."""
        full = f"{self.name}-{name}"
        text = FLOW.replace("FLOW", full).replace("VERSION", version).replace("PARAMETER", parameter)
        text = text.replace("BUCKET", bucket)
        self.write(f"flows/{name}.py", text)
        return f"{full}/prod"

    def commit(self, message: str, branch: str = "main") -> str:
        """Commit all, push it to a branch, and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "origin", f"HEAD:{branch}")
        return self.git("rev-parse", "HEAD")

    # --- running

    def act(self, event: str, told: Mapping[str, Any] | None = None, **job: str) -> Ran:
        """Run the workflow for an event, as it is checked out. Nothing that it shows has a planted secret.

        act keeps no summary of a step; those of `direct` are looked at.
        """
        if self._act is None:
            self._act = Act(self.folder / "act", Path(sys.executable).parent)
        self.counter.writes.clear()
        given = {"url": self.counter.url, "key": PLANTED["key"], "headers": HEADERS, **job}
        ran = self._act.run(
            self.work, event, {**(told or {}), "job": given}, secrets={"GITHUB_TOKEN": PLANTED["token"]}, **self.env
        )
        assert_nothing_planted([ran.log, json.dumps(ran.outputs), *_left(self.artifacts, self.github)])
        return ran

    @property
    def artifacts(self) -> Path:
        return self.folder / "act" / "artifacts"

    def direct(self, event: str, told: Mapping[str, Any] | None = None, **inputs: str) -> Direct:
        """Start the action's step on a fresh machine: a clone of what is checked out."""
        self._machines += 1
        machine = self.folder / f"machine-{self._machines}"
        (machine / "temp").mkdir(parents=True)
        clone = machine / "work"
        subprocess.run(["git", "clone", "--quiet", "--local", self.work, clone], check=True, capture_output=True)
        subprocess.run(["git", "remote", "set-url", "origin", self.origin], cwd=clone, check=True)
        (machine / "event.json").write_text(json.dumps(told or {}))
        known = {
            "environment": "prod",
            "install": f"ln -s {sys.prefix} .venv",
            "prefect_api_url": self.counter.url,
            "prefect_api_key": PLANTED["key"],
            "prefect_headers": HEADERS,
            "github_token": PLANTED["token"],
            **inputs,
        }
        files = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary", "GITHUB_EVENT_PATH": "event.json"}
        env = {
            **{name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TMPDIR")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **self.env,
            **{f"INPUT_{name.upper()}": value for name, value in known.items()},
            **{name: str(machine / file) for name, file in files.items()},
            "GITHUB_EVENT_NAME": event,
            "GITHUB_SHA": self.git("rev-parse", "HEAD"),
            "GITHUB_WORKSPACE": str(clone),
            "RUNNER_TEMP": str(machine / "temp"),
        }
        self.counter.writes.clear()
        with (machine / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(REPOSITORY / "action")],
                cwd=clone,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Direct(process=process, folder=machine, github=self.github)

    def clear(self) -> None:
        """Delete the machines, which are not there any more when the next job runs."""
        for machine in self.folder.glob("machine-*"):
            shutil.rmtree(machine)

    # --- what is there

    def pull(self, number: int, action: str = "opened", base: str = "") -> dict[str, Any]:
        """Return the payload of an event about a pull request."""
        repo = {"full_name": self.github.repository}
        pull = {"number": number, "head": {"repo": repo}, "base": {"sha": base, "ref": "main", "repo": repo}}
        return {"action": action, "number": number, "pull_request": pull, "repository": repo}

    def prefect(self) -> list[dict[str, Any]]:
        """Return all that Prefect has of this project, down to when each was written."""
        prefix = f"glacier-{self.name}-"
        tags = {"deployments": {"tags": {"all_": [f"glacier:project={self.name}"]}}}
        found = [
            *self.api.post("/deployments/filter", **tags),
            *self.api.post("/block_documents/filter", block_documents={"name": {"like_": prefix}}),
            *(each for each in self.api.post("/work_pools/filter", limit=200) if each["name"].startswith(prefix)),
        ]
        volatile = {"last_polled", "status", "default_queue_id"}
        kept = [{name: value for name, value in each.items() if name not in volatile} for each in found]
        return sorted(kept, key=lambda each: str(each["id"]))

    def descriptions(self) -> dict[str, str]:
        """Return what each pipeline's deployment says of it."""
        tags = {"deployments": {"tags": {"all_": [f"glacier:project={self.name}", "glacier:env=prod"]}}}
        found = self.api.post("/deployments/filter", **tags)
        return {each["entrypoint"].partition(":")[0]: each["description"] for each in found}

    def buckets(self) -> list[str]:
        """Return the address of each bucket in Terraform's state; nothing in it is there twice or half made."""
        state = json.loads(self.objects()[f"{self.name}/prod/terraform.tfstate"])
        found = []
        for each in state["resources"]:
            for instance in each["instances"]:
                assert not instance.keys() & {"deposed", "status"}, f"{each['name']}: {instance}"
                index = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
                prefix = f"{each['module']}." if "module" in each else ""
                found.append((each["type"], f"{prefix}{each['type']}.{each['name']}{index}"))
        assert len(found) == len(set(found)), sorted(found)
        return sorted(address for kind, address in found if kind == "aws_s3_bucket")

    def objects(self, bucket: str | None = None) -> dict[str, bytes]:
        """Return all that is in a bucket, that of the state if None."""
        store = self.s3.store(bucket or self.state)
        keys = [meta["path"] for page in obstore.list(store) for meta in page]
        return {key: bytes(obstore.get(store, key).bytes()) for key in keys}


@contextlib.contextmanager
def world_of(
    name: str, folders: pytest.TempPathFactory, api: Any, server: str, s3: S3, terraform: Terraform
) -> Iterator[World]:
    """Yield a repository of that name, which no other on the server begins with."""
    with running() as github, Counter(server) as counter:
        github.tokens = {PLANTED["token"]: Token()}
        yield World(folders.mktemp(name), name, api, s3, terraform, counter, github)


def assert_nothing_planted(texts: Sequence[str | bytes]) -> None:
    """Fail if a planted secret is in a text."""
    for text in texts:
        content = text.encode() if isinstance(text, str) else text
        found = [name for name, value in PLANTED.items() if value.encode() in content]
        assert not found, f"{found} in {content[:2000]!r}"


def _left(artifacts: Path, github: GitHub) -> list[str]:
    """Return all artifacts in a folder and all comments."""
    return [
        *(each.read_text() for each in artifacts.rglob("*.md")),
        *(each["body"] for each in list(github.comments.values())),
    ]


def _children(pid: int) -> list[int]:
    """Return all processes below one."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(each.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found
