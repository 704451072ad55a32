"""Results that stand for a task's run: when an earlier one does, and how it is stored.

A cache key is made of the user's function and all that it refers to, the task's settings, and what its inputs are made
of: a handed-over frame by its checksum, a source by its objects, a frame that is still lazy by the functions and
sources of its query.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import inspect
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.context import TaskRunContext
from prefect.results import ResultStore
from prefect.serializers import Serializer
from pydantic import Field

from glacier_prefect import exchange, run_context
from glacier_prefect.exchange import FrameLocation, Packed, Pick, is_frame, is_lazy, map_leaves
from glacier_prefect.graph import is_cached, referred
from glacier_prefect.run_context import RunContext
from glacier_prefect.sources import Location, Source
from glacier_prefect.tasks import CACHE_OPTIONS, Task, Unmapped

_MARK = "_glacier_fingerprint"


class GlacierSerializer(Serializer):
    """Prefect result serializer: frames go to the exchange location and are stored as locations, never as data or query
    plans.
    """

    type: str = Field(default="glacier", frozen=True)

    def dumps(self, obj: Any) -> bytes:
        return base64.encodebytes(exchange.dumps(obj))

    def loads(self, blob: bytes) -> Any:
        return exchange.loads(base64.decodebytes(blob))


@dataclass
class GlacierCachePolicy(CachePolicy):
    """Prefect cache policy: by content, or by the user's own policy over what the inputs are made of.

    Attributes:
        task: The task whose results are cached.
        inner: The user's `cache_policy=` or `cache_key_fn=`, None for Glacier's own key.
        context: The run, where it does not come from the context variable (other processes).
    """

    task: Task[..., Any] | None = None
    inner: CachePolicy | None = None
    context: RunContext | None = field(default=None, repr=False)

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        assert self.task is not None
        with contextlib.ExitStack() as stack:
            if self.context is not None:
                stack.enter_context(run_context.entered(self.context))
            if self.inner is None:
                key: str | None = call_fingerprint(self.task, inputs)
            else:
                plain = {name: fingerprint(value) for name, value in inputs.items()}
                key = self.inner.compute_key(task_ctx=task_ctx, inputs=plain, flow_parameters=flow_parameters, **kwargs)
        return key and _usable(key, task_ctx.result_store)


def cache_options(
    task: Task[..., Any], options: Mapping[str, Any], cache: Path, context: RunContext | None
) -> dict[str, Any]:
    """Return the options of a Prefect task that say what is stored of its results; by default nothing.

    Args:
        task: The task.
        options: The options that the user gave.
        cache: Folder for results that stand for later runs.
        context: The run, for tasks that run in other processes.
    """
    kept = {name: value for name, value in options.items() if name not in ("cache_policy", "cache_key_fn")}
    if not is_cached(task):
        stored = {"result_serializer": GlacierSerializer()} if options.get("persist_result") else {}
        return {**stored, **kept, "cache_policy": NO_CACHE}
    inner = options.get("cache_policy")
    if (key_fn := options.get("cache_key_fn")) is not None:
        inner = CachePolicy.from_cache_key_fn(key_fn)
    if inner is NO_CACHE:
        return {**kept, "cache_policy": NO_CACHE}
    policy = GlacierCachePolicy(task=task, inner=inner, context=context)
    if inner is not None:
        policy.key_storage, policy.isolation_level, policy.lock_manager = (
            inner.key_storage,
            inner.isolation_level,
            inner.lock_manager,
        )
    defaults = {"result_serializer": GlacierSerializer(), "result_storage": cache / "results", "persist_result": True}
    return {**defaults, **kept, "cache_policy": policy}


def _usable(key: str, store: ResultStore) -> str:
    """Return `key`, or a further one if what is stored under it names frames that are gone."""
    number = 0
    candidate = key
    while store.exists(candidate) and _frames_gone(store.read(candidate).result):
        number += 1
        candidate = f"{key}-{number}"
    return candidate


def _frames_gone(value: Any) -> bool:
    gone = []

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, Packed):
            map_leaves(exchange.loads(item.data), leaf)
        elif isinstance(item, FrameLocation) and not Path(item.uri).exists():
            gone.append(item)
        return item

    map_leaves(value, leaf)
    return bool(gone)


def fingerprint(value: Any) -> Any:
    """Return something small and stable that stands for a value in a cache key."""

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, Pick):
            return f"{fingerprint(item.value)!r}{item.path}"
        if isinstance(item, Unmapped):
            return fingerprint(item.value)
        if isinstance(item, Packed):
            return fingerprint(exchange.loads(item.data))
        if isinstance(item, FrameLocation):
            return f"frame:{item.checksum}"
        if is_frame(item):
            return _frame_fingerprint(item)
        if isinstance(item, Location):
            return _location_fingerprint(item)
        return item

    return map_leaves(value, leaf)


def call_fingerprint(task: Task[..., Any], arguments: Mapping[str, Any]) -> str:
    """Return the digest of a call: the function with all that it refers to, the task's settings, and the arguments."""
    digest = hashlib.blake2b(digest_size=16)
    for each in referred(task.fn):
        digest.update(_code(each).encode())
    settings = (
        task.name,
        repr(task.executor),
        sorted(task.columns.items()),
        task.schema and sorted(map(str, task.schema.items())),
    )
    checks = [check.meta.serialize(format="json") for check in task.checks]
    options = sorted(
        (name, repr(value))
        for name, value in task.options.items()
        if name in CACHE_OPTIONS - {"cache_policy", "cache_key_fn"}
    )
    digest.update(repr((settings, checks, options)).encode())
    for name, value in sorted(arguments.items()):
        digest.update(name.encode() + exchange.dumps(fingerprint(value)))
    return digest.hexdigest()


def mark_lazy(value: Any, mark: str) -> None:
    """Note on each frame that stays lazy which call it comes from, for keys further down."""

    def leaf(item: Any, path: tuple[Any, ...]) -> Any:
        if is_lazy(item):
            setattr(item, _MARK, f"{mark}{path}")
        return item

    map_leaves(value, leaf)


def _code(given: Any) -> str:
    if isinstance(given, Location):
        return _location_fingerprint(given)
    if not inspect.isfunction(given):
        return repr(given)
    try:
        return inspect.getsource(given)
    except (OSError, TypeError):
        return repr((given.__code__.co_code, given.__code__.co_consts, given.__code__.co_names))


def _location_fingerprint(location: Location) -> str:
    checks = [check.meta.serialize(format="json") for check in location.checks]
    settings = (sorted(location.options.items()), location.schema and sorted(map(str, location.schema.items())), checks)
    objects = location.fingerprint() if isinstance(location, Source) else ""
    return f"{type(location).__name__}:{location.uri}:{objects}:{settings!r}"


def _frame_fingerprint(frame: Any) -> str:
    if (mark := getattr(frame, _MARK, None)) is not None:
        return f"query:{mark}"
    if is_lazy(frame):
        data = frame.serialize()
    else:
        buffer = io.BytesIO()
        frame.write_ipc(buffer)
        data = buffer.getvalue()
    return f"data:{hashlib.blake2b(data, digest_size=16).hexdigest()}"
