"""The numba device: the reference's kernels as compiled loops, and a replay that runs a tape without Python."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..common.arena import Arena
from ..common.recording import Tape
from ..device import Replay
from ..numpy.device import NumpyDevice
from .cholesky import solver
from .eager import EagerKernels
from .limits import CpuLimits
from .replay import CompiledReplay, compiled_wait


class NumbaDevice(NumpyDevice):
    """Arrays in main memory, with compiled loops where they are faster, and the reference's formulas elsewhere."""

    name = "numba"
    runs_on_threads = True
    rows_at_once = 128

    def __init__(self, limits: CpuLimits | None = None) -> None:
        self.limits: CpuLimits = limits or CpuLimits()
        self.ops = EagerKernels()

    @property
    def wait_awake(self) -> Callable[[np.ndarray], None]:
        return compiled_wait()

    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        self.refuse(how)
        return CompiledReplay(full, short, arena, threads, self.limits)

    def solver(self, A: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return solver(A)
