"""Cold `python flow.py` with three trivial tasks: under Glacier, hand-written in Prefect, and the bare imports."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from measure import Line, alternate, compared, run


def measure() -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="glacier-bench-") as name:
        folder = Path(name)
        # A slow machine would not start the twin's server within the 20 s that are Prefect's default.
        glacier = partial(run, "three_glacier.py", folder)
        bare = partial(run, "three_imports.py", folder)
        twin = partial(run, "three_prefect.py", folder, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120")
        for program in (glacier, bare, twin):  # all bytecode is there afterwards, on every side
            program()
        imports = alternate(glacier, bare, "cold start, against the imports")
        prefect = alternate(glacier, twin, "cold start, against Prefect")
    return [
        compared("cold python flow.py, against the twin in Prefect", *prefect, aim=0.22),
        compared("cold python flow.py, against import prefect, polars", *imports, aim=1.15),
    ]
