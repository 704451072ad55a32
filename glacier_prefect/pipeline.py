"""`Pipeline` and `@pipeline`: a checked, ordered, frozen graph of task calls, and what can be done with it.

Making, checking and analysing a pipeline loads neither Prefect nor a cloud SDK; `flow` and `run` load `flows` and
Prefect when used.
"""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload
from zoneinfo import ZoneInfo

from glacier_prefect import graph as graphs
from glacier_prefect import tracing
from glacier_prefect.environments import find_project
from glacier_prefect.errors import (
    ConfigurationError,
    DefinitionError,
    DependencyError,
    OptionError,
    UsageError,
    nearest,
)
from glacier_prefect.graph import Graph, ParameterRef
from glacier_prefect.sources.paths import RUN_DATE
from glacier_prefect.tasks import Task

if TYPE_CHECKING:
    import prefect

PREFECT_FLOW_OPTIONS = frozenset(
    {
        "cache_result_in_memory",
        "description",
        "flow_run_name",
        "log_prints",
        "on_cancellation",
        "on_completion",
        "on_crashed",
        "on_failure",
        "on_running",
        "persist_result",
        "result_serializer",
        "result_storage",
        "retries",
        "retry_delay_seconds",
        "task_runner",
        "timeout_seconds",
        "validate_parameters",
        "version",
    }
)
OWN_OPTIONS = frozenset({"name", "schedule", "timezone", "tags"})
THREAD_RUNNERS = frozenset({"ThreadPoolTaskRunner", "ConcurrentTaskRunner"})
FORBIDDEN_IN_NAMES = "/%&><"  # Prefect's, checked against the installed version by a test


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Pipeline:
    """A checked, ordered, frozen graph of task calls.

    Made by `@pipeline` from a function, or by `Pipeline("name", tasks=[last_task])` from the dependencies that tasks
    declare.

    Attributes:
        name: Name of the flow.
        graph: The nodes and their order.
        function: The pipeline function, None for a declared pipeline.
        module: Name of the module that it was made in.
        file: That module's file, None if it has none.
        schedule: Cron expression, None for no schedule.
        timezone: Timezone of the schedule and of `run_date`.
        tags: Tags of its flow runs and deployment.
        options: Options of Prefect's flow decorator.
    """

    name: str
    graph: Graph
    function: Callable[..., Any] | None
    module: str
    file: str | None
    schedule: str | None
    timezone: str
    tags: tuple[str, ...]
    options: Mapping[str, Any]

    def __init__(
        self,
        name: str,
        *,
        tasks: Sequence[Task[..., Any]] | Task[..., Any],
        schedule: str | None = None,
        timezone: str = "UTC",
        tags: Iterable[str] = (),
        **options: Any,
    ) -> None:
        """Declare a pipeline by its last tasks; all that they depend on belongs to it.

        Args:
            name: Name of the flow.
            tasks: The last tasks.
            schedule: Cron expression.
            timezone: Timezone of the schedule and of `run_date`.
            tags: Tags of its flow runs and deployment.
            options: Options of Prefect's flow decorator.
        """
        where = f"pipeline {name!r}"
        given = tuple(tasks) if isinstance(tasks, list | tuple) else (tasks,)
        for each in given:
            if not isinstance(each, Task):
                raise DependencyError(
                    f"tasks of {where} contains {each!r} ({type(each).__name__}); expected Task objects.\n"
                    "Hint: pass functions decorated with @task, not their names."
                )
        if not given:
            raise DefinitionError(
                f"{where} has no tasks; name its last ones, as in Pipeline({name!r}, tasks=[final_step])."
            )
        settings = {"schedule": schedule, "timezone": timezone, "tags": tags, **options}
        self._set(name, settings, graphs.declared(given, where), None, _calling_module())

    def _set(
        self, name: str, settings: Mapping[str, Any], graph: Graph, function: Callable[..., Any] | None, module: str
    ) -> None:
        where = f"pipeline {name!r}"
        if not isinstance(name, str) or not name.strip():
            raise OptionError(f"A pipeline has the name {name!r}; expected a text, as in name='daily-orders'.")
        _check_settings(settings, where)
        if wrong := [letter for letter in FORBIDDEN_IN_NAMES if letter in name]:
            raise OptionError(f"{where} has {wrong[0]!r} in its name, which a Prefect flow cannot have.")
        timezone = settings.get("timezone") or "UTC"
        _check_schedule(settings.get("schedule"), timezone, where)
        options = {key: value for key, value in settings.items() if key not in OWN_OPTIONS}
        graph = replace(graph, runner=_process_runner(options.get("task_runner"))).with_executors(find_project())
        graph.check_travel(where)
        tags = settings.get("tags") or ()
        values = {
            "name": name,
            "graph": graph,
            "function": function,
            "module": module,
            "file": _file_of(function, module),
            "schedule": settings.get("schedule"),
            "timezone": timezone,
            "tags": (tags,) if isinstance(tags, str) else tuple(tags),
            "options": options,
        }
        if function is not None:
            values |= {name: getattr(function, name) for name in ("__doc__", "__name__", "__qualname__", "__module__")}
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    def __repr__(self) -> str:
        return f"<Pipeline {self.name!r}, {len(self.graph.nodes)} nodes>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pipeline; in another pipeline's function, add it as a sub-flow."""
        if (tracer := tracing.active.get()) is not None:
            return tracer.call_pipeline(self, args, kwargs)
        return self.run(*args, **kwargs)

    @functools.cached_property
    def flow(self) -> prefect.Flow[..., Any]:
        """The Prefect flow, made on first use; `<file>:<variable>.flow` is its entrypoint."""
        made: prefect.Flow[..., Any] = _flows().make_flow(self)
        return made

    @property
    def variable(self) -> str | None:
        """The module-level name that the pipeline is bound to, None if there is none."""
        if self.function is not None:  # whose module may have made room for another file of that name
            names = self.function.__globals__
        else:
            names = vars(sys.modules[self.module]) if self.module in sys.modules else {}
        own = self.function.__name__ if self.function else None
        return (
            own
            if own in names and names[own] is self
            else next((name for name, value in names.items() if value is self), None)
        )

    @functools.cached_property
    def description(self) -> str:
        """The docstring of the function, or the option of that name."""
        return self.options.get("description") or (inspect.getdoc(self.function) if self.function else "") or ""

    def run(self, *args: Any, run_date: datetime | date | str | None = None, **parameters: Any) -> Any:
        """Run the pipeline here and return what its function returned; frames in it are scans.

        With a Prefect API configured (`PREFECT_API_URL`, an active profile) the run is reported there, else to the
        project's server of `glacier ui` while that answers; else Prefect's own engine runs it without any server.

        Args:
            args: Parameters of the pipeline, by position.
            run_date: The date that it is run for; now if None.
            parameters: Parameters of the pipeline, by name.

        Raises:
            ApiUnreachable: A Prefect API is configured and does not answer.
        """
        tracing.refuse(f"run() of pipeline {self.name!r}", "call the pipeline, which makes it a sub-flow.")
        return _flows().run(self, args, parameters, run_date)

    def serve(self, name: str | None = None, **options: Any) -> None:
        """Serve the flow: register a deployment and run what is triggered, until stopped; options as in Prefect's
        `Flow.serve`.
        """
        self.require_variable("served")
        _flows().serve(self, name, options)

    def require_variable(self, what: str) -> str:
        """Return the name that a worker finds the pipeline under.

        Raises:
            ConfigurationError: It is bound to no module-level name.
        """
        variable = self.variable
        if variable is None or self.file is None:
            missing = (
                f"is bound to no module-level name in {self.module}"
                if self.file
                else f"is made in {self.module}, which is no file"
            )
            raise ConfigurationError(
                f"Pipeline {self.name!r} {missing}, so it can be run here, but not {what}: a worker could not find "
                "it.\n"
                "Hint: assign it to a name at the top level of a file."
            )
        return variable

    def moment(self, given: datetime | date | str) -> datetime:
        """Return a date or moment, or its text, as a moment in the pipeline's timezone.

        Raises:
            UsageError: It is none.
        """
        if isinstance(given, str):
            try:
                given = datetime.fromisoformat(given)
            except ValueError:
                raise UsageError(
                    f"{given!r} is not a date; expected one like '2026-01-31' or '2026-01-31T06:00'."
                ) from None
        if not isinstance(given, date):
            raise UsageError(
                f"{given!r} ({type(given).__name__}) is not a date; expected a date, a datetime or a text like "
                "'2026-01-31'."
            )
        if not isinstance(given, datetime):
            given = datetime.combine(given, time())
        zone = ZoneInfo(self.timezone)
        return given.replace(tzinfo=zone) if given.tzinfo is None else given.astimezone(zone)

    def is_committed(self, run_date: datetime, parameters: Mapping[str, Any]) -> bool:
        """Whether every sink whose path has `{run_date}` has its data for that date, in sub-flows too; False if there
        is none such.

        Args:
            run_date: The date.
            parameters: Parameters of the pipeline; defaults are filled in.
        """
        found = list(self._commits(run_date, parameters))
        return bool(found) and all(found)

    def _commits(self, run_date: datetime, parameters: Mapping[str, Any]) -> Iterator[bool]:
        """Yield for each sink whose path has `{run_date}` whether its data is there; False where that is known only
        during a run.
        """
        bound = self.graph.signature.bind_partial(**parameters)
        bound.apply_defaults()
        values = {**bound.arguments, RUN_DATE: self.moment(run_date)}
        for node in self.graph.nodes.values():
            if node.kind == "flow":
                arguments = {
                    name: values.get(given.parameter) if isinstance(given, ParameterRef) and not given.path else given
                    for name, given in node.arguments.items()
                }
                yield from node.call._commits(run_date, arguments)
                continue
            for sink in node.writes:
                if RUN_DATE in sink.template.fields:
                    known = all(isinstance(values.get(name), str | int | float | date) for name in sink.template.fields)
                    yield known and sink.twin().at(values).exists()

    def analyze(self) -> dict[str, Any]:
        """Return what the pipeline is, as plain data: nodes, edges, locations, executors (version 1 of `glacier analyze
        --json`).
        """
        from glacier_prefect.analysis import analyze

        return analyze(self)

    def generate(self) -> Path:
        """Write the Terraform root of this pipeline's project, for the environment that this process is in, as `glacier
        generate` does; return its file.
        """
        projects = _loaded("glacier_prefect.projects")
        project, pipelines = projects.of(self)
        made: Path = importlib.import_module("glacier_prefect.infrastructure").generate(pipelines, project).file
        return made

    def plan(self, **options: Any) -> dict[str, Any]:
        """Return what `deploy` would do, as plain data (version 1 of `glacier plan --json`); nothing is changed."""
        projects = _loaded("glacier_prefect.projects")
        project, pipelines = projects.of(self)
        planned: dict[str, Any] = projects.tree(projects.plan(project, pipelines, **options), project, pipelines)
        return planned

    def deploy(self, **options: Any) -> dict[str, Any]:
        """Deploy this pipeline's project, with all its pipelines, to the environment that this process is in, as
        `glacier deploy --yes` does; return what was done, as plain data.

        Args:
            options: `adopt`, `prune`, `prune_limit`, `allow_data_loss`, `expect`, `on_drift`, as on the command line.
        """
        projects = _loaded("glacier_prefect.projects")
        project, pipelines = projects.of(self)
        done: dict[str, Any] = projects.tree(projects.deploy(project, pipelines, **options), project)
        return done

    def destroy(self, **options: Any) -> dict[str, Any]:
        """Delete what was deployed of this pipeline's project, as `glacier destroy --yes` does; return what was done,
        as plain data.

        Args:
            options: `allow_data_loss`, `purge_history`, as on the command line.
        """
        projects = _loaded("glacier_prefect.projects")
        project, _ = projects.of(self)
        done: dict[str, Any] = projects.tree(projects.destroy(project, **options), project)
        return done

    def parse(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """Return parameters given as texts (on a command line) as values of their declared types.

        Args:
            texts: Text by parameter name; lists and dicts are written as JSON.

        Raises:
            OptionError: A parameter does not exist, or its text does not fit its type.
        """
        values: dict[str, Any] = _flows().parse_parameters(self, texts)
        return values


def _flows() -> Any:
    return _loaded("glacier_prefect.flows")


def _loaded(name: str) -> Any:
    # The one place that looks up: running is asked of a pipeline, and needs Prefect, which declaring one must not load.
    if name in sys.modules or not gc.isenabled():
        return importlib.import_module(name)
    # Of the half million objects that this makes none is garbage; looking for some costs a tenth of the start.
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        if not gc.get_freeze_count():  # else the user's own frozen objects would thaw
            gc.freeze()
            gc.unfreeze()  # together: all is old, and looked at with old objects, which is rarely
        gc.enable()


@overload
def pipeline(function: Callable[..., Any], /) -> Pipeline: ...


@overload
def pipeline(
    *,
    name: str | None = None,
    schedule: str | None = None,
    timezone: str = "UTC",
    tags: Iterable[str] = (),
    **options: Any,
) -> Callable[[Callable[..., Any]], Pipeline]: ...


def pipeline(function: Callable[..., Any] | None = None, /, **settings: Any) -> Any:
    """Make a function a pipeline: it is called once, with placeholders, and the calls that it makes become the graph.

    Args:
        function: The function, when used as `@pipeline` without arguments.
        settings: `name`; `schedule`, a cron expression; `timezone` of the schedule and of `run_date`; `tags`; and every
            option of Prefect's flow decorator (`retries`, `timeout_seconds`, `task_runner`, ...).

    Example:
        ```python
        @pipeline(name="daily-orders", schedule="0 6 * * *", timezone="Europe/Paris")
        def daily_orders(limit: int = 1000):
            return out.write(aggregate(clean(load_data(raw))))
        ```
    """
    if function is not None:
        return _called(function, settings)
    _check_settings(settings, "@pipeline")
    return lambda function: _called(function, settings)


def _called(function: Callable[..., Any], settings: Mapping[str, Any]) -> Pipeline:
    if isinstance(function, Task) or not inspect.isfunction(function):
        raise OptionError(f"@pipeline is used on {function!r} ({type(function).__name__}); expected a plain function.")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise DefinitionError(
            f"Pipeline function {function.__name__!r} is async or a generator; it only describes the pipeline.\n"
            "Hint: make it a plain function; tasks may be async."
        )
    name = function.__name__.replace("_", "-") if settings.get("name") is None else settings["name"]
    where = f"pipeline {name!r}"
    if RUN_DATE in inspect.signature(function).parameters:
        raise DefinitionError(
            f"{where} has a parameter named {RUN_DATE!r}, which is the date that each run has by itself."
        )
    _check_settings(settings, where)
    made = object.__new__(Pipeline)
    made._set(name, settings, graphs.trace(function, where), function, function.__module__)
    return made


def _check_settings(settings: Mapping[str, Any], where: str) -> None:
    known = OWN_OPTIONS | PREFECT_FLOW_OPTIONS
    for option in settings:
        if option not in known:
            raise OptionError(f"{where} has the unknown option {option!r}. {nearest(option, known)}")


def _check_schedule(schedule: Any, timezone: Any, where: str) -> None:
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, TypeError, OSError):
        from zoneinfo import available_timezones

        raise OptionError(
            f"{where} has the unknown timezone {timezone!r}. {nearest(str(timezone), available_timezones())}"
        ) from None
    if schedule is None:
        return
    from cronsim import CronSim, CronSimError

    try:
        CronSim(schedule, datetime(2000, 1, 1))
    except (CronSimError, TypeError, AttributeError):
        raise OptionError(
            f"{where} has schedule={schedule!r}; expected a cron expression, as in '0 6 * * *' (6:00 every day)."
        ) from None


def _process_runner(runner: Any) -> str | None:
    """Return the name of a task runner that runs tasks in other processes, None for threads."""
    if runner is None:
        return None
    kind = runner if isinstance(runner, type) else type(runner)
    return None if kind.__name__ in THREAD_RUNNERS else kind.__name__


def _calling_module() -> str:
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    return str(frame.f_globals.get("__name__", "__main__")) if frame else "__main__"


def _file_of(function: Callable[..., Any] | None, module: str) -> str | None:
    file = function.__code__.co_filename if function else getattr(sys.modules.get(module), "__file__", None)
    return os.path.abspath(file) if file and Path(file).is_file() else None
