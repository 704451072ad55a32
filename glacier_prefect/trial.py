"""`glacier test`: runs a pipeline on every provider, each in a process of its own, and compares what it publishes.

The clouds are emulators on this machine, which start empty: what the pipeline reads in its own environment is copied to
each first. Nothing of the user's is written, and no cloud is called.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect.emulators import GCS, S3, Azure
from glacier_prefect.environments import environment_name, find_project
from glacier_prefect.errors import GlacierError, UsageError, nearest
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.sources import Location, Sink, Source
from glacier_prefect.sources.cloud import CloudLocation
from glacier_prefect.sources.local import LocalSource
from glacier_prefect.sources.objects import Objects
from glacier_prefect.sources.paths import RUN_DATE

if TYPE_CHECKING:
    import polars as pl

PROVIDERS = ("local", "aws", "azure", "gcp")
MAX_BYTES = 1_000_000_000
TOLERANCE = 1e-9  # of numbers that a query adds up in another order
_EMULATORS: dict[str, type[S3 | Azure | GCS]] = {"aws": S3, "azure": Azure, "gcp": GCS}
_HIDDEN = ("AWS_", "AZURE_", "GOOGLE_", "GLACIER_", "PREFECT_", "STORAGE_")


@dataclass(kw_only=True)
class Outcome:
    """What came of one provider.

    Attributes:
        provider: Its registry key.
        seconds: What the process took, with its start.
        rows: Rows of each sink's data, by bucket and path.
        differences: What is not as on the first provider, by bucket and path.
        error: Why the run failed, None if it did not.
    """

    provider: str
    seconds: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)
    differences: dict[str, str] = field(default_factory=dict)
    error: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether it ran and published what the first provider published."""
        return self.error is None and not self.differences


def try_out(
    target: str,
    pipeline: Pipeline,
    run_date: str,
    parameters: Mapping[str, str],
    providers: Sequence[str] = PROVIDERS,
    on_outcome: Callable[[Outcome], object] = lambda outcome: None,
    max_bytes: int = MAX_BYTES,
) -> list[Outcome]:
    """Run a pipeline on each provider and compare what it publishes with the first one's.

    Args:
        target: Its file, as in `flow.py:name`.
        pipeline: The pipeline, as it is in the environment that this process is in.
        run_date: The date that it is run for.
        parameters: Texts by name.
        providers: Registry keys.
        on_outcome: Called with each outcome when it is known.
        max_bytes: How much it may read, since that is copied for each provider.

    Raises:
        UsageError: A provider is unknown, or the pipeline reads too much.
        Unavailable: An emulator is not installed.
    """
    for each in providers:
        if each not in PROVIDERS:
            raise UsageError(f"There is no emulator of a provider {each!r}. {nearest(each, PROVIDERS)}")
    clouds = [each for each in providers if each != "local"]
    if lacking := [each for each in clouds if importlib.util.find_spec("obstore") is None]:
        raise UsageError(
            f"The emulators of {', '.join(lacking)} need packages that are not installed.\n"
            f"Hint: pip install 'glacier-prefect[{','.join(clouds)},emulators]', or try only --on local."
        )
    bound = pipeline.graph.signature.bind_partial(**pipeline.parse(parameters))
    bound.apply_defaults()
    values = {**bound.arguments, RUN_DATE: pipeline.moment(run_date)}
    outcomes: list[Outcome] = []
    results: list[Mapping[str, pl.DataFrame]] = []
    with tempfile.TemporaryDirectory(prefix="glacier-test-") as name:
        folder = Path(name)
        inputs = _copied_inputs(pipeline, values, folder / "inputs", max_bytes)
        for provider in providers:
            place = folder / provider
            place.mkdir()
            with _reachable(provider, pipeline, place, inputs) as variables:
                outcome = Outcome(provider=provider)
                found = _run(outcome, target, run_date, parameters, place, variables)
            if outcome.error is None and results:
                outcome.differences = _differences(results[0], found)
            elif outcome.error is None:
                results.append(found)
            outcomes.append(outcome)
            on_outcome(outcome)
    return outcomes


def _run(
    outcome: Outcome,
    target: str,
    run_date: str,
    parameters: Mapping[str, str],
    place: Path,
    variables: Mapping[str, str],
) -> dict[str, pl.DataFrame]:
    import polars as pl

    job, results = place / "job.json", place / "results"
    results.mkdir()
    job.write_text(
        json.dumps(
            {"target": target, "provider": outcome.provider, "run_date": run_date, "parameters": dict(parameters)}
        )
    )
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(_HIDDEN)}
    home = place / "home"
    home.mkdir()
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "glacier_prefect.trial_child", str(job), str(results)],
        env={**inherited, "HOME": str(home), "GLACIER_ENV": environment_name(), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    outcome.seconds = time.monotonic() - began
    if done.returncode:
        outcome.error = done.stderr.strip() or f"It ended with code {done.returncode}."
        return {}
    names = json.loads((results / "names.json").read_text())
    found = {name: pl.read_parquet(results / f"{number}.parquet") for number, name in enumerate(names)}
    outcome.rows = {name: frame.height for name, frame in found.items()}
    return found


def _differences(expected: Mapping[str, pl.DataFrame], found: Mapping[str, pl.DataFrame]) -> dict[str, str]:
    from polars.testing import assert_frame_equal

    told = {name: "not published" for name in expected if name not in found}
    told |= {name: "published here only" for name in found if name not in expected}
    for name in expected.keys() & found.keys():
        try:
            assert_frame_equal(found[name], expected[name], check_row_order=False, rel_tol=TOLERANCE)
        except AssertionError as error:
            told[name] = str(error)
    return told


# -- what each provider starts with ------------------------------------------------------------------------------------


def _copied_inputs(pipeline: Pipeline, values: Mapping[str, Any], folder: Path, limit: int) -> Path:
    """Copy what the pipeline reads and does not write itself to `folder/<bucket>/<key>`."""
    locations = pipeline.graph.locations
    sinks = [each for each in locations if isinstance(each, Sink)]
    left = limit
    for source in locations:
        if not isinstance(source, Source) or any(source.overlaps(sink) for sink in sinks):
            continue
        for key, size, write in _objects(source, _prefix(source, values)):
            left -= size
            if left < 0:
                raise UsageError(
                    f"The pipeline reads more than {limit / 1e9:g} GB, which would be copied for each provider.\n"
                    "Hint: try it in an environment with less data (--env), or allow more with --max-gb."
                )
            target = folder / source.full_bucket / key
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target)
    return folder


def _prefix(source: Source, values: Mapping[str, Any]) -> str:
    with contextlib.suppress(GlacierError):  # a field that only a run knows
        return source.at(values).template.prefix
    return source.template.prefix


def _objects(source: Source, prefix: str) -> Iterator[tuple[str, int, Callable[[Path], object]]]:
    """Yield key, bytes, and what writes a copy, for each object whose name begins with a prefix."""
    if isinstance(source, LocalSource):
        for file in sorted(source.folder.rglob("*")):
            key = file.relative_to(source.folder).as_posix()
            if file.is_file() and key.startswith(prefix) and not key.startswith(".glacier/"):
                yield key, file.stat().st_size, partial(shutil.copyfile, file)
    elif isinstance(source, CloudLocation):
        objects = source.objects
        for meta in objects.below(prefix.rpartition("/")[0]):
            if meta.key.startswith(prefix) and "/.glacier/" not in f"/{meta.key}":
                yield meta.key, meta.size, partial(_download, objects, meta.key)


def _download(objects: Objects, key: str, target: Path) -> None:
    if (found := objects.get(key)) is not None:
        target.write_bytes(found[1])


@contextlib.contextmanager
def _reachable(provider: str, pipeline: Pipeline, place: Path, inputs: Path) -> Iterator[dict[str, str]]:
    """Yield the variables of a provider that has the pipeline's buckets and inputs."""
    variables = {"GLACIER_PROVIDER": provider}
    if provider == "local":
        data = place / "data"
        if inputs.exists():
            shutil.copytree(inputs, data)
        yield {**variables, "GLACIER_BASE_PATH": str(data)}
        return
    import obstore

    with _EMULATORS[provider].start() as emulator:
        buckets = {each.full_bucket for each in pipeline.graph.locations}
        for bucket in sorted(buckets):
            emulator.make_bucket(bucket)
            store = emulator.store(bucket)
            for file in sorted((inputs / bucket).rglob("*")):
                if file.is_file():
                    obstore.put(store, file.relative_to(inputs / bucket).as_posix(), file)
        yield {**variables, **emulator.env, **_profile(place, emulator.env)}


def _profile(place: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Return where the AWS profile that an environment names is found, with the emulator's keys."""
    profile = find_project().environment().settings.get("profile")
    if not profile or "AWS_ACCESS_KEY_ID" not in env:
        return {}
    file = place / "aws"
    keys = "".join(f"{key.lower()} = {env[key]}\n" for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    file.write_text(f"[{profile}]\n{keys}[profile {profile}]\nregion = {env['AWS_REGION']}\n")
    return {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_CONFIG_FILE": str(file)}


def locations_elsewhere(locations: Sequence[Location], provider: str) -> list[str]:
    """Return those of the locations that are not on a provider, and would lead out of a trial."""
    return [f"{each} ({each.provider_name})" for each in locations if each.provider_name != provider]
