"""Never a mix: a query over objects that were replaced while it ran is computed again.

Polars reads an object of a store in several ranged requests, so one that is replaced in between is read half old, half
new, or fails oddly. Each cloud source notes here which objects, with which etags, a scan is over; whoever computes a
query in Glacier does it by `steadily`, which asks for the etags again afterwards. On the disk a source reads a snapshot
and in a dataset files never change, so neither notes anything and nothing is asked.
"""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from glacier_prefect import run_context
from glacier_prefect.errors import SourceChangedError

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

ATTEMPTS = 6
KEPT = 10_000  # scans that are noted; more than are alive at once
Etags = Mapping[str, str | None]

_noted: OrderedDict[str, Scan] = OrderedDict()
_lock = threading.Lock()


class Objects(Protocol):
    """Where the objects of a scan are; the source."""

    def etags(self, keys: Sequence[str]) -> Etags:
        """Return the present etag of each object; None for one that is gone."""

    def explained(self, error: BaseException) -> Exception | None:
        """Return what is to be raised in place of an error of Polars that this source understands."""


def _run() -> str | None:
    context = run_context.current()
    return context.run_id if context else None


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A scan of objects that may be replaced.

    Attributes:
        objects: Where they are.
        etags: The etag of each when the scan was made; None if scans have seen several, so that any of them may have
            been planned for another object than is there.
        run: Id of the flow run that made it.
    """

    objects: Objects
    etags: Etags
    run: str | None = field(default_factory=_run)


def note(uris: Sequence[str], scan: Scan) -> None:
    """Note what a scan of `uris` reads."""
    with _lock:
        line = _shown(uris)
        # The frames of another run are not computed in this one.
        if (old := _noted.pop(line, None)) is not None and old.run == scan.run:
            same = {key: etag if old.etags.get(key, etag) == etag else None for key, etag in scan.etags.items()}
            scan = replace(scan, etags={**old.etags, **same})
        _noted[line] = scan
        if len(_noted) > KEPT:
            _noted.popitem(last=False)


def steadily(frame: pl.LazyFrame, compute: Callable[[pl.LazyFrame], T]) -> T:
    """Return `compute(frame)`; computed again if an object that the frame reads was replaced meanwhile.

    Args:
        frame: A query.
        compute: Runs it, and may run twice.

    Raises:
        SourceChangedError: Objects were replaced each time.
    """
    if not _noted:
        return compute(frame)
    scans = _scans_of(frame)
    before = [scan.etags for scan in scans]
    if any(None in etags.values() for etags in before):
        frame, before = _planned_anew(frame), _etags(scans)
    for _ in range(ATTEMPTS):
        try:
            result = compute(frame)
        except BaseException as error:  # a panic of Polars is not an Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            if (after := _after(scans)) is None or after == before:
                explained = next((told for scan in scans if (told := scan.objects.explained(error)) is not None), None)
                if explained is None:
                    raise
                raise explained from None  # an error of a store may show a signed address
        else:
            if (after := _etags(scans)) == before:
                return result
        frame, before = _planned_anew(frame), after
    changed = sorted({key for scan in scans for key in scan.etags})
    raise SourceChangedError(
        f"What is read was replaced meanwhile, {ATTEMPTS} times in a row: {', '.join(map(repr, changed[:5]))}.\n"
        "Hint: let the writer finish first, or have it write a partitioned dataset, whose versions stay readable."
    )


def _scans_of(frame: pl.LazyFrame) -> list[Scan]:
    try:
        plan = frame.explain(optimized=False)
    except Exception:  # it cannot be planned, so it will not be computed either, and that says why
        return []
    with _lock:
        shown = dict.fromkeys(re.findall(r" SCAN (\[.*\])\n", plan + "\n"))
        return [_noted[each] for each in shown if each in _noted]


def _shown(uris: Sequence[str]) -> str:
    """Return how Polars writes the files of a scan in a plan."""
    if len(uris) <= 2:
        return f"[{', '.join(uris)}]"
    return f"[{uris[0]}, ... {len(uris) - 1} other sources]"


def _etags(scans: Sequence[Scan]) -> list[Etags]:
    return [scan.objects.etags(list(scan.etags)) for scan in scans]


def _after(scans: Sequence[Scan]) -> list[Etags] | None:
    try:
        return _etags(scans)
    except Exception:  # the store does not answer: the first error counts
        return None


def _planned_anew(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the frame without what its plan has kept of the files, such as the footer of one that was replaced."""
    import polars as pl

    try:
        return pl.LazyFrame.deserialize(io.BytesIO(frame.serialize()))
    except Exception as error:
        raise SourceChangedError(
            f"What is read was replaced meanwhile, and the query cannot be planned again: {error}\n"
            "Hint: run the task again; it has a function in it that cannot be pickled."
        ) from None
