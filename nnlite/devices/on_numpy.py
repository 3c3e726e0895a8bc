"""The numpy device: the reference itself, on arrays in main memory; its replay defines what a tape means."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np

from . import reference
from .kernel import Kernels, kernels_in
from .recording import ALIGNMENT, Arena, Row, Symbol, Tape


class NumpyDevice:
    """Where arrays live and which kernels work on them; the other devices are subclasses."""

    name = "numpy"
    precision = "float32"  # in which products of float32 are made

    def __init__(self) -> None:
        self.ops = Kernels(kernels_in(reference))

    def __reduce__(self) -> Any:
        from . import get_device

        return get_device, (self.name, self.precision)

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """The array on this device, C-contiguous; not copied if it is already so."""
        if hasattr(array, "__cuda_array_interface__"):  # CuPy's never become NumPy's unasked
            array = array.get()
        return np.ascontiguousarray(array, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """Zeros that begin at a cache line."""
        bytes_needed = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        raw = np.zeros(bytes_needed + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + bytes_needed].view(dtype).reshape(shape)

    def owns(self, array: Any) -> bool:
        """Whether the array lies in this device's own memory, where NumPy cannot read it."""
        return False

    def borrowed(self, array: Any) -> Any:
        """An array of another library as this device's own, if it lies in its memory; else as it is."""
        return array

    def address(self, array: Any) -> int:
        """Where in memory the array begins."""
        return int(array.ctypes.data)

    def to_numpy(self, array: Any) -> np.ndarray:
        """The array in main memory."""
        return np.asarray(array)

    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        """Something that runs these tapes on this memory, on so many threads if it can; `how`: in one of its ways."""
        self.refuse(how)
        return Replay(full, short, arena)

    def refuse(self, how: str) -> None:
        """ValueError for a way to replay that this device does not have."""
        if how != "auto":
            raise ValueError(f'replay="{how}" is a way of device "cupy"; device {self.name!r} has "auto" and "eager"')

    def room(self) -> int | None:
        """How many bytes of its memory are free; None where that is the operating system's care."""
        return None

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """With this, an error of the device's own that a user may meet says what to do."""
        return contextlib.nullcontext()

    def __repr__(self) -> str:
        return f"<nnlite device {self.name!r}>"


class Replay:
    """Runs a tape step by step, and a short one for the last batch of an epoch where there is one."""

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, why: str = "") -> None:
        self.arena = arena
        self.plan = f"every row of the tape called from Python{': ' if why else ''}{why}"
        arena.place("results", *([(row, time) for time, row in enumerate(tape.rows)] for tape in (full, short) if tape))
        self.full, self.short = self.lower(full), self.lower(short) if short else None

    def lower(self, tape: Tape) -> Any:
        """The tape in the form that `run` runs: (kernel, operands, results) with arrays in the places of symbols."""
        rows = map(self.placed, tape.rows)
        return [(row.kernel, row.operands, row.results) for row in rows]

    def placed(self, row: Row) -> Row:
        """The row with arrays in the places of symbols."""

        def place(operand: Any) -> Any:
            return self.arena.view(operand) if isinstance(operand, Symbol) else operand

        return Row(row.name, row.kernel, tuple(map(place, row.operands)), tuple(map(place, row.results)))

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        """Steps first … last − 1, of which each `per_epoch` make an epoch: its sums go to the next row of `history`.

        history (epochs, S). Returns the step it stopped before: `last`, or one whose loss is not finite.
        """
        sums = self.arena.segments["sums"]  # (S,)
        for step in range(first, last):
            end_of_epoch = (step + 1) % per_epoch == 0
            for kernel, operands, results in self.short if end_of_epoch and self.short else self.full:
                answer = kernel(*operands)
                for place, value in zip(results, answer if len(results) > 1 else (answer,)):
                    place[...] = value
            if not math.isfinite(sums[0]):
                return step
            if end_of_epoch:
                history[step // per_epoch] = self.arena.device.to_numpy(sums)
                sums[...] = 0
        return last
