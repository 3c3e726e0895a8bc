"""The functions of cuBLAS that nnlite calls. Matrices are stored column by column."""

import ctypes

import numpy as np

from .card import Card
from .libraries import Function, RefusalError, write

NOT_INITIALIZED, INVALID, NOT_SUPPORTED = 1, 7, 15
WORKSPACE_ALIGNED = 256


class Handle:
    def __init__(self) -> None:
        self.stream: int | None = None
        self.workspace = 0  # cuBLAS takes memory of its own for each stream, which cannot be captured
        self.math = 0
        self.on_card = False  # whether the factors of a product lie in the card's memory


def functions(card: Card) -> dict[str, Function]:
    """Name -> function of cuBLAS."""
    handles: dict[int, Handle] = {}

    def create(place: int) -> int | None:
        card.outside_of_a_capture("making a handle of cuBLAS")
        if card.blas_fails:
            return NOT_INITIALIZED
        number = next(card.handles)
        handles[number] = card.blas = Handle()
        return write(place, number)

    def destroy(number: int) -> None:
        card.outside_of_a_capture("ending a handle of cuBLAS")
        del handles[number]

    def set_stream(number: int, stream: int | None) -> None:
        card.stream(stream)
        handles[number].stream, handles[number].workspace = stream, 0

    def set_workspace(number: int, place: int, size: int) -> None:
        if place % WORKSPACE_ALIGNED or not card.memory.holds(place, size):
            raise RefusalError(INVALID, f"{size} bytes of workspace at {place:#x}")
        handles[number].workspace = place

    def set_math(number: int, mode: int) -> None:
        handles[number].math = mode

    def set_pointer_mode(number: int, mode: int) -> None:
        handles[number].on_card = bool(mode)

    def gemm(real: type):
        def product(number, op_a, op_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) -> None:
            handle = handles[number]
            if card.stream(handle.stream).captured is not None and not handle.workspace:
                raise RefusalError(NOT_SUPPORTED, "a product is captured without a workspace")
            if handle.on_card and not all(card.memory.holds(place, ctypes.sizeof(real)) for place in (alpha, beta)):
                raise RefusalError(INVALID, "the factors of a product are not in the card's memory")

            def numbers() -> list:
                return [real.from_address(place).value for place in (alpha, beta)]

            given = None if handle.on_card else numbers()  # those on the card are read when the work is done

            def matrix(place: int, rows: int, columns: int, apart: int) -> np.ndarray:
                """The matrix (rows, columns), of which columns are `apart` numbers from each other."""
                count = apart * (columns - 1) + rows
                if apart < rows or not card.memory.holds(place, count * ctypes.sizeof(real)):
                    raise RefusalError(INVALID, f"a matrix ({rows}, {columns}) at {place:#x}, {apart} apart")
                numbers = np.ctypeslib.as_array((real * count).from_address(place))
                return np.lib.stride_tricks.as_strided(
                    numbers, (rows, columns), (numbers.itemsize, apart * numbers.itemsize)
                )

            left = matrix(a, k, m, lda).T if op_a else matrix(a, m, k, lda)
            right = matrix(b, n, k, ldb).T if op_b else matrix(b, k, n, ldb)
            to = matrix(c, m, n, ldc)
            card.launches.append("gemm")

            def work() -> None:
                factor, keep = given or numbers()
                to[...] = factor * (left @ right) + (keep * to if keep else 0)

            card.add(handle.stream, work)

        return Function("PIIIIIPPIPIPPI", product)

    return {
        "cublasCreate_v2": Function("P", create),
        "cublasDestroy_v2": Function("P", destroy),
        "cublasSetStream_v2": Function("PP", set_stream),
        "cublasSetWorkspace_v2": Function("PPS", set_workspace),
        "cublasSetMathMode": Function("PI", set_math),
        "cublasSetPointerMode_v2": Function("PI", set_pointer_mode),
        "cublasSgemm_v2": gemm(ctypes.c_float),
        "cublasDgemm_v2": gemm(ctypes.c_double),
    }
