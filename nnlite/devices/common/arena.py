"""The arena: the memory that a tape works on, in named segments such as the parameters.

One segment holds the results within a step; there the space of a result is used again once nothing reads it any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .kernel import Kernels
from .recording import Row, Symbol, Tape

ALIGNMENT = 64  # bytes: a cache line, and a vector
DATA = ("x", "target", "order", "answer")  # segments of any size, each time of another place: what a user hands over


class Host(Protocol):
    """What is asked of the device on which an arena lies, which is a `Device`."""

    ops: Kernels

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any: ...
    def address(self, array: Any) -> int: ...
    def to_numpy(self, array: Any) -> np.ndarray: ...
    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Any: ...


class Arena:
    """The memory of tapes: segment name -> array. Symbols of all segments but "results" know their place already."""

    def __init__(self, device: Host, dtype: npt.DTypeLike, segments: Mapping[str, Any]) -> None:
        self.device, self.dtype = device, dtype
        self.segments = dict(segments)
        for name, array in self.segments.items():
            if not array.flags.c_contiguous:  # its numbers are found by their distance from its start
                raise ValueError(f"{name} must be an array in C order, not one of strides {array.strides}")

    def place(self, segment: str, *tapes: Sequence[tuple[Row, int]]) -> int:
        """Give every result of this segment a place in it; tapes run one after the other, so they share the space.

        Each row comes with the time at which it runs: rows of one time may run together and share nothing. Every result
        gets whole vectors, and its `room` says how many numbers that is. Returns how many they need in all, which are
        reserved.
        """
        itemsize = np.dtype(self.dtype).itemsize
        size = max(_place_results(rows, itemsize, segment) for rows in tapes)
        self.reserve(segment, size)
        return size

    def reserve(self, segment: str, size: int) -> Any:
        """A segment of at least so many numbers."""
        if segment not in self.segments or len(self.segments[segment]) < size:
            self.segments[segment] = self.device.zeros(max(size, 1), self.dtype)
        return self.segments[segment]

    def symbols(self) -> dict[str, Symbol]:
        """A symbol for each segment."""
        return {name: Symbol(name, a.shape, a.dtype, name, 0) for name, a in self.segments.items()}

    def view(self, symbol: Symbol) -> Any:
        """The array that a symbol stands for. Data are taken whole: they may have other rows than when it was made."""
        if symbol.segment in DATA:
            return self.segments[symbol.segment]
        start = symbol.offset or 0
        return self.segments[symbol.segment].reshape(-1)[start : start + symbol.size].reshape(symbol.shape)

    def address(self, symbol: Symbol) -> int:
        """Where in the device's memory it begins."""
        return self.device.address(self.segments[symbol.segment]) + (symbol.offset or 0) * symbol.dtype.itemsize

    @property
    def bytes(self) -> int:
        """How much memory the results take, and what threads keep for themselves."""
        return sum(int(self.segments[name].nbytes) for name in ("results", "tile", "shares") if name in self.segments)


def _place_results(rows: Sequence[tuple[Row, int]], itemsize: int, segment: str) -> int:
    """Offsets for the results of this segment, first fit; returns how many elements they need in all."""
    unit = ALIGNMENT // itemsize
    last_use = {id(operand): time for row, time in rows for operand in (*row.operands, *row.results)}
    taken: list[tuple[int, int, int]] = []  # (start, stop, time of the last use), sorted
    end = 0
    for row, time in rows:
        taken = [entry for entry in taken if entry[2] >= time]
        for symbol in (result for result in row.results if result.segment == segment):
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
