"""What a report shows, in each of its three forms, and what it must never let through."""

import ast
import base64
import copy
import hashlib
import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

import glacier_prefect.report
from glacier_prefect.report import render_html, render_mermaid, render_text
from glacier_prefect.report.mermaid import fused
from glacier_prefect.report.text import schedule_in_words
from tests.base.report_samples import HOSTILE, edge, hostile, lanes, location, node, report, small, woven

PACKAGE = Path(glacier_prefect.report.__file__).parent
RENDERERS = [render_html, render_mermaid, render_text]
SAMPLES = {
    "small": small(),
    "hostile": hostile(),
    "lanes": lanes(20),
    "woven": woven(60),
    "chain": report(
        [node(f"step_{number}", computed=number == 39) for number in range(40)],
        [edge(f"step_{number}", f"step_{number + 1}") for number in range(39)],
    ),
    "empty": report([], []),
}


class Page(html.parser.HTMLParser):
    """What an HTML parser finds in a page: tags, attributes, and the text in each script, style and title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._in = "data" if ("type", "application/json") in attrs else tag

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in in ("data", "script", "style", "title"):
            self.texts[self._in] = self.texts.get(self._in, "") + data

    @property
    def policy(self) -> str:
        return next(
            value or "" for _, name, value in self.attributes if name == "content" and "default-src" in (value or "")
        )


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("render", RENDERERS)
def test_equal_reports_give_equal_text_and_stay_as_they_are(render: Any, name: str) -> None:
    given = copy.deepcopy(SAMPLES[name])
    assert render(given) == render(copy.deepcopy(given))
    assert given == SAMPLES[name]


def test_a_report_needs_only_the_standard_library_and_rich() -> None:
    allowed = {*sys.stdlib_module_names, "rich", "glacier_prefect.report"}
    for path in PACKAGE.glob("*.py"):
        for found in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in found.names] if isinstance(found, ast.Import) else []
            names += [found.module or ""] if isinstance(found, ast.ImportFrom) else []
            for name in names:
                assert name.startswith("glacier_prefect.report.") or name.split(".")[0] in allowed, (
                    f"{path.name}: {name}"
                )


# The page


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_holds_the_whole_report(name: str) -> None:
    assert json.loads(Page(render_html(SAMPLES[name])).texts["data"])["report"] == SAMPLES[name]


def test_the_page_says_the_schedule_in_words() -> None:
    assert json.loads(Page(render_html(small())).texts["data"])["schedule_in_words"] == "Monday to Friday at 06:00"


def test_hostile_strings_change_nothing_in_the_structure_of_the_page() -> None:
    plain, attacked = Page(render_html(small())), Page(render_html(hostile()))
    assert attacked.tags == plain.tags
    assert attacked.attributes == plain.attributes
    assert attacked.texts["script"] == plain.texts["script"]
    assert attacked.texts["title"] == HOSTILE
    assert not re.search(r"[<>&]", attacked.texts["data"])


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = Page(render_html(small()))
    code = page.texts["script"] + page.texts["style"]
    # The one address is the name of the SVG language, which nobody fetches.
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\"'\s]*", code))
    addresses |= {
        value or "" for _, name, value in page.attributes if name in ("src", "href", "xmlns", "action", "data")
    }
    assert addresses == {"http://www.w3.org/2000/svg", "data:,"}
    assert not re.search(r"@import|@font-face|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|\bimport\(|new Image", code)
    assert set(re.findall(r"url\(([^)]*)\)", code)) == {"#arrow", "#arrow-data", "#arrow-hot"}


def test_the_policy_of_the_page_allows_its_own_script_and_style_and_nothing_else() -> None:
    page = Page(render_html(hostile()))
    texts = {kind: page.texts[kind].encode() for kind in ("script", "style")}
    hashes = {kind: base64.b64encode(hashlib.sha256(text).digest()).decode() for kind, text in texts.items()}
    assert page.policy.split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{hashes['script']}'",
        f"style-src 'sha256-{hashes['style']}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]


def test_the_script_of_the_page_never_turns_text_into_html_or_code() -> None:
    script = Page(render_html(small())).texts["script"]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser", script
    )


def test_a_name_that_is_no_valid_unicode_still_makes_a_page_that_can_be_written() -> None:
    assert render_html(report([node("a\ud800")], [], pipeline={"name": "broken \udfff"})).encode("utf-8")


def test_the_page_has_labels_for_its_controls() -> None:
    page = Page(render_html(small()))
    labelled = {value for _, name, value in page.attributes if name == "aria-label"}
    assert {"Find a task or location", "Zoom in", "Zoom out", "Details", "Legend"} <= labelled
    assert ("html", "lang", "en") in page.attributes


# Text


def test_plain_text_shows_order_edges_executors_reasons_and_locations() -> None:
    text = render_text(small(), width=120)
    assert "\x1b" not in text
    assert "Monday to Friday at 06:00, Europe/Paris  (0 6 * * 1-5)" in text
    assert "limit: int = 1000" in text
    assert "airport: str (required)" in text
    assert "8 tasks (3 lazy), 8 edges (1 ordering), 2 sources, 2 sinks" in text
    lines = text.splitlines()
    joined = r" ● join_weather +clean \(flights\) +local +computed: 2 consumers, retries$"
    assert any(re.match(joined, line) for line in lines)
    assert any(re.match(r" ○ clean +load_flights \(frame\) +local +lazy, into join_weather$", line) for line in lines)
    assert any("write_daily (ordering)" in line for line in lines)
    assert any(re.match(r" curated/report +sink +delta, append, by carrier, month +local$", line) for line in lines)
    names = re.findall(r"^ [○●] (\w+)", text, re.MULTILINE)
    assert names == [item["name"] for item in small()["nodes"]]


@pytest.mark.parametrize("width", [40, 60, 72, 100, 160])
@pytest.mark.parametrize("name", SAMPLES)
def test_text_keeps_to_its_width(name: str, width: int) -> None:
    for line in render_text(SAMPLES[name], width=width).splitlines():
        assert cell_len(line) <= width
        assert line == line.rstrip()


def test_colour_is_there_when_asked_for_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    coloured = render_text(small(), color=True)
    assert "\x1b[" in coloured
    assert [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines()] == render_text(
        small()
    ).splitlines()


def test_text_passes_no_control_character_on_to_the_terminal() -> None:
    for width in (60, 120):
        text = render_text(hostile(), width=width)
        assert all(character == "\n" or character.isprintable() for character in text)
        assert "[31m" in text  # shown, not obeyed


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 6 * * *", "every day at 06:00"),
        ("30 6,18 * * *", "every day at 06:30 and 18:30"),
        ("0 6 * * 1-5", "Monday to Friday at 06:00"),
        ("0 6 * * MON,thu", "every Monday and Thursday at 06:00"),
        ("0 6 * * 7", "every Sunday at 06:00"),
        ("15 2 1 * *", "on day 1 of the month at 02:15"),
        ("15 2 L * *", "on the last day of the month at 02:15"),
        ("0 0 1 1,7 *", "on day 1 of the month in January and July at 00:00"),
        ("0 6 1 * 1", "on day 1 of the month or Monday at 06:00"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0 * * * *", "every hour"),
        ("5 * * * *", "every hour at minute 5"),
        ("0 */2 * * 1-5", "every 2 hours, Monday to Friday"),
        ("0 9-17 * * 1-5", "every hour from 09:00 to 17:00, Monday to Friday"),
        ("@daily", "every day at 00:00"),
        ("*/7 * * * *", ""),
        ("0 6 * * 1#2", ""),
        ("61 6 * * *", ""),
        ("not a cron", ""),
        ("", ""),
    ],
)
def test_a_schedule_is_said_in_words_or_not_at_all(cron: str, words: str) -> None:
    assert schedule_in_words(cron) == words


# Mermaid


def test_mermaid_draws_tasks_locations_and_both_kinds_of_edge() -> None:
    lines = render_mermaid(small()).splitlines()
    assert lines[0] == "flowchart LR"
    assert '    n3["join_weather"]' in lines
    assert '    n2(["clean"])' in lines  # lazy
    assert '  l1[("raw/weather/hourly.csv")]' in lines
    assert '  n2 -->|"flights"| n3' in lines
    assert "  n6 -.-> n7" in lines
    assert "  l1 --> n1" in lines
    assert "  n6 --> l2" in lines
    assert "  class n4 executor1" in lines


def test_no_name_can_leave_its_label_in_mermaid() -> None:
    label = r'"(?:[\w /.:,=()-]|#\d+;|<br/>)*"'
    shapes = rf"n\d+(?:\[{label}\]|\(\[{label}\]\)|\[\[{label}\]\]|\[/{label}/\])|l\d+\[\({label}\)\]"
    edges = rf"[nl]\d+ (?:-->|-\.->)(?:\|{label}\|)? [nl]\d+"
    classes = r"classDef \w+ [\w:#,\- ]+|class [nlq\d,]+ \w+"
    line = re.compile(rf"\s*(?:flowchart LR|subgraph q\d+\[{label}\]|end|{shapes}|{edges}|{classes})")
    for name, sample in SAMPLES.items():
        for text in render_mermaid(sample).splitlines():
            assert line.fullmatch(text), f"{name}: {text}"
    listed = render_mermaid(report([node("1. first"), node("- second")], []))
    assert '"1#46; first"' in listed
    assert '"#45; second"' in listed


def test_a_lazy_task_is_fused_with_its_consumer_unless_something_else_waits_for_it() -> None:
    nodes = [node("a", computed=False), node("b", computed=False), node("c"), node("d")]
    chain = [edge("a", "b"), edge("b", "c"), edge("c", "d")]

    def names(edges: list[dict[str, Any]]) -> list[list[str]]:
        return [[item["name"] for item in group] for group in fused(report(nodes, edges))]

    assert names(chain) == [["a", "b", "c"], ["d"]]
    assert names([*chain, edge("a", "d", kind="ordering")]) == [["a"], ["b", "c"], ["d"]]


# The layout, run outside a browser

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node to run the script of the page")

LAYOUT = """
const text = require("fs").readFileSync(process.argv[1], "utf8");
require("vm").runInThisContext(text.match(/<script>([^]*?)<\\/script>/)[1]);
const {report} = JSON.parse(text.match(/id="data">([^]*?)<\\/script>/)[1]);
const answer = {};
for (const grouped of [false, true]) {
  const start = performance.now(), drawn = model(report, {grouped});
  dress(drawn.units, written => written.length * 7, "local");
  const size = layout(drawn.units, drawn.edges);
  answer[grouped] = {
    seconds: (performance.now() - start) / 1000, size,
    units: drawn.units.map(u => ({x: u.x, y: u.y, w: u.w, h: u.h, names: u.rows.flatMap(r => r.keys)})),
    edges: drawn.edges.map(e => ({from: e.a.x + e.a.w, to: e.b.x, d: e.d})),
  };
}
console.log(JSON.stringify(answer));
"""


@needs_node
@pytest.mark.parametrize("name", [*SAMPLES, "lanes of 160", "woven 500", "woven 2000"])
def test_the_graph_is_laid_out_without_overlaps_from_left_to_right_and_quickly(name: str, tmp_path: Path) -> None:
    large = {"lanes of 160": lanes(160), "woven 500": woven(500), "woven 2000": woven(2000)}
    sample = large.get(name) or SAMPLES[name]
    page = tmp_path / "page.html"
    page.write_text(render_html(sample), encoding="utf-8")
    done = subprocess.run(["node", "-e", LAYOUT, str(page)], capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    for drawn in answer.values():
        units = sorted(drawn["units"], key=lambda unit: unit["x"])
        for number, unit in enumerate(units):
            for other in units[number + 1 :]:
                if other["x"] >= unit["x"] + unit["w"]:
                    break
                assert unit["y"] + unit["h"] <= other["y"] + 0.01 or other["y"] + other["h"] <= unit["y"] + 0.01
        assert all(link["from"] < link["to"] and "NaN" not in link["d"] for link in drawn["edges"])
        shown = {name for unit in units for name in unit["names"]}
        everything = {f"n:{item['name']}" for item in sample["nodes"]}
        assert shown == everything | {f"l:{item['id']}" for item in sample["locations"]}
        # Some 0.1 s for 500 nodes and 0.3 s for 2,000 on an idle machine.
        assert drawn["seconds"] < (1 if len(units) < 700 else 4)
    queries = sorted(sorted(f"n:{item['name']}" for item in group) for group in fused(sample))
    assert queries == sorted(sorted(u["names"]) for u in answer["false"]["units"] if not u["names"][0].startswith("l:"))


@needs_node
def test_a_location_that_is_read_and_then_overwritten_is_drawn_twice(tmp_path: Path) -> None:
    place = location("lake", "state.parquet", "both")
    nodes = [node("read", reads=[place["id"]]), node("write", kind="sink", writes=[place["id"]])]
    page = tmp_path / "page.html"
    page.write_text(render_html(report(nodes, [edge("read", "write")], locations=[place])), encoding="utf-8")
    done = subprocess.run(["node", "-e", LAYOUT, str(page)], capture_output=True, text=True, check=True, timeout=60)
    units = json.loads(done.stdout)["false"]["units"]
    assert [unit["names"] for unit in sorted(units, key=lambda unit: unit["x"])] == [
        [f"l:{place['id']}"],
        ["n:read"],
        ["n:write"],
        [f"l:{place['id']}"],
    ]
