"""The numpy device: the reference itself, on arrays in main memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import reference
from .kernel import Kernels, kernels_in


class NumpyDevice:
    """Where arrays live and which kernels work on them; the other devices are subclasses."""

    name = "numpy"

    def __init__(self) -> None:
        self.ops = Kernels(kernels_in(reference))

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """The array on this device, C-contiguous; not copied if it is already so."""
        if hasattr(array, "__cuda_array_interface__"):  # CuPy's never become NumPy's unasked
            array = array.get()
        return np.ascontiguousarray(array, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    def owns(self, array: Any) -> bool:
        """Whether the array lies in this device's own memory, where NumPy cannot read it."""
        return False

    def to_numpy(self, array: Any) -> np.ndarray:
        """The array in main memory."""
        return np.asarray(array)

    def __repr__(self) -> str:
        return f"<nnlite device {self.name!r}>"
