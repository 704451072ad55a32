"""Reports to test with: a small pipeline, big ones of two shapes, and one whose every string is hostile."""

import random
from typing import Any

HOSTILE = '</script><script>alert(1)</script>"\'`&<b onclick="x">{{data}}%%--> \x1b[31m\u2028\u202e]]end|#quot;é雪'


def node(name: str, **given: Any) -> dict[str, Any]:
    """One node, computed on the local executor unless said otherwise."""
    return {
        "name": name,
        "kind": "task",
        "task": name,
        "executor": "local",
        "description": "",
        "line": None,
        "options": {},
        "computed": True,
        "because": [],
        "reads": [],
        "writes": [],
        "secrets": [],
        "unseen": [],
        **given,
    }


def edge(before: str, after: str, label: str = "frame", kind: str = "data") -> dict[str, Any]:
    return {"from": before, "to": after, "kind": kind, "label": "" if kind == "ordering" else label}


def location(bucket: str, path: str, role: str = "source", **given: Any) -> dict[str, Any]:
    return {
        "id": f"{bucket}/{path.split('/')[0]}",
        "role": role,
        "provider": "local",
        "bucket": bucket,
        "path": path,
        "prefix": path.split("{")[0],
        "format": "parquet",
        "uri": f"file:///data/{bucket}/{path.split('{')[0]}",
        "mode": None if role == "source" else "overwrite",
        "partition_by": [],
        **given,
    }


def report(nodes: list[dict[str, Any]], edges: list[dict[str, Any]], **given: Any) -> dict[str, Any]:
    """A whole report; executors are counted from the nodes."""
    executors: dict[str, list[str]] = {}
    for item in nodes:
        if item["executor"]:
            executors.setdefault(item["executor"], []).append(item["name"])
    pipeline = {
        "name": "pipeline",
        "description": "",
        "schedule": None,
        "parameters": [],
        "file": "flow.py",
        "variable": "pipeline",
        "tags": [],
        **given.pop("pipeline", {}),
    }
    return {
        "version": 1,
        "pipeline": pipeline,
        "nodes": nodes,
        "edges": edges,
        "locations": given.pop("locations", []),
        "providers": ["local"],
        "work_pool": None,
        "executors": [{"name": name, "tasks": tasks} for name, tasks in executors.items()],
    }


def small() -> dict[str, Any]:
    """Eight tasks: two lazy chains into a join, two executors, two sinks, an ordering edge, a mapped task."""
    return report(
        [
            node(
                "load_flights",
                computed=False,
                reads=["raw/flights"],
                line="flow.py:12",
                description="Every departure from the three airports.",
            ),
            node("load_weather", computed=False, reads=["raw/weather"], line="flow.py:18"),
            node("clean", computed=False, line="flow.py:24", description="Drops cancelled flights."),
            node(
                "join_weather",
                because=["2 consumers", "retries"],
                options={"retries": 2, "retry_delay_seconds": 10, "timeout_seconds": 300, "tags": ["core"]},
                line="flow.py:31",
                description="Adds the hour's weather at the airport of departure to each flight.",
            ),
            node("delays_by_carrier", executor="spark", because=["executor spark"], line="flow.py:44"),
            node("forecast", kind="map", because=["mapped"], line="flow.py:58", options={"tags": ["model"]}),
            node("write_daily", kind="sink", task="write", because=["sink"], writes=["curated/daily"]),
            node("write_report", kind="sink", task="write", because=["sink"], writes=["curated/report"]),
        ],
        [
            edge("load_flights", "clean"),
            edge("clean", "join_weather", "flights"),
            edge("load_weather", "join_weather", "weather"),
            edge("join_weather", "delays_by_carrier"),
            edge("join_weather", "forecast"),
            edge("delays_by_carrier", "write_daily"),
            edge("forecast", "write_report"),
            edge("write_daily", "write_report", kind="ordering"),
        ],
        locations=[
            location("raw", "flights/{run_date:%Y/%m/%d}/*.parquet"),
            location("raw", "weather/hourly.csv", format="csv"),
            location("curated", "daily/{run_date:%Y-%m-%d}.parquet", "sink"),
            location("curated", "report", "sink", mode="append", format="delta", partition_by=["carrier", "month"]),
        ],
        pipeline={
            "name": "daily-delays",
            "description": "Joins yesterday's flights with the weather and says which carriers were late, and why.",
            "schedule": {"cron": "0 6 * * 1-5", "timezone": "Europe/Paris"},
            "parameters": [
                {"name": "limit", "type": "int", "default": "1000", "required": False},
                {"name": "airport", "type": "str", "default": None, "required": True},
            ],
            "file": "flow.py",
            "variable": "daily_delays",
            "tags": ["flights"],
        },
    )


def lanes(count: int) -> dict[str, Any]:
    """`count` tables each loaded, cleaned and checked by the same three tasks, then joined: what loops make."""
    nodes, edges, locations = [], [], []
    for number in range(count):
        suffix = f"-{number + 1}" if number else ""
        locations.append(location("landing", f"table_{number:03}/*.parquet"))
        nodes += [
            node(f"load{suffix}", task="load", computed=False, reads=[f"landing/table_{number:03}"]),
            node(f"clean{suffix}", task="clean", because=["retries"], options={"retries": 1}),
            node(f"check{suffix}", task="check", executor="databricks", because=["executor databricks"]),
        ]
        edges += [edge(f"load{suffix}", f"clean{suffix}"), edge(f"clean{suffix}", f"check{suffix}")]
        edges.append(edge(f"check{suffix}", "combine", f"tables[{number}]"))
    nodes += [
        node("combine", because=["2 consumers"]),
        node("write_all", kind="sink", task="write", writes=["warehouse/all"]),
        node("publish", kind="flow", executor=None),
    ]
    edges += [edge("combine", "write_all"), edge("combine", "publish"), edge("write_all", "publish", kind="ordering")]
    locations.append(location("warehouse", "all.parquet", "sink", id="warehouse/all"))
    return report(nodes, edges, locations=locations, pipeline={"name": f"{count}-tables"})


def woven(count: int) -> dict[str, Any]:
    """`count` different tasks in an irregular graph with lazy chains, several executors, sources and sinks."""
    pick = random.Random(count)
    verbs = ("load", "clean", "join", "enrich", "aggregate", "filter", "rank", "score", "dedupe", "reshape")
    nouns = ("orders", "customers", "sessions", "payments", "returns", "products", "stores", "carriers", "invoices")
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []
    locations: list[dict[str, Any]] = []
    width = max(3, int(count**0.55))
    for number in range(count):
        name = f"{verbs[number % len(verbs)]}_{nouns[number // len(verbs) % len(nouns)]}_{number}"
        executor = pick.choices(("local", "spark", "dbt", "databricks"), (12, 2, 2, 1))[0]
        reads, before = [], []
        if number < width or pick.random() < 0.04:
            locations.append(location("lake", f"area_{number}/{{run_date:%Y-%m-%d}}/*.parquet"))
            reads = [f"lake/area_{number}"]
        else:
            near = range(max(0, number - 2 * width), number)
            before = sorted(set(pick.choices(near, k=pick.choice((1, 1, 1, 2, 3)))))
        nodes.append(node(name, executor=executor, reads=reads, line=f"flow.py:{10 * number + 4}"))
        edges += [edge(nodes[other]["name"], name) for other in before]
        if number > 2 * width and pick.random() < 0.02:
            edges.append(edge(nodes[pick.randrange(number - width)]["name"], name, kind="ordering"))
    edges = list({(item["from"], item["to"]): item for item in edges}.values())
    executors = {item["name"]: item["executor"] for item in nodes}
    for item in nodes:
        after = [other for other in edges if other["from"] == item["name"] and other["kind"] == "data"]
        if not after:
            locations.append(location("warehouse", f"{item['name']}.parquet", "sink"))
            item["writes"] = [locations[-1]["id"]]
        if len(after) > 1:
            item["because"] = [f"{len(after)} consumers"]
        elif after and executors[after[0]["to"]] == item["executor"] == "local":
            item["computed"] = False
        else:
            item["because"] = ["executor " + item["executor"]] if item["executor"] != "local" else ["crosses a process"]
    return report(
        nodes,
        edges,
        locations=locations,
        pipeline={"name": "warehouse", "schedule": {"cron": "*/30 * * * *", "timezone": "UTC"}},
    )


def hostile() -> dict[str, Any]:
    """A report in which every string that a user can choose tries to be something else."""
    return report(
        [
            node(HOSTILE, task=HOSTILE, executor=HOSTILE, description=HOSTILE, computed=False, reads=["in"]),
            node(
                HOSTILE + "2",
                executor=HOSTILE,
                line=HOSTILE,
                options={HOSTILE: HOSTILE, "tags": [HOSTILE]},
                because=[HOSTILE],
                writes=["out"],
            ),
        ],
        [edge(HOSTILE, HOSTILE + "2", HOSTILE)],
        locations=[
            location(HOSTILE, HOSTILE, id="in", uri=HOSTILE, prefix=HOSTILE, format=HOSTILE),
            location(HOSTILE, HOSTILE, "sink", id="out", mode=HOSTILE, partition_by=[HOSTILE]),
        ],
        pipeline={
            "name": HOSTILE,
            "description": HOSTILE,
            "schedule": {"cron": HOSTILE, "timezone": HOSTILE},
            "parameters": [{"name": HOSTILE, "type": HOSTILE, "default": HOSTILE, "required": False}],
            "file": HOSTILE,
            "variable": HOSTILE,
            "tags": [HOSTILE],
        },
    )
