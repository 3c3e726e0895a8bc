"""The cupy device: the reference formulas on CuPy arrays, which answer NumPy's calls on an NVIDIA GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from .on_numpy import NumpyDevice


def why_not() -> str:
    """Why no GPU can be used here and what to do about it; empty if one can."""
    try:
        import cupy
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return "CuPy is not installed: pip install 'nnlite[gpu]' (CUDA 12) or 'nnlite[gpu13]' (CUDA 13)"
        return f"CuPy is installed but cannot be imported ({error}): reinstall it for this machine's CUDA version"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error):
            return "no NVIDIA driver, or one too old for this CuPy: install or update it (nvidia-smi shows it)"
        return f"CUDA finds no GPU ({error}): check nvidia-smi and CUDA_VISIBLE_DEVICES"
    return "" if count else "CUDA finds no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES"


class CupyDevice(NumpyDevice):
    """Arrays in the GPU's memory."""

    name = "cupy"

    def __init__(self) -> None:
        super().__init__()
        import cupy

        self.cupy = cupy

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        return self.cupy.ascontiguousarray(array, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        return self.cupy.zeros(shape, dtype)

    def owns(self, array: Any) -> bool:
        return isinstance(array, self.cupy.ndarray)

    def to_numpy(self, array: Any) -> np.ndarray:
        return self.cupy.asnumpy(array)
