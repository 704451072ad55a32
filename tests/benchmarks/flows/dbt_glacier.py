"""Run the dbt project of the working directory as a pipeline and print the seconds besides the import of Prefect."""

import sys
import time

import prefect

from glacier_prefect import Pipeline, flows, task
from glacier_prefect.executors.dbt import DbtExecutor


@task(executor=DbtExecutor(project_dir="project", profiles_dir="project"))
def models() -> None: ...


if __name__ == "__main__":
    assert prefect.Flow is flows.prefect.Flow  # both are loaded
    began = time.perf_counter()
    Pipeline("dbt-nodes", tasks=[models]).run()
    print(time.perf_counter() - began)
    sys.stdout.flush()
