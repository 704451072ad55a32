"""Which parameters of a function are Spark's, by their names and annotations. Does not import pyspark."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

SPARK = "spark"  # the engine, and the name of a parameter that gets the session


def session_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the parameters that get the Spark session: annotated `SparkSession`, or named `spark` and not annotated
    otherwise.
    """
    return tuple(
        each.name
        for each in inspect.signature(function).parameters.values()
        if _is_spark(each.annotation, "SparkSession", function)
        or (each.name == SPARK and each.annotation is inspect.Parameter.empty)
    )


def frame_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the parameters that take Spark's DataFrames, by their annotation."""
    return tuple(
        each.name
        for each in inspect.signature(function).parameters.values()
        if _is_spark(each.annotation, "DataFrame", function)
    )


def _is_spark(annotation: Any, kind: str, function: Callable[..., Any]) -> bool:
    """Whether an annotation is pyspark's class of a name; a text may name what is imported for type checkers only."""
    if isinstance(annotation, str):
        text = annotation.strip("'\" ")
        try:
            annotation = eval(text, getattr(inspect.unwrap(function), "__globals__", {}))  # as typing reads it
        except Exception:
            first, _, last = text.rpartition(".")
            return last == kind and (not first or first.startswith("pyspark"))
    return getattr(annotation, "__name__", "") == kind and getattr(annotation, "__module__", "").startswith("pyspark.")
