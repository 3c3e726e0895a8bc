"""Replay by a loop in Python: the definition of what a tape means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..common.arena import Arena
from ..common.recording import Row, Symbol, Tape


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
