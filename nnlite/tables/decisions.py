"""Decisions: what each column of a table is taken as, for training and for every later table. N rows, D features."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import columns
from .columns import Column, LeftOut, column_of
from .notation import Notation
from .reading import Table, TableError, count, listed, shown
from .target import Target, target_of


@dataclass(repr=False)
class Decisions:
    """What the columns of a table are taken as, and what its target is; it shows itself as a table."""

    names: list[str]  # of all columns of the table, the target's among them
    columns: list[Column]  # of all columns but the target
    target: Target | None
    header: bool
    told: list[str] = field(default_factory=list)

    @property
    def features(self) -> list[str]:
        """The names of the D numbers that a network reads."""
        return [name for column in self.columns for name in column.features]

    @property
    def groups(self) -> dict[str, list[int]]:
        """The features that stand for each column, by number: name -> places among the D."""
        places, found = iter(range(len(self.features))), {}
        for column in self.columns:
            if column.features:
                found[column.name] = [next(places) for _ in column.features]
        return found

    def encode(self, table: Table) -> tuple[np.ndarray, list[str]]:
        """Any table with these columns, in any order -> x (N, D), and what was ignored, filled or never seen before.

        TableError if a column is missing, or if none of its cells can be read.
        """
        x, told = self.encode_cells(table)
        return x, self.ignored(table) + told

    def encode_cells(self, table: Table) -> tuple[np.ndarray, list[str]]:
        """The same, but without a word on columns that are ignored."""
        cells = self._matched(table)
        parts, told, problems, written = [], [], [], self.notation_of(table)
        for column in self.columns:
            if not isinstance(column, LeftOut):
                read = cells[column.name]
                try:
                    x, more = column.encode(read, written)
                except columns.UnreadableError as error:
                    at = next(i for i, each in enumerate(table.columns) if each is read)
                    problems.append(f"{table.place(error.row, at)}: {error}")
                    continue
                parts.append(x)
                told += more
        if problems:
            raise TableError(problems)
        return np.hstack(parts) if parts else np.zeros((table.rows, 0)), told

    def notation_of(self, table: Table) -> Notation:
        """How the table is written; where dates had several orders in training, one column does not tell another's."""
        orders = {column.day_first for column in self.columns if isinstance(column, columns.Date)}
        return table.notation if len(orders) < 2 else table.notation._replace(day_first=None)

    def ignored(self, table: Table) -> list[str]:
        """What is said of the columns that the table has beyond these, if they are compared by name."""
        known = set(self.names)
        extra = [name for name in table.names if name not in known] if self.header and table.header else []
        return [f"ignored: {listed(extra)}"] if extra else []

    def _matched(self, table: Table) -> dict[str, Any]:
        """The cells of each column that is used, by its name here; by place if one of the tables has no header."""
        used = [column.name for column in self.columns if not isinstance(column, LeftOut)]
        goal = self.target.name if self.target else None
        if self.header and table.header:
            cells = dict(zip(table.names, table.columns))
            missing = [name for name in used if name not in cells]
            if missing:
                row = table.place(0, 0).rsplit(":", 2)[0]
                problems = [
                    f"{row}:1:1: there is no column {shown(name)}, which the model reads" for name in missing[:5]
                ]
                more = f" (and {len(missing) - 5} more columns)" if len(missing) > 5 else ""
                problems[-1] += f"{more}; the table has {listed(table.names)}{table.among()}"
                raise TableError(problems)
            return {name: cells[name] for name in used}
        for names in (self.names, [name for name in self.names if name != goal], used):
            if len(names) == len(table.names):
                cells = dict(zip(names, table.columns))
                return {name: cells[name] for name in used}
        what = (
            f"{count(len(table.names), 'column')}, but the model was trained on {len(self.names)}: {listed(self.names)}"
        )
        raise TableError([f"{table.place(0, len(table.names))}: {what}"])

    def __str__(self) -> str:
        rows = [("column", "taken as", "missing", "why")]
        rows += [(c.name, c.kind, f"{c.missing:,}" if c.missing else "", c.why) for c in self.columns]
        if self.target:
            kind = "target: number" if self.target.classes is None else "target: class"
            missing = f"{self.target.missing:,}" if self.target.missing else ""
            rows.append((self.target.name, kind, missing, self.target.why))
        cut = [[text if len(text) <= 30 else text[:29] + "…" for text in row[:3]] + [row[3]] for row in rows]
        wide = [max(len(row[i]) for row in cut) for i in range(3)]
        lines = [f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:>{wide[2]}}  {d}".rstrip() for a, b, c, d in cut]
        return "\n".join([*lines, *self.told])

    __repr__ = __str__

    def notes(self) -> dict[str, Any]:
        """What a model file keeps of them: `Decisions.of(notes)` makes the same decisions."""
        goal = self.target.notes() if self.target else None
        return {
            "names": self.names,
            "columns": [column.notes() for column in self.columns],
            "target": goal,
            "header": self.header,
        }

    @classmethod
    def of_numbers(cls, table: Table, width: int) -> Decisions:
        """For a model without decisions: the first columns of a table are its numbers, in their order.

        TableError if there are fewer or more than one more, the target, or if a cell is no number.
        """
        problems = []
        if not width <= len(table.names) <= width + 1:
            what = f"{count(len(table.names), 'column')} of features, but the model reads {width}"
            raise TableError([f"{table.place(0, min(width, len(table.names)))}: {what}"])
        for i, cells in enumerate(table.columns[:width]):
            wrong = np.flatnonzero(~np.isfinite(cells.numbers()))
            if len(wrong):
                text = cells.take(wrong[:1]).distinct()[0][0]
                problems.append(f"{table.place(int(wrong[0]), i)}: {shown(text)} is no number; correct it")
        if problems:
            raise TableError(problems)
        found: list[Column] = [columns.Number(name, "numbers") for name in table.names[:width]]
        return cls(list(table.names), found, None, table.header)

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Decisions:
        """ValueError if they are not such notes."""
        try:
            goal = notes["target"]
            found = [column_of(column) for column in notes["columns"]]
            return cls(list(notes["names"]), found, goal and target_of(goal), bool(notes["header"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"these are no notes of decisions: {error}") from error


def place_of(table: Table, name: str | int) -> str:
    """The column of this name, or of this number, from 0, negative from the end; TableError if there is none."""
    if name in table.names and (table.header or not isinstance(name, str)):
        return str(name)
    width = len(table.names)
    try:
        number = int(name)
    except ValueError:
        where = table.place(0, 0).rsplit(":", 2)[0]
        has = f"the table has {listed([*map(shown, table.names)])}{table.among()}"
        raise TableError([f"{where}:1:1: no column is called {name!r}; {has}"]) from None
    if not -width <= number < width:
        where = table.place(0, 0).rsplit(":", 2)[0]
        what = f"no column {number}: there are {width}, 0 … {width - 1} or {-width} … -1 from the end"
        raise TableError([f"{where}:1:1: {what}"])
    return table.names[number]


def decide(
    table: Table,
    goal: Target | None,
    rows: np.ndarray | None = None,
    categorical: Collection[str] = (),
    numeric: Collection[str] = (),
    ignore: Collection[str] = (),
) -> Decisions:
    """What each column of a table is taken as. Kinds come from all rows; fills and categories from these `rows`."""
    at = np.arange(table.rows) if rows is None else rows
    where = table.place(0, 0).rsplit(":", 2)[0]
    problems: list[str] = []
    given: dict[str, str] = {}
    for option, names, kind in (
        ("categorical", categorical, "category"),
        ("numeric", numeric, "number"),
        ("ignore", ignore, "left out"),
    ):
        if isinstance(names, str):  # whose letters would be taken for names
            raise TypeError(f"{option} must be a list of names such as [{names!r}], not {names!r}")
        for name in names:
            try:
                place = place_of(table, name)
            except TableError as error:
                problems += error.problems
                continue
            if given.setdefault(place, kind) != kind:
                both = f"both as {given[place]} and as {kind}"
                problems.append(f"{where}:1:1: the column {shown(place)} is asked for {both}")
    asked = dict.fromkeys(table.categorical, "category") | given
    found: list[Column] = []
    for i, (name, cells) in enumerate(zip(table.names, table.columns)):
        if goal and name == goal.name:
            continue
        if asked.get(name) == "left out":
            found.append(LeftOut(name, "as asked"))
            continue
        column = columns.decide(name, cells, at, i == 0, table.notation, asked.get(name, ""))
        if column.kind == asked.get(name):
            column.why += ", as asked"
        found.append(column)
    decisions = Decisions(list(table.names), found, goal, table.header, list(table.told))
    if not problems and not decisions.features:
        reasons = "; ".join(f"{column.name} {column.why}" for column in found[:5])
        usable = [c.name for c in found if c.name not in given and _as_number(table, c.name, at)]
        if usable:
            reasons += (
                f"; --numeric {shlex.quote(','.join(usable))} takes it all the same (in Python, numeric={usable})"
            )
        only = "the target is the only column; add columns of features before it"
        problems = [f"{where}:1:1: no column is left to learn from: {reasons}" if found else f"{where}:1:1: {only}"]
    if problems:
        raise TableError(problems)
    return decisions


def _as_number(table: Table, name: str, rows: np.ndarray) -> bool:
    """Whether a column that was left out could be a number if the user asked for it."""
    return bool(columns.decide(name, table[name], rows, table=table.notation, wanted="number").features)


def rows_with_target(values: np.ndarray) -> np.ndarray:
    """The numbers of the rows whose target (N,) is a class or a finite number."""
    return np.flatnonzero(values >= 0 if values.dtype.kind == "i" else np.isfinite(values))


def complete_rows(table: Table, decisions: Decisions, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Those of these rows in which no column that is used misses a value."""
    missing = np.zeros(table.rows, bool)
    for column in decisions.columns:
        if column.kind == "category":
            words, codes = table[column.name].distinct()
            missing |= np.array([word.lower() in columns.MISSING for word in words])[codes]
        elif isinstance(column, columns.Number):
            missing |= ~np.isfinite(column.numbers(table[column.name], decisions.notation_of(table)))
    rows = np.asarray(rows)
    return rows[~missing[rows]]
