"""From a table to arrays: which rows are learned from and which are held back, and what the columns are taken as."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from ..datasets import Split, split
from . import target as targets
from .decisions import Decisions, complete_rows, decide, place_of, rows_with_target
from .reading import Table, TableError, count, read


class Prepared(NamedTuple):
    """Decisions, and the arrays that they make: x (N, D), labels (N,) or numbers (N, 1), with some rows held back."""

    table: Table
    decisions: Decisions
    split: Split
    told: list[str]  # what was left out, filled or new in the rows held back


def prepare(
    data: Any,
    target: str | int = -1,
    task: str | None = None,
    header: bool | None = None,
    categorical: Collection[str] = (),
    numeric: Collection[str] = (),
    ignore: Collection[str] = (),
    drop_missing: bool = False,
    test: float = 0.2,
    seed: int = 0,
) -> Prepared:
    """Read a table (a file or a DataFrame), decide what its columns are, and hold back the part `test` of its rows.

    target: a name, or a number from 0, negative from the end. task: "classification" or "regression", None as the
    target looks. `categorical`, `numeric` and `ignore` name columns that are to be taken as such. `drop_missing` leaves
    out the rows that miss a value instead of filling it. Of every class, the same part is held back. TableError names
    all that is wrong, each with its remedy.
    """
    table = read(data, header, [target] if isinstance(target, str) else [])
    problems: list[str] = []
    goal = None
    try:
        goal = targets.decide(table, place_of(table, target), task)
    except TableError as error:
        problems += error.problems
    try:
        decisions = decide(table, goal, None, categorical, numeric, ignore)
    except TableError as error:
        raise TableError(problems + error.problems) from None
    if goal is None or problems:
        raise TableError(problems)
    values = goal.values(table[goal.name], table.notation)  # (N,)
    rows, told = rows_with_target(values), []
    if len(rows) < table.rows:
        told.append(f"left out: {count(table.rows - len(rows), 'row')} without a value of {goal.name!r}")
    if drop_missing:
        whole = complete_rows(table, decisions, rows)
        if len(whole) < len(rows):
            told.append(f"left out: {count(len(rows) - len(whole), 'row')} that miss a value")
        rows = whole
        if len(rows) < 3:
            where = table.place(0, 0)
            raise TableError([f"{where}: {count(len(rows), 'row')} miss no value, too few; leave --drop-missing out"])
    learn, _, held, _ = split(rows, values[rows], test, seed, stratify=None if goal.classes else False)
    decisions = decide(table, goal, learn, categorical, numeric, ignore)
    x, more = decisions.encode(table)  # (N, D)
    y = values if goal.classes else values[:, None]
    return Prepared(table, decisions, Split(x[learn], y[learn], x[held], y[held]), told + more)
