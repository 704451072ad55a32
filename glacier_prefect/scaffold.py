"""What `glacier init` writes: a small project that runs, is tested, and deploys on each push. Imports nothing slow."""

from __future__ import annotations

import re
from pathlib import Path

from glacier_prefect.errors import UsageError

_FLOW = '''\
"""Daily revenue by customer: `python flows/revenue.py` runs it, `glacier analyze flows/revenue.py` shows it."""

import polars as pl
from glacier_prefect import pipeline, task
from glacier_prefect.providers import Provider

provider = Provider.from_env()  # which cloud, or this machine, is in glacier.toml
reports = provider.bucket_sink(
    bucket="reports",
    path="revenue/{run_date:%Y-%m-%d}.parquet",
    checks=[pl.col("revenue") >= 0],
)


@task
def orders() -> pl.LazyFrame:
    """Return the orders; read yours with `provider.bucket_source(bucket=..., path=...).scan()`."""
    return pl.LazyFrame({"customer": ["ada", "ada", "grace", "alan"], "amount": [10.0, 5.5, 7.25, -1.0]})


@task(retries=2)
def revenue(frame: pl.LazyFrame, minimum: float) -> pl.LazyFrame:
    """Return what each customer paid."""
    paid = frame.filter(pl.col("amount") >= minimum)
    return paid.group_by("customer").agg(revenue=pl.col("amount").sum()).sort("customer")


@pipeline(schedule="0 6 * * *", timezone="UTC")
def daily_revenue(minimum: float = 0.0):
    """Revenue of the day."""
    return reports.write(revenue(orders(), minimum))


if __name__ == "__main__":
    print(daily_revenue.run().scan().collect())
'''

_TEST = '''\
"""A task is a function: a call outside of a pipeline just runs it. `glacier test` runs pipelines on every cloud."""

import polars as pl
from polars.testing import assert_frame_equal

from flows.revenue import revenue


def test_what_was_given_back_is_no_revenue():
    orders = pl.LazyFrame({"customer": ["ada", "ada"], "amount": [10.0, -2.0]})
    assert_frame_equal(revenue(orders, 0.0).collect(), pl.DataFrame({"customer": ["ada"], "revenue": [10.0]}))
'''

_PROJECT = """\
# What is deployed is named after the project; `glacier plan` shows what deploying would change.
project = "{name}"
pipelines = ["flows/*.py"]

[environments.dev]  # the one that is used when none is named
provider = "local"
base_path = "data"

# [environments.prod]          # glacier run flows/revenue.py --env prod
# provider = "aws"             # or "azure", "gcp": the code stays as it is
# region = "eu-central-1"
# bucket_prefix = "{name}-prod-"
# state = "{name}-terraform-state"  # a bucket; `glacier bootstrap --env prod` makes it
# code = "git"                 # the workflow in .github deploys this environment
"""

_PYPROJECT = """\
[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["glacier-prefect"]

[dependency-groups]
dev = ["pytest"]

[tool.pytest.ini_options]
pythonpath = ["."]
"""

_WORKFLOW = """\
# A pull request shows what would change, a push to main does it.
# For a cloud, the step that `glacier bootstrap` prints belongs before the last one.
on: { push: { branches: [main] }, pull_request: {} }
permissions: { contents: read, id-token: write, pull-requests: write }
concurrency: deploy-${{ github.ref }}
jobs:
  deploy:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2
        with: { persist-credentials: false }
      - uses: glacier/deploy@v1
        with:
          environment: prod
          prefect-api-url: ${{ vars.PREFECT_API_URL }}
          prefect-api-key: ${{ secrets.PREFECT_API_KEY }}
"""

_IGNORED = "/.glacier/\n/data/\n/.venv/\n__pycache__/\n"

_FILES = {
    "flows/revenue.py": _FLOW,
    "tests/test_revenue.py": _TEST,
    "glacier.toml": _PROJECT,
    "pyproject.toml": _PYPROJECT,
    ".github/workflows/deploy.yml": _WORKFLOW,
    ".gitignore": _IGNORED,
}


def write_project(folder: Path, name: str | None = None) -> list[Path]:
    """Write a project into a folder and return its files; nothing that is there is touched.

    Args:
        folder: Where; made if it is not there.
        name: The project's name; the folder's if None.

    Raises:
        UsageError: One of the files is there, or the name cannot be a project's. Nothing was written.
    """
    folder = folder.absolute()
    name = re.sub(r"[^a-z0-9]+", "-", (folder.resolve().name if name is None else name).lower()).strip("-")
    if not name:
        raise UsageError("The project has no name.\nHint: glacier init --name my-project")
    files = {folder / file: text.replace("{name}", name) for file, text in _FILES.items()}
    if there := [str(file.relative_to(folder)) for file in files if file.exists()]:
        raise UsageError(
            f"{folder} has {', '.join(there)} already. Nothing was written.\nHint: glacier init new-folder"
        )
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return list(files)
