"""What the providers' Spark services share: a body runs as a job, mostly as a parcel in the exchange bucket."""

from __future__ import annotations

import posixpath
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from glacier_prefect import run_context
from glacier_prefect.errors import ConfigurationError, RemoteFailed
from glacier_prefect.exchange import is_frame, map_leaves
from glacier_prefect.executors import parcel
from glacier_prefect.executors.parcel import BucketPlace, Outcome
from glacier_prefect.executors.remote import RemoteState, Work
from glacier_prefect.executors.spark_frames import polars_parameters
from glacier_prefect.executors.spark_parameters import SPARK, session_parameters
from glacier_prefect.modules import ModuleCall, module_name

if TYPE_CHECKING:
    from glacier_prefect.executors.spark import SparkExecutor

OF_MODULES = ("archive", "container_image")  # settings that modules give back; jobs may read what they name
ENTRY = "entry.py"
ARCHIVED = "environment"  # where a job finds its packed environment, beside it
Kind = Literal["running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class SparkService(ABC):
    """A service that runs bodies as jobs.

    Attributes:
        name: What `service=` calls it.
        provider: The provider whose service it is.
        place_settings: Those that say where in the provider's account jobs run, and as whom. If none of them is given,
            `glacier deploy` makes what they name and tells runs of it.
        needs: Settings that it cannot do without where a place is given.
        takes: Further settings that it has.
        settings: The executor, whose fields are the settings.
    """

    name: ClassVar[str]
    provider: ClassVar[str]
    place_settings: ClassVar[tuple[str, ...]]
    needs: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[str, ...]]

    settings: SparkExecutor

    def modules(self) -> tuple[ModuleCall, ...]:
        """Return the calls of Terraform modules that make what its settings do not say."""
        made = {name: value for name in OF_MODULES if (value := getattr(self.settings, name)) is not None}
        name = module_name(self.provider, "spark")
        return (ModuleCall(name=name, source=f"{self.provider}/spark", inputs={"cloud": made}, settings=True),)

    @abstractmethod
    def start(self, work: Work) -> str:
        """Start a job for a body and return its id; twice with one token makes one job."""

    @abstractmethod
    def state(self, remote: str) -> RemoteState:
        """Return what the service says of a job."""

    @abstractmethod
    def value(self, remote: str, work: Work) -> Any:
        """Return what the body of a job that succeeded returned."""

    @abstractmethod
    def cancel(self, remote: str) -> None:
        """Stop a job."""

    @abstractmethod
    def find(self, token: str) -> str | None:
        """Return the id of the job of a token."""


class BucketService(SparkService):
    """A service whose jobs get their bodies from the exchange bucket."""

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

    def start(self, work: Work) -> str:
        entry, arguments = self.send(work)
        seconds = self.settings.deadline_seconds if work.timeout is None else work.timeout
        return self.submit(work.token, work.label, entry, arguments, seconds)

    def state(self, remote: str) -> RemoteState:
        return self.look(remote)[0]

    def value(self, remote: str, work: Work) -> Any:
        made = self.made(self.look(remote)[1])
        if made is None:
            raise RemoteFailed(f"Run {remote} of task {work.context.node!r} has put no result into its folder.")
        return made.value

    def send(self, work: Work) -> tuple[str, list[str]]:
        """Put a body into the exchange bucket; return the address of what runs there, and its arguments."""
        place = self.place(work.token)
        parcel.send(place, work.function, work.inputs, engines_of(work.function, work.inputs))
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


def engines_of(function: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, str]:
    """Return which parameters of a body take Spark's DataFrames, or its session: frames not annotated as Polars'."""
    kept = set(polars_parameters(function))
    frames = (name for name, value in inputs.items() if name not in kept and _has_frame(value))
    return dict.fromkeys((*frames, *session_parameters(function)), SPARK)


def state_of(service: BucketService, kind: Kind, folder: str, message: str, url: str) -> RemoteState:
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
