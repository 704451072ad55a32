"""The local disk as a provider: a bucket is a folder below `base_path`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from glacier_prefect.blocks import LOCAL, Block
from glacier_prefect.errors import ConfigurationError
from glacier_prefect.modules import ModuleCall, Needs, absolute, module_name
from glacier_prefect.providers.base import Provider
from glacier_prefect.sources.local import LocalSink, LocalSource

if TYPE_CHECKING:
    from glacier_prefect.sources.base import Sink, Source


@dataclass(frozen=True, kw_only=True)
class LocalProvider(Provider):
    """The local disk.

    Attributes:
        base_path: Folder that holds the buckets (`GLACIER_BASE_PATH`); a relative one is taken from the working
            directory, in `glacier.toml` from the folder of that file.

    Example:
        `LocalProvider(base_path="./data").bucket_source(bucket="my-data", path="orders/*.parquet")` reads `data/my-
        data/orders/`.
    """

    name: ClassVar[str] = "local"
    variables: ClassVar[Mapping[str, tuple[str, ...]]] = {"base_path": ("GLACIER_BASE_PATH",)}

    base_path: str | os.PathLike[str] = "data"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.base_path, str | os.PathLike) or not str(self.base_path):
            raise ConfigurationError(
                f"LocalProvider has base_path={self.base_path!r}; expected a folder, as in base_path='./data'."
            )
        object.__setattr__(self, "base_path", os.fspath(self.base_path))

    @classmethod
    def placed(cls, settings: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
        given = settings.get("base_path", "data")
        if not isinstance(given, str) or not given:
            return settings  # which the provider refuses
        return {**settings, "base_path": str(folder / given)}

    def resolved(self) -> Self:
        return replace(self, base_path=os.path.abspath(self.base_path))

    def modules(self, needs: Needs) -> tuple[ModuleCall, ...]:
        base_path = needs.path(str(self.base_path))
        calls = [
            ModuleCall(
                name=module_name(self.name, "bucket", bucket),
                source="local/bucket",
                inputs={
                    "name": bucket,
                    "location": {"base_path": base_path},
                    "readers": needs.grants(bucket, "reads"),
                    "writers": needs.grants(bucket, "writes"),
                    "labels": needs.labels,
                },
            )
            for bucket in needs.buckets
        ]
        if needs.work_pool is not None:
            inputs = {
                "name": needs.work_pool.name,
                # a run may be in a copy of the project, as a clone, in which a relative base_path is another folder
                "env": {**needs.work_pool.env, "GLACIER_BASE_PATH": absolute(base_path)},
                "pipelines": needs.work_pool.by_pipeline(),
                "labels": needs.labels,
            }
            calls.append(ModuleCall(name=module_name(self.name, "work_pool"), source="local/work_pool", inputs=inputs))
        return tuple(calls)

    def storage(self, bucket: str, folder: str = "") -> Block:
        place = Path(self.base_path).absolute() / (self.bucket_prefix + bucket) / folder
        return Block(kind=LOCAL, data={"basepath": str(place)})

    def secret(self, name: str) -> str:
        if not (value := os.environ.get(name)):
            raise ConfigurationError(
                f"There is no secret {name!r}: with LocalProvider a secret is an environment variable, and {name} is "
                "not set.\n"
                "Hint: set it, or a variable of the secret's name in code, which beats the file."
            )
        return value

    def _source(self, **settings: Any) -> Source:
        return LocalSource(**settings, base_path=str(self.base_path))

    def _sink(self, **settings: Any) -> Sink:
        return LocalSink(**settings, base_path=str(self.base_path))
