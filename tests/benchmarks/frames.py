"""What Glacier adds to a query: ten tasks over LazyFrames against the same as one Polars query, both warm."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from measure import PAIRS, Line, compared, lines_of, note

ROWS = 10_000_000


def measure() -> list[Line]:
    ours: dict[str, list[float]] = defaultdict(list)
    theirs: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="glacier-bench-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        for text in lines_of("frames.py", folder, str(folder / "data"), str(ROWS), str(PAIRS)):
            each: dict[str, Any] = json.loads(text)
            if "megabytes" in each:
                note(f"frames: {ROWS:,} rows, {each['megabytes']:.0f} MB of Parquet")
                continue
            ours[each["name"]].append(each["ours"])
            theirs[each["name"]].append(each["theirs"])
            ratio = each["ours"] / each["theirs"]
            note(f"frames, {each['name']}: {each['ours']:.3f} s to {each['theirs']:.3f} s = {ratio:.3f}")
    return [
        compared("ten tasks over LazyFrames, against one query", ours["summary"], theirs["summary"], 1.05),
        compared("the same without its last two, into most of the rows", ours["cleaned"], theirs["cleaned"], 1.05),
    ]
