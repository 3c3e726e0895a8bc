"""Replay by a loop in Python: the definition of what a tape means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..common.arena import Arena
from ..common.recording import Row, Symbol, Tape
from ..device import Replay


class PythonReplay(Replay):
    """Makes each call of the tape in Python. If there is a short tape, it makes the last step of each epoch."""

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, why: str = "") -> None:
        self.arena, self.tapes = arena, [tape for tape in (full, short) if tape]
        self.plan = f"every row of the tape called from Python{': ' if why else ''}{why}"
        arena.place("results", *([(row, time) for time, row in enumerate(tape.rows)] for tape in self.tapes))
        self.calls: list[list[Any]] = []  # of each tape, with arrays; made when the data are known

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        self.calls = []

    def release(self) -> None:
        super().release()
        self.calls = []

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        calls = self.calls = self.calls or [[called(row, self.arena) for row in tape.rows] for tape in self.tapes]
        sums = self.arena.segments["sums"]  # (S,)
        for step in range(first, last):
            end_of_epoch = (step + 1) % per_epoch == 0
            for kernel, operands, results in calls[-1] if end_of_epoch else calls[0]:
                answer = kernel(*operands)
                for place, value in zip(results, answer if len(results) > 1 else (answer,)):
                    place[...] = value
            if not math.isfinite(sums[0]):
                return step
            if end_of_epoch:
                history[step // per_epoch] = self.arena.device.to_numpy(sums)
                sums[...] = 0
        return last


def called(row: Row, arena: Arena) -> tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]:
    """The function that makes a call on this device, its operands, and the places of its results.

    The results of a user's own kernel are checked against its signature.
    """
    ops, row = arena.device.ops, placed(row, arena)
    return partial(ops.call, row.kernel) if row.kernel.own else ops.of(row.kernel), row.operands, row.results


def placed(row: Row, arena: Arena) -> Row:
    """The call with arrays in the place of symbols."""

    def place(operand: Any) -> Any:
        return arena.view(operand) if isinstance(operand, Symbol) else operand

    return Row(row.name, row.kernel, tuple(map(place, row.operands)), tuple(map(place, row.results)))
