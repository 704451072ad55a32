"""Which parameters of a function are Spark's, by their names and annotations. Does not import pyspark."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_args

SPARK = "spark"  # the engine, and the name of a parameter that gets the session


def session_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the parameters that get the Spark session: annotated `SparkSession`, or named `spark` and not annotated
    otherwise.
    """
    annotated = annotated_parameters(function, "pyspark", "SparkSession")
    return tuple(
        each.name
        for each in inspect.signature(function).parameters.values()
        if each.name in annotated or (each.name == SPARK and each.annotation is inspect.Parameter.empty)
    )


def frame_parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the parameters that take Spark's DataFrames, by their annotation."""
    return annotated_parameters(function, "pyspark", "DataFrame")


def annotated_parameters(function: Callable[..., Any], package: str, *kinds: str) -> tuple[str, ...]:
    """Return the parameters whose annotation has one of a package's classes in it, also in a union or a list."""
    wanted = {(package, kind) for kind in kinds}
    return tuple(
        each.name
        for each in inspect.signature(function).parameters.values()
        if not wanted.isdisjoint(_classes(each.annotation, function))
    )


def _classes(annotation: Any, function: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """Yield package and name of each class in an annotation."""
    known = getattr(inspect.unwrap(function), "__globals__", {})
    left, read = [annotation], set()
    while left:
        each = left.pop()
        each = getattr(each, "__forward_arg__", each)
        left += get_args(each)
        if isinstance(each, type):
            yield each.__module__.partition(".")[0], each.__name__
        elif isinstance(each, str) and each not in read:  # an alias may have itself in it
            read.add(each)
            for name in _names(each):
                try:
                    first, *rest = name.split(".")
                    left.append(functools.reduce(getattr, rest, known[first]))
                except (KeyError, AttributeError):
                    yield _likely(name)


def _names(text: str) -> Iterator[str]:
    """Yield the names in an annotation that is a text."""
    with contextlib.suppress(SyntaxError):
        for node in ast.walk(ast.parse(text.strip(), mode="eval")):
            if isinstance(node, ast.Name | ast.Attribute):
                yield ast.unparse(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from _names(node.value)


def _likely(name: str) -> tuple[str, str]:
    """Return package and name of a class that is not there, as one that is imported for type checkers only."""
    module, _, kind = name.rpartition(".")
    if kind == "LazyFrame" or module == "pl":
        return "polars", kind
    return module.partition(".")[0] or "pyspark", kind
