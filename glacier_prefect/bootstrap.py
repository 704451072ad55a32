"""`glacier bootstrap`: the bucket of an environment's Terraform state, and who may plan and deploy from GitHub.

Both are in a root of their own, `.glacier/<env>/bootstrap/`, whose state is in the bucket that it makes. Until there is
one, the state is beside the root; it moves as soon as it can, so whoever is killed goes on where it was. What is there
already is imported. Wires providers and Terraform; knows nothing of Prefect.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect import granted, infrastructure
from glacier_prefect.environments import Environment, Project
from glacier_prefect.errors import ConfigurationError, DataLossRefused, StoreError, UsageError, nearest
from glacier_prefect.granted import Grants
from glacier_prefect.modules import Granted, ModuleCall, expression
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.cloud_modules import ModuleCalls
from glacier_prefect.terraform_cli import TerraformCLI
from glacier_prefect.terraform_plan import Event, Plan, data_loss

if TYPE_CHECKING:
    from glacier_prefect.modules import Needs

LOCAL = "terraform.tfstate"
ROUNDS = 4  # of looking for what is there: what is in something else can be asked for when that one is imported
_LOCK_SECONDS = 30
_BRANCH = re.compile(r"(?!refs/)[A-Za-z0-9._/-]+")  # what all three modules take
_ENVIRONMENT = re.compile(r"[A-Za-z0-9._-]+")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
_GITHUB = re.compile(r"(?:https://(?:[^@/]+@)?|ssh://git@|git@)github\.com[:/]([^/]+/[^/]+?)(?:\.git)?/?")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody asks for; None leaves it as it was granted before, at first as is usual.

    Attributes:
        kinds: Kinds of modules; else those that the pipelines need.
        exact: Whether what is not asked for is taken back.
        repository: As in "owner/name"; else that of the remote `origin`.
        branch: From which is deployed; else "main".
        github_environment: From which is deployed, in place of a branch.
    """

    kinds: tuple[str, ...] | None = None
    exact: bool = False
    repository: str | None = None
    branch: str | None = None
    github_environment: str | None = None


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """What is going to be done, or was.

    Attributes:
        plan: The saved plan.
        imported: Ids of what is there already and is taken over, by address.
        granted: What is granted afterwards; what only the cloud knows of it is there once it was applied.
        notes: What people should know.
    """

    plan: Plan
    imported: Mapping[str, str]
    granted: Granted
    notes: tuple[str, ...] = ()


def bootstrap(
    project: Project,
    pipelines: Sequence[Pipeline],
    asked: Asked,
    *,
    confirm: Callable[[Proposed], bool] = lambda proposed: True,
    on_event: Callable[[Event], object] = lambda event: None,
) -> Proposed | None:
    """Make state and identity of the environment of this process; return what was done, None if it was not confirmed.

    Args:
        project: The project.
        pipelines: All that it has.
        asked: What is asked for.
        confirm: Asked with what is going to be done, if anything is.
        on_event: Called with what Terraform says meanwhile.

    Raises:
        ConfigurationError: The environment has no `state`, or is of no cloud.
        UsageError: What is asked for cannot be.
        DataLossRefused: It would destroy or replace the state's bucket. Nothing was changed.
    """
    root = _Root(project, pipelines)
    before = root.found()
    wanted = root.granted(asked, granted.read(before))
    with root.proposed(wanted, before, on_event) as plan:
        proposed = Proposed(plan=plan, imported=root.imported, granted=wanted, notes=root.notes(wanted))
        if lost := data_loss(plan):
            raise DataLossRefused(
                f"This would destroy or replace what holds data: {', '.join(lost)}. Nothing was changed.\n"
                "Hint: name another bucket in `state`, or set the environment to where that one is."
            )
        if plan.has_changes:
            if not confirm(proposed):
                return None
            root.terraform.apply(plan)
    root.keep()
    done = granted.read(granted.bootstrap_state(project, root.provider, root.state))
    assert done is not None  # it was just written
    return Proposed(plan=plan, imported=root.imported, granted=done, notes=proposed.notes)


class _Root:
    """The root of one environment's bootstrap."""

    terraform: TerraformCLI

    def __init__(self, project: Project, pipelines: Sequence[Pipeline]) -> None:
        self.project, self.environment = project, project.environment()
        needed = infrastructure.needs(pipelines, project)
        provider, self.needs = needed[0]
        if not isinstance(provider, CloudProvider):
            raise ConfigurationError(
                f"{_where(self.environment)} has the provider {provider.name!r}, where there is nothing to bootstrap.\n"
                "Hint: name the environment of a cloud, as in --env prod."
            )
        self.provider: CloudProvider = provider
        if self.environment.state is None:
            raise ConfigurationError(
                f"{_where(self.environment)} does not say where Terraform's state is.\n"
                'Hint: write state = "BUCKET" there (in Azure "ACCOUNT/CONTAINER"), which is made if it is not there.'
            )
        self.state = self.environment.state
        self.calls = infrastructure.module_calls(pipelines, project)
        self.folder = infrastructure.root_folder(project, self.environment.name).with_name("bootstrap")
        self.backend = provider.backend(self.state, granted.bootstrap_key(project))
        self.imported: dict[str, str] = {}
        self._theirs: dict[str, Any] = {}
        self._is_local = False
        self._others: str | None = None

    def found(self) -> Mapping[str, Any] | None:
        """Return the state as far as there is one, and note where it is."""
        kept = granted.bootstrap_state(self.project, self.provider, self.state)
        local = self._local()
        if kept is None:
            self._is_local = True
            self._others = self._shared()
            return local
        if local is not None:
            if not _made(local) <= _made(kept):  # their lineages tell nothing: a state that is moved gets a new one
                raise ConfigurationError(
                    f"{self.folder / LOCAL} has resources that the state in {self.state!r} has not: somebody else ran "
                    "`glacier bootstrap` meanwhile. Nothing was changed.\n"
                    "Hint: remove that file to go on with the bucket's; what is there is taken over."
                )
            self._forget()  # it had moved when it was killed
        if not any(each.get("module") == f"module.{self._name('state')}" for each in kept["resources"]):
            last = granted.read(kept)
            self._others = None if last is None else last.state
        return kept

    def granted(self, asked: Asked, before: Granted | None) -> Granted:
        """Return what is to be granted."""
        known = self.provider.grantable
        for kind in asked.kinds or ():
            if kind not in known:
                raise UsageError(f"{kind!r} is no kind of module that can be granted. {nearest(kind, known)}")
        if asked.branch is not None and asked.github_environment is not None:
            raise UsageError("--branch and --github-environment exclude each other: either one says who may deploy.")
        if asked.branch is not None and not _BRANCH.fullmatch(asked.branch):
            raise UsageError(f"{asked.branch!r} is no branch; expected a name of letters, digits and . _ / -.")
        if asked.github_environment is not None and not _ENVIRONMENT.fullmatch(asked.github_environment):
            raise UsageError(f"{asked.github_environment!r} is no environment; expected letters, digits and . _ -.")
        last = before or Granted(provider=self.provider.name)
        needed, kept = Grants.of(self.calls.values(), self.provider), Granted(provider="") if asked.exact else last
        wanted = {*(needed.kinds if asked.kinds is None else asked.kinds), *kept.kinds}
        by_branch = asked.github_environment is None and (asked.branch is not None or not last.github_environment)
        repository = asked.repository or last.repository or _origin(self.project.folder)
        if not _REPOSITORY.fullmatch(repository):
            raise UsageError(f"{repository!r} is no repository on GitHub; expected owner/name.")
        return Granted(
            provider=self.provider.name,
            kinds=tuple(sorted(wanted)),
            buckets=tuple(sorted({*needed.buckets, *kept.buckets})),
            secrets=tuple(sorted({*needed.secrets, *kept.secrets})),
            hardened=self.environment.infrastructure.hardened or kept.hardened,
            previews=self.environment.previews or kept.previews,
            repository=repository,
            branch=(asked.branch or last.branch or "main") if by_branch else None,
            github_environment=None if by_branch else asked.github_environment or last.github_environment,
        )

    def notes(self, wanted: Granted) -> tuple[str, ...]:
        """Return what people should know."""
        cloud = f"{self.provider.name}/"
        modules = {call.source.removeprefix(cloud) for call in self.calls.values() if call.source.startswith(cloud)}
        by_hand = sorted({granted.KINDS.get(each, each) for each in modules} - {*self.provider.grantable})
        return tuple(
            f"{each}: cannot be granted in this cloud, so a person deploys what has it, and GitHub cannot plan it."
            for each in by_hand
        )

    def proposed(self, wanted: Granted, before: Mapping[str, Any] | None, on_event: Callable[[Event], object]) -> Plan:
        """Return the plan, with what is there already to be imported."""
        binary = self.environment.terraform
        self.terraform = TerraformCLI(self.folder, binary=binary, on_event=on_event, lock_seconds=_LOCK_SECONDS)
        self._write(wanted)
        self.terraform.init(moved="without")
        plan = self.terraform.plan()
        for _ in range(ROUNDS):
            try:
                imports, theirs = self.provider.existing(plan.json)
            except BaseException:
                plan.close()
                raise
            if not imports and theirs.items() <= self._theirs.items():
                break
            plan.close()
            self.imported |= imports
            self._theirs |= theirs
            self._write(wanted)
            plan = self.terraform.plan()
        return plan

    def keep(self) -> None:
        """Move the state into its bucket, if it is not there."""
        if not self._is_local:
            return
        file, local = self.folder / LOCAL, self._local()
        assert local is not None  # something was applied, now or before
        self._is_local = False
        self._write(self._wanted)
        content = file.read_bytes()
        self.terraform.init(moved="with")
        moved = granted.bootstrap_state(self.project, self.provider, self.state)
        if moved is None or _made(moved) != _made(local):
            file.write_bytes(content)  # Terraform has emptied it
            raise StoreError(
                f"The state of the bootstrap did not reach {self.state!r}; it is in {file}.\n"
                "Hint: keep that file, and run the same command again."
            )
        self._forget()

    # --- inside

    def _name(self, what: str) -> str:
        return f"{self.provider.name}_{what}"

    def _local(self) -> Mapping[str, Any] | None:
        file = self.folder / LOCAL
        if not file.exists() or not file.stat().st_size:
            return None
        return granted.parsed(file.read_bytes(), str(file))

    def _forget(self) -> None:
        for name in (LOCAL, f"{LOCAL}.backup"):
            (self.folder / name).unlink(missing_ok=True)

    def _shared(self) -> str | None:
        """Return the id of the state's bucket if another environment's bootstrap has made it; None if it is ours."""
        objects, own = self.provider.state_objects(self.state), granted.object_name(self.backend)
        end = own.removeprefix(granted.state_key(self.project))  # "/bootstrap/terraform.tfstate"
        theirs = re.compile(f"[^/]+/[^/]+{re.escape(end)}")  # not deeper, where pull requests write previews
        try:
            for meta in objects.below(""):
                if not theirs.fullmatch(meta.key) or meta.key == own:
                    continue
                if (found := objects.get(meta.key)) is not None:
                    other = granted.read(granted.parsed(found[1], f"{self.state!r} ({meta.key})"))
                    if other is not None and other.state:
                        return other.state
        except FileNotFoundError:  # there is no such bucket yet
            pass
        return None

    def _write(self, wanted: Granted) -> None:
        self._wanted = wanted
        calls = self._module_calls(self.needs, wanted)
        identity = calls[self._name("identity")]
        value = {
            "version": granted.VERSION,
            **asdict(wanted),
            "state": identity.inputs["state"],
            **{name: identity.output(name) for name in ("plan", "deploy", "boundary")},
            "roles": identity.output("roles") if self.provider.name == "gcp" else {},
        }
        block = self.provider.terraform_provider()
        assert block is not None  # a cloud has one
        document: dict[str, Any] = {
            "//": "Made by `glacier bootstrap`, which overwrites it.",
            "terraform": {
                "required_version": infrastructure.REQUIRED_VERSION,
                "backend": {"local": {"path": LOCAL}} if self._is_local else dict([self.backend]),
            },
            "provider": dict([block]),
            "module": {
                name: {
                    "source": f"./modules/{call.source}",
                    **{key: expression(each) for key, each in call.inputs.items() if each not in (None, {}, "")},
                }
                for name, call in calls.items()
            },
            "output": {
                granted.OUTPUT: {
                    "description": "What was granted, for `glacier plan` and `deploy`.",
                    "value": expression(value),
                }
            },
        }
        if self.imported:
            document["import"] = [
                {"to": address, "id": expression(each)} for address, each in sorted(self.imported.items())
            ]
        infrastructure.write(self.folder, document, {call.source for call in calls.values()})

    def _module_calls(self, needs: Needs, wanted: Granted) -> dict[str, ModuleCall]:
        made, key = ModuleCalls(self.provider, needs), granted.state_key(self.project)
        calls = []
        place: Any = self._others
        if place is None:
            calls.append(made.call("state", **self.provider.state_inputs(self.state), hardened=wanted.hardened or None))
            place = calls[0].output("id")
        cloud = self.provider.identity_inputs(f"{key}/", f"{granted.bootstrap_key(self.project)}/", wanted.secrets)
        calls.append(
            made.call(
                "identity",
                name=f"github-{needs.name}",  # so that no project's rights over names that begin with its own cover it
                prefix=needs.name,
                repository=wanted.repository,
                branch=wanted.branch,
                github_environment=wanted.github_environment,
                kinds=list(wanted.kinds),
                buckets=list(wanted.buckets),
                state=place,
                hardened=wanted.hardened or None,
                previews=wanted.previews or None,
                cloud={**cloud, **self._theirs},
            )
        )
        return {call.name: call for call in calls}


def _made(state: Mapping[str, Any]) -> set[tuple[str, ...]]:
    """Return what a state says that Terraform made: where it stands in the root, and its id."""
    return {
        (each.get("module", ""), each["type"], each["name"], str(of.get("index_key")), str(of["attributes"].get("id")))
        for each in state["resources"]
        if each["mode"] == "managed"
        for of in each["instances"]
    }


def _where(environment: Environment) -> str:
    return environment.where or f"The environment {environment.name!r}"


def _origin(folder: Path) -> str:
    """Return the repository on GitHub that a folder's remote `origin` is, as owner/name."""
    try:
        asked = subprocess.run(["git", "remote", "get-url", "origin"], cwd=folder, capture_output=True, text=True)
        url = asked.stdout.strip()
    except FileNotFoundError:
        url = ""
    if (found := _GITHUB.fullmatch(url)) is None:
        raise UsageError(
            f"The remote `origin` of {folder} is not on GitHub, so it is not known whose workflows to trust.\n"
            "Hint: --repository owner/name"
        )
    return found[1]
