"""Secrets: where they come from, and that their values are in nothing that a run leaves."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glacier_prefect import Secret, pipeline, run_context, task
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import ConfigurationError, PlaceholderError
from glacier_prefect.providers import LocalProvider
from glacier_prefect.run_context import RunContext

PLANTED = "planted-Zx9/+ value"  # with what is written otherwise in a URL and in JSON


@pytest.fixture(autouse=True)
def nothing_revealed() -> Iterator[None]:
    yield
    redaction._values.clear()
    redaction._pattern = None


@pytest.fixture
def in_a_run(tmp_path: Path) -> Iterator[None]:
    with run_context.entered(RunContext(run_id="run", node="node", exchange=str(tmp_path / "a/b/exchange"))):
        yield


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "glacier.toml").write_text(
        '[environments.dev]\nbase_path = "data"\n[environments.dev.secrets]\nDB_PASSWORD = "STORE_OF_DB"\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- where a value comes from ------------------------------------------------------------------------------------------


def test_a_variable_of_the_secrets_name_is_its_value_in_a_run_and_outside(
    monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.setenv("DB_PASSWORD", PLANTED)
    assert Secret("DB_PASSWORD").get() == PLANTED


def find_here(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    """Let the project be found as it is for a user's file in it, which this file is not."""
    from glacier_prefect import environments

    found = environments.find_project(project)
    monkeypatch.setattr(environments, "find_project", lambda: found)


def test_in_a_run_the_file_says_its_name_in_the_environments_store(
    monkeypatch: pytest.MonkeyPatch, project: Path, in_a_run: None
) -> None:
    find_here(monkeypatch, project)
    monkeypatch.setenv("STORE_OF_DB", PLANTED)  # with LocalProvider the store is the variables
    assert Secret("DB_PASSWORD").get() == PLANTED


def test_a_secret_that_is_nowhere_is_an_error_with_the_place_to_write_it(
    monkeypatch: pytest.MonkeyPatch, project: Path, in_a_run: None
) -> None:
    find_here(monkeypatch, project)
    with pytest.raises(ConfigurationError, match=r"no secret 'DB_PASWORD'. Did you mean 'DB_PASSWORD'\?\nHint: write"):
        Secret("DB_PASWORD").get()
    with pytest.raises(ConfigurationError, match="STORE_OF_DB is not set"):
        Secret("DB_PASSWORD").get()


def test_outside_a_run_no_store_is_asked(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="outside a run only the environment variable DB_PASSWORD"):
        Secret("DB_PASSWORD").get()


def test_a_pipeline_function_may_pass_a_secret_on_but_not_read_it() -> None:
    @task
    def load(password: Secret) -> int:
        return 1

    @pipeline
    def passes_on() -> Any:
        return load(Secret("DB_PASSWORD"))

    assert list(passes_on.graph.nodes) == ["load"]
    with pytest.raises(PlaceholderError, match=r"get\(\) of Secret\(name='DB_PASSWORD'\) is called in a pipeline"):

        @pipeline
        def reads() -> Any:
            return load(Secret("DB_PASSWORD").get())


@pytest.mark.parametrize("name", ["", None, 5])
def test_a_secret_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="takes its name"):
        Secret(name)


def test_what_is_printed_pickled_and_hashed_is_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", PLANTED)
    secret = Secret("DB_PASSWORD")
    secret.get()
    assert PLANTED not in repr(secret) + str(secret) + repr(pickle.dumps(secret)) + repr(vars(secret))
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_the_local_provider_says_which_variable_is_missing() -> None:
    with pytest.raises(ConfigurationError, match="NOTHING_HERE is not set"):
        LocalProvider().secret("NOTHING_HERE")


# -- masking -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [PLANTED, repr(PLANTED), "planted-Zx9%2F%2B%20value", "planted-Zx9%2F%2B+value", f"postgres://u:{PLANTED}@host"],
)
def test_a_value_is_masked_however_it_is_written(written: str) -> None:
    redaction.reveal(PLANTED)
    assert "Zx9" not in redaction.hidden(written)


def test_lines_of_a_key_and_texts_of_json_are_masked_by_themselves() -> None:
    redaction.reveal("-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----")
    redaction.reveal('{"user": "etl", "password": "in-the-json"}')
    assert redaction.hidden("MIIEvQIBADAN and in-the-json") == f"{redaction.MASK} and {redaction.MASK}"
    assert redaction.hidden("-----BEGIN\\nMIIEvQIBADAN") == f"-----BEGIN\\n{redaction.MASK}"


def test_log_records_of_any_logger_are_masked_with_their_errors(caplog: pytest.LogCaptureFixture) -> None:
    redaction.reveal(PLANTED)
    log = logging.getLogger("some.library")
    log.warning("with %s and %r", PLANTED, {"password": PLANTED})
    try:
        raise ValueError(PLANTED)
    except ValueError:
        log.exception("failed")
    assert "Zx9" not in caplog.text
    assert "ValueError: ********" in caplog.text
    assert len(caplog.records) == 2


def test_errors_are_masked_with_all_that_they_come_from() -> None:
    redaction.reveal(PLANTED)
    try:
        try:
            raise KeyError(PLANTED)
        except KeyError as origin:
            error = subprocess.CalledProcessError(1, ["psql", PLANTED], output=PLANTED.encode())
            error.add_note(f"with {PLANTED}")
            raise ExceptionGroup("both", [error, ValueError({"password": [PLANTED]})]) from origin
    except ExceptionGroup as raised:
        masked = redaction.hidden_error(raised)
    assert masked.__cause__ is not None
    parts = [masked, masked.__cause__, *masked.exceptions]  # type: ignore[attr-defined]
    assert "Zx9" not in "".join(f"{each} {each!r} {vars(each)}" for each in parts) + repr(pickle.dumps(masked))


def test_an_error_that_cannot_be_changed_is_replaced() -> None:
    class Stubborn(Exception):
        def __str__(self) -> str:
            return f"always {PLANTED}"

    redaction.reveal(PLANTED)
    try:
        raise Stubborn
    except Stubborn as raised:
        masked = redaction.hidden_error(raised)
    assert str(masked) == "Stubborn: always ******** Stubborn()"


def test_errors_without_a_secret_stay_what_they_are() -> None:
    error = ValueError("x", 1)
    redaction.reveal(PLANTED)
    assert redaction.hidden_error(error) is error
    assert error.args == ("x", 1)


@pytest.mark.parametrize("value", [[1, "a"], {"a": (1, "b")}, {1, 2}, b"\xff\x00", None, 1.5, "text"])
def test_values_without_a_secret_are_left_as_they_are(value: Any) -> None:
    redaction.reveal(PLANTED)
    assert redaction.hidden_in(value) is value


@pytest.mark.parametrize("value", [PLANTED, [PLANTED], {"a": (1, {PLANTED})}, {PLANTED: 1}, PLANTED.encode()])
def test_a_secret_is_seen_in_any_plain_value(value: Any) -> None:
    redaction.reveal(PLANTED)
    assert redaction.holds_secret(value)
    assert "Zx9" not in repr(redaction.hidden_in(value))


def test_texts_of_a_few_letters_are_not_masked() -> None:
    redaction.reveal("abc")
    assert redaction.hidden("abc") == "abc"


def test_the_memory_of_values_is_bounded() -> None:
    for number in range(redaction.LONGEST_MEMORY + 5):
        redaction.reveal(f"token-{number:06}")
    assert len(redaction._values) == redaction.LONGEST_MEMORY
    assert redaction.hidden("token-000000") == "token-000000"


# -- a whole run -------------------------------------------------------------------------------------------------------

FLOW = """
import logging
import polars as pl
from glacier_prefect import LocalExecutor, Secret, pipeline, task
from glacier_prefect.providers import Provider
from prefect import get_run_logger

password, listed = Secret("DB_PASSWORD"), Secret("API_KEY")
provider = Provider.from_env()
out = provider.bucket_sink(bucket="curated", path="out.parquet")

@task(log_prints=True, persist_result=True)
def load(secret, name):
    value = secret.get()
    assert value == "planted-" + "Zx9/+ value", value
    get_run_logger().warning("logged %s", value)
    logging.getLogger("prefect.some").error("elsewhere %r", {"password": value})
    print("printed", value)
    return pl.LazyFrame({"length": [len(value)]})

@task(executor=LocalExecutor(processes=1))
def elsewhere(frame, secret):
    print("printed in a process", secret.get())
    logging.getLogger("x").warning("logged in a process %s", secret.get())
    return frame

@task
def fails(secret, how):
    value = secret.get()
    if how == "raise":
        raise ValueError("cannot log in with " + value)
    if how == "chain":
        try:
            raise KeyError(value)
        except KeyError as error:
            raise RuntimeError("wrapped") from error
    if how == "return":
        return {"the": [value]}
    return how

@task(executor=LocalExecutor(processes=1))
def fails_elsewhere(secret, how):
    if how == "process":
        raise ValueError("cannot log in with " + secret.get())
    return how

@pipeline(name="secretive")
def secretive(how: str = "work"):
    kept = fails_elsewhere(listed, fails(password, how))
    return out.write(elsewhere(load(password, kept), listed))
"""


@pytest.mark.parametrize("how", ["work", "raise", "chain", "return", "process"])
def test_nothing_that_a_run_leaves_has_a_secret_in_it(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flow.py").write_text(FLOW)
    (folder / "glacier.toml").write_text(
        'project = "acme"\n[environments.dev]\nbase_path = "data"\n[environments.dev.secrets]\n'
        'DB_PASSWORD = "STORE_OF_DB"\nAPI_KEY = "STORE_OF_KEY"\n'
    )
    script = textwrap.dedent(f"""
        import flow, pickle
        try:
            flow.secretive.run(how={how!r})
        except Exception as error:
            print("FAILED", type(error).__name__, error, error.__cause__)
            open("error.pickle", "wb").write(pickle.dumps(error))
        else:
            print("WORKED", repr(flow.secretive), repr(flow.password))
    """)
    env = {
        **os.environ,
        "STORE_OF_DB": PLANTED,
        "STORE_OF_KEY": "planted-Zx9-of-the-key",
        "AWS_SECRET_ACCESS_KEY": "planted-Zx9-of-aws-0123456789",
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PYTHONPATH": str(folder),
    }
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, env=env, capture_output=True, text=True)
    assert ("WORKED" if how == "work" else "FAILED") in done.stdout, done.stdout + done.stderr
    if how == "work":
        assert "logged ********" in done.stderr
        assert "printed ********" in done.stderr
        assert "printed in a process ********" in done.stderr
    if how == "return":
        assert "has the value of a secret in it" in done.stdout
    assert "Zx9" not in done.stdout + done.stderr
    left = [file for file in (*folder.rglob("*"), *(tmp_path / "prefect").rglob("*")) if file.is_file()]
    assert folder / "data/curated/out.parquet" in left if how == "work" else folder / "error.pickle" in left
    left.remove(folder / "flow.py")  # which knows what it has to get
    assert not [file for file in left if b"Zx9" in file.read_bytes()]
