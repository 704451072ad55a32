"""What a pull request and a job's summary say about a plan, as Markdown: the pipelines' graphs, infrastructure and
deployments as one tree, what would be lost first, rights, and which fields change. Talks to nobody.

Every name in it is the user's, so none is written as Markdown or HTML: names stand in code blocks whose fence is longer
than any in them, or in `<code>` with all but letters and digits as entities, where GitHub links and mentions nobody.
"""

from __future__ import annotations

import bisect
import itertools
import json
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

COMMENT_LIMIT = 60_000  # characters; GitHub answers 422 to more than 65,536, and the action may add what it previewed
SUMMARY_LIMIT = 1_000_000  # bytes; GitHub drops a step's summary above 1 MiB, and the action may add a few lines
GRAPH_LIMIT, EDGE_LIMIT = 50_000, 500  # GitHub draws no mermaid graph with more characters or edges
OPEN_ROWS = 40  # a longer section is folded
WIDTH = 120  # letters of a name or value where there is a limit

ACTIONS = ("delete", "replace", "update", "create", "keep")  # in the order in which they are shown
SIGNS = {"delete": "-", "replace": "-", "update": "!", "create": "+", "keep": "!"}
WORDS = {"create": "to create", "update": "to change", "replace": "to replace", "delete": "to delete"}
DONE = {"create": "created", "update": "changed", "replace": "replaced", "delete": "deleted"}


class Rendered(NamedTuple):
    """One text in three lengths.

    Attributes:
        comment: For the pull request; its first lines are `key` and the digest, which nobody sees.
        summary: For the job's summary.
        full_text: Uncut, for the artifact.
    """

    comment: str
    summary: str
    full_text: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A title and a code block.

    Attributes:
        title: As HTML or Markdown; names in it are written by `code`.
        lines: Of the block.
        language: Of the block.
        folded: Whether it is opened by a click.
        whole: Whether it is left out rather than cut.
    """

    title: str
    lines: Sequence[str]
    language: str = "diff"
    folded: bool = True
    whole: bool = False

    def text(self, count: int | None = None) -> str:
        """Return it with the first `count` lines, all if None."""
        lines = list(self.lines if count is None else self.lines[:count])
        if (missing := len(self.lines) - len(lines)) > 0:
            lines.append(f"# … {missing:,} more lines are in the full text")
        runs = (len(run) for line in self.lines for run in re.findall("`+", line))
        fence = "`" * max(3, max(runs, default=0) + 1)
        block = "\n".join([fence + self.language, *lines, fence])
        if self.folded:
            return f"<details>\n<summary>{self.title}</summary>\n\n{block}\n\n</details>\n"
        return f"**{self.title}**\n\n{block}\n"

    def fitted(self, room: int, size: Callable[[str], int]) -> str:
        """Return it cut to `room` at the end of a line, nothing if not even one line fits."""
        if size(whole := self.text()) <= room:
            return whole
        room -= size(self.text(0))
        ends = list(itertools.accumulate(size(line) + 1 for line in self.lines))
        count = 0 if self.whole else bisect.bisect_right(ends, room)
        return self.text(count) if count else ""


def key(environment: str, directory: str = ".") -> str:
    """Return the first line of the one comment about an environment of the project in a directory."""
    return f"<!-- glacier/deploy?environment={_quoted(environment)}&directory={_quoted(directory or '.')} -->"


def digest_in(comment: str) -> str | None:
    """Return the digest of the change set that a comment of the action shows, None if it has none."""
    found = re.fullmatch(r"<!-- glacier/digest=(\S+) -->", "".join(comment.splitlines()[1:2]))
    return urllib.parse.unquote(found[1]) if found else None


def body(
    tree: Mapping[str, Any],
    *,
    graphs: Mapping[str, str],
    digest: str,
    run_url: str,
    directory: str = ".",
    done: bool = False,
) -> Rendered:
    """Return what to say about a plan, or about what a deploy did.

    Args:
        tree: What `glacier plan --json` or `glacier deploy --json` prints (version 1).
        graphs: What `glacier analyze --format mermaid` prints, by pipeline.
        digest: Of the change set.
        run_url: Address of the workflow's run.
        directory: Input `working-directory`.
        done: Whether it was done.
    """
    title = f"### {code(tree['project'])}, {code(tree['environment'])}: {_counts(tree, DONE if done else WORDS)}\n"
    notes = [f"{code(tree[name])}\n" for name in ("recovered",) if tree.get(name)]
    if tree.get("unfinished"):
        notes.append("A deploy that was killed is finished or undone first.\n")
    marks = f"{key(tree['environment'], directory)}\n<!-- glacier/digest={_quoted(digest)} -->\n"
    head = "\n".join([title, *notes])
    return _rendered(marks, head, lambda width: _sections(tree, graphs, width), run_url)


def failure(
    message: str, *, reason: str, environment: str, run_url: str, directory: str = ".", what: str = "plan"
) -> Rendered:
    """Return what to say when a command failed, in place of what an earlier one said: without a digest.

    Args:
        message: What went wrong.
        reason: Output `failure-reason`.
        environment: Input `environment`.
        run_url: Address of the workflow's run.
        directory: Input `working-directory`.
        what: The command that failed.
    """
    head = f"### {code(environment)}: {what} failed ({code(reason)})\n"

    def sections(width: int | None) -> list[Section]:
        lines = [shown(line, width and 10 * width) for line in message.split("\n")]
        return [Section(title="Error", lines=lines, language="text", folded=False)]

    return _rendered(f"{key(environment, directory)}\n", head, sections, run_url)


def code(text: str, width: int = WIDTH) -> str:
    """Return a name for the midst of Markdown, where it is shown as it is and means nothing."""
    return f"<code>{''.join(c if c.isalnum() else f'&#{ord(c)};' for c in shown(text, width))}</code>"


def listed(names: Iterable[str], room: int = 5_000) -> str:
    """Return names for the midst of Markdown, as many as there is room for, and how many more there are."""
    texts = [code(each) for each in names]
    ends = list(itertools.accumulate(len(each) + 2 for each in texts))
    count = bisect.bisect_right(ends, room)
    return ", ".join([*texts[:count], *([f"{len(texts) - count:,} more"] if count < len(texts) else [])])


def shown(text: object, width: int | None = None) -> str:
    """Return text in one line, with an escape for each letter that cannot be seen or turns the others around."""
    line = "".join(c if c.isprintable() else c.encode("unicode-escape").decode() for c in str(text))
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def _quoted(text: str) -> str:
    """Return text in which nothing can end an HTML comment."""
    return urllib.parse.quote(text, safe="/:", errors="replace").replace("-", "%2D")


def _rendered(marks: str, head: str, sections: Callable[[int | None], list[Section]], run_url: str) -> Rendered:
    link = f"[this run]({urllib.parse.quote(run_url, safe=':/?=&%')})"
    left_out = f"Cut to what GitHub takes: the full text is an artifact of {link}.\n"
    comment = _fitted(marks + head, sections(WIDTH), f"From {link}.\n", left_out, COMMENT_LIMIT, _letters)
    summary = _fitted(head, sections(WIDTH), "", left_out, SUMMARY_LIMIT, _bytes)
    full_text = "\n".join([head, *(each.text() for each in sections(None))])
    return Rendered(comment, summary, full_text)


def _fitted(
    head: str, sections: Sequence[Section], foot: str, cut_foot: str, limit: int, size: Callable[[str], int]
) -> str:
    """Return all sections, or what fits: small ones whole, and the same room for each of the others."""
    whole = "\n".join([head, *(each.text() for each in sections), foot])
    if size(whole) <= limit:
        return whole
    room = limit - size(head) - size(cut_foot) - 2 - len(sections)
    texts = []
    for number, section in enumerate(sections):
        later = sorted(size(each.text()) for each in sections[number + 1 :])
        share = _share(size(section.text()), later, room)
        texts.append(section.fitted(share, size))
        room -= size(texts[-1])
    return "\n".join([head, *filter(None, texts), cut_foot])


def _share(own: int, others: Iterable[int], room: int) -> int:
    """Return the room for one of several that share it, where what one does not need is the others'."""
    sizes = sorted([own, *others])
    for number, each in enumerate(sizes):
        equal = room // (len(sizes) - number)
        if each >= own or each > equal:
            return equal
        room -= each
    return room


def _letters(text: str) -> int:
    """Return the length as JavaScript and GitHub's editor count, in which an emoji is two."""
    return len(text.encode("utf-16-le")) // 2


def _bytes(text: str) -> int:
    return len(text.encode())


def _sections(tree: Mapping[str, Any], graphs: Mapping[str, str], width: int | None) -> list[Section]:
    changed = sorted(tree["infrastructure"], key=_order)
    objects = sorted((each for each in tree["prefect"] if each["action"] != "keep" or each["adopted"]), key=_order)
    sections = []
    if lost := [f"- {shown(each['address'], width)}" for each in changed if each["loses_data"]]:
        title = f"Would be destroyed with its data, which is refused without allow-data-loss: {len(lost):,}"
        sections.append(Section(title=title, lines=lost, folded=False))
    if rows := list(_tree(tree, changed, objects, width)):
        sections.append(Section(title="Changes", lines=rows, folded=len(rows) > OPEN_ROWS))
    for sign, which in (("+", "gained"), ("-", "lost")):
        if rights := list(_rights(sign, tree["rights"][which], width)):
            title = f"Rights {which}: {len(tree['rights'][which]):,}"
            sections.append(Section(title=title, lines=rights, folded=len(rights) > OPEN_ROWS))
    if fields := list(_fields([*changed, *objects], width)):
        sections.append(Section(title="What changes in each", lines=fields))
    for name, graph in graphs.items():
        if len(graph) <= GRAPH_LIMIT and len(re.findall(r"-\.?->", graph)) <= EDGE_LIMIT:
            lines = [shown(line) for line in graph.rstrip("\n").split("\n")]
            sections.append(Section(title=f"Pipeline {code(name)}", lines=lines, language="mermaid", whole=True))
        else:
            lines = ["# more than GitHub draws; glacier analyze --open shows it"]
            sections.append(Section(title=f"Pipeline {code(name)}", lines=lines))
    return sections


def _tree(
    tree: Mapping[str, Any],
    changed: Sequence[Mapping[str, Any]],
    objects: Sequence[Mapping[str, Any]],
    width: int | None,
) -> Iterator[str]:
    """Yield the tree, each row behind the sign that colours it."""
    branches = [("infrastructure", list(_resources(changed, width))), ("Prefect", list(_objects(objects, width)))]
    branches = [(title, rows) for title, rows in branches if rows]
    if branches:
        yield f"  {shown(tree['project'], width)}, {shown(tree['environment'], width)}"
    for number, (title, rows) in enumerate(branches):
        last = number == len(branches) - 1
        yield f"  {'└─' if last else '├─'} {title}"
        for at, (sign, row) in enumerate(rows):
            yield f"{sign} {'  ' if last else '│ '} {'└─' if at == len(rows) - 1 else '├─'} {row}"


def _resources(changed: Sequence[Mapping[str, Any]], width: int | None) -> Iterator[tuple[str, str]]:
    """Yield a row for each resource; what a module makes in one, unless there is no limit."""
    made: dict[str, int] = {}
    for each in changed:
        if each["action"] == "create":
            made[_module(each)] = made.get(_module(each), 0) + 1
    for each in changed:
        module = _module(each)
        if each["action"] == "create" and module and width is not None and made[module] != 1:
            if made[module]:
                yield "+", f"{shown(module, width)} ({made[module]:,} resources)"
            made[module] = 0
            continue
        words = {"replace": " (replaced)"}.get(each["action"], "") + (" (holds data)" if each["loses_data"] else "")
        yield SIGNS[each["action"]], shown(each["address"], width) + words


def _module(resource: Mapping[str, Any]) -> str:
    found = re.match(r"module\.[^.]+", resource["address"])
    return found[0] if found else ""


def _objects(objects: Sequence[Mapping[str, Any]], width: int | None) -> Iterator[tuple[str, str]]:
    for each in objects:
        yield SIGNS[each["action"]], _object(each, width) + (" (taken over)" if each["adopted"] else "")


def _object(each: Mapping[str, Any], width: int | None) -> str:
    return f"{shown(each['kind'].replace('_', ' '), width)} {shown(each['name'], width)}"


def _rights(sign: str, rights: Sequence[Mapping[str, str]], width: int | None) -> Iterator[str]:
    """Yield who, and behind that what may be done where."""
    whos: dict[str, dict[str, list[str]]] = {}
    for each in rights:
        whos.setdefault(each["who"], {}).setdefault(each["where"], []).append(each["may"])
    for who, places in whos.items():
        yield f"{sign} {shown(who, width)}"
        for where, may in places.items():
            yield f"{sign}   {shown(', '.join(may), width)} on {shown(where, width)}"


def _fields(changed: Iterable[Mapping[str, Any]], width: int | None) -> Iterator[str]:
    """Yield what changes, and behind that the old and the new value of each field."""
    for each in changed:
        if each["fields"]:
            yield f"! {shown(each['address'], width) if 'address' in each else _object(each, width)}"
        for path, values in each["fields"].items():
            old, new = (json.dumps(values[side], ensure_ascii=False, sort_keys=True) for side in ("old", "new"))
            pairs = enumerate(zip(old, new, strict=False))
            same = next((at for at, (before, after) in pairs if before != after), 0) - 20
            for sign, value, side in (("-", old, "old"), ("+", new, "new")):
                if values[side] is not None:
                    cut = width is not None and same > 0 and len(value) > width  # else the difference may not be shown
                    yield f"{sign}   {shown(path, width)}: {shown(f'…{value[same:]}' if cut else value, width)}"


def _order(each: Mapping[str, Any]) -> tuple[bool, int]:
    return not each.get("loses_data"), ACTIONS.index(each["action"])


def _counts(tree: Mapping[str, Any], words: Mapping[str, str]) -> str:
    actions = [each["action"] for each in (*tree["infrastructure"], *tree["prefect"])]
    counts = [f"{actions.count(action):,} {word}" for action, word in words.items() if action in actions]
    taken = sum(each["adopted"] for each in tree["prefect"])
    counts += [f"{taken:,} taken over"] if taken else []
    return ", ".join(counts) or "nothing changes"
