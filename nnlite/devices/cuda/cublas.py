"""Matrix products by NVIDIA's cuBLAS, with nnlite's own handle: CuPy's cannot be used while a graph is captured.

cuBLAS stores matrices column by column, so it computes the transposed product: Cᵀ = Bᵀ Aᵀ.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HOPPER = 90  # compute capability
WORKSPACE, OF_OLDER_CARDS = 32 << 20, 4 << 20  # bytes; cuBLAS takes its own workspace, but not in a capture
PLAIN, TRANSPOSED = 0, 1
DEFAULT_MATH, TF32_MATH = 0, 3
ON_HOST, ON_DEVICE = 0, 1  # where the two numbers lie by which a product and what was there are multiplied
VERSIONS = (13, 12)  # of cuBLAS, with the functions that are called here
ADDRESS, INT = ctypes.c_void_p, ctypes.c_int
GEMM = (ADDRESS, *[INT] * 5, ADDRESS, *[ADDRESS, INT] * 2, ADDRESS, *[ADDRESS, INT])
PARAMETERS = {  # without these types, ctypes would cut addresses
    "cublasCreate_v2": (ADDRESS,),
    "cublasDestroy_v2": (ADDRESS,),
    "cublasSetStream_v2": (ADDRESS, ADDRESS),
    "cublasSetWorkspace_v2": (ADDRESS, ADDRESS, ctypes.c_size_t),
    "cublasSetMathMode": (ADDRESS, INT),
    "cublasSetPointerMode_v2": (ADDRESS, INT),
    "cublasSgemm_v2": GEMM,
    "cublasDgemm_v2": GEMM,
}

# To make a handle, or to end one, waits for the GPU, which no capture of a graph survives. So a thread that captures
# holds this lock, and a handle that nobody uses any more is ended when the next one is made.
ALONE = threading.RLock()
UNUSED: list[tuple[Any, ctypes.c_void_p]] = []  # the function that ends a handle, and the handle


def candidates(cupy: Any) -> Iterator[str]:
    """Names of the cuBLAS library: that for the CUDA version of CuPy comes first."""
    own = cupy.cuda.runtime.runtimeGetVersion() // 1000
    names = [name for version in VERSIONS for name in (f"libcublas.so.{version}", f"cublas64_{version}.dll")]
    with contextlib.suppress(Exception):  # cuda.pathfinder, which comes with CuPy, raises its own error
        from cuda import pathfinder

        names.insert(0, pathfinder.load_nvidia_dynamic_lib("cublas").abs_path)
    yield from sorted(names, key=lambda name: str(own) not in Path(name).name)


def opened(cupy: Any, tf32: bool) -> Cublas | None:
    """The first cuBLAS that can be used here; None if none can."""
    for name in candidates(cupy):
        with contextlib.suppress(OSError, AttributeError, RuntimeError, MemoryError):
            return Cublas(ctypes.CDLL(name), cupy, tf32)
    return None


class Cublas:
    """Products on the current stream, in float32 or float64. `tf32` rounds the factors of float32 to 10 bits.

    A handle and its workspace are for one thread, and for work that does not run at the same time.
    """

    def __init__(self, library: ctypes.CDLL, cupy: Any, tf32: bool) -> None:
        self.library, self.cupy = library, cupy
        for name, types in PARAMETERS.items():
            getattr(library, name).argtypes = types
        self.handle = ctypes.c_void_p()
        with ALONE:
            while UNUSED:
                end, handle = UNUSED.pop()
                end(handle)
            self._check(library.cublasCreate_v2(ctypes.byref(self.handle)), "cublasCreate")
        unused = library.cublasDestroy_v2, self.handle
        weakref.finalize(self, UNUSED.append, unused).atexit = False  # the end of the process is enough
        self._check(library.cublasSetMathMode(self.handle, TF32_MATH if tf32 else DEFAULT_MATH), "cublasSetMathMode")
        hopper = int(cupy.cuda.Device().compute_capability) >= HOPPER
        self.workspace = cupy.empty(WORKSPACE if hopper else OF_OLDER_CARDS, np.uint8)
        self.stream: int | None = None
        self._follow()

    def _follow(self) -> None:
        """Let the handle work on the current stream."""
        stream = int(self.cupy.cuda.get_current_stream().ptr)
        if stream != self.stream:
            self._check(self.library.cublasSetStream_v2(self.handle, stream), "cublasSetStream")
            place, size = self.workspace.data.ptr, self.workspace.size  # SetStream has put the default workspace back
            self._check(self.library.cublasSetWorkspace_v2(self.handle, place, size), "cublasSetWorkspace")
            self.stream = stream

    def product(self, c: Any, a: Any, b: Any, a_transposed: bool, b_transposed: bool, factors: Any = None) -> None:
        """C ← A B: c (M, N), a (M, K) or (K, M), b (K, N) or (N, K).

        With factors (2,) on the GPU, C ← factors[0] A B + factors[1] C.
        """
        self._follow()
        rows, columns = c.shape
        inner = a.shape[0 if a_transposed else 1]
        real = ctypes.c_float if c.dtype == np.float32 else ctypes.c_double
        multiply = self.library.cublasSgemm_v2 if c.dtype == np.float32 else self.library.cublasDgemm_v2
        of_product, of_c = ctypes.byref(real(1)), ctypes.byref(real(0))
        if factors is not None:
            of_product, of_c = factors.data.ptr, factors.data.ptr + factors.itemsize
            self._check(self.library.cublasSetPointerMode_v2(self.handle, ON_DEVICE), "cublasSetPointerMode")
        status = multiply(
            self.handle,
            *(TRANSPOSED if b_transposed else PLAIN, TRANSPOSED if a_transposed else PLAIN),
            *(columns, rows, inner, of_product),
            *(b.data.ptr, b.shape[1], a.data.ptr, a.shape[1]),
            *(of_c, c.data.ptr, columns),
        )
        if factors is not None:
            self._check(self.library.cublasSetPointerMode_v2(self.handle, ON_HOST), "cublasSetPointerMode")
        self._check(status, "cublasGemm")

    @staticmethod
    def _check(status: int, call: str) -> None:
        if status:
            raise RuntimeError(f"{call} failed with status {status}")
