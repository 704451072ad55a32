"""Declared schemas and checks on rows: compared here, with messages that show what is wrong.

A schema names columns that have to be there with these types; other columns may be there too. A check is a Polars
expression that has to be true; a row for which it is null passes, as in SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from glacier_prefect.errors import CheckError, OptionError, SchemaError, TravelError, nearest
from glacier_prefect.sources.steady import steadily

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
    if isinstance(checks, tuple) and not checks:
        return ()
    import polars as pl

    if isinstance(checks, pl.Expr):
        return (checks,)
    if not isinstance(checks, Iterable):
        raise OptionError(
            f"checks of {where} is {checks!r}; expected Polars expressions, as in [pl.col('amount') > 0]."
        )
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
        frame: A scan or an in-memory frame; it is read once for all checks, and again for each that fails.
        checks: Expressions; one that yields a single value (`pl.len() > 0`) is checked as a whole.
        where: What is checked, for the message.

    Raises:
        CheckError: A check is false.
        SchemaError: A check needs a column that is not there, or is not true or false.
    """
    if checks := tuple(checks):
        steadily(frame, lambda frame: _check_rows(frame, checks, where))


def _check_rows(frame: pl.LazyFrame, checks: tuple[pl.Expr, ...], where: str) -> None:
    import polars as pl

    conditions = [_condition(frame, check, where) for check in checks]
    asked = [pl.len().alias("rows")]
    for place, condition in enumerate(conditions):
        asked += [condition.all().alias(f"{place} passed"), condition.len().alias(f"{place} values")]
    told = frame.select(asked).collect(engine="streaming").row(0, named=True)
    messages = []
    for place, (check, condition) in enumerate(zip(checks, conditions, strict=True)):
        if told[f"{place} passed"]:
            continue
        columns = sorted(set(check.meta.root_names()))
        of = f"column {', '.join(map(repr, columns))}" if columns else "the frame"
        if told[f"{place} values"] == 1 and told["rows"] != 1:
            messages.append(f"check {str(check)!r} on {of} is false for the frame as a whole ({told['rows']:,} rows)")
            continue
        failing = frame.filter(condition.not_())
        count = failing.select(pl.len()).collect(engine="streaming").item()
        shown = failing.head(SHOWN_ROWS).collect(engine="streaming")
        order = [name for name in columns if name in shown.columns]
        order += [name for name in shown.columns if name not in order]
        with pl.Config(tbl_hide_dataframe_shape=True, tbl_cols=SHOWN_COLUMNS, tbl_rows=SHOWN_ROWS):
            rows = str(shown.select(order))
        messages.append(f"check {str(check)!r} on {of} is false for {count:,} rows, for example\n{rows}")
    if messages:
        raise CheckError(f"{where} fails " + "\nand ".join(messages))


def _condition(frame: pl.LazyFrame, check: pl.Expr, where: str) -> pl.Expr:
    """Return a check as one Boolean expression; one over several columns has to be true for each of them."""
    import polars as pl

    try:
        schema = frame.select(check).collect_schema()
    except pl.exceptions.ColumnNotFoundError as error:
        raise SchemaError(f"{where}: the check {str(check)!r} needs a column that is not there: {error}") from None
    for name, dtype in schema.items():
        if dtype != pl.Boolean:
            raise SchemaError(
                f"{where}: the check {str(check)!r} is {dtype} for {name!r}, not true or false.\n"
                "Hint: compare it with something, as in pl.col('amount') > 0."
            )
    return pl.all_horizontal(check) if len(schema) > 1 else check
