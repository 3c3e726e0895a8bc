"""Replay by a loop in Python: the definition of what a tape means."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..common.arena import Arena
from ..common.recording import Call, Symbol, Tape
from ..device import StepwiseReplay


class PythonReplay(StepwiseReplay):
    """Makes each call of the tape in Python. If there is a short tape, it makes the last step of each epoch."""

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, why: str = "") -> None:
        self.arena, self.tapes = arena, [tape for tape in (full, short) if tape]
        self.plan = f"every call of the tape made from Python{': ' if why else ''}{why}"
        arena.place("results", *([(call, time) for time, call in enumerate(tape.calls)] for tape in self.tapes))

    def stepping(self) -> Callable[[bool], None]:
        full, *short = [[called(call, self.arena) for call in tape.calls] for tape in self.tapes]

        def step(ends_epoch: bool) -> None:
            for kernel, operands, results in short[0] if short and ends_epoch else full:
                answer = kernel(*operands)
                for place, value in zip(results, answer if len(results) > 1 else (answer,)):
                    place[...] = value

        return step


def called(call: Call, arena: Arena) -> tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]:
    """The function that makes a call on this device, its operands, and the places of its results.

    The results of a user's own kernel are checked against its signature.
    """
    ops, call = arena.device.ops, placed(call, arena)
    return partial(ops.call, call.kernel) if call.kernel.own else ops.of(call.kernel), call.operands, call.results


def placed(call: Call, arena: Arena) -> Call:
    """The call with arrays in the place of symbols."""

    def place(operand: Any) -> Any:
        return arena.view(operand) if isinstance(operand, Symbol) else operand

    return Call(call.name, call.kernel, tuple(map(place, call.operands)), tuple(map(place, call.results)))
