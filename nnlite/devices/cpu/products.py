"""Matrix products for compiled code: a microkernel makes one small block of the result at a time, in registers.

    C ← S + α A B        C, S (rows, columns) · A (rows, inner) · B (inner, columns)

A block is a few rows by a few vectors. One step along `inner` loads the block's vectors from a row of B, and multiplies
each of them by one number from every row of A. Nothing is written until the sums are complete (Goto and van de Geijn
2008, "Anatomy of high-performance matrix multiplication"). For small networks, a BLAS would spend more time on choosing
a method and copying.

A matrix is given by its address, by the bytes from a row to the next, and by the bytes from a number to the next within
a row. So each may be a part of another matrix, or transposed. S is added to the product: it is a bias (one row for all,
with 0 bytes from a row to the next), C itself, or nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiling import TARGET, compiled, inside, machine_code
from .memory import address, copy_bytes, fetch_to_write

_I64, _I32 = ir.IntType(64), ir.IntType(32)
_REAL = {4: ir.FloatType(), 8: ir.DoubleType()}


def _registers() -> tuple[int, int, int]:
    """The bytes of a vector, and the rows and vectors a row of a block that fills this processor's registers."""
    features = TARGET[2].split(",")  # those for which Numba compiles; the processor may have more
    if "+avx512f" in features:
        return 64, 8, 3  # 32 registers: 24 sums, 3 vectors of B, and one for a number of A
    if "+avx" in features:
        return 32, 4, 3  # 16 registers
    return 16, 4, 3


VECTOR, ROWS, VECTORS = _registers()
DEPTH = 512  # rows of B at once: the part of them that a block reads must stay in the core's cache
HEIGHT = 512  # rows of A at once if there are many columns: every strip reads them again
FETCHED = 64  # steps along `inner` from which on a block's part of C is prefetched while its sums are made
PACKED = 200_000  # numbers of B from which on its parts are first copied into panels


# ---- one block ----------------------------------------------------------------------------------------------------


class _Vectors:
    """Writes instructions on vectors of reals. Lanes past the last column are neither read nor written."""

    def __init__(self, builder: Any, itemsize: int, columns: Any, vectors: int) -> None:
        self.builder, self.itemsize, self.lanes = builder, itemsize, VECTOR // itemsize
        self.real = _REAL[itemsize]
        self.type = ir.VectorType(self.real, self.lanes)
        self.zero = ir.Constant(self.type, [_REAL[itemsize](0.0)] * self.lanes)
        mask = ir.VectorType(ir.IntType(1), self.lanes)
        lane = ir.Constant(ir.VectorType(_I32, self.lanes), [_I32(i) for i in range(self.lanes)])
        last = builder.trunc(builder.sub(columns, _I64((vectors - 1) * self.lanes)), _I32)
        self.mask = builder.icmp_signed("<", lane, self.spread(last))
        name, places = f"v{self.lanes}f{8 * itemsize}", self.type.as_pointer()
        # One instruction if the processor has it. If it does not, llvm.fma would call a function for every number.
        self.fma = self._declare(f"llvm.fmuladd.{name}", self.type, [self.type] * 3)
        self.masked_load = self._declare(f"llvm.masked.load.{name}.p0", self.type, [places, _I32, mask, self.type])
        store = [self.type, places, _I32, mask]
        self.masked_store = self._declare(f"llvm.masked.store.{name}.p0", ir.VoidType(), store)

    def _declare(self, name: str, returns: Any, takes: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(returns, takes), name)

    def spread(self, number: Any) -> Any:
        """A vector of this number."""
        kind = ir.VectorType(number.type, self.lanes)
        nothing = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(nothing, number, _I32(0))
        return self.builder.shuffle_vector(
            first, nothing, ir.Constant(ir.VectorType(_I32, self.lanes), [_I32(0)] * self.lanes)
        )

    def place(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address: Any, masked: bool) -> Any:
        place = self.place(address, self.type)
        if masked:
            return self.builder.call(self.masked_load, [place, _I32(self.itemsize), self.mask, self.zero])
        return self.builder.load(place, align=self.itemsize)

    def store(self, vector: Any, address: Any, masked: bool) -> None:
        place = self.place(address, self.type)
        if masked:
            self.builder.call(self.masked_store, [vector, place, _I32(self.itemsize), self.mask])
        else:
            self.builder.store(vector, place, align=self.itemsize)


def _block(rows: int) -> Any:
    """C ← S + α A B for `rows` rows and up to VECTORS vectors of columns, from addresses and distances in bytes."""

    @intrinsic
    def block(typing, c, c_row, s, s_row, a, a_row, a_step, b, b_row, inner, columns, alpha):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            itemsize = 4 if signature.args[-1] == types.float32 else 8
            columns, end = arguments[-2], builder.append_basic_block("made")
            for vectors in range(1, VECTORS + 1):
                fits = builder.icmp_signed("<=", columns, _I64(vectors * VECTOR // itemsize))
                with builder.if_then(fits):
                    _write_block(builder, itemsize, rows, vectors, *arguments)
                    builder.branch(end)
            builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11, alpha), generate

    return block


def _write_block(
    builder, itemsize, rows, vectors, c, c_row, s, s_row, a, a_row, a_step, b, b_row, inner, columns, alpha
):
    """Write the instructions of the microkernel for a block of so many rows and vectors."""
    v = _Vectors(builder, itemsize, columns, vectors)
    block = [(r, k) for r in range(rows) for k in range(vectors)]
    row_of_a = [builder.add(a, builder.mul(a_row, _I64(r))) for r in range(rows)]
    before, along, end = builder.block, builder.append_basic_block("along"), builder.append_basic_block("end")
    builder.branch(along)

    builder.position_at_end(along)  # one step along `inner`
    done, offset, row_of_b = (builder.phi(_I64) for _ in range(3))
    sums = {place: builder.phi(v.type) for place in block}
    of_b = [v.load(builder.add(row_of_b, _I64(k * VECTOR)), masked=k == vectors - 1) for k in range(vectors)]
    new = {}
    for r in range(rows):
        of_a = v.spread(builder.load(v.place(builder.add(row_of_a[r], offset), v.real)))
        for k in range(vectors):
            new[r, k] = builder.call(v.fma, [of_a, of_b[k], sums[r, k]])
    for variable, first, step in ((done, _I64(0), _I64(1)), (offset, _I64(0), a_step), (row_of_b, b, b_row)):
        variable.add_incoming(first, before)
        variable.add_incoming(builder.add(variable, step), along)
    for place in block:
        sums[place].add_incoming(v.zero, before)
        sums[place].add_incoming(new[place], along)
    builder.cbranch(builder.icmp_signed("<", builder.add(done, _I64(1)), inner), along, end)

    builder.position_at_end(end)
    factor = v.spread(alpha)

    def address(base: Any, row: Any, r: int, k: int) -> Any:
        return builder.add(builder.add(base, builder.mul(row, _I64(r))), _I64(k * VECTOR))

    with builder.if_else(builder.icmp_signed("==", s, _I64(0))) as (nothing, something):
        with nothing:
            for r, k in block:
                v.store(builder.fmul(factor, new[r, k]), address(c, c_row, r, k), masked=k == vectors - 1)
        with something:
            for r, k in block:
                start = v.load(address(s, s_row, r, k), masked=k == vectors - 1)
                total = builder.call(v.fma, [factor, new[r, k], start])
                v.store(total, address(c, c_row, r, k), masked=k == vectors - 1)


# ---- by name --------------------------------------------------------------------------------------------------------
# A strip and a product are machine code, made by `ready` once for each dtype. Compiled code calls them by name. If they
# were compiled into each caller, every loop would be as large as this file, and as slow to compile.


def _call(name: str) -> Callable[..., Any]:
    """Write a call of the machine code of this name. An error in it is passed on to the caller."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(signature.return_type, signature.args)
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        status, _ = convention.call_function(builder, function, signature.return_type, signature.args, arguments)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return generate


@intrinsic
def strip(typing, rows, c, c_row, s, s_row, a, a_row, a_step, a_block, b, b_row, inner, columns, alpha):
    """Call `_strip` from compiled code."""
    return _strip_type(alpha), _call(f"nnlite_strip_{alpha}")


@intrinsic
def product(typing, c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha, size):
    """Call `_product` from compiled code."""
    return _product_type(alpha), _call(f"nnlite_product_{alpha}")


def _strip_type(real: Any) -> Any:
    return types.void(*[types.int64] * 13, real)


def _product_type(real: Any) -> Any:
    return types.void(*[types.int64] * 13, real, types.int64)


# ---- all blocks ------------------------------------------------------------------------------------------------------

_most, _four, _two, _one = (_block(rows) for rows in (ROWS, 4, 2, 1))


def _strip(rows, c, c_row, s, s_row, a, a_row, a_step, a_block, b, b_row, inner, columns, alpha):
    """All rows of a strip, which is as wide as a block. A block's rows of A are a_block bytes from the next block's.

    Only the largest blocks are in a loop. LLVM computes all values that stay the same in a loop before it; for all
    kinds of blocks together, that would be a hundred instructions, too many for a small product.
    """
    while rows >= ROWS:
        if inner >= FETCHED:
            for r in range(ROWS):
                for k in range(VECTORS):
                    fetch_to_write(c + r * c_row + k * VECTOR)
        _most(c, c_row, s, s_row, a, a_row, a_step, b, b_row, inner, columns, alpha)
        rows, c, s, a = rows - ROWS, c + ROWS * c_row, s + ROWS * s_row, a + a_block
    if rows >= 4:
        _four(c, c_row, s, s_row, a, a_row, a_step, b, b_row, inner, columns, alpha)
        rows, c, s, a = rows - 4, c + 4 * c_row, s + 4 * s_row, a + 4 * a_row
    if rows >= 2:
        _two(c, c_row, s, s_row, a, a_row, a_step, b, b_row, inner, columns, alpha)
        rows, c, s, a = rows - 2, c + 2 * c_row, s + 2 * s_row, a + 2 * a_row
    if rows == 1:
        _one(c, c_row, s, s_row, a, a_row, a_step, b, b_row, inner, columns, alpha)


# ---- copying parts of B into panels ----------------------------------------------------------------------------------


@intrinsic
def _transposed_block(typing, to, to_row, b, b_row, rows, columns, like):
    """Copy a square from B to `to`, transposed: as many rows and columns as a vector has lanes.

    Only `rows` and `columns` of B are read.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, to_row, b, b_row, rows, columns, like = arguments
        v = _Vectors(builder, 4 if like.type == _REAL[4] else 8, columns, 1)
        square = []
        for lane in range(v.lanes):  # past the last row, the last row again
            row = builder.select(builder.icmp_signed("<", _I64(lane), rows), _I64(lane), builder.sub(rows, _I64(1)))
            square.append(v.load(builder.add(b, builder.mul(b_row, row)), masked=True))
        half = v.lanes // 2
        while half:  # exchange the parts off the diagonal: halves, then quarters, …
            for i in range(v.lanes):
                if not i & half:
                    upper = [lane if not lane & half else v.lanes + lane - half for lane in range(v.lanes)]
                    lower = [lane + half if not lane & half else v.lanes + lane for lane in range(v.lanes)]
                    pair = square[i], square[i + half]
                    for place, lanes in ((i, upper), (i + half, lower)):
                        order = ir.Constant(ir.VectorType(_I32, v.lanes), [_I32(lane) for lane in lanes])
                        square[place] = builder.shuffle_vector(*pair, order)
            half //= 2
        for i, vector in enumerate(square):
            v.store(vector, builder.add(to, builder.mul(to_row, _I64(i))), masked=False)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, like), generate


@partial(compiled, inlined=True)
def _pack_transposed(to, to_row, b, b_row, inner, columns, size, like):
    """to (inner, columns) ← Bᵀ, in whole vectors; the matrix (columns, inner) begins at b."""
    lanes = VECTOR // size
    for j in range(0, columns, lanes):
        for p in range(0, inner, lanes):
            from_, rows = b + j * b_row + p * size, min(lanes, columns - j)
            _transposed_block(to + p * to_row + j * size, to_row, from_, b_row, rows, min(lanes, inner - p), like)


@partial(compiled, inlined=True)
def _pack(to, to_row, b, b_row, inner, width):
    """to (inner, width) ← B; `width` is in bytes."""
    for p in range(inner):
        copy_bytes(to + p * to_row, b + p * b_row, width)


@partial(compiled, inlined=True)
def strip_width(columns, size):
    """The number of columns of a strip. All strips have equal width, at most that of the widest block."""
    lanes = VECTOR // 4 if size == 4 else VECTOR // 8  # a division takes a fifth of a small product's time
    if columns <= VECTORS * lanes:
        return columns
    vectors = -(-columns // lanes)
    strips = -(-vectors // VECTORS)
    return -(-vectors // strips) * lanes


# ---- the product ----------------------------------------------------------------------------------------------------


def _product(c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha, size):
    """C ← S + α A B, from addresses, bytes to the next row (…_row) and to the next number in a row (…_step).

    A number has `size` bytes. s = 0 means that there is no S. B's numbers are contiguous along a row (b_step = size),
    or down a column (b_row = size) if B is stored transposed.
    """
    if s == 0:
        s_row = 0  # so that s stays 0 for every row
    if columns == 1 and c_row == size and (s == 0 or s_row == size) and (a_row == size or inner > 16):
        # a column is a row, and rows are what vectors are for
        s_row, a, a_row, a_step, b, b_row, b_step, rows, columns = 0, b, 0, b_row, a, a_step, a_row, 1, rows
    if b_step != size or inner * columns > PACKED:
        _copied_product(c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha, size)
        return
    width = strip_width(columns, size)
    while columns > 0:  # a range would need a division, which takes as long as a small product
        some = min(width, columns)
        strip(rows, c, c_row, s, s_row, a, a_row, a_step, ROWS * a_row, b, b_row, inner, some, alpha)
        columns, c, b, s = columns - width, c + width * size, b + width * size, s + width * size if s != 0 else 0


@partial(inside, allocates=True)
def _copied_product(c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha, size):
    """The same, but parts of B are first copied into panels, where they are contiguous in the order of use.

    Parts of A are copied too, if A is large and transposed; any other A is contiguous along its rows.
    """
    lanes = VECTOR // size
    width, apart, most = strip_width(columns, size), VECTORS * VECTOR, min(inner, DEPTH)
    wide = columns > 4 * width and rows >= 4 * ROWS
    copied, height = wide and a_row == size, min(rows, HEIGHT) if wide else rows
    panel = -(-most // lanes) * lanes * apart  # bytes for B; those for A follow
    memory = np.empty(panel + copied * (-(-height // ROWS) * ROWS * size * most), np.uint8)
    for p in range(0, inner, DEPTH):
        deep = min(DEPTH, inner - p)
        part, blocks = address(memory), address(memory) + panel  # here, or Numba would free the memory before
        for i in range(0, rows, height):
            tall, of_a = min(height, rows - i), a + i * a_row + p * a_step
            row, step, block = a_row, a_step, ROWS * a_row
            if copied:
                row, step, block = size, ROWS * size, ROWS * size * deep
                for r in range(0, tall, ROWS):
                    to, some = blocks + r // ROWS * block, min(ROWS, tall - r)
                    _pack(to, step, of_a + r * a_row, a_step, deep, some * size)
                of_a = blocks
            for j in range(0, columns, width):
                some, of_b, of_c = min(width, columns - j), b + p * b_row + j * b_step, c + i * c_row + j * size
                if b_step != size:
                    _pack_transposed(part, apart, of_b, b_step, deep, some, size, alpha)
                else:
                    _pack(part, apart, of_b, b_row, deep, some * size)
                of_s, row_of_s = s + i * s_row + j * size if s != 0 else 0, s_row
                if p > 0:  # add to the sum so far
                    of_s, row_of_s = of_c, c_row
                strip(tall, of_c, c_row, of_s, row_of_s, of_a, row, step, block, part, apart, deep, some, alpha)


@functools.cache
def ready(dtype: np.dtype) -> list[Any]:
    """Compile the products of this dtype, or load them, so that compiled code can call `product`.

    If compiled code calls `product` without it, the process ends, since the call has no address. TypeError for other
    dtypes than float32 and float64.
    """
    real = {np.dtype(np.float32): types.float32, np.dtype(np.float64): types.float64}.get(dtype)
    if real is None:
        raise TypeError(f"products are made of float32 or float64, not of {dtype}")
    made = []
    for name, function, signature in (("strip", _strip, _strip_type(real)), ("product", _product, _product_type(real))):
        made.append(machine_code(function, signature))
        llvmlite.binding.add_symbol(f"nnlite_{name}_{real}", made[-1].address)
    return made
