"""A Spark task of Glacier against the same in bare PySpark, both in one process and session, which is not counted."""

from __future__ import annotations

import tempfile
from pathlib import Path

from measure import Line, compared, lines_of, note


def measure() -> list[Line]:
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory(prefix="glacier-bench-") as name:
        for line in lines_of("spark_task.py", Path(name)):
            mine, bare = map(float, line.split())
            ours.append(mine)
            theirs.append(bare)
            note(f"spark: {mine:.2f} s, bare {bare:.2f} s")
    return [compared("Spark local: 40 million rows from a task before, aggregated", ours, theirs, 1.1)]
