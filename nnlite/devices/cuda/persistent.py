"""Replay by a persistent kernel: one launch stays on the GPU and runs many steps. Its source has the tape written out.

So the compiler knows all sizes, and keeps what it can in registers. If one block holds the whole network in its shared
memory, only its own threads wait for each other. Otherwise several blocks divide each step, and wait at barriers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..common.arena import DATA, Arena
from ..common.recording import Tape
from ..device import Replay
from .limits import CudaLimits
from .machine import WARP, Machine
from .text import Text, key_of


class PersistentReplay(Replay):
    """One launch runs many steps, on one block, or on several that divide each step as threads do on a CPU."""

    def __init__(
        self, machine: Machine, tapes: Sequence[Tape], arena: Arena, blocks: int, why: str, limits: CudaLimits
    ) -> None:
        self.machine, self.arena, self.cupy, self.blocks = machine, arena, machine.cupy, blocks
        self.text = text = self._text(tapes, limits)
        self.shared_bytes = text.used + 8 * len(text.each)
        enough = max(WARP, -(-text.largest // (limits.each * WARP)) * WARP)
        self.threads = min(limits.threads, enough) if blocks == 1 else limits.threads
        entries = [[machine.address(arena.segments[name]), *placed] for name, placed in text.kept.items()]
        for block, held in itertools.product(range(blocks), text.near.held):
            rows = text.near.rows_of(held, block)
            entries.append([arena.address(rows), held.offset, rows.nbytes])
        self.entries = machine.cupy.asarray(np.array(entries, np.int64).reshape(-1, 3))
        self.each = machine.cupy.asarray(np.array(text.each, np.int64).reshape(-1, blocks).T, order="C")
        self.gate = machine.cupy.zeros(1, np.uint32)
        self.stopped = machine.cupy.zeros(1, np.int64)
        self.history = machine.cupy.zeros((1, len(arena.segments["sums"])), np.float64)
        self.kernel: Any = None
        where = (
            f"one block of {self.threads} threads, the net in its shared memory ({self.shared_bytes:,} bytes)"
            if blocks == 1
            else f"{blocks} blocks of {self.threads} threads, the batch shared out among them"
            + ", and for the first product the columns of x" * text.in_parts
        )
        self.plan = f"persistent kernel: {where}; {why}"

    def _text(self, tapes: Sequence[Tape], limits: CudaLimits) -> Text:
        """The step written out. That takes longer than all else, so networks of one shape share it."""
        texts, key = self.machine.texts, key_of(tapes, self.arena, self.blocks)
        if key in texts:
            texts[key].reserve(self.arena)
        else:
            texts[key] = Text(tapes, self.arena, self.blocks, limits)
        return texts[key]

    def run(self, first: int, last: int, per_epoch: int, history: np.ndarray) -> int:
        self.kernel = self.kernel or self._compiled()
        if self.history.shape != history.shape:
            self.history = self.cupy.zeros(history.shape, np.float64)
        address, segments = self.machine.address, self.arena.segments
        self.gate[...] = 0
        text, at = self.text, self.text.kept["sums"].offset if self.text.kept else -1
        settings = (
            address(self.entries),
            len(self.entries) // self.blocks,
            text.used,
            address(self.each),
            len(text.each),
        )
        sums = (address(segments["sums"]), at, len(segments["sums"]), address(self.history))
        places = (word for name in text.segments for word in self._argument(name))
        arguments = (*settings, first, last, per_epoch, *sums, address(self.stopped), address(self.gate), *places)
        meeting = self.machine.meeting if self.blocks == 1 else None
        meeting.launch(self, arguments) if meeting else self.launch([arguments])
        came = int(self.stopped[0])
        start, stop = first // per_epoch, came // per_epoch
        history[start:stop] = self.arena.device.to_numpy(self.history[start:stop])
        return came

    def launch(self, arguments: Sequence[Sequence[int]]) -> None:
        """Launch the kernel for so many networks of this shape, of which this is one."""
        table = self.cupy.asarray(np.array(arguments, np.int64))
        self.kernel(
            *((len(table) * self.blocks,), (self.threads,), (self.machine.address(table), table.shape[1])),
            shared_mem=self.shared_bytes,
            enable_cooperative_groups=self.blocks > 1,
        )

    def _argument(self, name: str) -> tuple[int, ...]:
        """The arguments for a segment in global memory: its address, and for data its rows. Those may be absent."""
        array = self.arena.segments.get(name)
        place = 0 if array is None else self.machine.address(array)
        return (place, 0 if array is None else len(array)) if name in DATA else (place,)

    def _compiled(self) -> Any:
        """The function to launch.

        CuPy gives all networks of one source the same function, so it may use as much shared memory as there is. Its
        function, and not its kernel, can launch cooperatively: a kernel would have to be linked with libcudadevrt.
        """
        self.source = self.text.source(self.threads)
        kernel = self.machine.compiled(self.source).get_function("replay")
        kernel.max_dynamic_shared_size_bytes = self.machine.shared_bytes - kernel.shared_size_bytes
        return kernel.kernel
