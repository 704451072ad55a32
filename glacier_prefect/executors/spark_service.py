"""What the providers' Spark services share: a body goes as a parcel through the exchange bucket, and runs as a job."""

from __future__ import annotations

import posixpath
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from glacier_prefect import run_context
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.exchange import is_frame, map_leaves
from glacier_prefect.executors import parcel
from glacier_prefect.executors.parcel import BucketPlace, Outcome
from glacier_prefect.executors.remote import RemoteState, Work
from glacier_prefect.executors.spark_frames import polars_parameters
from glacier_prefect.executors.spark_parameters import SPARK, session_parameters

if TYPE_CHECKING:
    from glacier_prefect.executors.spark import SparkExecutor

ENTRY = "entry.py"
ARCHIVED = "environment"  # where a job finds its packed environment, beside it
Kind = Literal["running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class SparkService(ABC):
    """A service that runs Spark jobs.

    Attributes:
        name: What `service=` calls it.
        provider: The provider whose service it is.
        needs: Settings that it cannot do without.
        takes: Further settings that it has.
        settings: The executor, whose fields are the settings.
    """

    name: ClassVar[str]
    provider: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[str, ...]]

    settings: SparkExecutor

    @abstractmethod
    def submit(self, token: str, label: str, entry: str, arguments: list[str], seconds: float) -> str:
        """Submit a job and return its id; twice with one token makes one job.

        Args:
            token: The token.
            label: The run and node in words.
            entry: Address of its Python file.
            arguments: Arguments of that.
            seconds: After which the service itself is to stop it.
        """

    @abstractmethod
    def look(self, remote: str) -> tuple[RemoteState, str]:
        """Return what the service says of a job, and the folder of its parcel."""

    @abstractmethod
    def cancel(self, remote: str) -> None:
        """Stop a job."""

    @abstractmethod
    def find(self, token: str) -> str | None:
        """Return the id of the job of a token."""

    def send(self, work: Work) -> tuple[str, list[str]]:
        """Put a body into the exchange bucket; return the address of what runs there, and its arguments."""
        place = self.place(work.token)
        kept = set(polars_parameters(work.function))
        engines = dict.fromkeys((name for name, value in work.inputs.items() if _has_frame(value)), SPARK)
        engines = {name: engine for name, engine in engines.items() if name not in kept}
        engines |= dict.fromkeys(session_parameters(work.function), SPARK)
        parcel.send(place, work.function, work.inputs, engines)
        place.put(ENTRY, parcel.ENTRY)
        return place.uri(ENTRY), [place.uri(""), f"{sys.version_info.major}.{sys.version_info.minor}"]

    def made(self, folder: str) -> Outcome | None:
        """Return what the body of a job has made."""
        return parcel.receive(self.place(posixpath.basename(folder.rstrip("/"))))

    def place(self, token: str) -> BucketPlace:
        """Return the folder of a submission in the exchange bucket."""
        context = run_context.current()
        where = f"task {context.node!r} (executor 'spark', {self.name})" if context else f"{self.name}"
        if context is None or context.shared is None or context.shared.location.provider_name != self.provider:
            raise ConfigurationError(
                f"There is no exchange bucket of provider {self.provider!r} through which code and frames could go for "
                f"{where}.\nHint: run it under a Prefect API (`glacier ui` starts one), with a source or sink of that "
                "provider in the pipeline, or exchange = ... in the environment of glacier.toml."
            )
        return BucketPlace(replace(context.shared, folder=f"{context.shared.folder}/{token}"))

    def credentials(self) -> Any:
        """Return what finds the credentials of the exchange bucket, which are those of its cloud."""
        return self.place("").shared.location.credentials

    @staticmethod
    def packed_python() -> str:
        """Return the Python of a packed environment."""
        return f"./{ARCHIVED}/bin/python"


def state_of(service: SparkService, kind: Kind, folder: str, message: str, url: str) -> RemoteState:
    """Return the state of a job; one that failed says what its body did, if that is known."""
    if kind == "failed" and (made := service.made(folder)) is not None and made.error:
        return RemoteState.of(made, url=url)
    return RemoteState(kind=kind, message=message, url=url)


def _has_frame(value: Any) -> bool:
    found = False

    def look(leaf: Any, _: Any) -> Any:
        nonlocal found
        found = found or is_frame(leaf)
        return leaf

    map_leaves(value, look)
    return found
