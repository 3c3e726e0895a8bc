"""What a column of a table is taken as, and the numbers that a network reads in its place.

A column is decided upon once, with the rows to learn from; later tables are then read in the same way. A missing value
is filled, with the median or the most frequent value, and a column of its own says so. N = rows
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from . import notation, written
from .cells import MISSING, Cells, Numbers
from .notation import UNTOLD, Notation
from .reading import count, shown
from .scaling import too_large
from .values import differ, merged, places_of, spellings, truth, yes_or_no

MOST_VALUES = 1000  # of a category, each with a column of its own; fewer if that is more than MOST_NUMBERS numbers
FEWEST_VALUES, MOST_NUMBERS = 50, 2**24  # 128 MB, of which a training has several copies
SURE = 0.95  # of the cells that are not missing must be numbers, or dates, for a column to be taken as such
HALF = 0.5  # of them must be numbers if all others hold one and the same word, which then stands for a gap
DIFFERENT = 3  # numbers at least if a text stands behind all of them; 36 months and 60 months are categories
FEW = 10  # rows; with fewer, values that are all different mean nothing
SOME = 20  # values, of which one must be a date before all of a column are read as such
MOST_DAYS = 1900_01_01, 2100_12_31  # between which numbers such as 20150131 may be dates
DATED, DAYS = 20, 10  # cells, and different ones among them, at least for them to be such
ROW_NAMES = ("row names", "rownames", "row.names", "unnamed: 0", "index")
IDENTIFIER = re.compile(r"(?i)(.*[_ .])?(id|uuid|guid)|.*[a-z]I[Dd]|ID.*")


class UnreadableError(ValueError):
    """No cell of a column can be read, of those that hold something; `row` is that of the first."""

    def __init__(self, what: str, row: int) -> None:
        super().__init__(what)
        self.row = row


@dataclass
class Column:
    """What a column is taken as, and why."""

    kind: ClassVar[str]
    name: str
    why: str
    missing: int = 0  # cells without a value

    @property
    def features(self) -> list[str]:
        """The names of the columns of numbers that stand in its place."""
        return []

    def encode(self, cells: Cells, table: Notation = UNTOLD) -> tuple[np.ndarray, list[str]]:
        """Cells of N rows -> numbers (N, features), and what could not be read or was never seen in training.

        table: what the other columns tell of how it is written. UnreadableError if there is no number, or date, in a
        column that needs them.
        """
        return np.zeros((len(cells), 0)), []

    def notes(self) -> dict[str, Any]:
        """What a model file keeps of it."""
        return {"kind": self.kind} | asdict(self)


@dataclass
class LeftOut(Column):
    kind = "left out"


@dataclass
class Number(Column):
    """A number; `comma` says how it is written, None as Python writes it, and `flag` that a column tells gaps.

    unit: the signs beside it, such as % or $, or the text behind it, such as km. truths: whether all were 0 or 1, so
    that yes and no are such numbers. gap: a word of its own for a missing value, such as unknown.
    """

    kind = "number"
    comma: bool | None = None
    fill: float = 0.0
    flag: bool = False
    unit: str = ""
    truths: bool = False
    gap: str = ""

    @property
    def features(self) -> list[str]:
        return [self.name, *([f"{self.name} is missing"] if self.flag else [])]

    def numbers(self, cells: Cells, table: Notation = UNTOLD) -> np.ndarray:
        """(N,), NaN where there is none."""
        return self._read(cells, table)[0]

    def _read(self, cells: Cells, table: Notation) -> tuple[np.ndarray, list[str]]:
        """The numbers (N,), NaN where there is none, and what is in doubt about them."""
        reading = notation.read(cells, self.comma, table, self._behind(cells))
        found, told = reading.values, reading.told(self.name)
        unread = np.flatnonzero(np.isnan(found))
        if self.truths and len(unread):
            words, codes = cells.take(unread).distinct()
            known = [truth(word) for word in words]
            found = found.copy()
            found[unread] = np.array([np.nan if each is None else float(each) for each in known])[codes]
        return found, told

    def encode(self, cells: Cells, table: Notation = UNTOLD) -> tuple[np.ndarray, list[str]]:
        values, doubts = self._read(cells, table)
        x, told = self._filled(values, cells)
        return x, doubts + told + (self._other_unit(cells) if np.isfinite(values).any() else [])

    def _behind(self, cells: Cells) -> str:
        """The text behind the numbers here: that of the training, or the only other one where that is not."""
        if not (self.unit and written.is_behind(self.unit)) or isinstance(cells, Numbers):
            return ""
        found = {written.behind(word) for word in cells.distinct()[0]} - {""}
        return self.unit if self.unit in (*found, *written.EXPONENTS) else found.pop() if len(found) == 1 else ""

    def _other_unit(self, cells: Cells) -> list[str]:
        """Whether the numbers have another unit than in training: 50 % may be 50 or 0.5."""
        found = self._behind(cells) or unit_of(cells)
        if not written.may_differ(found, self.unit):
            return []
        here, before = (f"with {shown(each)} beside it" if each else "without a sign" for each in (found, self.unit))
        return [f"{self.name}: written {here}, and in training {before}; the number is taken as it stands"]

    def _filled(self, values: np.ndarray, cells: Cells) -> tuple[np.ndarray, list[str]]:
        """Values (N,) -> (N, features) without gaps; told is how many cells are no value of this kind."""
        gaps = ~np.isfinite(values)
        told = []
        if gaps.any():
            rows = np.flatnonzero(gaps)
            words, codes = cells.take(rows).distinct()
            nothing = MISSING | {self.gap.lower()}
            strange = np.array([word.lower() not in nothing for word in words])[codes]
            if strange.any():
                row, text = int(rows[strange.argmax()]), shown(words[codes[strange.argmax()]])
                if gaps.all():
                    what = f"no cell of {shown(self.name)} is a {self.kind}, which the model reads there: {text}"
                    raise UnreadableError(f"{what}; write {self.kind}s, or leave cells empty", row)
                where = f"in {strange.sum():,} of {len(cells):,} cells, such as {text}"
                told.append(f"{self.name}: no {self.kind} {where}; taken as missing")
        columns = [np.where(gaps, self.fill, values)]
        return np.stack([*columns, *([gaps.astype(float)] if self.flag else [])], axis=1), told


@dataclass
class Date(Number):
    """A date: days since 1970, and its place in the year, the week and the day, as far as these change.

    A time of day is a part of one.
    """

    kind = "date"
    day_first: bool = False
    wheels: list[str] = field(default_factory=list)

    @property
    def features(self) -> list[str]:
        turns = [f"{self.name} {part} of the {wheel}" for wheel in self.wheels for part in ("sine", "cosine")]
        return super().features + turns

    def numbers(self, cells: Cells, table: Notation = UNTOLD) -> np.ndarray:
        words, codes = cells.distinct()
        days = written.days(words, self.day_first)
        strange = any(gap and word.lower() not in MISSING for word, gap in zip(words, np.isnan(days)))
        elsewhere = table.day_first is not None and table.day_first != self.day_first  # the other columns tell
        if strange or elsewhere:
            other = written.days(words, not self.day_first)
            hits, others = (int(np.isfinite(found[codes]).sum()) for found in (days, other))
            if hits < SURE * others or (elsewhere and hits == others):
                days = other  # the table has the other order, and not only a slip
        return days[codes]

    def encode(self, cells: Cells, table: Notation = UNTOLD) -> tuple[np.ndarray, list[str]]:
        x, told = self._filled(self.numbers(cells, table), cells)
        return np.hstack([x, *(written.turn(x[:, 0], wheel) for wheel in self.wheels)]), told


@dataclass
class Category(Column):
    """Text: a column of 0 and 1 for each of its `values`. With `others`, all of them are 0 for the rarer values."""

    kind = "category"
    values: list[str] = field(default_factory=list)
    fill: str = ""  # the most frequent value, in the place of a missing one
    others: bool = False
    flag: bool = False

    @property
    def features(self) -> list[str]:
        names = [f"{self.name} is {value}" for value in self._columns]
        return [*names, *([f"{self.name} is missing"] if self.flag else [])]

    @property
    def _columns(self) -> list[str]:
        """The values with a column: of two, the second tells both apart."""
        return self.values[1:] if len(self.values) == 2 and not self.others else self.values

    def encode(self, cells: Cells, table: Notation = UNTOLD) -> tuple[np.ndarray, list[str]]:
        words, codes = cells.distinct()
        places = np.array(places_of(words, self.values), np.int64)  # (words,)
        missing = np.array([word.lower() in MISSING for word in words], bool) & (places < 0)
        new = (places < 0) & ~missing
        told = []
        if new.any() and not self.others:
            what = f"{count(int(new.sum()), 'value')} never seen in training, such as {shown(words[new.argmax()])}"
            told.append(f"{self.name}: {what}, in {new[codes].sum():,} of {len(cells):,} cells; taken as missing")
        gaps = missing if self.others else missing | new
        if self.fill in self.values:
            places[gaps] = self.values.index(self.fill)
        places -= len(self.values) - len(self._columns)
        found = np.zeros((len(words), len(self.features)))
        found[np.flatnonzero(places >= 0), places[places >= 0]] = 1
        if self.flag:
            found[:, -1] = gaps
        return found[codes], told


KINDS: Mapping[str, type[Column]] = {kind.kind: kind for kind in (LeftOut, Number, Date, Category)}


def column_of(notes: Mapping[str, Any]) -> Column:
    """The column that `notes` describe; TypeError or KeyError if they are not its own."""
    rest = dict(notes)
    return KINDS[rest.pop("kind")](**rest)


def unit_of(cells: Cells) -> str:
    """The signs beside the numbers in these cells, such as % or $; for durations, seconds."""
    if isinstance(cells, Numbers):
        return cells.unit
    unread = np.flatnonzero(np.isnan(cells.numbers()))
    return written.unit(cells.take(unread).distinct()[0]) if len(unread) else ""


def behind(cells: Cells) -> str:
    """The one text behind nearly all numbers in these cells, such as km/h; "" if there are several, or none.

    Powers of ten, such as K and M, are one of written.EXPONENTS.
    """
    words, codes = cells.distinct()
    found = [written.behind(word) for word in words]
    if not any(found):
        return ""
    counts = np.bincount(codes, minlength=len(words)).tolist()
    values = [written.parsed(word) for word in words]
    alone = sum(n for value, n in zip(values, counts) if np.isfinite(value) and value != 0)  # 0 is 0 in any unit
    texts: Counter[str] = Counter()
    for text, n in zip(found, counts):
        texts[text] += n * bool(text)
    beside = texts.total()
    for unit, exponents in written.EXPONENTS.items():
        mine = [(word, text, n) for word, text, n in zip(words, found, counts) if text in exponents]
        if mine and sum(n for *_, n in mine) >= SURE * beside and _are_powers(unit, mine, alone):
            return unit
    (unit, most), *_ = texts.most_common()
    return unit if most == beside and beside >= SURE * (alone + beside) else ""


def _are_powers(unit: str, cells: list[tuple[str, str, int]], alone: int) -> bool:
    """Whether powers of ten of this unit stand in these cells, and are no codes.

    cells: the different ones, the text behind the number of each, and how often it is there. alone: how many other
    cells are numbers with nothing behind. Behind few of the numbers, powers are slips.
    """
    texts, total = {text for _, text, _ in cells}, sum(n for *_, n in cells)
    several = len({written.EXPONENTS[unit][text] for text in texts}) > 1
    if unit == written.BYTES:
        return several and not alone
    close = texts <= {"K", "k", "M"} and not any(word[-2].isspace() for word, *_ in cells)  # 300 K is a temperature
    amounts = sum(n for word, _, n in cells if written.like_an_amount(word))
    return (several or close) and 3 * amounts >= total >= (1 - SURE) * (alone + total)


def in_unit(unit: str) -> str:
    """What is said of numbers with such a text behind them."""
    return f"powers of ten such as {unit}" if unit in written.EXPONENTS else f"in {shown(unit)}"


def _mixed_signs(cells: Cells, values: np.ndarray) -> str:
    """Which signs are beside some of the numbers (N,) only: 12 % among 0.5, or dollars among euros."""
    words, codes = cells.distinct()
    first = np.unique(codes, return_index=True)[1]  # (words,), a row of each
    numbers = np.flatnonzero(np.isfinite(values[first]) & (values[first] != 0))  # nothing is nothing in any unit
    signs = sorted({written.unit([words[i]]) for i in numbers})
    if any(written.may_differ(*pair) for pair in combinations(signs, 2)):
        beside = " and ".join(shown(sign) for sign in signs if sign)
        return f"with {beside} beside some of them, taken as they stand"
    return ""


# ---- deciding -------------------------------------------------------------------------------------------------------


def decide(
    name: str,
    cells: Cells,
    rows: np.ndarray,
    first: bool = False,
    table: Notation = UNTOLD,
    wanted: str = "",
) -> Column:
    """What a column is. Its kind comes from all cells; fills and categories from these rows, those to learn from.

    first: whether it is the first column, where row names stand; table: how it is written; wanted: the kind that
    the user asked for, "number" or "category".
    """
    values = cells.numbers()
    left_out = None if wanted else counts_rows(name, cells, values, first)
    if left_out:
        return left_out
    if not wanted and _like_days(cells, values):
        days = _date(name, cells, rows, table)
        if days:
            days.why += ", of numbers such as 20150131" if isinstance(days, Date) else ""
            return days
    if wanted != "category":
        found = _number(name, cells, values, rows, table, bool(wanted))
        found = found or (None if wanted else _date(name, cells, rows, table))
        if found:
            return found
    return _category(name, cells, cells.take(rows), bool(wanted))


def counts_rows(name: str, cells: Cells, values: np.ndarray, first: bool) -> LeftOut | None:
    """For a column, of these numbers (N,), that only counts or names the rows."""
    if len(cells) < FEW:
        return None
    if values[0] in (0, 1) and (values == values[0] + np.arange(len(values))).all():
        return LeftOut(name, "counts the rows")
    named = first and name.lower() in ROW_NAMES
    if named or IDENTIFIER.fullmatch(name):
        words, codes = cells.distinct()
        if len(words) == len(codes) and (named or not np.isfinite(values).all() or (values == np.floor(values)).all()):
            return LeftOut(name, "names the rows" if named else "an identifier: every row has another one")
    return None


def _gaps(cells: Cells, values: np.ndarray) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Of values (N,): which are NaN because nothing is there (N,); the other texts that are no number, and where."""
    unread = np.isnan(values)
    missing, strange = np.zeros(len(values), bool), np.zeros(len(values), bool)
    if not unread.any():
        return missing, [], strange
    words, codes = cells.take(np.flatnonzero(unread)).distinct()
    empty = np.array([word.lower() in MISSING for word in words], bool)[codes]
    missing[unread], strange[unread] = empty, ~empty
    return missing, [word for word in words if word.lower() not in MISSING], strange


def _alike(values: np.ndarray, known: np.ndarray) -> str:
    """What is said of values (N,) of which those to learn from, `known`, are all the same."""
    differs = (values[~np.isnan(values)] != known[0]).any()
    return "always the same" + (" in the rows to learn from" if differs else "")


def _gap(words: list[str], values: np.ndarray) -> str:
    """The word that stands for a gap, if all texts among different numbers (N,) are the same, such as unknown."""
    alone = len({word.lower() for word in words}) == 1 and truth(words[0]) is None
    return words[0] if alone and len(np.unique(values[np.isfinite(values)])) > 1 else ""


def _number(
    name: str, cells: Cells, values: np.ndarray, rows: np.ndarray, table: Notation, wanted: bool
) -> Column | None:
    """For a column of numbers (N,). A few cells that are none count as missing, and more if all hold the same word.

    Codes such as 007 are no numbers.
    """
    if not wanted and cells.padded():
        return None
    style: bool | None = None
    unit = gap = ""
    missing, words, strange = _gaps(cells, values)
    if words or table.commas:
        unit = behind(cells)
        values, style, _ = notation.read(cells, None, table.in_training(), unit)
        missing, words, strange = _gaps(cells, values)
        if unit and not wanted and len(np.unique(values[np.isfinite(values)])) < DIFFERENT:
            return None
        gap = _gap(words, values)
        if not wanted and strange.sum() > (1 - (HALF if gap else SURE)) * (~missing).sum():
            return None
        if not wanted and yes_or_no([*words, "0", "1"]) and np.isin(values[~np.isnan(values)], (0, 1)).all():
            return None  # yes and no, some of them as 1 and 0
    if missing.all():
        return LeftOut(name, "has no value", len(cells))
    infinite = np.isinf(values)
    if too_large(values[~infinite]):
        return LeftOut(name, "has numbers too large to be squared", int(missing.sum()))
    told = ["" if style is None else "decimal commas" if style else "" if unit else "signs or groups of digits"]
    if unit:
        told += [in_unit(unit), _mixed_signs(cells, values)]
    else:
        unit = unit_of(cells)
        told.append("seconds" if unit == "seconds" else _mixed_signs(cells, values) if unit else "")
    if words:
        told.append(f"{int(strange.sum()):,} of its cells are no numbers, such as {shown(words[0])}: missing")
    if infinite.any():
        told.append(f"{int(infinite.sum()):,} of its cells are infinite: missing")
    known = values[rows]
    known = known[np.isfinite(known)]
    gaps = len(known) < len(rows)
    if not len(known):
        return LeftOut(name, "has no number in the rows to learn from", int(missing.sum()))
    if not gaps and (known == known[0]).all():
        alike = _alike(values, known)
        if differ(cells.take(rows).distinct()[0]):
            alike = "differs only after the 16th digit"
        return LeftOut(name, alike, int(missing.sum()))
    fill = float(np.median(known))
    if gaps:
        told.append(f"filled with the median, {fill:.6g}")
    why = ", ".join(filter(None, told)) or "numbers"
    truths = bool(np.isin(known, (0, 1)).all())
    return Number(name, why, int((~np.isfinite(values)).sum()), style, fill, gaps, unit, truths, gap)


def _like_days(cells: Cells, values: np.ndarray) -> bool:
    """Whether nearly all cells, of these numbers (N,), are dates such as 20150131."""
    known = values[~np.isnan(values)]
    low, high = MOST_DAYS
    if len(known) < DATED or ((low <= known) & (known <= high)).mean() < SURE:
        return False
    words, codes = cells.distinct()
    held = np.array([word.lower() not in MISSING for word in words])[codes]
    days = np.isfinite(written.days(words, False))[codes]
    return bool(days.sum() >= max(DATED, SURE * held.sum())) and len(np.unique(codes[days])) >= DAYS


def _date(name: str, cells: Cells, rows: np.ndarray, table: Notation) -> Column | None:
    """For a column of dates."""
    present = [word for word in cells.distinct()[0] if word.lower() not in MISSING]
    some = present[:: len(present) // SOME + 1]  # a word that is no date, such as 0000-00-00, may come first
    if all(written.date(word) is None and written.date(word, True) is None for word in some):
        return None
    days, other, day_first = written.days(present, False), written.days(present, True), False
    either = np.isnan(days).sum() == np.isnan(other).sum() and not np.array_equal(days, other, equal_nan=True)
    if np.isnan(other).sum() < np.isnan(days).sum() or (either and table.day_first):
        days, day_first = other, True
    if np.isnan(days).mean() > 1 - SURE:
        return None
    column = Date(name, "", 0, day_first=day_first)
    all_days = column.numbers(cells, table)
    known = all_days[rows]
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    if (known == known[0]).all():
        return LeftOut(name, _alike(all_days, known))
    whole = np.floor(known)
    near = len(np.unique(whole % 7)) > 1 and np.median(np.abs(np.diff(np.unique(whole)))) < 7
    turns = {"year": np.ptp(known) > 60, "week": near, "day": (known != whole).any()}
    column.wheels = [wheel for wheel, may in turns.items() if may and written.goes_round(known, wheel)]
    # The median, but a date that is there: the middle of two may lie in a season without any.
    column.fill, column.missing = float(np.sort(known)[(len(known) - 1) // 2]), int(np.isnan(all_days).sum())
    column.flag = len(known) < len(rows)
    wheels = f", place in {' and '.join(column.wheels)}" if column.wheels else ""
    assumed = ", month before day (assumed)" if either and table.day_first is None else ""
    order = ", day before month" if day_first else assumed
    what = "time of day" if (whole == 0).all() else f"days since 1970{wheels}{order}"
    column.why = what + (", filled with the median" if column.flag else "")
    return column


def _category(name: str, cells: Cells, seen: Cells, wanted: bool) -> Column:
    """For a column of text."""
    words, codes = cells.distinct()
    counts = np.bincount(codes, minlength=len(words))
    written_so = {word: int(n) for word, n in zip(words, counts) if word.lower() not in MISSING}
    same = spellings(written_so)
    present = merged(written_so, same)
    missing = len(cells) - sum(present.values())
    if not present:
        return LeftOut(name, "has no value", missing)
    if len(present) == 1 and not missing:
        return LeftOut(name, "always the same")
    if not wanted and len(cells) >= FEW and len(present) == len(cells) - missing:
        return LeftOut(name, "every value is another: names or free text", missing)
    here, codes = seen.distinct()
    counts = np.bincount(codes, minlength=len(here))
    found = {word: int(n) for word, n in zip(here, counts) if word.lower() not in MISSING}
    found = merged(found, same)
    gaps = len(seen) > sum(found.values())
    frequent = sorted((word for word, n in found.items() if n > 1 or wanted), key=lambda word: (-found[word], word))
    most = min(MOST_VALUES, max(FEWEST_VALUES, MOST_NUMBERS // len(cells)))
    values = sorted(frequent[:most], key=str.lower if yes_or_no(present) else None)
    covered = sum(found[value] for value in values)
    if not values or (not wanted and covered < sum(found.values()) / 2):
        return LeftOut(name, f"text: {len(present):,} different values in {len(cells):,} rows", missing)
    if len(values) < 2 and not gaps and len(found) < 2:
        return LeftOut(name, "always the same in the rows to learn from", missing)
    others = len(found) - len(values)
    why = "yes or no" if yes_or_no(found) and len(found) == 2 else f"text, {count(len(found), 'value')}"
    why += f", the rarest {others:,} as one" if others else ""
    why += f", missing taken as {shown(frequent[0])}" if gaps else ""
    return Category(name, why, missing, values, frequent[0], bool(others), gaps)
