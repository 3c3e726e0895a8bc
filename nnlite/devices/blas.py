"""Matrix products for compiled code: MKL if it is installed, else NumPy's own OpenBLAS, by their C interface.

`np.dot` in compiled code would need SciPy, whose OpenBLAS is a second library with threads of its own. Here the
functions of the library are made known to the compiler by name, which keeps the cache on disk valid. MKL comes with
conda's NumPy or `pip install "nnlite[mkl]"`; where there is neither, a plain loop of our own takes their place.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np
from numba import carray, cfunc, types

_INT, _PTR = types.int64, types.uintp


def _signature(real):
    """cblas_?gemm(order, transA, transB, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc), with 64-bit integers."""
    flags = (types.int32,) * 3
    return types.void(*flags, _INT, _INT, _INT, real, _PTR, _INT, _PTR, _INT, real, _PTR, _INT)


def _mkl() -> ctypes.CDLL | None:
    """Intel's library in this environment, where its package or conda's NumPy has put it."""
    for pattern in ("lib/libmkl_rt.so*", "lib/libmkl_rt*.dylib", "Library/bin/mkl_rt*.dll"):
        for path in sorted(Path(sys.prefix).glob(pattern)):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            if hasattr(library, "cblas_sgemm_64"):  # with 64-bit integers: since 2022
                return library
    return None


def _numpys_openblas() -> ctypes.CDLL | None:
    """The OpenBLAS with 64-bit integers inside NumPy's wheel."""
    root = Path(np.__file__).parent
    for folder in (root.parent / "numpy.libs", root / ".dylibs"):
        for path in sorted(folder.glob("*openblas64*")):
            try:
                return ctypes.CDLL(str(path))
            except OSError:
                continue
    return None


def _own(real):
    """The same function as a plain loop, for a NumPy without OpenBLAS."""

    def gemm(order, transpose_a, transpose_b, rows, columns, inner, alpha, a, lda, b, ldb, beta, c, ldc):
        A = carray(a, (inner, lda)) if transpose_a == 112 else carray(a, (rows, lda))
        B = carray(b, (columns, ldb)) if transpose_b == 112 else carray(b, (inner, ldb))
        C = carray(c, (rows, ldc))
        for i in range(rows):
            for j in range(columns):
                C[i, j] *= beta
            for k in range(inner):
                x = A[k, i] if transpose_a == 112 else A[i, k]
                for j in range(columns):
                    C[i, j] += x * (B[j, k] if transpose_b == 112 else B[k, j])

    pointers = types.CPointer(real)
    flags = (types.int32,) * 3
    signature = types.void(*flags, _INT, _INT, _INT, real, pointers, _INT, pointers, _INT, real, pointers, _INT)
    return cfunc(signature, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})(gemm)


class OneThread:
    """`with one_blas_thread:` the library uses one thread meanwhile: a replay's threads share its products out.

    Entered by each of them: MKL's number is a thread's own. OpenBLAS has one number for all, so it is counted, and of
    several trainings side by side the last to end gives OpenBLAS its threads back.
    """

    def __init__(self) -> None:
        self.lock, self.users, self.before, self.own = threading.Lock(), 0, 0, threading.local()

    def __enter__(self) -> None:
        if MKL is not None:
            self.own.before = MKL.MKL_Set_Num_Threads_Local(1)
        with self.lock:
            self.users += 1
            if self.users == 1 and _get and _set:
                self.before = _get()
                _set(1)

    def __exit__(self, *error: Any) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0 and _get and _set:
                _set(self.before)
        if MKL is not None:
            MKL.MKL_Set_Num_Threads_Local(self.own.before)


one_blas_thread = OneThread()
MKL, OPENBLAS = _mkl(), _numpys_openblas()
NAME = "MKL" if MKL else "NumPy's OpenBLAS" if OPENBLAS else "own loop"
_get = getattr(OPENBLAS, "scipy_openblas_get_num_threads64_", None)
_set = getattr(OPENBLAS, "scipy_openblas_set_num_threads64_", None)
_KEPT: list[Any] = []  # machine code that must not be freed


def _product(name: str, real: Any, *found: Any) -> Any:
    """Make the first of these functions that there is known to the compiler by this name."""
    for function in found:
        if function is not None:
            address = ctypes.cast(function, ctypes.c_void_p).value
            break
    else:
        _KEPT.append(_own(real))
        address = _KEPT[-1].address
    llvmlite.binding.add_symbol(name, address)
    return types.ExternalFunction(name, _signature(real))


# letter of the type -> (for small products, for large ones)
PRODUCTS = {}
for _letter, _real in (("s", types.float32), ("d", types.float64)):
    _ours = getattr(OPENBLAS, f"scipy_cblas_{_letter}gemm64_", None)
    _intels = getattr(MKL, f"cblas_{_letter}gemm_64", None)
    PRODUCTS[_letter] = (
        _product(f"nnlite_{_letter}gemm", _real, _ours, _intels),
        _product(f"nnlite_large_{_letter}gemm", _real, _intels, _ours),
    )

# What a thread calls when it has waited for long: another program may need this core.
_library: Any = ctypes.CDLL(None) if os.name == "posix" else getattr(ctypes, "windll").kernel32  # noqa: B009
_yield = _library.sched_yield if os.name == "posix" else _library.SwitchToThread
llvmlite.binding.add_symbol("nnlite_yield", ctypes.cast(_yield, ctypes.c_void_p).value)
YIELD = types.ExternalFunction("nnlite_yield", types.int32())
