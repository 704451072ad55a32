"""Declared schemas and checks on rows: compared here, with messages that show what is wrong.

A schema names columns that have to be there with these types; other columns may be there too. A check is a Polars expression
that has to be true; a row for which it is null passes, as in SQL. Imports only `errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from glacier_prefect.errors import CheckError, OptionError, SchemaError, TravelError, nearest

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 5
SHOWN_COLUMNS = 8


def declared_schema(schema: Mapping[str, Any] | None, where: str) -> Mapping[str, pl.DataType] | None:
    """Return `schema` with Polars types; Python types (`int`, `str`) are translated."""
    if schema is None:
        return None
    import polars as pl

    try:
        return dict(pl.DataFrame(schema=dict(schema)).schema)
    except (TypeError, ValueError) as error:
        raise OptionError(f"schema of {where} has a type that Polars does not know: {error}") from None


def declared_checks(checks: Any, where: str) -> tuple[pl.Expr, ...]:
    """Return `checks` as a tuple; anything but Polars expressions is an `OptionError`."""
    if not checks and isinstance(checks, tuple):
        return ()
    import polars as pl

    if isinstance(checks, pl.Expr):
        return (checks,)
    if not isinstance(checks, Iterable):
        raise OptionError(f"checks of {where} is {checks!r}; expected Polars expressions, as in [pl.col('amount') > 0].")
    found = tuple(checks)
    for check in found:
        if not isinstance(check, pl.Expr):
            raise OptionError(
                f"checks of {where} contains {check!r} ({type(check).__name__}); expected Polars expressions.\n"
                "Hint: write pl.col('amount') > 0, not a value or a function."
            )
    return found


def check_schema(actual: Mapping[str, pl.DataType], declared: Mapping[str, pl.DataType] | None, where: str) -> None:
    """Raise `SchemaError` if a declared column is missing or has another type."""
    wrong = []
    for name, dtype in (declared or {}).items():
        if name not in actual:
            wrong.append(f"column {name!r} is missing. {nearest(name, actual)}")
        elif actual[name] != dtype:
            wrong.append(f"column {name!r} is {actual[name]}, declared as {dtype}")
    if wrong:
        raise SchemaError(f"{where} does not have its declared schema: " + "; ".join(wrong))


def check_storable(schema: Mapping[str, pl.DataType], where: str) -> None:
    """Raise `TravelError` if a column holds Python objects, which no file can."""
    import polars as pl

    for name, dtype in schema.items():
        if dtype == pl.Object:
            raise TravelError(
                f"Column {name!r} of {where} has the type Object (Python objects), which cannot be stored.\n"
                f"Hint: cast it to a Polars type, or drop it, before this point."
            )


def check_rows(frame: pl.LazyFrame, checks: Iterable[pl.Expr], where: str) -> None:
    """Raise `CheckError` if a check is false for any row; the message has the check, its columns and a few rows.

    Args:
        frame: A scan or an in-memory frame; it is read once for all checks, once more for each that fails.
        checks: Expressions; one that yields a single value (`pl.len() > 0`) is checked as a whole.
        where: What is checked, for the message.
    """
    import polars as pl

    checks = tuple(checks)
    if not checks:
        return
    passed = frame.select(check.all().alias(str(place)) for place, check in enumerate(checks)).collect(engine="streaming").row(0)
    messages = []
    for check, good in zip(checks, passed, strict=True):
        if good:
            continue
        columns = sorted(set(check.meta.root_names()))
        failing = frame.filter(check.not_())
        count = failing.select(pl.len()).collect(engine="streaming").item()
        shown = failing.head(SHOWN_ROWS).collect(engine="streaming")
        order = columns + [name for name in shown.columns if name not in columns]
        with pl.Config(tbl_hide_dataframe_shape=True, tbl_cols=SHOWN_COLUMNS, tbl_rows=SHOWN_ROWS):
            rows = str(shown.select(order)) if count else "(the frame has no rows)"
        of = f"column {', '.join(map(repr, columns))}" if columns else "the frame"
        messages.append(f"check {str(check)!r} on {of} is false for {count:,} rows, for example\n{rows}")
    if messages:
        raise CheckError(f"{where} fails " + "\nand ".join(messages))
