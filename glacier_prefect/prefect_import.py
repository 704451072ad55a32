"""Loads Prefect as Glacier wants it: without a report to its makers, and faster than an import does by itself."""

from __future__ import annotations

import gc
import importlib
import os

# In a terminal Prefect reports first uses to its makers, beginning with its import; a variable that is set decides.
os.environ.setdefault("DO_NOT_TRACK", "1")

collects = gc.isenabled()
gc.disable()  # an import makes no garbage worth looking for, which takes a fifth of its time
try:
    importlib.import_module("prefect.flow_engine")
finally:
    if collects:
        gc.enable()
