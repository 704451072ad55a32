"""What leaves this process in a parcel, and what does not."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType

import cloudpickle
import pytest

from glacier_prefect.executors import parcel
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
    assert pickle.loads(parcel.pickled({"function": module.body}, module.body))["function"]() == 1
    assert travels(module)
