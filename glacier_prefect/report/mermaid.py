"""The Mermaid graph, for READMEs and pull requests.

GitHub refuses graphs above 500 edges or 50,000 characters; the HTML page has no such limit.
"""

import re
from typing import Any

# Mid tones that carry dark text on GitHub's light and dark page alike.
COLOURS = ("#8ecae6", "#f4b183", "#b5d99c", "#d0b3ea", "#f2a7c3", "#8fd6c8", "#e3d08a", "#b0bcf5")
PLAIN = frozenset(" _-./:,=()")
LISTED = re.compile(r"\s*(\d+\.|-)\s")  # Mermaid takes such a start for a Markdown list and shows an error instead


def render_mermaid(report: dict[str, Any]) -> str:
    """Return a Mermaid flowchart of a report: tasks, locations as cylinders, ordering edges dotted.

    Args:
        report: What `glacier analyze --json` prints (version 1).

    Returns:
        The text of a `flowchart LR`, to be put into a `mermaid` code block.
    """
    nodes: list[dict[str, Any]] = report["nodes"]
    ids = {node["name"]: f"n{number}" for number, node in enumerate(nodes)}
    places = {location["id"]: f"l{number}" for number, location in enumerate(report["locations"])}
    lines, queries = ["flowchart LR"], list[str]()
    for number, members in enumerate(fused(report)):
        if len(members) == 1:
            lines.append(f"  {_node(members[0], ids)}")
            continue
        queries.append(f"q{number}")
        lines += [f'  subgraph q{number}["one query"]', *(f"    {_node(member, ids)}" for member in members), "  end"]
    for location in report["locations"]:
        name = "/".join(part for part in (location["bucket"], location["path"]) if part)
        lines.append(f'  {places[location["id"]]}[("{_escaped(name or location["id"])}")]')
    for edge in report["edges"]:
        label = f'|"{_escaped(edge["label"])}"|' if edge.get("label") else ""
        arrow = "-.->" if edge["kind"] == "ordering" else "-->"
        lines.append(f"  {ids[edge['from']]} {arrow}{label} {ids[edge['to']]}")
    for node in nodes:
        lines += [f"  {places[read]} --> {ids[node['name']]}" for read in node["reads"]]
        lines += [f"  {ids[node['name']]} --> {places[written]}" for written in node["writes"]]
    lines += _classes(report, ids, places)
    if queries:
        lines.append("  classDef query fill:none,stroke:#7b8c99,stroke-dasharray:4 4")
        lines.append(f"  class {','.join(queries)} query")
    return "\n".join(lines) + "\n"


def fused(report: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Return the nodes grouped by query: each lazy node with the computed one that its frame ends in.

    A lazy node with anything else behind it (an ordering edge, a second consumer, a write) stays alone.
    """
    nodes: list[dict[str, Any]] = report["nodes"]
    consumers: dict[str, list[dict[str, Any]]] = {node["name"]: [] for node in nodes}
    for edge in report["edges"]:
        consumers[edge["from"]].append(edge)
    end: dict[str, str] = {}
    for node in reversed(nodes):
        name = node["name"]
        ends = {end.get(edge["to"], edge["to"]) for edge in consumers[name]}
        fuses = len(ends) == 1 and any(edge["kind"] == "data" for edge in consumers[name])
        end[name] = ends.pop() if fuses and not node["computed"] and not node["writes"] else name
    groups: dict[str, list[dict[str, Any]]] = {}
    for node in nodes:
        groups.setdefault(end[node["name"]], []).append(node)
    return list(groups.values())


def _node(node: dict[str, Any], ids: dict[str, str]) -> str:
    label = _escaped(node["name"])
    if node["kind"] == "map":
        label += "<br/>for each item"
    opening, closing = {"flow": ("[[", "]]"), "sink": ("[/", "/]")}.get(
        node["kind"], ("[", "]") if node["computed"] else ("([", "])")
    )
    return f'{ids[node["name"]]}{opening}"{label}"{closing}'


def _classes(report: dict[str, Any], ids: dict[str, str], places: dict[str, str]) -> list[str]:
    lines = []
    for number, executor in enumerate(report["executors"]):
        members = [ids[node["name"]] for node in report["nodes"] if node["executor"] == executor["name"]]
        if members:
            colour = COLOURS[number % len(COLOURS)]
            lines.append(f"  classDef executor{number} fill:{colour},stroke:#4a5b66,color:#14222d")
            lines.append(f"  class {','.join(members)} executor{number}")
    if places:
        lines.append("  classDef data fill:#e3eaef,stroke:#7b8c99,color:#14222d")
        lines.append(f"  class {','.join(places.values())} data")
    return lines


def _escaped(text: str) -> str:
    """Every character that Mermaid, HTML or Markdown could read as something else becomes a numbered entity."""
    plain = PLAIN - set("-.") if LISTED.match(text) else PLAIN
    return "".join(
        character
        if character in plain or character.isalnum()
        else f"#{ord(character)};"
        if character.isprintable()
        else " "
        for character in text
    )
