"""Replay on a GPU: a CUDA graph of a batch of steps, or, for small nets, one kernel that stays and runs many steps.

The graph launches every row of the tape as a kernel of its own, which costs about a microsecond each whatever its size.
The persistent kernel launches once: its blocks read the tape as a table, as the CPU's threads do, and wait for each
other where they must. One block that holds the whole net in its shared memory has only its own threads to wait for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from . import reference
from .cuda_machine import BACK_WITH_BIAS, OPTIONS, PARTS, WARP, WITH_BIAS, Machine, numbered, real_of, replays
from .kernel import kernels_in
from .lines import is_array, line, operands, share_of
from .on_numpy import Replay
from .planning import Planned, fuse, meets, plan, work
from .recording import Arena, Row, Symbol, Tape

BARRIER, SYNC = 0, 1  # as in replay.cu
LINE = 18  # words
STATIC_BYTES = 24 * 1024  # of shared memory, which the kernel has beside what it is given: at most
FAR = ("x", "target", "order")  # segments that are never kept in shared memory: they may be of any size

# In units of `work`. None of these is measured yet: they are where a launch of 1 µs a row, a barrier of all blocks of
# 1.5 µs, and some 30 units a nanosecond for a block of its own, or ten times that for all, would make them equal.
ONE_BLOCK = 150_000  # up to here one block makes a step
PERSISTENT = 4_000_000  # up to here several blocks do; beyond, cuBLAS in a graph
MOST_BLOCKS = 64
SPLIT = {name: letter for name, letter in PARTS.items() if name.startswith("linear_backward_")}
THREADS = 512  # of a block, at most
EACH = 2  # numbers that a thread of a single block makes of the largest array: fewer threads meet sooner
# In these all threads of a block meet: after them, all rows before are done.
MEETING = {"linear_backward_bias", "linear_backward_bias_sgd", "add_losses", "add_hits", "add_spreads"}
MEETING |= {"add_absolute_errors", "add_squared_errors"}
STEPS = 16  # of a graph: so that launching it costs little a step


def choose(machine: Machine, tapes: Sequence[Tape], arena: Arena, how: str) -> Replay:
    """The replay of these tapes that is likely the fastest, or what `how` says; the second tape is for a short batch.

    how: "auto", "graph", "persistent". ValueError where the persistent replay is asked for and cannot be had.
    """
    known = set(vars(arena.device.ops).values())
    own = [row.name for tape in tapes for row in tape.rows if row.kernel not in known]
    if own:
        if how != "auto":
            raise ValueError(
                f'replay="{how}" needs CUDA kernels, but {own[0]} is a kernel of your own; use replay="auto"'
            )
        return Replay(tapes[0], tapes[1] if len(tapes) > 1 else None, arena, f"{own[0]} is no CUDA kernel")
    amount = sum(map(work, tapes[0].rows))
    batch = max(result.shape[0] for row in tapes[0].rows for result in row.results)
    size = f"a step's work is {amount:,.0f}"
    if how == "graph" or (how == "auto" and amount > PERSISTENT):
        why = "as asked" if how == "graph" else f"{size}, more than {PERSISTENT:,}"
        return GraphReplay(machine, tapes, arena, why)
    why = "as asked" if how == "persistent" else f"{size}, at most {PERSISTENT:,}"
    if amount <= ONE_BLOCK:
        one = PersistentReplay(machine, tapes, arena, 1, why)
        if one.shared_bytes + STATIC_BYTES <= machine.shared_bytes:
            return one
    blocks = min(MOST_BLOCKS, batch, machine.processors)
    if machine.cooperates and blocks > 1:
        return PersistentReplay(machine, tapes, arena, blocks, why)
    if how == "persistent":
        raise ValueError(
            'replay="persistent" needs a GPU that can launch cooperatively, or a smaller net; use replay="graph"'
        )
    return GraphReplay(
        machine, tapes, arena, "the net is too large for one block, and this GPU cannot hold more together"
    )


class GraphReplay(Replay):
    """Every row as a node of a CUDA graph; a graph of many steps, one of a single step, one that ends an epoch."""

    def __init__(self, machine: Machine, tapes: Sequence[Tape], arena: Arena, why: str) -> None:
        self.machine, self.arena, self.cupy = machine, arena, machine.cupy
        arena.place("results", *([(row, time) for time, row in enumerate(tape.rows)] for tape in tapes))
        self.rows = [[self.placed(row) for row in tape.rows] for tape in tapes]
        self.forward = [self._forward_pairs(tape.rows) if machine.cublas else {} for tape in tapes]
        self.backward = [self._backward_pairs(tape.rows) for tape in tapes]
        self.history = machine.cupy.zeros((1, len(arena.segments["sums"])), np.float64)
        self.state = machine.cupy.zeros(2, np.int64)  # steps that went well, epochs that ended
        self.stream = machine.cupy.cuda.Stream(non_blocking=True)
        self.graphs: tuple[Any, Any, Any] | None = None
        self.plan = f"CUDA graph of {STEPS} steps of {len(self.rows[0])} rows: {why}; products by " + (
            f"cuBLAS in {machine.precision}" if machine.cublas else "a kernel of our own, since there is no cuBLAS"
        )

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        if self.graphs is None or self.history.shape != history.shape:
            self.history = self.cupy.zeros(history.shape, np.float64)
            self.graphs = self._captured()
        many, one, closing = self.graphs
        self.state[...] = 0
        self.cupy.cuda.get_current_stream().synchronize()  # what was written there must be seen on our stream
        step = first
        while step < last:
            end = min(last, (step // per_epoch + 1) * per_epoch)  # of the epoch, or of the call
            closes = end % per_epoch == 0
            for _ in range((end - step - closes) // STEPS):
                many.launch(self.stream)
            for _ in range((end - step - closes) % STEPS):
                one.launch(self.stream)
            if closes:
                closing.launch(self.stream)
            step = end
        self.stream.synchronize()
        went_well, ended = self.arena.device.to_numpy(self.state).tolist()
        start, came = first // per_epoch, first + went_well
        history[start : start + ended] = self.arena.device.to_numpy(self.history[:ended])
        if came < last:  # the steps after the first bad one do not count: the position is where that one ends
            batch, rows = self.rows[0][0].results[0].shape[0], len(self.arena.segments["x"])
            epochs, steps = divmod(came + 1, per_epoch)
            self.arena.segments["position"][...] = epochs * rows + min(rows, steps * batch)
        return came

    def _captured(self) -> tuple[Any, Any, Any]:
        """The three graphs. Before, a step is made and undone: so everything is compiled, loaded and reserved."""
        kept = {name: array.copy() for name, array in self.arena.segments.items() if name not in FAR}
        self.cupy.cuda.get_current_stream().synchronize()
        with self.stream:
            for which in range(len(self.rows)):
                self._step(which, end_of_epoch=False)  # or it would be written to the history
        self.stream.synchronize()
        for name, array in kept.items():
            self.arena.segments[name][...] = array
        closing = len(self.rows) - 1
        return self._capture(0, STEPS, False), self._capture(0, 1, False), self._capture(closing, 1, True)

    def _capture(self, which: int, steps: int, end_of_epoch: bool) -> Any:
        with self.stream:
            self.stream.begin_capture()
            try:
                for _ in range(steps):
                    self._step(which, end_of_epoch)
            finally:
                graph = self.stream.end_capture()
        return graph

    @staticmethod
    def _forward_pairs(rows: Sequence[Row]) -> dict[int, int]:
        """Number of a linear row -> of the activation after it, where nothing else reads what it makes."""
        pairs = {}
        for i, (row, after) in enumerate(pairwise(rows)):
            if row.name == "linear" and after.name in WITH_BIAS:
                readers = [other for other in rows if any(value is row.results[0] for value in other.operands)]
                if readers == [after]:
                    pairs[i] = i + 1
        return pairs

    @staticmethod
    def _backward_pairs(rows: Sequence[Row]) -> dict[int, int]:
        """Number of an activation's backward -> of the row that sums its result up for the bias."""
        makers = {id(row.results[0]): i for i, row in enumerate(rows) if row.name in BACK_WITH_BIAS}
        of_bias = [(i, row.operands[0]) for i, row in enumerate(rows) if row.name == "linear_backward_bias"]
        return {makers[id(dy)]: i for i, dy in of_bias if id(dy) in makers}

    def _step(self, which: int, end_of_epoch: bool) -> None:
        """All rows of the full or of the short tape, some with another in one kernel, and the end of the step."""
        rows, forward, backward = self.rows[which], self.forward[which], self.backward[which]
        for i, row in enumerate(rows):
            if i in forward:
                self.machine.product_and_activation(row, rows[forward[i]])
            elif i in backward:
                self.machine.backward_and_bias(row, rows[backward[i]])
            elif i not in forward.values() and i not in backward.values():
                self.machine.run(row)
        sums, address = self.arena.segments["sums"], self.machine.address
        words = (address(sums), len(sums), address(self.history), address(self.state), int(end_of_epoch))
        self.machine.end_step((1,), (WARP,), words)


class _Placed(NamedTuple):
    """A segment that is kept in shared memory: at which offset, and how many bytes."""

    offset: int
    bytes: int


class PersistentReplay(Replay):
    """One launch runs many steps, by one block or by several that share out each step as threads do on a CPU."""

    def __init__(self, machine: Machine, tapes: Sequence[Tape], arena: Arena, blocks: int, why: str) -> None:
        self.machine, self.arena, self.cupy, self.blocks = machine, arena, machine.cupy, blocks
        plans = [self._planned(tape) for tape in tapes]
        arena.place("results", *([(step.row, step.phase) for step in steps] for steps in plans))
        self.numbers = numbered((step.row.name, real_of(step.row)) for steps in plans for step in steps)
        self.kept, self.used = self._kept() if blocks == 1 else ({}, 0)
        tables = [self._table(steps) for steps in plans]
        tables += [tables[0][:, :0]] * (2 - len(tables))
        self.lines = [table.shape[1] for table in tables]
        self.shared_bytes = self.used + sum(self.lines) * LINE * 8
        named = [operands(step.row).values() for steps in plans for step in steps]
        largest = max(
            value.size for values in named for value in values if is_array(value) and value.segment not in FAR
        )
        self.threads = min(THREADS, max(64, -(-largest // (EACH * WARP)) * WARP)) if blocks == 1 else THREADS
        self.tables = [machine.cupy.asarray(table) for table in tables]
        entries = [[machine.address(arena.segments[name]), *placed] for name, placed in self.kept.items()]
        self.entries = machine.cupy.asarray(np.array(entries, np.int64).reshape(-1, 3))
        self.gate = machine.cupy.zeros(1, np.uint32)
        self.stopped = machine.cupy.zeros(1, np.int64)
        self.history = machine.cupy.zeros((1, len(arena.segments["sums"])), np.float64)
        self.kernel: Any = None
        where = (
            f"one block of {self.threads} threads, the net in its shared memory ({self.shared_bytes:,} bytes)"
            if blocks == 1
            else f"{blocks} blocks of {self.threads} threads, the batch shared out among them"
        )
        self.plan = f"persistent kernel: {where}; {why}"

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        if self.kernel is None:
            self.kernel = self._compiled()
        if self.history.shape != history.shape:
            self.history = self.cupy.zeros(history.shape, np.float64)
        address, sums = self.machine.address, self.arena.segments["sums"]
        self.gate[...] = 0
        at = self.kept["sums"].offset if self.kept else -1
        tables = [word for table, lines in zip(self.tables, self.lines) for word in (address(table), lines)]
        settings = (*tables, address(self.entries), len(self.kept), self.used, first, last, per_epoch)
        results = (address(sums), at, len(sums), address(self.history), address(self.stopped), address(self.gate))
        self.kernel((self.blocks,), (self.threads,), (*settings, *results), shared_mem=self.shared_bytes)
        came = int(self.stopped[0])
        start, stop = first // per_epoch, came // per_epoch
        history[start:stop] = self.arena.device.to_numpy(self.history[start:stop])
        return came

    def _compiled(self) -> Any:
        code = replays(self.numbers, self.threads)
        module = self.cupy.RawModule(code=code, options=OPTIONS, enable_cooperative_groups=self.blocks > 1)
        kernel = module.get_function("replay")
        kernel.max_dynamic_shared_size_bytes = self.shared_bytes
        return kernel

    # ---- from rows to tables -----------------------------------------------------------------------------------------

    def _planned(self, tape: Tape) -> list[Planned]:
        rows = fuse(tape.rows, kernels_in(reference))
        if self.blocks > 1:
            return plan(rows, SPLIT)
        return [Planned(row, "", time) for time, row in enumerate(rows)]

    def _kept(self) -> tuple[dict[str, _Placed], int]:
        """All of the arena but the data, one segment after the other, and where the last one ends."""
        placed, offset = {}, 0
        for name, array in self.arena.segments.items():
            if name not in FAR:
                placed[name] = _Placed(offset, int(array.nbytes))
                offset += -(-placed[name].bytes // 16) * 16
        return placed, offset

    def _table(self, steps: Sequence[Planned]) -> np.ndarray:
        """(blocks, lines, LINE): what each block does."""
        tables = [self._lines(steps, block) for block in range(self.blocks)]
        longest = max(map(len, tables))
        pause = [SYNC, *[0] * (LINE - 1)]
        return np.array([[*lines, *[pause] * (longest - len(lines))] for lines in tables], np.int64)

    def _lines(self, steps: Sequence[Planned], block: int) -> list[list[int]]:
        """This block's share, with a stop before every row that must not run beside one before it."""
        lines: list[list[int]] = []
        open_rows: list[Row] = []  # since the last stop
        phase = steps[0].phase
        for step in steps:
            if self.blocks > 1 and step.phase != phase:
                lines.append([BARRIER])
                phase, open_rows = step.phase, []
            mine = share_of(step, block, self.blocks)
            if mine is None:
                continue
            if any(meets(step.row, other) for other in open_rows):
                lines.append([SYNC])
                open_rows = []
            open_rows = [*([] if step.row.name in MEETING else open_rows), step.row]
            lines.append(self._line(mine.row, mine.part, mine.first))
        lines.append([BARRIER])
        return [[*words, *[0] * (LINE - len(words))] for words in lines]

    def _line(self, row: Row, part: tuple[int, int] | None, first: int) -> list[int]:
        """A line, in which operands that are kept in shared memory are offsets, marked in the last word."""
        words, _, places = line(row, self.arena.address, PARTS, part, first)
        marked = 0
        named = operands(row)
        for name, place in places.items():
            operand = named.get(name)
            if isinstance(operand, Symbol) and operand.segment in self.kept:
                words[place - 1] = self.kept[operand.segment].offset + (operand.offset or 0) * operand.dtype.itemsize
                marked |= 1 << place
        filled = [self.numbers[row.name, real_of(row)], *words]
        return [*filled, *[0] * (LINE - 1 - len(filled)), marked]
