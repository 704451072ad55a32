"""Runs bodies against Spark sessions, and as jobs of Spark services.

Imports neither PySpark nor a cloud's package.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from glacier_prefect import run_context
from glacier_prefect.credentials.secrets import Secret
from glacier_prefect.errors import OptionError, RemoteFailed
from glacier_prefect.exchange import is_frame, map_leaves
from glacier_prefect.executors import spark_session
from glacier_prefect.executors.base import Body, call, check_settings, is_whole
from glacier_prefect.executors.remote import RemoteExecutor, RemoteState, Work
from glacier_prefect.executors.spark_dataproc import DataprocServerless
from glacier_prefect.executors.spark_emr import EmrServerless
from glacier_prefect.executors.spark_frames import Mover, polars_parameters
from glacier_prefect.executors.spark_parameters import session_parameters
from glacier_prefect.executors.spark_service import SparkService
from glacier_prefect.executors.spark_watch import Watch
from glacier_prefect.modules import ModuleCall, module_name

SERVICES: dict[str, type[SparkService]] = {each.name: each for each in (EmrServerless, DataprocServerless)}
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
        service: "emr-serverless" or "dataproc-serverless": the body runs there, as a job.
        application_id: Application of EMR Serverless.
        role_arn: Role of its jobs, which reads and writes the exchange bucket.
        project_id: Project of Dataproc Serverless.
        region: Its region.
        archive: Address of a packed environment (`venv-pack`) of jobs: Polars, cloudpickle and what bodies use.
        container_image: Image that has the same, for Dataproc Serverless.
        service_account: Account of its jobs, which reads and writes the exchange bucket.
        subnetwork: Subnetwork of its jobs.
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
        for name in OF_SERVICES:
            if kind is not None and name in kind.needs and not getattr(self, name):
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
        if self.service is None:
            return ()
        own = (*SERVICES[self.service].needs, *SERVICES[self.service].takes)
        inputs = {name: value for name in own if (value := getattr(self, name)) is not None}
        return (ModuleCall(name=module_name("spark", self.service), source=f"spark/{self.service}", inputs=inputs),)

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
        entry, arguments = self._of_service.send(work)
        seconds = self.deadline_seconds if work.timeout is None else work.timeout
        return self._of_service.submit(work.token, work.label, entry, arguments, seconds)

    def look(self, remote: str) -> RemoteState:
        return self._of_service.look(remote)[0]

    def fetch(self, remote: str, work: Work) -> Any:
        made = self._of_service.made(self._of_service.look(remote)[1])
        if made is None:
            raise RemoteFailed(f"Run {remote} of task {work.context.node!r} has put no result into its folder.")
        return made.value

    def cancel(self, remote: str) -> None:
        self._of_service.cancel(remote)

    def find(self, token: str) -> str | None:
        return self._of_service.find(token)

    @property
    def _of_service(self) -> SparkService:
        assert self.service is not None
        return SERVICES[self.service](self)


def _is_master(master: Any) -> bool:
    return isinstance(master, str) and master.partition("[")[0].partition("://")[0] in ("local", "spark", "sc")


def _is_spark_frame(value: Any) -> bool:
    return type(value).__module__.startswith("pyspark.") and type(value).__name__ == "DataFrame"
