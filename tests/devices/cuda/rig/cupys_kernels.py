"""CuPy's own kernels, by their names in NumPy, on arguments that are read as the kernel would read them."""

import ctypes
import functools
import inspect
import re

import numpy as np

from .card import ILLEGAL_ADDRESS, Card, Work
from .libraries import RefusalError

TYPES = {
    "bool": "?", "signed char": "i1", "unsigned char": "u1", "short": "i2", "int": "i4", "unsigned int": "u4",
    "long long": "i8", "unsigned long long": "u8", "ptrdiff_t": "i8", "float16": "f2", "float": "f4", "double": "f8",
}  # fmt: skip
ELEMENTWISE = {  # those whose name is not NumPy's
    "copy": lambda x: x,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
}
OTHERS = {  # kernel -> the parameter that it writes, and the function of the parameters whose names are its own
    "fill": ("y", lambda x: x),
    "bsum_shfl": ("b", lambda a: np.add.reduceat(a, np.arange(0, a.size, 512), dtype=np.int64)),  # of its blocks
    "scan_naive": ("out", lambda a: np.cumsum(a)),
    "getitem_mask": ("out", lambda a, mask: a[mask]),
    "take": ("out", lambda a, indices, cdim, rdim, index_range: taken(a, indices, cdim, rdim, index_range)),
}
REDUCTIONS = ("all", "any", "sum", "prod", "max", "min", "argmax", "argmin")


@functools.cache
def parameters(source: str, name: str) -> list[str]:
    """The declarations of a kernel's parameters."""
    declared = re.search(rf"__global__ void {name}\((.*?)\)\s*\{{", source, re.DOTALL)[1]
    return [each.strip() for each in re.split(r",(?![^<]*>)", declared)]


def value(card: Card, declaration: str, place: int) -> tuple[str, object]:
    """The name of a parameter and its value: an array in the card's memory, or a number."""
    array = re.match(r"(?:const )?CArray<(.+?), (\d+), \d+, \d+> (\w+)", declaration)
    if array:
        return array[3], array_at(card, np.dtype(TYPES[array[1]]), int(array[2]), place)
    number = re.match(r"(?:const )?([\w ]+?) (\w+)$", declaration)
    if not number or number[1] not in TYPES:
        return declaration.split()[-1], None  # such as an indexer, which tells only the shape of the result
    dtype = np.dtype(TYPES[number[1]])
    return number[2], np.frombuffer(ctypes.string_at(place, dtype.itemsize), dtype)[0]


def array_at(card: Card, dtype: np.dtype, axes: int, place: int) -> np.ndarray:
    """The array that a CArray stands for: an address, the number of its elements, its shape and strides."""
    words = (ctypes.c_int64 * (2 + 2 * axes)).from_address(place)
    data, count, shape, strides = words[0], words[1], tuple(words[2 : 2 + axes]), tuple(words[2 + axes :])
    if not count:
        return np.zeros(shape, dtype)
    ends = [(size - 1) * stride for size, stride in zip(shape, strides)]
    first = data + sum(end for end in ends if end < 0)
    size = sum(map(abs, ends)) + dtype.itemsize
    if not card.memory.holds(first, size):
        raise RefusalError(ILLEGAL_ADDRESS, f"an array {shape} at {data:#x} is not in the card's memory")
    memory = (ctypes.c_char * size).from_address(first)
    return np.ndarray(shape, dtype, memory, data - first, strides)


def taken(a: np.ndarray, indices: np.ndarray, middle: int, last: int, there: int) -> np.ndarray:
    """Of `a`, flat, with axes (…, there, last), those numbers of the middle axis that `indices` has for each result."""
    result = np.arange(indices.size)
    first = result // (middle * last)
    return a.ravel()[(first * there + indices.ravel() % there) * last + result % last]


def work(card: Card, name: str, source: str, places) -> Work:
    """The work of a launch. Its parameters are read now."""
    given = dict(value(card, each, places[i]) for i, each in enumerate(parameters(source, name)))
    # CuPy's versions add an underscore to some names, or none
    given = {key.removeprefix("_raw_").removesuffix("_"): operand for key, operand in given.items()}
    operands = [given[key] for key in ("in0", "in1", "in2", "in3") if key in given]
    base, result = re.match(r"cupy_(\w+?)(?:__|$)", name)[1], given.get("out0")
    if base in OTHERS:
        written, function = OTHERS[base]
        operands, result = [given[each] for each in inspect.signature(function).parameters], given[written]
    elif base.removesuffix("_with_dtype") in REDUCTIONS:
        function = reduction(base.removesuffix("_with_dtype"), result)
        card.reduced.append(operands[0].size // max(result.size, 1))
    else:
        function = ELEMENTWISE.get(base) or getattr(np, base, None)
    if function is None or result is None:
        raise NotImplementedError(f"CuPy's kernel {name}({', '.join(given)})")

    def done() -> None:
        with np.errstate(all="ignore"):
            value = np.asarray(function(*operands))
            result[...] = value.reshape(result.shape) if value.size == result.size else value

    return done


def reduction(name: str, result: np.ndarray):
    """A reduction: the kernel sees its operand as (reduced numbers, results), whatever the axes were."""

    def function(x: np.ndarray) -> np.ndarray:
        columns = x.reshape(-1, result.size)  # (count, results)
        options = {"dtype": result.dtype} if name in ("sum", "prod") else {}
        return getattr(np, name)(columns, axis=0, **options)

    return function
