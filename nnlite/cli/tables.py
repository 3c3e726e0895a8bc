"""Tables: read a CSV file into arrays, with errors `file:line:column: …`, and scale columns to mean 0 and deviation 1.

An error counts lines and columns from 1; commas separate the columns. N rows, D features, K classes.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from ..files import CorruptFileError
from ..losses import LOSSES
from ..network import Sequential

MOST_CLASSES = 20  # a target of whole numbers with more different values is a quantity, not a class
FOR_CLASSES = {name for name, loss in LOSSES.items() if loss.target in ("probability", "class", "side")}
MISSING = ("na", "n/a", "#n/a", "null", "nil", "none", "missing", "?", "-", "--", ".")  # cells that mean: no value


class Table(NamedTuple):
    """A CSV file: the features as numbers, the target's cells as they are written."""

    path: str
    x: np.ndarray  # (N, D)
    y: list[str]  # N cells, or none if the file has no target
    features: list[str] | None  # D names; None if the file has no header
    target: str | None
    lines: list[int]  # N, the line where each row starts
    column: int  # the target's column from 0, -1 if there is none


# ---- reading ----------------------------------------------------------------------------------------------------


def read_csv(
    path: str, target: str | int | None = -1, needed: bool = True, features: Sequence[str] | None = None
) -> Table:
    """The table in a UTF-8 file with commas; ValueError `file:line:column: …` for the first mistake in it.

    target: a column's name, or its number from 0, negative from the end; None if all columns are features. If it is
    `needed`, the number may also be text, and a name that the header does not have is an error. The first row is a
    header if it names the target or all these `features`, or if a column of features has text there that does not mean
    a missing value.
    """
    rows = _cells(path)
    first_line, first = rows[0]
    if isinstance(target, str) and needed:
        with contextlib.suppress(ValueError):  # int() of a name
            number = int(target)
            if target not in first or -len(first) <= number < len(first):  # otherwise it is a name such as 2024
                target = number
    column = _target_column(path, first_line, first, target, needed)
    named = (isinstance(target, str) and column >= 0) or (bool(features) and set(features or ()) <= set(first))
    texts = [cell for i, cell in enumerate(first) if cell and i != column and _number(cell) is None]
    header = named or any(cell.lower() not in MISSING for cell in texts)
    if header:
        _check_names(path, first_line, first)
        rows = rows[1:]
        if not rows:
            _fail(path, first_line + 1, 1, "there are no rows under the header; add one row or more")
    chosen = [i for i in range(len(first)) if i != column]
    if not chosen:
        _fail(path, first_line, 1, "the target is the only column; add columns of features before it")
    return Table(
        path=path,
        x=np.array([[_feature(path, line, cells, i) for i in chosen] for line, cells in rows]),
        y=[cells[column] for _, cells in rows] if column >= 0 else [],
        features=[first[i] for i in chosen] if header else None,
        target=first[column] if header and column >= 0 else None,
        lines=[line for line, _ in rows],
        column=column,
    )


def select(table: Table, features: Sequence[str] | None, columns: int) -> np.ndarray:
    """x (N, columns) in the order of the features that a model was trained on; ValueError if the table has others."""
    line = 1 if table.features else table.lines[0]
    found = table.x.shape[1]
    if found != columns:
        names = f": {_listed(features)}" if features else ""
        where = min(found, columns) + 1
        _fail(table.path, line, where, f"{_count(found, 'column')} of features, but the model reads {columns}{names}")
    if features is None or table.features is None:
        return table.x
    known, place = set(features), {name: i for i, name in enumerate(table.features)}
    for i, name in enumerate(table.features):
        if name not in known:
            _fail(table.path, line, i + 1, f"the model knows no feature {_shown(name)}; it reads {_listed(features)}")
    if len(known) < len(features):
        raise ValueError(f"the model names a feature twice: {_listed(features)}")
    return table.x[:, [place[name] for name in features]]


def to_csv(rows: Sequence[Sequence[Any]]) -> str:
    """The text of a CSV file with these rows."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cells(path: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of each row. Rows are equally long, cells are stripped, and blank lines at the end are dropped."""
    text = _text(path)
    unquoted = re.sub('"[^"]*"', "", text.partition("\n")[0])
    for mark, marks in ((";", "semicolons"), ("\t", "tabs")):
        if 0 < unquoted.count(mark) >= unquoted.count(","):
            _fail(
                path, 1, 1, f"{marks} separate the columns; save it with commas between them and points in the numbers"
            )
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            rows.append((line, [cell.strip() for cell in cells]))
            line = reader.line_num + 1  # a quoted cell may run over several lines
    except csv.Error as error:
        _fail(path, line, 1, f"not a row of a CSV file: {error}; look for a quotation mark too many or too few")
    while rows and not any(rows[-1][1]) and len(rows[-1][1]) < 2:
        rows.pop()
    if not rows:
        _fail(path, 1, 1, "the file is empty; expected rows of numbers with commas between them")
    width = len(rows[0][1])
    for line, cells in rows:
        if len(cells) != width:
            found = _count(len(cells), "column") if cells else "an empty line"
            _fail(path, line, min(len(cells), width) + 1, f"{found}, but the first row has {width}; make them equal")
    return rows


def _text(path: str) -> str:
    try:
        data = _bytes(path)
    except FileNotFoundError:
        _fail(path, 1, 1, "there is no such file; check the name and the folder")
    except IsADirectoryError:
        _fail(path, 1, 1, "this is a folder; give a CSV file in it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, before.rpartition(b"\n")[2].count(b",") + 1
        _fail(path, line, column, f"the byte 0x{data[error.start]:02x} is not UTF-8; save the file in UTF-8")


def _bytes(path: str) -> bytes:
    """The bytes of a file or a pipe. A pipe into which nobody writes is an error, because reading would never end."""
    kind = os.stat(path).st_mode
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):  # reading a folder raises an error that says so
        return Path(path).read_bytes()
    if not stat.S_ISFIFO(kind):
        _fail(path, 1, 1, "this is a device and not a file; give a CSV file")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a blocking open would wait for a writer
    with open(handle, "rb", buffering=0) as pipe:
        start = pipe.read(1)  # None if a writer has not written yet, b"" if there is no writer
        if start == b"":
            _fail(path, 1, 1, "nobody writes into this pipe; give a CSV file")
        os.set_blocking(handle, True)
        return (start or b"") + pipe.readall()


def _target_column(path: str, line: int, first: list[str], target: str | int | None, needed: bool) -> int:
    """The target's column from 0, −1 if there is none."""
    width = len(first)
    if isinstance(target, int):
        if not -width <= target < width:
            _fail(
                path, line, 1, f"no column {target}: there are {width}, 0 … {width - 1} or {-width} … -1 from the end"
            )
        return target % width
    if target is None or (target not in first and not needed):
        return -1
    if target not in first:
        _fail(path, line, 1, f"no column is called {target!r}; the first row has {_listed([*map(_shown, first[:11])])}")
    return first.index(target)


def _check_names(path: str, line: int, names: list[str]) -> None:
    met: dict[str, int] = {}
    for i, name in enumerate(names):
        if not name:
            _fail(
                path,
                line,
                i + 1,
                "the header names no column here; give it a name, or remove it if it only counts rows",
            )
        if name in met:
            _fail(path, line, i + 1, f"column {met[name] + 1} is called {_shown(name)} too; give each its own name")
        met[name] = i


def _feature(path: str, line: int, cells: list[str], i: int) -> float:
    number = _number(cells[i])
    if not cells[i]:
        _fail(path, line, i + 1, "a value is missing; fill it in or remove the row")
    if number is None:
        _fail(path, line, i + 1, f"the text {_shown(cells[i])} in a column of features; expected a number")
    if not math.isfinite(number):
        _fail(path, line, i + 1, f"{_shown(cells[i])} is not a finite number; put one in its place or remove the row")
    return number


def _number(cell: str) -> float | None:
    """The number that a cell holds, None if it holds something else."""
    try:
        return float(cell) if "_" not in cell else None  # only Python reads 1_000 as a number
    except ValueError:
        return None


def _whole(cell: str) -> int:
    """The exact whole number that a cell holds: float() would turn 2⁵³ + 1 into 2⁵³."""
    try:
        return int(cell)
    except ValueError:  # 2.0, 1e3
        return int(float(cell))


def _shown(cell: str) -> str:
    return repr(_cut(cell))


def _cut(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"


def _listed(names: Sequence[str]) -> str:
    """The first ten names, with commas between them."""
    return ", ".join([*map(_cut, names[:10]), *(["…"] if len(names) > 10 else [])])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _fail(path: str, line: int, column: int, what: str) -> NoReturn:
    raise ValueError(f"{path}:{line}:{column}: {what}")


# ---- the target ---------------------------------------------------------------------------------------------------


def target(table: Table, loss: str | None = None) -> tuple[np.ndarray, list[str] | None]:
    """The target of a table: labels (N,) and the K names of the classes, or numbers (N, 1) and None.

    Text means classes. Whole numbers mean classes if they have few different values, or if the loss is for classes.
    """
    if len(table.y) < 3:
        _fail(table.path, table.lines[-1], 1, "too few rows to hold some back for testing; give 3 or more")
    numbers = [_number(cell) for cell in table.y]
    for line, cell, number in zip(table.lines, table.y, numbers):
        if not cell or (number is not None and not math.isfinite(number)):
            what = f"{_shown(cell)} is no value" if cell else "a value is missing"
            _fail(table.path, line, table.column + 1, f"{what} for the target; fill it in or remove the row")
    values = np.array([number for number in numbers if number is not None])
    if len(values) == len(numbers):
        whole = bool((values == np.floor(values)).all())
        distinct = sorted({_whole(cell) for cell in table.y} if whole else set(values.tolist()))
        few = whole and len(distinct) <= max(2, min(MOST_CLASSES, len(values) // 2))
        if loss in FOR_CLASSES and not whole:
            first = table.lines[int(np.argmax(values != np.floor(values)))]
            _fail(
                table.path, first, table.column + 1, f"loss {loss!r} is for classes: text or whole numbers; try 'mse'"
            )
        if not few and loss not in FOR_CLASSES:
            return values[:, None], None
        names = [str(value) for value in distinct]
        number_of = {value: i for i, value in enumerate(distinct)}
        labels = np.array([number_of[_whole(cell)] for cell in table.y])
    else:
        first = next(i for i, number in enumerate(numbers) if number is None)
        if len(values) > len(numbers) / 2:
            what = f"the text {_shown(table.y[first])} in a column of numbers; expected a number"
            _fail(table.path, table.lines[first], table.column + 1, what)
        counts = Counter(table.y)
        if table.features is None and counts[table.y[0]] == 1 and all(counts[y] > 1 for y in table.y[1:]):
            what = f"this may be a header of numbers, or the only row of the class {_shown(table.y[0])}"
            remedy = "if it is a header, name a column of features by text; if not, put a header above it"
            _fail(table.path, table.lines[0], table.column + 1, f"{what}: {remedy}")
        names = sorted(set(table.y))
        place = {name: i for i, name in enumerate(names)}
        labels = np.array([place[cell] for cell in table.y])
    if len(names) == 1:
        what = f"the target holds one class only, {_shown(names[0])}; expected two or more"
        _fail(table.path, table.lines[0], table.column + 1, what)
    return labels, names


# ---- scaling of columns -------------------------------------------------------------------------------------------


class Scale(NamedTuple):
    """Mean μ and standard deviation σ of each column (D,); σ is 1 where a column never changes."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Scale:
        """The scale of the rows x (N, D); ValueError if a column has numbers too large to be squared."""
        with np.errstate(over="ignore", invalid="ignore"):
            from_first = x - x[0]  # keeps the digits of 1e9 ± 1e-3, and makes a constant column exactly 0
            mean, deviation = x[0] + from_first.mean(axis=0), from_first.std(axis=0)
        if not np.isfinite(deviation).all():
            raise ValueError(f"column {int(np.argmin(np.isfinite(deviation))) + 1} has numbers too large to be squared")
        return cls(mean, np.where(deviation == 0, 1.0, deviation))

    def apply(self, x: np.ndarray) -> np.ndarray:
        """(x − μ) / σ, (N, D)."""
        return (x - self.mean) / self.deviation


def fold(net: Sequential, inputs: Scale, outputs: Scale | None = None) -> None:
    """Let a network trained on scaled columns read raw ones and answer in raw ones: the scales go into its weights.

    ((x − μ)/σ) W + b = x W′ + b′ with W′ = W/σ, b′ = b − (μ/σ) W for the first Dense layer;
    (h W + b) σ + μ = h W′ + b′ with W′ = W σ, b′ = b σ + μ for the last, if the network ends in it.
    """
    state = net.state_dict()
    names = [name.removesuffix(".W") for name in state if name.endswith(".W")]
    W, b = state[f"{names[0]}.W"], state[f"{names[0]}.b"]  # (D, units), (units,)
    b -= (inputs.mean / inputs.deviation) @ W
    W /= inputs.deviation[:, None]
    if outputs is not None:
        W, b = state[f"{names[-1]}.W"], state[f"{names[-1]}.b"]  # (units, K), (K,)
        W *= outputs.deviation
        b *= outputs.deviation
        b += outputs.mean
    net.load_state_dict(state)


def fold_noted(net: Sequential, path: str) -> None:
    """`fold` with the scales that a checkpoint of `nnlite train` notes; CorruptFileError if they do not fit."""
    scales = net.notes.get("scales") if isinstance(net.notes, dict) else None
    if scales is None:
        return
    try:
        x_scale, y_scale = (each and Scale(*np.array(each, np.float64)) for each in scales)
        if x_scale:
            fold(net, x_scale, y_scale)
    except (TypeError, ValueError, IndexError) as error:
        raise CorruptFileError(f"{path}: the scales of its columns do not fit the network: {error}") from error
