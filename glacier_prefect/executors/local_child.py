"""The process in which `LocalExecutor(processes=...)` runs a body: `python -m glacier_prefect.executors.local_child JOB
RESULT`.

Reads the job, writes the result or the exception, and ends at once, with what the body has started, when its parent
does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from glacier_prefect import exchange, run_context
from glacier_prefect.credentials import redaction


def _end_with_parent() -> None:
    os.read(0, 1)  # returns when the parent closes its end, or is gone
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpid(), signal.SIGKILL)  # the group that the parent has made it the leader of
    os._exit(1)


def main(job_file: str, result_file: str) -> None:
    """Run the job in `job_file` and write `(value,)` or the exception to `result_file`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout, sys.stderr = redaction.MaskedStream(sys.stdout), redaction.MaskedStream(sys.stderr)  # which are logged
    job = exchange.loads(Path(job_file).read_bytes())
    with run_context.entered(job["context"]):
        try:
            result = exchange.dumps((job["body"].finish(job["body"].value()),))
        except BaseException as raised:
            error = redaction.hidden_error(raised)  # the parent does not know the secrets that were read here
            error.add_note("In the process of the task:\n" + "".join(traceback.format_tb(raised.__traceback__)))
            try:
                result = exchange.dumps(error)
                exchange.loads(result)
            except BaseException:
                result = exchange.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    draft = Path(f"{result_file}.draft")
    draft.write_bytes(result)
    draft.rename(result_file)


if __name__ == "__main__":
    main(*sys.argv[1:])
