"""Replay by a loop in Python: the definition of what a tape means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..common.arena import Arena
from ..common.recording import Row, Symbol, Tape
from ..device import Replay


class PythonReplay(Replay):
    """Calls the kernel of each row; a short tape makes the last step of an epoch, where there is one."""

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, why: str = "") -> None:
        self.arena, self.tapes = arena, [tape for tape in (full, short) if tape]
        self.plan = f"every row of the tape called from Python{': ' if why else ''}{why}"
        arena.place("results", *([(row, time) for time, row in enumerate(tape.rows)] for tape in self.tapes))
        self.rows: Any = None  # of the tapes, with arrays in the places of symbols

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        self.rows = None

    def release(self) -> None:
        super().release()
        self.rows = None

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        self.rows = self.rows or [[placed(row, self.arena) for row in tape.rows] for tape in self.tapes]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # as compiled replays: sums[0] tells
            return self._run(first, last, per_epoch, history)

    def _run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        sums = self.arena.segments["sums"]  # (S,)
        for step in range(first, last):
            end_of_epoch = (step + 1) % per_epoch == 0
            for row in self.rows[-1] if end_of_epoch else self.rows[0]:
                answer = row.kernel(*row.operands)
                for place, value in zip(row.results, answer if len(row.results) > 1 else (answer,)):
                    place[...] = value
            if not math.isfinite(sums[0]):
                return step
            if end_of_epoch:
                history[step // per_epoch] = self.arena.device.to_numpy(sums)
                sums[...] = 0
        return last


def placed(row: Row, arena: Arena) -> Row:
    """The row with arrays in the places of symbols."""

    def place(operand: Any) -> Any:
        return arena.view(operand) if isinstance(operand, Symbol) else operand

    return Row(row.name, row.kernel, tuple(map(place, row.operands)), tuple(map(place, row.results)))
