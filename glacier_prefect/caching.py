"""Results that stand for a task's run: when an earlier one does, and how it is stored.

A cache key is made of the user's function and all that it refers to, the task's settings, and what its inputs are made
of: a handed-over frame by its checksum, a source by its objects, a frame that is still lazy by the functions and
sources of its query.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import decimal
import enum
import hashlib
import inspect
import io
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import CodeType
from typing import Any

from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.context import TaskRunContext, get_settings_context
from prefect.results import ResultStore
from prefect.serializers import Serializer
from pydantic import Field

from glacier_prefect import exchange, run_context
from glacier_prefect.exchange import FrameLocation, Packed, Pick, is_frame, is_lazy, map_leaves
from glacier_prefect.graph import is_cached, is_user_code, referred
from glacier_prefect.plans import gathered
from glacier_prefect.run_context import RunContext
from glacier_prefect.sources import Location, Source
from glacier_prefect.tasks import CACHE_OPTIONS, Task, Unmapped

_MARK = "_glacier_fingerprint"
_PLAIN = (
    *(str, int, float, complex, bytes, type(None), range, enum.Enum, re.Pattern, uuid.UUID, PurePath, decimal.Decimal),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo),
)  # what `repr` tells apart and gives alike in each process


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
                inputs = gathered(dict(inputs))
            if self.inner is None:
                key: str | None = call_fingerprint(self.task, inputs)
            else:
                plain = {name: fingerprint(value) for name, value in inputs.items()}
                key = self.inner.compute_key(task_ctx=task_ctx, inputs=plain, flow_parameters=flow_parameters, **kwargs)
        return key and _usable(key, task_ctx.result_store)


@dataclass
class RunPolicy(CachePolicy):
    """Prefect cache policy: a retry of the same run, on whichever machine, takes what the node returned."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        task, run = task_ctx.task, task_ctx.task_run
        item = run.name.startswith(f"{task.name}[")  # the run of a mapped task; that of any other may be named anyhow
        here = RunContext(run_id=str(run.flow_run_id), node=run.name if item else task.name, exchange="")
        return _usable(here.token, task_ctx.result_store)


def keeps_results() -> bool:
    """Whether results of this process's runs are stored where a retry on another machine finds them."""
    return get_settings_context().settings.results.default_storage_block is not None


def uncached_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a Prefect task whose results do not stand for later runs.

    Args:
        options: The options that the user gave, without cache options.
    """
    if keeps_results() and options.get("persist_result") is not False:
        return {
            "result_serializer": GlacierSerializer(),
            **options,
            "persist_result": True,
            "cache_policy": RunPolicy(),
        }
    stored = {"result_serializer": GlacierSerializer()} if options.get("persist_result") else {}
    return {**stored, **options, "cache_policy": NO_CACHE}


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
        return uncached_options(kept)
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
    defaults: dict[str, Any] = {"result_serializer": GlacierSerializer(), "persist_result": True}
    if not keeps_results():
        defaults["result_storage"] = cache / "results"
    return {**defaults, **kept, "cache_policy": policy}


def _usable(key: str, store: ResultStore) -> str:
    """Return `key`, or a further one if what is stored under it cannot be read, or names frames that are gone."""
    number = 0
    candidate = key
    while store.exists(candidate) and _is_gone(candidate, store):
        number += 1
        candidate = f"{key}-{number}"
    return candidate


def _is_gone(key: str, store: ResultStore) -> bool:
    try:
        value = store.read(key).result
    except Exception:  # also what a class of the user's raises that is no longer what it was: the task can run again
        return True
    gone = []

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, Packed):
            map_leaves(exchange.loads(item.data), leaf)
        elif isinstance(item, FrameLocation) and not item.exists():
            gone.append(item)
        return item

    map_leaves(value, leaf)
    return bool(gone)


def fingerprint(value: Any) -> Any:
    """Return something small and stable that stands for a value in a cache key."""

    def leaf(item: Any, _: tuple[Any, ...]) -> Any:
        if isinstance(item, Pick):
            return fingerprint(item.open(lambda part: part))
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
    uses = (*referred(task.fn), *task.reads)
    for each in uses:
        if inspect.isfunction(each) or isinstance(each, Location) or each is task.fn:
            digest.update(f"{_code(each)}\0{_constants(each)}\0".encode())
    # What else it reaches (attributes of objects, say) has no name here, and the members of a set come in no order.
    digest.update("\0".join(sorted(_text(each) for each in uses if isinstance(each, _PLAIN))).encode())
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
        digest.update(f"{name}={_text(fingerprint(value))}\0".encode())
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
    if not inspect.isfunction(given) and not isinstance(given, type):
        return repr(given)
    try:
        return inspect.getsource(given)
    except (OSError, TypeError):
        if isinstance(given, type):
            return given.__qualname__
        return repr((given.__code__.co_code, given.__code__.co_consts, given.__code__.co_names))


def _constants(function: Any) -> str:
    """Return what the names that a function uses stand for, as far as that is plain data or classes of the user's."""
    if not inspect.isfunction(function):
        return ""
    names = _names(function.__code__)
    scope = {name: function.__globals__[name] for name in names if name in function.__globals__}
    scope |= inspect.getclosurevars(function).nonlocals
    for name, value in list(scope.items()):
        if inspect.ismodule(value) and is_user_code(value.__name__):
            scope |= {f"{name}.{member}": vars(value)[member] for member in names if member in vars(value)}
    return "\0".join(f"{name}={_text(value, strict=False)}" for name, value in sorted(scope.items()))


def _names(code: CodeType) -> set[str]:
    inner = [_names(each) for each in code.co_consts if inspect.iscode(each)]
    return set(code.co_names).union(*inner)


def _text(value: Any, *, strict: bool = True) -> str:
    """Return a text that is the same in each process for equal data, which a pickle is not.

    Args:
        value: Any value.
        strict: Whether values that are no plain data count, by their pickle; else only their type does.
    """
    if isinstance(value, Mapping):
        items = [f"{_text(key, strict=strict)}:{_text(item, strict=strict)}" for key, item in value.items()]
        return f"{type(value).__qualname__}{items}"
    if isinstance(value, list | tuple):
        return f"{type(value).__qualname__}{[_text(item, strict=strict) for item in value]}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__qualname__}{sorted(_text(item, strict=strict) for item in value)}"
    if isinstance(value, _PLAIN):
        return f"{type(value).__qualname__}({value!r})"
    if type(value).__module__.partition(".")[0] == "polars":
        return _polars_text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Location | Task):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return f"{type(value).__qualname__}{_text(fields, strict=strict)}"
    if isinstance(value, type) and is_user_code(value.__module__):
        return _code(value)
    if not strict:
        return type(value).__qualname__
    return hashlib.blake2b(exchange.dumps(value), digest_size=16).hexdigest()


def _polars_text(value: Any) -> str:
    import polars as pl

    if isinstance(value, pl.Expr):
        return value.meta.serialize(format="json")
    if is_frame(value):
        return str(_frame_fingerprint(value))
    return repr(value.to_list()) if isinstance(value, pl.Series) else repr(value)


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
