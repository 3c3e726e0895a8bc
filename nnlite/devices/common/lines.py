"""Lines: a row of a tape as integers, for a table that compiled code reads.

A line is what to call, then the operands: results first, then what is written in place, then what is only read. An
array is its address and its sizes, a number the bits of a float64, a size itself. Loops that can be told to do a part
of their work take, last, from where to where; those that must know where in the batch they are, the first row.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .planning import Planned, part_of
from .recording import NotRecordableError, Row

WHOLE = {"N", "key"}  # operands of nnlite's own kernels that are whole numbers


class Line(NamedTuple):
    """The words after the first of a line, what each operand is, and at which word of the line an operand begins."""

    words: list[int]
    kinds: tuple[str, ...]  # an array's dtype and number of axes, such as "f4_2"; "number"; "size"
    places: Mapping[str, int]


class Share(NamedTuple):
    """What one of several workers has of a row: the row for its part of the rows, or else a range of a size."""

    row: Row
    part: tuple[int, int] | None
    first: int


def line(
    row: Row,
    address: Callable[[Any], int],
    letters: Mapping[str, str],
    part: tuple[int, int] | None = None,
    first: int = 0,
    length: int = 0,
) -> Line:
    """A row, of symbols or of arrays, as a line.

    `letters`: kernel -> the size of which it makes a `part`, or all of it. length: arrays as so many numbers.
    """
    words: list[int] = []
    kinds: list[str] = []
    places: dict[str, int] = {}
    for name, operand in operands(row).items():
        if is_array(operand):
            kinds.append(f"{operand.dtype.str[1:]}_{1 if length else operand.ndim}")
            places[name] = 1 + len(words)
            words += [address(operand), *([length] if length else operand.shape)]
        else:
            value = number(row, name, operand)
            kinds.append("number" if isinstance(value, float) else "size")
            words.append(int(np.float64(value).view(np.int64)) if isinstance(value, float) else value)
    if row.name in letters:
        words += part or (0, sizes(row)[letters[row.name]])
        kinds += ["size", "size"]
    elif row.kernel.numbered:
        places["first"] = 1 + len(words)
        words.append(first)
        kinds.append("size")
    return Line(words, tuple(kinds), places)


def operands(row: Row) -> dict[str, Any]:
    """Name -> operand in the order of a line."""
    signature = row.kernel.signature
    named = dict(zip(signature.operands, row.operands)) | dict(zip(signature.fresh, row.results))
    return {name: named[name] for name in (*signature.fresh, *signature.in_place, *signature.inputs)}


def sizes(row: Row) -> Mapping[str, int]:
    """Letter -> size of a row's operands."""
    return row.kernel.signature.sizes(row.operands)


def is_array(operand: Any) -> bool:
    """Whether it is an array, or the symbol of one, and not a plain number."""
    return getattr(operand, "ndim", 0) > 0


def number(row: Row, name: str, given: Any) -> int | float:
    """A plain number of any type as what compiled code gets: an int for a whole number, else a float.

    Kernels of nnlite's own know what to expect: a float, if it is no size and no key. NotRecordableError for what is no
    real number, and for a whole one of more than 64 bits.
    """
    value: Any = given.item() if isinstance(given, (np.generic, np.ndarray)) and given.ndim == 0 else given
    if not isinstance(value, numbers.Real):
        raise NotRecordableError(f"{row.name}: {name} is {given!r}, where a real number is expected")
    counts = (row.kernel.own or name in WHOLE) and not isinstance(value, bool)
    whole = value if counts and isinstance(value, numbers.Integral) else None
    try:
        return float(value) if whole is None else int(np.int64(int(whole)))
    except OverflowError as error:
        text = f"{row.name}: {name} is {given!r}, which 64 bits do not hold"
        raise NotRecordableError(text if whole is None else f"{text}: hand over a float") from error


def share_of(step: Planned, worker: int, workers: int) -> Share | None:
    """What this worker has to do of a planned row, or None if there is nothing for it."""
    row = step.row
    first, stop = share(sizes(row).get(step.split, 1), worker, workers)
    if first == stop:
        return None
    if step.split not in ("N", "P"):
        return Share(row, (first, stop) if step.split else None, 0)
    signature = row.kernel.signature

    def mine(names: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(part_of(row, name, value, step.split, first, stop) for name, value in zip(names, values))

    own = Row(row.name, row.kernel, mine(list(signature.operands), row.operands), mine(signature.fresh, row.results))
    return Share(own, None, first)


def share(size: int, worker: int, workers: int) -> tuple[int, int]:
    """From where to where a worker's share of so many goes; whole vectors where there are many."""
    unit = 16 if size >= 32 * workers else 1
    bounds = [min(size, -(-size * w // (workers * unit)) * unit) for w in (worker, worker + 1)]
    return bounds[0], size if worker == workers - 1 else bounds[1]
