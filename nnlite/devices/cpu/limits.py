"""Limits of the CPU's replay: from what size on threads and tiles are used. Each device object may have its own."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.tiles import TileLimits


@dataclass(frozen=True)
class CpuLimits(TileLimits):
    """The limits from which on the compiled replay uses threads and tiles.

    Work is in units of `work`: a core does about eight a nanosecond, and each phase costs 200 ns.
    """

    worth_threads: int = 150_000  # least work of a step that several threads divide, about 50 µs
    smallest_shared: int = 10_000  # least work of a product whose columns several threads divide
