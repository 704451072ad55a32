"""The benchmarks: `python tests/benchmarks [NAME...]`, as in NAMES below; all if none is named.

They fail nothing. Figures are worth something on a machine that does nothing else; ratios travel, absolute times do
not.
"""

from __future__ import annotations

import importlib
import sys
import time

from measure import note, show_machine, show_table

NAMES = ("start_up", "per_task", "frames", "graphs", "deployments", "clouds", "dbt_nodes", "spark")


def main() -> None:
    began = time.monotonic()
    chosen = sys.argv[1:] or NAMES
    if unknown := set(chosen) - set(NAMES):
        raise SystemExit(f"There is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}.")
    show_machine()
    lines = [line for name in chosen for line in importlib.import_module(name).measure()]
    note("")
    show_table(lines)
    show_machine()
    note(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
