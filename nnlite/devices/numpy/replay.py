"""Replay by a loop in Python: the definition of what a tape means."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..common.arena import Arena
from ..common.recording import Row, Symbol, Tape
from ..device import StepwiseReplay


class PythonReplay(StepwiseReplay):
    """Makes each call of the tape in Python. If there is a short tape, it makes the last step of each epoch."""

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, why: str = "") -> None:
        self.arena, self.tapes = arena, [tape for tape in (full, short) if tape]
        self.plan = f"every row of the tape called from Python{': ' if why else ''}{why}"
        arena.place("results", *([(row, time) for time, row in enumerate(tape.rows)] for tape in self.tapes))

    def stepping(self) -> Callable[[bool], None]:
        full, *short = [[called(row, self.arena) for row in tape.rows] for tape in self.tapes]

        def step(ends_epoch: bool) -> None:
            for kernel, operands, results in short[0] if short and ends_epoch else full:
                answer = kernel(*operands)
                for place, value in zip(results, answer if len(results) > 1 else (answer,)):
                    place[...] = value

        return step


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
