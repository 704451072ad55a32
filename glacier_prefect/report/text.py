"""The report for a terminal, and the schedule in words that the HTML page shows too.

Uses rich for columns and colour and nothing else outside the standard library.
"""

import io
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

NARROW = 72  # below this a table's columns are too thin to read; each task gets lines of its own
PALETTE = ("cyan", "yellow", "green", "magenta", "bright_red", "bright_cyan", "bright_yellow", "bright_blue")
KINDS = {"map": "mapped", "sink": "sink", "flow": "sub-flow"}


def render_text(report: dict[str, Any], *, color: bool = False, width: int = 100) -> str:
    """Return a report for a terminal: header, tasks in the order of the graph, locations.

    Args:
        report: What `glacier analyze --json` prints (version 1).
        color: Whether to put in ANSI colours; without it the text is plain.
        width: The number of columns to fit into.

    Returns:
        The text, ending in a newline.
    """
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(width, 30),
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        highlight=False,
        emoji=False,
        markup=False,
        _environ={},  # neither NO_COLOR nor COLUMNS may overrule the arguments
    )
    narrow = width < NARROW
    parts = [_header(report), _tasks_in_lines(report) if narrow else _tasks(report)]
    if report["locations"]:
        parts.append(_locations(report, narrow=narrow))
    for number, part in enumerate(parts):
        if number:
            console.print()
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()) + "\n"


def _header(report: dict[str, Any]) -> RenderableType:
    pipeline, nodes = report["pipeline"], report["nodes"]
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("schedule", _schedule(pipeline["schedule"]))
    for number, parameter in enumerate(pipeline["parameters"]):
        facts.add_row("" if number else "parameters", _parameter(parameter))
    facts.add_row("code", _plain(pipeline["file"] + (f":{pipeline['variable']}" if pipeline["variable"] else "")))
    if pipeline["tags"]:
        facts.add_row("tags", _plain(", ".join(pipeline["tags"])))
    lazy = sum(not node["computed"] for node in nodes)
    ordering = sum(edge["kind"] == "ordering" for edge in report["edges"])
    counts = [
        _count(len(nodes), "task") + (f" ({lazy} lazy)" if lazy else ""),
        _count(len(report["edges"]), "edge") + (f" ({ordering} ordering)" if ordering else ""),
        _count(sum(location["role"] != "sink" for location in report["locations"]), "source"),
        _count(sum(location["role"] != "source" for location in report["locations"]), "sink"),
    ]
    facts.add_row("graph", _plain(", ".join(counts)))
    if pool := report["work_pool"]:
        facts.add_row("work pool", _plain(f"{pool['name']} ({pool['type']})"))
    for executor in report["executors"]:
        if needed := executor.get("modules"):
            facts.add_row(_plain(executor["name"]), _plain("needs " + ", ".join(needed)))
    title = _plain(pipeline["name"], "bold")
    described = [_plain(pipeline["description"])] if pipeline["description"] else []
    return Group(title, *described, Text(), Padding(facts, (0, 0, 0, 1)))


def _tasks(report: dict[str, Any]) -> RenderableType:
    table = _table("task", "after", "executor", "frame")
    for node, after, executor, frame in _steps(report):
        cell = Text.assemble(_mark(node), " ", _plain(node["name"], "bold" if node["computed"] else ""), _kind(node))
        table.add_row(_lines([cell, *_data(node)]), _lines(after), executor, frame)
    return table


def _tasks_in_lines(report: dict[str, Any]) -> RenderableType:
    lines: list[RenderableType] = []
    for node, after, executor, frame in _steps(report):
        lines.append(Text.assemble(_mark(node), " ", _plain(node["name"], "bold"), _kind(node), "  ", executor))
        details: list[Text] = [*_data(node), frame]
        if after:
            details.insert(0, Text("after ", "dim") + Text(", ").join(after))
        lines += [Padding(detail, (0, 0, 0, 4)) for detail in details]
    return Group(*lines)


def _locations(report: dict[str, Any], *, narrow: bool) -> RenderableType:
    roles = {"both": "source and sink"}
    rows: list[tuple[str, str, str]] = []
    for location in report["locations"]:
        name = "/".join(part for part in (location["bucket"], location["path"]) if part) or location["id"]
        details = [location["format"], location["mode"]]
        if location["partition_by"]:
            details.append("by " + ", ".join(location["partition_by"]))
        rows.append((name, roles.get(location["role"], location["role"]), ", ".join(filter(None, details))))
    if narrow:
        return Group(*(_lines([_plain(name, "bold"), _plain(f"    {role}, {how}", "dim")]) for name, role, how in rows))
    table = _table("location", "role", "format", "provider")
    for (name, role, how), location in zip(rows, report["locations"], strict=True):
        table.add_row(_plain(name), role, _plain(how), _plain(location["provider"]))
    return table


def _steps(report: dict[str, Any]) -> list[tuple[dict[str, Any], list[Text], Text, Text]]:
    """Each node with what it comes after, its executor and how its frame is computed."""
    before: dict[str, list[Text]] = {node["name"]: [] for node in report["nodes"]}
    consumer: dict[str, str] = {}
    for edge in report["edges"]:
        note = "ordering" if edge["kind"] == "ordering" else edge.get("label") or ""
        before[edge["to"]].append(_plain(edge["from"]) + _plain(f" ({note})" if note else "", "dim"))
        if edge["kind"] == "data":
            consumer.setdefault(edge["from"], edge["to"])
    colours = {item["name"]: PALETTE[number % len(PALETTE)] for number, item in enumerate(report["executors"])}
    steps = []
    for node in report["nodes"]:
        if node["computed"]:
            frame = _plain("computed: " + ", ".join(node["because"]) if node["because"] else "computed")
        else:
            frame = _plain("lazy" + (f", into {consumer[node['name']]}" if node["name"] in consumer else ""), "dim")
        executor = _plain(node["executor"] or "", colours.get(node["executor"], ""))
        steps.append((node, before[node["name"]], executor, frame))
    return steps


def _mark(node: dict[str, Any]) -> Text:
    return Text("●" if node["computed"] else "○", "cyan")


def _kind(node: dict[str, Any]) -> Text:
    kind = KINDS.get(node["kind"], "")
    if node["task"] != node["name"] and node["kind"] != "sink":
        kind = ", ".join(part for part in (kind, f"of {node['task']}") if part)
    return _plain(f" ({kind})" if kind else "", "dim")


def _data(node: dict[str, Any]) -> list[Text]:
    return [
        *(_plain(f"  reads {read}", "dim") for read in node["reads"]),
        *(_plain(f"  writes {written}", "dim") for written in node["writes"]),
        *(_plain(f"  secret {name}", "dim") for name in node["secrets"]),
        *(_plain(f"  unseen: what {name} opens; declare it in reads=, writes=", "red") for name in node["unseen"]),
    ]


def _schedule(schedule: dict[str, Any] | None) -> Text:
    if schedule is None:
        return Text("none, runs when asked")
    words, zone = schedule_in_words(schedule["cron"]), schedule.get("timezone")
    if not words:
        return _plain(schedule["cron"] + (f", {zone}" if zone else ""))
    return _plain(words + (f", {zone}" if zone else "")) + _plain(f"  ({schedule['cron']})", "dim")


def _parameter(parameter: dict[str, Any]) -> Text:
    text = _plain(parameter["name"]) + _plain(f": {parameter['type']}" if parameter["type"] else "", "dim")
    if parameter["default"] is not None:
        return text + _plain(f" = {parameter['default']}")
    return text + Text(" (required)" if parameter["required"] else "", "dim")


def _table(*columns: str) -> Table:
    table = Table(
        box=SIMPLE_HEAD, header_style="dim", border_style="dim", padding=(0, 1), pad_edge=True, show_edge=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _lines(lines: list[Text]) -> Text:
    return Text("\n").join(lines)


def _plain(text: str, style: str = "") -> Text:
    """Text that cannot steer the terminal: what is not printable (escapes, line breaks, bidi marks) shows as a box."""
    return Text("".join(character if character.isprintable() else "\ufffd" for character in text), style)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


# A cron expression in words. Only the shapes people commonly write; for any other the expression itself says most.

DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def schedule_in_words(cron: str) -> str:
    """Return a cron expression in English, or an empty text for one that has no short wording.

    Example:
        >>> schedule_in_words("0 6 * * 1-5")
        'Monday to Friday at 06:00'
    """
    fields = MACROS.get(cron.strip().lower(), cron).split()
    if len(fields) != 5:
        return ""
    minute, hour, day, month, weekday = fields
    try:
        time, whole_day = _time_in_words(minute, hour)
        days = _days_in_words(day, weekday)
        months = "" if month == "*" else " in " + _listed(_names(month, MONTHS, first=1))
    except ValueError:
        return ""
    if not whole_day:  # "at 06:00": the day comes first
        return f"{days or 'every day'}{months} {time}"
    return f"{time}{', ' + days if days else ''}{months}"


def _time_in_words(minute: str, hour: str) -> tuple[str, bool]:
    """The time, and whether it repeats through the day (so that "every day" need not be said)."""
    if minute.startswith("*"):
        if hour != "*":
            raise ValueError(minute)
        return _every(minute, "minute", 60), True
    minutes = _numbers(minute, 0, 59)
    if hour.startswith("*"):
        past = "" if minutes == [0] else f" at minute {_listed([str(value) for value in minutes])}"
        return _every(hour, "hour", 24) + past, True
    hours = _numbers(hour, 0, 23)
    times = [f"{one:02}:{other:02}" for one in hours for other in minutes]
    if "-" in hour and "," not in hour and len(minutes) == 1 and len(hours) > 2:
        return f"every hour from {times[0]} to {times[-1]}", True
    if len(times) > 6:
        raise ValueError(hour)
    return "at " + _listed(times), False


def _every(field: str, noun: str, cycle: int) -> str:
    if field == "*":
        return f"every {noun}"
    star, _, step = field.partition("/")
    # A step that does not divide its cycle (*/7) is uneven at the turn: better not said in words.
    if star != "*" or not step.isdigit() or int(step) < 1 or cycle % int(step):
        raise ValueError(field)
    return f"every {noun}" if int(step) == 1 else f"every {int(step)} {noun}s"


def _days_in_words(day: str, weekday: str) -> str:
    parts = []
    if day.lower() == "l":
        parts.append("the last day of the month")
    elif day != "*":
        parts.append(f"day {_listed([str(value) for value in _numbers(day, 1, 31)])} of the month")
    if weekday not in ("*", "?"):
        parts.append(_weekdays(weekday))
    if not parts:
        return ""
    if day == "*":
        return parts[0]
    return "on " + " or ".join(part.removeprefix("every ") for part in parts)  # cron joins the two by "or"


def _weekdays(field: str) -> str:
    names = _names(field, DAYS, first=0)
    if "-" in field and "," not in field and len(names) > 2:
        return f"{names[0]} to {names[-1]}"
    return "every " + _listed(names)


def _names(field: str, names: tuple[str, ...], *, first: int) -> list[str]:
    text = field.lower()
    for number, name in enumerate(names, first):
        text = text.replace(name[:3].lower(), str(number))
    last = first + len(names) - 1
    # Seven is Sunday as well as nought.
    return [names[(value - first) % len(names)] for value in _numbers(text, first, 7 if names is DAYS else last)]


def _numbers(field: str, low: int, high: int) -> list[int]:
    values: list[int] = []
    for part in field.split(","):
        start, dash, end = part.partition("-")
        if not (start.isdigit() and (not dash or end.isdigit())):
            raise ValueError(field)
        values += range(int(start), int(end or start) + 1)
    if not values or min(values) < low or max(values) > high:
        raise ValueError(field)
    return values


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
