"""The process in which `glacier test` runs a pipeline on one provider.

`python -m glacier_prefect.trial_child JOB FOLDER` writes what was published, as Parquet files that are numbered in the
order of `names.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from glacier_prefect import run_context
from glacier_prefect.errors import GlacierError, UsageError
from glacier_prefect.loading import load_pipeline
from glacier_prefect.trial import locations_elsewhere


def main(job_file: str, results: str) -> None:
    """Run the job and write what it published."""
    job = json.loads(Path(job_file).read_text())
    pipeline = load_pipeline(job["target"])
    if wrong := locations_elsewhere(pipeline.graph.locations, job["provider"]):
        raise UsageError(
            f"Written for one provider, and not tried on {job['provider']}: {', '.join(wrong)}.\n"
            "Hint: make sources and sinks with Provider.from_env(), which follows the environment."
        )
    touched: list[tuple[str, Any]] = []
    run_context.touched.set(touched)
    pipeline.run(run_date=pipeline.moment(job["run_date"]), **pipeline.parse(job["parameters"]))
    published = {f"{source.bucket}/{source.path}": source for what, source in touched if what == "published"}
    for number, source in enumerate(published.values()):
        source.scan().collect().write_parquet(f"{results}/{number}.parquet")
    Path(results, "names.json").write_text(json.dumps(list(published)))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except GlacierError as error:
        sys.exit("\n".join([str(error), *getattr(error, "__notes__", ())]))
    except Exception as error:
        sys.exit("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]))
