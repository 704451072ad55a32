"""The HTML page: `page.html`, which draws the graph by itself, with the report inside.

Nothing in the page is fetched. Its content security policy names the one script and the one style sheet by hash, so a
name in a pipeline cannot become code even if it were put in unescaped.
"""

import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from typing import Any

from glacier_prefect.report.text import schedule_in_words


def render_html(report: dict[str, Any]) -> str:
    """Return one self-contained page for a report: graph, details, search and tables.

    Args:
        report: What `glacier analyze --json` prints (version 1).

    Returns:
        A whole HTML document that makes no request; equal reports give equal pages.
    """
    template = files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    schedule = report["pipeline"]["schedule"]
    words = schedule_in_words(schedule["cron"]) if schedule else ""
    values = {
        "csp": _policy(template),
        "title": _title(report["pipeline"]["name"]),
        "data": _embedded({"report": report, "schedule_in_words": words}),
    }
    # One pass, so that nothing in a value is taken for a field of the template.
    return re.sub(r"\{\{(csp|title|data)\}\}", lambda field: values[field[1]], template)


def _embedded(data: Any) -> str:
    """JSON that can stand inside a script element: ASCII, and without any character that HTML looks at."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _title(name: str) -> str:
    return html.escape(name).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _policy(template: str) -> str:
    def source(pattern: str) -> str:
        found = re.search(pattern, template, re.DOTALL)
        assert found, pattern
        return f"'sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}'"

    script, style = source(r"<script>(.*?)</script>"), source(r"<style>(.*?)</style>")
    rest = "img-src data:; base-uri 'none'; form-action 'none'"
    return f"default-src 'none'; script-src {script}; style-src {style}; {rest}"
