"""What a deploy does, as one tree of plain data, and that as text and Markdown. Writes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from glacier_prefect.deployments.change_set import change_set, digest, fields_of
from glacier_prefect.deployments.changes import Change
from glacier_prefect.deployments.deploying import Planned
from glacier_prefect.terraform_plan import data_loss
from glacier_prefect.terraform_rights import rights as rights_of

VERSION = 1
SIGNS = {"create": "+", "update": "~", "delete": "-", "replace": "-/+"}
WORDS = {"create": "to create", "update": "to change", "replace": "to replace", "delete": "to delete"}
WIDTH = 70  # letters of a value that are shown
LOSES = " (holds data, needs --allow-data-loss)"
RED, PLAIN = "\x1b[31m", "\x1b[0m"


def tree(planned: Planned, project: str, env: str) -> dict[str, Any]:
    """Return what is going to be done as plain data: version 1 of `glacier plan --json`."""
    saved = planned.infrastructure
    infrastructure, lost = (saved.changes, data_loss(saved)) if saved is not None else ([], [])
    gained, taken = rights_of(saved.masked) if saved is not None else ([], [])
    return {
        "version": VERSION,
        "project": project,
        "environment": env,
        "api": planned.api,
        "record": planned.record.number,
        "has_changes": planned.has_changes,
        "digest": digest(change_set(planned)),
        "drift": list(planned.drift),
        "unfinished": planned.unfinished,
        "recovered": planned.recovered,
        "infrastructure": [
            {
                "action": _action(each["change"]["actions"]),
                "address": each["address"],
                "loses_data": each["address"] in lost,
                "fields": fields_of(each),
            }
            for each in infrastructure
        ],
        "rights": {"gained": [asdict(each) for each in gained], "lost": [asdict(each) for each in taken]},
        "prefect": [
            {
                "action": each.action,
                "kind": each.kind,
                "name": each.name,
                "adopted": each.adopted,
                "id": _id(planned, each),
                "fields": each.differences(),
            }
            for each in planned.changes
        ],
        "outputs": dict(planned.outputs),
    }


def as_text(shown: Mapping[str, Any], *, color: bool = False) -> str:
    """Return a tree as text, what loses data first.

    Args:
        shown: The tree.
        color: Whether replacements, and deletions of data, are red.
    """
    lines = [shown["recovered"]] if shown["recovered"] else []
    lines += [f"not as shown before: {each}" for each in shown["drift"]]
    lines += [f"{shown['project']}, {shown['environment']}: {summary(shown)}"]
    branches = [(title, rows) for title, rows in _branches(shown) if rows]
    for number, (title, rows) in enumerate(branches):
        last = number == len(branches) - 1
        lines.append(f"{'└─' if last else '├─'} {title}")
        for at, (row, details) in enumerate(rows):
            stem = "   " if last else "│  "
            end = at == len(rows) - 1
            red = color and (row.endswith(LOSES) or row.startswith(SIGNS["replace"]))
            lines.append(f"{stem}{'└─' if end else '├─'} {f'{RED}{row}{PLAIN}' if red else row}")
            lines += [f"{stem}{'   ' if end else '│  '}    {detail}" for detail in details]
    return "\n".join(lines)


def as_markdown(shown: Mapping[str, Any]) -> str:
    """Return a tree as Markdown, for a comment or a job's summary: what loses data first, and red as a diff is."""
    lines = [f"### {shown['project']}, {shown['environment']}: {summary(shown)}"]
    for title, rows in _branches(shown):
        if rows:
            lines += ["", f"**{title}**", "", "```diff"]
            for row, details in rows:
                lines += [_harmless("! " + row[2:] if row.startswith("~") else row)]
                lines += [_harmless(f"    {detail}") for detail in details]
            lines.append("```")
    return "\n".join(lines)


def status_text(found: Mapping[str, Any], project: str, env: str) -> str:
    """Return what `status` found as text."""
    lines = [f"{project}, {env}: record {found['record']}" if found["record"] else f"{project}, {env}: not deployed"]
    if found["unfinished"]:
        lines.append("An earlier deploy was killed; the next command finishes or undoes it.")
    for title, rows in (
        ("Code", [f"{_kind(each)} {each['name']}: {each['what']}" for each in found["code"]]),
        ("Prefect", list(_drifted(found["prefect"]))),
        ("Infrastructure", [f"{each['address']}: {', '.join(each['actions'])}" for each in found["infrastructure"]]),
    ):
        lines.append(f"{title}: {'as deployed' if not rows else ''}".rstrip(": ") if rows else f"{title}: as deployed")
        lines += [f"  {row}" for row in rows]
    return "\n".join(lines)


def _drifted(changed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for each in changed:
        yield f"{_kind(each)} {each['name']}: {each['what']}"
        for path, values in each["fields"].items():
            if path == "paused":
                yield "  paused, which is left as it is"
            else:  # the old value is what is there now
                yield f"  {path}: {_short(values['new'])} was deployed, {_short(values['old'])} is there"


def _branches(shown: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    infrastructure = sorted(_of_infrastructure(shown["infrastructure"]), key=lambda row: not row[0].endswith(LOSES))
    prefect: list[tuple[str, list[str]]] = []
    for each in shown["prefect"]:
        if each["action"] == "keep" and not each["adopted"]:
            continue
        row = f"{SIGNS.get(each['action'], '~')} {_kind(each)} {each['name']}"
        row += " (taken over)" if each["adopted"] else ""
        prefect.append((row, _details(each["fields"])))
    rights = [
        row for sign, which in (("+", "gained"), ("-", "lost")) for row in _of_rights(sign, shown["rights"][which])
    ]
    return [("infrastructure", infrastructure), ("rights", rights), (f"Prefect, {shown['api']}", prefect)]


def _of_infrastructure(resources: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    """Yield a row for each resource; what a module makes, if it is more than one, in one row."""
    made: dict[str, list[str]] = {}
    for each in resources:
        module = re.match(r"module\.[^.]+", each["address"])
        if each["action"] == "create" and module:
            made.setdefault(module[0], []).append(each["address"])
    told = set()
    for each in resources:
        module = re.match(r"module\.[^.]+", each["address"])
        if each["action"] == "create" and module and len(made[module[0]]) > 1:
            if module[0] not in told:
                told.add(module[0])
                yield f"+ {module[0]} ({len(made[module[0]])} resources)", []
            continue
        row = f"{SIGNS[each['action']]} {each['address']}"
        yield row + (LOSES if each["loses_data"] else ""), _details(each["fields"])


def _of_rights(sign: str, found: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield a row for each who gets or loses rights, and where they are what."""
    for who in dict.fromkeys(each["who"] for each in found):
        places: dict[str, list[str]] = {}
        for each in found:
            if each["who"] == who:
                places.setdefault(each["where"], []).append(each["may"])
        yield f"{sign} {who}", [f"{', '.join(may)} on {where}" for where, may in places.items()]


def _details(fields: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [f"{path}: {_short(values['old'])} -> {_short(values['new'])}" for path, values in fields.items()]


def summary(shown: Mapping[str, Any]) -> str:
    """Return in a line what a tree comes to."""
    if not shown["has_changes"]:
        return "nothing changes"
    actions = [each["action"] for each in (*shown["infrastructure"], *shown["prefect"])]
    counts = [f"{actions.count(action)} {words}" for action, words in WORDS.items() if action in actions]
    taken = sum(each["adopted"] for each in shown["prefect"])
    counts += [f"{taken} to take over"] if taken else []
    counts += ["an unfinished deploy to finish or undo"] if shown["unfinished"] else []
    return ", ".join(counts)


def _id(planned: Planned, change: Change) -> str | None:
    """Return Prefect's id of an object, None if it has none yet."""
    made = planned.made.find(change.kind, change.name) if planned.made is not None else None
    return made.id if made is not None else change.existing.id if change.existing is not None else None


def _action(actions: Sequence[str]) -> str:
    return "replace" if len(actions) > 1 else actions[0]


def _kind(each: Mapping[str, Any]) -> str:
    return str(each["kind"]).replace("_", " ")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


def _harmless(line: str) -> str:
    """Return a line that cannot end the block that it stands in."""
    return line.replace("```", "'''")
