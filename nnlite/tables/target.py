"""The target of a table: a class or a number. N = rows, K = classes"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from . import columns
from .cells import NEVER_A_CLASS, Cells, number
from .reading import MOST_TOLD, Table, TableError, count, shown

MOST_CLASSES = 20  # whole numbers with more different values are a quantity
RAREST = 0.02  # of the rows: where a whole number is rarer than that, it counts something


@dataclass
class Target:
    """What is to be predicted: `classes` are the K labels as they are written, None for a number."""

    name: str
    why: str
    classes: list[str] | None = None
    comma: bool | None = None  # how its numbers are written, as in columns.Number
    missing: int = 0  # rows without a value, which are left out

    def values(self, cells: Cells) -> np.ndarray:
        """Labels (N,) as whole numbers, −1 where there is none of the classes; or numbers (N,), NaN for none."""
        if self.classes is None:
            return columns.in_style(cells, self.comma)
        words, codes = cells.distinct()
        place = {label: k for k, label in enumerate(self.classes)}
        same = {value: k for label, k in place.items() if np.isfinite(value := number(label))}  # 1.0 is the class 1
        return np.array([place.get(word, same.get(number(word), -1)) for word in words], np.int64)[codes]

    def notes(self) -> dict[str, Any]:
        return asdict(self)


def target_of(notes: Mapping[str, Any]) -> Target:
    return Target(**notes)


def decide(table: Table, name: str, task: str | None = None) -> Target:
    """Whether the target is a class or a number; `task` "classification" or "regression" says so.

    Text and booleans are classes, and so are whole numbers that look like codes: two of them, or a few from 0 or 1 on,
    none of them rare. Other numbers are a quantity. TableError for an identifier, text among numbers, a single class.
    """
    cells = table[name]
    words, codes = cells.distinct()
    counts = np.bincount(codes, minlength=len(words))
    present = {word: int(n) for word, n in zip(words, counts) if word.lower() not in NEVER_A_CLASS}
    rows = sum(present.values())
    missing = len(cells) - rows
    where = table.names.index(name)

    def refuse(row: int, what: str) -> TableError:
        return TableError([f"{table.place(row, where)}: {what}"])

    if rows < 3:
        raise refuse(len(cells) - 1, "too few rows to hold some back for testing; give 3 or more with a target")
    comma, values = _style(table, cells, set(present), task)
    wrong = [word for word in present if not np.isfinite(_value(word, comma))]
    total_wrong = sum(present[word] for word in wrong)
    if wrong and task != "classification" and (task == "regression" or (2 * total_wrong < rows and not cells.padded())):
        rest = ", or take every text for a class: --task classification" if task is None else ""
        problems = []
        for word in wrong[:MOST_TOLD]:
            row = int(np.argmax(codes == words.index(word)))
            what = f"the text {shown(word)} in a target of numbers; expected a number: correct it, or leave it empty"
            problems.append(f"{table.place(row, where)}: {what}{rest}")
        raise TableError(problems)
    if len(present) == 1:
        (only,) = present
        what = f"the target holds one class only, {shown(only)}; expected two or more"
        raise refuse(int(np.argmax(codes == words.index(only))), what)
    if wrong or (cells.padded() and task != "regression"):
        if len(present) > rows / 2 and rows >= columns.FEW and task is None:
            what = f"the target {shown(name)} names the rows: {len(present):,} different values in {rows:,} rows"
            raise refuse(0, f"{what}; give another with --target, of {_others(table, name)}")
        top, others = words[codes[0]], [n for word, n in present.items() if word != words[codes[0]]]
        if not table.header and table.source and present.get(top) == 1 and min(others) > 1:
            what = f"this may be a header of numbers, or the only row of the class {shown(top)}"
            raise refuse(0, f"{what}: say --header yes or --header no")
        return Target(name, f"text, {count(len(present), 'value')}", sorted(present), None, missing)
    numbers = np.array([_value(word, comma) for word in present])
    whole = bool((numbers == np.floor(numbers)).all())
    distinct = len(np.unique(numbers))
    if whole and rows >= columns.FEW and task is None and columns.counts_rows(name, cells, values, False):
        what = f"the target {shown(name)} only counts or names the rows"
        raise refuse(0, f"{what}; give another with --target, of {_others(table, name)}")
    codes_alike = whole and (distinct == 2 or (_like_codes(numbers, present, rows) and distinct <= max(2, rows // 2)))
    if task == "classification" or (task is None and codes_alike):
        if not whole:
            row = int(np.argmax([_value(words[code], comma) % 1 > 0 for code in codes]))
            what = f"{shown(words[codes[row]])} is no class, which is a text or a whole number; try --task regression"
            raise refuse(row, what)
        why = f"whole numbers, {count(distinct, 'value')}" + ("" if task else " that look like codes")
        return Target(name, why, _labels(present, comma), None, missing)
    if distinct == 1:
        raise refuse(0, "the target is always the same; there is nothing to learn")
    if whole and distinct <= MOST_CLASSES:
        why = f"whole numbers, {count(distinct, 'value')} that look like counts (--task classification for classes)"
    else:
        why = f"numbers, {count(distinct, 'value')}"
    return Target(name, why, None, comma, missing)


def _style(table: Table, cells: Cells, present: set[str], task: str | None) -> tuple[bool | None, np.ndarray]:
    """How the numbers of the target are written, and what they are (N,)."""
    values = cells.numbers()
    texts = [word for word in present if not np.isfinite(number(word))]
    for comma in (table.comma, not table.comma):
        if texts and all(np.isfinite(columns.written.parsed(word, comma)) for word in present):
            return comma, columns.in_style(cells, comma)
    return None, values


def _value(word: str, comma: bool | None) -> float:
    return number(word) if comma is None else columns.written.parsed(word, comma)


def _like_codes(numbers: np.ndarray, present: Mapping[str, int], rows: int) -> bool:
    """Whether whole numbers look like the codes of classes: few, from 0 or 1 on, nearly without a gap, none rare."""
    total: Counter[float] = Counter()
    for value, n in zip(numbers, present.values()):
        total[float(value)] += n
    low, high = min(total), max(total)
    few = len(total) <= MOST_CLASSES and low in (0, 1) and high <= low + len(total)
    return few and min(total.values()) >= RAREST * rows and (rows < columns.FEW or min(total.values()) > 1)


def _labels(present: Mapping[str, int], comma: bool | None) -> list[str]:
    """The classes of whole numbers in their order. One that is written in several ways is the most frequent of them."""
    ways: dict[int, list[str]] = {}
    for word in present:
        ways.setdefault(_whole(word, comma), []).append(word)
    return [max(ways[value], key=lambda word: (present[word], -len(word))) for value in sorted(ways)]


def _whole(word: str, comma: bool | None) -> int:
    """The exact whole number that a cell holds: float() would turn 2⁵³ + 1 into 2⁵³."""
    try:
        return int(word)
    except ValueError:  # 2.0, 1e3, 1,000
        return int(_value(word, comma))


def _others(table: Table, name: str) -> str:
    names = [other for other in table.names if other != name]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
