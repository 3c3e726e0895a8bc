"""The cells of one column, as they are written: the numbers among them, and the different texts.

A column is read as text, by polars if it is installed, or by Python's own csv. What it means is decided later
(columns.py). N = rows
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

# Cells that mean: no value, as people, pandas, databases, C and Excel write it. Of the second group, a word may also be
# a class, such as a disease called "none".
WRITTEN = "na n/a n.a. nan null ? <na> nat #n/a #na -nan 1.#ind -1.#ind 1.#qnan -1.#qnan \\n"
ERRORS = "#div/0! #value! #ref! #name? #num! #null!"  # of a formula
NEVER_A_CLASS = frozenset(("", *WRITTEN.split(), *ERRORS.split()))
MISSING = NEVER_A_CLASS | {"nil", "none", "missing", "-", "--", "."}


class Cells(Protocol):
    """The cells of a column of N rows."""

    def __len__(self) -> int: ...

    def numbers(self) -> np.ndarray:
        """The number in each cell (N,); NaN where a cell is not written as Python or C writes numbers."""

    def distinct(self) -> tuple[list[str], np.ndarray]:
        """The different texts, blanks around them dropped, and the place of each cell's among them (N,)."""

    def padded(self) -> bool:
        """Whether a cell has a digit after a first 0, as codes have, such as 007."""

    def take(self, rows: np.ndarray) -> Cells:
        """The cells of these rows, given by number."""


class Texts:
    """Cells in a list of Python's strings."""

    def __init__(self, cells: Sequence[str]) -> None:
        self.cells = cells

    def __len__(self) -> int:
        return len(self.cells)

    def numbers(self) -> np.ndarray:
        return np.fromiter(map(number, self.cells), np.float64, len(self.cells))

    def distinct(self) -> tuple[list[str], np.ndarray]:
        places: dict[str, int] = {}
        codes = [places.setdefault(cell.strip(), len(places)) for cell in self.cells]
        return list(places), np.array(codes, np.int64)

    def padded(self) -> bool:
        return any(cell[:1] == "0" and cell[1:2].isdigit() for cell in map(str.strip, self.cells))

    def take(self, rows: np.ndarray) -> Texts:
        return Texts([self.cells[row] for row in rows])


class Numbers:
    """Cells that were numbers from the start, in a frame or a Parquet file: (N,), NaN where a value is missing.

    unit: of durations, "seconds".
    """

    def __init__(self, values: np.ndarray, unit: str = "") -> None:
        self.values, self.unit = values, unit

    def __len__(self) -> int:
        return len(self.values)

    def numbers(self) -> np.ndarray:
        return self.values.astype(np.float64)

    def distinct(self) -> tuple[list[str], np.ndarray]:
        values, codes = np.unique(self.values, return_inverse=True)
        return [_written(value) for value in values.tolist()], codes.reshape(-1)

    def padded(self) -> bool:
        return False

    def take(self, rows: np.ndarray) -> Numbers:
        return Numbers(self.values[rows], self.unit)


def _written(value: float) -> str:
    """A number as text: whole ones without a point, since a gap turns a column of whole numbers into floats."""
    if value != value:
        return ""
    return str(int(value)) if abs(value) < 2**53 and value == int(value) else str(value)


class Polars:
    """Cells in a polars Series of text without blanks around it, in which nothing is missing."""

    def __init__(self, series: Any) -> None:
        self.series = series

    def __len__(self) -> int:
        return len(self.series)

    def numbers(self) -> np.ndarray:
        import polars

        return self.series.cast(polars.Float64, strict=False).to_numpy()

    def distinct(self) -> tuple[list[str], np.ndarray]:
        places = self.series.rank("dense").to_numpy().astype(np.int64) - 1
        return self.series.unique().sort().to_list(), places

    def padded(self) -> bool:
        zeros = self.series.filter(self.series.str.starts_with("0"))
        return bool(zeros.str.contains(r"^0\d").any())

    def take(self, rows: np.ndarray) -> Polars:
        return Polars(self.series[rows])


def number(cell: str) -> float:
    """The number that a cell holds, NaN if it holds something else."""
    try:
        return float(cell) if "_" not in cell and cell.isascii() else math.nan  # only Python reads 1_000 as a number
    except ValueError:
        return math.nan
