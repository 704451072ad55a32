"""What `plan`, `deploy`, `rollback`, `status` and `destroy` say of a wrong file or environment, and do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from glacier_prefect.cli import main

FLOW = """
from glacier_prefect import pipeline, task

@task
def one():
    return 1

@pipeline
def flow():
    return one()
"""
COMMANDS = (("plan",), ("deploy", "--yes"), ("rollback", "--to", "1", "--yes"), ("status",), ("destroy", "--yes"))
NAMED = 'project = "acme"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GLACIER_ENV", "GLACIER_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.py").write_text(FLOW)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("[environments.dev", (), "glacier.toml is not valid TOML: "),
        (NAMED + "projekt = 'x'", (), "glacier.toml has the unknown key 'projekt'. Did you mean 'project'?"),
        (
            NAMED + "[environments.dev]\nterafform = 'tofu'",
            (),
            "glacier.toml: [environments.dev] has the unknown key 'terafform'. Did you mean 'terraform'?",
        ),
        (NAMED + "[environments.dev]\nterraform = 'tf'", (), "has terraform = 'tf'. Did you mean 'tofu'?"),
        (
            NAMED + "[environments.prod]\nprovider = 'local'",
            ("--env", "prd"),
            "glacier.toml has no environment 'prd'. Did you mean 'prod'?",
        ),
        (
            "",
            (),
            'has no name, which all that is deployed is named after.\nHint: write project = "my-project" into glacier',
        ),
    ],
    ids=["malformed", "unknown key", "unknown setting", "unknown program", "unknown environment", "no name"],
)
def test_a_wrong_file_or_environment_ends_with_2_and_changes_nothing(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    text: str,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setenv("GLACIER_ENV", "dev")  # so that what --env sets is put back
    (folder / "glacier.toml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([*command, *words])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert said.out == ""
    assert said.err.startswith("Error: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert {each.name for each in folder.iterdir()} - {"__pycache__"} == {"flow.py", "glacier.toml"}
