"""What the action does in a job: reads the inputs, installs the project, runs `glacier`, and tells what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from action import comment, events, inputs, outside, processes
from action.events import Event, Task
from action.failures import MEANINGS, Failed, Reason
from action.github_api import Api, ApiError
from action.glacier import Glacier, environment
from action.inputs import Inputs
from action.install import install
from action.protocol import Protocol

CHECKOUT = Path(__file__).resolve().parent.parent


def main(environ: Mapping[str, str] | None = None) -> int:
    """Run the action; returns the exit code of the step."""
    environ = dict(os.environ if environ is None else environ)
    protocol = Protocol(environ)
    protocol.mask(inputs.secrets_in(environ))
    protocol.mask_environment()
    job = Job(protocol, environ)
    with processes.cancelling():
        try:
            job.run()
            return 0
        except Failed as failed:
            return job.failed(failed.reason, str(failed))
        except ApiError as error:
            return job.failed(Reason.GITHUB_FAILED, str(error))
        except Exception as error:
            # a traceback could show a value; the class and the place are what a report of it needs
            trace, place = error.__traceback__, ""
            while trace is not None:
                place = f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}"
                trace = trace.tb_next
            return job.failed(Reason.UNKNOWN, f"{type(error).__name__}: {error} ({place})")


class Job:
    """One step of a job.

    Args:
        protocol: The runner.
        environ: The environment.
    """

    def __init__(self, protocol: Protocol, environ: Mapping[str, str]) -> None:
        self._protocol, self._environ = protocol, environ
        self._workspace = Path(environ.get("GITHUB_WORKSPACE") or ".").resolve()
        self._inputs: Inputs | None = None
        self._event = Event(name="")
        self._task = Task.NOTHING

    def run(self) -> None:
        """Do what is to be done.

        Raises:
            Failed: It could not be done.
            ApiError: GitHub could not be told, or asked.
        """
        given = self._inputs = inputs.read(self._environ)
        event = self._event = events.read(self._environ)
        self._task = events.task(event, given)
        if self._task is Task.NOTHING:
            self._protocol.say(f"Nothing is to be done on {event.name} {event.action}".rstrip() + ".")
            self._tell(changed="false")
            return
        with self._timed("Installing"):
            python = install(
                given,
                workspace=self._workspace,
                checkout=CHECKOUT,
                environ=self._environ,
                say=self._protocol.say,
            )
        glacier = Glacier(
            python=python,
            folder=given.folder,
            environment=environment(given, self._environ),
            say=self._protocol.say,
        )
        with self._timed(f"glacier: {self._task.value}"):
            {
                Task.PLAN: self._plan,
                Task.DEPLOY: self._deploy,
                Task.DESTROY: self._destroy,
                Task.COMPARE: self._compare,
                Task.REMOVE_PREVIEW: self._remove_preview,
            }[self._task](glacier, given)

    def failed(self, reason: Reason, message: str) -> int:
        """Tell that it failed, and why; returns the exit code."""
        message = self._protocol.hidden(message)
        self._protocol.error(f"glacier/deploy: {reason}", message)
        self._tell(**{"failure-reason": str(reason)})
        told = comment.failure(
            message,
            reason=str(reason),
            environment=self._inputs.environment if self._inputs else self._environ.get("INPUT_ENVIRONMENT", ""),
            run_url=self._event.run_url,
            directory=self._inputs.directory if self._inputs else ".",
            what="glacier/deploy" if self._task is Task.NOTHING else self._task.value,
        )
        self._protocol.summary(f"{told.summary}\n{MEANINGS[reason]}.")
        # A comment that shows an older plan would be agreed to in its place
        if self._inputs and self._task is Task.PLAN and reason is not Reason.CANCELLED:
            with contextlib.suppress(ApiError):
                self._comment(self._inputs, told.comment)
        return 1

    def _plan(self, glacier: Glacier, given: Inputs) -> None:
        tree = self._called(glacier, "plan", "--shared-state", *_pruning(given))
        told = comment.body(
            tree,
            graphs=tree["graphs"],
            digest=tree["digest"],
            run_url=self._event.run_url,
            directory=given.directory,
        )
        self._outcome(tree)
        self._protocol.summary(told.summary)
        self._report(told.full_text)
        text = told.comment
        if given.preview and self._event.pull is not None:
            name = f"pr-{self._event.pull}"
            made = self._called(glacier, "deploy", "--preview", name, "--yes", "--shared-state")
            text += _previewed(made, name)
            self._protocol.summary(_previewed(made, name))
        self._comment(given, text)

    def _deploy(self, glacier: Glacier, given: Inputs) -> None:
        words = ["deploy", "--yes", "--shared-state", *_pruning(given)]
        words += ["--allow-data-loss"] if given.allow_data_loss else []
        if agreed := self._agreed(given):
            words += [f"--expect={agreed}", f"--on-drift={given.on_drift}"]
        tree = self._called(glacier, *words)
        told = comment.body(
            tree, graphs={}, digest=tree["digest"], run_url=self._event.run_url, directory=given.directory, done=True
        )
        for each in tree["drift"]:
            self._protocol.warning(f"Not as the pull request showed: {each}")
        self._outcome(tree)
        self._protocol.summary(told.summary)
        self._report(told.full_text)

    def _destroy(self, glacier: Glacier, given: Inputs) -> None:
        words = ["destroy", "--yes", "--shared-state"] + (["--allow-data-loss"] if given.allow_data_loss else [])
        tree = self._called(glacier, *words)
        told = comment.body(
            tree, graphs={}, digest=tree["digest"], run_url=self._event.run_url, directory=given.directory, done=True
        )
        self._outcome(tree)
        self._protocol.summary(told.summary)
        self._report(told.full_text)

    def _remove_preview(self, glacier: Glacier, given: Inputs) -> None:
        name = f"pr-{self._event.pull}"
        self._called(glacier, "destroy", "--preview", name, "--yes", "--shared-state")
        self._tell(changed="true", **{"plan-summary": f"preview {name} removed"})
        self._protocol.summary(f"The preview {comment.code(name)} is removed.")

    def _compare(self, glacier: Glacier, given: Inputs) -> None:
        text = self._protocol.hidden(outside.compare(glacier, given, self._event, self._workspace))
        self._tell(changed="false", **{"plan-summary": "compared with the base branch, without credentials"})
        self._protocol.summary(text)
        self._report(text)

    def _agreed(self, given: Inputs) -> str | None:
        """Return the digest of the plan that the merged pull request of this commit shows, None if there is none.

        Raises:
            Failed: Its last plan failed, so nobody could agree to one.
        """
        if self._event.name != "push" or not given.token or not given.comment:
            return None
        api = self._api(given)
        try:
            pull = api.pull_of_commit(self._event.sha)
            found = api.comment_of(pull, comment.key(given.environment, given.directory)) if pull is not None else None
        except ApiError as error:
            if given.on_drift == "stop":
                raise Failed(
                    Reason.GITHUB_FAILED,
                    f"It cannot be seen what the merged pull request showed: {error}\n"
                    "Hint: with on-drift: apply, or comment: false, nothing is compared.",
                ) from None
            self._protocol.warning(f"Not compared with what the merged pull request showed: {error}")
            return None
        if pull is None:
            self._protocol.say("This commit is of no merged pull request, so there is nothing to compare with.")
            return None
        agreed = comment.digest_in(found.body) if found is not None else None
        if found is not None and agreed is None and given.on_drift == "stop":
            raise Failed(
                Reason.DRIFT,
                f"The last plan of pull request {pull} failed, so nothing was agreed to. Nothing was changed.\n"
                "Hint: start the workflow by hand, with `workflow_dispatch`, or use on-drift: apply.",
            )
        self._protocol.say(
            f"Pull request {pull} showed {f'the plan {agreed[:12]}' if agreed else 'no plan, so nothing is compared'}."
        )
        return agreed

    def _called(self, glacier: Glacier, *words: str) -> dict[str, Any]:
        tree: dict[str, Any] = self._protocol.hidden(glacier(*words))
        return tree

    def _outcome(self, tree: Mapping[str, Any]) -> None:
        actions = [each["action"] for each in (*tree["infrastructure"], *tree["prefect"])]
        words = ("create", "update", "replace", "delete")
        counts = [f"{actions.count(each)} to {each}" for each in words if each in actions]
        deployments = [
            {name: each[name] for name in ("name", "action", "id")}
            for each in tree["prefect"]
            if each["kind"] == "deployment"
        ]
        self._tell(
            changed=str(bool(tree["has_changes"])).lower(),
            deployments=json.dumps(deployments),
            **{
                "plan-summary": ", ".join(counts) or "nothing changes",
                "terraform-outputs": json.dumps(tree["outputs"]),
            },
        )

    def _comment(self, given: Inputs, text: str) -> None:
        if given.comment and given.token and self._event.pull is not None:
            self._protocol.say(f"Told in {self._api(given).upsert_comment(self._event.pull, text)}")

    def _api(self, given: Inputs) -> Api:
        url = self._environ.get("GITHUB_API_URL") or "https://api.github.com"
        return Api(given.token, self._environ.get("GITHUB_REPOSITORY", ""), url)

    def _report(self, text: str) -> None:
        """Leave the full text where the next step takes it as artifact."""
        if not (folder := self._environ.get("RUNNER_TEMP")):
            return
        assert self._inputs is not None
        place = f"{self._inputs.environment}-{self._inputs.directory}".strip(".-")
        name = "glacier-" + re.sub(r"[^A-Za-z0-9_.-]+", "-", place)
        file = Path(folder) / f"{name}.md"
        file.write_text(self._protocol.hidden(text), encoding="utf-8", errors="replace")
        self._protocol.output("report", str(file))
        self._protocol.output("report-name", name)

    def _tell(self, **outputs: str) -> None:
        for name, value in outputs.items():
            self._protocol.output(name, value)

    @contextlib.contextmanager
    def _timed(self, title: str) -> Iterator[None]:
        began = time.monotonic()
        with self._protocol.group(title):
            yield
        self._protocol.say(f"{title}: {time.monotonic() - began:.1f} s")


def _pruning(given: Inputs) -> list[str]:
    if given.prune is False:
        return ["--no-prune"]
    return [] if given.prune is True else [f"--prune-limit={given.prune}"]


def _previewed(tree: Mapping[str, Any], name: str) -> str:
    made = sorted(
        each["name"] for each in tree["prefect"] if each["kind"] == "deployment" and each["action"] != "delete"
    )
    return f"\nPreview {comment.code(name)}: {comment.listed(made)}\n"
