"""Memory for compiled code: the address of an array, and arrays and numbers at an address.

These are written as LLVM instructions. NumPy's and Numba's own functions for it would each have to be compiled first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import from_dtype

_WORD, _INT = ir.IntType(64), ir.IntType(32)


@intrinsic
def address(typing: Any, array: Any) -> Any:
    """The address at which an array begins."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(array.data, _WORD)

    return types.int64(array), generate


@intrinsic
def place(typing: Any, number: Any) -> Any:
    """The address of a number; it is valid until the calling function returns."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ptrtoint(cgutils.alloca_once_value(builder, arguments[0]), _WORD)

    return types.int64(number), generate


@intrinsic
def flat(typing: Any, array: Any) -> Any:
    """A contiguous array as an array with one axis, on the same memory."""
    kind = array.copy(ndim=1)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return _view(context, builder, kind, array.data, [array.nitems])

    return kind(array), generate


@intrinsic(prefer_literal=True)
def on_stack(typing: Any, like: Any, size: Any) -> Any:
    """An array of so many numbers of this kind, a constant, which is valid until the calling function returns."""
    kind, length = types.Array(like, 1, "C"), _WORD(size.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = cgutils.alloca_once(builder, context.get_data_type(like), length)
        return _view(context, builder, kind, data, [length])

    return kind(like, size), generate


@intrinsic
def allocate(typing: Any, size: Any) -> Any:
    """The address of so many bytes of new memory, until it is given to `free`; 0 if there are none left."""
    return types.int64(types.int64), lambda context, builder, signature, arguments: builder.ptrtoint(
        context.nrt.allocate_unchecked(builder, arguments[0]), _WORD
    )


@intrinsic
def free(typing: Any, place: Any) -> Any:
    """Give back the memory at an address from `allocate`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        context.nrt.free(builder, builder.inttoptr(arguments[0], cgutils.voidptr_t))
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def copy_bytes(typing: Any, to: Any, source: Any, count: Any) -> Any:
    """Copy so many bytes from one address to another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to, source = (builder.inttoptr(place, cgutils.voidptr_t) for place in arguments[:2])
        cgutils.raw_memcpy(builder, to, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _fetch(write: int, cache: int) -> Any:
    """A prefetch of the cache line at an address, to the nearest cache (3) or the second one (2).

    Any address is allowed, even an invalid one.
    """

    @intrinsic
    def fetch(typing: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, *[_INT] * 3])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            place = builder.inttoptr(arguments[0], cgutils.voidptr_t)
            builder.call(function, [place, _INT(write), _INT(cache), _INT(1)])  # 1 for data
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return fetch


# What is read goes to the second cache: more lines can be on their way to it at once.
fetch_to_write, fetch_to_read = _fetch(write=1, cache=3), _fetch(write=0, cache=2)


# What a waiting loop should do between two checks: intrinsic and arguments. It saves power, gives the units of the core
# to its second hardware thread, and on x86 avoids that the end of the wait flushes the pipeline. ARM's `yield` does
# nothing on cores without such threads; `isb`, which waits until the pipeline is empty, takes about 10 ns.
PAUSES = {"x86_64": ("llvm.x86.sse2.pause", []), "aarch64": ("llvm.aarch64.isb", [15])}
PAUSES |= {"arm64": PAUSES["aarch64"]}  # as Apple names it


@intrinsic
def pause(typing: Any) -> Any:
    """Wait a moment in a loop that waits for another thread: 4 to 45 ns on x86. Nothing on other processors."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        write_pause(builder)
        return context.get_dummy_value()

    return types.void(), generate


def write_pause(builder: Any) -> None:
    """Add the instruction for the processor that the builder's module is compiled for."""
    name, arguments = PAUSES.get(builder.module.triple.split("-")[0], ("", []))
    if name:
        kind = ir.FunctionType(ir.VoidType(), [_INT] * len(arguments))
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [_INT(a) for a in arguments])


class Operand(NamedTuple):
    """How an operand is read from a line: its type, and read(context, builder, address of its first word)."""

    type: Any
    read: Callable[[Any, Any, Any], Any]
    words: int


def operand(kind: str) -> Operand:
    """An operand of this kind: an array's dtype and number of axes, such as "f4_2", or "number", or "size".

    The words of an array are its address and sizes. A number is a float64, a size an int64.
    """
    if kind in ("number", "size"):
        number = types.float64 if kind == "number" else types.int64

        def read_number(context: Any, builder: Any, place: Any) -> Any:
            return builder.load(builder.inttoptr(place, context.get_value_type(number).as_pointer()))

        return Operand(number, read_number, 1)
    dtype, axes = kind.split("_")
    array = types.Array(from_dtype(np.dtype(dtype)), int(axes), "C")

    def read_array(context: Any, builder: Any, place: Any) -> Any:
        words = builder.inttoptr(place, _WORD.as_pointer())
        start, *shape = (builder.load(builder.gep(words, [_WORD(i)])) for i in range(array.ndim + 1))
        data = builder.inttoptr(start, context.get_data_type(array.dtype).as_pointer())
        return _view(context, builder, array, data, shape)

    return Operand(array, read_array, 1 + array.ndim)


def _view(context: Any, builder: Any, kind: Any, data: Any, shape: list[Any]) -> Any:
    """An array on memory that another object owns."""
    itemsize = _WORD(kind.dtype.bitwidth // 8)
    strides = [itemsize]
    for size in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], size))
    made = context.make_array(kind)(context, builder)
    populate_array(made, data=data, shape=shape, strides=strides, itemsize=itemsize, meminfo=None)
    return made._getvalue()
