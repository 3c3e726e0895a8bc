"""Sweeps: one pass over all rows without training, which is an evaluation or a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from .devices import Arena, Device, together, work
from .programs import MOST_KEPT, Make, Program

WORTH_A_THREAD = 350_000  # in units of `work`: a core does about five a nanosecond, and a thread begins after 40 µs
FEWEST_ROWS = 8  # in a batch, where several threads share few rows: products of fewer are slower
BATCHES = 2  # for each thread, at least
CACHED = 10_000_000  # bytes of parameters that a processor's cache keeps from one batch to the next
IF_LARGER = 0.75  # batches for each thread if each batch reads the parameters from memory: fewer and larger ones
PARTS = 4  # for each thread: parts are small, so that the others wait only a short time for a late thread


class Sweep:
    """One pass over all rows, in batches: an evaluation or a prediction.

    The sizes of batches are powers of two, so that a few programs serve any number of rows. A program is used by one
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
        self.batches = IF_LARGER if arrays["parameters"].nbytes > CACHED else BATCHES
        self.work: float | None = None  # for one row, in units of `work`
        self.free: dict[int, list[Program]] = {}  # rows of a batch -> programs that no thread is using
        self.own = False  # whether it calls kernels of the user's own

    def __call__(
        self, data: Mapping[str, Any], rows: int, most: int | None = None, sums: list[np.ndarray] | None = None
    ) -> bool:
        """Process all rows of the data, at most `most` at once; `sums` gets each group's sums (S,), in order.

        Returns False as soon as the first of the sums is not finite; the remaining rows are then skipped.
        """
        largest = self.device.rows_at_once
        if most is not None:
            largest = min(largest, power_of_two(most))
        if self.threads > 1 and rows >= 2 * BATCHES * FEWEST_ROWS:
            work = rows * (self.work or self._work(min(largest, power_of_two(rows)), data))
            threads = min(self.threads, rows // (BATCHES * FEWEST_ROWS), int(work / WORTH_A_THREAD))
            if threads > 1:
                size = min(largest, power_of_two(int(rows / (self.batches * threads))))
                return self._on_threads(threads, data, rows, size, sums)
        start = 0
        for size, times in batches(rows, largest):
            if not self._run(data, start, size, times, sums):
                return False
            start += size * times
        return True

    def _run(
        self,
        data: Mapping[str, Any],
        start: int,
        size: int,
        times: int,
        sums: list[np.ndarray] | None,
        taken: np.ndarray | None = None,
        thread: int = 0,
    ) -> bool:
        """Process `times` batches of `size` rows, from row `start` on; with `taken`, together with other threads."""
        program = self._taken(size, data)
        went_well = program.replay.sweep(data, start, times, taken, thread)
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
            self.own |= program.tape is not None and any(call.kernel.own for call in program.tape.calls)
            return program

    def up_to_date(self) -> bool:
        """Whether what kernels of the user's own take from outside is what it was when they were compiled."""
        return not self.own or all(each.replay.up_to_date() for free in [*self.free.values()] for each in [*free])

    def _back(self, size: int, program: Program) -> None:
        free = self.free.setdefault(size, [])
        if len(free) < MOST_KEPT:
            free.append(program)

    def _on_threads(
        self, threads: int, data: Mapping[str, Any], rows: int, largest: int, sums: list[np.ndarray] | None
    ) -> bool:
        """Distribute the batches among threads that work on them together.

        Without sums, each thread takes the next of the largest batches as soon as it has finished one; the
        first, which is awake, begins with the rows left over. Sums must not depend on which thread was faster: then the
        threads take parts of several batches, and each part has its own sums.
        """
        parts: list[Any] = []  # (first row, rows of a batch, batches, sums or None)
        start, count, each = 0, rows // largest, -(-rows // largest // (PARTS * threads))
        for size, times in batches(rows, largest):
            if sums is not None:
                parts += [(start + i * size, size, min(each, times - i), []) for i in range(0, times, each)]
            elif size < largest:
                parts.append((start, size, 1, None))
            start += size * times
        left = iter(parts)  # the iterator of a list gives each part to only one thread
        taken, bad = np.zeros(3, np.int64), list[bool]()

        def run(*part: Any) -> None:
            if not bad and not self._run(data, *part):
                bad.append(True)
                taken[0] = count  # so that the others stop

        def share(thread: int) -> None:
            if thread == 0 or sums is not None:
                for part in left:
                    run(*part)
            if sums is None:
                run(0, largest, count, None, taken, thread)

        for error in together(share, threads, self.device.wait_awake):
            raise error
        if sums is not None:
            for *_, found in parts:
                sums += found
        return not bad

    def _work(self, size: int, data: Mapping[str, Any]) -> float:
        """The cost of one row, in units of `work`; 0 if Python makes every step.

        What does not grow with the rows is left out, so that this number does not depend on which call came first.
        """
        if self.work is None:
            program = self._taken(size, data)
            costs = map(work, program.tape.calls if program.tape else ())
            self.work = sum(cost for cost in costs if cost >= size) / size
            self._back(size, program)
        return self.work


@lru_cache(maxsize=1000)
def batches(rows: int, most: int) -> tuple[tuple[int, int], ...]:
    """Batches whose sizes are powers of two and that add up to so many rows: (size, number), the largest first.

    >>> nl.sweeps.batches(77, 32)
    ((32, 2), (8, 1), (4, 1), (1, 1))
    """
    times, rest = divmod(rows, most)
    found = [(most, times)] * bool(times)
    while rest:
        size = power_of_two(rest)
        found.append((size, 1))
        rest -= size
    return tuple(found)


def power_of_two(number: int) -> int:
    """The largest power of two up to this number."""
    return 1 << (number.bit_length() - 1)
