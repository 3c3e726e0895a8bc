"""Tracing: a network's formulas are run on a stand-in for its input, which writes down each of NumPy's calls.

What comes out is a short program without Python: values in order, each with the operation that makes it. A layer of
one's own is traced like nnlite's, kernel or not, as long as it computes with NumPy. What does not depend on the input,
such as 1 / √(σ² + ε) of a batch norm, is computed at once and becomes a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..devices import get_device

# The universal functions of NumPy that a program may have, by their own names.
FUNCTIONS = {
    *("add", "subtract", "multiply", "divide", "power", "negative", "absolute", "sign", "maximum", "minimum"),
    *("exp", "expm1", "log", "log1p", "sqrt", "square", "tanh", "sin", "cos", "matmul"),
    *("greater", "greater_equal", "less", "less_equal", "equal", "logical_and", "logical_or", "logical_not"),
}
ALIASES = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "invert": "logical_not", "fabs": "absolute"}


class NotExportableError(TypeError):
    """A layer computes something that cannot be written down."""


@dataclass
class Program:
    """What a network computes of one row: the values in order, the first of them the input, and where layers begin."""

    values: list[Value] = field(default_factory=list)
    titles: dict[int, str] = field(default_factory=dict)  # the place of a layer's first value -> the layer
    names: dict[int, str] = field(default_factory=dict)  # the address of a parameter's memory -> its name

    @property
    def answer(self) -> Value:
        return self.values[-1]

    def uses(self) -> dict[int, int]:
        """The place of each value -> how often others read it."""
        counts = dict.fromkeys(range(len(self.values)), 0)
        for value in self.values:
            for operand in value.operands:
                if isinstance(operand, Value):
                    counts[operand.place] += 1
        return counts


class Value(NDArrayOperatorsMixin):
    """The result of one operation, of shape (1, K), (1, 1) or (1,): it stands for an array of one row, without numbers.

    Operands are values, constant arrays, and plain numbers. `axis` is what a reduction is over.
    """

    def __init__(
        self,
        program: Program,
        operation: str,
        operands: Sequence[Any],
        shape: tuple[int, ...],
        dtype: Any,
        axis: int | None = None,
    ) -> None:
        self.program, self.operation, self.operands, self.axis = program, operation, tuple(operands), axis
        self.shape, self.dtype, self.place = tuple(shape), np.dtype(dtype), len(program.values)
        self.overwritten = False  # whether another value has taken its place
        for operand in operands:
            if isinstance(operand, Value) and operand.overwritten:
                raise self._not_exportable("an array by two names, of which one has been changed in place")
        program.values.append(self)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def precision_of(self, operand: Any) -> Any:
        """The dtype of one of the operands; a plain number takes the precision of what it meets."""
        if hasattr(operand, "dtype"):
            return operand.dtype
        met = [each.dtype for each in self.operands if hasattr(each, "dtype") and each.dtype.kind == "f"]
        return met[0] if met else self.dtype

    # ---- NumPy's calls ------------------------------------------------------------------------------------------

    def __array_ufunc__(self, function: np.ufunc, method: str, *operands: Any, **named: Any) -> Any:
        name = ALIASES.get(function.__name__, function.__name__)
        out = named.pop("out", (None,))[0]  # as in y += b, where the name y then means the new value
        if method != "__call__" or name not in FUNCTIONS or named.keys() - {"dtype"}:
            raise self._not_exportable(f"np.{function.__name__}{'' if method == '__call__' else f'.{method}'}")
        like = [np.empty(np.shape(o), o.dtype) if hasattr(o, "dtype") else o for o in operands]
        with np.errstate(all="ignore"):
            result = function(*like, **named)  # of numbers that mean nothing: for its shape and dtype
        made = Value(self.program, name, operands, np.shape(result), result.dtype)
        if out is not None:
            out.overwritten = True
        return made

    def __array_function__(self, function: Any, types: Any, operands: Any, named: Any) -> Any:
        if function not in HANDLED:
            raise self._not_exportable(f"np.{function.__name__}")
        return HANDLED[function](*operands, **named)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self._not_exportable("the numbers of an array, and not only NumPy's functions of it")

    def _not_exportable(self, what: str) -> NotExportableError:
        layer = self.program.titles[max(self.program.titles)] if self.program.titles else "the network"
        return NotExportableError(f"{layer} cannot be exported: it uses {what}, for which there is no translation")

    def __getitem__(self, index: Any) -> Value:
        if index == (slice(None), None) and self.ndim == 1:
            return Value(self.program, "reshape", (self,), (*self.shape, 1), self.dtype)
        raise self._not_exportable(f"the index {index!r}")

    def astype(self, dtype: Any, **_: Any) -> Value:
        return self if np.dtype(dtype) == self.dtype else Value(self.program, "cast", (self,), self.shape, dtype)

    def copy(self) -> Value:
        return self

    def max(self, axis: int | None = None, keepdims: bool = False) -> Value:
        return self._reduced("max", axis, keepdims, self.dtype)

    def min(self, axis: int | None = None, keepdims: bool = False) -> Value:
        return self._reduced("min", axis, keepdims, self.dtype)

    def sum(self, axis: int | None = None, dtype: Any = None, keepdims: bool = False) -> Value:
        return (self.astype(dtype) if dtype else self)._reduced("sum", axis, keepdims, dtype or self.dtype)

    def mean(self, axis: int | None = None, dtype: Any = None, keepdims: bool = False) -> Value:
        return self.sum(axis, dtype, keepdims) * np.dtype(dtype or self.dtype).type(1 / self.shape[-1])

    def _reduced(self, operation: str, axis: int | None, keepdims: bool, dtype: Any) -> Value:
        if self.ndim != 2 or axis not in (1, -1):
            raise self._not_exportable(f"the {operation} over the axis {axis}, which is not each row's own")
        return Value(self.program, operation, (self,), (1, 1) if keepdims else (1,), dtype, axis=1)


def _where(condition: Any, x: Any, y: Any) -> Any:
    values = [each for each in (condition, x, y) if isinstance(each, Value)]
    shape = np.broadcast_shapes(*(np.shape(each) for each in (condition, x, y)))
    dtype = np.result_type(*(each.dtype if hasattr(each, "dtype") else each for each in (x, y)))
    return Value(values[0].program, "where", (condition, x, y), shape, dtype)


def _polynomial(coefficients: Any, x: Any) -> Any:
    """By Horner's rule, as NumPy does."""
    found = coefficients[0]
    for coefficient in coefficients[1:]:
        found = found * x + coefficient
    return found


HANDLED: dict[Any, Callable[..., Any]] = {
    np.where: _where,
    np.polyval: _polynomial,
    np.clip: lambda x, low, high: np.minimum(np.maximum(x, low), high),
    np.shape: lambda x: x.shape,
    np.sum: lambda x, axis=None, dtype=None, keepdims=False: x.sum(axis, dtype, keepdims),
    np.mean: lambda x, axis=None, dtype=None, keepdims=False: x.mean(axis, dtype, keepdims),
    np.max: lambda x, axis=None, keepdims=False: x.max(axis, keepdims),
    np.min: lambda x, axis=None, keepdims=False: x.min(axis, keepdims),
}


def traced(network: Any) -> Program:
    """The program of a network's prediction for one row (1, inputs); NotExportableError, a TypeError, if it has none.

    ValueError for a network whose number of inputs only the data tell.
    """
    if network.inputs is None:
        raise ValueError("a network without a Dense layer has no number of inputs, so it cannot be exported")
    program, arrays = Program(), {name: network.backend.to_numpy(a) for name, a in network.arrays().items()}
    twin = network.on(get_device("numpy").ops, arrays)
    for name, start, size, _ in network.segments():
        program.names[arrays["parameters"][start : start + size].__array_interface__["data"][0]] = name
    x: Any = Value(program, "input", (), (1, network.inputs), network.dtype)
    for i, layer in enumerate(twin.layers):
        program.titles[len(program.values)] = f"{i}: {layer!r}"
        x = layer.forward(x)
        if not isinstance(x, Value):
            raise NotExportableError(f"{layer!r} cannot be exported: its answer does not depend on its input")
    if x is not program.answer or len(program.values) == 1:  # an Identity, or a value that nobody reads comes last
        Value(program, "cast", (x,), x.shape, x.dtype)
    return program
