"""Hostile inputs through the true action.yml: each reaches Python byte for byte, or is refused, and nothing is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.action.act import Act

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # a minute where nothing else runs

CANARY = "${CANARY_FOLDER}/canary"
HOSTILE = {
    "quotes": "' \" '' \"\" \\' \\\" ` ;",
    "substitution": f'$(touch "{CANARY}") `touch "{CANARY}"` ${{PATH}}',
    "end of a quote": f"'; touch \"{CANARY}\"; echo '",
    "lines": f'a\nb\r\n\ntouch "{CANARY}"\n',
    "commands": "::set-output name=changed::hostile\n::add-path::/hostile\n##[set-env name=CANARY]hostile",
    "expressions": "${{ secrets.PLANTED }} ${{ github.token }} }} {{",
    "files of the runner": "x\nGLACIER\nEOF\nchanged=hostile\nCANARY<<E\nhostile\nE\n",
    "path": "../../../../shop/secret --allow-data-loss -c x",
    "other letters": "ünïcödé \u202e \u2028 \ufeff 💥 \x7f \x1b[31m",
    "long": "x" * 1_000_000,
}
# stands for Python: keeps what it got, byte for byte, then is Python
PYTHON3 = """#!/bin/sh
"PYTHON" -I -c 'if True:
    import json, os, sys
    given = {k: v for k, v in os.environb.items() if k.startswith(b"INPUT_")}
    with open(os.environ["SEEN"], "a") as file:
        file.write(json.dumps({k.decode(): v.hex() for k, v in given.items()}) + chr(10))
'
exec "PYTHON" "$@"
"""
INPUTS = ("environment", "paths", "prefect-api-url", "prefect-api-key", "prefect-headers", "working-directory")
STEP = """
      - uses: glacier/deploy@v1
        id: NAME
        continue-on-error: true
        with:
          environment: ${{ github.event.hostile.NAME }}
          paths: ${{ github.event.hostile.NAME }}
          prefect-api-url: ${{ github.event.hostile.NAME }}
          prefect-api-key: ${{ github.event.hostile.NAME }}
          prefect-headers: ${{ github.event.hostile.NAME }}
          working-directory: ${{ github.event.hostile.NAME }}
"""
WORKFLOW = """
on: push
jobs:
  hostile:
    runs-on: ubuntu-latest
    env: { CANARY: untouched }
    steps:
      - uses: actions/checkout@v4
STEPS
      - run: printf %s "$OUTPUTS" > "$OUTPUTS_FILE"
        env:
          OUTPUTS: ${{ toJSON(steps) }}
      - run: echo "CANARY is $CANARY"
"""


def test_hostile_inputs_arrive_as_they_are_or_are_refused_and_touch_nothing(tmp_path: Path) -> None:
    tools, repository, seen = tmp_path / "tools", tmp_path / "repository", tmp_path / "seen"
    for folder in (tools, repository / ".github/workflows", tmp_path / "canaries"):
        folder.mkdir(parents=True)
    (tools / "python3").write_text(PYTHON3.replace("PYTHON", sys.executable))
    (tools / "python3").chmod(0o755)
    names = {f"h{number}": text for number, text in enumerate(HOSTILE.values())}
    steps = "".join(STEP.replace("NAME", name) for name in names)
    (repository / ".github/workflows/deploy.yml").write_text(WORKFLOW.replace("STEPS", steps))
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "1"]):
        subprocess.run([*git, *words], cwd=repository, check=True)

    act = Act(tmp_path / "act", tools)
    env = {"SEEN": str(seen), "CANARY_FOLDER": str(tmp_path / "canaries")}
    ran = act.run(repository, "push", {"hostile": names}, secrets={"PLANTED": "planted-secret"}, **env)

    got = [json.loads(line) for line in seen.read_text().splitlines()]
    arrived = {bytes.fromhex(each["INPUT_PATHS"]).decode() for each in got}
    for name, text in HOSTILE.items():
        if name == "long":  # more than Linux hands to a process: the step does not start
            assert text not in arrived
            continue
        assert text in arrived, name
        for each in got:
            if bytes.fromhex(each["INPUT_PATHS"]).decode() == text:
                assert {each[f"INPUT_{name.upper().replace('-', '_')}"] for name in INPUTS} == {text.encode().hex()}
    reasons = {name: ran.outputs[name]["outputs"].get("failure-reason", "") for name in names}
    assert sorted(reasons.values()) == ["", *["bad-input"] * (len(HOSTILE) - 1)]
    assert "CANARY is untouched" in ran.log
    assert list((tmp_path / "canaries").iterdir()) == []
    assert "planted-secret" not in ran.log
    assert "hostile" not in json.dumps(ran.outputs)
