"""A Databricks workspace on this machine: its API over HTTP, and runs that are real processes.

`workspace` is the server, with `runs` and `files` behind it; `run_process` gives a run's process a disk of its own.
Clusters have no volumes unless they have a security mode, uploads need their folder, tokens end, runs of one token are
one run, answers have the words and codes of Databricks. What no emulator can bring about by itself is told to it:
`faults`, `endings`.
"""

from tests.executors.databricks_emulator.answers import CUT, UNHEARD, Fault
from tests.executors.databricks_emulator.files import USER
from tests.executors.databricks_emulator.run_process import RUNTIME, usable
from tests.executors.databricks_emulator.runs import Ending
from tests.executors.databricks_emulator.workspace import Databricks

__all__ = ["CUT", "RUNTIME", "UNHEARD", "USER", "Databricks", "Ending", "Fault", "usable"]
