"""`code = "bucket"`: the project's archive in a bucket, from which each run takes it by the integration's pull step."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect.deployments.archive import Archive
from glacier_prefect.deployments.code import Delivery, user_files
from glacier_prefect.deployments.packages import STEPS, install_steps
from glacier_prefect.environments import Project
from glacier_prefect.errors import ConfigurationError, SourceNotFoundError, StoreError, UsageError
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.providers.cloud import CloudProvider
from glacier_prefect.providers.environment import code_place
from glacier_prefect.sources.objects import Objects

if TYPE_CHECKING:
    from glacier_prefect.deployments.changes import Change
    from glacier_prefect.deployments.state import Record, State

FILE = "code.tar.gz"
REACH = 50
"""How many records, from the present one on, keep the archives that they name: so far back goes `glacier rollback`."""
log = logging.getLogger(__name__)
Place = tuple[str, str]  # a bucket, and a folder in it that ends in "/"


class BucketCode(Delivery):
    """The worker takes an archive of the project from a bucket, as whoever the run is there.

    An archive is in a folder of its own, named by a hash of what is in it, and is never written twice. A pipeline that
    did not change stays at the archive that it was deployed with.

    Args:
        archive: The project's files.
        project: The project; its environment is that of this process.
        provider: The provider of that environment, which has the buckets.
    """

    def __init__(self, archive: Archive, project: Project, provider: CloudProvider) -> None:
        self._archive, self._project, self._provider = archive, project, provider

    def _place(self, pipeline: Pipeline) -> Place:
        place = code_place(pipeline.graph.locations, self._project)
        assert place is not None
        return place[1:]

    def pull_steps(self, pipeline: Pipeline) -> list[dict[str, Any]]:
        """Return Prefect's pull steps.

        Raises:
            ConfigurationError: A file that the pipeline needs is not in the archive.
        """
        folder = self._archive.folder
        needed = {Path(file).resolve() for file in user_files(pipeline, folder)}
        inside = {file.relative_to(folder).as_posix() for file in needed if file.is_relative_to(folder)}
        if missing := sorted(inside - self._archive.files.keys()):
            raise ConfigurationError(
                f'With code = "bucket" the worker gets what git tracks, and {missing[0]!r}, which pipeline '
                f"{pipeline.name!r} needs, is not tracked.\nHint: git add {missing[0]}"
            )
        bucket, above = self._place(pipeline)
        directory = "{{ pull.directory }}/code"
        unpack = {"filename": f"{{{{ pull.directory }}}}/{FILE}", "extract_dir": directory, "filter": "data"}
        return [
            self._provider.pull_step(bucket, f"{above}{self._archive.hash}/"),
            {"shutil.unpack_archive": unpack},
            {f"{STEPS}.set_working_directory": {"directory": directory}},
            *install_steps(folder),
        ]

    def identity(self, pipeline: Pipeline) -> dict[str, str]:
        bucket, above = self._place(pipeline)
        return {"code": "bucket", "place": f"{bucket}/{above}", "files": self._archive.others}

    def deliver(self, changes: Sequence[Change], outputs: Mapping[str, Any]) -> bool:
        for bucket, folder in sorted(_archives(each.wanted.fields for each in _written(changes) if each.wanted)):
            if not folder.endswith(f"/{self._archive.hash}/"):
                continue  # it was delivered before
            objects = self._objects(bucket)
            if objects.head(folder + FILE) is None:
                objects.put(folder + FILE, self._archive.packed(), replaces=None)  # who was quicker wrote the same
        return False

    def check(self, record: Record) -> None:
        """Raise `UsageError` if an archive that a record names is gone."""
        for bucket, folder in sorted(_archives(each.fields for each in record.objects)):
            if self._objects(bucket).head(folder + FILE) is None:
                raise UsageError(
                    f"The code of record {record.number} is not in bucket {bucket!r} any more, where {folder}{FILE} "
                    f"would be: the {REACH} newest records keep theirs. Nothing was changed.\n"
                    "Hint: check the commit out and deploy it."
                )

    def tidy(self, state: State) -> None:
        present = state.record()
        named = _archives(each.fields for each in present.objects)
        aboves = {(bucket, _above(folder)) for bucket, folder in named}
        try:
            found = {
                (bucket, f"{above}{name}/")
                for bucket, above in aboves
                for name in self._objects(bucket).children(above)[0]
            }
            for number in state.numbers()[: -REACH - 1 : -1]:
                if found <= named:
                    return
                named |= _archives(each.fields for each in state.record(number).objects)
            self._remove(found - named)
        except StoreError as error:  # all is deployed, and the next deploy looks again
            log.warning("Old archives of the code could not be removed: %s", error)

    def forget(self, state: State) -> None:
        """Remove all archives that records name, and what is beside them."""
        records = (state.record(number) for number in state.numbers())
        named = _archives(each.fields for record in records for each in record.objects)
        self._remove({(bucket, _above(folder)) for bucket, folder in named})

    def _remove(self, places: set[Place]) -> None:
        for bucket, folder in sorted(places):
            objects = self._objects(bucket)
            try:
                objects.delete([meta.key for meta in objects.below(folder)])
            except SourceNotFoundError:  # nor is the bucket
                continue

    def _objects(self, bucket: str) -> Objects:
        return Objects(self._provider.credentials.store(bucket), f"code ({self._provider.name}, bucket {bucket!r})")


def _written(changes: Sequence[Change]) -> list[Change]:
    return [each for each in changes if each.kind == "deployment" and each.action in ("create", "update")]


def _archives(deployments: Iterable[Mapping[str, Any]]) -> set[Place]:
    """Return the places of the archives that deployments name in their pull steps."""
    found = set()
    for fields in deployments:
        for settings in (each for step in fields.get("pull_steps") or () for each in step.values()):
            if "/.glacier/code/" in f"/{settings.get('folder', '')}":
                found.add((settings.get("bucket") or settings["container"], settings["folder"]))
    return found


def _above(folder: str) -> str:
    return folder.rstrip("/").rpartition("/")[0] + "/"
