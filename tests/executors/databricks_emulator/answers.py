"""What the workspace answers when something is wrong, by itself or because a test says so."""

from __future__ import annotations

from dataclasses import dataclass, field

CUT, UNHEARD = 0, -1  # statuses of a `Fault`


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.content = status, {"error_code": code, "message": message}


def invalid(message: str) -> Refused:
    return Refused(400, "INVALID_PARAMETER_VALUE", message)


@dataclass(kw_only=True)
class Fault:
    """What happens to the next calls of a path instead of their answers.

    Attributes:
        path: Pattern that the beginning of the path below `/api/2.x/` fits.
        status: The answer's status; `CUT` ends the connection before the call is looked at, `UNHEARD` after it was
            carried out.
        times: How many calls.
        retry_after: Seconds in the header `Retry-After`.
        hit: When it happened.
    """

    path: str
    status: int
    times: int = 1
    retry_after: int | None = None
    hit: list[float] = field(default_factory=list)
