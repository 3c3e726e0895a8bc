"""The numpy device: the reference itself, on arrays in main memory; its replay defines what a tape means."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np

from ..common import reference
from ..common.arena import ALIGNMENT, Arena
from ..common.kernel import Kernels, kernels_in
from ..common.recording import Tape
from .replay import Replay


class NumpyDevice:
    """Where arrays live and which kernels work on them; the other devices are subclasses."""

    name = "numpy"
    precision = "float32"  # in which products of float32 are made

    def __init__(self) -> None:
        self.ops = Kernels(kernels_in(reference))

    def __reduce__(self) -> Any:
        from .. import get_device

        return get_device, (self.name, self.precision)

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """The array on this device, C-contiguous; not copied if it is already so."""
        if hasattr(array, "__cuda_array_interface__"):  # CuPy's never become NumPy's unasked
            array = array.get()
        return np.ascontiguousarray(array, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """Zeros that begin at a cache line."""
        bytes_needed = math.prod(np.atleast_1d(shape).tolist()) * np.dtype(dtype).itemsize
        raw = np.zeros(bytes_needed + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + bytes_needed].view(dtype).reshape(shape)

    def owns(self, array: Any) -> bool:
        """Whether the array lies in this device's own memory, where NumPy cannot read it."""
        return False

    def borrowed(self, array: Any) -> Any:
        """An array of another library as this device's own, if it lies in its memory; else as it is."""
        return array

    def address(self, array: Any) -> int:
        """Where in memory the array begins."""
        return int(array.ctypes.data)

    def to_numpy(self, array: Any) -> np.ndarray:
        """The array in main memory."""
        return np.asarray(array)

    def replay(self, full: Tape, short: Tape | None, arena: Arena, threads: int = 1, how: str = "auto") -> Replay:
        """Something that runs these tapes on this memory, on so many threads if it can; `how`: in one of its ways."""
        self.refuse(how)
        return Replay(full, short, arena)

    def refuse(self, how: str) -> None:
        """ValueError for a way to replay that this device does not have."""
        if how != "auto":
            raise ValueError(f'replay="{how}" is a way of device "cupy"; device {self.name!r} has "auto" and "eager"')

    def room(self) -> int | None:
        """How many bytes of its memory are free; None where that is the operating system's care."""
        return None

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """With this, an error of the device's own that a user may meet says what to do."""
        return contextlib.nullcontext()

    def __repr__(self) -> str:
        return f"<nnlite device {self.name!r}>"
