"""How frames go to Spark and come back: small ones by Arrow, large ones by Parquet on a disk that both see.

Types that Spark does not have become the nearest that it has, or are refused by the name of their column.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glacier_prefect import run_context
from glacier_prefect.errors import TravelError
from glacier_prefect.exchange import file_of, hand_over, scan_file
from glacier_prefect.executors.spark_parameters import annotated_parameters

if TYPE_CHECKING:
    import polars as pl

HINT = "Hint: cast it in the task before, or drop it."
_numbers = itertools.count()


@dataclass(frozen=True, kw_only=True)
class Mover:
    """Moves the frames of one task.

    Attributes:
        spark: The session.
        node: The task, for messages.
        sees_files: Whether Spark reads and writes this machine's files.
        arrow_bytes: Above this, frames move as files, where Spark sees them.
    """

    spark: Any
    node: str
    sees_files: bool
    arrow_bytes: int

    def to_spark(self, frame: pl.LazyFrame | pl.DataFrame) -> Any:
        """Return a Polars frame as a Spark DataFrame."""
        import polars as pl
        from pyspark.sql.pandas.types import from_arrow_schema

        lazy, schema = frame.lazy(), frame.collect_schema()
        file = file_of(frame)
        if file is None and isinstance(frame, pl.DataFrame):
            size = int(frame.estimated_size())
        else:
            file = file or hand_over(frame).uri
            lazy, size = scan_file(file), os.stat(file).st_size
        by_file = self.sees_files and size > self.arrow_bytes
        casts = []
        for name, dtype in schema.items():
            if (there := self._type(dtype, as_read=by_file)) is None:
                raise TravelError(
                    f"Column {name!r} of a frame for task {self.node!r} is {dtype}, which Spark does not have.\n{HINT}"
                )
            if there != dtype:
                casts.append(pl.col(name).cast(there))
        if by_file:
            return self.spark.read.parquet(hand_over(lazy.with_columns(casts)).uri if casts or file is None else file)
        table = lazy.with_columns(casts).collect().to_arrow(compat_level=pl.CompatLevel.oldest())
        return self.spark.createDataFrame(table, from_arrow_schema(table.schema, prefer_timestamp_ntz=True))

    def to_polars(self, frame: Any) -> pl.LazyFrame:
        """Return a Spark DataFrame as a Polars LazyFrame, computed."""
        import polars as pl

        frame = self._storable(frame)
        if self.sees_files and not self._is_small(frame):
            return self._written(frame)
        made: Any = pl.from_arrow(frame.toArrow())
        zoned = [
            pl.col(name).dt.convert_time_zone("UTC")
            for name, dtype in made.schema.items()
            if isinstance(dtype, pl.Datetime) and dtype.time_zone not in (None, "UTC")
        ]
        lazy: pl.LazyFrame = made.lazy().with_columns(zoned)
        return lazy

    def _written(self, frame: Any) -> pl.LazyFrame:
        import polars as pl

        context = run_context.current()
        assert context is not None
        name = (
            f"spark-{context.token.removeprefix(f'{context.run_id}-')}-{os.getpid()}-{next(_numbers)}-{time.time_ns()}"
        )
        folder = Path(context.exchange) / name
        frame.write.parquet(str(folder))
        parts = sorted(folder.glob("part-*.parquet"))
        # One file can be handed on by a link, without being read.
        return scan_file(parts[0]) if len(parts) == 1 else pl.scan_parquet(parts, hive_partitioning=False)

    def _is_small(self, frame: Any) -> bool:
        """Whether Spark itself takes a frame to be small; Spark Connect does not tell."""
        plan = getattr(frame, "_jdf", None)
        return plan is not None and int(plan.queryExecution().optimizedPlan().stats().sizeInBytes()) <= self.arrow_bytes

    def _storable(self, frame: Any) -> Any:
        from pyspark.sql import types

        def stored(dtype: Any) -> Any:
            if isinstance(dtype, types.ArrayType):
                return types.ArrayType(stored(dtype.elementType), dtype.containsNull)
            if isinstance(dtype, types.MapType):
                return types.MapType(stored(dtype.keyType), stored(dtype.valueType), dtype.valueContainsNull)
            if isinstance(dtype, types.StructType):
                return types.StructType([types.StructField(each.name, stored(each.dataType)) for each in dtype.fields])
            if isinstance(dtype, types.NullType):
                return types.StringType()
            if isinstance(dtype, types.CharType | types.VarcharType | types.StringType):
                return types.StringType()
            if isinstance(dtype, plain):
                return dtype
            raise _Refused

        plain: tuple[type, ...] = (
            types.NumericType,
            types.BooleanType,
            types.BinaryType,
            types.DateType,
            types.TimestampType,
        )
        plain = (*plain, types.TimestampNTZType)
        columns, changed, names = [], False, frame.columns
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TravelError(f"The result of task {self.node!r} has two columns named {twice[0]!r}.\n{HINT}")
        for each in frame.schema.fields:
            column = frame[f"`{each.name.replace('`', '``')}`"]
            try:
                there = stored(each.dataType)
            except _Refused:
                raise TravelError(
                    f"Column {each.name!r} of the result of task {self.node!r} is {each.dataType.simpleString()}, "
                    f"which cannot come back from Spark.\n{HINT}"
                ) from None
            different = there.simpleString() != each.dataType.simpleString()
            changed = changed or different
            columns.append(column.cast(there).alias(each.name) if different else column)
        return frame.select(columns) if changed else frame

    def _type(self, dtype: Any, *, as_read: bool) -> Any:
        """Return the type that a column gets for Spark, None if there is none.

        Args:
            dtype: Its type in Polars.
            as_read: Whether Spark reads it from a file, and changes some types itself.
        """
        import polars as pl

        def within(make: Callable[[Any], Any], inner: Any) -> Any:
            found = self._type(inner, as_read=as_read)
            return None if found is None else make(found)

        if isinstance(dtype, pl.List):
            return within(pl.List, dtype.inner)
        if isinstance(dtype, pl.Array):
            return within(lambda inner: pl.Array(inner, dtype.size), dtype.inner)
        if isinstance(dtype, pl.Map):
            key = self._type(dtype.key, as_read=as_read)
            return None if key is None else within(lambda value: pl.Map(key, value), dtype.value)
        if isinstance(dtype, pl.Struct):
            fields = {each.name: self._type(each.dtype, as_read=as_read) for each in dtype.fields}
            return None if None in fields.values() else pl.Struct(fields)
        if isinstance(dtype, pl.Datetime):
            return pl.Datetime("us", dtype.time_zone) if dtype.time_unit == "ns" else dtype
        if dtype.is_integer() or isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
            wider = {pl.UInt8: pl.Int16(), pl.UInt16: pl.Int32(), pl.UInt32: pl.Int64(), pl.UInt64: pl.Decimal(20, 0)}
            if dtype in (pl.Int8, pl.Int16, pl.Int32, pl.Int64):
                return dtype
            if isinstance(dtype, pl.Null):
                return pl.String()
            if as_read and (dtype in wider or not dtype.is_integer()):
                return dtype
            return wider.get(type(dtype)) if dtype.is_integer() else pl.String()
        if dtype.is_float():
            return dtype if dtype in (pl.Float32, pl.Float64) else pl.Float32()
        return dtype if dtype in (pl.Boolean, pl.String, pl.Binary, pl.Date) or dtype.is_decimal() else None


class _Refused(Exception):
    """A type that cannot come back."""


def polars_parameters(function: Any) -> tuple[str, ...]:
    """Return the parameters of a function that take Polars' frames, by their annotation."""
    return annotated_parameters(function, "polars", "LazyFrame", "DataFrame")
