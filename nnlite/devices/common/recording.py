"""Recording: one training step is written down as a tape, which a device then runs as often as asked.

A `Recorder` stands in for a device's kernels. It computes nothing: a call reserves its results as symbols and writes
one row, (kernel, operands, results). The rows are the `Tape`; printing it shows what a step does, a line a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from .kernel import Kernel, Kernels, kernel_of


class NotRecordableError(TypeError):
    """Something other than a kernel wanted the numbers of an array that is only being recorded."""


class Symbol:
    """An array that will be: its shape, and the segment of the arena it lies in. It has no numbers yet."""

    __array_ufunc__ = None  # NumPy's functions refuse it instead of taking it for an object

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, segment: str, offset: int | None = None
    ) -> None:
        self.name, self.shape, self.dtype = name, shape, np.dtype(dtype)
        self.segment, self.offset = segment, offset  # offset in elements; None until the arena has placed it
        self.room = 0  # how many numbers from its start on the arena has given to it alone; nothing to a part

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def part(self, name: str, start: int, shape: tuple[int, ...]) -> Symbol:
        """A view of some of it, as of a layer's weights in all parameters."""
        return Symbol(name, shape, self.dtype, self.segment, (self.offset or 0) + start)

    def rows(self, start: int, stop: int) -> Symbol:
        """A view of some of its rows."""
        width = self.size // self.shape[0]
        return self.part(self.name, start * width, (stop - start, *self.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise NotRecordableError(f"{self!r} is only being recorded and has no numbers; call kernels on it")

    def __repr__(self) -> str:
        return f"{self.name} ({', '.join(map(str, self.shape))})"


def view(flat: Any, name: str, start: int, shape: tuple[int, ...]) -> Any:
    """A part of a flat array from `start` on, or of the symbol of one, where it gets this name."""
    if isinstance(flat, Symbol):
        return flat.part(name, start, shape)
    return flat[start : start + math.prod(shape)].reshape(shape)


@dataclass(frozen=True)
class Row:
    """One call of a kernel: operands in the order of its signature, symbols or plain numbers; the fresh results."""

    name: str
    kernel: Kernel
    operands: tuple[Any, ...]
    results: tuple[Symbol, ...]

    def __str__(self) -> str:
        signature = self.kernel.signature
        named = dict(zip(signature.operands, self.operands))
        written = [*self.results, *(named[name] for name in signature.in_place)]
        read = [
            repr(value) if isinstance(value, Symbol) else f"{name}={value:{'.6g' if isinstance(value, float) else ''}}"
            for name, value in named.items()
            if name not in signature.results
        ]
        return f"{self.name:<28} {', '.join(map(repr, written))} ← {', '.join(read)}"


@dataclass
class Tape:
    """The rows of one step."""

    rows: list[Row] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(f"{i:3} {row}" for i, row in enumerate(self.rows))

    def __len__(self) -> int:
        return len(self.rows)


class Recorder:
    """Stands where a device's kernels stand; every call becomes a row of `tape`."""

    def __init__(self, kernels: Kernels, dtype: npt.DTypeLike) -> None:
        self._kernels, self._dtype = kernels, dtype
        self._count: dict[str, int] = {}
        self.tape = Tape()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = kernel_of(getattr(self._kernels, name))
        return lambda *operands: self._record(name, kernel, operands)

    def call(self, kernel: Kernel, *operands: Any) -> Any:
        """Record a kernel that is in no table: a user's own, by a name that no kernel of the table has."""
        name = kernel_of(kernel).name
        return self._record(f"own_{name}" if name in vars(self._kernels) else name, kernel, operands)

    def _record(self, name: str, kernel: Kernel, operands: tuple[Any, ...]) -> Any:
        signature = kernel.signature
        for (operand, letters), value in zip(signature.operands.items(), operands, strict=True):
            if (letters is not None) != isinstance(value, Symbol):
                raise NotRecordableError(f"{name}: {operand} is {value!r}, which is not part of what is being recorded")
        sizes = signature.sizes(operands, name)
        results = []
        for result in signature.fresh:
            self._count[result] = self._count.get(result, 0) + 1
            shape = tuple(sizes[letter] for letter in signature.results[result])
            results.append(Symbol(f"{result}{self._count[result]}", shape, self._dtype, "results"))
        self.tape.rows.append(Row(name, kernel, operands, tuple(results)))
        return results[0] if len(results) == 1 else tuple(results) or None
