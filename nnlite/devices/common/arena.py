"""The arena: the memory that a tape works on, in named segments such as the parameters.

One segment holds the results within a step. There, the space of a result is used again when its lifetime is over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .kernel import Kernels
from .recording import Call, Symbol, Tape

ALIGNMENT = 64  # bytes: one cache line, and the widest vector
# Arrays whose size and address may change at each use:
DATA = ("x", "target", "row_weights", "order", "rates", "answer")


class ArenaDevice(Protocol):
    """The part of a `Device` that its arenas use."""

    ops: Kernels

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any: ...
    def address(self, array: Any) -> int: ...
    def to_numpy(self, array: Any) -> np.ndarray: ...
    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Any: ...


class Arena:
    """The memory of tapes: segment name -> array. `place` gives results their places; other symbols have theirs."""

    def __init__(self, device: ArenaDevice, dtype: npt.DTypeLike, segments: Mapping[str, Any]) -> None:
        self.device, self.dtype = device, dtype
        self.segments = dict(segments)
        for name, array in self.segments.items():
            if not array.flags.c_contiguous:  # views are made by the distance from its start
                raise ValueError(f"{name} must be an array in C order, not one of strides {array.strides}")

    def place(self, segment: str, *tapes: Sequence[tuple[Call, int]]) -> int:
        """Give every result of this segment a place in it. Tapes run one after the other, so they share the space.

        Each call comes with the time at which it runs. Calls of the same time may run together, so their results share
        no space. Every result gets whole vectors; its `room` is the number of elements in them. Reserves the memory for
        all results, and returns their number of elements.
        """
        itemsize = np.dtype(self.dtype).itemsize
        size = max(_place_results(calls, itemsize, segment) for calls in tapes)
        self.reserve(segment, size)
        return size

    def reserve(self, segment: str, size: int) -> Any:
        """A segment with room for at least `size` elements; an existing one is kept if it is large enough."""
        if segment not in self.segments or len(self.segments[segment]) < size:
            self.segments[segment] = self.device.zeros(max(size, 1), self.dtype)
        return self.segments[segment]

    def symbols(self) -> dict[str, Symbol]:
        """A symbol for each segment."""
        return {name: Symbol(name, a.shape, a.dtype, name, 0) for name, a in self.segments.items()}

    def view(self, symbol: Symbol) -> Any:
        """The array that a symbol stands for. Data are taken whole, since their number of rows may have changed."""
        if symbol.segment in DATA:
            return self.segments[symbol.segment]
        start = symbol.offset or 0
        return self.segments[symbol.segment].reshape(-1)[start : start + symbol.size].reshape(symbol.shape)

    def address(self, symbol: Symbol) -> int:
        """The address in the device's memory at which the symbol's array begins."""
        return self.device.address(self.segments[symbol.segment]) + (symbol.offset or 0) * symbol.dtype.itemsize

    @property
    def bytes(self) -> int:
        """The memory, in bytes, of the results and of the arrays that belong to single threads."""
        return sum(int(self.segments[name].nbytes) for name in ("results", "tile", "shares") if name in self.segments)


def _place_results(calls: Sequence[tuple[Call, int]], itemsize: int, segment: str) -> int:
    """Set the offsets of this segment's results, by first fit; returns the number of elements that they need."""
    unit = ALIGNMENT // itemsize
    last_use = {id(operand): time for call, time in calls for operand in (*call.operands, *call.results)}
    taken: list[tuple[int, int, int]] = []  # (start, stop, time of the last use), sorted
    end = 0
    for call, time in calls:
        taken = [entry for entry in taken if entry[2] >= time]
        for symbol in (result for result in call.results if result.segment == segment):
            length = -(-symbol.size // unit) * unit
            start = 0
            for other_start, other_stop, _ in taken:
                if start + length <= other_start:
                    break
                start = max(start, other_stop)
            symbol.offset, symbol.room = start, length
            taken = sorted([*taken, (start, start + length, last_use[id(symbol)])])
            end = max(end, start + length)
    return end
