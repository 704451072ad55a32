"""Pickling modules by value, for a process that cannot import them."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from types import ModuleType

_pickled: Counter[str] = Counter()  # how many blocks need a module by value, which is a setting of the whole process
_lock = threading.Lock()


@contextlib.contextmanager
def by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    """Pickle modules by value within the block, also while other threads are in one; those that somebody else has
    registered for that stay so.

    Args:
        modules: Modules that are imported.
    """
    import cloudpickle

    with _lock:
        others = cloudpickle.list_registry_pickle_by_value() - _pickled.keys()
        ours = [each for each in modules if each.__name__ not in others]
        for module in ours:
            cloudpickle.register_pickle_by_value(module)
            _pickled[module.__name__] += 1
    try:
        yield
    finally:
        with _lock:
            for module in ours:
                _pickled[module.__name__] -= 1
                if not _pickled[module.__name__]:
                    del _pickled[module.__name__]
                    cloudpickle.unregister_pickle_by_value(module)
