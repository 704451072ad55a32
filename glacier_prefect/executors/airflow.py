"""Runs operators in Airflow's own environment (`airflow_operator`), and DAG runs of an existing Airflow
(`airflow_dag_run`).

Imports neither Airflow nor its client, which `airflow_api` does when it is first asked something.
"""

from __future__ import annotations

import dis
import functools
import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self
from urllib.parse import quote, urlsplit

from glacier_prefect import run_context
from glacier_prefect.environments import find_project
from glacier_prefect.errors import ArgumentsError, OptionError, RemoteFailed, TravelError, nearest
from glacier_prefect.executors.airflow_api import AirflowApi
from glacier_prefect.executors.airflow_dag_run import DagRun, reporting
from glacier_prefect.executors.airflow_operator import OperatorRun
from glacier_prefect.executors.base import Body, check_settings, returned_constants
from glacier_prefect.executors.remote import RemoteExecutor, RemoteState, Work


@dataclass(frozen=True, kw_only=True)
class AirflowExecutor(RemoteExecutor):
    """Airflow, in one of two ways.

    With `python`, the task's function runs in Airflow's own environment and returns an operator, which Airflow executes
    there in a process of its own, without a scheduler; the task's result is the operator's XCom `return_value`. With
    `dag_id`, the function runs here and returns a dict, the `conf` of a run of that DAG (nothing is an empty one); the
    result is the XCom `return_value` of the DAG's last task, or a dict of them by task if several are last.

    Airflow is asked as the user `username` (else the variable AIRFLOW_USERNAME) with the secret AIRFLOW_PASSWORD, or
    with a ready token, the secret AIRFLOW_TOKEN.

    Attributes:
        python: The Python of a virtual environment with Airflow 3, from the working directory.
        dag_id: The DAG that is run.
        url: Address of the Airflow that has it, as in "https://airflow.example.com".
        task_id: The DAG's task whose XCom is the result.
        username: The user.
        password_secret: Name of the `Secret` with the user's password.
        token_secret: Name of the `Secret` with a token.
        credentials_block: Name of a Prefect block of type `secret`: a token, or an object with `username` and
            `password`. It beats the others.
    """

    name: ClassVar[str] = "airflow"
    paths: ClassVar[tuple[str, ...]] = ("python",)

    python: str | os.PathLike[str] | None = None
    dag_id: str | None = None
    url: str | None = None
    task_id: str | None = None
    username: str | None = None
    password_secret: str = "AIRFLOW_PASSWORD"
    token_secret: str = "AIRFLOW_TOKEN"
    credentials_block: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        texts = {name: getattr(self, name) for name in ("dag_id", "url", "task_id", "username", "credentials_block")}
        secrets = {name: getattr(self, name) for name in ("password_secret", "token_secret")}
        fitting = {
            "python": (isinstance(self.python, str | os.PathLike | None) and self.python != "", "a text"),
            **{name: (isinstance(value, str | None) and value != "", "a text") for name, value in texts.items()},
            **{
                name: (isinstance(value, str) and value != "", "the name of a Secret")
                for name, value in secrets.items()
            },
        }
        check_settings(self, fitting)
        if self.url is not None:
            try:
                parts = urlsplit(self.url)
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise OptionError(
                    f"AirflowExecutor has url={self.url!r}; expected one as 'https://airflow.example.com'."
                )
            if parts.username or parts.password:
                raise OptionError(
                    "AirflowExecutor has a url with a user or password in it.\n"
                    f"Hint: username=..., and the password as the secret {self.password_secret}."
                )
        if self.python is not None and self.dag_id is not None:
            raise OptionError(
                f"AirflowExecutor has python={os.fspath(self.python)!r} and dag_id={self.dag_id!r}; expected one of "
                "them: python for the operator that the function returns, dag_id for a run of an existing DAG."
            )

    def completed(self, settings: Mapping[str, Any]) -> Self:
        # What code says decides between the two ways; an environment may have settings for both.
        given = {"python": ("dag_id", "task_id"), "dag_id": ("python",)}
        dropped = [other for key, others in given.items() if getattr(self, key) is not None for other in others]
        return super().completed({key: value for key, value in settings.items() if key not in dropped})

    def check(self, function: Callable[..., Any], where: str) -> None:
        from glacier_prefect.executors import environment_executor  # which knows this class

        super().check(function, where)
        whole = environment_executor(self, find_project())
        assert isinstance(whole, AirflowExecutor)
        constants = list(returned_constants(function))
        if whole.dag_id is not None:
            whole._check_conf(constants, where)
        elif whole.python is not None:
            whole._check_operator(function, constants, where)
        else:
            raise OptionError(
                f"{where}: executor 'airflow' needs python or dag_id.\n"
                "Hint: AirflowExecutor(python='.airflow/bin/python') for an operator that the function returns, "
                "AirflowExecutor(dag_id=..., url=...) for a run of an existing DAG; in code, or in "
                "[environments.X.executors.airflow] of glacier.toml."
            )

    def _check_conf(self, constants: list[Any], where: str) -> None:
        if self.url is None:
            raise OptionError(
                f"{where}: AirflowExecutor has dag_id={self.dag_id!r} and no url.\n"
                "Hint: AirflowExecutor(url='https://...'), or url in [environments.X.executors.airflow] of "
                "glacier.toml."
            )
        if wrong := [each for each in constants if each is not None]:
            raise OptionError(
                f"{where} returns {wrong[0]!r}, which executor 'airflow' would ignore: with dag_id its function "
                "returns a dict, the conf of the DAG's run, or nothing."
            )

    def _check_operator(self, function: Callable[..., Any], constants: list[Any], where: str) -> None:
        if self.task_id is not None:
            raise OptionError(f"{where}: AirflowExecutor has task_id={self.task_id!r} and no dag_id.")
        if inspect.iscoroutinefunction(function):
            raise OptionError(f"{where} is async; with executor 'airflow' its function returns an operator.")
        code = getattr(inspect.unwrap(function), "__code__", None)
        returns = sum(each.opname.startswith("RETURN_") for each in dis.get_instructions(code)) if code else 0
        if constants and len(constants) == returns:
            raise OptionError(
                f"{where} returns {constants[0]!r}; with executor 'airflow' its function returns an Airflow operator."
            )
        for parameter in inspect.signature(function).parameters.values():
            note = parameter.annotation
            text = note if isinstance(note, str) else inspect.formatannotation(note)
            if "LazyFrame" in text or "DataFrame" in text:
                raise OptionError(
                    f"{where} takes {parameter.name!r} as {text}; frames do not go to Airflow.\n"
                    "Hint: write it with a sink, and give the operator the address or other plain values."
                )

    @property
    def secrets(self) -> tuple[str, ...]:
        # operators need none, and those of a block are in Prefect
        return () if self.dag_id is None or self.credentials_block is not None else super().secrets

    # -- the run -------------------------------------------------------------------------------------------------------

    def run(self, body: Body) -> Any:
        if self.dag_id is not None:
            conf = functools.cache(lambda: _conf(body))  # once, however often the run is submitted
            with reporting():
                return super().run(replace(body, function=conf, inputs={}))
        assert self.python is not None
        python = os.path.abspath(os.path.expanduser(self.python))  # not resolved: a link is what makes an environment
        return body.finish(OperatorRun(python, body.timeout).value(body.function, body.inputs))

    def submit(self, work: Work) -> str:
        conf = work.function()
        status, dag = self._ask("DAGApi", "get_dag", self._dag, expected=(404,))
        if status == 404:
            known = [each["dag_id"] for each in self._api.pages("DAGApi", "get_dags", items="dags")]
            raise RemoteFailed(f"Airflow ({self._url}) has no DAG {self.dag_id!r}. {nearest(self._dag, known)}")
        if dag["is_paused"]:
            raise RemoteFailed(
                f"DAG {self.dag_id!r} is paused, so a run of it would wait ({self._url}/dags/{quote(self._dag)}).\n"
                "Hint: unpause it in Airflow."
            )
        if self.task_id is not None and self.task_id not in (tasks := [each["task_id"] for each in self._tasks()]):
            raise RemoteFailed(f"DAG {self.dag_id!r} has no task {self.task_id!r}. {nearest(self.task_id, tasks)}")
        from airflow_client.client import TriggerDAGRunPostBody

        body = TriggerDAGRunPostBody(dag_run_id=work.token, logical_date=None, conf=conf, note=work.label)
        status, content = self._ask("DagRunApi", "trigger_dag_run", self._dag, body, expected=(409,))
        if status == 409 and self.find(work.token) is None:
            raise RemoteFailed(f"Airflow ({self._url}) refused a run of DAG {self.dag_id!r}: {content}.")
        return work.token

    def find(self, token: str) -> str | None:
        return None if self._run(token).found() is None else token

    def look(self, remote: str) -> RemoteState:
        return self._run(remote).state()

    def fetch(self, remote: str, work: Work) -> Any:
        run = self._run(remote)
        if self.task_id is not None:
            return run.xcom(self.task_id)
        last = sorted(each["task_id"] for each in self._tasks() if not each["downstream_task_ids"])
        values = {name: run.xcom(name) for name in last}
        return values[last[0]] if len(last) == 1 else values

    def cancel(self, remote: str) -> None:
        self._run(remote).fail()

    # -- what is asked -------------------------------------------------------------------------------------------------

    @property
    def _dag(self) -> str:
        assert self.dag_id is not None
        return self.dag_id

    @property
    def _url(self) -> str:
        assert self.url is not None
        return self.url.rstrip("/")

    @property
    def _api(self) -> AirflowApi:
        return AirflowApi(
            url=self._url,
            username=self.username,
            password_secret=self.password_secret,
            token_secret=self.token_secret,
            credentials_block=self.credentials_block,
        )

    def _ask(self, api: str, method: str, *args: Any, **options: Any) -> tuple[int, Any]:
        return self._api.ask(api, method, *args, **options)

    def _run(self, remote: str) -> DagRun:
        return DagRun(api=self._api, dag=self._dag, run=remote)

    def _tasks(self) -> list[dict[str, Any]]:
        _, content = self._ask("TaskApi", "get_tasks", self._dag)
        return list(content["tasks"])


def _conf(body: Body) -> dict[str, Any]:
    """Return what a body makes the `conf` of a DAG's run."""
    conf, context = body.value(), run_context.current()
    node = context.node if context else body.function.__name__
    if conf is None:
        return {}
    if not isinstance(conf, Mapping):
        raise ArgumentsError(
            f"Task {node!r} returned {type(conf).__name__}; with executor 'airflow' and dag_id its function returns a "
            "dict, the conf of the DAG's run, or nothing."
        )
    try:
        return dict(json.loads(json.dumps(conf, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise TravelError(
            f"What task {node!r} on executor 'airflow' returned cannot be the conf of a DAG's run, as it is no JSON: "
            f"{error}"
        ) from None
