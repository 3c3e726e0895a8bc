"""How the numbers of a table are written: 1.5 or 1,5, and with which signs.

A table is written in one notation, but a later table may be written in another one than that which was learnt from.
So the notation is found anew for each column of each table: by what its cells can be read as, by the cells of the
other columns where they can be read in both ways, and else as in training. N = rows
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .cells import MISSING, Cells, Numbers
from .written import parsed

SAMPLE = 100  # rows of each column, in which the notation of a table is looked for
SURE = 0.95  # of the cells that are read in another notation must be read in the usual one too; the others are slips


def of_table(columns: Sequence[Cells]) -> bool | None:
    """Whether the table has decimal commas: True or False, None if its cells tell nothing, or both."""
    found: set[bool] = set()
    for cells in columns:
        if not isinstance(cells, Numbers) and len(found) < 2:
            words, codes = cells.take(np.arange(min(len(cells), SAMPLE))).distinct()
            if not any("," in word or "." in word for word in words):
                continue  # its numbers are read alike in both ways
            by_point, by_comma = (np.isfinite(_parsed(words, comma))[codes] for comma in (False, True))
            few = (1 - SURE) * (by_point | by_comma).sum()  # slips
            found |= {False} if (by_point & ~by_comma).sum() > few else set()
            found |= {True} if (by_comma & ~by_point).sum() > few else set()
    return found.pop() if len(found) == 1 else None


def _plain(cells: Cells, values: np.ndarray) -> bool:
    """Whether each cell is empty, or a number as Python writes it; the values (N,) are NaN elsewhere."""
    unread = np.flatnonzero(np.isnan(values))
    return not len(unread) or all(word.lower() in MISSING for word in cells.take(unread).distinct()[0])


def read(cells: Cells, usual: bool | None = None, likely: bool | None = None) -> tuple[np.ndarray, bool | None]:
    """The numbers (N,) in the cells, NaN where there is none, and how they are written.

    Decimal commas are True. Points are False with signs or groups of digits, and None as Python writes them. `usual`
    is how they were written in training, and `likely` whether other columns have commas. Cells that nothing tells
    how to read, such as 1,234 where neither was there, are no numbers.
    """
    comma = usual if likely is None else likely
    as_python = cells.numbers()
    if isinstance(cells, Numbers) or (comma is not True and _plain(cells, as_python)):
        return as_python, None
    words, codes = cells.distinct()
    counts = np.bincount(codes, minlength=len(words))
    ways = {way: _parsed(words, way) for way in (False, True)}
    hits = {way: int(counts[np.isfinite(values)].sum()) for way, values in ways.items()}
    way = bool(comma)
    if hits[way] < SURE * hits[not way]:
        way = not way
    if comma is None and hits[True] == hits[False] and not np.array_equal(ways[False], ways[True], equal_nan=True):
        return as_python, None
    values = ways[way][codes]
    return values, None if np.array_equal(values, as_python, equal_nan=True) else way


def _parsed(words: Sequence[str], comma: bool) -> np.ndarray:
    return np.array([parsed(word, comma) for word in words], np.float64)
