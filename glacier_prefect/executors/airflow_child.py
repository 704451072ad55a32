"""What runs in Airflow's own environment: `python -I airflow_child.py FOLDER`.

Run by its path, so it imports nothing of Glacier, which need not be installed there; `-I`, since `airflow.py` lies
beside it. It calls the user's function within a DAG, has Airflow run that DAG in this process (`dag.test()`) on a
metadata database of its own, and writes the operator's XCom, or the error with its traceback, into the folder.
Airflow logs as JSON, a line each. The process ends when its standard input does: the operator's `on_kill` is called,
and it has some seconds then.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

JOB = "job.pickle"
RESULT = "result.pickle"
SETTINGS = "settings.json"
LIBRARY = "library"  # what the job needs to be read
DAG_ID = "glacier"
GRACE_SECONDS = 5.0  # fewer than `child_process` gives it

# Airflow looks at its folder of DAGs before it runs one; there it finds the DAG that is made below.
DAG_FILE = """# a dag for airflow
import __main__
dag = __main__.dag
"""
dag: Any = None


class Refused(Exception):
    """What the job asks for is not possible; the message is for the user."""


class Failed(Exception):
    """An operator failed."""

    def __init__(self, task: str, error: BaseException | str) -> None:
        said, self.trace = str(error), ""
        if isinstance(error, BaseException):
            said, self.trace = _last(error), "".join(traceback.format_exception(error))
        super().__init__(f"{task}: {said}")


class Job:
    """One operator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = json.loads((folder / SETTINGS).read_text())
        self.stopping = False
        self.failures: dict[str, Failed] = {}  # by the operator's name

    def run(self) -> None:
        """Run it and write what came out."""
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            made: dict[str, Any] = {"value": self._value()}
        except Refused as error:
            made = {"refused": str(error)}
        except Failed as error:
            made = {"error": str(error), "trace": error.trace}
        except Exception as error:
            made = {"error": _last(error), "trace": traceback.format_exc()}
        try:
            content = pickle.dumps(made)
        except Exception as error:
            content = pickle.dumps({"refused": f"its XCom cannot leave Airflow: {_last(error)}"})
        draft = self.folder / f"{RESULT}.part"
        draft.write_bytes(content)
        draft.replace(self.folder / RESULT)

    def _value(self) -> Any:
        global dag
        self._prepare()  # first, since what the job imports may import Airflow
        job = self._job()
        from airflow.sdk import DAG, BaseOperator, XComArg
        from airflow.sdk.definitions.mappedoperator import MappedOperator

        with DAG(DAG_ID, schedule=None) as dag:
            bound = inspect.BoundArguments(inspect.signature(job["function"]), OrderedDict(job["inputs"]))
            returned = job["function"](*bound.args, **bound.kwargs)
        operator = getattr(returned, "operator", None) if isinstance(returned, XComArg) else returned
        if not isinstance(operator, BaseOperator | MappedOperator):
            raise Refused(f"its function returned {type(returned).__name__}; expected an Airflow operator")
        if operator.dag is not dag:
            raise Refused("its function returned an operator of a DAG; expected one that has none yet")
        self._listen()
        run = dag.test()
        if self.failures and str(run.state) != "success":
            raise next(iter(self.failures.values()))
        if str(run.state) != "success":
            raise Refused(f"its run in Airflow ended as {run.state!s}")
        return self._xcom(run, operator)

    def _job(self) -> Any:
        if importlib.util.find_spec("cloudpickle") is None:
            sys.path.append(str(self.folder / LIBRARY))
        try:
            return pickle.loads((self.folder / JOB).read_bytes())
        except ImportError as error:
            raise Refused(f"its function or an argument needs what is not in Airflow's environment: {error}") from error

    def _prepare(self) -> None:
        """Give Airflow a metadata database, and a folder of DAGs, of its own."""
        import sqlite3
        from importlib.metadata import PackageNotFoundError, version

        mine, theirs = list(sys.version_info[:2]), self.settings["python"]
        if mine != theirs:
            raise Refused(
                "Airflow's Python is {}.{} and this one {}.{}; functions travel between equal versions only".format(
                    *mine, *theirs
                )
            )
        try:
            airflow = version("apache-airflow-core")
        except PackageNotFoundError:
            raise Refused(f"Airflow 3 is not installed in the environment of {sys.executable}") from None
        dags, database = self.folder / "dags", self.folder / "airflow.db"
        dags.mkdir()
        (dags / "glacier_dag.py").write_text(DAG_FILE)
        local = "airflow.dag_processing.bundles.local.LocalDagBundle"
        bundle = {"name": "dags-folder", "classpath": local, "kwargs": {"path": str(dags)}}
        os.environ.setdefault("AIRFLOW_HOME", str(self.folder / "home"))
        os.environ.update(
            {
                "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database}",
                "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.folder / "logs"),
                "AIRFLOW__LOGGING__JSON_LOGS": "True",
            }
        )
        kept = Path(self.settings["databases"]) / f"airflow-{airflow}.db"
        if kept.exists():
            shutil.copyfile(kept, database)
            return
        from airflow.utils.db import initdb

        initdb()
        kept.parent.mkdir(parents=True, exist_ok=True)
        draft = kept.with_name(f"{kept.name}-{os.getpid()}")
        with contextlib.closing(sqlite3.connect(database)) as made, contextlib.closing(sqlite3.connect(draft)) as copy:
            made.backup(copy)  # what is still in the journal too
        draft.replace(kept)

    def _listen(self) -> None:
        """Have Airflow say why a task failed, which `dag.test()` only logs."""
        from airflow.listeners import hookimpl
        from airflow.sdk.listener import get_listener_manager

        def failed(previous_state: Any, task_instance: Any, error: BaseException | str) -> None:
            if self.stopping:  # not to be tried again
                os._exit(1)
            self.failures[task_instance.task_id] = Failed(task_instance.task_id, error)

        def succeeded(previous_state: Any, task_instance: Any) -> None:
            self.failures.pop(task_instance.task_id, None)

        listener: Any = ModuleType("glacier_listener")
        listener.on_task_instance_failed = hookimpl(specname="on_task_instance_failed")(failed)
        listener.on_task_instance_success = hookimpl(specname="on_task_instance_success")(succeeded)
        get_listener_manager().add_listener(listener)

    def _xcom(self, run: Any, operator: Any) -> Any:
        from airflow.models.xcom import XComModel
        from airflow.sdk.execution_time.xcom import XCom
        from airflow.utils.session import create_session

        with create_session() as session:
            wanted = XComModel.get_many(
                run_id=run.run_id, key="return_value", task_ids=operator.task_id, dag_ids=DAG_ID
            )
            found = {row.map_index: XCom.deserialize_value(row) for row in session.scalars(wanted)}
        if operator.is_mapped:
            return [found[place] for place in sorted(found)]
        return found.get(-1)

    def _watch(self) -> None:
        """End with the process that started this one, or when it says so."""
        while os.read(0, 1):
            pass
        self.stopping = True
        os.kill(os.getpid(), signal.SIGTERM)  # while the operator runs, Airflow answers it by its on_kill
        time.sleep(GRACE_SECONDS)
        os._exit(1)


def _last(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(type(error), error)).strip()


if __name__ == "__main__":
    Job(Path(sys.argv[1])).run()
    sys.stdout.flush()
    os._exit(0)  # threads of Airflow would keep it for seconds
