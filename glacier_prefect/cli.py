"""The command line: `glacier init`, `run`, `backfill`, `test`, `analyze`, `validate`, `ui`, `doctor`. The others are in
`cli_infrastructure`, `cli_bootstrap` and `cli_deploy`.

Thin: each command loads a pipeline, calls what Python users call too, and prints. Exit codes: 0 done, 1 failed, 2 bad
usage or bad pipeline. Errors are shown without a traceback, unless `--debug` is given. Importing this loads neither
Prefect nor a cloud SDK.
"""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from glacier_prefect import __version__, cli_bootstrap, cli_deploy, cli_infrastructure
from glacier_prefect.cli_errors import message, print_json, reported
from glacier_prefect.cli_infrastructure import File, Json
from glacier_prefect.environments import preview_name, shown
from glacier_prefect.errors import (
    ApiRequired,
    ApiUnreachable,
    ConfigurationError,
    DefinitionError,
    GlacierError,
    NotAvailableError,
    UsageError,
    nearest,
)
from glacier_prefect.loading import load_pipeline, load_pipelines
from glacier_prefect.pipeline import Pipeline
from glacier_prefect.scaffold import write_project

if TYPE_CHECKING:
    from glacier_prefect.doctor import CheckResult
    from glacier_prefect.trial import Outcome

app = App(
    suppress_keyboard_interrupt=False,  # `main` says how far it came
    name="glacier",
    help="Glacier: Prefect flows over Polars LazyFrames.",
    help_epilogue="Each command takes --env NAME, the environment (GLACIER_ENV), --preview NAME, a preview of it "
    "(GLACIER_PREVIEW), and --debug, which shows tracebacks.",
    version=__version__,
    version_flags=["--version"],
)
for _command in (
    cli_infrastructure.generate,
    cli_infrastructure.iam,
    cli_bootstrap.bootstrap,
    cli_deploy.plan,
    cli_deploy.deploy,
    cli_deploy.rollback,
    cli_deploy.status,
    cli_deploy.destroy,
):
    app.command(_command)

Given = Annotated[
    list[str] | None,
    Parameter(name=["--param", "-p"], help="A parameter as name=value; lists and dicts as JSON.", negative=""),
]


@app.command
def init(
    folder: Annotated[Path, Parameter(help="Where to put it; made if it is not there.")] = Path(),
    /,
    *,
    name: Annotated[str | None, Parameter(help="The project's name; the folder's if left out.")] = None,
) -> None:
    """Write a small project: a pipeline, its environments, a test, and a workflow that deploys it."""
    for file in write_project(folder, name):
        print(shown(file))
    into = "" if folder == Path() else f"cd {shown(folder)} && "
    print(f"Now: {into}python flows/revenue.py", file=sys.stderr)


@app.command
def run(
    file: File,
    /,
    *,
    param: Given = None,
    date: Annotated[str | None, Parameter(help="The run's date, as in 2026-01-31; now if left out.")] = None,
    json: Json = False,
) -> None:
    """Run a pipeline here."""
    with _stdout_kept_for_json(json):
        pipeline = load_pipeline(file)
        parameters = _parameters(pipeline, param)
        result = pipeline.run(run_date=None if date is None else pipeline.moment(date), **parameters)
    if json:
        print_json({"version": 1, "pipeline": pipeline.name, "result": _shown(result)})
    else:
        for line in _lines(result):
            print(line)


@app.command
def backfill(
    file: File,
    /,
    *,
    from_: Annotated[str, Parameter(name="--from", help="First date.")],
    to: Annotated[str, Parameter(help="Last date, included.")],
    param: Given = None,
    again: Annotated[bool, Parameter(negative="", help="Run dates that are committed already, too.")] = False,
    json: Json = False,
) -> None:
    """Run a pipeline once for each date, but for those that are committed already, with whatever parameters that do not
    stand in their paths.
    """
    first, last = _date(from_), _date(to)
    if last < first:
        raise UsageError(f"--to {last} is before --from {first}.")
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    outcome: dict[str, str] = {}
    errors: dict[str, str] = {}
    progress = Console(stderr=True)
    with _stdout_kept_for_json(json):
        pipeline = load_pipeline(file)
        parameters = _parameters(pipeline, param)
        for number, day in enumerate(map(str, days), start=1):
            outcome[day] = "committed"
            if again or not pipeline.is_committed(pipeline.moment(day), parameters):
                try:
                    pipeline.run(run_date=day, **parameters)
                    outcome[day] = "done"
                except (
                    DefinitionError,
                    UsageError,
                    ConfigurationError,
                    NotAvailableError,
                    ApiUnreachable,
                    ApiRequired,
                ):
                    raise  # no other date would do better
                except Exception as error:
                    outcome[day], errors[day] = "failed", message(error)
                    print(f"{day}: {errors[day]}", file=sys.stderr)
            if progress.is_terminal:
                progress.print(f"[{number}/{len(days)}] {day} {outcome[day]}", highlight=False, markup=False)
    if param and "committed" in outcome.values():
        print(
            "What is committed may be of other parameters, but for those in its path; --again runs it with these.",
            file=sys.stderr,
        )
    if json:
        print_json({"version": 1, "pipeline": pipeline.name, "dates": outcome, "errors": errors})
    else:
        print(
            ", ".join(
                f"{sum(value == word for value in outcome.values())} {word}" for word in ("done", "committed", "failed")
            )
        )
    if errors:
        raise SystemExit(1)


@app.command(name="test")
def try_out(
    file: File,
    /,
    *,
    param: Given = None,
    date: Annotated[str | None, Parameter(help="The run's date, as in 2026-01-31; now if left out.")] = None,
    on: Annotated[list[str] | None, Parameter(help="A provider; local, aws, azure and gcp if left out.")] = None,
    max_gb: Annotated[float, Parameter(help="How much the pipeline may read.")] = 1.0,
    json: Json = False,
) -> None:
    """Run a pipeline on every provider, the clouds on emulators here, and compare what it publishes."""
    from glacier_prefect import trial
    from glacier_prefect.emulators import Unavailable

    table = Table("provider", "published", "rows", "seconds", "result")
    progress = Console(stderr=True)

    def told(outcome: trial.Outcome) -> None:
        _add_rows(table, outcome)
        if progress.is_terminal:
            progress.print(f"{outcome.provider}: {outcome.seconds:.1f} s", highlight=False)

    with _stdout_kept_for_json(True):
        pipeline = load_pipeline(file)
        texts = _texts(pipeline, param)
        moment = datetime.now(UTC) if date is None else pipeline.moment(date)
        try:
            outcomes = trial.try_out(
                file, pipeline, moment.isoformat(), texts, on or trial.PROVIDERS, told, int(max_gb * 1e9)
            )
        except Unavailable as error:
            raise UsageError(str(error)) from error
    if json:
        shown_ones = [{**asdict(each), "good": each.is_good} for each in outcomes]
        print_json({"version": 1, "pipeline": pipeline.name, "outcomes": shown_ones})
    else:
        Console().print(table)
    if not all(each.is_good for each in outcomes):
        raise SystemExit(1)


@app.command
def analyze(
    file: File,
    /,
    *,
    format: Annotated[Literal["text", "mermaid", "json", "html"], Parameter(help="What to print.")] = "text",
    json: Json = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"], help="Write to this file instead.")] = None,
    open: Annotated[
        bool, Parameter(negative="", help="Write a page (analysis.html, or --output) and open it in a browser.")
    ] = False,
) -> None:
    """Show what a pipeline is: its graph, what is computed where and why, what it reads and writes. Runs nothing."""
    with _stdout_kept_for_json(True):
        report = load_pipeline(file).analyze()
    kind = (
        "json"
        if json
        else "html"
        if open or (output is not None and output.suffix == ".html" and format == "text")
        else format
    )
    text = _rendered(report, kind, plain=output is not None)
    if open and output is None:
        output = Path("analysis.html")
    if output is None:
        print(text)
        return
    output.write_text(text + ("" if text.endswith("\n") else "\n"), encoding="utf-8")
    print(f"Written to {output}", file=sys.stderr)
    if open:
        webbrowser.open(output.absolute().as_uri())


@app.command
def validate(files: Annotated[list[str], Parameter(help="Python files.")], /, *, json: Json = False) -> None:
    """Check all pipelines of some files: names, dependencies, arguments, paths, order of reads and writes. Runs
    nothing.
    """
    results: list[dict[str, Any]] = []
    for file in files:
        try:
            with _stdout_kept_for_json(json):
                found = load_pipelines(file)
            for name, pipeline in found.items():
                results.append(
                    {
                        "file": file,
                        "variable": name,
                        "pipeline": pipeline.name,
                        "nodes": len(pipeline.graph.nodes),
                        "error": None,
                    }
                )
        except GlacierError as error:
            results.append({"file": file, "variable": None, "pipeline": None, "nodes": 0, "error": message(error)})
    if json:
        print_json({"version": 1, "pipelines": results})
    for each in () if json else results:
        print(
            f"{each['file']}: {each['error']}"
            if each["error"]
            else f"{each['file']}: {each['pipeline']} is valid, {each['nodes']} node{'' if each['nodes'] == 1 else 's'}"
        )
    if any(each["error"] for each in results):
        raise SystemExit(2)


@app.command
def ui(
    *,
    stop: Annotated[bool, Parameter(negative="", help="Stop it; its runs are kept for the next start.")] = False,
    json: Json = False,
) -> None:
    """Start a Prefect server on this machine for this project; later runs are reported to it while it answers."""
    from glacier_prefect import ui as servers

    folder = servers.project_folder(Path.cwd())
    if stop:
        server, state = servers.stop(folder), "stopped"
        if server is None:
            state = "not running"
    else:
        progress = Console(stderr=True)
        with progress.status("Starting a Prefect server") if progress.is_terminal else nullcontext() as status:
            server, started = servers.start(
                folder, lambda seconds: status.update(f"Starting a Prefect server, {seconds:.0f} s") if status else None
            )
        state = "started" if started else "running"
    if json:
        print_json({"version": 1, "state": state, **(asdict(server) if server else {})})
    elif server is None:
        print("No server of `glacier ui` is running.")
    elif stop:
        print(f"Stopped {server.url}")
    else:
        print(server.url)
        if state == "running":
            print(f"It is running since {server.started}.", file=sys.stderr)
        if os.environ.get("PREFECT_API_URL"):
            print("PREFECT_API_URL is set: runs are reported there, not here.", file=sys.stderr)
        else:
            print(f"For Prefect's own commands: export PREFECT_API_URL={server.api}", file=sys.stderr)
        print("Stop it with `glacier ui --stop`.", file=sys.stderr)


@app.command
def doctor(*, json: Json = False) -> None:
    """Check this installation, the environment's settings, the Prefect API, Terraform and the disk; say how to fix
    what is wrong.
    """
    from glacier_prefect.doctor import diagnose

    progress = Console(stderr=True)
    with _stdout_kept_for_json(True), progress.status("Checking") if progress.is_terminal else nullcontext():
        results = diagnose()
    failed = any(each.status == "failed" for each in results)
    if json:
        print_json({"version": 1, "ok": not failed, "checks": [asdict(each) for each in results]})
    else:
        _print_checks(results)
    if failed:
        raise SystemExit(1)


def _print_checks(results: Sequence[CheckResult]) -> None:
    colours = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
    console = Console(highlight=False)
    width = max(len(each.id) for each in results) + 2
    for each in results:
        fix = f"\nfix: {each.fix}" if each.fix else ""
        first, *more = f"{each.seen}{fix}".splitlines()
        line = Text.assemble(each.id.ljust(width), (each.status.ljust(9), colours[each.status]), first)
        console.print(line, soft_wrap=True)
        for text in more:
            console.print(Text(" " * (width + 9) + text), soft_wrap=True)


def _rendered(report: dict[str, Any], kind: str, *, plain: bool) -> str:
    from glacier_prefect import report as reports

    if kind == "json":
        return json.dumps(report, indent=2, ensure_ascii=False)
    if kind == "mermaid":
        return reports.render_mermaid(report)
    if kind == "html":
        return reports.render_html(report)
    console = Console()
    return reports.render_text(
        report, color=console.is_terminal and not plain, width=console.width if console.is_terminal else 100
    )


def _texts(pipeline: Pipeline, given: Sequence[str] | None) -> dict[str, str]:
    texts = {}
    for each in given or ():
        name, equals, text = each.partition("=")
        if not equals:
            raise UsageError(f"--param {each!r} is not name=value.")
        if name not in pipeline.graph.signature.parameters:
            raise UsageError(
                f"Pipeline {pipeline.name!r} has no parameter {name!r}. "
                f"{nearest(name, pipeline.graph.signature.parameters)}"
            )
        texts[name] = text
    return texts


def _parameters(pipeline: Pipeline, given: Sequence[str] | None) -> dict[str, Any]:
    texts = _texts(pipeline, given)
    parameters = pipeline.parse(texts) if texts else {}
    needed = [
        each.name
        for each in pipeline.graph.signature.parameters.values()
        if each.default is each.empty and each.name not in parameters
    ]
    if needed:
        raise UsageError(
            f"Pipeline {pipeline.name!r} needs {', '.join(needed)}.\nHint: give it as --param {needed[0]}=VALUE."
        )
    return parameters


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a date; expected one like '2026-01-31'.") from None


def _lines(result: Any) -> Iterator[str]:
    """Yield what a person wants to see of a result: frames as tables, written sinks as places."""
    from glacier_prefect.exchange import is_frame
    from glacier_prefect.sources import Location

    if isinstance(result, dict):
        for name, value in result.items():
            first, *more = list(_lines(value)) or ["None"]
            yield f"{name}: {first}" if not more else f"{name}:"
            yield from [first, *more] if more else []
    elif isinstance(result, list | tuple):
        for value in result:
            yield from _lines(value)
    elif is_frame(result):
        yield from str(result.lazy().head(10).collect()).splitlines()
    elif isinstance(result, Location):
        yield f"written to {result.uri}"
    elif result is not None:
        yield str(result)


def _shown(result: Any) -> Any:
    from glacier_prefect.exchange import is_frame
    from glacier_prefect.sources import Location

    if isinstance(result, dict):
        return {str(name): _shown(value) for name, value in result.items()}
    if isinstance(result, list | tuple):
        return [_shown(value) for value in result]
    if isinstance(result, Location):
        return {"uri": result.uri}
    if is_frame(result):
        return {"columns": {name: str(dtype) for name, dtype in result.lazy().collect_schema().items()}}
    return result if result is None or isinstance(result, str | int | float | bool) else str(result)


@contextmanager
def _stdout_kept_for_json(kept: bool) -> Iterator[None]:
    """Send what the user's code prints to stderr, if stdout is for a program."""
    with redirect_stdout(sys.stderr) if kept else nullcontext():
        yield


def _add_rows(table: Table, outcome: Outcome) -> None:
    result = "" if outcome.error is None else Text(outcome.error)
    lines: list[tuple[str, int | None]] = [*outcome.rows.items()] or [("", None)]
    for number, (name, rows) in enumerate(lines):
        different = outcome.differences.get(name)
        table.add_row(
            outcome.provider if number == 0 else "",
            Text(name),
            "" if rows is None else f"{rows:,}",
            f"{outcome.seconds:.1f}" if number == 0 else "",
            result or Text(different or "equal", "red" if different else "green"),
        )
    for name in outcome.differences.keys() - outcome.rows.keys():
        table.add_row("", Text(name), "", "", Text(outcome.differences[name], "red"))


def _entered(words: Sequence[str]) -> list[str]:
    """Make this process one of the environment and preview that words name, before the user's file is loaded, and
    return the others.
    """
    options = {
        "--env": ("GLACIER_ENV", "an environment", "prod"),
        "--preview": ("GLACIER_PREVIEW", "a preview", "pr-42"),
    }
    left: list[str] = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option not in options:
            left.append(word)
            continue
        variable, what, example = options[option]
        if not (value := value if equals else next(rest, "")):
            raise UsageError(f"{option} needs the name of {what}, as in {option} {example}.")
        os.environ[variable] = value
    preview_name()  # which checks it
    return left


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with 0, 1 (failed) or 2 (bad usage or bad pipeline).

    Args:
        arguments: Words of the command line; those of the process if None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        with reported(debug, "--json" in words):
            words = _entered(words)
            try:
                app(words, exit_on_error=False, print_error=False, result_action="return_value")
            except CycloptsError as error:
                raise UsageError(f"{error}\nHint: glacier --help") from None
    except KeyboardInterrupt as interrupt:
        if notes := getattr(interrupt, "__notes__", ()):  # how far it came
            print(" ".join(["Interrupted.", *notes]), file=sys.stderr)
        raise SystemExit(130) from None
