"""Where a run of a pipeline leaves the frames that it hands on: a folder of this machine, and one of a bucket.

Loads Prefect, so nothing imports it before something is run.
"""

from __future__ import annotations

from pathlib import Path

from glacier_prefect import engine, run_context
from glacier_prefect.caching import keeps_results
from glacier_prefect.disk import user_cache
from glacier_prefect.environments import find_project, preview_folder
from glacier_prefect.exchange import EXCHANGE_TTL_DAYS
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers import LocalProvider
from glacier_prefect.providers.environment import environment_provider, exchange_location, named_exchange
from glacier_prefect.sources.local import LocalSink, LocalSource
from glacier_prefect.sources.shared import Shared


def exchange_root(pipeline: Pipeline) -> Path:
    """Return the folder in which runs of a pipeline hand frames on: beside its data, else in the user's cache."""
    bases = [each.base_path for each in pipeline.graph.locations if isinstance(each, LocalSink | LocalSource)]
    if not bases:
        provider = environment_provider(find_project(pipeline.file))
        if not isinstance(provider, LocalProvider):
            return user_cache() / preview_folder() / "exchange"
        bases = [str(provider.base_path)]
    return Path(bases[0]).absolute() / (preview_folder() or ".glacier") / "exchange"


def shared_folders(pipeline: Pipeline, run: str, *, nested: bool = False) -> dict[str, Shared]:
    """Return the folders of a bucket in which a registered run leaves frames for other machines, by their use.

    Empty where results are not stored for a retry elsewhere, and where the pipeline has no bucket.

    Args:
        pipeline: The pipeline.
        run: Id of the flow run.
        nested: Whether it is a sub-flow of the run that is going on here.
    """
    if engine.is_serverless() or not keeps_results():
        return {}
    if nested and (around := run_context.current()) is not None and around.shared and around.kept:
        return {"shared": around.shared, "kept": around.kept}  # with the run around it, its frames are looked for
    found = exchange_location(pipeline.graph.locations, named_exchange(find_project(pipeline.file)))
    if found is None:
        return {}
    location, base = found
    root = f"{base}.glacier/exchange/{pipeline.name}"
    Shared(location=location, folder=root).expire(EXCHANGE_TTL_DAYS)
    kept = Shared(location=location, folder=f"{base}.glacier/cache/{pipeline.name}")
    return {"shared": Shared(location=location, folder=f"{root}/{run}"), "kept": kept}
