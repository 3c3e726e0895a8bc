"""What a function takes from outside: the globals that its code names, and the variables of functions around it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import Any


@lru_cache(maxsize=1000)
def names_in(code: CodeType) -> tuple[str, ...]:
    """The names of globals and attributes in a function's code, and in the functions inside it, in their order."""
    inner = [name for constant in code.co_consts if isinstance(constant, CodeType) for name in names_in(constant)]
    return tuple(sorted({*code.co_names, *inner}))


def taken_by(function: Any) -> Iterator[tuple[str, Any]]:
    """The names and the present values; a variable that has no value yet is its cell."""
    for name in names_in(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:
            yield name, cell
