"""The numba device: the reference's kernels as compiled loops, and a replay that runs a tape without Python.

Called one at a time, a loop does what its kernel does. In a replay a tape becomes a table of addresses, which threads
share (devices/table.py), after its rows have been fused, shared out and cut into tiles (devices/planning.py).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numba.core.errors import NumbaError

from . import loops, reference, table
from .compiling import compiled
from .kernel import Kernels, Signature, kernels_in
from .lines import ROW_NUMBERED, line, share, share_of
from .loops import COLUMNS, ELEMENTWISE
from .on_numpy import NumpyDevice, Replay
from .planning import Planned, Tiles, fuse, plan, tile, work
from .products import ready
from .recording import ALIGNMENT, Arena, NotRecordableError, Row, Symbol, Tape

LOOPS: dict[str, Callable[..., Any]] = {
    name: compiled(getattr(loops, name), inlined=True) for name in kernels_in(reference) if hasattr(loops, name)
}

# Called from Python, one at a time, NumPy's own loops are as fast as these: they are for the replay only.
REPLAY_ONLY = {
    *("take_rows", "advance", "matmul", "linear_backward", "linear_backward_weights", "tanh"),
    *("softplus_backward", "count_step"),
    *("linear_backward_weights_sgd", "linear_backward_bias_sgd"),
}


def eager(name: str, signature: Signature) -> Callable[..., Any]:
    """Call a compiled loop as the reference is called: reserve the results, run the loop, hand them over."""
    loop = LOOPS[name]
    names = list(signature.operands)
    source: dict[str, tuple[int, int | None]] = {}  # letter -> the operand that has this size, and its axis
    for n, operand in reversed(list(enumerate(names))):
        letters = signature.operands[operand]
        source |= {operand: (n, None)} if letters is None else {a: (n, axis) for axis, a in enumerate(letters)}
    shapes = [[source[letter] for letter in signature.results[result] or ()] for result in signature.fresh]
    in_place = [names.index(operand) for operand in signature.in_place]
    inputs = [names.index(operand) for operand in signature.inputs]
    columns, flat = source.get(COLUMNS.get(name, "")), name in ELEMENTWISE
    first = (0,) if name in ROW_NUMBERED else ()

    def call(*operands: Any) -> Any:
        sizes = [[operands[n] if axis is None else operands[n].shape[axis] for n, axis in shape] for shape in shapes]
        results = [np.empty(shape, operands[0].dtype) for shape in sizes]
        whole = (0, operands[columns[0]].shape[columns[1]]) if columns else first  # all: there is one thread
        if columns:
            ready(results[0].dtype if results else operands[0].dtype)
        arrays = [*results, *[operands[n] for n in in_place], *[operands[n] for n in inputs]]
        loop(*(map(np.ravel, arrays) if flat else arrays), *whole)
        return results[0] if len(results) == 1 else tuple(results) or None

    call.signature = signature  # type: ignore[attr-defined]
    return call


class NumbaDevice(NumpyDevice):
    """Compiled loops where they pay, the reference elsewhere."""

    name = "numba"

    def __init__(self) -> None:
        kernels = kernels_in(reference)
        fused = {name: eager(name, kernels[name].signature) for name in LOOPS if name not in REPLAY_ONLY}
        self.ops = Kernels(kernels, fused)

    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        self.refuse(how)
        return CompiledReplay(full, short, arena, threads)


# In units of `work`, of which a core does about eight in a nanosecond; a phase costs 200 ns.
WORTH_THREADS = 150_000  # of a whole step: some 50 µs
SMALLEST_SHARED = 10_000  # of a product


class CompiledReplay(Replay):
    """A tape as a table, and threads that run it together.

    Threads are started for a call and end with it, so there is no pool that a fork could lose.
    """

    def __init__(self, full: Tape, short: Tape | None, arena: Arena, threads: int) -> None:
        self.arena = arena
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
        stopped, over = [first] * self.threads, False

        def share(thread: int) -> None:
            if over:
                return
            settings = (first, last, per_epoch, sums, history, marks, thread, together)
            stopped[thread] = table.replay(full, short, *settings)

        others = [threading.Thread(target=share, args=(thread,), daemon=True) for thread in range(1, self.threads)]
        try:
            with contextlib.suppress(RuntimeError):  # no more threads can be had: those that there are do the work
                for other in others if first < last else ():
                    other.start()
            share(0)
        finally:  # after Ctrl-C too: those that have begun make whole steps, others none
            over = True
            for other in others:
                if other.ident:
                    other.join()
        if marks[0, 0]:
            raise RuntimeError(
                "a kernel of your own raised an error in compiled code, where it cannot be shown, or memory ran out; "
                'Trainer(…, replay="eager") runs every step in Python and shows it'
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
        try:
            function = table.function_for(LOOPS.get(row.name) or own_loop(row.kernel), row.name, kinds)
        except NumbaError as error:
            told = (text for text in str(error).splitlines() if text and not text.startswith("Failed in nopython"))
            raise NotRecordableError(f"Numba cannot compile the kernel {row.name}: {next(told, error)}") from error
        return [function, *words], places

    def _length(self, row: Row) -> int:
        """On how many numbers an elementwise row works: up to the end of a vector, where nothing else lies there."""
        if row.name not in ELEMENTWISE:
            return 0
        symbols = [operand for operand in (*row.operands, *row.results) if isinstance(operand, Symbol)]
        alone = all(s.segment == "tile" or (s.segment == "results" and self.threads == 1) for s in symbols)
        unit = ALIGNMENT // symbols[0].dtype.itemsize if alone else 1
        return -(-symbols[0].size // unit) * unit


# ---- kernels of a user's own ----------------------------------------------------------------------------------------


@functools.cache
def own_loop(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The formula of a kernel with its results written to where they belong, results first, as the loops have it."""
    signature = kernel.signature  # type: ignore[attr-defined]
    fresh = [f"to_{name}" for name in signature.fresh]
    made = [f"made_{name}" for name in signature.fresh]
    lines = [
        f"def loop({', '.join([*fresh, *signature.in_place, *signature.inputs])}):",
        f"    {', '.join(made) + ' = ' if made else ''}formula({', '.join(signature.operands)})",
        *(f"    copy({to}, {what})" for to, what in zip(fresh, made)),
    ]
    names: dict[str, Any] = {"formula": njit(error_model="numpy", nogil=True)(kernel), "copy": copy}
    names["__name__"] = kernel.__module__
    exec("\n".join(lines), names)
    return njit(error_model="numpy", nogil=True)(names["loop"])


@njit(error_model="numpy", nogil=True)
def copy(to, values):
    if to.shape != values.shape:
        raise ValueError("a kernel gives another shape than its signature says")
    for place, value in np.ndenumerate(values):
        to[place] = value
