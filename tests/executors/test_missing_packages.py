"""No executor's package is needed until it is used; one that is missing names the task, the executor and the extra."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys

sys.modules[{package!r}] = None  # as if it were not installed
import glacier_prefect.executors as executors
from glacier_prefect import pipeline, task

def body():
    {body}

on = executors.{executor}
called = task(name="models", executor=on)(body)

@pipeline(name="uses")
def uses():
    return called()

if __name__ == "__main__":
    named = [each["name"] for each in uses.analyze()["executors"]]
    uses.generate()
    try:
        said = f"it ran: {{uses.run()!r}}"
    except Exception as error:
        said = f"{{type(error).__name__}}: {{error}}"
    print(json.dumps([named, said]))
"""
# One line each: the package that is missing, an executor that needs it, and a body that it takes.
CASES = {
    "dbt": ("dbt", "DbtExecutor()", "return None"),
    "databricks": ("databricks", "DatabricksExecutor(volume='/Volumes/a/b/c')", "return 1"),
    "spark": ("pyspark", "SparkExecutor()", "return 1"),
    "airflow": ("airflow_client", "AirflowExecutor(dag_id='d', url='http://127.0.0.1:1')", "return {}"),
}


@pytest.mark.parametrize("extra", CASES)
def test_a_missing_package_is_told_at_the_first_run_and_all_else_works(extra: str, tmp_path: Path) -> None:
    package, executor, body = CASES[extra]
    (tmp_path / "dbt_project.yml").touch()
    (tmp_path / "glacier.toml").write_text('project = "uses"')
    (tmp_path / "flow.py").write_text(SCRIPT.format(package=package, executor=executor, body=body))
    env = {**os.environ, "PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "flow.py"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    named, said = json.loads(done.stdout.splitlines()[-1])
    assert named == [extra]
    assert said.startswith("NotAvailableError: ")
    for part in ("'models'", f"'{extra}'", f"pip install 'glacier-prefect[{extra}]'"):
        assert part in said
