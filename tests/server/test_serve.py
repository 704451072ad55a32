"""`serve` in a process of its own: a run that is triggered over the API of a real server completes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serve")]

CALLED = """
from pathlib import Path
import polars as pl
from glacier_prefect import Pipeline, pipeline, task
from glacier_prefect.providers import LocalProvider

provider = LocalProvider(base_path=str(Path(__file__).parent / "data"))
out = provider.bucket_sink(bucket="out", path="NAME/{run_date:%Y-%m-%d}.parquet")

@task
def rows(limit: int) -> pl.LazyFrame:
    return pl.LazyFrame({"a": list(range(limit))})

@pipeline(name="NAME-called", timezone="Asia/Tokyo")
def called(limit: int = 3):
    return out.write(rows(limit))
"""
DECLARED = """
@task
def numbers() -> list[int]:
    return [1, 2, 3]

@task(depends_on=[numbers])
def keep(numbers: list[int]) -> None:
    (Path(__file__).parent / "NAME-declared").write_text(str(sum(numbers)))

declared = Pipeline("NAME-declared", tasks=[keep])
"""


def code(name: str) -> str:
    return (CALLED + DECLARED).replace("NAME", name)


@pytest.fixture(scope="module")
def served(project: Any) -> Iterator[dict[str, Any]]:
    """Both pipelines served from a script, a module and a package, each in a process of its own."""
    two = "import prefect; prefect.serve({0}called.flow.to_deployment('d'), {0}declared.flow.to_deployment('d'))"
    project.write("script.py", code("script") + "\nif __name__ == '__main__':\n    " + two.format("") + "\n")
    project.write("module.py", code("module"))
    package = code("package").replace("@task\ndef rows", "from .inside import rows\n\n@task\ndef unused", 1)
    project.write("package/__init__.py", "")
    project.write("package/inside.py", CALLED.partition("@pipeline")[0])
    project.write("package/flows.py", package)
    with (
        project.running("script.py") as script,
        project.running("-c", f"import module; {two.format('module.')}") as module,
        project.running("-c", f"import package.flows as flows; {two.format('flows.')}") as package,
    ):
        yield {"script": script, "module": module, "package": package}


@pytest.mark.parametrize("where", ["script", "module", "package"])
@pytest.mark.parametrize("kind", ["called", "declared"])
def test_a_triggered_run_completes(
    where: str, kind: str, served: dict[str, Any], project: Any, api: Any, wait_until: Any
) -> None:
    deployment = wait_until(lambda: api.deployment(f"{where}-{kind}/d"), f"{where}-{kind} to be registered")
    created = api.post(
        f"/deployments/{deployment['id']}/create_flow_run", parameters={"limit": 5} if kind == "called" else {}
    )
    run = api.finished(created["id"])
    assert run["state_type"] == "COMPLETED", (run["state"], served[where]())
    folder: Path = project.folder / ("package" if where == "package" else "")
    if kind == "called":
        import polars as pl

        (file,) = (folder / "data" / "out" / where).iterdir()
        assert pl.read_parquet(file).height == 5
        assert set(api.task_runs(run["id"], "rows", f"write-{where}")) == {"rows", f"write-{where}"}
    else:
        assert (folder / f"{where}-declared").read_text() == "6"
        assert set(api.task_runs(run["id"], "numbers", "keep")) == {"numbers", "keep"}


def test_a_pipeline_serves_itself_with_its_name_and_schedule(project: Any, api: Any, wait_until: Any) -> None:
    project.write(
        "own.py",
        """
        from glacier_prefect import pipeline, task

        @task
        def one(): return 1

        @pipeline(name="own", schedule="0 6 1 1 *", timezone="Europe/Paris", tags=["nightly"])
        def own():
            "Does one thing."
            return one()

        if __name__ == "__main__":
            own.serve()
        """,
    )
    with project.running("own.py") as output:
        deployment = wait_until(lambda: api.deployment("own/own"), "the deployment")
        schedule = deployment["schedules"][0]["schedule"]
        assert (schedule["cron"], schedule["timezone"]) == ("0 6 1 1 *", "Europe/Paris")
        assert deployment["tags"] == ["nightly"]
        assert deployment["description"] == "Does one thing."
        run = api.finished(api.post(f"/deployments/{deployment['id']}/create_flow_run")["id"])
        assert run["state_type"] == "COMPLETED", (run["state"], output())


def test_a_pipeline_that_no_name_is_bound_to_says_so(project: Any) -> None:
    project.write(
        "unbound.py",
        """
        from glacier_prefect import Pipeline, task

        @task
        def one(): return 1

        [Pipeline("unbound", tasks=[one])][0].serve()
        """,
    )
    result = project.run("unbound.py", check=False)
    assert result.returncode != 0
    assert "'unbound' is bound to no module-level name" in result.stderr
