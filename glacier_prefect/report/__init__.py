"""How an analysed pipeline is shown: as text, as a Mermaid graph, as one HTML page.

Takes the plain data that `glacier analyze --json` prints and returns text. Imports nothing of Prefect, Polars or the
rest of Glacier, so a report can be made from a saved JSON file too.
"""

from glacier_prefect.report.html import render_html
from glacier_prefect.report.mermaid import render_mermaid
from glacier_prefect.report.text import render_text

__all__ = ["render_html", "render_mermaid", "render_text"]
