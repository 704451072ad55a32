"""What `glacier doctor` checks of clouds: credentials, the buckets of the project's pipelines, what is left there, the
work pool.

Each question has a time limit, since an address that nobody answers at would be waited for, for minutes.
"""

from __future__ import annotations

import contextvars
import itertools
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Literal

from glacier_prefect.credentials.redaction import hidden
from glacier_prefect.environments import Environment, Project, find_project
from glacier_prefect.errors import BucketNotFoundError, GlacierError, UsageError
from glacier_prefect.exchange import EXCHANGE_TTL_DAYS
from glacier_prefect.loading import load_project
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import environment_provider
from glacier_prefect.sources.base import Source
from glacier_prefect.sources.cloud import OWN, CloudLocation
from glacier_prefect.sources.cloud_sink import CloudSink

Status = Literal["ok", "warning", "failed", "skipped"]
Found = tuple[Status, str, str]

SECONDS = 20.0
ABANDONED = timedelta(hours=24)  # a write that is older is none any more
MANY = 100_000  # objects that are looked at for leftovers, in each bucket


def cloud_providers(project: Project, environment: Environment) -> dict[str, CloudProvider]:
    """Return an environment's providers that are clouds, by what messages call them."""
    every = {"": environment_provider(project)}
    every |= {name: environment_provider(project, name) for name in environment.providers}
    return {
        f"{each.name} ({name})" if name else each.name: each
        for name, each in every.items()
        if isinstance(each, CloudProvider)
    }


def check_credentials(providers: Mapping[str, CloudProvider]) -> Found:
    """Say which credentials each provider would use, and until when.

    Args:
        providers: By what messages call them.
    """
    asked = _all({name: partial(_used, each) for name, each in providers.items()})
    return _found({name: answer if isinstance(answer, Exception) else (answer, "") for name, answer in asked.items()})


def _used(provider: CloudProvider) -> str:
    return str(provider.credentials.used())


@dataclass
class Bucket:
    """A bucket that pipelines use.

    Attributes:
        location: One of the locations in it.
        reads: Fixed beginnings of the paths that are read.
        writes: Folders that sinks keep for unfinished writes.
    """

    location: CloudLocation
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)

    def try_out(self) -> str:
        """Read where pipelines read, write and remove a small object where they write; return what was done."""
        objects, done = self.location.objects, []
        for prefix in sorted(self.reads or self.writes):
            try:
                first = next(iter(objects.below(prefix)), None)
            except FileNotFoundError as error:  # a folder without objects is no error: it is the bucket that is missing
                if isinstance(error, BucketNotFoundError):
                    raise
                raise BucketNotFoundError(
                    f"{_name(self)}: there is no such bucket.\n"
                    "Hint: make it (`glacier apply`), or correct bucket= or bucket_prefix."
                ) from None
            if self.reads and first is not None:
                objects.head(first.key)
        done.append("readable" if self.reads else "reachable")
        for prefix in sorted(self.writes):
            key = f"{prefix}/doctor-{uuid.uuid4().hex}"
            objects.write(key, b"glacier doctor")
            objects.delete([key])
        if self.writes:
            done.append("writable")
        return ", ".join(done)

    def leftovers(self) -> tuple[int, int]:
        """Return the bytes that runs have left in handed-over frames that have expired and in unfinished writes."""
        now, sizes = datetime.now(UTC), {"exchange": 0, "writes": 0}
        ages = {"exchange": timedelta(days=EXCHANGE_TTL_DAYS), "writes": ABANDONED}
        for kind, age in ages.items():
            for meta in itertools.islice(self.location.objects.below(f"{OWN}/{kind}"), MANY):
                if now - meta.modified > age:
                    sizes[kind] += meta.size
        return sizes["exchange"], sizes["writes"]


def project_buckets() -> list[Bucket]:
    """Return the buckets in clouds that the pipelines of the working directory's project use."""
    try:
        _, pipelines = load_project()
    except UsageError as error:
        if "There is no pipeline" in str(error):
            return []
        raise
    found: dict[tuple[str, str, str | None], Bucket] = {}
    for location in (each for pipeline in pipelines for each in pipeline.graph.locations):
        if not isinstance(location, CloudLocation):
            continue
        key = (location.provider_name, location.full_bucket, location.endpoint_url)
        bucket = found.setdefault(key, Bucket(location))
        if isinstance(location, Source):
            bucket.reads.add(location.prefix.rpartition("/")[0])
        if isinstance(location, CloudSink):
            bucket.writes.add(location.own_folder("writes"))
    return list(found.values())


def check_buckets(buckets: Iterable[Bucket]) -> Found:
    """Try out each bucket."""
    asked = _all({_name(each): each.try_out for each in buckets})
    if not asked:
        return "skipped", "the project's pipelines use no bucket of a cloud", ""
    return _found({name: answer if isinstance(answer, Exception) else (answer, "") for name, answer in asked.items()})


def check_leftovers(buckets: Iterable[Bucket], size: Callable[[float], str]) -> Found:
    """Say how much runs that are over have left in each bucket.

    Args:
        buckets: The buckets.
        size: Shows a number of bytes.
    """
    asked = _all({_name(each): each.leftovers for each in buckets})
    if not asked:
        return "skipped", "the project's pipelines use no bucket of a cloud", ""
    reached = {name: answer for name, answer in asked.items() if not isinstance(answer, Exception)}
    left = {name: (frames, writes) for name, (frames, writes) in reached.items() if frames or writes}
    if not left:
        return ("ok", "none", "") if reached else ("skipped", "no bucket can be listed", "")
    seen = "\n".join(
        f"{name}: expired frames {size(frames)}, unfinished writes {size(writes)}"
        for name, (frames, writes) in left.items()
    )
    return "warning", seen, f"while nothing runs, delete what is in {OWN}/exchange and {OWN}/writes of these buckets"


def check_work_pool(project: Project, environment: Environment, url: str) -> Found:
    """Look whether the environment's work pool is there, takes runs, and has a worker.

    Args:
        project: The project, whose name is in the pool's.
        environment: The environment, whose name is in it too.
        url: Address of the Prefect API.
    """
    if project.name is None:
        return "skipped", "the project has no name, after which its work pool would be named", ""
    start = re.sub(r"[^a-z0-9]+", "-", f"glacier-{project.name}-{environment.name}-".lower())

    def look() -> list[tuple[str, str, bool, bool]]:
        from glacier_prefect import engine  # before Prefect, which reports its import unless it is told not to

        # isort: split

        from prefect.client.orchestration import get_client
        from prefect.context import SettingsContext, get_settings_context

        context = get_settings_context()
        settings = engine.changed(context.settings, api=engine.changed(context.settings.api, url=url))
        with SettingsContext(profile=context.profile, settings=settings), get_client(sync_client=True) as client:
            pools = client.read_work_pools(limit=200)
            return [
                (pool.name, str(getattr(pool.status, "value", pool.status)), pool.is_paused, pool.is_push_pool)
                for pool in pools
                if pool.name.lower().startswith(start)
            ]

    (answer,) = _all({"work pools": look}).values()
    if isinstance(answer, Exception):
        return ("failed", *_parts(answer))
    if not answer:
        return "skipped", f"environment {environment.name!r} has none yet; `glacier deploy` makes it", ""
    findings: dict[str, Any] = {}
    for name, status, paused, push in answer:
        if paused or status == "PAUSED":
            findings[name] = ("is paused", "prefect work-pool resume " + name, "warning")
        elif status == "NOT_READY" and not push:
            findings[name] = ("has no worker online", f"prefect worker start --pool {name}", "warning")
        else:
            findings[name] = ("online", "")
    return _found(findings)


def environment_of(folder: Any) -> tuple[Project, Environment]:
    """Return the project of a folder and the environment that this process is in."""
    project = find_project(folder)
    return project, project.environment()


def _name(bucket: Bucket) -> str:
    return f"{bucket.location.provider_name} {bucket.location.full_bucket}"


def _all(questions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Ask all at once and return their answers; an exception where there is none."""
    answers: dict[str, Any] = {
        name: TimeoutError(f"no answer within {SECONDS:g} s\nHint: check the address and the network.")
        for name in questions
    }

    def ask(name: str, question: Callable[[], Any]) -> None:
        try:
            answers[name] = question()
        except Exception as error:
            answers[name] = error

    threads = []
    for name, question in questions.items():
        context = contextvars.copy_context()
        threads.append(threading.Thread(target=context.run, args=(ask, name, question), daemon=True))
        threads[-1].start()
    end = datetime.now(UTC) + timedelta(seconds=SECONDS)
    for thread in threads:
        thread.join(max(0.0, (end - datetime.now(UTC)).total_seconds()))
    return dict(answers)


def _found(answers: Mapping[str, Any]) -> Found:
    """Put answers together: (what was seen, what to do), or with a status; an exception is a failure."""
    status: Status = "ok"
    seen, fixes = [], []
    for name, answer in answers.items():
        if isinstance(answer, Exception):
            text, fix = _parts(answer)
            status = "failed"
        else:
            text, fix, *worse = answer
            if worse and status == "ok":
                status = worse[0]
        seen.append(text if name in text else f"{name}: {text}")
        fixes += [fix] if fix and fix not in fixes else []
    return status, "\n".join(seen), "\n".join(fixes)


def _parts(error: Exception) -> tuple[str, str]:
    """Return an error's message and its hint."""
    text = str(error) if isinstance(error, GlacierError | TimeoutError) else f"{type(error).__name__}: {error}"
    seen, _, fix = hidden(text).partition("\nHint: ")
    return seen, fix
