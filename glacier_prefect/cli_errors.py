"""How commands tell what went wrong: in words on stderr, for programs as JSON, without a traceback unless asked for."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from glacier_prefect.environments import shown
from glacier_prefect.errors import ConfigurationError, DefinitionError, GlacierError, UsageError


def print_json(value: Any) -> None:
    """Print a value for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def message(error: BaseException) -> str:
    """Return what to say of an error: without its class if it is Glacier's own, with its notes."""
    text = str(error) if isinstance(error, GlacierError) else f"{type(error).__name__}: {error}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        file = error.filename2 or error.filename  # of two the one that is written
        where = f" for {shown(Path(os.fsdecode(file)))}" if file else ""
        text = f"There is no room on the disk{where}: {error.strerror}.\nHint: make room and do it again."
    notes = getattr(error, "__notes__", ())
    return "\n".join([text, *(note for note in notes if not note.startswith("In the process of the task:"))])


@contextmanager
def _logs_without_tracebacks() -> Iterator[None]:
    """Leave tracebacks out of what is logged to the terminal; Prefect logs each error of a run with two of them.

    Prefect sets its handlers up when it is first used, which is later than this, so it is done for the method that they
    share.
    """
    original = logging.Handler.format

    def plain(handler: logging.Handler, record: logging.LogRecord) -> str:
        if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
            return original(handler, record)
        kept = record.exc_info, record.exc_text
        record.exc_info = record.exc_text = None
        try:
            return original(handler, record)
        finally:
            record.exc_info, record.exc_text = kept

    logging.Handler.format = plain  # type: ignore[method-assign, assignment]  # for as long as the command runs
    try:
        yield
    finally:
        logging.Handler.format = original  # type: ignore[method-assign]  # put back as it was


@contextmanager
def reported(debug: bool, told: bool) -> Iterator[None]:
    """Say what went wrong in the block, and end the process with 1, or with 2 for a user's mistake.

    Args:
        debug: With the traceback.
        told: As JSON, too.
    """
    try:
        with nullcontext() if debug else _logs_without_tracebacks():
            yield
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        if debug:
            traceback.print_exception(error)
        print(f"Error: {message(error)}", file=sys.stderr)
        if told:
            kinds = [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, GlacierError)]
            shown = {"kind": type(error).__name__, "kinds": kinds, "message": message(error)}
            print_json({"version": 1, "error": shown})
        usage = isinstance(error, DefinitionError | UsageError | ConfigurationError)
        raise SystemExit(2 if usage else 1) from None
