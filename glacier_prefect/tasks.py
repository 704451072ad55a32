"""`@task`: a function, what it depends on, and where it runs.

Options of Prefect's task decorator pass through; their names are listed here, so that a misspelt one is an error at
once without loading Prefect (a test compares the list with the installed Prefect). Imports neither Prefect nor Polars.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from glacier_prefect import tracing
from glacier_prefect.environments import find_project
from glacier_prefect.errors import ArgumentsError, DependencyError, OptionError, nearest
from glacier_prefect.executors import EXECUTORS, Executor, environment_executor
from glacier_prefect.executors.base import call
from glacier_prefect.sources import Sink, Source
from glacier_prefect.sources.checks import declared_checks, declared_schema

if TYPE_CHECKING:
    import polars as pl

P = ParamSpec("P")
R = TypeVar("R")

PREFECT_TASK_OPTIONS = frozenset(
    {
        "asset_deps",
        "cache_expiration",
        "cache_key_fn",
        "cache_policy",
        "cache_result_in_memory",
        "description",
        "log_prints",
        "on_completion",
        "on_failure",
        "on_running",
        "persist_result",
        "refresh_cache",
        "result_serializer",
        "result_storage",
        "result_storage_key",
        "retries",
        "retry_condition_fn",
        "retry_delay_seconds",
        "retry_jitter_factor",
        "tags",
        "task_run_name",
        "timeout_seconds",
        "version",
        "viz_return_value",
    }
)
CACHE_OPTIONS = frozenset({"cache_expiration", "cache_key_fn", "cache_policy", "refresh_cache"})
OWN_OPTIONS = frozenset(
    {"name", "depends_on", "executor", "materialize", "columns", "schema", "checks", "cache", "reads", "writes"}
)


@dataclass(frozen=True)
class Unmapped:
    """A value that every task run of a mapped task gets as a whole.

    Attributes:
        value: The value; may be a task's result.
    """

    value: Any


def unmapped(value: Any) -> Any:
    """Give `value` as a whole to every task run of `task.map(...)`, instead of one item to each."""
    return Unmapped(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Task(Generic[P, R]):
    """A function with dependencies and an executor.

    In a pipeline function a call adds a node to the graph; elsewhere it runs the function.

    Attributes:
        fn: The function.
        name: Name of its nodes; the function's name unless given.
        depends_on: Tasks that have to be done before.
        executor: Name of a registered executor, or an executor with options.
        materialize: True computes its frames in its own node, False keeps them lazy, None decides by the compute rule.
        columns: Columns that the task reads of its frame inputs, by parameter name; others are not handed to it.
        schema: Columns that its result has to have, and their types.
        checks: Expressions that have to be true for each row of its result.
        cache: Whether a result is taken from an earlier run that had the same function, settings and input data.
        reads: Sources that its function makes itself, or finds where nobody can see them.
        writes: Sinks of that kind.
        options: Options of Prefect's task decorator.
        supplied: Parameters that the executor fills itself.
        origin: The task that this one was made from by `with_options`, else None.
    """

    fn: Callable[P, R]
    name: str
    depends_on: tuple[Task[..., Any], ...] = ()
    executor: str | Executor = "local"
    materialize: bool | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    checks: tuple[pl.Expr, ...] = ()
    cache: bool = False
    reads: tuple[Source, ...] = ()
    writes: tuple[Sink, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    supplied: tuple[str, ...] = ()
    origin: Task[P, R] | None = None

    def __post_init__(self) -> None:
        for name in functools.WRAPPER_ASSIGNMENTS:
            if hasattr(self.fn, name):
                object.__setattr__(self, name, getattr(self.fn, name))
        object.__setattr__(self, "__wrapped__", self.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if (tracer := tracing.active.get()) is not None:
            result: R = tracer.call_task(self, args, kwargs)
            return result
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name!r}>"

    def map(self, *args: Any, batch: int | None = None, **kwargs: Any) -> Any:
        """Run the task once for each item; the result is the list of results, in order.

        Args:
            args: Lists of items, or a task's result that is a list; `unmapped(value)` for what every run gets as a
                whole.
            batch: Number of items for one task run, for items that are small.
            kwargs: As `args`, by name.
        """
        if several := [
            str(each)
            for each in self.signature.parameters.values()
            if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]:
            raise ArgumentsError(
                f"map of task {self.name!r}: its parameter {several[0]} takes any number of values, so which are "
                "items cannot be told.\n"
                "Hint: map a task whose parameters have names of their own."
            )
        if batch is not None and (not isinstance(batch, int) or isinstance(batch, bool) or batch < 1):
            raise ArgumentsError(
                f"map of task {self.name!r} has batch={batch!r}; expected a whole number of at least 1."
            )
        if (tracer := tracing.active.get()) is not None:
            return tracer.map_task(self, args, kwargs, batch)
        bound = self.bind(args, kwargs)
        return [call(self.fn, item) for item in each_item(self.name, bound)]

    def with_options(self, **options: Any) -> Task[P, R]:
        """Return a copy with other options; those that are not named stay as they are.

        Args:
            options: Any option of `@task`.
        """
        kept = {name: getattr(self, name) for name in OWN_OPTIONS} | dict(self.options)
        made = _make(self.fn, {**kept, **options})
        return replace(made, origin=self.origin or self)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The signature of the function as a pipeline calls it: without what the executor fills."""
        whole = inspect.signature(self.fn)
        if not self.supplied:
            return whole
        return whole.replace(parameters=[each for each in whole.parameters.values() if each.name not in self.supplied])

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by parameter name (`*args` as a tuple, `**kwargs` as a dict), defaults left out.

        Raises:
            ArgumentsError: The function cannot take them.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentsError(
                f"Task {self.name!r} cannot be called so: {error}. Its signature is {self.name}{self.signature}."
            ) from None
        return dict(bound.arguments)

    def made_of(self, other: Task[..., Any]) -> bool:
        """Whether this task is `other`, or was made from it by `with_options`."""
        return other in (self, self.origin)


def each_item(name: str, bound: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the arguments of each run of a mapped task.

    Args:
        name: The task, for messages.
        bound: Arguments by name; lists and tuples are items, `Unmapped` and everything else is given to each run.

    Raises:
        ArgumentsError: Nothing is a list, lists differ in length, or a frame stands where items are expected.
    """
    items = {}
    for parameter, value in bound.items():
        if isinstance(value, list | tuple):
            items[parameter] = value
        elif not isinstance(value, Unmapped):
            raise ArgumentsError(
                f"map of task {name!r}: {parameter} is {type(value).__name__}, not a list of items.\n"
                "Hint: wrap what every run gets as a whole in unmapped(...); split a frame into a list in a task."
            )
    lengths = {parameter: len(value) for parameter, value in items.items()}
    if not lengths:
        raise ArgumentsError(f"map of task {name!r} has no list of items; each argument is unmapped(...).")
    if len(set(lengths.values())) > 1:
        raise ArgumentsError(f"map of task {name!r} has lists of different lengths: {lengths}.")
    count = next(iter(lengths.values()))
    whole = {parameter: value.value for parameter, value in bound.items() if isinstance(value, Unmapped)}
    return [{**whole, **{parameter: value[place] for parameter, value in items.items()}} for place in range(count)]


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    *,
    name: str | None = None,
    depends_on: Task[..., Any] | Sequence[Task[..., Any]] = (),
    executor: str | Executor = "local",
    materialize: bool | None = None,
    columns: Mapping[str, Iterable[str]] | Iterable[str] | None = None,
    schema: Mapping[str, Any] | None = None,
    checks: Iterable[pl.Expr] | pl.Expr = (),
    cache: bool = False,
    reads: Source | Sequence[Source] = (),
    writes: Sink | Sequence[Sink] = (),
    **options: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task.

    Args:
        fn: The function, when used as `@task` without arguments.
        options: `name`; `depends_on`, a task or a list of tasks that have to be done before; `executor`, where the body
            runs; `materialize`, True to compute its frames in its own node, False to keep them lazy; `columns`, the
            columns that it reads of its frame inputs; `schema` and `checks` on its result; `cache`, True to take an
            earlier result while nothing it depends on has changed; `reads` and `writes`, sources and sinks that its
            function makes itself, so that analysis and the run's rights have them; and every option of Prefect's task
            decorator (`retries`, `timeout_seconds`, `tags`, ...).

    Raises:
        DependencyError: `depends_on` holds something that is not a Task.
        OptionError: An option or executor does not exist.

    Example:
        ```python
        @task(depends_on=[load_data], retries=2)
        def clean(frame: pl.LazyFrame) -> pl.LazyFrame:
            return frame.drop_nulls()
        ```
    """
    if fn is not None:
        return _make(fn, options)
    _check_options(options, "@task")
    return lambda function: _make(function, options)


def _make(fn: Callable[P, R], options: Mapping[str, Any]) -> Task[P, R]:
    if isinstance(fn, Task):
        raise OptionError(f"{fn!r} is a task already; use with_options(...) to change it.")
    if not callable(fn) or isinstance(fn, type):
        raise OptionError(f"@task is used on {fn!r} ({type(fn).__name__}); expected a function.")
    name = options.get("name") or getattr(fn, "__name__", None) or type(fn).__name__
    if not isinstance(name, str):
        raise OptionError(f"@task has name={name!r} ({type(name).__name__}); expected a str.")
    where = f"task {name!r}"
    _check_options(options, where)
    supplied: tuple[str, ...] = ()
    executor = options.get("executor") or "local"
    if not isinstance(executor, Executor):
        if not isinstance(executor, str):
            raise OptionError(
                f"executor of {where} is {executor!r} ({type(executor).__name__}); expected a name, as in "
                "executor='dbt', or an Executor."
            )
        EXECUTORS.check(executor, where)
        if executor != "local" and EXECUTORS.is_own(executor):  # another may be costly to import, so it is asked later
            found = environment_executor(executor, find_project())
            found.check(fn, where)
            supplied = found.supplied(fn)
    else:
        executor.check(fn, where)
        supplied = executor.supplied(fn)
    materialize = options.get("materialize")
    if materialize is not None and not isinstance(materialize, bool):
        raise OptionError(f"materialize of {where} is {materialize!r}; expected True, False or None.")
    if options.get("cache") and materialize is False:
        raise OptionError(
            f"{where} has cache=True and materialize=False; a result that is not computed cannot be kept."
        )
    return Task(
        fn=fn,
        name=name,
        depends_on=_dependencies(options.get("depends_on", ()), where),
        executor=executor,
        materialize=materialize,
        columns=_columns(options.get("columns"), fn, supplied, where),
        schema=declared_schema(options.get("schema"), where),
        checks=declared_checks(options.get("checks", ()), where),
        cache=bool(options.get("cache", False)),
        reads=_located("reads", options.get("reads", ()), Source, where),
        writes=_located("writes", options.get("writes", ()), Sink, where),
        options={key: value for key, value in options.items() if key not in OWN_OPTIONS},
        supplied=supplied,
    )


def _check_options(options: Mapping[str, Any], where: str) -> None:
    for option in options:
        if option not in OWN_OPTIONS and option not in PREFECT_TASK_OPTIONS:
            raise OptionError(
                f"{where} has the unknown option {option!r}. {nearest(option, OWN_OPTIONS | PREFECT_TASK_OPTIONS)}"
            )


def _dependencies(given: Any, where: str) -> tuple[Task[..., Any], ...]:
    # A set has no order, and the order says which parameter of a declared pipeline's task gets which result.
    found = tuple(given) if isinstance(given, list | tuple) else (given,)
    for each in found:
        if not isinstance(each, Task):
            raise DependencyError(
                f"depends_on of {where} {'contains' if isinstance(given, list | tuple) else 'is'} {each!r} "
                f"({type(each).__name__}); "
                f"expected Task objects.\nHint: {_remedy(each)}"
            )
    return tuple(dict.fromkeys(found))


def _remedy(wrong: Any) -> str:
    if isinstance(wrong, str):
        return "pass the function decorated with @task, not its name."
    if inspect.isfunction(wrong):
        return f"decorate {wrong.__name__!r} with @task."
    return "pass a function decorated with @task, or a list of them."


def _located(option: str, given: Any, kind: Any, where: str) -> tuple[Any, ...]:
    found = tuple(given) if isinstance(given, list | tuple) else (given,)
    for each in found:
        if not isinstance(each, kind):
            what = "sources" if option == "reads" else "sinks"
            raise OptionError(
                f"{option} of {where} has {each!r} ({type(each).__name__}); expected {what}, as of "
                f"provider.bucket_{what[:-1]}(...)."
            )
    return found


def _columns(given: Any, fn: Callable[..., Any], supplied: tuple[str, ...], where: str) -> dict[str, tuple[str, ...]]:
    if given is None:
        return {}
    parameters = [each for each in inspect.signature(fn).parameters if each not in supplied]
    if not isinstance(given, Mapping):
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise OptionError(
                f"columns of {where} is {given!r}; expected a list of column names, or a dict of them by parameter."
            )
        if len(parameters) != 1:
            raise OptionError(
                f"columns of {where} is a list, and it has the parameters {parameters}; expected a dict by parameter."
            )
        given = {parameters[0]: given}
    for parameter in given:
        if parameter not in parameters:
            raise OptionError(f"columns of {where} names the parameter {parameter!r}. {nearest(parameter, parameters)}")
    return {parameter: tuple(names) for parameter, names in given.items()}
