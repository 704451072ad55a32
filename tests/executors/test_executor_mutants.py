"""For each test of the contract of executors an executor that does one thing wrong, which that test finds."""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import polars as pl
import pytest

from glacier_prefect import task
from glacier_prefect.errors import GlacierError
from glacier_prefect.executors import Body, Executor
from glacier_prefect.testing import Bodies, ExecutorContract, FrameContract, ValueContract, served
from glacier_prefect.testing import executor as contract
from tests.executors.contract_bodies import EXAMPLE, UnderTheServer, bodies_in, source_of

FOUND = (AssertionError, pytest.fail.Exception)
"""How a test of the contract fails; an error of another kind would be one of the mutant itself."""
MUTANTS: dict[str, list[type[Executor]]] = {}
_eventually = contract.eventually


def impatient(look: Callable[[], Any], what: str, timeout: float = 90) -> Any:
    """Wait for what never comes no longer than it takes to see that: the end of a body, a word of what it does."""
    return _eventually(look, what, {"the end of the body": 1, "what the body does": 6}.get(what, timeout))


class Contracts(ExecutorContract, FrameContract, ValueContract):
    refused: ClassVar[dict[str, str]] = {"duration": "Duration"}


def found_by(test: str) -> Callable[[type[Executor]], type[Executor]]:
    def noted(wrong: type[Executor]) -> type[Executor]:
        MUTANTS.setdefault(test, []).append(wrong)
        return wrong

    return noted


# -- without a server --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Right(Executor):
    """Runs a body in a thread, as one that crosses."""

    name: ClassVar[str] = "mutant"

    def run(self, body: Body) -> Any:
        for value in body.inputs.values():
            if isinstance(value, pl.LazyFrame) and "duration" in value.collect_schema():
                raise GlacierError("column 'duration' is a Duration")
        if body.timeout is not None:
            self.stop()
            raise TimeoutError("slow_one took too long")
        return body.finish(self.value(body.function, body.inputs))

    def stop(self) -> None:
        """Stop a body."""

    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        """Return what the body makes."""
        return function(**inputs)


@found_by("test_a_value_goes_in_and_comes_back")
class Texts(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        return str(super().value(function, inputs))


@found_by("test_a_frame_goes_in_and_comes_back")
class Cuts(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        return super().value(function, inputs).head(9_999)


@found_by("test_a_frame_goes_in_and_comes_back")
class Collects(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        return super().value(function, inputs).collect()


@found_by("test_an_empty_frame_keeps_its_columns_and_types")
class NothingForNothing(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        frame = super().value(function, inputs)
        return pl.LazyFrame() if frame.collect().is_empty() else frame


@found_by("test_every_type_comes_back_as_it_was_or_as_it_is_written_down")
class CategoriesAreTexts(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        return super().value(function, inputs).with_columns(pl.selectors.categorical().cast(pl.String))


@found_by("test_every_type_comes_back_as_it_was_or_as_it_is_written_down")
class ZerosForNulls(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        return super().value(function, inputs).with_columns(pl.selectors.integer().fill_null(0))


@found_by("test_a_type_that_it_cannot_take_is_an_error_that_names_the_column")
class TakesAll(Right):
    def run(self, body: Body) -> Any:
        return self.value(body.function, body.inputs)


@found_by("test_a_type_that_it_cannot_take_is_an_error_that_names_the_column")
class NamesNoColumn(Right):
    def run(self, body: Body) -> Any:
        raise GlacierError("it has a Duration")


@found_by("test_an_error_has_its_message_the_traceback_there_the_executor_and_the_task")
class WithoutTraceback(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        try:
            return super().value(function, inputs)
        except ValueError as error:
            raise RuntimeError(str(error)) from None


@found_by("test_an_error_has_its_message_the_traceback_there_the_executor_and_the_task")
class Swallows(Right):
    def value(self, function: Callable[..., Any], inputs: Mapping[str, Any]) -> Any:
        with contextlib.suppress(ValueError):
            return super().value(function, inputs)


@found_by("test_a_body_that_takes_too_long_is_stopped_where_it_runs")
class TakesItsTime(Right):
    def run(self, body: Body) -> Any:
        return None


@found_by("test_a_body_that_takes_too_long_is_stopped_where_it_runs")
class LeavesIt(Right):
    going: ClassVar[threading.Event] = threading.Event()

    def stop(self) -> None:
        self.going.set()


def keep(test: str, executor: Executor) -> None:
    """Run a test of the contract; raises what it raises."""

    @task(executor=executor)
    def frames(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame.with_columns(doubled=2 * pl.col("number"))

    @task(executor=executor)
    def same(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame

    @task(executor=executor)
    def values(number: int) -> int:
        return number + 1

    @task(executor=executor)
    def failing() -> None:
        error = ValueError("broken on purpose")
        error.add_note("in deep_inside")
        raise error

    @task(executor=executor)
    def slow(where: str) -> None: ...

    def going(node: str) -> int:
        return int(isinstance(executor, LeavesIt) and executor.going.is_set())

    given = {
        "module": SimpleNamespace(frames=frames, same=same, values=values, failing=failing, slow=slow),
        "bodies": Bodies(source="", going=going, begun=going),
    }
    function = getattr(Contracts(), test)
    function(**{name: given[name] for name in inspect.signature(function).parameters})


@pytest.mark.parametrize("test", MUTANTS)
def test_an_executor_that_breaks_a_promise_is_found_by_its_test(
    test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(contract, "eventually", impatient)
    keep(test, Right())
    for wrong in MUTANTS[test]:
        with pytest.raises(FOUND):
            keep(test, wrong())


# -- under a server ----------------------------------------------------------------------------------------------------

CARELESS = f"""
import sys; sys.path.insert(0, {str(EXAMPLE)!r})
from dataclasses import replace
from detached import DetachedExecutor

class Careless(DetachedExecutor):
    mine = {{}}  # in memory: it submits a node once, and knows nothing of what another process submitted

    def submit(self, work):
        if work.context.node not in self.mine:
            self.mine[work.context.node] = super().submit(replace(work, token=f"{{work.token}}-{{os.getpid()}}"))
        return self.mine[work.context.node]

    def look(self, remote):
        if remote not in self.mine.values():
            raise LookupError(remote)
        return replace(super().look(remote), log=())

    def cancel(self, remote):
        pass
"""


def fails(test: str) -> Any:
    """Return a test of the contract that has to fail."""
    function = getattr(ExecutorContract, test)

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        with pytest.raises(FOUND):
            function(*args, **kwargs)

    return wrapped


ENDED = [name for name in dir(Contracts) if name.startswith("test_") and name not in MUTANTS]


@pytest.mark.slow
class TestCareless(UnderTheServer, ExecutorContract):
    """An executor that breaks all promises about kills, retries and stopping."""

    @pytest.fixture(scope="class")
    @classmethod
    def bodies(cls, marks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bodies]:
        jobs = tmp_path_factory.mktemp("jobs")
        made = bodies_in(marks, source_of(f"Careless(folder={str(jobs)!r}, poll_seconds=1)", imports=CARELESS))
        with pytest.MonkeyPatch.context() as patch:
            for module in (contract, served):
                patch.setattr(module, "eventually", impatient)
            yield made
        for mark in marks.iterdir():  # which nothing else stops
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(mark.name.rpartition("-")[2]), signal.SIGKILL)
        time.sleep(0.2)


for name in dir(ExecutorContract):
    if name.startswith("test_"):
        setattr(TestCareless, name, fails(name) if name in ENDED else None)


def test_each_promise_has_an_executor_that_breaks_it() -> None:
    assert len(ENDED) == 8
    assert not [name for name in ENDED if "ended" not in inspect.signature(getattr(Contracts, name)).parameters]
