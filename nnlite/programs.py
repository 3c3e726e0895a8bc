"""Programs: a step of training, an evaluation or a prediction is recorded once, and the device then runs it many times.

All three read and write only arrays. Each is given as a function `make(ops, arrays)`, which returns a function that
processes the next n rows with these kernels on these arrays. When `ops` is a recorder and the arrays are symbols, the
calls are recorded on a tape (devices/common/recording.py), and the device replays it without Python. If a step does
something that is not a kernel, it cannot be recorded: Python then makes every step, slower and with the same result.
"""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from .devices import Arena, Device, NotRecordableError, Recorder, Replay, Tape, together, work

Make = Callable[[Any, Mapping[str, Any]], Callable[[int], None]]

# The errors of code that asks a symbol for numbers, which it does not have.
NOT_RECORDED = (NotRecordableError, TypeError, AttributeError)
MOST_KEPT = 16
WORTH_THREADS = 3_000_000  # in units of `work`: a core does about eight a nanosecond, and a thread costs about 100 µs
PARTS = 4  # for each thread: parts are small, so that the others wait only a short time for a late thread


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
        self.position[0] = 0
        self.sums[...] = 0


def record(make: Make, arena: Arena, rows: int) -> Tape:
    """The tape of the calls that process so many rows."""
    recorder = Recorder(arena.device.ops, arena.dtype)
    make(recorder, arena.symbols())(rows)
    return recorder.tape


class EagerReplay(Replay):
    """Makes every step in Python, kernel by kernel."""

    plan = "every step made in Python"

    def __init__(self, make: Make, arena: Arena, rows: int, rest: int) -> None:
        self.make, self.arena, self.rows, self.rest = make, arena, rows, rest
        self.do: Callable[[int], None] | None = None

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        self.do = None

    def release(self) -> None:
        super().release()
        self.do = None

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        do = self.do = self.do or self.make(self.arena.device.ops, self.arena.segments)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # as in compiled replays: sums[0] shows it
            return self._run(do, first, last, per_epoch, history)

    def _run(self, do: Callable[[int], None], first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        sums = self.arena.segments["sums"]  # (S,)
        for step in range(first, last):
            end_of_epoch = (step + 1) % per_epoch == 0
            do(self.rest if end_of_epoch and self.rest else self.rows)
            if not math.isfinite(sums[0]):
                return step
            if end_of_epoch:
                history[step // per_epoch] = self.arena.device.to_numpy(sums)
                sums[...] = 0
        return last


class Sweep:
    """One pass over all rows, in blocks of rows: an evaluation or a prediction.

    The sizes of blocks are powers of two, so that a few programs serve any number of rows. A program is used by one
    thread at a time; when all are in use, one more is made.
    """

    def __init__(
        self,
        make: Make,
        device: Device,
        dtype: Any,
        arrays: Mapping[str, Any],
        sums: int,
        threads: int,
        how: str = "",
    ) -> None:
        self.make, self.device, self.dtype, self.arrays = make, device, dtype, arrays
        self.size, self.how = sums, how or device.sweeps_by
        self.threads = threads if device.runs_on_threads else 1
        self.work: float | None = None  # for one row, in units of `work`
        self.free: dict[int, list[Program]] = {}  # rows of a block -> programs that no thread is using

    def __call__(
        self, data: Mapping[str, Any], rows: int, most: int | None = None, sums: list[np.ndarray] | None = None
    ) -> bool:
        """Process all rows of the data, at most `most` at once; `sums` gets each group's sums (S,), in order.

        Returns False as soon as the first of the sums is not finite; the remaining rows are then skipped.
        """
        largest = self.device.rows_at_once if most is None else min(most, self.device.rows_at_once)
        largest = 1 << (largest.bit_length() - 1)
        if self.threads > 1 and rows > largest and rows * self._work(largest, data) > WORTH_THREADS:
            return self._on_threads(data, rows, largest, sums)
        start = 0
        for size, times in blocks(rows, largest):
            if not self._run(data, start, size, times, sums):
                return False
            start += size * times
        return True

    def _run(self, data: Mapping[str, Any], start: int, size: int, times: int, sums: list[np.ndarray] | None) -> bool:
        """Process `times` blocks of `size` rows, from row `start` on."""
        program = self._taken(size, data)
        went_well = program.replay.sweep(data, start, times)
        if sums is not None:
            sums.append(np.array(self.device.to_numpy(program.sums)))
        self._back(size, program)
        return went_well

    def _taken(self, size: int, data: Mapping[str, Any]) -> Program:
        try:  # pop without a look before: between the two, another thread might take the last program
            return self.free[size].pop()
        except (KeyError, IndexError):
            zeros = self.device.zeros
            own = {"position": zeros(1, np.int64), "sums": zeros(self.size, np.float64)}
            arena = Arena(self.device, self.dtype, {**data, **own, **self.arrays})
            program = Program(self.make, arena, size, how=self.how)
            program.replay.release()  # the data are the caller's, and may be large
            return program

    def _back(self, size: int, program: Program) -> None:
        free = self.free.setdefault(size, [])
        if len(free) < MOST_KEPT:
            free.append(program)

    def _on_threads(self, data: Mapping[str, Any], rows: int, largest: int, sums: list[np.ndarray] | None) -> bool:
        """Distribute the blocks among threads that end with this call."""
        parts: list[tuple[int, int, int, list[np.ndarray]]] = []
        start = 0
        for size, times in blocks(rows, largest):
            some = -(-times // (PARTS * self.threads))
            for done in range(0, times, some):
                parts.append((start + done * size, size, min(some, times - done), []))
            start += size * times
        left = iter(parts)  # the iterator of a list gives each part to only one thread
        bad: list[Any] = []

        def share(thread: int) -> None:
            for part in left:
                if bad:
                    return
                if not self._run(data, *part):
                    bad.append(part)

        for error in together(share, min(self.threads, len(parts))):
            raise error
        if sums is not None:
            for *_, found in parts:
                sums += found
        return not bad

    def _work(self, size: int, data: Mapping[str, Any]) -> float:
        """The cost of one row, in units of `work`; 0 if Python makes every step."""
        if self.work is None:
            program = self._taken(size, data)
            self.work = sum(map(work, program.tape.rows)) / size if program.tape else 0.0
            self._back(size, program)
        return self.work


def blocks(rows: int, most: int) -> Iterator[tuple[int, int]]:
    """Blocks whose sizes are powers of two and that add up to so many rows: (size, number), the largest first.

    >>> list(nl.programs.blocks(77, 32))
    [(32, 2), (8, 1), (4, 1), (1, 1)]
    """
    times, rest = divmod(rows, most)
    if times:
        yield most, times
    while rest:
        size = 1 << (rest.bit_length() - 1)
        yield size, 1
        rest -= size


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
