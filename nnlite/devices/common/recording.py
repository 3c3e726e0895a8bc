"""Recording: the calls of one step are written on a tape, which a device then replays many times.

A `Recorder` takes the place of a device's kernels. It computes nothing: for each call of a kernel, it makes symbols for
the results and writes one `Call` on the tape: kernel, operands, results. A printed tape shows one line for each call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ... import markup
from .kernel import Kernel, Kernels, kernel_of

CALL_KERNELS = "call kernels on it, such as self.ops.add(a, b), or one of your own (nl.kernel)"


class NotRecordableError(TypeError):
    """Code other than a kernel asked for the numbers of a symbol, which has none."""


class Symbol:
    """Stands for an array while a step is recorded: a shape, and a segment of the arena, but no numbers."""

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, segment: str, offset: int | None = None
    ) -> None:
        self.name, self.shape, self.dtype = name, shape, np.dtype(dtype)
        self.segment, self.offset = segment, offset  # offset in elements; None until the arena has placed it
        self.room = 0  # elements that the arena reserved for it alone; 0 for a part of an array

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def part(self, name: str, start: int, shape: tuple[int, ...]) -> Symbol:
        """A view of a part of it, such as a layer's weights within all parameters."""
        return Symbol(name, shape, self.dtype, self.segment, (self.offset or 0) + start)

    def rows(self, start: int, stop: int) -> Symbol:
        """A view of its rows start … stop − 1."""
        width = self.size // self.shape[0]
        return self.part(self.name, start * width, (stop - start, *self.shape[1:]))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise NotRecordableError(f"{self!r} is only being recorded and has no numbers; {CALL_KERNELS}")

    def __array_ufunc__(self, ufunc: Any, *_: Any, **__: Any) -> NoReturn:
        raise NotRecordableError(
            f"np.{ufunc.__name__} computes with {self!r}, which is only being recorded; {CALL_KERNELS}"
        )

    def __setitem__(self, *_: Any) -> NoReturn:
        raise NotRecordableError(
            f"{self!r} is set outside of a kernel; a kernel sets it if it is an operand and a result: dW (K,M) -> dW"
        )

    def __repr__(self) -> str:
        return f"{self.name} ({', '.join(map(str, self.shape))})"


def view(flat: Any, name: str, start: int, shape: tuple[int, ...]) -> Any:
    """A view of this shape in a flat array, from `start` on; for a symbol, a part with this name."""
    if isinstance(flat, Symbol):
        return flat.part(name, start, shape)
    return flat[start : start + math.prod(shape)].reshape(shape)


@dataclass(frozen=True)
class Call:
    """One call on a tape: operands (symbols or plain numbers) in the signature's order, and fresh results."""

    name: str
    kernel: Kernel
    operands: tuple[Any, ...]
    results: tuple[Symbol, ...]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Letter -> size, from its operands, whose rows may become those of a tile."""
        return self.kernel.signature.sizes(self.operands, self.name)

    def parts(self) -> tuple[str, str, str]:
        """Its name, what it writes, and what it reads, as texts."""
        signature = self.kernel.signature
        named = dict(zip(signature.operands, self.operands))
        written = [*self.results, *(named[name] for name in signature.in_place)]
        read = [
            repr(value) if isinstance(value, Symbol) else f"{name}={value:{'.6g' if isinstance(value, float) else ''}}"
            for name, value in named.items()
            if name not in signature.results
        ]
        return self.name, ", ".join(map(repr, written)), ", ".join(read)

    def __str__(self) -> str:
        name, written, read = self.parts()
        return f"{name:<28} {written} ← {read}"


@dataclass
class Tape:
    """The calls of one step."""

    calls: list[Call] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(f"{i:3} {call}" for i, call in enumerate(self.calls))

    def _repr_html_(self) -> str:  # for notebooks
        rows = [(str(i), *call.parts()) for i, call in enumerate(self.calls)]
        return markup.table(["", "kernel", "results", "operands"], rows, numeric=[0])

    def __len__(self) -> int:
        return len(self.calls)


class Recorder:
    """Takes the place of a device's kernels, and writes every call on `tape`."""

    def __init__(self, kernels: Kernels, dtype: npt.DTypeLike) -> None:
        self._kernels, self._dtype = kernels, dtype
        self._count: dict[str, int] = {}
        self.tape = Tape()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = kernel_of(getattr(self._kernels, name))
        return lambda *operands: self._record(name, kernel, operands)

    def call(self, kernel: Kernel, *operands: Any) -> Any:
        """Record a call of a user's own kernel, under a name that no kernel of the table has."""
        name = kernel_of(kernel).name
        return self._record(f"own_{name}" if name in self._kernels.names() else name, kernel, operands)

    def _record(self, name: str, kernel: Kernel, operands: tuple[Any, ...]) -> Any:
        signature = kernel.signature
        for operand, value in signature.named(operands, name).items():
            if (signature.operands[operand] is not None) != isinstance(value, Symbol):
                found = f"an array {value.shape}" if getattr(value, "shape", ()) else repr(value)
                raise NotRecordableError(f"{name}: {operand} is {found}, which is not part of what is being recorded")
        sizes = signature.sizes(operands, name)
        results = []
        for result in signature.fresh:
            self._count[result] = self._count.get(result, 0) + 1
            shape = tuple(sizes[letter] for letter in signature.results[result])
            results.append(Symbol(f"{result}{self._count[result]}", shape, self._dtype, "results"))
        self.tape.calls.append(Call(name, kernel, operands, tuple(results)))
        return results[0] if len(results) == 1 else tuple(results) or None
