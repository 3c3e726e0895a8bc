"""Matrix products by NVIDIA's cublasLt, which can do more with a product than to store it, and in several ways.

cublasLt stores matrices column by column, so it computes the transposed product: Cᵀ = Bᵀ Aᵀ. What it does at the end:

    BIAS_RELU        y = max(0, x W + b), and a bit for each number: whether it is above 0
    RELU_BACKWARD    dy Wᵀ where the bit is set, 0 elsewhere; and the sum of its rows, the gradient of a bias
    SUM              xᵀ dy; and the sum of the rows of dy

Source: the header cublasLt.h, from which the numbers are.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

PLAIN, BIAS_RELU, RELU_BACKWARD, SUM = 1, 2 | 4 | 128, 8 | 16 | 128, 256
FLOAT32, AS_IT_IS, AS_TF32 = 0, 68, 77  # a type of numbers, and two ways to multiply them
TRANSPOSED_A, TRANSPOSED_B, EPILOGUE, BIAS, BITS, BITS_APART = 3, 4, 7, 8, 11, 12  # attributes of a product
WORKSPACE_BYTES, ALIGNED_A, ALIGNED_B, ALIGNED_C, ALIGNED_D = 1, 5, 6, 7, 8  # attributes of a preference
MOST_ALIGNED = 256  # bytes
WORKSPACE = 32 << 20  # bytes
WORDS = 12  # of 8 bytes, of a result of the search, which begins with an algorithm
APART = 128  # the bits of a row begin at a multiple of so many


class Lt:
    """cublasLt on the current stream, in float32. `tf32` rounds the factors to 10 bits."""

    def __init__(self, cupy: Any, tf32: bool) -> None:
        self.cupy, self.compute = cupy, AS_TF32 if tf32 else AS_IT_IS
        self.library = _opened(cupy)
        self.workspace = cupy.empty(WORKSPACE, "u1")
        self.handle = self._made("cublasLtCreate")

    def products(
        self,
        c: Any,
        a: Any,
        b: Any,
        a_transposed: bool,
        b_transposed: bool,
        end: int = PLAIN,
        vector: Any = None,
        bits: Any = None,
        alpha: float = 1,
        beta: float = 0,
        most: int = 1,
    ) -> list[Callable[[], None]]:
        """At most so many ways to compute C ← alpha A B + beta C, and what comes at the end; the likely fastest first.

        c (M, N), a (M, K) or (K, M), b (K, N) or (N, K). vector: the bias (N,) that is added, or where the sum of the
        rows goes. bits: bytes for a bit of each number of C (see `room_for_bits`).
        """
        description = self._made("cublasLtMatmulDescCreate", ctypes.c_int(self.compute), ctypes.c_int(FLOAT32))
        settings = {TRANSPOSED_A: int(b_transposed), TRANSPOSED_B: int(a_transposed), EPILOGUE: end}
        for attribute, value in settings.items():
            self._set("Desc", description, attribute, ctypes.c_int32(value))
        if vector is not None:
            self._set("Desc", description, BIAS, ctypes.c_void_p(vector.data.ptr))
        if bits is not None:
            self._set("Desc", description, BITS, ctypes.c_void_p(bits.data.ptr))
            self._set("Desc", description, BITS_APART, ctypes.c_int64(8 * bits.shape[1]))
        layouts = [self._layout(each) for each in (b, a, c, c)]
        preference = self._made("cublasLtMatmulPreferenceCreate")
        self._set("Preference", preference, WORKSPACE_BYTES, ctypes.c_size_t(WORKSPACE))
        for attribute, each in zip((ALIGNED_A, ALIGNED_B, ALIGNED_C, ALIGNED_D), (b, a, c, c)):
            aligned = min(each.data.ptr & -each.data.ptr, MOST_ALIGNED)  # the largest power of two in its address
            self._set("Preference", preference, attribute, ctypes.c_uint32(aligned))
        results, found = (ctypes.c_uint64 * WORDS * most)(), ctypes.c_int()
        self._call(
            "cublasLtMatmulAlgoGetHeuristic",
            *(self.handle, description, *layouts, preference),
            *(ctypes.c_int(most), results, ctypes.byref(found)),
        )
        factor, keep = ctypes.c_float(alpha), ctypes.c_float(beta)
        places = [ctypes.c_void_p(each.data.ptr) for each in (b, a, c, c)]
        (of_b, layout_b), (of_a, layout_a), (of_c, layout_c), (of_d, layout_d) = zip(places, layouts)

        def way(number: int) -> Callable[[], None]:
            algorithm = ctypes.byref(results, number * WORDS * 8)

            def multiply() -> None:
                stream = ctypes.c_void_p(int(self.cupy.cuda.get_current_stream().ptr))
                self._call(
                    "cublasLtMatmul",
                    *(self.handle, description, ctypes.byref(factor), of_b, layout_b, of_a, layout_a),
                    *(ctypes.byref(keep), of_c, layout_c, of_d, layout_d, algorithm),
                    *(ctypes.c_void_p(self.workspace.data.ptr), ctypes.c_size_t(WORKSPACE), stream),
                )

            return multiply

        return [way(number) for number in range(found.value)]

    def room_for_bits(self, rows: int, columns: int) -> Any:
        """Bytes for a bit of each number of a matrix."""
        return self.cupy.empty((rows, -(-columns // APART) * APART // 8), "u1")

    def _layout(self, matrix: Any) -> ctypes.c_void_p:
        rows, columns = matrix.shape
        sizes = ctypes.c_uint64(columns), ctypes.c_uint64(rows), ctypes.c_int64(columns)
        return self._made("cublasLtMatrixLayoutCreate", ctypes.c_int(FLOAT32), *sizes)

    def _made(self, function: str, *operands: Any) -> ctypes.c_void_p:
        """What a function makes, which lives as long as the process."""
        made = ctypes.c_void_p()
        self._call(function, ctypes.byref(made), *operands)
        return made

    def _set(self, kind: str, of: ctypes.c_void_p, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        self._call(f"cublasLtMatmul{kind}SetAttribute", of, ctypes.c_int(attribute), ctypes.byref(value), size)

    def _call(self, function: str, *operands: Any) -> None:
        if status := getattr(self.library, function)(*operands):
            raise RuntimeError(f"{function} failed with status {status}")


def _opened(cupy: Any) -> ctypes.CDLL:
    """The cublasLt beside the cuBLAS that nnlite takes."""
    from nnlite.devices.cuda.cublas import candidates

    for name in candidates(cupy):
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name.replace("libcublas.", "libcublasLt.").replace("cublas64_", "cublasLt64_"))
    raise RuntimeError("no cublasLt was found")
