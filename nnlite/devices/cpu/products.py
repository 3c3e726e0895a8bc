"""Matrix products for compiled code: a microkernel makes one small block of the result at a time, in registers.

    C ← S + α A B        C, S (rows, columns) · A (rows, inner) · B (inner, columns)

A block is a few rows by a few vectors. One step along `inner` loads the block's vectors from a row of B, and multiplies
each of them by one number from every row of A. Nothing is written until the sums are complete (Goto and van de Geijn
2008, "Anatomy of high-performance matrix multiplication"). For small networks, a BLAS would spend more time on choosing
a method and copying.

If the columns do not fill the last vector of a row, it begins earlier, and shares numbers with the vector before it.
Both compute them. A mask would spare that, but masked stores are slow on AVX2, and where a processor has none (NEON,
SSE), a mask is a branch for each number.

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

from .compiling import TARGET, ZERO, compiled, machine_code
from .memory import allocate, copy_bytes, fetch_to_write, free

_I64, _I32 = ir.IntType(64), ir.IntType(32)
_REAL = {4: ir.FloatType(), 8: ir.DoubleType()}


def _registers(target: tuple[str, str, str]) -> tuple[int, int, int]:
    """The bytes of a vector, and the rows and vectors a row of a block that fills the registers of this target.

    A target is what Numba compiles for, which need not be the processor at hand.
    """
    system, _, features = target
    has = set(features.split(","))
    if "+avx512f" in has:
        return 64, 8, 3  # 32 registers: 24 sums, 3 vectors of B, and one for a number of A
    if "+avx" in has:
        return 32, 4, 3 if "+fma" in has else 2  # 16 registers: 12, 3, and one
    if system.startswith(("aarch64", "arm64")):
        return 16, 4, 4  # 32 registers: 16 sums keep four multipliers busy, each of which takes four cycles
    return 16, 4, 2  # 16 registers; without FMA, products need some too


VECTOR, ROWS, VECTORS = _registers(TARGET)
ONE_ROW = 8  # vectors of a block with one row: enough sums at once, and B is read along its rows
DEPTH = 512  # rows of B at once: the part of them that a block reads must stay in the core's cache
HEIGHT = 512  # rows of A at once if there are many columns: every strip reads them again
FETCHED = 64  # steps along `inner` from which on a block's part of C is prefetched while its sums are made
PACKED = 10_000 if VECTOR < 64 else 200_000  # numbers of B from which on its parts are copied into panels, as measured
WIDE = 12  # vectors of columns beyond which a transposed A is copied too
REUSED = 32  # rows from which on a copy pays
APART = VECTORS * VECTOR  # bytes from one row of a panel to the next


# ---- one block ----------------------------------------------------------------------------------------------------


class _Vectors:
    """Writes instructions on the vectors of a row.

    The last vector ends where the row ends, so it may begin in the one before it. If the row is shorter than a vector
    (`count` is 0), there is one with a mask: lanes past the last column are neither read nor written.
    """

    def __init__(self, builder: Any, itemsize: int, columns: Any, count: int) -> None:
        self.builder, self.itemsize, self.lanes = builder, itemsize, VECTOR // itemsize
        self.real = _REAL[itemsize]
        self.type = ir.VectorType(self.real, self.lanes)
        self.zero = ir.Constant(self.type, [_REAL[itemsize](0.0)] * self.lanes)
        self.name = f"v{self.lanes}f{8 * itemsize}"
        # One instruction if the processor has it. If it does not, llvm.fma would call a function for every number.
        self.fma = self._declare(f"llvm.fmuladd.{self.name}", self.type, [self.type] * 3)
        self.mask = None if count else self._first_lanes(columns)
        last = builder.mul(builder.sub(columns, _I64(self.lanes)), _I64(itemsize))
        self.offsets = [*(_I64(k * VECTOR) for k in range(count - 1)), last] if count else [_I64(0)]

    def _declare(self, name: str, returns: Any, takes: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(returns, takes), name)

    def _first_lanes(self, columns: Any) -> Any:
        lane = ir.Constant(ir.VectorType(_I32, self.lanes), [_I32(i) for i in range(self.lanes)])
        return self.builder.icmp_signed("<", lane, self.spread(self.builder.trunc(columns, _I32)))

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

    def row(self, address: Any) -> list[Any]:
        """All vectors of the row at this address."""
        return [self.load(self.builder.add(address, offset)) for offset in self.offsets]

    def store_row(self, vectors: list[Any], address: Any) -> None:
        for vector, offset in zip(vectors, self.offsets, strict=True):
            self.store(vector, self.builder.add(address, offset))

    def load(self, address: Any) -> Any:
        place = self.place(address, self.type)
        if self.mask is None:
            return self.builder.load(place, align=self.itemsize)
        takes = [place.type, _I32, self.mask.type, self.type]
        function = self._declare(f"llvm.masked.load.{self.name}.p0", self.type, takes)
        return self.builder.call(function, [place, _I32(self.itemsize), self.mask, self.zero])

    def store(self, vector: Any, address: Any) -> None:
        place = self.place(address, self.type)
        if self.mask is None:
            self.builder.store(vector, place, align=self.itemsize)
            return
        takes = [self.type, place.type, _I32, self.mask.type]
        function = self._declare(f"llvm.masked.store.{self.name}.p0", ir.VoidType(), takes)
        self.builder.call(function, [vector, place, _I32(self.itemsize), self.mask])


@intrinsic
def size_of(typing, number):
    """The bytes of a number, as a constant."""
    size = number.bitwidth // 8
    return types.int64(number), lambda *_: _I64(size)


@intrinsic
def smaller(typing, a, b):
    """The smaller of two whole numbers: Numba would have to compile its own `min`."""
    return types.int64(types.int64, types.int64), lambda context, builder, signature, arguments: builder.select(
        builder.icmp_signed("<", *arguments), *arguments
    )


def _block(rows: int, most: int = VECTORS, copying: bool = False) -> Any:
    """C ← S + α A B for `rows` rows and up to `most` vectors of columns, from addresses and distances in bytes.

    If `copying`, the vectors of B are also stored in the panel at `panel`.
    """

    @intrinsic
    def block(typing, c, c_row, s, s_row, a, a_row, a_step, b, b_row, panel, inner, columns, alpha):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            itemsize = 4 if signature.args[-1] == types.float32 else 8
            columns, end = arguments[-2], builder.append_basic_block("made")
            for vectors in range(most + 1):
                widest = vectors * VECTOR // itemsize if vectors else VECTOR // itemsize - 1
                with builder.if_then(builder.icmp_signed("<=", columns, _I64(widest))):
                    _write_block(builder, _Vectors(builder, itemsize, columns, vectors), rows, copying, *arguments)
                    builder.branch(end)
            builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12, alpha), generate

    return block


def _write_block(
    builder, v, rows, copying, c, c_row, s, s_row, a, a_row, a_step, b, b_row, panel, inner, columns, alpha
):
    """Write the instructions of the microkernel for a block of so many rows and these vectors."""
    vectors = len(v.offsets)
    block = [(r, k) for r in range(rows) for k in range(vectors)]
    row_of_a = [builder.add(a, builder.mul(a_row, _I64(r))) for r in range(rows)]
    before, along, end = builder.block, builder.append_basic_block("along"), builder.append_basic_block("end")
    builder.branch(along)

    builder.position_at_end(along)  # one step along `inner`
    done, offset, row_of_b, row_of_panel = (builder.phi(_I64) for _ in range(4))
    sums = {place: builder.phi(v.type) for place in block}
    of_b, new = v.row(row_of_b), {}
    if copying:
        v.store_row(of_b, row_of_panel)
    for r in range(rows):
        of_a = v.spread(builder.load(v.place(builder.add(row_of_a[r], offset), v.real)))
        for k in range(vectors):
            new[r, k] = builder.call(v.fma, [of_a, of_b[k], sums[r, k]])
    steps = (
        (done, _I64(0), _I64(1)),
        (offset, _I64(0), a_step),
        (row_of_b, b, b_row),
        (row_of_panel, panel, _I64(APART)),
    )
    for variable, first, step in steps:
        variable.add_incoming(first, before)
        variable.add_incoming(builder.add(variable, step), along)
    for place in block:
        sums[place].add_incoming(v.zero, before)
        sums[place].add_incoming(new[place], along)
    builder.cbranch(builder.icmp_signed("<", builder.add(done, _I64(1)), inner), along, end)

    builder.position_at_end(end)
    factor = v.spread(alpha)
    with builder.if_else(builder.icmp_signed("==", s, _I64(0))) as (nothing, something):
        for case, adding in ((nothing, False), (something, True)):
            with case:
                # S is read as a whole before C is written: C may be S, and vectors overlap, those of short rows with
                # the next row's, too, where a processor would wait until what it is to read has been written.
                if adding:
                    made = {}
                    for r in range(rows):
                        first = v.row(builder.add(s, builder.mul(s_row, _I64(r))))
                        made |= {(r, k): builder.call(v.fma, [factor, new[r, k], first[k]]) for k in range(vectors)}
                else:
                    made = {place: builder.fmul(factor, new[place]) for place in block}
                for r in range(rows):
                    v.store_row([made[r, k] for k in range(vectors)], builder.add(c, builder.mul(c_row, _I64(r))))


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
def strip(typing, rows, c, c_row, s, s_row, a, a_row, a_step, a_block, b, b_row, panel, inner, columns, alpha):
    """Call `_strip` from compiled code."""
    return _strip_type(alpha), _call(f"nnlite_strip_{alpha}")


@intrinsic
def product(typing, c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha):
    """Call `_product` from compiled code."""
    return _product_type(alpha), _call(f"nnlite_product_{alpha}")


@intrinsic
def copied_product(typing, c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha):
    """Call `_copied_product` from compiled code."""
    return _product_type(alpha), _call(f"nnlite_copied_product_{alpha}")


def _strip_type(real: Any) -> Any:
    return types.void(*[types.int64] * 14, real)


def _product_type(real: Any) -> Any:
    return types.void(*[types.int64] * 13, real)


# ---- all blocks ------------------------------------------------------------------------------------------------------

_first, _most, _four, _two = _block(ROWS, copying=True), _block(ROWS), _block(4), _block(2)
_one = _block(1, ONE_ROW)


def _strip(rows, c, c_row, s, s_row, a, a_row, a_step, a_block, b, b_row, panel, inner, columns, alpha):
    """All rows of a strip, which is as wide as a block. A block's rows of A are a_block bytes from the next block's.

    If `panel` is not 0, the first block of ROWS rows copies B there as it loads it, and the others read it there.

    Only the largest blocks are in a loop. LLVM computes all values that stay the same in a loop before it; for all
    kinds of blocks together, that would be a hundred instructions, too many for a small product.
    """
    if panel != 0:
        _first(c, c_row, s, s_row, a, a_row, a_step, b, b_row, panel, inner, columns, alpha)
        rows, c, s, a, b, b_row = rows - ROWS, c + ROWS * c_row, s + ROWS * s_row, a + a_block, panel, APART
    while rows >= ROWS:
        if inner >= FETCHED:
            for r in range(ROWS):
                for k in range(VECTORS):
                    fetch_to_write(c + r * c_row + k * VECTOR)
        _most(c, c_row, s, s_row, a, a_row, a_step, b, b_row, ZERO, inner, columns, alpha)
        rows, c, s, a = rows - ROWS, c + ROWS * c_row, s + ROWS * s_row, a + a_block
    if rows >= 4:
        _four(c, c_row, s, s_row, a, a_row, a_step, b, b_row, ZERO, inner, columns, alpha)
        rows, c, s, a = rows - 4, c + 4 * c_row, s + 4 * s_row, a + 4 * a_row
    if rows >= 2:
        _two(c, c_row, s, s_row, a, a_row, a_step, b, b_row, ZERO, inner, columns, alpha)
        rows, c, s, a = rows - 2, c + 2 * c_row, s + 2 * s_row, a + 2 * a_row
    if rows == 1:
        _one(c, c_row, s, s_row, a, a_row, a_step, b, b_row, ZERO, inner, columns, alpha)


# ---- copying parts of B into panels ----------------------------------------------------------------------------------


@intrinsic
def _transposed_block(typing, to, to_row, b, b_row, rows, columns, like):
    """Copy a square from B to `to`, transposed: as many rows and columns as a vector has lanes.

    Only `rows` and `columns` of B are read.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        itemsize, columns = 4 if arguments[-1].type == _REAL[4] else 8, arguments[-2]
        whole = builder.icmp_signed("==", columns, _I64(VECTOR // itemsize))
        with builder.if_else(whole) as (all_columns, some_columns):
            for case, count in ((all_columns, 1), (some_columns, 0)):
                with case:
                    write(builder, _Vectors(builder, itemsize, columns, count), *arguments)
        return context.get_dummy_value()

    def write(builder: Any, v: _Vectors, to: Any, to_row: Any, b: Any, b_row: Any, rows: Any, *others: Any) -> None:
        square = []
        for lane in range(v.lanes):  # past the last row, the last row again
            row = builder.select(builder.icmp_signed("<", _I64(lane), rows), _I64(lane), builder.sub(rows, _I64(1)))
            square.append(v.load(builder.add(b, builder.mul(b_row, row))))
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
        v.mask = None
        for i, vector in enumerate(square):
            v.store(vector, builder.add(to, builder.mul(to_row, _I64(i))))

    return types.void(*[types.int64] * 6, like), generate


@partial(compiled, inlined=True)
def _pack_transposed(panel, b, b_row, inner, columns, like):
    """panel (inner, columns) ← Bᵀ, in whole vectors; the matrix (columns, inner) begins at b."""
    size = size_of(like)
    lanes = VECTOR // size
    for j in range(0, columns, lanes):
        for p in range(0, inner, lanes):
            to, from_, rows = panel + p * APART + j * size, b + j * b_row + p * size, smaller(lanes, columns - j)
            _transposed_block(to, APART, from_, b_row, rows, smaller(lanes, inner - p), like)


@intrinsic
def _copy_few(typing, to, a, like):
    """Copy as many numbers as a block has rows."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, size = ir.VectorType(arguments[-1].type, ROWS).as_pointer(), 4 if arguments[-1].type == _REAL[4] else 8
        to, a = (builder.inttoptr(place, kind) for place in arguments[:2])
        builder.store(builder.load(a, align=size), to, align=size)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, like), generate


@partial(compiled, inlined=True)
def _pack_rows(to, a, a_step, inner, rows, like):
    """to (inner, ROWS) ← Aᵀ, for up to ROWS rows of A, whose numbers are contiguous down a column."""
    size = size_of(like)
    for p in range(inner):
        if rows == ROWS:
            _copy_few(to + p * ROWS * size, a + p * a_step, like)
        else:
            copy_bytes(to + p * ROWS * size, a + p * a_step, rows * size)


@partial(compiled, inlined=True)
def next_width(rows, columns, lanes):
    """The columns of the next strip, if so many are left: as many as a block has, but no vector is left alone."""
    vectors = ONE_ROW if rows == 1 else VECTORS
    if columns <= vectors * lanes:
        return columns
    return (vectors if columns > (vectors + 1) * lanes else (vectors + 1) // 2) * lanes


# ---- the product ----------------------------------------------------------------------------------------------------


def _product(c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha):
    """C ← S + α A B, from addresses, bytes to the next row (…_row) and to the next number in a row (…_step).

    s = 0 means that there is no S. B's numbers are contiguous along a row (b_step = size),
    or down a column (b_row = size) if B is stored transposed.
    """
    size = size_of(alpha)
    lanes = VECTOR // size
    if s == 0:
        s_row = 0  # so that s stays 0 for every row
    if columns == 1 and c_row == size and (s == 0 or s_row == size) and (a_row == size or inner > 16):
        # a column is a row, and rows are what vectors are for
        s_row, a, a_row, a_step, b, b_row, b_step, rows, columns = 0, b, 0, b_row, a, a_step, a_row, 1, rows
    reused = rows >= REUSED and (inner * columns > PACKED or (a_row == size and columns > WIDE * lanes))
    if b_step != size or reused:
        copied_product(c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha)
        return
    while columns > (ONE_ROW if rows == 1 else VECTORS) * lanes:
        some = next_width(rows, columns, lanes)
        strip(rows, c, c_row, s, s_row, a, a_row, a_step, ROWS * a_row, b, b_row, ZERO, inner, some, alpha)
        columns, c, b, s = columns - some, c + some * size, b + some * size, s + some * size if s != 0 else 0
    strip(rows, c, c_row, s, s_row, a, a_row, a_step, ROWS * a_row, b, b_row, ZERO, inner, columns, alpha)


def _copied_product(c, c_row, s, s_row, a, a_row, a_step, b, b_row, b_step, rows, inner, columns, alpha):
    """The same, but parts of B are copied into panels, where they are contiguous in the order of use.

    Parts of A are copied too, if A is transposed and many strips read it; any other A is contiguous along its rows.
    """
    size = size_of(alpha)
    lanes = VECTOR // size
    most, wide = smaller(inner, DEPTH), rows >= REUSED and columns > WIDE * lanes
    copied, height = wide and a_row == size, smaller(rows, HEIGHT) if wide else rows
    room = -(-most // lanes) * lanes * APART  # bytes for B; those for A follow
    memory = allocate(VECTOR + room + copied * (-(-height // ROWS) * ROWS * size * most))
    if memory == 0:
        raise MemoryError
    panel = -(-memory // VECTOR) * VECTOR  # whole vectors, so that none lies in two cache lines
    blocks = panel + room
    for p in range(0, inner, DEPTH):
        deep = smaller(DEPTH, inner - p)
        for i in range(0, rows, height):
            tall, of_a = smaller(height, rows - i), a + i * a_row + p * a_step
            row, step, block = a_row, a_step, ROWS * a_row
            if copied:
                row, step, block = size, ROWS * size, ROWS * size * deep
                for r in range(0, tall, ROWS):
                    to, from_ = blocks + r // ROWS * block, of_a + r * a_row
                    _pack_rows(to, from_, a_step, deep, smaller(ROWS, tall - r), alpha)
                of_a = blocks
            j = 0
            while j < columns:
                some, of_c = next_width(ROWS, columns - j, lanes), c + i * c_row + j * size
                of_b, row_of_b, to = b + p * b_row + j * b_step, b_row, panel if tall > ROWS else ZERO
                if b_step != size:
                    _pack_transposed(panel, of_b, b_step, deep, some, alpha)
                    of_b, row_of_b, to = panel, APART, ZERO
                of_s, row_of_s = s + i * s_row + j * size if s != 0 else 0, s_row
                if p > 0:  # add to the sum so far
                    of_s, row_of_s = of_c, c_row
                strip(tall, of_c, c_row, of_s, row_of_s, of_a, row, step, block, of_b, row_of_b, to, deep, some, alpha)
                j += some
    free(memory)


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
    for function, signature in ((_strip, _strip_type), (_copied_product, _product_type), (_product, _product_type)):
        made.append(machine_code(function, signature(real)))
        llvmlite.binding.add_symbol(f"nnlite{function.__name__}_{real}", made[-1].address)
    return made
