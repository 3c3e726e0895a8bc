"""Replay by compiled code: a tape becomes a table of addresses, which threads run together.

Before that, its calls are fused, divided among threads and cut into tiles (devices/common).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numba.core.errors import NumbaError

from ...interrupts import Held
from ..common.arena import ALIGNMENT, DATA, Arena
from ..common.lines import bounds, line, operands, slice_of
from ..common.planning import Planned, fuse, plan, symbols, without_copies, work
from ..common.recording import Call, NotRecordableError, Symbol, Tape
from ..common.threads import together
from ..common.tiles import Tiles, tile
from ..device import Replay
from . import table
from .compiling import garbage_later
from .eager import COLUMNS, LOOPS
from .limits import CpuLimits
from .own import Outside, refusal


class Lines(list[list[int]]):
    """The lines of a table that is being made, and their pointers to data: line, word, bytes from the start, stride."""

    def __init__(self) -> None:
        super().__init__()
        self.pointers: dict[str, list[tuple[int, int, int, int]]] = {}  # segment -> words that point into it


class Pointers(NamedTuple):
    """Those words of a table that are addresses in one segment: flat[words] = its start + offsets.

    Where `strides` is not 0, the address moves with the position: a call works there on the rows of a step.
    """

    flat: np.ndarray  # (lines · words,), the table, line after line
    words: np.ndarray
    offsets: np.ndarray  # bytes
    strides: np.ndarray  # bytes from one row to the next, or 0


@functools.cache
def compiled_wait() -> Callable[[np.ndarray], None]:
    """How a thread waits for others: see `together`."""
    wait: Callable[[np.ndarray], None] = table.wait_awake
    with Held():
        wait(np.ones(1, np.int64))  # compiles it
    return wait


class CompiledReplay(Replay):
    """A tape as a table, and threads that run it together.

    Between two calls of `run` the threads wait asleep; a forked process starts its own (common/threads.py).
    """

    @garbage_later()
    def __init__(self, full: Tape, short: Tape | None, arena: Arena, threads: int, limits: CpuLimits) -> None:
        self.arena, self.limits = arena, limits
        self.own = {call.name: Outside(call.kernel) for call in full.calls if call.kernel.own}
        self.threads = threads if sum(map(work, full.calls)) > limits.worth_threads else 1
        self.moving: list[Symbol] = []  # rows of the data that are used where they are
        plans = [self._planned(tape, alone=not short) for tape in (full, short) if tape]
        size = f", in tiles of {plans[0][1].size} rows" if plans[0][1] else ""
        self.plan = f"compiled loop on {self.threads} thread{'s' if self.threads > 1 else ''}{size}"
        alone = self.threads == 1
        times = [[(p.call, i if alone else p.phase) for i, p in enumerate(rest)] for rest, _ in plans]
        arena.place("results", *([*(tiles.kept() if tiles else ()), *calls] for calls, (_, tiles) in zip(times, plans)))
        for _, tiles in plans:
            if tiles:
                tiles.place(arena, self.threads)
        self.pointers: dict[str, list[Pointers]] = {name: [] for name in DATA}
        self.tables = [self._table(*each) for each in plans] + ([] if short else [table.as_table(arena.device.zeros)])
        self.no_marks = np.zeros((3, table.ROW), np.int64)  # for one thread alone, which marks only errors
        if self.threads > 1:
            compiled_wait()  # now, as long as there is memory for it
        self.swept: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # pointers, position, sums
        self.rows = next((int(call.operands[-1]) for call in full.calls if call.name == "advance"), 0)  # of a batch
        with Held():
            self.run(0, 0, 1, np.zeros((1, len(arena.segments["sums"]))))  # compiles the loop that runs the table

    def up_to_date(self) -> bool:
        return all(outside.up_to_date() for outside in self.own.values())

    def point(self, data: Mapping[str, Any]) -> None:
        super().point(data)
        self._point(data)

    def _point(self, names: Iterable[str], row: int = 0) -> None:
        """Write the addresses of these segments of the data; those that move with the position are at this row."""
        for name in names:
            start = self.arena.device.address(self.arena.segments[name])
            for flat, words, offsets, strides in self.pointers[name]:
                flat[words] = start + (offsets + row * strides if row else offsets)

    def sweep(
        self, data: Mapping[str, Any], position: int, times: int, taken: np.ndarray | None = None, thread: int = 0
    ) -> bool:
        if self.threads > 1 or len(data) != 2:  # `table.sweep` points to two arrays
            return super().sweep(data, position, times, taken)
        if self.swept is None:
            length = self.tables[0].lines.shape[1]
            places = [
                (i, *divmod(word, length), *place)
                for i, name in enumerate(data)
                for pointers in self.pointers[name]
                for word, *place in zip(*pointers[1:])
            ]
            self.swept = np.array(places, np.int64), self.arena.segments["position"], self.arena.segments["sums"]
        pointers, row, sums = self.swept
        batches = position, times, self.rows, 0 if taken is None else taken.ctypes.data, 1 + thread % 2
        status = table.sweep(self.tables[0].lines, pointers, *data.values(), row, sums, *batches)
        if status > 0:
            self._raise()
        return status == 0

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        (full, full_shares), (short, short_shares) = self.tables
        if self.moving and first < last:
            self._point({rows.segment for rows in self.moving}, int(self.arena.segments["position"][0]))
        full_shares[:, table.MARK] = short_shares[:, table.MARK] = 0
        shares = (full_shares, short_shares) if self.threads > 1 else None
        sums = self.arena.segments["sums"]
        marks = self.arena.device.zeros((3, table.ROW), np.int64) if shares else self.no_marks
        self.no_marks[0, 0] = 0
        stopped = [first] * self.threads

        def share(thread: int) -> None:
            settings = (first, last, per_epoch, sums, history, marks, thread, shares)
            stopped[thread] = table.replay(full, short, *settings)

        if self.threads == 1 or first == last:
            share(0)
        else:
            errors = together(share, self.threads, compiled_wait())
            if max(stopped) == last:  # the other threads did the parts of one that had no memory
                errors = [error for error in errors if not isinstance(error, MemoryError)]
            if errors:
                self.whole = False
                raise errors[0]
        if marks[0, 0]:
            self._raise()
        return int(max(stopped))

    def _raise(self) -> NoReturn:
        """Raise an error that explains why compiled code has failed."""
        self.whole = False
        if not self.own:
            raise MemoryError("memory ran out in a step; a smaller batch_size= or smaller layers take less")
        raise RuntimeError(
            f"a kernel of your own raised an error in compiled code ({' or '.join(self.own)}), where it cannot be "
            "shown, or gave a result of another shape than its signature says, or memory ran out; "
            'Trainer(…, replay="eager") runs every step in Python and shows it'
        )

    # ---- from calls to lines ----------------------------------------------------------------------------------------

    def _planned(self, tape: Tape, alone: bool) -> tuple[list[Planned], Tiles | None]:
        """The calls in phases, and the calls that run before them in tiles, or None.

        One thread that runs one tape `alone` needs no copies of rows in the order of the data.
        """
        tiles = tile(tape.calls, self.threads, COLUMNS, self.limits)
        calls = tiles.after if tiles else fuse(tape.calls)
        if alone and self.threads == 1:
            calls, self.moving = without_copies(calls)
        return plan(calls, COLUMNS, self.limits.smallest_shared), tiles

    def _table(self, planned: Sequence[Planned], tiles: Tiles | None) -> table.Table:
        lines = Lines()
        phases: list[list[int]] = []  # for each phase, the lines at which its parts begin
        moves: list[tuple[int, int, int]] = []  # (line that moves a word, line and word that it moves)
        if tiles:
            phases.append([])
            for thread in range(self.threads):
                phases[-1].append(len(lines))
                self._tiled(tiles, thread, lines, moves)
        for _, steps in itertools.groupby(planned, key=lambda step: step.phase):
            together = list(steps)
            phases.append([])
            for thread in range(self.threads):
                begin = len(lines)
                for step in together:
                    if mine := slice_of(step, thread, self.threads):
                        self._line(lines, mine.call, mine.part, mine.first)
                if len(lines) > begin:
                    phases[-1].append(begin)
        for moved, word, _, stride in itertools.chain(*lines.pointers.values()):
            if stride:
                moves.append((len(lines), moved, word))
                lines.append([table.MOVE, 0, stride * len(self.moving[0])])
        made = table.as_table(self.arena.device.zeros, lines, phases)
        for mover, moved, word in moves:
            made.lines[mover, 1] = made.lines[moved, word:].ctypes.data
        for name, places in lines.pointers.items():
            which, words, offsets, strides = np.array(places).T
            words += which * made.lines.shape[1]
            self.pointers[name].append(Pointers(made.lines.reshape(-1), words, offsets, strides))
        return made

    def _tiled(self, tiles: Tiles, thread: int, lines: Lines, moves: list[tuple[int, int, int]]) -> None:
        """Add the first tile, which sets the gradients, then the others, which add to them, then the rows left over."""
        first, stop = bounds(tiles.rows, thread, self.threads)
        size = tiles.size
        times, rest = divmod(stop - first, size)
        bodies = [(first, size, False, 1), (first + size, size, True, times - 1), (stop - rest, rest, True, 1)]
        for start, n, adding, turns in bodies:
            if n == 0 or turns == 0:
                continue
            begin, moved = len(lines), []
            for call, steps in tiles.body(thread, start, n, adding):
                places = self._line(lines, call, first=start)
                steps |= {"first": 1} if "first" in places else {}
                moved += [(len(lines) - 1, places[name], step * n) for name, step in steps.items()]
            if turns > 1:
                for back, amount in ((False, 1), (True, -turns)):
                    for place, word, step in moved:
                        moves.append((len(lines), place, word))
                        lines.append([table.MOVE, 0, step * amount])
                    if not back:
                        lines.append([table.REPEAT, len(lines) - begin, turns])

    def _line(self, lines: Lines, call: Call, part: tuple[int, int] | None = None, first: int = 0) -> Mapping[str, int]:
        """Add a call as a line of the table -> operand -> the word of the line at which it begins."""
        words, kinds, places = line(call, self.arena.address, COLUMNS, part, first, self._length(call))
        if call.kernel.columns and len({kind.split("_")[0] for kind in kinds if "_" in kind}) > 1:
            raise NotRecordableError(f"{call.name} is compiled for arrays of one dtype, not for {', '.join(kinds)}")
        try:
            loop, key = self.own[call.name].loop if call.kernel.own else (LOOPS[call.name].py_func, None)
            function = table.function_for(loop, call.name, kinds, key)
        except Exception as error:  # of a user's formula, Numba's compiler raises others than its own, too
            if isinstance(error, MemoryError) or not (call.kernel.own or isinstance(error, NumbaError)):
                raise
            raise NotRecordableError(f"Numba cannot compile the kernel {call.name}: {refusal(error)}") from error
        for name, operand in operands(call).items():
            if isinstance(operand, Symbol) and operand.segment in DATA:
                offset = (operand.offset or 0) * operand.dtype.itemsize
                moves = any(operand is each for each in self.moving)
                place = len(lines), places[name], offset, operand.nbytes // len(operand) if moves else 0
                lines.pointers.setdefault(operand.segment, []).append(place)
        lines.append([function, *words])
        return places

    def _length(self, call: Call) -> int:
        """The number of elements that an elementwise call computes; 0 for any other call.

        It goes on to the end of a vector if each operand has room for that. A part of an array has no room: another
        part or another array begins where it ends.
        """
        if not call.kernel.elementwise:
            return 0
        size, unit = call.results[0].size, ALIGNMENT // call.results[0].dtype.itemsize
        padded = -(-size // unit) * unit
        return padded if all(symbol.room >= padded for symbol in (*symbols(call), *call.results)) else size
