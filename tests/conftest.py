"""What every test gets: settings of its own, so that none reads or changes the Prefect profile of whoever runs it.

Prefect reads its settings when it is imported, so this happens while pytest loads this file, before any test module.
And variables that tests may change while a thread of Polars reads them. Imports neither Glacier nor Prefect.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Generator

import pytest

from tests.kept_variables import keep

# A shell without job control starts what runs in its background with Ctrl-C ignored, which all children would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
keep()

PREFECT_HOME = tempfile.TemporaryDirectory(prefix="glacier-tests-")

for name in [name for name in os.environ if name.startswith(("PREFECT_", "GLACIER_"))]:
    del os.environ[name]
os.environ["PREFECT_HOME"] = PREFECT_HOME.name
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"  # a server that a test starts sends nothing anywhere
os.environ.setdefault("GOGC", "400")  # Terraform ends soon: cleaning up its memory was a fifth of its time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that what runs last is short and no process waits for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skip a failure in CI, where all that the tests need is meant to be."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome, report.longrepr = "failed", f"Skipped, where no test may be: {report.longrepr}"
    return report


def pytest_unconfigure() -> None:
    PREFECT_HOME.cleanup()
