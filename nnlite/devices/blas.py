"""Matrix products for compiled code: NumPy's own OpenBLAS, by its C interface.

`np.dot` in compiled code would need SciPy, whose OpenBLAS is a second library with threads of its own. Here the
functions of the one that NumPy has loaded are made known to the compiler by name, which keeps the cache on disk valid.
Where NumPy has another BLAS, a plain loop of our own takes their place.
"""

from __future__ import annotations

import ctypes
import os
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
    """`with one_blas_thread:` OpenBLAS uses one thread meanwhile: the threads of a replay share its products out.

    Counted, so that of several trainings side by side the last to end gives OpenBLAS its threads back.
    """

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, 0

    def __enter__(self) -> None:
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


one_blas_thread = OneThread()
LIBRARY = _numpys_openblas()
_get = getattr(LIBRARY, "scipy_openblas_get_num_threads64_", None)
_set = getattr(LIBRARY, "scipy_openblas_set_num_threads64_", None)
_KEPT = []  # machine code that must not be freed
for _letter, _real in (("s", types.float32), ("d", types.float64)):
    try:
        _address = ctypes.cast(getattr(LIBRARY, f"scipy_cblas_{_letter}gemm64_"), ctypes.c_void_p).value
    except AttributeError:
        _KEPT.append(_own(_real))
        _address = _KEPT[-1].address
    llvmlite.binding.add_symbol(f"nnlite_{_letter}gemm", _address)

SGEMM = types.ExternalFunction("nnlite_sgemm", _signature(types.float32))
DGEMM = types.ExternalFunction("nnlite_dgemm", _signature(types.float64))

# What a thread calls when it has waited for long: another program may need this core.
_library: Any = ctypes.CDLL(None) if os.name == "posix" else getattr(ctypes, "windll").kernel32  # noqa: B009
_yield = _library.sched_yield if os.name == "posix" else _library.SwitchToThread
llvmlite.binding.add_symbol("nnlite_yield", ctypes.cast(_yield, ctypes.c_void_p).value)
YIELD = types.ExternalFunction("nnlite_yield", types.int32())
