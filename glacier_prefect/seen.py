"""What a run shows in Prefect besides its task runs: assets for what it reads and publishes, and one Markdown artifact.

Only where the run is reported to an API; a run without a server shows nothing and costs nothing here.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prefect.assets import Asset, AssetProperties
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import AssetContext, FlowRunContext
from pydantic import ValidationError

from glacier_prefect.errors import GlacierError
from glacier_prefect.exchange import FrameLocation
from glacier_prefect.graph import Graph, executor_name, leaves
from glacier_prefect.tasks import Task

if TYPE_CHECKING:
    from glacier_prefect.sources import Source

SHOWN_COLUMNS = 100


@dataclass(kw_only=True)
class Seen:
    """What is known of one node when its run is over.

    Attributes:
        state: Name of its last state, of the worst of several task runs.
        seconds: Time that it took, summed over its task runs; None if it ran elsewhere.
        rows: Rows that it computed or published, None if it did neither.
        size: Bytes of these.
        published: URIs of what it published.
    """

    state: str = ""
    seconds: float | None = None
    rows: int | None = None
    size: int | None = None
    published: list[str] = field(default_factory=list)

    def add_result(self, result: Any) -> None:
        """Add the rows of frames that were computed in the node."""
        for leaf in leaves(result):
            if isinstance(leaf, FrameLocation):
                self.rows, self.size = (self.rows or 0) + leaf.rows, (self.size or 0) + leaf.size


def show_assets(touched: Sequence[tuple[str, Source]], seen: Seen) -> None:
    """Make what a node read and published assets of its task run, so that Prefect shows where data comes from.

    Args:
        touched: ("read" or "published", source) of the node.
        seen: What the artifact says of the node; rows and bytes of what it published are added.
    """
    context = AssetContext.get()
    if context is None or not touched:
        return
    for what, source in touched:
        asset = _asset(source)
        if what == "read":
            context.direct_asset_dependencies.add(asset)
            continue
        context.downstream_assets.add(asset)
        context.materialized_by = "glacier"
        facts = _facts(source)
        context.add_asset_metadata(asset.key, facts)
        seen.published.append(source.uri)
        seen.rows, seen.size = (seen.rows or 0) + facts.get("rows", 0), (seen.size or 0) + facts.get("bytes", 0)
    context.update_tracked_assets()


def _asset(source: Source) -> Asset:
    properties = AssetProperties(name=f"{source.bucket}/{source.path}")
    try:
        return Asset(key=source.uri, properties=properties)
    except ValidationError:  # Prefect refuses long keys and some characters, "%" too; a checksum keeps them apart
        plain = re.sub(r"[^A-Za-z0-9:/._=-]", "-", source.uri)[:480]
        return Asset(key=f"{plain}-{zlib.crc32(source.uri.encode()):08x}", properties=properties)


def _facts(source: Source) -> dict[str, Any]:
    import polars as pl

    try:
        frame = source.scan()
        schema = frame.collect_schema()
        rows = frame.select(pl.len()).collect().item()
        columns = {name: str(dtype) for name, dtype in list(schema.items())[:SHOWN_COLUMNS]}
        return {"rows": rows, "bytes": source.size(), "format": source.file_format.name, "schema": columns}
    except (GlacierError, OSError, pl.exceptions.PolarsError):  # somebody replaced or removed it just now
        return {}


def show_artifact(pipeline: str, graph: Graph, seen: Mapping[str, Seen], title: str) -> None:
    """Publish the run's Markdown artifact: its graph as a table, with rows, seconds and bytes.

    Args:
        pipeline: Name of the pipeline; the artifact's key is made of it, so that runs of one pipeline are versions of
            one artifact.
        graph: The pipeline's graph.
        seen: What is known of each node.
        title: A line that says which run it is.
    """
    key = "glacier-" + (re.sub(r"[^a-z0-9]+", "-", pipeline.lower()).strip("-") or "pipeline")
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    text = markdown(pipeline, graph, seen, title)
    made = ArtifactCreate(key=key, type="markdown", data=text, description=title, flow_run_id=context.flow_run.id)
    with get_client(sync_client=True) as client:  # that of the run, which create_markdown_artifact does not use
        client.create_artifact(made)


def markdown(pipeline: str, graph: Graph, seen: Mapping[str, Seen], title: str) -> str:
    """Return the text of a run's artifact."""
    lines = [f"# {_cell(pipeline)}", "", _cell(title), ""]
    lines += [
        "| node | after | runs on | state | rows | seconds | bytes |",
        "| --- | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for name, node in graph.nodes.items():
        facts = seen.get(name, Seen())
        after = ", ".join(node.upstream[:5]) + (", …" if len(node.upstream) > 5 else "")
        where = executor_name(node.call) if isinstance(node.call, Task) else node.kind
        cells = (name, after, where, facts.state, _count(facts.rows), _seconds(facts.seconds), _count(facts.size))
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    published = [(name, uri) for name in graph.nodes for uri in seen.get(name, Seen()).published]
    if published:
        lines += ["", "## Published", ""]
        lines += [f"* `{uri}` by {_cell(name)}" for name, uri in published]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f}"
