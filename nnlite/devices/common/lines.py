"""Lines: a call of a tape as integers, for a table that compiled code reads.

The first word of a line is the function to call. Its operands follow: results first, then the operands written in
place, then those that are only read. An array is its address and its sizes, a plain number is the bits of a float64,
and a size is itself. A loop that can compute a part of its columns takes two more words, the start and the end of the
part. The line of a slice of the rows has the number of its first row as the operand `first` of a numbered kernel.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .planning import Planned, part_of
from .recording import Call, NotRecordableError

WHOLE = {"N", "B", "M", "Q", "key", "first", "width"}  # operands of nnlite's own kernels that are whole numbers


Share = Callable[[int, int, int], tuple[int, int]]  # (size, worker, workers) -> start, end


class Line(NamedTuple):
    """The words of a line after the first, the kind of each operand, and the word at which each operand begins."""

    words: list[int]
    kinds: tuple[str, ...]  # an array's dtype and number of axes, such as "f4_2"; "number"; "size"
    places: Mapping[str, int]


class Slice(NamedTuple):
    """One worker's slice of a call: the call for its rows, or else the whole call and a range of columns."""

    call: Call
    part: tuple[int, int] | None
    first: int
    size: int  # how many rows or columns


def line(
    call: Call,
    address: Callable[[Any], int],
    letters: Mapping[str, str],
    part: tuple[int, int] | None = None,
    first: int = 0,
    length: int = 0,
) -> Line:
    """A call, with symbols or with arrays, as a line.

    `letters` maps a kernel to the letter of a size. The call computes only `part` of this size, or all for None.
    `first` is the number of its first row among those of the tape. With a `length`, every array is flat and has so many
    elements.
    """
    words: list[int] = []
    kinds: list[str] = []
    places: dict[str, int] = {}
    for name, operand in operands(call).items():
        if is_array(operand):
            kinds.append(f"{operand.dtype.str[1:]}_{1 if length else operand.ndim}")
            places[name] = 1 + len(words)
            words += [address(operand), *([length] if length else operand.shape)]
        else:
            value = number(call, name, operand)
            if call.kernel.numbered and name == "first":
                places[name], value = 1 + len(words), value + first
            kinds.append("number" if isinstance(value, float) else "size")
            words.append(int(np.float64(value).view(np.int64)) if isinstance(value, float) else value)
    if call.name in letters:
        words += part or (0, call.sizes[letters[call.name]])
        kinds += ["size", "size"]
    return Line(words, tuple(kinds), places)


def operands(call: Call) -> dict[str, Any]:
    """Name -> operand or result, in the order of a line."""
    signature = call.kernel.signature
    named = dict(zip(signature.operands, call.operands)) | dict(zip(signature.fresh, call.results))
    return {name: named[name] for name in (*signature.fresh, *signature.in_place, *signature.inputs)}


def is_array(operand: Any) -> bool:
    """Whether an operand is an array or the symbol of one, and not a plain number."""
    return getattr(operand, "ndim", 0) > 0


def number(call: Call, name: str, given: Any) -> int | float:
    """A plain number of any type in the form that compiled code gets: an int for a whole number, or else a float.

    For nnlite's own kernels, every number is a float unless it is a size or a key. NotRecordableError for a value that
    is not a real number, or a whole number that does not fit into 64 bits.
    """
    value: Any = given.item() if isinstance(given, (np.generic, np.ndarray)) and given.ndim == 0 else given
    if not isinstance(value, numbers.Real):
        raise NotRecordableError(f"{call.name}: {name} is {given!r}, where a real number is expected")
    counts = (call.kernel.own or name in WHOLE) and not isinstance(value, bool)
    whole = value if counts and isinstance(value, numbers.Integral) else None
    try:
        return float(value) if whole is None else int(np.int64(int(whole)))
    except OverflowError as error:
        text = f"{call.name}: {name} is {given!r}, which 64 bits do not hold"
        raise NotRecordableError(text if whole is None else f"{text}: hand over a float") from error


def bounds(size: int, worker: int, workers: int) -> tuple[int, int]:
    """The start and end of a worker's slice of `size` elements; it has whole vectors if there are many elements."""
    unit = 16 if size >= 32 * workers else 1
    start, stop = [min(size, -(-size * w // (workers * unit)) * unit) for w in (worker, worker + 1)]
    return start, size if worker == workers - 1 else stop


def even(size: int, worker: int, workers: int) -> tuple[int, int]:
    """The same, where all workers but the last ones have equally many elements, as few as possible; by eights or fours
    if many.
    """
    units = [unit for unit in (8, 4) if size >= unit * workers] or [1]
    most = min(-(-size // (workers * unit)) * unit for unit in units)
    return min(size, most * worker), min(size, most * (worker + 1))


def slice_of(planned: Planned, worker: int, workers: int, share: Share = bounds) -> Slice | None:
    """This worker's slice of a planned call, or None if the slice is empty. `share` gives each its start and end."""
    call = planned.call
    first, stop = share(call.sizes.get(planned.split, 1), worker, workers)
    if first == stop:
        return None
    if planned.split not in ("N", "P"):
        return Slice(call, (first, stop) if planned.split else None, 0, stop - first)
    signature = call.kernel.signature

    def mine(names: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(part_of(call, name, value, planned.split, first, stop) for name, value in zip(names, values))

    own = replace(
        call, operands=mine([*signature.operands], call.operands), results=mine(signature.fresh, call.results)
    )
    return Slice(own, None, first, stop - first)
