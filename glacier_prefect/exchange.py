"""How values travel between nodes: frames as Parquet in the exchange location, everything else as it is.

A frame that is computed in its own node, or leaves the process, becomes a `FrameLocation`: where the rows are, their
schema, number and checksum. What is handed to the next node is a scan of it. A pickled frame or query plan never
travels: `dumps` puts the frames that it finds, however deep inside a value, into the exchange location, and `loads`
makes scans of them again.
"""

from __future__ import annotations

import atexit
import copy
import dataclasses
import hashlib
import io
import itertools
import os
import pickle
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from glacier_prefect import run_context
from glacier_prefect.errors import ArgumentsError, DataError, TravelError
from glacier_prefect.sources.checks import check_storable
from glacier_prefect.sources.leases import Lease, sweep
from glacier_prefect.sources.steady import steadily

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.sources.shared import Shared

EXCHANGE_TTL_DAYS = 7.0
_FILE = "_glacier_file"
_numbers = itertools.count()
_leases: dict[Path, Lease] = {}


@dataclass(frozen=True, kw_only=True)
class FrameLocation:
    """A frame at rest in the exchange location.

    Attributes:
        uri: Path of the Parquet file.
        schema: Column names and Polars types.
        rows: Number of rows.
        size: Bytes of the file.
        checksum: BLAKE2b of the file, so that equal frames are recognised whatever their name.
        eager: Whether the task gave a DataFrame, which is then what the next one gets.
        shared: Where other machines find a copy; None if it is only here.
    """

    uri: str
    schema: Mapping[str, Any]
    rows: int
    size: int
    checksum: str
    eager: bool = False
    shared: Shared | None = None

    def exists(self) -> bool:
        """Whether the frame is there still."""
        return os.path.exists(self.uri) or (
            self.shared is not None and self.shared.size(os.path.basename(self.uri)) is not None
        )

    def open(self) -> pl.LazyFrame | pl.DataFrame:
        """Return a scan of the frame (or the DataFrame, if that is what was handed over)."""
        name, away = os.path.basename(self.uri), None
        try:
            size: int | None = os.stat(self.uri).st_size
        except FileNotFoundError:
            away = self.shared
            size = None if away is None else away.size(name)
        if size is None:
            raise DataError(
                f"The handed-over frame {self.uri} is gone; it is kept until its process ends, or for "
                f"{EXCHANGE_TTL_DAYS:g} days under a Prefect API.\nHint: run the pipeline again."
            )
        if size != self.size:
            raise DataError(
                f"The handed-over frame {self.uri} has {size} bytes, and had {self.size} when it was written."
            )
        if away is None:
            scan = scan_file(self.uri)
        else:
            scan = away.scan(name)
        return scan.collect() if self.eager else scan


def hand_over(
    frame: pl.LazyFrame | pl.DataFrame, columns: Sequence[str] | None = None, *, keep: bool = False
) -> FrameLocation:
    """Compute a frame, streamed to Parquet in the exchange folder of the node that is running.

    Args:
        frame: What a task returned.
        columns: The columns that the consumers need; all if None.
        keep: Whether the frame outlives the run, as part of a cached result.

    Raises:
        TravelError: A column holds Python objects.
    """
    import polars as pl

    context = run_context.current()
    if context is None:
        raise TravelError("A frame can only be handed over inside a run.")
    eager = isinstance(frame, pl.DataFrame)
    lazy = frame.lazy()
    check_storable(lazy.collect_schema(), f"the result of task {context.node!r}")
    if columns is not None:
        lazy = lazy.select([name for name in lazy.collect_schema() if name in columns])
    folder = context.cache / "frames" if keep else Path(context.exchange)
    folder.mkdir(parents=True, exist_ok=True)
    name = context.token if keep else context.token.removeprefix(f"{context.run_id}-")
    shared = context.kept if keep else context.shared
    here = f"{os.getpid()}-{next(_numbers)}"
    unique = here if shared is None else f"{here}-{uuid.uuid4().hex[:12]}"  # processes of two machines may have one id
    file = folder / f"{name}-{unique}.parquet"
    whole = file_of(frame) if columns is None else None
    if whole is None or not _linked(whole, file):
        steadily(lazy, lambda lazy: lazy.sink_parquet(file, sync_on_close=None))
    with open(file, "rb") as opened:
        checksum = hashlib.file_digest(opened, "blake2b").hexdigest()[:32]
    if shared is not None:
        shared.put(file)
    rows = pl.scan_parquet(file, glob=False).select(pl.len()).collect().item()
    return FrameLocation(
        uri=str(file),
        schema=dict(lazy.collect_schema()),
        rows=rows,
        size=file.stat().st_size,
        checksum=checksum,
        eager=eager,
        shared=shared,
    )


def scan_file(file: str | Path) -> pl.LazyFrame:
    """Return a scan of a Parquet file that does not change any more; `file_of` the frame is that file."""
    import polars as pl

    scan = pl.scan_parquet(file, glob=False, hive_partitioning=False)
    setattr(scan, _FILE, str(file))  # a frame that is made of it is another object, without this
    return scan


def file_of(frame: pl.LazyFrame | pl.DataFrame) -> str | None:
    """Return the Parquet file on this machine that a frame is the whole of, None if there is none."""
    return getattr(frame, _FILE, None)


def _linked(file: str, other: Path) -> bool:
    """Whether a file could be given a further name, in place of a copy."""
    try:
        os.link(file, other)
    except OSError:
        return False
    return True


def map_leaves(value: Any, function: Callable[[Any, tuple[Any, ...]], Any], path: tuple[Any, ...] = ()) -> Any:
    """Apply `function(leaf, path)` to all that is not a list, tuple, dict or dataclass, and rebuild those around the
    results.

    Args:
        value: Any value; containers are copied only if something in them changed.
        function: Called with a leaf and the indexes that lead to it.
        path: Where `value` itself stands.
    """
    if isinstance(value, dict):
        made = {key: map_leaves(item, function, (*path, key)) for key, item in value.items()}
        if all(made[key] is value[key] for key in value):
            return value
        if type(value) is dict:
            return made
        same = copy.copy(value)  # a subclass may need more than its items to be made (defaultdict)
        same.update(made)
        return same
    if isinstance(value, list | tuple):
        items = [map_leaves(item, function, (*path, place)) for place, item in enumerate(value)]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if type(value) in (list, tuple):
            return type(value)(items)
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type | FrameLocation) and _holds_values(value):
        names = [each.name for each in dataclasses.fields(value) if each.init]
        old = {name: getattr(value, name) for name in names}
        new = {name: map_leaves(item, function, (*path, name)) for name, item in old.items()}
        changed = {name: new[name] for name in names if new[name] is not old[name]}
        return dataclasses.replace(value, **changed) if changed else value
    return function(value, path)


def _holds_values(value: Any) -> bool:
    """Whether a dataclass is a user's record rather than one of Glacier's own descriptions."""
    return not type(value).__module__.startswith("glacier_prefect.")


def is_frame(value: Any) -> bool:
    """Whether a value is a Polars LazyFrame or DataFrame; does not import Polars."""
    return (polars := _polars()) is not None and isinstance(value, polars.LazyFrame | polars.DataFrame)


def is_lazy(value: Any) -> bool:
    """Whether a value is a Polars LazyFrame; does not import Polars."""
    return (polars := _polars()) is not None and isinstance(value, polars.LazyFrame)


def _polars() -> Any:
    """Return Polars if anything has imported it; waits for another thread that is just importing it."""
    if "polars" not in sys.modules:
        return None
    import polars

    return polars


def opened(value: Any) -> Any:
    """Return `value` with each FrameLocation in it opened."""
    return map_leaves(value, lambda leaf, _: leaf.open() if isinstance(leaf, FrameLocation) else leaf)


@dataclass(frozen=True)
class Packed:
    """A value on its way to another process, as bytes made by `dumps`."""

    data: bytes

    @classmethod
    def of(cls, value: Any) -> Self:
        """Pack `value`; frame locations in it stay what they are."""
        return cls(dumps(value))

    def open(self) -> Any:
        """Return the value, its frames as scans."""
        return loads(self.data)


@dataclass(frozen=True)
class Pick:
    """A part of a node's result, to be taken where the result is opened.

    Attributes:
        value: The result; the state or future of a task run until Prefect resolves it.
        path: Indexes into it.
    """

    value: Any
    path: tuple[Any, ...]

    def open(self, opened: Callable[[Any], Any]) -> Any:
        """Return the part; `opened` opens what is packed on the way."""
        value = self.value
        for place, index in enumerate(self.path):
            while isinstance(value, Pick | Packed):
                value = value.open(opened) if isinstance(value, Pick) else loads(value.data)
            try:
                value = value[index]
            except (LookupError, TypeError) as error:
                way = "".join(f"[{part!r}]" for part in self.path[: place + 1])
                has = (
                    f"its keys are {list(value)!r:.200}" if isinstance(value, dict) else f"it is {type(value).__name__}"
                )
                raise ArgumentsError(f"The result has no {way}: {has} ({type(error).__name__}).") from None
        return opened(value)


def dumps(value: Any) -> bytes:
    """Serialise a value; frames in it go to the exchange location and travel as locations.

    Raises:
        TravelError: Something in the value cannot be pickled; the message names its type.
    """
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def reducer_override(self, given: Any) -> Any:
            if is_frame(given):
                return _open, (hand_over(given),)
            return super().reducer_override(given)

    buffer = io.BytesIO()
    try:
        Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        if isinstance(error, TravelError):
            raise
        raise TravelError(
            f"A value of type {type(value).__name__} cannot leave the process: {error}\n"
            "Hint: return frames, plain values, lists, dicts or dataclasses of them."
        ) from error
    return buffer.getvalue()


def loads(data: bytes) -> Any:
    """Return the value that `dumps` serialised; frames in it are scans of the exchange location."""
    return pickle.loads(data)  # made by dumps, in this run's own folder


def _open(location: FrameLocation) -> Any:
    return location.open()


def open_exchange(root: Path, run_id: str, *, keep: bool) -> Path:
    """Return the folder through which a run hands frames on, and remove those of runs that are over.

    Args:
        root: The exchange folder of the provider.
        run_id: Id of the flow run.
        keep: False ties the folder to this process; True leaves it for `EXCHANGE_TTL_DAYS`, for a retry on another
            worker.
    """
    sweep(root)
    _remove_expired(root)
    folder = root / run_id
    if keep:
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.exists():
        _leases[folder] = lease = Lease.take(folder)
        atexit.register(lease.release)
    return folder


def close_exchange(folder: Path) -> None:
    """Remove a run's folder that is tied to this process, before the process ends: nobody has a frame in it."""
    if (lease := _leases.pop(folder, None)) is not None:
        atexit.unregister(lease.release)
        lease.release()


def _remove_expired(root: Path) -> None:
    oldest = time.time() - EXCHANGE_TTL_DAYS * 86400
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.is_dir() and not (folder / "lease").exists():
            newest = max((each.stat().st_mtime for each in (folder, *folder.rglob("*")) if each.exists()), default=0.0)
            if newest < oldest:
                shutil.rmtree(folder, ignore_errors=True)
