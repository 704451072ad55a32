"""What leaves this process in a parcel, and what does not."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
from pydantic import SecretStr

from glacier_prefect import run_context
from glacier_prefect.credentials import redaction
from glacier_prefect.errors import TravelError
from glacier_prefect.executors import FolderPlace, parcel, parcel_entry
from glacier_prefect.executors.base import call
from glacier_prefect.executors.by_value import by_value


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that no other process can import."""
    made = ModuleType("only_here")
    exec("def body(): return 1", vars(made))
    made.__file__ = __file__
    monkeypatch.setitem(sys.modules, "only_here", made)
    yield made
    if "only_here" in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.unregister_pickle_by_value(made)


def travels(module: ModuleType) -> bool:
    """Whether a function of a module is pickled by value."""
    return b"_make_function" in cloudpickle.dumps(module.body)


def test_a_module_is_pickled_by_value_until_the_last_thread_that_needs_it_so_is_done(module: ModuleType) -> None:
    with ExitStack() as later:
        with by_value([module]):
            later.enter_context(by_value([module]))
        assert travels(module)
    assert not travels(module)


def test_a_module_that_its_user_has_registered_stays_so(module: ModuleType) -> None:
    cloudpickle.register_pickle_by_value(module)
    assert pickle.loads(parcel.pickled({"function": module.body}, module.body, {}))["function"]() == 1
    assert travels(module)


# -- secrets -----------------------------------------------------------------------------------------------------------

SECRET = "planted-in-a-parcel"
TOKEN = {"of a module": [SECRET]}


def body(value: Any = None) -> Any:
    return value


def body_with_a_secret() -> Any:
    return TOKEN


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FolderPlace]:
    monkeypatch.setattr(redaction, "_values", {})  # what is revealed here is masked in no other test
    monkeypatch.setattr(redaction, "_pattern", None)
    redaction.reveal(SECRET)
    with run_context.entered(run_context.RunContext(run_id="r", node="load", exchange=str(tmp_path / "exchange"))):
        yield FolderPlace(tmp_path / "parcel")


@pytest.mark.parametrize("value", [SECRET, {"a": [(SECRET,)]}, SecretStr("seen-by-nobody"), [1, SecretStr("neither")]])
def test_an_argument_with_the_value_of_a_secret_stays_here(place: FolderPlace, value: Any) -> None:
    with pytest.raises(
        TravelError, match=r"The argument 'value' of task 'load' has the value of a secret.*\nHint: pass"
    ):
        parcel.send(place, body, {"value": value})
    assert not place.folder.exists()


def test_a_secret_that_the_function_uses_from_around_it_stays_here(place: FolderPlace) -> None:
    for function in (body_with_a_secret, lambda: f"{SECRET}-and-more"):
        with pytest.raises(TravelError, match="The function, or something that it uses, of task 'load' has the value"):
            parcel.send(place, function, {})
    assert not place.folder.exists()
    parcel.send(place, body, {"value": "plain"})


def test_a_result_with_the_value_of_a_secret_is_refused(place: FolderPlace) -> None:
    place.folder.mkdir()
    for value in (SECRET, [SecretStr("seen-by-nobody")]):
        made = pickle.dumps({"value": cloudpickle.dumps(value)})
        parcel_entry.write_content(made, str(place.folder / parcel_entry.RESULT))
        with pytest.raises(TravelError, match="The result of task 'load' has the value of a secret in it"):
            parcel.receive(place)
        with pytest.raises(TravelError, match="The result of task 'load' has the value of a secret in it"):
            call(body, {"value": value})


def test_a_short_secret_is_not_taken_for_a_part_of_a_function(place: FolderPlace) -> None:
    redaction.reveal("body")
    parcel.send(place, body, {"value": 1})
