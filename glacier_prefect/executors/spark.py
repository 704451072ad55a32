"""Runs bodies against Spark sessions, and as jobs of Spark services.

Imports neither PySpark nor a cloud's package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from glacier_prefect import run_context
from glacier_prefect.credentials.secrets import Secret
from glacier_prefect.errors import ConfigurationError, OptionError
from glacier_prefect.exchange import is_frame, map_leaves
from glacier_prefect.executors import spark_session
from glacier_prefect.executors.base import Body, call, check_settings, is_whole, task_named
from glacier_prefect.executors.remote import RemoteExecutor, RemoteState, Work
from glacier_prefect.executors.spark_databricks import Databricks
from glacier_prefect.executors.spark_dataproc import DataprocServerless
from glacier_prefect.executors.spark_emr import EmrServerless
from glacier_prefect.executors.spark_frames import Mover, polars_parameters
from glacier_prefect.executors.spark_parameters import session_parameters
from glacier_prefect.executors.spark_service import SparkService
from glacier_prefect.executors.spark_watch import Watch
from glacier_prefect.modules import ModuleCall

SERVICES: dict[str, type[SparkService]] = {each.name: each for each in (EmrServerless, DataprocServerless, Databricks)}
OF_SERVICES = tuple(dict.fromkeys(name for each in SERVICES.values() for name in (*each.needs, *each.takes)))


@dataclass(frozen=True, kw_only=True)
class SparkExecutor(RemoteExecutor):
    """Spark.

    With a `master` the body runs here against a session, which the parameter annotated `SparkSession` or named `spark`
    gets. Frames that it is given are Spark DataFrames, but for parameters that are annotated as Polars'. A Spark
    DataFrame that it returns comes back as a LazyFrame. `timeout_seconds`, or else `deadline_seconds`, counts from when
    the session is there, and cancels the body's Spark jobs; Python that runs no job ends when it ends. `poll_seconds`
    is of services only. Where code gives a `master` or a `service`, the environment's settings of the other are left
    out.

    Attributes:
        master: "local[*]" (embedded, also with a number of cores), "spark://host:port" or "sc://host:port" (Spark
            Connect).
        conf: Spark's settings, as in `{"spark.driver.memory": "4g"}`. A process has one session, so all tasks of a flow
            have the same.
        app_name: Name of the application; Spark Connect has none.
        token_secret: Name of a `Secret` that is the bearer token of Spark Connect.
        arrow_bytes: Frames that take more go through Parquet files, where Spark sees them; smaller ones by Arrow.
        files: Whether Spark's machines see the exchange folder of this machine under its path; None for local masters.
        service: "emr-serverless", "dataproc-serverless" or, on Azure, "databricks": the body runs there, as a job.
            Where and as whom is made by `glacier deploy`, which tells runs of it, unless settings say so.
        application_id: Application of EMR Serverless.
        role_arn: Role of its jobs, which reads and writes the exchange bucket.
        project_id: Project of Dataproc Serverless.
        region: Its region.
        archive: Address of a packed environment (`venv-pack`) of jobs: Polars, cloudpickle and what bodies use.
        container_image: Image that has the same, for Dataproc Serverless.
        service_account: Account of its jobs, which reads and writes the exchange bucket.
        subnetwork: Subnetwork of its jobs.
        host: Address of the workspace of Databricks, where jobs run on serverless compute.
        volume: `/Volumes/catalog/schema/volume` there, through which code and frames travel.
    """

    name: ClassVar[str] = "spark"

    master: str = "local[*]"
    conf: Mapping[str, Any] = field(default_factory=dict, repr=False)  # which may have passwords of stores in it
    app_name: str = "glacier"
    token_secret: str | None = None
    arrow_bytes: int = 8_000_000
    files: bool | None = None
    service: str | None = None
    application_id: str | None = None
    role_arn: str | None = None
    project_id: str | None = None
    region: str | None = None
    archive: str | None = None
    container_image: str | None = None
    service_account: str | None = None
    subnetwork: str | None = None
    host: str | None = None
    volume: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        fitting = {
            "master": (_is_master(self.master), "'local[*]', 'spark://host:port' or 'sc://host:port'"),
            "conf": (
                isinstance(self.conf, Mapping) and all(isinstance(key, str) for key in self.conf),
                "a dict of Spark's settings",
            ),
            "app_name": (isinstance(self.app_name, str) and bool(self.app_name), "a text"),
            "token_secret": (isinstance(self.token_secret, str | None), "the name of a Secret"),
            "arrow_bytes": (is_whole(self.arrow_bytes, 0), "a number of bytes"),
            "files": (isinstance(self.files, bool | None), "True, False or None"),
            "service": (self.service is None or self.service in SERVICES, " or ".join(map(repr, SERVICES))),
            **{name: (isinstance(getattr(self, name), str | None), "a text") for name in OF_SERVICES},
        }
        check_settings(self, fitting)
        if "token=" in self.master:
            raise OptionError(
                "SparkExecutor has a token in its master, which logs would show.\n"
                "Hint: name a Secret: token_secret='SPARK_TOKEN'."
            )
        kind = None if self.service is None else SERVICES[self.service]
        if kind is not None and self.master != "local[*]":
            raise OptionError("SparkExecutor has service and master; expected one of them.")
        takes = (*kind.needs, *kind.takes) if kind is not None else ()
        placed = [] if kind is None else [each for each in kind.place_settings if getattr(self, each)]
        for name in OF_SERVICES:
            made = kind is not None and name in kind.place_settings and not placed  # by `glacier deploy`
            if kind is not None and name in kind.needs and not made and not getattr(self, name):
                raise OptionError(f"SparkExecutor has service={self.service!r} and no {name}, which that needs.")
            if name not in takes and getattr(self, name) is not None:
                of = "without a service" if kind is None else f"with service={self.service!r}"
                raise OptionError(f"SparkExecutor has {name} {of}, where it means nothing.")
        if "spark.master" in self.conf or "spark.remote" in self.conf:
            raise OptionError("SparkExecutor has a master in its conf.\nHint: say master=... .")

    def completed(self, settings: Mapping[str, Any]) -> Self:
        left_out: set[str] = set()  # what code says of where it runs stands alone
        if self.service is not None:
            kind, there = SERVICES[self.service], settings.get("service", self.service)
            left_out = {"master", *OF_SERVICES}.difference((*kind.needs, *kind.takes) if there == self.service else ())
        elif vars(self)["_given"] & {"master", "service"}:
            left_out = {"service", *OF_SERVICES}
        return super().completed({key: value for key, value in settings.items() if key not in left_out})

    def modules(self) -> tuple[ModuleCall, ...]:
        if self.service is None or self._is_placed:
            return ()
        return SERVICES[self.service](self).modules()

    def supplied(self, function: Callable[..., Any]) -> tuple[str, ...]:
        return session_parameters(function)

    def run(self, body: Body) -> Any:
        if self.service is not None:
            return super().run(body)
        context = run_context.current()
        assert context is not None
        token = None if self.token_secret is None else Secret(self.token_secret).read(anywhere=True)
        session = spark_session.shared(
            master=self.master,
            conf=self.conf,
            app_name=self.app_name,
            token=token,
            node=context.node,
            patience=self.patience_seconds,
        )
        sees_files = self.master.startswith("local") if self.files is None else self.files
        mover = Mover(spark=session.spark, node=context.node, sees_files=sees_files, arrow_bytes=self.arrow_bytes)
        kept = polars_parameters(body.function)
        watch = Watch(
            session=session,
            node=context.node,
            tag=context.token.replace(",", "_"),
            timeout=self.deadline_seconds if body.timeout is None else body.timeout,
            patience=self.patience_seconds,
        )
        with watch.over():
            given = map_leaves(
                dict(body.inputs),
                lambda leaf, path: mover.to_spark(leaf) if is_frame(leaf) and path[0] not in kept else leaf,
            )
            given |= dict.fromkeys(self.supplied(body.function), session.spark)
            value = map_leaves(
                call(body.function, given), lambda leaf, _: mover.to_polars(leaf) if _is_spark_frame(leaf) else leaf
            )
        return body.finish(value)

    def submit(self, work: Work) -> str:
        return self._of_service.start(work)

    def look(self, remote: str) -> RemoteState:
        return self._of_service.state(remote)

    def fetch(self, remote: str, work: Work) -> Any:
        return self._of_service.value(remote, work)

    def cancel(self, remote: str) -> None:
        self._of_service.cancel(remote)

    def find(self, token: str) -> str | None:
        return self._of_service.find(token)

    @property
    def _is_placed(self) -> bool:
        """Whether settings say where jobs run, so that nothing is made for them."""
        return self.service is not None and any(getattr(self, each) for each in SERVICES[self.service].place_settings)

    @property
    def _of_service(self) -> SparkService:
        assert self.service is not None
        kind, made = SERVICES[self.service], self.deployed
        if self._is_placed:
            return kind(self)
        if made.get("service") != self.service:
            raise ConfigurationError(
                f"It is not known here where {task_named(executor=self.name)} runs its jobs: {kind.needs[0]} is not "
                f"set, and only runs of a deployment are told of what `glacier deploy` has made.\n"
                f"Hint: run the deployment, or set {' and '.join(kind.needs)} in [environments.X.executors.spark]."
            )
        known = {name: made[name] for name in OF_SERVICES if name in made and getattr(self, name) is None}
        return kind(replace(self, **known))


def _is_master(master: Any) -> bool:
    return isinstance(master, str) and master.partition("[")[0].partition("://")[0] in ("local", "spark", "sc")


def _is_spark_frame(value: Any) -> bool:
    return type(value).__module__.startswith("pyspark.") and type(value).__name__ == "DataFrame"
