"""What stands for values that exist only during the run: `Placeholder` in a pipeline function, `Ref` and `ParameterRef`
in its graph.

Imports only `errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from glacier_prefect.errors import PlaceholderError


@dataclass(frozen=True)
class Ref:
    """The result of a node, or a part of it.

    Attributes:
        node: Name of the node.
        path: Indexes into its result.
    """

    node: str
    path: tuple[Any, ...] = ()


@dataclass(frozen=True)
class ParameterRef:
    """The value of one of the pipeline's parameters, or a part of it.

    Attributes:
        parameter: Name of the parameter.
        path: Indexes into its value.
    """

    parameter: str
    path: tuple[Any, ...] = ()


class Placeholder:
    """Stands in a pipeline function for a value that exists only during the run.

    It may be passed on to tasks and sinks, alone or inside a list, tuple or dict, and indexed by a constant; all else
    is an error.
    """

    __slots__ = ("_ref", "_trace")

    def __init__(self, ref: Ref | ParameterRef, trace: object) -> None:
        object.__setattr__(self, "_ref", ref)
        object.__setattr__(self, "_trace", trace)

    def __getitem__(self, index: Any) -> Placeholder:
        parts = index if type(index) is tuple else (index,)
        for part in parts:
            if not isinstance(part, str | int | float | bytes | None):
                what = (
                    "a slice"
                    if isinstance(part, slice)
                    else named(part)
                    if type(part) is Placeholder
                    else f"a {type(part).__name__}"
                )
                raise PlaceholderError(
                    f"{named(self)} is indexed by {what}; only a constant (a name or a number) is possible.\n"
                    "Hint: do that in a task."
                )
        ref = ref_of(self)
        return Placeholder(replace(ref, path=(*ref.path, index)), object.__getattribute__(self, "_trace"))

    def __getattribute__(self, name: str) -> Any:
        if name in ("__class__", "__getitem__", "__repr__", "__dict__", "__doc__", "__module__"):
            return object.__getattribute__(self, name)
        _refuse(self, f"has its attribute {name!r} read")

    def __setattr__(self, name: str, value: Any) -> None:
        _refuse(self, f"has its attribute {name!r} set")

    def __delattr__(self, name: str) -> None:
        _refuse(self, f"has its attribute {name!r} deleted")

    def __repr__(self) -> str:
        return f"<{named(self)}, known only during the run>"


def ref_of(placeholder: Placeholder) -> Ref | ParameterRef:
    """Return what a placeholder stands for."""
    ref: Ref | ParameterRef = object.__getattribute__(placeholder, "_ref")
    return ref


def named(placeholder: Placeholder) -> str:
    """Return what a placeholder stands for, in words."""
    ref = ref_of(placeholder)
    index = "".join(f"[{part!r}]" for part in ref.path)
    return f"the result{index} of {ref.node!r}" if isinstance(ref, Ref) else f"the parameter {ref.parameter!r}{index}"


def _refuse(placeholder: Placeholder, what: str) -> NoReturn:
    raise PlaceholderError(
        f"{named(placeholder)} {what} in the pipeline function; it has no value before the run.\n"
        "Hint: do that in a task, and pass the value to it."
    )


def _refusing(method: str, what: str) -> Callable[..., Any]:
    def refuse(self: Placeholder, *_: Any) -> NoReturn:
        _refuse(self, what)

    refuse.__name__ = method
    return refuse


_OPERATORS = (
    "add radd sub rsub mul rmul truediv rtruediv floordiv rfloordiv mod rmod divmod rdivmod pow rpow matmul rmatmul "
    "and rand or ror xor rxor "
    "lshift rlshift rshift rrshift neg pos abs invert eq ne lt le gt ge"
)
_REFUSED = {
    **{f"__{name}__": "is used with an operator" for name in _OPERATORS.split()},
    **{
        f"__{name}__": "is used as a number"
        for name in ["int", "float", "complex", "index", "round", "trunc", "floor", "ceil"]
    },
    "__bool__": "is tested for truth (if, and, or, not, while)",
    "__len__": "has its length taken",
    "__iter__": "is iterated or unpacked (its parts are `result[0]`, `result[1]`)",
    "__next__": "is iterated or unpacked (its parts are `result[0]`, `result[1]`)",
    "__contains__": "is searched with `in`",
    "__call__": "is called",
    "__str__": "is made a text (str, f-string)",
    "__format__": "is made a text (str, f-string)",
    "__bytes__": "is made bytes",
    "__hash__": "is used as a key or in a set",
    "__enter__": "is used in a `with` block",
    "__exit__": "is used in a `with` block",
    "__fspath__": "is used as a path",
    "__await__": "is awaited",
    "__setitem__": "has an item set",
    "__delitem__": "has an item deleted",
    "__reduce_ex__": "is pickled or copied",
}
for _method, _what in _REFUSED.items():
    setattr(Placeholder, _method, _refusing(_method, _what))
