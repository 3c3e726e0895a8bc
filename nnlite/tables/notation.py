"""How the numbers of a table are written: 1.5 or 1,5, and with which signs.

A table is written in one notation, but a later table may be written in another one than that which was learnt from.
So the notation is found anew for each column of each table: by what its cells can be read as, by the cells of the
other columns where they can be read in both ways, and else as in training. So is the order of days and months. N = rows
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .cells import MISSING, Cells, Numbers
from .written import days, ordered, parsed, without

SAMPLE = 100  # rows of each column, in which the notation of a table is looked for
SURE = 0.95  # of the cells that are read in another notation must be read in the usual one too; the others are slips


class Notation(NamedTuple):
    """What a table tells of how its numbers are written.

    commas: whether its cells have decimal commas, None if they do not tell. likely: what its separator says, where a
    semicolon or tab makes decimal commas likely, and a comma makes points likely; None without a text. day_first:
    whether 1/2/2000 is the first of February, None if no cell tells, or both ways are there.
    """

    commas: bool | None = None
    likely: bool | None = None
    day_first: bool | None = None

    def in_training(self) -> Notation:
        """The same for a table to learn from, where 1,234 is a thousand if nothing tells."""
        return self._replace(likely=bool(self.likely))


UNTOLD = Notation()  # of a table that tells nothing


Words = tuple[list[str], np.ndarray]  # the different cells, and the place of each cell's (N,) among them


class Reading(NamedTuple):
    """The numbers (N,) in cells, NaN where there is none, and how they are written.

    comma: True for decimal commas, False for points with signs or groups of digits, None as Python writes them. doubt:
    a cell that may be another number, where nothing but the training or the separator tells; "" for none.
    """

    values: np.ndarray
    comma: bool | None
    doubt: str = ""

    def told(self, name: str) -> list[str]:
        """What is said of a doubt in the column of this name."""
        if not self.doubt:
            return []
        taken, other = (parsed(self.doubt, comma) for comma in (bool(self.comma), not self.comma))
        return [f"{name}: {self.doubt!r} taken as {taken:g}; nothing tells that it is not {other:g}"]


def of_table(columns: Sequence[Cells], likely: bool | None = None) -> Notation:
    """What the cells of a table's columns tell; `likely` is what its separator says."""
    samples = [
        cells.take(np.arange(min(len(cells), SAMPLE))).distinct() for cells in columns if not isinstance(cells, Numbers)
    ]
    numbers = [sample for sample in samples if any("," in word or "." in word for word in sample[0])]
    dates = [sample for sample in samples if any(map(ordered, sample[0]))]
    return Notation(_told(numbers, _parsed), likely, _told(dates, days))


def _told(samples: Sequence[Words], read: Callable[[list[str], bool], np.ndarray]) -> bool | None:
    """Which of two ways to read them these samples tell, by what can be read in one only; None if none or both."""
    found: set[bool] = set()
    for words, codes in samples:
        by = {way: np.isfinite(read(words, way))[codes] for way in (False, True)}
        few = (1 - SURE) * (by[False] | by[True]).sum()  # slips
        found |= {way for way in (False, True) if (by[way] & ~by[not way]).sum() > few}
        if len(found) == 2:
            return None
    return found.pop() if found else None


def _plain(cells: Cells, values: np.ndarray, unit: str) -> bool:
    """Whether all numbers in the cells are as Python writes them; the values (N,) are NaN elsewhere."""
    unread = np.flatnonzero(np.isnan(values))
    if not len(unread):
        return True
    words = [without(word, unit) for word in cells.take(unread).distinct()[0] if word.lower() not in MISSING]
    return not any(np.isfinite(_parsed(words, comma)).any() for comma in (False, True))


def read(cells: Cells, usual: bool | None = None, table: Notation = UNTOLD, unit: str = "") -> Reading:
    """The numbers in the cells. `usual` is how they were written in training, None also before it.

    unit: a text that may stand behind them.

    Numbers as Python writes them are such, unless other columns of the table, or the training, say otherwise. Cells
    that nothing tells how to read, such as 1,234 in a frame where neither was there, are no numbers.
    """
    as_python = cells.numbers()
    if isinstance(cells, Numbers):
        return Reading(as_python, None)
    plain, comma = _plain(cells, as_python, unit), table.commas
    if plain and not (usual if comma is None else comma):
        return Reading(as_python, None)
    words, codes = cells.distinct()
    words = [without(word, unit) for word in words]
    points = not any("," in word for word in words)  # these are decimal where commas separate the columns
    if comma is None:
        comma = table.likely if usual is None else usual and not (points and table.likely is False)
    if plain and not comma:
        return Reading(as_python, None)
    counts = np.bincount(codes, minlength=len(words))
    ways = {way: _parsed(words, way) for way in (False, True)}
    hits = {way: int(counts[np.isfinite(values)].sum()) for way, values in ways.items()}
    way = bool(comma)
    if hits[way] < SURE * hits[not way]:
        way = not way
    differ = np.isfinite(ways[False]) & np.isfinite(ways[True]) & (ways[False] != ways[True])
    unclear = table.commas is None and hits[True] == hits[False] and differ.any()
    if comma is None and unclear:
        return Reading(as_python, None)
    values = ways[way][codes]
    told = (points and not way) or (usual is not None and not (usual and points))  # as Python, or as in training
    doubt = words[int(differ.argmax())] if unclear and not told else ""
    return Reading(values, None if np.array_equal(values, as_python, equal_nan=True) else way, doubt)


def _parsed(words: Sequence[str], comma: bool) -> np.ndarray:
    return np.array([parsed(word, comma) for word in words], np.float64)
