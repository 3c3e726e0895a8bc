"""Limits of the GPU's replays: for what sizes each is used. Each device object may have its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CudaLimits:
    """Limits that decide which replay a step gets, by its work, and how large its blocks and graphs are.

    Work is in units of `work`. None of the limits is measured yet. They are estimates of the work for which two replays
    take equal time: 1 µs to launch a call, 1.5 µs for a barrier of all blocks, and about 30 units a nanosecond for one
    block, or ten times that for all blocks.
    """

    one_block: int = 150_000  # most work of a step for one block
    persistent: int = 4_000_000  # most work for several blocks; a step with more gets a graph with cuBLAS
    calls: int = 64  # most calls of a step that is compiled: 64 of them, and as many of a short batch, take about 6 s
    most_blocks: int = 128  # that divide a step
    threads: int = 512  # at most, of a block of the persistent kernel
    each: int = 2  # numbers of the largest array for each thread of a single block: fewer threads have faster barriers
    steps: int = 16  # in a graph, so that its launch takes little time for each step
