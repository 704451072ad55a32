"""Executors that Glacier does not bring: registered by name or by a distribution, checked like its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from glacier_prefect import LocalExecutor, Pipeline, task
from glacier_prefect.errors import ConfigurationError, NameTakenError, OptionError
from glacier_prefect.executors import EXECUTORS, Body, Executor, RemoteExecutor, RemoteState, Work, register_executor


@dataclass(frozen=True, kw_only=True)
class LoudExecutor(Executor):
    """Runs bodies here and makes texts of what they return."""

    name: ClassVar[str] = "loud"

    ending: str = "!"

    def check(self, function: Callable[..., Any], where: str) -> None:
        if function.__name__ == "quiet":
            raise OptionError(f"{where} is quiet, which the executor 'loud' would ignore.")

    def run(self, body: Body) -> Any:
        return body.finish(f"{body.value()}{self.ending}")


class Elsewhere(RemoteExecutor):
    """A service that is never reached."""

    name: ClassVar[str] = "elsewhere"

    def submit(self, work: Work) -> str:
        raise AssertionError

    def look(self, remote: str) -> RemoteState:
        raise AssertionError

    def fetch(self, remote: str, work: Work) -> Any:
        raise AssertionError

    def cancel(self, remote: str) -> None:
        raise AssertionError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(EXECUTORS, "table", dict(EXECUTORS.table))
    return tmp_path


def run_of(executor: Any) -> Any:
    @task(executor=executor)
    def word() -> str:
        return "word"

    return Pipeline("words", tasks=[word]).run()


def test_a_registered_executor_is_used_by_its_name_with_the_environments_settings(folder: Path) -> None:
    register_executor("loud", LoudExecutor)
    assert run_of("loud") == "word!"
    (folder / "glacier.toml").write_text('[environments.dev.executors.loud]\nending = "?"\n')
    assert run_of("loud") == "word?"
    assert run_of(LoudExecutor()) == "word?"
    assert run_of(LoudExecutor(ending=".")) == "word."
    (folder / "glacier.toml").write_text('[environments.dev.executors.loud]\nendign = "?"\n')
    with pytest.raises(ConfigurationError, match=r"unknown setting 'endign'. Did you mean 'ending'"):
        run_of("loud")


def test_a_name_that_is_taken_and_one_that_nobody_has_are_errors() -> None:
    register_executor("loud", LoudExecutor)
    register_executor("loud", LoudExecutor)  # of a module that is loaded again
    with pytest.raises(NameTakenError, match="The executor 'dbt' is registered already"):
        register_executor("dbt", LoudExecutor)
    with pytest.raises(OptionError, match=r"task 'word' has the unknown executor 'luod'. Did you mean 'loud'"):
        run_of("luod")


def test_a_body_that_it_would_ignore_is_an_error_at_the_decorator() -> None:
    register_executor("loud", LoudExecutor)
    for executor in ("loud", LoudExecutor()):
        with pytest.raises(OptionError, match="task 'quiet' is quiet, which the executor 'loud' would ignore"):

            @task(executor=executor)
            def quiet() -> None: ...


def test_a_generator_is_an_error_at_the_decorator_where_its_body_runs_elsewhere() -> None:
    for executor in (LocalExecutor(processes=1), Elsewhere()):
        with pytest.raises(OptionError, match=f"task 'rows' is a generator, whose body executor '{executor.name}'"):

            @task(executor=executor)
            def rows() -> Iterator[int]:
                yield 1

    @task
    def here() -> Iterator[int]:
        yield from (1, 2)

    assert Pipeline("here", tasks=[here]).run() == [1, 2]


MODULE = """
from dataclasses import dataclass
from glacier_prefect.errors import OptionError
from glacier_prefect.executors import Executor

@dataclass(frozen=True, kw_only=True)
class ShoutExecutor(Executor):
    name = "shout"
    times: int = 1

    def check(self, function, where):
        if function.__name__ == "quiet":
            raise OptionError(f"{where} is quiet")

    def run(self, body):
        return body.finish(body.value().upper() * self.times)
"""
PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "glacier-shout"
version = "1.0"

[project.entry-points."glacier_prefect.executors"]
shout = "glacier_shout:ShoutExecutor"

[tool.setuptools]
py-modules = ["glacier_shout"]
"""
USE = """
import json, sys
from glacier_prefect import pipeline, task
from glacier_prefect.executors import EXECUTORS

names = EXECUTORS.names()

@task(executor="shout")
def word():
    return "word"

declared = "glacier_shout" in sys.modules

@pipeline
def words():
    return word()

@task(executor="shout")
def quiet(): ...

try:
    @pipeline
    def refused():
        return quiet()
    said = ""
except Exception as error:
    said = str(error)

print(json.dumps(["shout" in names, declared, words.run(), said]))
"""


def test_a_distribution_that_is_installed_brings_an_executor_by_its_entry_point(folder: Path) -> None:
    """It is loaded when a pipeline is made, not by the name alone, since it may be costly to import."""
    source, site = folder / "source", folder / "site"
    source.mkdir()
    (source / "glacier_shout.py").write_text(MODULE)
    (source / "pyproject.toml").write_text(PYPROJECT)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, *install, str(site), str(source)], check=True, capture_output=True)
    (folder / "use.py").write_text(USE)
    (folder / "glacier.toml").write_text("[environments.dev.executors.shout]\ntimes = 2\n")
    env = {**os.environ, "PYTHONPATH": str(site), "PREFECT_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([sys.executable, "use.py"], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True, False, "WORDWORD", "task 'quiet' is quiet"]
