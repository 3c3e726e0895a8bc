"""The target of a table: a class or a number. N = rows, K = classes"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .. import gate
from . import columns, notation, written
from .cells import NEVER_A_CLASS, Cells, Texts, number
from .notation import UNTOLD, Notation
from .reading import MOST_TOLD, Table, TableError, count, shown
from .scaling import too_large
from .values import differ, places_of, spellings

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
    unit: str = ""  # the text behind its numbers, as in columns.Number

    def values(self, cells: Cells, table: Notation = UNTOLD) -> np.ndarray:
        """Labels (N,) as whole numbers, −1 where there is none of the classes; or numbers (N,), NaN for none."""
        if self.classes is None:
            return notation.read(cells, self.comma, table, self.unit).values
        words, codes = cells.distinct()
        return np.array(places_of(words, self.classes), np.int64)[codes]

    def doubts(self, cells: Cells, table: Notation = UNTOLD) -> list[str]:
        """What is in doubt about these numbers."""
        return [] if self.classes else notation.read(cells, self.comma, table, self.unit).told(self.name)

    def notes(self) -> dict[str, Any]:
        return asdict(self)


def target_of(notes: Mapping[str, Any]) -> Target:
    return Target(**notes)


def decide(table: Table, name: str, task: str | None = None) -> Target:
    """Whether the target is a class or a number; `task` "classification" or "regression" says so.

    Text and booleans are classes, and so are whole numbers that look like codes: two of them, or a few from 0 or 1 on,
    none of them rare. Other numbers are a quantity. TableError for an identifier, text among numbers, a single class.
    """
    if task is not None:
        gate.one_of(task, ("classification", "regression"), "task")
    cells, unit = _without_unit(table[name], task)
    found = _decide(table, name, task, cells, unit)
    return found if found.classes is None or not unit else _decide(table, name, task, table[name], "")


def _decide(table: Table, name: str, task: str | None, cells: Cells, unit: str) -> Target:
    """The same for these cells of the target, which are without this unit behind them."""
    words, codes = cells.distinct()
    counts = np.bincount(codes, minlength=len(words))
    present = {word: int(n) for word, n in zip(words, counts) if word.lower() not in NEVER_A_CLASS}
    rows = sum(present.values())
    missing = len(cells) - rows
    where = table.names.index(name)

    def refuse(row: int, what: str) -> TableError:
        return TableError([f"{table.place(row, where)}: {what}"])

    if not rows:
        raise refuse(0, f"column {where + 1} ({shown(name)}) has no value in any row{_with_values(table)}")
    if rows < 3:
        raise refuse(len(cells) - 1, "too few rows to hold some back for testing; give 3 or more with a target")
    comma, values = _style(table, cells, set(present))
    wrong = [word for word in present if not np.isfinite(_value(word, comma))]
    if wrong and len(present) > 1 and task != "classification" and _dates(present):
        what = f"the target {shown(name)} holds dates or times, which cannot be predicted"
        rest = ", or take each for a class: --task classification" if task is None else ""
        what += f"; turn them into numbers, such as days, or give another with --target, of {_others(table, name)}"
        raise refuse(0, what + rest)
    total_wrong = sum(present[word] for word in wrong)
    if wrong and task != "classification" and (task == "regression" or (2 * total_wrong < rows and not cells.padded())):
        rest = ", or take every text for a class: --task classification" if task is None else ""
        problems = []
        for word in wrong[:MOST_TOLD]:
            row = int(np.argmax(codes == words.index(word)))
            problems.append(f"{table.place(row, where)}: {no_number(word)}{rest}")
        raise TableError(problems)
    if len({*spellings(present).values()}) == 1:
        only, *_ = present
        what = f"the target holds one class only, {shown(only)}; expected two or more"
        raise refuse(int(np.argmax(codes == words.index(only))), what)
    if wrong or (cells.padded() and task != "regression"):
        if len(present) > rows / 2 and rows >= columns.FEW and task is None:
            what = f"the target {shown(name)} names the rows: {len(present):,} different values in {rows:,} rows"
            raise refuse(0, f"{what}; give another with --target, of {_others(table, name)}")
        top, ns = words[codes[0]], [n for word, n in present.items() if word != words[codes[0]]]
        if not table.header and table.source and present.get(top) == 1 and min(ns) > 1:
            what = f"this may be a header, or the only row of the class {shown(top)}"
            raise refuse(0, f"{what}: say --header yes or --header no")
        classes = sorted({*spellings(present).values()})
        return Target(name, f"text, {count(len(classes), 'value')}", classes, None, missing)
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
        alike = "differs only after the 16th digit" if differ(present) else "is always the same"
        raise refuse(0, f"the target {alike}; there is nothing to learn")
    if too_large(numbers):
        row = int(np.argmax(np.isin(codes, [words.index(w) for w in present if too_large(_one(w, comma))])))
        what = f"{shown(words[codes[row]])} is too large to be squared"
        raise refuse(row, f"{what}; give the target {shown(name)} in another unit, or its logarithm")
    if whole and distinct <= MOST_CLASSES:
        why = f"whole numbers, {count(distinct, 'value')} that look like counts (--task classification for classes)"
    else:
        why = f"numbers, {count(distinct, 'value')}"
    why += (", decimal commas" if comma else "") + (f", {columns.in_unit(unit)}" if unit else "")
    return Target(name, why, None, comma, missing, unit)


def _without_unit(cells: Cells, task: str | None) -> tuple[Cells, str]:
    """The cells without the text behind all of their numbers, and this text; few different ones are classes."""
    unit = "" if task == "classification" or not np.isnan(cells.numbers()).any() else columns.behind(cells)
    if not unit:
        return cells, ""
    words, codes = cells.distinct()
    bare = [written.without(word, unit) for word in words]
    numbers = [np.array([written.parsed(word, comma) for word in bare]) for comma in (False, True)]
    if task is None and max(len(np.unique(each[np.isfinite(each)])) for each in numbers) <= MOST_CLASSES:
        return cells, ""
    return Texts([bare[code] for code in codes]), unit


def no_number(text: str) -> str:
    """What is said of a text in a target of numbers."""
    return f"the text {shown(text)} in a target of numbers; expected a number: correct it, or leave it empty"


def _style(table: Table, cells: Cells, present: set[str]) -> tuple[bool | None, np.ndarray]:
    """How the numbers of the target are written, and what they are (N,)."""
    values, comma, _ = notation.read(cells, None, table.notation.in_training())
    if all(np.isfinite(_value(word, comma)) for word in present):
        return comma, values
    return None, cells.numbers()


def _value(word: str, comma: bool | None) -> float:
    return number(word) if comma is None else written.parsed(word, comma)


def _one(word: str, comma: bool | None) -> np.ndarray:
    return np.array([_value(word, comma)])


def _dates(present: Mapping[str, int]) -> bool:
    """Whether all of these texts are dates."""
    return any(all(written.date(text, first) is not None for text in present) for first in (False, True))


def _with_values(table: Table) -> str:
    """Which column may be meant in the place of one without a value."""
    meant = [name for name, cells in zip(table.names, table.columns) if _has_value(cells)]
    return f"; the last column with values is {shown(meant[-1])}: name it with --target" if meant else ""


def _has_value(cells: Cells) -> bool:
    return any(word.lower() not in NEVER_A_CLASS for word in cells.distinct()[0])


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
