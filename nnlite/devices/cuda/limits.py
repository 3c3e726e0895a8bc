"""Limits of the GPU's replays: for what sizes each is used. Each device object may have its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CudaLimits:
    """Limits that decide which replay a step gets, by its work, and how large its blocks and graphs are.

    Work is in units of `work`. Measured on an H200 (benchmarks/results/2026-11-28-gpu-h200.md, and 2026-11-26 for the
    graph): each limit lies between a net for which one replay is faster and a larger one for which the next is.
    """

    one_block: int = 60_000  # most work of a step for one block
    persistent: int = 10_000_000  # most work for several blocks; a step with more gets a graph with cuBLAS
    calls: int = 64  # most calls of a step that is compiled: 64 of them, and as many of a short batch, take about 6 s
    most_blocks: int = 128  # that divide a step
    blocks: int = 0  # so many divide a step, also where the batch has fewer rows; 0 for as many as rows or fewer
    barrier: int = 20_000  # numbers that a block reads of global memory in the time of a barrier of all blocks
    threads: int = 512  # at most, of a block of the persistent kernel
    each: int = 2  # numbers of the largest array for each thread of a single block: fewer threads have faster barriers
    steps: int = 16  # in a graph, so that its launch takes little time for each step
