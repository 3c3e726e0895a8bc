"""What is worth how much on a GPU. The numbers are the device's, so that another device may have others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CudaLimits:
    """Which replay a step gets, by its work, and how large its blocks and graphs are.

    Work is in units of `work`. None of its limits is measured yet: they are where a launch of 1 µs a row, a barrier of
    all blocks of 1.5 µs, and some 30 units a nanosecond for a block of its own, or ten times that for all, would make
    them equal.
    """

    one_block: int = 150_000  # work of a step that one block still makes
    persistent: int = 4_000_000  # work that several blocks still make; beyond, cuBLAS in a graph
    most_blocks: int = 64  # that share out a step
    threads: int = 512  # of a block of the persistent kernel, at most
    each: int = 2  # numbers that a thread of a single block makes of the largest array: fewer threads meet sooner
    steps: int = 16  # of a graph: so that launching it costs little a step
