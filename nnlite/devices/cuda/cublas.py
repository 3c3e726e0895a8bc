"""Matrix products by NVIDIA's cuBLAS, with nnlite's own handle: CuPy's cannot be used while a graph is captured.

cuBLAS stores matrices column by column, so it computes the transposed product: Cᵀ = Bᵀ Aᵀ.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

WORKSPACE = 32 << 20  # bytes that cuBLAS needs on Hopper; without its own workspace, it cannot be captured
PLAIN, TRANSPOSED = 0, 1
DEFAULT_MATH, TF32_MATH = 0, 3


def library() -> ctypes.CDLL | None:
    """The cuBLAS library, or None if it cannot be found."""
    try:
        from cuda import pathfinder  # comes with CuPy 14

        return ctypes.CDLL(pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    except Exception:  # cuda.pathfinder is missing, or raises its own error for a missing library
        for name in ("libcublas.so.13", "libcublas.so.12", "cublas64_13.dll", "cublas64_12.dll"):
            try:
                return ctypes.CDLL(name)
            except OSError:
                continue
    return None


class Cublas:
    """Products on the current stream, in float32 or float64. `tf32` rounds the factors of float32 to 10 bits."""

    def __init__(self, library: ctypes.CDLL, cupy: Any, tf32: bool) -> None:
        self.library, self.cupy = library, cupy
        for name, count in (("cublasCreate_v2", 1), ("cublasSetStream_v2", 2), ("cublasSetWorkspace_v2", 3)):
            getattr(library, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t][:count]
        library.cublasSetMathMode.argtypes = [ctypes.c_void_p, ctypes.c_int]
        for name in ("cublasSgemm_v2", "cublasDgemm_v2"):
            sizes, address = [ctypes.c_int] * 5, ctypes.c_void_p
            operand = [address, ctypes.c_int]
            getattr(library, name).argtypes = [address, *sizes, address, *operand, *operand, address, *operand]
        self.handle = ctypes.c_void_p()
        self._check(library.cublasCreate_v2(ctypes.byref(self.handle)), "cublasCreate")
        self._check(library.cublasSetMathMode(self.handle, TF32_MATH if tf32 else DEFAULT_MATH), "cublasSetMathMode")
        self.workspace = cupy.empty(WORKSPACE, np.uint8)
        self.stream: int | None = None

    def product(self, c: Any, a: Any, b: Any, a_transposed: bool, b_transposed: bool) -> None:
        """C ← A B: c (M, N), a (M, K) or (K, M), b (K, N) or (N, K)."""
        stream = int(self.cupy.cuda.get_current_stream().ptr)
        if stream != self.stream:
            self._check(self.library.cublasSetStream_v2(self.handle, stream), "cublasSetStream")
            place = self.workspace.data.ptr  # SetStream has put cuBLAS's default workspace back
            self._check(self.library.cublasSetWorkspace_v2(self.handle, place, WORKSPACE), "cublasSetWorkspace")
            self.stream = stream
        rows, columns = c.shape
        inner = a.shape[0 if a_transposed else 1]
        real = ctypes.c_float if c.dtype == np.float32 else ctypes.c_double
        multiply = self.library.cublasSgemm_v2 if c.dtype == np.float32 else self.library.cublasDgemm_v2
        factor, keep = real(1), real(0)
        status = multiply(
            self.handle,
            *(TRANSPOSED if b_transposed else PLAIN, TRANSPOSED if a_transposed else PLAIN),
            *(columns, rows, inner),
            ctypes.byref(factor),
            *(b.data.ptr, b.shape[1], a.data.ptr, a.shape[1]),
            ctypes.byref(keep),
            *(c.data.ptr, columns),
        )
        self._check(status, "cublasGemm")

    @staticmethod
    def _check(status: int, call: str) -> None:
        if status:
            raise RuntimeError(f"{call} failed with status {status}")
