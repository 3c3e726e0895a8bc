"""Replay by compiled code: a tape becomes a table of addresses, which threads run together.

Before that its rows are fused, shared out among threads and cut into tiles (devices/common).
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from _thread import start_new_thread
from collections.abc import Mapping, Sequence

import numpy as np
from numba.core.errors import NumbaError

from ..common import reference
from ..common.arena import ALIGNMENT, Arena
from ..common.kernel import kernels_in
from ..common.lines import line, share, share_of
from ..common.planning import Planned, fuse, plan, symbols, work
from ..common.recording import NotRecordableError, Row, Tape
from ..common.tiles import Tiles, tile
from ..numpy.replay import Replay
from . import table
from .eager import LOOPS
from .loops import COLUMNS, ELEMENTWISE
from .own import own_loop

# In units of `work`, of which a core does about eight in a nanosecond; a phase costs 200 ns.
WORTH_THREADS = 150_000  # of a whole step: some 50 µs
SMALLEST_SHARED = 10_000  # of a product


class CompiledReplay(Replay):
    """A tape as a table, and threads that run it together.

    Threads are started for a call and end with it, so there is no pool that a fork could lose.
    """

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, threads: int) -> None:
        self.arena = arena
        own = (row for row in full.rows if row.name not in LOOPS and row.kernel.__module__ != reference.__name__)
        self.own = list(dict.fromkeys(row.name for row in own))
        self.threads = threads if sum(map(work, full.rows)) > WORTH_THREADS else 1
        plans = [self._planned(tape) for tape in (full, short) if tape]
        size = f", in tiles of {plans[0][1].size} rows" if plans[0][1] else ""
        self.plan = f"compiled loop on {self.threads} thread{'s' if self.threads > 1 else ''}{size}"
        alone = self.threads == 1
        times = [[(p.row, i if alone else p.phase) for i, p in enumerate(rest)] for rest, _ in plans]
        arena.place("results", *([*(tiles.kept() if tiles else ()), *rows] for rows, (_, tiles) in zip(times, plans)))
        for _, tiles in plans:
            if tiles:
                tiles.place(arena, self.threads)
        self.tables = [self._table(*each) for each in plans] + ([] if short else [table.as_table(arena.device.zeros)])
        self.run(0, 0, 1, np.zeros((1, len(arena.segments["sums"]))))  # compiles it

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        (full, full_shares), (short, short_shares) = self.tables
        full_shares[:, table.MARK] = short_shares[:, table.MARK] = 0
        together = (full_shares, short_shares) if self.threads > 1 else None
        sums, marks = self.arena.segments["sums"], self.arena.device.zeros((3, table.ROW), np.int64)
        stopped, errors = [first] * self.threads, list[BaseException]()
        entering, over = threading.Lock(), False
        begun: list[int] = []  # threads that have; those at work are not `idle`
        idle, ended = [True] * self.threads, [threading.Lock() for _ in range(self.threads)]

        def share(thread: int) -> None:
            settings = (first, last, per_epoch, sums, history, marks, thread, together)
            stopped[thread] = table.replay(full, short, *settings)

        def help(thread: int) -> None:
            try:
                with entering:
                    if over:
                        return
                    idle[thread] = False
                    begun.append(thread)
                share(thread)
            except BaseException as error:
                errors.append(error)
            finally:
                idle[thread] = True
                ended[thread].release()

        interrupt: BaseException | None = None
        try:
            # A threading.Thread would be waited for until it has begun, which it never has where memory has run out.
            with contextlib.suppress(RuntimeError, MemoryError):  # those that there are do the work
                for thread in range(1, self.threads if first < last else 1):
                    ended[thread].acquire()
                    start_new_thread(help, (thread,))
            share(0)
        finally:  # after Ctrl-C too: those that have begun make whole steps, others none
            while True:
                try:  # however often it is pressed
                    with entering:
                        over = True
                    for thread in begun:
                        while not idle[thread]:
                            ended[thread].acquire(timeout=0.1)
                    break
                except BaseException as error:
                    interrupt = error
        if max(stopped) == last:  # whoever had no memory was not needed
            errors = [error for error in errors if not isinstance(error, MemoryError)]
        if interrupt or errors:
            raise interrupt or errors[0]
        if marks[0, 0] and not self.own:
            raise MemoryError("memory ran out in a step of training; a smaller batch_size= or smaller layers take less")
        if marks[0, 0]:
            raise RuntimeError(
                f"a kernel of your own raised an error in compiled code ({' or '.join(self.own)}), where it cannot be "
                'shown, or memory ran out; Trainer(…, replay="eager") runs every step in Python and shows it'
            )
        return int(max(stopped))

    # ---- from rows to lines ----------------------------------------------------------------------------------------

    def _planned(self, tape: Tape) -> tuple[list[Planned], Tiles | None]:
        """The rows in phases, and those that run before them, tile by tile, where there are any."""
        tiles = tile(tape.rows, self.threads, kernels_in(reference), COLUMNS)
        rows = tiles.after if tiles else fuse(tape.rows, kernels_in(reference))
        return plan(rows, COLUMNS, SMALLEST_SHARED), tiles

    def _table(self, planned: Sequence[Planned], tiles: Tiles | None) -> table.Table:
        lines: list[list[int]] = []
        phases: list[list[int]] = []  # the lines at which the parts of each begin
        moves: list[tuple[int, int, int]] = []  # (line that moves, line and word that are moved)
        if tiles:
            phases.append([])
            for thread in range(self.threads):
                phases[-1].append(len(lines))
                self._tiled(tiles, thread, lines, moves)
        for _, steps in itertools.groupby(planned, key=lambda step: step.phase):
            together = list(steps)
            phases.append([])
            for thread in range(self.threads):
                mine = [words for step in together if (words := self._words(step, thread))]
                if mine:
                    phases[-1].append(len(lines))
                    lines += mine
        made = table.as_table(self.arena.device.zeros, lines, phases)
        for mover, moved, word in moves:
            made.lines[mover, 1] = made.lines[moved, word:].ctypes.data
        return made

    def _tiled(self, tiles: Tiles, thread: int, lines: list[list[int]], moves: list[tuple[int, int, int]]) -> None:
        """The first tile, which makes the gradients; then the others, which add to them; then what is left over."""
        first, stop = share(tiles.rows, thread, self.threads)
        size = tiles.size
        times, rest = divmod(stop - first, size)
        bodies = [(first, size, False, 1), (first + size, size, True, times - 1), (stop - rest, rest, True, 1)]
        for start, n, adding, turns in bodies:
            if n == 0 or turns == 0:
                continue
            begin, moved = len(lines), []
            for row, steps in tiles.body(thread, start, n, adding):
                words, places = self._line(row, first=start)
                steps |= {"first": 1} if "first" in places else {}
                moved += [(len(lines), places[name], step * n) for name, step in steps.items()]
                lines.append(words)
            if turns > 1:
                for back, amount in ((False, 1), (True, -turns)):
                    for place, word, step in moved:
                        moves.append((len(lines), place, word))
                        lines.append([table.MOVE, 0, step * amount])
                    if not back:
                        lines.append([table.REPEAT, len(lines) - begin, turns])

    def _words(self, step: Planned, thread: int) -> list[int]:
        """A row's line for this thread's share of its operands; nothing if it has no share."""
        mine = share_of(step, thread, self.threads)
        return self._line(mine.row, mine.part, mine.first)[0] if mine else []

    def _line(
        self, row: Row, part: tuple[int, int] | None = None, first: int = 0
    ) -> tuple[list[int], Mapping[str, int]]:
        """A row as a line of the table, and which word is the address of each operand."""
        words, kinds, places = line(row, self.arena.address, COLUMNS, part, first, self._length(row))
        if row.name in COLUMNS and len({kind.split("_")[0] for kind in kinds if "_" in kind}) > 1:
            raise NotRecordableError(f"{row.name} is compiled for arrays of one dtype, not for {', '.join(kinds)}")
        try:
            loop, key = (LOOPS[row.name], None) if row.name in LOOPS else own_loop(row.kernel)
            function = table.function_for(loop, row.name, kinds, key)
        except NumbaError as error:
            told = (text for text in str(error).splitlines() if text and not text.startswith("Failed in nopython"))
            raise NotRecordableError(f"Numba cannot compile the kernel {row.name}: {next(told, error)}") from error
        return [function, *words], places

    def _length(self, row: Row) -> int:
        """On how many numbers an elementwise row works: up to the end of a vector, where each operand has that room.

        A part of an array has none: where it ends, another part or another array begins.
        """
        if row.name not in ELEMENTWISE:
            return 0
        size, unit = row.results[0].size, ALIGNMENT // row.results[0].dtype.itemsize
        padded = -(-size // unit) * unit
        return padded if all(symbol.room >= padded for symbol in (*symbols(row), *row.results)) else size
