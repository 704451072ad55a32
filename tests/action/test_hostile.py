"""Hostile inputs through the true action.yml, one in each step: each arrives byte for byte where it belongs, or is
refused by its name, and nothing of it is run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from action.inputs import LONGEST
from glacier_prefect import __version__
from tests.action.act import REPOSITORY, Act

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a minute where nothing else runs

CANARY = "${CANARY_FOLDER}/canary"
HOSTILE = {
    "quotes": "' \" '' \"\" \\' \\\" ` ;",
    "substitution": f'$(touch "{CANARY}") `touch "{CANARY}"` ${{PATH}}',
    "end-of-a-quote": f"'; touch \"{CANARY}\"; echo '",
    "lines": f'a\nb\r\n\ntouch "{CANARY}"\n',
    "commands": "::set-output name=changed::hostile\n::add-path::/hostile\n##[set-env name=CANARY]hostile",
    "expressions": "${{ secrets.PLANTED }} ${{ github.token }} }} {{",
    "files-of-the-runner": "x\nGLACIER\nEOF\nchanged=hostile\nCANARY<<E\nhostile\nE\n",
    "path": "../../../../shop/secret --allow-data-loss -c x",
    "other-letters": "ünïcödé \u202e \u2028 \ufeff 💥 \x7f \x1b[31m",
    "too-long": "x" * (LONGEST + 1),
}
TOO_LONG_FOR_LINUX = 1_000_000  # letters; it hands no variable of more than 131,071 bytes to a process
ACTION = yaml.safe_load((REPOSITORY / "action.yml").read_text())
INPUTS = tuple(ACTION["inputs"])
SET_UP = ("python-version", "terraform-version")  # Python does not get these
VALID = {"environment": "prod", "command": "plan", "install": "true", "python-version": "", "comment": "false"}
VALID |= {"terraform-version": "installed"}
CONTROL = {"lines", "commands", "files-of-the-runner", "other-letters"}
TAKEN = {  # of the others none
    "install": {*HOSTILE} - {"too-long"},
    "github-token": {*HOSTILE} - {"too-long"},
    "paths": {*HOSTILE} - {"too-long", "path"},
    "prefect-api-key": {*HOSTILE} - {"too-long", *CONTROL},
    "prefect-api-auth-string": {*HOSTILE} - {"too-long", *CONTROL},
}
VARIABLES = {"prefect-api-key": "PREFECT_API_KEY", "prefect-api-auth-string": "PREFECT_API_AUTH_STRING"}
# Stands for the job's Python: keeps what it got, then is Python. It stands for the one of the project's packages, too,
# which says the version of Glacier, and the same where Glacier is to run.
PYTHON3 = """#!/bin/sh
if [ "$1" = -P ]; then
    printf '%s\\0' "$@" > "$SEEN/$STEP.glacier"
    env -0 > "$SEEN/$STEP.glacier-env"
    echo VERSION
    exit
fi
env -0 > "$SEEN/$STEP.action-env"
"PYTHON" "$@" > "$SEEN/$STEP.said" 2>&1
code=$?
cat "$SEEN/$STEP.said"
exit $code
"""
# The job's shell, but `install`, which is a command, it only keeps: so who touches the canary is somebody else.
BASH = """#!/bin/sh
if [ "$4" = -c ]; then
    printf '%s\\0' "$@" > "$SEEN/$STEP.shell"
    env -0 > "$SEEN/$STEP.shell-env"
    exit
fi
exec "BASH" "$@"
"""
SETS_UP = """
name: Stand-in
description: Keeps the version that it is to set up.
inputs:
  python-version: { default: "" }
  terraform_version: { default: "" }
  tofu_version: { default: "" }
runs:
  using: composite
  steps:
    - shell: bash
      run: printf %s "$VERSION" > "$SEEN/$STEP.set-up"
      env: { VERSION: "${{ inputs.python-version }}${{ inputs.terraform_version }}${{ inputs.tofu_version }}" }
"""
NOTHING = "{ name: Stand-in, description: Does nothing., runs: { using: composite, steps: [] } }"


def step(name: str, given: dict[str, str]) -> dict[str, Any]:
    found = {"uses": "glacier/deploy@v1", "id": name, "continue-on-error": True, "env": {"STEP": name}}
    return {**found, "with": {**VALID, **given}}


def repeated(count: int) -> str:
    """An expression for a power of ten of x, since act takes a second a step where the event is as long."""
    text = "'x'"
    while count > 1:
        text, count = f"format('{'{0}' * 10}', {text})", count // 10
    return text


def workflow() -> dict[str, Any]:
    """One job with a step for each input and text, and one in which all is valid."""
    steps: list[dict[str, Any]] = [{"uses": "actions/checkout@v4"}]
    steps += [{"run": 'echo "$STAND_IN_TOOLS" >> "$GITHUB_PATH"'}, step("valid", {})]
    texts = {name: f"github.event.hostile.{name}" for name in HOSTILE}
    texts |= {"too-long": f"format('{{0}}x', {repeated(LONGEST)})", "cannot-start": repeated(TOO_LONG_FOR_LINUX)}
    for name in INPUTS:
        steps += [step(f"{name}_{text}", {name: f"${{{{ {given} }}}}"}) for text, given in texts.items()]
    for text in HOSTILE:
        tofu = {"terraform-binary": "tofu", "terraform-version": f"${{{{ {texts[text]} }}}}"}
        steps.append(step(f"tofu_{text}", tofu))
    steps.append({"run": 'printf %s "$OUTPUTS" > "$OUTPUTS_FILE"', "env": {"OUTPUTS": "${{ toJSON(steps) }}"}})
    steps.append({"run": 'echo "CANARY is $CANARY"'})
    job = {"runs-on": "ubuntu-latest", "env": {"CANARY": "untouched"}, "steps": steps}
    return {"on": "push", "jobs": {"hostile": job}}


class Seen:
    """What the stand-ins kept, by step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, step: str, kind: str) -> bool:
        return (self.folder / f"{step}.{kind}").exists()

    def text(self, step: str, kind: str) -> str:
        return (self.folder / f"{step}.{kind}").read_bytes().decode()

    def words(self, step: str, kind: str) -> list[str]:
        return self.text(step, kind).split("\0")[:-1]

    def env(self, step: str, kind: str) -> dict[str, str]:
        return dict(each.split("=", 1) for each in self.words(step, f"{kind}-env"))

    def inputs(self, step: str) -> dict[str, str]:
        return {name: value for name, value in self.env(step, "action").items() if name.startswith("INPUT_")}


def test_hostile_inputs_arrive_as_they_are_or_are_refused_and_touch_nothing(tmp_path: Path) -> None:
    tools, repository, kept = tmp_path / "tools", tmp_path / "repository", tmp_path / "seen"
    for folder in (tools, repository / ".github/workflows", tmp_path / "canaries", kept):
        folder.mkdir(parents=True)
    bash = shutil.which("bash")
    assert bash is not None
    for tool, text in {"python3": PYTHON3, "bash": BASH}.items():
        real = {"PYTHON": sys.executable, "VERSION": __version__, "BASH": bash}
        for word, value in real.items():
            text = text.replace(word, value)
        (tools / tool).write_text(text)
        (tools / tool).chmod(0o755)
    (repository / ".github/workflows/deploy.yml").write_text(yaml.safe_dump(workflow(), sort_keys=False))
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], cwd=repository, check=True)

    act, seen = Act(tmp_path / "act", tools), Seen(kept)
    used = [each["uses"] for each in ACTION["runs"]["steps"] if "uses" in each]
    for number, each in enumerate(used):
        keeps = re.search(r"/setup-(python|terraform|opentofu)@", each)
        (act.folder / f"stand-in-{number}/action.yml").write_text(SETS_UP if keeps else NOTHING)
    env = {"SEEN": str(kept), "CANARY_FOLDER": str(tmp_path / "canaries")}
    ran = act.run(repository, "push", {"hostile": HOSTILE}, secrets={"PLANTED": "planted-secret"}, **env)

    valid, command = seen.inputs("valid"), seen.words("valid", "glacier")
    assert command[-3:] == ["plan", "--shared-state", "--json"]
    reasons = {name: each["outputs"].get("failure-reason", "") for name, each in ran.outputs.items()}
    for name in INPUTS:
        variable = f"INPUT_{name.upper().replace('-', '_')}"
        for which, text in HOSTILE.items():
            case = f"{name}_{which}"
            if name in SET_UP:
                assert seen.text(case, "set-up") == text, case
                assert (seen.inputs(case), seen.words(case, "glacier")) == (valid, command), case
                continue
            assert seen.inputs(case) == {**valid, variable: text}, case
            if which not in TAKEN.get(name, ()):
                assert f"The input {name} " in seen.text(case, "said"), case
                assert (reasons[case], seen.has(case, "glacier"), seen.has(case, "shell")) == (
                    "bad-input",
                    False,
                    False,
                )
                continue
            assert seen.words(case, "glacier") == command, case
            shell = ["-e", "-o", "pipefail", "-c", text if name == "install" else VALID["install"]]
            assert seen.words(case, "shell") == shell, case
            env = seen.env(case, "glacier")
            assert not [each for each in {**env, **seen.env(case, "shell")} if each.startswith("INPUT_")], case
            if name in VARIABLES:
                assert env[VARIABLES[name]] == text, case
            if name == "paths":
                globs = [line.strip() for line in text.splitlines() if line.strip()]
                assert env["GLACIER_PIPELINES"] == "\n".join(globs), case
        case = f"{name}_cannot-start"
        assert ran.outputs[case]["outcome"] == "failure", case
        assert not seen.has(case, "action-env"), case
    for which, text in HOSTILE.items():
        assert seen.text(f"tofu_{which}", "set-up") == text, which
    assert ran.log.lower().count("argument list too long") >= len(INPUTS)  # as README.md says
    assert "CANARY is untouched" in ran.log
    assert os.listdir(tmp_path / "canaries") == []
    assert "planted-secret" not in ran.log
    assert "hostile" not in json.dumps(ran.outputs)
