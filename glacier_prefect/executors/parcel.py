"""What travels to a machine that shares no disk and no modules with this one: a body with its inputs, and its result.

A parcel is a folder of Parquet files in a `Place` that both sides reach: `job.parquet` has the pickled body, whose
user modules are pickled by value, and each frame has a file of its own. There `parcel_entry.py` runs it, which needs
Polars (or Spark) and cloudpickle, and nothing of Glacier unless the body itself uses it.
"""

from __future__ import annotations

import inspect
import os
import pickle
import shutil
import sys
import sysconfig
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from glacier_prefect.credentials import redaction
from glacier_prefect.errors import TravelError
from glacier_prefect.exchange import file_of, hand_over, is_frame, is_lazy, map_leaves, scan_file
from glacier_prefect.executors import parcel_entry
from glacier_prefect.executors.base import refuse_secret, secret_error, task_named
from glacier_prefect.executors.by_value import by_value

if TYPE_CHECKING:
    import polars as pl

    from glacier_prefect.sources.shared import Shared

ENTRY = Path(parcel_entry.__file__)


class Place(ABC):
    """A folder that this machine and the remote one reach."""

    @abstractmethod
    def uri(self, name: str) -> str:
        """Return the address of a file (of the folder, if `name` is empty) as the remote machine reads it."""

    @abstractmethod
    def put(self, name: str, file: Path) -> None:
        """Copy a file into the folder."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, None if it is not there."""

    @abstractmethod
    def scan(self, name: str) -> pl.LazyFrame:
        """Return a scan of a Parquet file or of a folder of them, which stays readable while the run's frames do."""


@dataclass(frozen=True)
class FolderPlace(Place):
    """A folder of a disk that both machines see under one path."""

    folder: Path

    def uri(self, name: str) -> str:
        return str(self.folder / name)

    def put(self, name: str, file: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{name}.{uuid.uuid4().hex}"
        shutil.copyfile(file, draft)
        os.replace(draft, self.folder / name)  # a body that was submitted before may be reading it

    def read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def scan(self, name: str) -> pl.LazyFrame:
        import polars as pl

        return scan_file(self.folder / name) if not name.endswith("/") else pl.scan_parquet(self.folder / name)


@dataclass(frozen=True)
class BucketPlace(Place):
    """A folder of a bucket, which each side reads and writes with credentials of its own."""

    shared: Shared

    def uri(self, name: str) -> str:
        return self.shared.uri(name)

    def put(self, name: str, file: Path) -> None:
        self.shared.put(file, name)

    def read(self, name: str) -> bytes | None:
        return self.shared.get(name)

    def scan(self, name: str) -> pl.LazyFrame:
        return self.shared.scan(name)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a body made: `value`, or `error` and `trace` if it raised."""

    value: Any = None
    error: str = ""
    trace: str = ""


def send(
    place: Place, function: Callable[..., Any], inputs: Mapping[str, Any], engines: Mapping[str, str] | None = None
) -> None:
    """Put a body and its inputs into a place.

    Args:
        place: Where to.
        function: The user's function.
        inputs: Its arguments by name.
        engines: "spark" for parameters that take their frames as Spark's DataFrames; others get those of Polars. A
            parameter that is not among `inputs` is given the Spark session.

    Raises:
        TravelError: Something in them cannot be pickled, or has the value of a secret in it.
    """
    frames: dict[str, Any] = {}
    engines = engines or {}

    def leaf(value: Any, path: tuple[Any, ...]) -> Any:
        if not is_frame(value):
            return value
        name = f"input-{len(frames)}.parquet"
        frames[name] = value
        engine = engines.get(path[0], "lazy" if is_lazy(value) else "eager")
        return {parcel_entry.FRAME: name, "engine": engine}

    job = {
        "function": function,
        "inputs": map_leaves(dict(inputs), leaf),
        "spark": [name for name in engines if name not in inputs],
    }
    content = pickled(job, function, inputs)
    for name, frame in frames.items():
        place.put(name, Path(file_of(frame) or hand_over(frame).uri))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / parcel_entry.JOB
        parcel_entry.write_content(content, str(file))
        place.put(parcel_entry.JOB, file)


def receive(place: Place) -> Outcome | None:
    """Return what the remote side has made, None if it has put nothing there.

    Raises:
        TravelError: The value of a secret is in it.
    """
    content = place.read(parcel_entry.RESULT)
    if content is None:
        return None
    made = pickle.loads(parcel_entry.content_of(content))  # by the body of this run, in a folder of this run
    if "error" in made:
        return Outcome(error=made["error"], trace=made["trace"])

    def opened(value: Any) -> Any:
        if type(value) is dict and parcel_entry.FRAME in value:
            scan = place.scan(value[parcel_entry.FRAME])
            return scan.collect() if value["engine"] == "eager" else scan
        if type(value) is dict:
            return {key: opened(item) for key, item in value.items()}
        if type(value) in (list, tuple):
            return type(value)(opened(item) for item in value)
        return value

    value = pickle.loads(made["value"])
    refuse_secret(value, "The result")
    return Outcome(value=opened(value))


def pickled(
    job: Mapping[str, Any], function: Callable[..., Any], inputs: Mapping[str, Any], executor: str = ""
) -> bytes:
    """Return a job as bytes, for a Python that does not have the user's modules.

    Args:
        job: What has the function and its arguments in it.
        function: The user's function.
        inputs: Its arguments by name, as they were given.
        executor: The task's executor, if messages are to name it.

    Raises:
        TravelError: Something in it cannot be pickled, or has the value of a secret in it.
    """
    import cloudpickle

    for name, value in inputs.items():
        refuse_secret(value, f"The argument {name!r}", function, executor)
    try:
        with by_value(_project_of(function)):
            content = bytes(cloudpickle.dumps(job))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TravelError(
            f"The function {function.__name__!r} of {task_named(function, executor)}, or an argument of it, cannot "
            f"leave the process: {error}\n"
            "Hint: open connections and files in the function; give it frames and plain values."
        ) from error
    if redaction.written_in(content):
        raise secret_error("The function, or something that it uses,", function, executor)
    return content


def _project_of(function: Callable[..., Any]) -> Iterator[ModuleType]:
    """Yield the modules of the user's project: those beside the function's that no package installs."""
    try:
        home = Path(inspect.getfile(function)).absolute().parent
    except (TypeError, OSError):
        home = Path.cwd()
    for _ in range(function.__module__.count(".")):
        home = home.parent
    homes = {home, home.resolve()}
    installed = tuple(sysconfig.get_path(each) for each in ("stdlib", "platstdlib", "purelib", "platlib"))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or not file or name.partition(".")[0] == "glacier_prefect":
            continue
        if any(Path(file).is_relative_to(each) for each in homes) and not file.startswith(installed):
            yield module
