"""A user's own kernels: formulas on arrays, compiled unchanged, and kept on disk like nnlite's own loops.

Values that a formula takes from outside are constants in its machine code. So the machine code is made and kept for the
formula's code together with these values. To define an equal formula again costs nothing.
"""

from __future__ import annotations

import hashlib
import operator
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np

from ...closures import names_in, taken_by
from ..common.kernel import Kernel
from .kept import code_of

njit: Any = numba.njit
PLAIN = (type(None), bool, int, float, complex, str, bytes)
LIBRARIES = {"numpy", "math", "cmath", "operator", "builtins", "numba"}  # a name identifies their functions


class OwnLoop(NamedTuple):
    """A kernel's formula in the form of a loop: it writes its results into arrays, which are its first parameters."""

    loop: Callable[..., Any]
    key: str  # stands for the code and its constants; "" if every process must compile it anew


_MADE: dict[Any, tuple[OwnLoop, list[Any]]] = {}  # the lists keep the objects alive whose ids are in the keys


def own_loop(kernel: Kernel) -> OwnLoop:
    """The loop of a kernel. It is made anew if a value has changed that the formula takes from outside.

    With NNLITE_CHECK_BOUNDS=1 in the environment, an index outside of an array is an error.
    """
    signature, formula = kernel.signature, kernel.formula
    checked = os.environ.get("NNLITE_CHECK_BOUNDS", "") not in ("", "0")
    strange: list[Any] = []
    facts = repr((signature.text, checked, np.__version__, list(_facts(formula, strange))))
    known = facts, tuple(map(id, strange))
    if known not in _MADE:
        key = "" if strange else hashlib.sha256(facts.encode()).hexdigest()
        _MADE[known] = OwnLoop(_written(formula, signature, checked, key), key), strange
    return _MADE[known][0]


class Outside:
    """What a kernel's formula takes from outside, and the loop that was made with these values."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.loop, self.taken = kernel, own_loop(kernel), self._values(kernel)
        # Whether none of them can change but by another object in its place; of other values, the contents count.
        self.fixed = all(type(value) in PLAIN or _in_library(value) for value in self.taken)

    def up_to_date(self) -> bool:
        """Whether the loop would be the same today."""
        now = self._values(self.kernel)
        if self.fixed and len(now) == len(self.taken) and all(map(operator.is_, now, self.taken)):
            return True
        return own_loop(self.kernel) is self.loop

    @staticmethod
    def _values(kernel: Kernel) -> list[Any]:
        return [value for _, value in taken_by(kernel.formula)]


def _written(function: Any, signature: Any, checked: bool, key: str) -> Callable[..., Any]:
    apart = "_"  # a prefix of the names made here, so that no operand has the same name
    while any(name.startswith(apart) for name in (*signature.operands, *signature.results)):
        apart += "_"
    to = [f"{apart}to_{name}" for name in signature.fresh]
    made = [f"{apart}made_{name}" for name in signature.fresh]
    formula, copy = f"{apart}formula", f"{apart}copy"
    lines = [
        f"def loop({', '.join([*to, *signature.in_place, *signature.inputs])}):",
        f"    {', '.join(made) + ' = ' if made else ''}{formula}({', '.join(signature.operands)})",
        *(f"    {copy}({place}, {what})" for place, what in zip(to, made)),
    ]
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    options |= {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}  # only compiled code calls the formula
    # Machine code on disk is found by its name, so two kernels must not have the same name.
    named: Any = types.FunctionType(function.__code__, function.__globals__, None, None, function.__closure__)
    named.__qualname__ = f"{function.__qualname__}_{key[:16]}"
    names: dict[str, Any] = {formula: njit(boundscheck=checked, **options)(named), copy: _copy, "__name__": __name__}
    exec(compile("\n".join(lines), __file__, "exec"), names)
    names["loop"].__name__ = f"loop_of_{function.__name__}_{key[:16]}"
    names["loop"].__qualname__ = names["loop"].__name__
    return names["loop"]


@njit(error_model="numpy", nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _copy(to, values):
    if to.shape != values.shape:
        raise ValueError("a kernel gives another shape than its signature says")
    for place, value in np.ndenumerate(values):
        to[place] = value


def refusal(error: Exception) -> str:
    """Why Numba does not compile a formula: the call that it does not know, or its first sentence, and the line."""
    plain = re.sub(r"\x1b\[\d*m", "", str(error))  # Numba writes in colours where the package colorama is installed
    told = [text.strip() for text in plain.splitlines()]
    unknown = [f"it has no {text[4:]}" for text in told if text.startswith(">>> ")]
    sentences = [text for text in told if text and not text.startswith("Failed in nopython")]
    sources = [f", in `{source}`" for source, mark in pairwise(told) if source and set(mark) == {"^"}]
    gives_up = f"its compiler gives up ({type(error).__name__})"
    return next(iter(unknown + sentences), gives_up).rstrip(".") + next(iter(sources), "")


# ---- the facts of a formula: its code and its constants --------------------------------------------------------------


def _facts(function: Any, strange: list[Any]) -> Iterator[Any]:
    """A function's code, and all values that it takes from outside; objects that no text identifies go to `strange`."""
    code = function.__code__
    yield from code_of(code)
    for name, value in taken_by(function):
        yield name, list(_value(value, set(names_in(code)), strange, ()))


def _value(value: Any, names: set[str], strange: list[Any], within: tuple[Any, ...]) -> Iterator[Any]:
    """Texts that identify a value: they are equal for values that give equal machine code."""
    if type(value) in PLAIN:
        yield type(value).__name__, repr(value)
    elif isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.dtype.hasobject):
        yield value.dtype.str, value.shape, str(value.flags), hashlib.sha256(value.tobytes()).hexdigest()
    elif type(value) is tuple:
        yield [list(_value(each, names, strange, within)) for each in value]
    elif isinstance(value, types.ModuleType):
        yield value.__name__
        if value.__name__.partition(".")[0] not in LIBRARIES and value not in within:
            for name in sorted(names & vars(value).keys()):  # such as a number in a module of settings
                yield name, list(_value(vars(value)[name], names, strange, (*within, value)))
    elif isinstance(value, np.dtype):
        yield value.str
    elif _in_library(value):  # np.exp, math.exp, np.float32
        yield _home(value), value.__name__
    else:  # such as another compiled function, or an object
        strange.append(value)


def _in_library(value: Any) -> bool:
    """Whether it is one of the libraries, or is found in one by its name."""
    if isinstance(value, types.ModuleType):
        return value.__name__.partition(".")[0] in LIBRARIES
    return getattr(sys.modules.get(_home(value)), str(getattr(value, "__name__", "")), None) is value


def _home(value: Any) -> str:
    home = str(getattr(value, "__module__", "") or type(value).__module__).partition(".")[0]
    return home if home in LIBRARIES else ""
