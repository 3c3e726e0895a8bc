"""The functions of cublasLt that the benchmarks call. Matrices are stored column by column."""

import ctypes
from itertools import count

import numpy as np

from .card import Card
from .libraries import Function, RefusalError, write

INVALID = 7
FLOAT32, COMPUTE = 0, (68, 77)  # types of numbers, and of their products
SIZES = {3: 4, 4: 4, 7: 4, 8: 8, 11: 8, 12: 8}  # attribute of a product -> bytes of its value
TRANSPOSED_A, TRANSPOSED_B, EPILOGUE, BIAS, BITS, BITS_APART = SIZES
RELU, ADD_BIAS, BACKWARD, SUM_OF_RESULT, USE_BITS, SUM_OF_A = 2, 4, 8, 16, 128, 256  # bits of an epilogue
PREFERRED = {1: 8, 5: 4, 6: 4, 7: 4, 8: 4}  # attribute of a preference -> bytes of its value
WORKSPACE, *ALIGNED = PREFERRED  # how the addresses of A, B, C and D are aligned, in bytes
RESULT, WAYS = 96, 2  # bytes of a result of the search, and how many it finds


class Layout:
    def __init__(self, rows: int, columns: int, apart: int) -> None:
        self.rows, self.columns, self.apart = rows, columns, apart


def functions(card: Card) -> dict[str, Function]:
    """Name -> function of cublasLt."""
    made: dict[int, object] = {}  # handle -> what it stands for
    numbers = count(0x7000)

    def keep(place: int, thing: object) -> None:
        number = next(numbers)
        made[number] = thing
        write(place, number)

    def description(place: int, compute: int, scale: int) -> None:
        if compute not in COMPUTE or scale != FLOAT32:
            raise RefusalError(INVALID, f"products of kind {compute}, scaled in {scale}")
        keep(place, {EPILOGUE: 1})

    def layout(place: int, kind: int, rows: int, columns: int, apart: int) -> None:
        if kind != FLOAT32 or apart < rows:
            raise RefusalError(INVALID, f"a matrix ({rows}, {columns}) of kind {kind}, {apart} apart")
        keep(place, Layout(rows, columns, apart))

    def setter(sizes: dict[int, int]):
        def set_attribute(number: int, attribute: int, place: int, size: int) -> None:
            if sizes.get(attribute) != size:
                raise RefusalError(INVALID, f"attribute {attribute} of {size} bytes")
            made[number][attribute] = int.from_bytes(ctypes.string_at(place, size), "little")

        return Function("PIPS", set_attribute)

    def search(handle, product, a, b, c, d, preference, most, results, found) -> None:
        made[product]["aligned"] = [made[preference].get(attribute, 256) for attribute in ALIGNED]
        ctypes.memset(results, 0xFF, RESULT * most)  # all of them may be written
        write(found, min(most, WAYS), ctypes.c_int)

    def array(place: int, rows: int, columns: int, apart: int, kind: type = ctypes.c_float) -> np.ndarray:
        """(rows, columns), of which columns are `apart` numbers from each other."""
        size = ctypes.sizeof(kind)
        if not card.memory.holds(place, (apart * (columns - 1) + rows) * size):
            raise RefusalError(INVALID, f"({rows}, {columns}) at {place:#x}")
        numbers = np.ctypeslib.as_array((kind * (apart * (columns - 1) + rows)).from_address(place))
        return np.lib.stride_tricks.as_strided(numbers, (rows, columns), (size, apart * size))

    def multiply(*given: int) -> None:
        _, product, alpha, a, of_a, b, of_b, beta, c, of_c, d, of_d, _, room, bytes, stream = given
        settings, epilogue = made[product], made[product][EPILOGUE]
        if any(place % aligned for place, aligned in zip((a, b, c, d), settings["aligned"])):
            raise RefusalError(INVALID, f"matrices at {a:#x}, {b:#x}, {c:#x}, for {settings['aligned']}")
        if not card.memory.holds(room, bytes):
            raise RefusalError(INVALID, f"{bytes} bytes of workspace at {room:#x}")
        left, right, add, to = (
            array(place, made[which].rows, made[which].columns, made[which].apart)
            for place, which in ((a, of_a), (b, of_b), (c, of_c), (d, of_d))
        )
        left, right = left.T if settings[TRANSPOSED_A] else left, right.T if settings[TRANSPOSED_B] else right
        if left.shape[1] != right.shape[0] or to.shape != (left.shape[0], right.shape[1]):
            raise RefusalError(INVALID, f"{left.shape} times {right.shape} is not {to.shape}")
        factor, kept = (ctypes.c_float.from_address(place).value for place in (alpha, beta))
        rows, columns = to.shape
        vector = array(settings[BIAS], rows, 1, rows) if epilogue & (ADD_BIAS | SUM_OF_RESULT | SUM_OF_A) else None
        if epilogue & USE_BITS:
            apart = settings[BITS_APART]
            if apart % 128 or apart < rows:
                raise RefusalError(INVALID, f"bits of {rows} numbers, {apart} apart")
            bits = array(settings[BITS], apart // 8, columns, apart // 8, ctypes.c_uint8)
        card.launches.append("cublasLt")

        def work() -> None:
            result = factor * (left @ right) + (kept * add if kept else 0)
            if epilogue & ADD_BIAS:
                result += vector
            if epilogue & RELU:
                packed = np.packbits(result > 0, axis=0, bitorder="little")
                bits[: len(packed)] = packed
                result = np.maximum(result, 0)
            if epilogue & BACKWARD:
                result *= np.unpackbits(bits, axis=0, bitorder="little")[:rows]
            if epilogue & SUM_OF_RESULT:
                vector[...] = result.sum(axis=1, keepdims=True)
            if epilogue & SUM_OF_A:
                vector[...] = left.sum(axis=1, keepdims=True)
            to[...] = result

        card.add(stream, work)

    return {
        "cublasLtCreate": Function("P", lambda place: keep(place, {})),
        "cublasLtMatmulPreferenceCreate": Function("P", lambda place: keep(place, {})),
        "cublasLtMatmulPreferenceSetAttribute": setter(PREFERRED),
        "cublasLtMatmulDescCreate": Function("PII", description),
        "cublasLtMatmulDescSetAttribute": setter(SIZES),
        "cublasLtMatrixLayoutCreate": Function("PISSS", layout),
        "cublasLtMatmulAlgoGetHeuristic": Function("PPPPPPPIPP", search),
        "cublasLtMatmul": Function("P" * 14 + "SP", multiply),
    }
