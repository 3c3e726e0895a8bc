"""What is worth how much on a CPU. The numbers are the device's, so that another device may have others."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.tiles import TileLimits


@dataclass(frozen=True)
class CpuLimits(TileLimits):
    """From what on the compiled replay uses threads and tiles; work is in units of `work`, of which a core does about
    eight in a nanosecond, while a phase costs 200 ns."""

    worth_threads: int = 150_000  # work of a whole step that more than one thread shares out: some 50 µs
    smallest_shared: int = 10_000  # work of a product that is shared out
