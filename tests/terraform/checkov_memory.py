"""Checkov with a memory, run as a program in its own environment: it works out the same few things again and again.

It makes a whole interpreter for each text of Terraform that it evaluates, and the table of a grammar for each path that
it parses: two thirds of its time. What is remembered depends on nothing but the text.
"""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable
from typing import Any

import checkov.terraform.graph_builder.variable_rendering.evaluate_terraform as evaluator
import ply.yacc
from checkov.main import Checkov


def remembering(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that evaluates each text once, and gives each caller a copy to change."""
    known = functools.cache(evaluate)

    @functools.wraps(evaluate)
    def evaluated(text: Any, keep_interpolations: bool = True) -> Any:
        if not isinstance(text, str):
            return evaluate(text, keep_interpolations)
        return copy.deepcopy(known(text, keep_interpolations))

    return evaluated


def one_parser_each(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes one parser for each grammar."""
    made: dict[Any, Any] = {}

    def parser(*, module: Any, start: str, **options: Any) -> Any:
        key = type(module), start
        if key not in made:
            made[key] = make(module=module, start=start, **options)
        return made[key]

    return parser


if __name__ == "__main__":
    evaluator.evaluate_terraform = remembering(evaluator.evaluate_terraform)
    ply.yacc.yacc = one_parser_each(ply.yacc.yacc)
    sys.exit(Checkov().run())
