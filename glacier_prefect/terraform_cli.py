"""The one file that drives Terraform (or OpenTofu), through python-terraform. Knows nothing of pipelines.

Nothing changes but by a saved plan that was looked at, destroying included. Values never stand on a command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from python_terraform import IsFlagged, Terraform  # type: ignore[import-untyped]  # it comes without type hints

from glacier_prefect.errors import (
    ApplyFailed,
    BackendChanged,
    DataLossRefused,
    PlanStale,
    StateLocked,
    TerraformFailed,
    TerraformMissing,
    TerraformTooOld,
    UsageError,
    nearest,
)
from glacier_prefect.processes import interrupts_held, is_alive
from glacier_prefect.terraform_plan import (
    Diagnostic,
    Event,
    Output,
    Plan,
    Version,
    data_loss,
    left_folders,
    lost_folders,
)

OLDEST = (1, 7)  # the first with mock providers, which the modules' tests use; OpenTofu's 1.7 is its equal
COMMANDS = ("version", "init", "validate", "plan", "show", "apply", "output", "state list", "force-unlock")
ALLOW_DATA_LOSS = "GLACIER_ALLOW_DATA_LOSS"
INSTALL = {
    "terraform": "https://developer.hashicorp.com/terraform/install",
    "tofu": "https://opentofu.org/docs/intro/install/",
}

_ROOM = 1 << 20  # bytes that must be free beside a state: Terraform rewrites it in place, and a full disk cuts it off
_NO_ROOM = "no space left on device"  # as Terraform says it
_DENIED = "AccessDenied|AuthorizationPermissionMismatch|StatusCode: 403|Error 403|status 403"  # as clouds say it
_CAUSES = (
    (_NO_ROOM, "make room on that disk"),
    (r"NoSuchBucket|ContainerNotFound|bucket .*(does not|doesn't) exist",
     "make the state's bucket with `glacier bootstrap`, or correct `state`,"),
    (_DENIED,
     "grant what is missing to the credentials in use, which `glacier doctor` shows,"),
)  # fmt: skip
_PLACE = ("path", "bucket", "key", "prefix", "storage_account_name", "container_name")  # none of it a secret
_LOCKING = ("plan", "apply")
_RUNNING = "glacier-terraform-"  # and the id of who runs it: a file with Terraform's own, as soon as it has one
_POLL = 0.05  # seconds between two looks at what Terraform printed
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class TerraformCLI:
    """Terraform in one root module.

    Args:
        folder: The root module.
        binary: "terraform", "tofu", or the path of either.
        variables: Values of the root's variables; they go through a file that only its owner can read.
        environment: Variables of the environment beside those of this process.
        on_event: Called with every step of a plan or apply.
        lock: Whether to lock the state while planning; False for who only looks, and may not be allowed to write.
        lock_seconds: How long to wait for the state's lock; a -lock-timeout in Terraform's own TF_CLI_ARGS goes before.
        stop_seconds: How long Terraform may take to stop after an interrupt, before it is killed.

    Example:
        >>> cli = TerraformCLI(".glacier/dev/terraform")
        >>> cli.init()
        >>> with cli.plan() as plan:
        ...     cli.apply(plan)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        binary: str = "terraform",
        variables: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[Event], object] | None = None,
        lock: bool = True,
        lock_seconds: int = 0,
        stop_seconds: float = 120,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.binary = binary
        self._variables = dict(variables or {})
        self._environment = dict(environment or {})
        self._on_event = on_event or (lambda event: None)
        self._lock = lock
        self._lock_seconds = lock_seconds
        self._stop_seconds = stop_seconds

    def version(self) -> Version:
        """Return the program's version.

        Raises:
            TerraformMissing: There is no such program.
            TerraformTooOld: It is older than 1.7.
        """
        return self._checked[1]

    def init(self, *, backend: bool = True, moved: Literal["with", "without"] | None = None) -> None:
        """Set up modules, provider plugins and backend; again and again if you like.

        Args:
            backend: False leaves the backend alone, as for validating only.
            moved: Whether the backend may have changed, and the state is copied to the new one ("with") or is there
                already ("without").

        Raises:
            BackendChanged: The configuration has the state in another place than where it is; Terraform would lose
                sight of it.
            TerraformFailed: It cannot be set up.
        """
        code, out, err = self._run(
            "init",
            input=False,
            backend=backend,
            lock_timeout=self._lock_timeout("init"),
            migrate_state=IsFlagged if moved == "with" else None,
            force_copy=IsFlagged if moved == "with" else None,
            reconfigure=IsFlagged if moved == "without" else None,
        )
        if code:
            raise self._failure("init", _boxes(err), err or out)

    def validate(self) -> tuple[Diagnostic, ...]:
        """Check the configuration and return its warnings.

        Raises:
            TerraformFailed: The configuration is wrong.
        """
        code, out, err = self._run("validate", json=IsFlagged)
        try:
            diagnostics = tuple(map(Diagnostic.read, json.loads(out)["diagnostics"]))
        except (ValueError, KeyError):
            diagnostics = ()
        if code:
            raise self._failure("validate", diagnostics, err or out)
        return diagnostics

    def plan(self, *, destroy: bool = False, targets: Sequence[str] = ()) -> Plan:
        """Return a saved plan of what is to change; nothing is changed.

        A bucket whose folder is gone is planned to be made again: Terraform does not look at the disk, and after a kill
        in the middle of an apply takes for made what it had only begun.

        Args:
            destroy: Plan to destroy everything.
            targets: Addresses to keep to, with what they depend on.

        Raises:
            StateLocked: Someone else works on the state.
            TerraformFailed: Terraform cannot plan.
        """
        saved = self._plan(destroy, targets)
        lost = () if destroy else lost_folders(saved, self.folder)
        if not lost:
            return saved
        saved.close()
        return self._plan(destroy, targets, lost)

    def _plan(self, destroy: bool, targets: Sequence[str], lost: Sequence[str] = ()) -> Plan:
        self._sweep()
        self._check_room()
        home = self.folder / ".terraform"
        home.mkdir(exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix=f"glacier-plan-{os.getpid()}-", dir=home))
        path, values = private / "plan", private / "values.tfvars.json"
        try:
            _write_private(path, "")  # Terraform keeps the mode of a file that is there
            _write_private(values, json.dumps(self._variables))
            code, said, err = self._stream(
                "plan",
                out=path,
                detailed_exitcode=IsFlagged,
                var_file=values if self._variables else None,
                destroy=IsFlagged if destroy else None,
                target=list(targets),
                replace=list(lost),
                lock=None if self._lock else False,
            )
            values.unlink()
            if code not in (0, 2):
                raise self._failure("plan", said.diagnostics, err)
            if self._lock:
                self._sweep_ended()
            return Plan(
                path=path,
                destroy=destroy,
                has_changes=code == 2,
                json=self._json("show", str(path)),
                warnings=tuple(said.diagnostics),
                lost=tuple(lost),
            )
        except BaseException:
            shutil.rmtree(private, ignore_errors=True)
            raise

    def apply(self, plan: Plan, *, allow_data_loss: bool = False) -> tuple[str, ...]:
        """Do what a plan says and return the addresses that were created, changed or destroyed.

        The saved plan is deleted, whatever happens.

        Args:
            plan: From `plan`.
            allow_data_loss: Whether it may destroy or replace what holds data.

        Raises:
            DataLossRefused: It would, and may not. Nothing was done.
            StateLocked: Someone else works on the state. Nothing was done.
            PlanStale: The plan is not for the present state. Nothing was done.
            ApplyFailed: Some of it could not be done.
        """
        with plan:
            lost = data_loss(plan)
            if lost and not allow_data_loss:
                raise DataLossRefused(
                    f"The plan destroys or replaces what holds data: {', '.join(lost)}. Nothing was changed.\n"
                    f"Hint: copy what you need and use --allow-data-loss."
                )
            if not plan.path.exists():
                raise PlanStale("This plan was applied or given up before.\nHint: make a new plan.")
            self._check_room()
            allowed = {ALLOW_DATA_LOSS: "true"} if allow_data_loss else {}
            try:
                code, said, err = self._stream("apply", str(plan.path), extra=allowed)
            finally:
                self._protect_state()
            if code:
                raise self._failure("apply", said.diagnostics, err, said)
            for folder in left_folders(plan, self.folder) if allow_data_loss else ():
                shutil.rmtree(folder)
            return tuple(said.done)

    def unlock(self, locked: StateLocked) -> None:
        """Take away the lock of a Terraform that is known to run no more, and say so.

        Args:
            locked: What said that the state is locked.

        Raises:
            TerraformFailed: The lock is another one meanwhile, or cannot be taken away.
        """
        code, out, err = self._run("force-unlock", str(locked.lock_id), force=IsFlagged)
        if code:
            raise self._failure("force-unlock", _boxes(err), err or out)
        message = (
            f"Unlocked the Terraform state, which a killed deploy left locked: lock {locked.lock_id} of {locked.who}."
        )
        self._on_event(Event(kind="state_unlocked", message=message))

    def output(self) -> dict[str, Output]:
        """Return the root's outputs by name; none before the first apply."""
        return {
            name: Output(value=each["value"], type=each["type"], sensitive=each["sensitive"])
            for name, each in self._json("output").items()
        }

    def state_list(self) -> list[str]:
        """Return the addresses of what is in the state; none before the first apply."""
        code, out, err = self._run("state list")
        if code:
            if "No state file was found" in err:
                return []
            raise self._failure("state list", _boxes(err), err)
        return out.splitlines()

    # --- inside

    @cached_property
    def _checked(self) -> tuple[_Driver, Version]:
        program = shutil.which(self.binary)
        name = Path(self.binary).name
        page = INSTALL.get(name, INSTALL["terraform"])
        wanted = ".".join(map(str, OLDEST))
        if program is None:
            where = "at that path" if os.sep in self.binary else "on PATH"
            raise TerraformMissing(
                f"There is no program {self.binary!r} {where}.\nHint: install {name} {wanted} or newer, see {page}."
            )
        if not self.folder.is_dir():
            raise UsageError(f"There is no folder {str(self.folder)!r} to run {name} in.")
        driver = _Driver(
            self.folder, os.path.abspath(program), self._full_environment(), self._stop_seconds, self._stopping
        )
        code, out, err = driver.cmd("version", json=IsFlagged)
        found = re.match(r"(\d+)\.(\d+)", number := _version_number(out))
        if code or not found:
            raise TerraformFailed(f"{program} did not tell its version: {_plain(err or out)[-500:]!r}.")
        if (int(found[1]), int(found[2])) < OLDEST:
            raise TerraformTooOld(f"{program} is version {number}; Glacier needs {wanted} or newer.\nHint: see {page}.")
        return driver, Version(binary=name, number=number)

    def _full_environment(self) -> dict[str, str]:
        environment = {**os.environ, **self._environment, "TF_IN_AUTOMATION": "1", "TF_INPUT": "0"}
        environment.pop(ALLOW_DATA_LOSS, None)
        if not environment.get("HOME") and not environment.get("TF_CLI_CONFIG_FILE"):
            # without either, Terraform warns of it in stderr of every command
            settings = self.folder / ".terraform" / "glacier.tfrc"
            settings.parent.mkdir(exist_ok=True)
            settings.touch()
            environment["TF_CLI_CONFIG_FILE"] = str(settings)
        return environment

    def _run(self, command: str, *args: str, **options: Any) -> tuple[int, str, str]:
        return self._checked[0].cmd(command, *args, **options)

    def _json(self, command: str, *args: str) -> dict[str, Any]:
        code, out, err = self._run(command, *args, json=IsFlagged)
        if code:
            raise self._failure(command, _boxes(err), err)
        document: dict[str, Any] = json.loads(out)
        return document

    def _stream(self, command: str, *args: str, **options: Any) -> tuple[int, _Said, str]:
        said = _Said()
        code, _, err = self._run(
            command,
            *args,
            on_line=lambda line: self._on_event(said.hear(line)),
            json=IsFlagged,
            input=False,
            lock_timeout=self._lock_timeout(command),
            **options,
        )
        return code, said, err

    def _lock_timeout(self, command: str) -> str | None:
        own = (self._environment.get(name, os.environ.get(name, "")) for name in _argument_variables(command))
        return None if "-lock-timeout" in " ".join(own) else f"{self._lock_seconds}s"

    def _stopping(self) -> None:
        message = (
            "Waiting for Terraform to stop; interrupt again to kill it, then the state may miss what it just made."
        )
        with contextlib.suppress(Exception):  # it may be this very callback that failed
            self._on_event(Event(kind="interrupted", message=message))

    def _failure(
        self, command: str, diagnostics: Sequence[Diagnostic], rest: str, said: _Said | None = None
    ) -> TerraformFailed:
        name = Path(self.binary).name
        errors = [each for each in dict.fromkeys(diagnostics) if each.severity == "error"]
        for each in errors:
            if each.summary == "Backend configuration changed":
                return self._moved(diagnostics)
            held = re.search("Lock Info:|already locked", each.detail) and not re.search(_DENIED, each.detail)
            if held and each.summary == "Error acquiring the state lock":
                return self._locked(each, diagnostics)
            if each.summary.startswith("Saved plan "):  # is stale; does not match the given state
                return PlanStale(
                    "The state has changed since the plan was made. Nothing was done.\n"
                    "Hint: make a new plan and look at it.",
                    diagnostics,
                )
        lines = [f"{each.address}: {each}" if each.address else str(each) for each in errors] or [
            _plain(rest)[-2000:].strip() or "it said nothing; maybe it was killed, or the disk is full"
        ]
        text = "\n  ".join([f"{name} {command} failed:", *lines])
        hint = next((hint for cause, hint in _CAUSES if re.search(cause, text)), "remove the cause")
        if said is None:
            before = "" if command in ("output", "state list") else "Nothing was changed.\n"
            return TerraformFailed(f"{text}\n{before}Hint: {hint} and do it again.", diagnostics)
        nothing = "Nothing was done before" if errors else "It is not known to have done anything before"
        done = f"Done before: {', '.join(said.done)}" if said.done else nothing
        kept, unsaved = "The state is kept", self.folder / "errored.tfstate"
        if unsaved.exists() and unsaved.stat().st_mtime >= said.since:
            kept = f"Terraform could not save the state in its place; look at {unsaved}, then `{name} state push` it"
        failed = ApplyFailed(
            f"{text}\n{done}. {kept}.\nHint: {hint} and do it again; it goes on from here.",
            diagnostics,
        )
        failed.done, failed.failed = tuple(said.done), tuple(said.failed)
        return failed

    def _locked(self, error: Diagnostic, diagnostics: Sequence[Diagnostic]) -> StateLocked:
        told = dict(re.findall(r"^\s*(ID|Who|Operation|Created):[ \t]*(\S.*?)\s*$", error.detail, re.MULTILINE))
        by = "".join(
            f", {word} {told[key]}"
            for key, word in (("Who", "by"), ("Created", "since"), ("ID", "lock"))
            if key in told
        )
        unlock = f"{Path(self.binary).name} -chdir='{self.folder}' force-unlock {told.get('ID', 'ID')}"
        locked = StateLocked(
            f"The Terraform state is locked{by}. Nothing was done.\n"
            f"Hint: wait until that is finished. If nothing runs there any more: {unlock}",
            diagnostics,
        )
        locked.lock_id, locked.who = told.get("ID"), told.get("Who")
        with contextlib.suppress(ValueError, KeyError):  # "2026-11-27 05:57:04.095264001 +0000 UTC"
            day, moment, offset = told["Created"].split()[:3]
            locked.created = datetime.fromisoformat(f"{day} {moment[:15]}{offset}")
        return locked

    def _moved(self, diagnostics: Sequence[Diagnostic]) -> BackendChanged:
        name, place = Path(self.binary).name, "elsewhere"
        with contextlib.suppress(OSError, ValueError, KeyError):
            known = json.loads((self.folder / ".terraform" / "terraform.tfstate").read_text())["backend"]
            told = [f"{key} {known['config'][key]!r}" for key in _PLACE if known["config"].get(key)]
            place = ", ".join([f"in the backend {known['type']!r}", *told])
        return BackendChanged(
            f"The Terraform state of {str(self.folder)!r} is {place}, and the configuration has it in another place. "
            "Nothing was done.\n"
            f"Hint: if it is to move there, `{name} -chdir='{self.folder}' init -migrate-state` copies it; else change "
            "the configuration back.",
            diagnostics,
        )

    def _check_room(self) -> None:
        states = (file.stat().st_size for file in self.folder.glob("*.tfstate"))
        try:
            with tempfile.TemporaryFile(dir=self.folder) as file:
                file.write(bytes(_ROOM + 4 * sum(states)))
        except OSError as error:
            raise TerraformFailed(
                f"There is no room for Terraform's state in {str(self.folder)!r}: {error.strerror}. Nothing was done.\n"
                "Hint: make room on that disk."
            ) from error

    def _protect_state(self) -> None:
        """Let only the owner read a state that Terraform keeps beside the root: it has sensitive values in clear."""
        for file in self.folder.glob("*.tfstate*"):
            with contextlib.suppress(OSError):
                file.chmod(0o600)

    def _sweep(self) -> None:
        """Delete the saved plans of processes that were killed."""
        for left in (self.folder / ".terraform").glob("glacier-plan-*-*"):
            try:
                os.kill(int(left.name.split("-")[2]), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)
            except (PermissionError, ValueError):
                pass  # of a living process of someone else, or not ours

    def _sweep_ended(self) -> None:
        """Delete the notes of who has run Terraform here and was killed; the lock is had, so nobody holds it."""
        for left in (self.folder / ".terraform").glob(f"{_RUNNING}*"):
            process, terraform = int(left.name.removeprefix(_RUNNING)), left.read_text()
            if not is_alive(process) and not (terraform and is_alive(int(terraform))):
                left.unlink(missing_ok=True)


def terraform_of(folder: Path, process: int) -> int | None:
    """Return the id of the Terraform that a process was running in a root when it was killed; None if that is unknown.

    Args:
        folder: The root module.
        process: Id of the process.
    """
    with contextlib.suppress(OSError, ValueError):
        return int((folder / ".terraform" / f"{_RUNNING}{process}").read_text())
    return None


class _Said:
    """What a streaming command has said so far."""

    def __init__(self) -> None:
        self.since = time.time()
        self.diagnostics: list[Diagnostic] = []
        self.done: list[str] = []
        self.failed: list[str] = []

    def hear(self, line: str) -> Event:
        try:
            event = json.loads(line)
            kind = event["type"]
        except (ValueError, KeyError, TypeError):
            return Event(kind="log", message=line)
        if kind == "diagnostic":
            self.diagnostics.append(Diagnostic.read(event["diagnostic"]))
        hook = event.get("hook") or event.get("change") or {}
        address = hook.get("resource", {}).get("addr")
        if kind == "apply_complete":
            self.done.append(address)
        elif kind == "apply_errored":
            self.failed.append(address)
        return Event(kind=kind, message=event.get("@message", ""), address=address, action=hook.get("action"))


class _Driver(Terraform):  # type: ignore[misc]  # it comes without type hints
    """python-terraform, which spells the commands, with another way to run them.

    Its own way waits for the end without a word, logs a warning for each exit code but 0, shares Ctrl-C with Terraform,
    reads the state file each time, and takes any misspelt method for a command.
    """

    def __init__(
        self, folder: Path, program: str, environment: dict[str, str], stop_seconds: float, stopping: Callable[[], None]
    ) -> None:
        self._environment = environment
        self._stop_seconds = stop_seconds
        self._stopping = stopping
        super().__init__(working_dir=str(folder), terraform_bin_path=program)

    def __getattr__(self, item: str) -> Any:
        raise AttributeError(item)

    def read_state_file(self, file_path: str | None = None) -> None:
        pass

    def cmd(
        self,
        cmd: str,
        *args: str,
        on_line: Callable[[str], object] | None = None,
        extra: Mapping[str, str] | None = None,
        **options: Any,
    ) -> tuple[int, str, str]:
        if cmd not in COMMANDS:
            raise UsageError(f"{cmd!r} is not a command that Glacier runs. {nearest(cmd, COMMANDS)}")
        if options.get("var") is not None or options.get("backend_config") is not None:
            raise UsageError(
                "Values go through a file or the environment, where other users of the machine do not see them."
            )
        command = self.generate_cmd_string(cmd, *args, **options)
        running = Path(self.working_dir, ".terraform", f"{_RUNNING}{os.getpid()}") if cmd in _LOCKING else None
        if running is not None:
            running.parent.mkdir(exist_ok=True)
            running.write_text("")  # should this process be killed now, it is not known whether Terraform runs
        # Files rather than pipes: if Glacier is killed, Terraform goes on and saves its state. A broken pipe would end
        # it just after it made something and before it noted it.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, interrupts_held() as let_them_through:
            # Ctrl-C might come after it was started and before there is a name for it, and nobody would stop it then
            process = subprocess.Popen(
                command,
                cwd=self.working_dir,
                env={**self._environment, **(extra or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,  # Ctrl-C reaches Glacier alone, which passes it on once
            )
            lines = []
            try:
                if running is not None:
                    running.write_text(str(process.pid))
                let_them_through()  # from here on there is somebody to pass it on to
                for line in _lines(process, out.fileno()):
                    lines.append(line)
                    if on_line is not None:
                        on_line(line.rstrip("\n"))
            except BaseException:
                self._stop(process)
                raise
            finally:
                if running is not None:
                    running.unlink(missing_ok=True)
            err.seek(0)
            return process.returncode, "".join(lines), err.read().decode(errors="replace")

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.send_signal(signal.SIGINT)
            self._stopping()
            process.wait(self._stop_seconds)
        except BaseException:  # the second interrupt, or it took too long
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _lines(process: subprocess.Popen[bytes], file: int) -> Iterator[str]:
    """Yield the lines of a file while a process writes them, until it ends."""
    at, begun, ended = 0, b"", False
    while True:
        chunk = os.pread(file, 1 << 20, at)  # leaves the offset alone, which the process shares
        at += len(chunk)
        *whole, begun = (begun + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace") + "\n"
        if chunk:
            continue
        if ended:
            break
        try:
            process.wait(_POLL)
            ended = True  # read once more what it wrote last
        except subprocess.TimeoutExpired:
            pass
    if begun:
        yield begun.decode(errors="replace")


def _argument_variables(command: str) -> tuple[str, str]:
    """Return the variables of the environment with arguments that Terraform puts before those that it is given."""
    return "TF_CLI_ARGS", f"TF_CLI_ARGS_{command}"


def _boxes(text: str) -> list[Diagnostic]:
    """Return the errors and warnings of a command that has no JSON for them: each stands in a drawn box."""
    found = []
    for box in re.findall(r"╷\n(.*?)╵", _plain(text), re.DOTALL):
        lines = [line.removeprefix("│").strip() for line in box.splitlines()]
        first, _, detail = "\n".join(lines).strip().partition("\n\n")
        severity, _, summary = " ".join(first.split()).partition(": ")
        found.append(Diagnostic(severity=severity.lower(), summary=summary, detail=detail.strip()))
    return found


def _plain(text: str) -> str:
    return _ANSI.sub("", text)


def _version_number(text: str) -> str:
    try:
        return str(json.loads(text)["terraform_version"])  # OpenTofu calls it so too
    except (ValueError, KeyError, TypeError):
        return ""


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
