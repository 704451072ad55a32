"""Starts the action, as `python action` from wherever it was checked out."""

import os
import sys

if sys.version_info < (3, 11):  # noqa: UP036  # with python-version: "" it is whatever is on PATH
    number = ".".join(map(str, sys.version_info[:2]))
    hint = "Hint: leave the input python-version as it is, or give a newer one."
    sys.exit(f"::error::The Python on PATH is {number}; glacier/deploy needs 3.11 or newer.%0A{hint}")
# The package itself, and nothing of the project that it works on, which may have a module of any name
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from action.main import main  # noqa: E402  # after its place is known

sys.exit(main())
