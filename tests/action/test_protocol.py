"""What the action tells GitHub's runner, and what it keeps to itself."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from action import processes
from action.failures import Failed, Reason
from action.protocol import Protocol


def test_no_text_of_others_is_a_command_and_no_secret_is_shown(tmp_path: Path) -> None:
    out = io.StringIO()
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    existing = tmp_path / "credentials.json"
    existing.touch()
    environ = {
        **files,
        "AWS_SECRET_ACCESS_KEY": "planted-in-environment",
        "GOOGLE_TOKEN": str(existing),
        "DB_PASSWORD": "short",
        "SHOP_NAME": "not-a-secret",
    }
    protocol = Protocol(environ, out)
    protocol.mask(["one-line", "first-line\nsecond-line\n", "ab", "one-line-more"])
    protocol.mask_environment()
    with protocol.group("a\n::warning::b"):
        protocol.say("::set-output name=x::y\n  ::add-mask::z\nfoo ##[set-env name=PATH]x\nhas one-line, second-line")
    protocol.error("a,b: c", "50 %\none-line-more")
    protocol.output("json", 'x\nEOF\ny=1\n"one-line" planted-in-environment')
    protocol.summary("first-line\n")
    said = out.getvalue().splitlines()
    masks = [line for line in said if line.startswith("::add-mask::")]
    assert masks == [
        f"::add-mask::{each}"
        for each in ("one-line", "first-line", "second-line", "one-line-more", "planted-in-environment")
    ]
    rest = [line for line in said if line not in masks]
    assert rest[0] == "::group::a%0A::warning::b"
    assert rest[1:5] == [
        "\u200b::set-output name=x::y",
        "  \u200b::add-mask::z",
        "foo ##\u200b[set-env name=PATH]x",
        "has ***, ***",
    ]
    assert rest[5] == "::endgroup::"
    assert rest[6] == "::error title=a%2Cb%3A c::50 %25%0A***"
    name, end = (tmp_path / "output").read_text().splitlines()[0].split("<<")
    assert (tmp_path / "output").read_text() == f'{name}<<{end}\nx\nEOF\ny=1\n"***" ***\n{end}\n'
    assert (tmp_path / "summary").read_text() == "***\n"
    assert protocol.hidden({"one-line": ["x one-line", 1, None]}) == {"***": ["x ***", 1, None]}


CHILD = """
import signal, sys, time
came = []
signal.signal(signal.SIGINT, lambda *_: came.append("interrupt"))
signal.signal(signal.SIGTERM, lambda *_: came.append("terminate"))
print("ready", file=sys.stderr, flush=True)
while not came: time.sleep(0.02)
time.sleep(0.5)
print(came)
"""


def test_a_cancelled_job_interrupts_what_runs_once_and_waits_for_it(tmp_path: Path) -> None:
    def cancel() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

    def heard(line: str) -> None:
        assert line == "ready"
        threading.Thread(target=cancel).start()

    words = [sys.executable, "-c", CHILD]
    before = signal.getsignal(signal.SIGINT)
    with processes.cancelling():
        code, said = processes.run(words, folder=tmp_path, environment=os.environ, on_line=heard, keep=True)
        assert (code, said) == (0, "['interrupt']\n")
        assert processes.is_cancelled()
        with pytest.raises(Failed) as refused:
            processes.run(words, folder=tmp_path, environment=os.environ, on_line=heard)
        assert refused.value.reason is Reason.CANCELLED
    assert signal.getsignal(signal.SIGINT) is before
    assert not processes.is_cancelled()


def test_both_streams_are_read_however_much_comes(tmp_path: Path) -> None:
    lines: list[str] = []
    text = "import sys; sys.stdout.write('o' * 300000); sys.stderr.write('e' * 300000 + chr(10)); sys.exit(3)"
    words = [sys.executable, "-c", text]
    code, said = processes.run(words, folder=tmp_path, environment=os.environ, on_line=lines.append, keep=True)
    assert (code, len(said), [len(line) for line in lines]) == (3, 300000, [300000])
    with pytest.raises(Failed, match="no program 'no-such-program'"):
        processes.run(["no-such-program"], folder=tmp_path, environment=os.environ, on_line=lines.append)
