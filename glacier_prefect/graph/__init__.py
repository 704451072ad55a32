"""The graph of a pipeline: nodes, the edges between them, and how a pipeline function becomes one.

Nothing here knows of Prefect or Polars.
"""

from glacier_prefect.graph.nodes import Graph, Node, executor_name, is_cached
from glacier_prefect.graph.placeholders import ParameterRef, Placeholder, Ref
from glacier_prefect.graph.recording import declared, trace
from glacier_prefect.graph.references import is_user_code, leaves, referred

__all__ = [
    "Graph",
    "Node",
    "ParameterRef",
    "Placeholder",
    "Ref",
    "declared",
    "executor_name",
    "is_cached",
    "is_user_code",
    "leaves",
    "referred",
    "trace",
]
