"""Replay by a persistent kernel: one launch stays on the GPU, reads the tape as a table, and runs many steps.

If one block holds the whole network in its shared memory, only its own threads wait for each other. Otherwise several
blocks divide each step, and wait for each other at barriers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..common.arena import DATA, Arena
from ..common.lines import is_array, line, operands, slice_of
from ..common.planning import Planned, fuse, meets, plan
from ..common.recording import Call, Symbol, Tape
from ..common.reference import KERNELS
from .limits import CudaLimits
from .machine import OPTIONS, PARTS, WARP, Machine, numbered, real_of, replays
from .replay import CudaReplay

BARRIER, SYNC = 0, 1  # the same numbers as in replay.cu
LINE = 18  # words
# Kernel -> letter of the size that blocks divide if they cannot divide the rows.
SPLIT = {
    name: letter
    for name, letter in PARTS.items()
    if all(letters[0] != "N" for letters in KERNELS[name].signature.results.values())
}


class _Placed(NamedTuple):
    """A segment that is kept in shared memory: its offset there, and its size in bytes."""

    offset: int
    bytes: int


class PersistentReplay(CudaReplay):
    """One launch runs many steps, on one block, or on several that divide each step as threads do on a CPU."""

    def __init__(
        self, machine: Machine, tapes: Sequence[Tape], arena: Arena, blocks: int, why: str, limits: CudaLimits
    ) -> None:
        self.machine, self.arena, self.cupy, self.blocks = machine, arena, machine.cupy, blocks
        plans = [self._planned(tape) for tape in tapes]
        arena.place("results", *([(planned.call, planned.phase) for planned in calls] for calls in plans))
        self.numbers = numbered((planned.call.name, real_of(planned.call)) for calls in plans for planned in calls)
        self.kept, self.used = self._kept() if blocks == 1 else ({}, 0)
        self.plans = plans
        self.prepare()
        self.shared_bytes = self.used + sum(table.shape[1] for table in self.tables) * LINE * 8
        named = [operands(planned.call).values() for calls in plans for planned in calls]
        largest = max(
            value.size for values in named for value in values if is_array(value) and value.segment not in DATA
        )
        enough = max(64, -(-largest // (limits.each * WARP)) * WARP)
        self.threads = min(limits.threads, enough) if blocks == 1 else limits.threads
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
        self.prepare()
        self.kernel = self.kernel or self._compiled()
        if self.history.shape != history.shape:
            self.history = self.cupy.zeros(history.shape, np.float64)
        address, sums = self.machine.address, self.arena.segments["sums"]
        self.gate[...] = 0
        at = self.kept["sums"].offset if self.kept else -1
        tables = [word for table in self.tables for word in (address(table), table.shape[1])]
        settings = (*tables, address(self.entries), len(self.kept), self.used, first, last, per_epoch)
        results = (address(sums), at, len(sums), address(self.history), address(self.stopped), address(self.gate))
        self.kernel(
            *((self.blocks,), (self.threads,), (*settings, *results)),
            shared_mem=self.shared_bytes,
            enable_cooperative_groups=self.blocks > 1,
        )
        came = int(self.stopped[0])
        start, stop = first // per_epoch, came // per_epoch
        history[start:stop] = self.arena.device.to_numpy(self.history[start:stop])
        return came

    def _make(self) -> None:
        """Make the table of the full tape and the table of the short tape, which has no lines if there is none."""
        tables = [self._table(calls) for calls in self.plans]
        tables += [tables[0][:, :0]] * (2 - len(tables))
        self.tables = [self.cupy.asarray(table) for table in tables]

    def _compiled(self) -> Any:
        """The function to launch.

        CuPy gives all networks of one source the same function, so it may use as much shared memory as there is. Its
        function, and not its kernel, can launch cooperatively: a kernel would have to be linked with libcudadevrt.
        """
        kernel = self.cupy.RawModule(code=replays(self.numbers, self.threads), options=OPTIONS).get_function("replay")
        kernel.max_dynamic_shared_size_bytes = self.machine.shared_bytes - kernel.shared_size_bytes
        return kernel.kernel

    # ---- from calls to tables ----------------------------------------------------------------------------------------

    def _planned(self, tape: Tape) -> list[Planned]:
        calls = fuse(tape.calls)
        if self.blocks > 1:
            return plan(calls, SPLIT)
        return [Planned(call, "", time) for time, call in enumerate(calls)]

    def _kept(self) -> tuple[dict[str, _Placed], int]:
        """Offsets in shared memory for all segments of the arena except the data, and the end of the last one."""
        placed, offset = {}, 0
        for name, array in self.arena.segments.items():
            if name not in DATA:
                placed[name] = _Placed(offset, int(array.nbytes))
                offset += -(-placed[name].bytes // 16) * 16
        return placed, offset

    def _table(self, calls: Sequence[Planned]) -> np.ndarray:
        """The lines of all blocks, as an array (blocks, lines, LINE)."""
        tables = [self._lines(calls, block) for block in range(self.blocks)]
        longest = max(map(len, tables))
        pause = [SYNC, *[0] * (LINE - 1)]
        return np.array([[*lines, *[pause] * (longest - len(lines))] for lines in tables], np.int64)

    def _lines(self, calls: Sequence[Planned], block: int) -> list[list[int]]:
        """The lines of this block, with a SYNC before every call that must wait for an earlier one of this block."""
        lines: list[list[int]] = []
        open_calls: list[Call] = []  # the calls since the last barrier
        phase = calls[0].phase
        for planned in calls:
            if self.blocks > 1 and planned.phase != phase:
                lines.append([BARRIER])
                phase, open_calls = planned.phase, []
            mine = slice_of(planned, block, self.blocks)
            if mine is None:
                continue
            if any(meets(planned.call, other) for other in open_calls):
                lines.append([SYNC])
                open_calls = []
            if planned.call.kernel.sums:  # these contain a __syncthreads: after it, all earlier calls are done
                open_calls = []
            open_calls.append(planned.call)
            lines.append(self._line(mine.call, mine.part, mine.first))
        lines.append([BARRIER])
        return [[*words, *[0] * (LINE - len(words))] for words in lines]

    def _line(self, call: Call, part: tuple[int, int] | None, first: int) -> list[int]:
        """A call as a line. Operands in shared memory are offsets; the bits of the last word mark them."""
        words, _, places = line(call, self.arena.address, PARTS, part, first)
        marked = 0
        named = operands(call)
        for name, place in places.items():
            operand = named.get(name)
            if isinstance(operand, Symbol) and operand.segment in self.kept:
                words[place - 1] = self.kept[operand.segment].offset + (operand.offset or 0) * operand.dtype.itemsize
                marked |= 1 << place
        filled = [self.numbers[call.name, real_of(call)], *words]
        return [*filled, *[0] * (LINE - 1 - len(filled)), marked]
