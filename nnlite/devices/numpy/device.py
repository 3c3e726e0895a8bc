"""The numpy device: the reference's formulas on arrays in main memory. Its replay defines what a tape means."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..common.arena import ALIGNMENT, Arena
from ..common.kernel import Kernels
from ..common.recording import Tape
from ..common.reference import KERNELS
from ..device import Device, Replay
from .replay import PythonReplay


class NumpyDevice(Device):
    """Arrays in main memory, and the reference's formulas on them."""

    name = "numpy"
    why = ""  # the reason for which it makes every call from Python, if there is one

    def __init__(self) -> None:
        self.ops = Kernels(KERNELS)

    def asarray(self, array: Any, dtype: npt.DTypeLike | None = None) -> Any:
        if hasattr(array, "__cuda_array_interface__"):  # CuPy's arrays must be converted explicitly
            array = array.get()
        return np.ascontiguousarray(array, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        bytes_needed = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        raw = np.zeros(bytes_needed + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + bytes_needed].view(dtype).reshape(shape)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        return np.empty(shape, dtype)

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def to_numpy(self, array: Any) -> np.ndarray:
        return np.asarray(array)

    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        self.refuse(how)
        return PythonReplay(full, short, arena, self.why)
