"""Programs: a step of training, an evaluation or a prediction is recorded once, and the device then runs it many times.

All three read and write only arrays. Each is given as a function `make(ops, arrays)`, which returns a function that
processes the next n rows with these kernels on these arrays. When `ops` is a recorder and the arrays are symbols, the
calls are recorded on a tape (devices/common/recording.py), and the device replays it without Python. If a step does
something that is not a kernel, it cannot be recorded: Python then makes every step, slower and with the same result.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from .devices import Arena, NotRecordableError, Recorder, Replay, StepwiseReplay, Tape

Make = Callable[[Any, Mapping[str, Any]], Callable[[int], None]]

# The errors of code that asks a symbol for numbers, which it does not have.
NOT_RECORDED = (NotRecordableError, TypeError, AttributeError)
MOST_KEPT = 16


class Program:
    """A recorded tape in the form in which a device runs it: `rows` rows a step, and `rest` in an epoch's last step."""

    def __init__(self, make: Make, arena: Arena, rows: int, rest: int = 0, threads: int = 1, how: str = "auto") -> None:
        self.arena, self.rows, self.rest = arena, rows, rest
        self.position, self.sums = arena.segments["position"], arena.segments["sums"]
        self.tape: Tape | None = None  # for `rows` rows; None if Python makes every step
        self.error: Exception | None = None  # the reason why it could not be recorded
        self.replay: Replay = EagerReplay(make, arena, rows, rest)
        if how != "eager":
            try:
                tape = record(make, arena, rows)
                short = record(make, arena, rest) if rest else None
                self.replay = arena.device.replay(tape, short, arena, threads, how)
                self.tape = tape
            except NOT_RECORDED as error:
                self.error = error

    def start(self, data: Mapping[str, Any]) -> None:
        """Begin at the first row of these data, with all sums 0."""
        self.replay.point(data)
        self.replay.whole = True
        self.position[0] = 0
        self.sums[...] = 0


def record(make: Make, arena: Arena, rows: int) -> Tape:
    """The tape of the calls that process so many rows."""
    recorder = Recorder(arena.device.ops, arena.dtype)
    make(recorder, arena.symbols())(rows)
    return recorder.tape


class EagerReplay(StepwiseReplay):
    """Makes every step in Python, kernel by kernel."""

    plan = "every step made in Python"
    process: Callable[[int], None] | None = None  # made once, so that what a step sets is there in the next

    def __init__(self, make: Make, arena: Arena, rows: int, rest: int) -> None:
        self.make, self.arena, self.rows, self.last_rows = make, arena, rows, rest or rows

    def stepping(self) -> Callable[[bool], None]:
        self.process = process = self.process or self.make(self.arena.device.ops, self.arena.segments)
        return lambda ends_epoch: process(self.last_rows if ends_epoch else self.rows)


class KeptPrograms:
    """The programs used last, by a key. Whoever takes a program has it alone until it is put back.

    Another thread or a signal handler may run between any two lines of these methods.
    """

    def __init__(self) -> None:
        self._programs: OrderedDict[Any, Any] = OrderedDict()

    def take(self, key: Any) -> Any:
        """Remove and return the program of this key, or None if there is none."""
        return self._programs.pop(key, None)

    def put(self, key: Any, program: Any) -> None:
        """Keep a program as the one that was used last."""
        self._programs.pop(key, None)
        self._programs[key] = program
        while len(self._programs) > MOST_KEPT:
            with contextlib.suppress(KeyError):  # another thread has taken the last one
                self._programs.popitem(last=False)
