"""Runs bodies on Databricks by its Jobs API: a task's function, a notebook, or a job that exists.

A function travels with its inputs in a parcel, through a Unity Catalog volume or the provider's exchange bucket, and is
run there by `parcel_entry.py`. The calls are in `databricks_workspace`, and
how a run goes is read by `databricks_run`. Imports no package of Databricks.
"""

from __future__ import annotations

import inspect
import json
import math
import posixpath
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, ClassVar, Self

from glacier_prefect import run_context
from glacier_prefect.errors import ArgumentsError, ConfigurationError, OptionError, RemoteFailed
from glacier_prefect.exchange import is_frame
from glacier_prefect.executors import parcel
from glacier_prefect.executors.base import Body, check_settings, is_whole, returned_constants
from glacier_prefect.executors.databricks_credentials import Access
from glacier_prefect.executors.databricks_run import JobRun
from glacier_prefect.executors.databricks_volume import VolumePlace
from glacier_prefect.executors.databricks_workspace import Workspace, connected
from glacier_prefect.executors.parcel import BucketPlace, Place
from glacier_prefect.executors.remote import RemoteExecutor, RemoteState, Work
from glacier_prefect.executors.spark_parameters import SPARK, frame_parameters, session_parameters
from glacier_prefect.modules import ModuleCall, module_name

TASK = "body"
SERVERLESS = {"3.10": "1", "3.11": "2", "3.12": "4"}  # the newest environment version with each Python
NEEDED_THERE = ("polars", "cloudpickle")
COMPUTE = ("cluster_id", "new_cluster", "environment_version")
EXISTING = ("job_id", "notebook_path")
POLICED = ("spark_version", "node_type_id", "instance_pool_id", "num_workers", "autoscale", "data_security_mode")
GRACE_SECONDS = 60  # within which this side cancels a run, before Databricks would
ENV_HINT = "in code, or in [environments.X.executors.databricks] of glacier.toml"


@dataclass(frozen=True, kw_only=True)
class DatabricksExecutor(RemoteExecutor):
    """Databricks: the function runs there, on serverless compute unless a cluster is named.

    It gets LazyFrames, or Spark's DataFrames for parameters that are annotated so; a parameter annotated `SparkSession`
    or named `spark` gets the session. With `job_id` or `notebook_path` the function runs here and returns a dict of
    parameters, or nothing; the task's value is what the notebook gave to `dbutils.notebook.exit`, a text.

    Attributes:
        cluster_id: A cluster that exists.
        new_cluster: A cluster for the run alone, as the Jobs API describes it.
        environment_version: Version of the serverless environment; by default the newest with the Python of here.
        libraries: What the function needs there: requirements, paths of wheels, or, on clusters, dicts as in the Jobs
            API. Polars and cloudpickle come by themselves, in the versions of here.
        volume: `/Volumes/catalog/schema/volume`, through which code and frames travel; the provider's exchange bucket
            by default.
        job_id: A job that is run instead; the values of several notebooks come as a dict by task.
        notebook_path: A notebook that is run instead.
        host: The workspace's address; `DATABRICKS_HOST` by default.
        profile: Profile of `.databrickscfg`.
        credentials_block: Name of a Prefect block `DatabricksCredentials`; by default Databricks' SDK finds credentials
            in the environment.
    """

    name: ClassVar[str] = "databricks"

    cluster_id: str | None = None
    new_cluster: Mapping[str, Any] | None = field(default=None, repr=False)  # passwords may be in its variables
    environment_version: str | None = None
    libraries: Sequence[str | Mapping[str, Any]] = ()
    volume: str | None = None
    job_id: int | None = None
    notebook_path: str | None = None
    host: str | None = None
    profile: str | None = None
    credentials_block: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        texts = ("cluster_id", "environment_version", "host", "profile")
        whole = self.volume is None or (
            isinstance(self.volume, str) and re.fullmatch(r"/Volumes(/[^/]+){3,}", self.volume) is not None
        )
        fitting = {
            **{name: (isinstance(getattr(self, name), str | None), "a text") for name in texts},
            "credentials_block": (isinstance(self.credentials_block, str | None), "the name of a block"),
            "new_cluster": (isinstance(self.new_cluster, Mapping | None), "a dict, as in the Jobs API"),
            "job_id": (self.job_id is None or is_whole(self.job_id, 0), "a number"),
            "libraries": (
                not isinstance(self.libraries, str | Mapping)
                and isinstance(self.libraries, Sequence)
                and all(isinstance(each, str | Mapping) for each in self.libraries),
                "a list of requirements, paths, or dicts",
            ),
            "volume": (whole, "'/Volumes/catalog/schema/volume', or a folder in it without a slash at its end"),
            "notebook_path": (
                self.notebook_path is None or (isinstance(self.notebook_path, str) and self.notebook_path[:1] == "/"),
                "an absolute path",
            ),
        }
        check_settings(self, fitting)
        exclusive = [COMPUTE, EXISTING, ("profile", "credentials_block")]
        if self.job_id is not None:
            exclusive.append(("job_id", *COMPUTE, "libraries"))
        for group in exclusive:
            given = [each for each in group if getattr(self, each) not in (None, (), [])]
            if len(given) > 1:
                raise OptionError(f"DatabricksExecutor has {' and '.join(given)}; expected one of them.")
        serverless = self.cluster_id is None and self.new_cluster is None
        if serverless and (others := [each for each in self.libraries if not isinstance(each, str)]):
            raise OptionError(
                f"DatabricksExecutor has the library {others[0]!r}, which needs cluster_id or new_cluster; serverless "
                "compute takes requirements and paths of wheels."
            )
        if serverless and self.notebook_path and (self.libraries or self.environment_version):
            raise OptionError(
                "DatabricksExecutor has notebook_path with libraries or environment_version; a notebook on serverless "
                "compute says its own.\nHint: install them in the notebook, or give cluster_id or new_cluster."
            )

    def completed(self, settings: Mapping[str, Any]) -> Self:
        given: frozenset[str] = vars(self)["_given"]
        left_out: set[str] = set()
        if given.intersection((*COMPUTE, *EXISTING)):  # what code says of where it runs stands alone
            left_out.update(COMPUTE if given.intersection((*COMPUTE, "job_id")) else (), EXISTING)
        if given.intersection(EXISTING):
            left_out.update(("libraries", "environment_version"))
        if given.intersection(("profile", "credentials_block")):
            left_out.update(("profile", "credentials_block"))
        return super().completed({key: value for key, value in settings.items() if key not in left_out})

    @property
    def _function_stays(self) -> bool:
        return self.job_id is not None or self.notebook_path is not None

    @property
    def _access(self) -> Access:
        return Access(host=self.host, profile=self.profile, credentials_block=self.credentials_block)

    def check(self, function: Callable[..., Any], where: str) -> None:
        super().check(function, where)
        if not self._function_stays:
            return
        what = "job_id" if self.job_id is not None else "notebook_path"
        returned = inspect.signature(function).return_annotation
        text = returned if isinstance(returned, str) else inspect.formatannotation(returned)
        odd = [text] if re.search(r"\b(LazyFrame|DataFrame)\b", text) else []
        odd += [repr(value) for value in returned_constants(function) if value is not None]
        if odd:
            raise OptionError(
                f"{where} returns {odd[0]}, which executor 'databricks' with {what} would ignore: its function runs "
                "here and returns the parameters as a dict, or nothing.\n"
                f"Hint: leave {what} out to run the function itself on Databricks."
            )
        if spark := (*frame_parameters(function), *session_parameters(function)):
            raise OptionError(
                f"{where} has the parameter {spark[0]!r} of Spark, and with {what} its function runs here, without "
                "Spark."
            )

    def supplied(self, function: Callable[..., Any]) -> tuple[str, ...]:
        return () if self._function_stays else session_parameters(function)

    @property
    def _policy(self) -> ModuleCall:
        """The module of what runs may use; it makes a policy for clusters of their own."""
        cluster = self.new_cluster
        on: dict[str, Any] = {
            "job_id": self.job_id,
            "cluster_id": self.cluster_id,
            "new_cluster": None if cluster is None else {key: cluster[key] for key in POLICED if key in cluster},
        }
        on = {key: value for key, value in on.items() if value is not None}
        unlike = [f"{zlib.crc32(json.dumps(on, sort_keys=True, default=str).encode()):08x}"] if on else []
        name = module_name("databricks_job_policy", *on, *unlike)
        told = {} if cluster is None or "policy_id" in cluster else {"policies": "policy_id"}
        return ModuleCall(name=name, source="databricks/job_policy", inputs=on, settings=told)

    def modules(self) -> tuple[ModuleCall, ...]:
        calls = [self._policy]
        if self.volume is not None and not self._function_stays:
            exchange = module_name("databricks_exchange", *self.volume.split("/")[2:])
            calls.append(ModuleCall(name=exchange, source="databricks/exchange", inputs={"volume": self.volume}))
        return tuple(calls)

    # -- the run -------------------------------------------------------------------------------------------------------

    def run(self, body: Body) -> Any:
        if self._function_stays:
            body = replace(body, inputs=_parameters(body.value()))
        return super().run(body)

    def submit(self, work: Work) -> str:
        workspace, limit = self._workspace(), work.timeout or self.deadline_seconds
        if self.job_id is not None:
            parameters = {"job_parameters": dict(work.inputs)} if work.inputs else {}
            return workspace.run_now({"job_id": self.job_id, "idempotency_token": work.token, **parameters})
        task: dict[str, Any] = {"task_key": TASK}
        body: dict[str, Any] = {
            "run_name": f"{work.label} {work.token}",
            "idempotency_token": work.token,
            "timeout_seconds": math.ceil(limit) + GRACE_SECONDS,
            "tasks": [task],
        }
        if self.notebook_path is not None:
            task["notebook_task"] = {"notebook_path": self.notebook_path, "base_parameters": dict(work.inputs)}
        else:
            place = self._new_place(workspace, work)
            parcel.send(place, work.function, work.inputs, self._engines(work))
            arguments = [place.uri(""), f"{sys.version_info.major}.{sys.version_info.minor}"]
            task["spark_python_task"] = {"python_file": workspace.entry(), "parameters": arguments}
        return workspace.submit(self._on_compute(body, task))

    def look(self, remote: str) -> RemoteState:
        run = self._run(remote)
        if run is None:
            return RemoteState(kind="gone")
        state = run.state()
        if state.kind in ("failed", "cancelled") and (made := self._made(run)) is not None and made.error:
            return RemoteState.of(made, url=state.url, log=state.log)
        return state

    def fetch(self, remote: str, work: Work) -> Any:
        run = self._run(remote)
        if self._function_stays:
            return None if run is None else run.exit_values()
        made = None if run is None else self._made(run)
        if made is None:
            raise RemoteFailed("it has put no result into its folder.")
        return made.value

    def cancel(self, remote: str) -> None:
        self._workspace().cancel(remote)

    def find(self, token: str) -> str | None:
        # A run that is over need not be found: submitted again under its token, it is the same run. One of a job cannot
        # be: Databricks tells no tokens, and it bears the job's name. Asking for it by its token would run the job,
        # with other parameters, if it had never arrived.
        if self.job_id is not None:
            return None
        runs = self._workspace().active_runs()
        return next((str(each["run_id"]) for each in runs if str(each.get("run_name")).endswith(token)), None)

    def _engines(self, work: Work) -> dict[str, str]:
        """Return which parameters take Spark's DataFrames, or its session."""
        frames = (each for each in frame_parameters(work.function) if each in work.inputs)
        return dict.fromkeys((*frames, *session_parameters(work.function)), SPARK)

    def _workspace(self) -> Workspace:
        return connected(self._access, _where())

    def _run(self, remote: str) -> JobRun | None:
        workspace = self._workspace()
        said = workspace.run(remote)
        return None if said is None else JobRun(workspace, said)

    def _new_place(self, workspace: Workspace, work: Work) -> Place:
        """Return the folder for the parcel of a submission."""
        if self.volume is not None:
            root = f"{self.volume}/glacier"
            folder = f"{root}/{date.today().isoformat()}/{work.token}"
            workspace.make_folder(folder)
            workspace.expire(root)
            return VolumePlace(workspace, folder)
        if work.context.shared is not None:
            return self._bucket(work.token)
        raise ConfigurationError(
            f"Task {work.context.node!r} on executor 'databricks' has no way there for its code and frames.\n"
            f"Hint: DatabricksExecutor(volume='/Volumes/catalog/schema/volume'), {ENV_HINT}; an environment of a cloud "
            "provider has an exchange bucket, too."
        )

    def _made(self, run: JobRun) -> parcel.Outcome | None:
        """Return what the body of a run has made, None if nothing is there."""
        folder = run.parcel
        if not folder:
            return None
        if folder.startswith("/Volumes/"):
            return parcel.receive(VolumePlace(run.workspace, folder))
        return parcel.receive(self._bucket(posixpath.basename(folder.rstrip("/"))))

    def _bucket(self, token: str) -> Place:
        context = run_context.current()
        if context is None or context.shared is None:
            raise ConfigurationError(
                f"The exchange bucket through which the code of {_where()} (executor 'databricks') went is not that of "
                "this run.\nHint: retry it in the environment that it began in."
            )
        return BucketPlace(replace(context.shared, folder=f"{context.shared.folder}/{token}"))

    def _on_compute(self, body: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
        """Return the body of a submission with the compute and the libraries of its task."""
        libraries = [*(() if self.notebook_path is not None else _needed(self.libraries)), *self.libraries]
        if self.cluster_id is not None or self.new_cluster is not None:
            task["libraries"] = [_library(each) for each in libraries]
            if self.cluster_id is not None:
                task["existing_cluster_id"] = self.cluster_id
            else:  # without a security mode a cluster of a job sees no volume
                own = {} if self.volume is None else {"data_security_mode": "SINGLE_USER"}
                if policy := self.deployed.get("policies", {}).get(self._policy.name):
                    own["policy_id"] = policy  # who submits may make clusters by this policy only
                task["new_cluster"] = {**own, **(self.new_cluster or {})}
        elif self.notebook_path is None:
            version = self.environment_version or SERVERLESS.get(python := f"3.{sys.version_info.minor}")
            if version is None:
                raise ConfigurationError(
                    f"Which serverless environment has Python {python}, as here, is not known to this version of "
                    f"Glacier.\nHint: DatabricksExecutor(environment_version=...), {ENV_HINT}."
                )
            spec = {"environment_version": version, "dependencies": libraries}
            body["environments"] = [{"environment_key": TASK, "spec": spec}]
            task["environment_key"] = TASK
        return body


def _where() -> str:
    context = run_context.current()
    return f"task {context.node!r}" if context and context.node else "a task"


def _needed(libraries: Sequence[Any]) -> Iterator[str]:
    """Yield the requirements of every body that the user has not given."""
    import importlib.metadata

    given = {match[0].lower() for each in libraries if isinstance(each, str) and (match := re.match(r"[\w.-]+", each))}
    for name in NEEDED_THERE:
        if name not in given:
            yield f"{name}=={importlib.metadata.version(name)}"


def _library(library: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a library as clusters take it."""
    if not isinstance(library, str):
        return library
    if library.endswith(".whl"):
        return {"whl": library}
    return {"requirements": library} if library.endswith(".txt") else {"pypi": {"package": library}}


def _parameters(value: Any) -> dict[str, str]:
    """Return what a function returned as parameters of a job or notebook, which are texts."""
    context = run_context.current()
    node = context.node if context else ""
    if value is not None and not isinstance(value, Mapping):
        raise ArgumentsError(
            f"Task {node!r} returned {type(value).__name__}; with executor 'databricks' and a job or notebook its "
            "function returns the parameters as a dict, or nothing."
        )
    made = {}
    for name, each in (value or {}).items():
        try:
            made[str(name)] = each if isinstance(each, str) else json.dumps(each)
        except TypeError:
            hint = "write it to a sink and pass its uri" if is_frame(each) else "make a text of it"
            raise ArgumentsError(
                f"Task {node!r} on executor 'databricks' returned the parameter {name!r} of type "
                f"{type(each).__name__}; jobs and notebooks take texts, and JSON is made of numbers, "
                f"lists and dicts.\nHint: {hint}."
            ) from None
    return made
