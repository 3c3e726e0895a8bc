"""Read a table from a file, a pipe or a frame: the names of its columns, and their cells as they are written.

Text is unpacked, decoded and cut at its separator. polars does this if it is installed and there are many rows;
Python's own csv does it otherwise, and also finds the line of a mistake. The two read the same table from the same
text, or refuse it alike.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import importlib
import importlib.util
import io
import logging
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from . import notation, written
from .cells import MISSING, Cells, Numbers, Polars, Texts, number
from .notation import Notation

INSTALL = 'pip install "nnlite[tables]"'
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas"}
SEPARATOR = re.compile(rb'"?sep=([\t;|,])"?\r?\n', re.IGNORECASE)  # a first line that tells Excel what it is
LARGE = 20_000_000  # bytes; a larger file is worth the installation of polars
MANY = 1000  # lines; a column of fewer is faster as Python's text, and a table may have thousands of columns
SAMPLE = 1 << 16  # bytes of a file in which its separator is looked for
OTHERS = {rb".*[\0-\x08]": "this is not text", rb'\s*(\[\s*)?\{\s*"': "this is JSON"}  # how no table of text begins
YEARS = 1800, 2100  # what a column may be called by
MOST_TOLD = 5  # mistakes of one kind
MOST_ABOVE = 20  # lines of text above a table
TRAILING = "the last column has neither a name nor a value, and was left out"


class TableError(ValueError):
    """What is wrong with a table, each with its remedy: `problems` are lines `file:line:column: …`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass
class Table:
    """Columns of N cells each. `names` are numbers from 1 if there is no header."""

    path: str
    names: list[str]  # D, each once
    columns: list[Cells]  # D
    header: bool
    told: list[str] = field(default_factory=list)  # what had to be decided to read it
    comma: bool | None = None  # whether its separator makes it likely that 1,5 is one and a half, or 1.5
    source: Source | None = None  # the text, for the lines of mistakes
    first: int = 0  # the row of the text from which the cells come, after those without cells
    categorical: Sequence[str] = ()  # the columns that a frame itself has as categories
    sheets: Sequence[str] = ()  # of an Excel file, of which this is the first

    @cached_property
    def notation(self) -> Notation:
        """How its numbers and dates are written, by the cells of all columns and what separates them."""
        return notation.of_table(self.columns, self.comma)

    @property
    def rows(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, name: str) -> Cells:
        return self.columns[self.names.index(name)]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def place(self, row: int, column: int) -> str:
        """`file:line:column` of a cell, for an error; without a text, its row instead of the line."""
        line = self.source.line(self.first + row) if self.source else row + 1
        return f"{self.path}:{line}:{column + 1}"

    def among(self) -> str:
        """Of which sheets it is the first, for an error about a column that is not there."""
        return f", on the first of the sheets {listed(self.sheets)}" if len(self.sheets) > 1 else ""

    def __repr__(self) -> str:
        return f"Table({self.path!r}, {self.rows:,} rows, {len(self.names)} columns)"


class Source(NamedTuple):
    """The text of a table, in UTF-8, and what separates its columns."""

    path: str
    data: bytes
    separator: str
    above: int = 0  # lines of the file before this text

    def parsed(self) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of each row by Python's csv, without blank lines at the end; TableError for broken quotes."""
        lines: Any = io.StringIO(self.data.decode(), newline="")
        if self.separator == " ":
            lines = (line.strip() + "\n" for line in lines)  # rows may be indented
        reader = csv.reader(lines, delimiter=self.separator, strict=True, skipinitialspace=self.separator == " ")
        line, blank = self.above + 1, []
        try:
            for cells in reader:
                if len(cells) < 2 and not "".join(cells).strip():
                    blank.append((line, cells))
                else:
                    yield from blank
                    yield line, cells
                    blank = []
                line = self.above + reader.line_num + 1  # a quoted cell may run over several lines
        except csv.Error as error:
            what = "not a row of a CSV file: {}; look for a quotation mark too many or too few"
            fail(self.path, line, 1, what.format(error))

    def head(self) -> list[list[str]]:
        """The cells of the first rows, as far as they lie in the first part of the text."""
        cut = self.data[: self.data.rfind(b"\n", 0, SAMPLE) + 1] if len(self.data) > SAMPLE else self.data
        return [cells for _, cells in Source(self.path, cut, self.separator).parsed()]

    def line(self, row: int) -> int:
        """The line in which this row of the text starts."""
        return next(line for i, (line, _) in enumerate(self.parsed()) if i == row)


def read(data: Any, header: bool | None = None, known: Sequence[str] = ()) -> Table:
    """The table in a file, "-" (standard input), a DataFrame of pandas or polars, a mapping of columns, or an array.

    Files: text with `,` `;` tabs `|` or spaces between the columns, in UTF-8, UTF-16, Latin-1 or Windows-1252, also
    packed by gzip, bzip2, xz or zip; with polars also Parquet, Feather and Excel. `header` says whether the first row
    names the columns; None: as it looks. The first row also is a header if it has one of the `known` names. TableError
    names every mistake; ImportError says what to install.
    """
    if not isinstance(data, (str, os.PathLike)):
        return _of_array(data) if isinstance(data, np.ndarray) else _of_frame("table", data)
    path = os.fsdecode(data)
    content = _bytes(path)
    for magic, kind in ((b"PAR1", "parquet"), (b"ARROW1", "ipc"), (b"\xd0\xcf\x11\xe0", "excel")):
        if content.startswith(magic):
            return _of_polars(path, content, kind, header, set(known))
    content = _unpacked(path, content)
    if content.startswith(b"PK"):
        return _of_polars(path, content, "excel", header, set(known))
    text, told = _decoded(content)
    for pattern, what in OTHERS.items():
        if re.match(pattern, text[:1000], re.DOTALL):
            fail(path, 1, 1, f"{what}; give a table as text, such as CSV, or as Parquet, Feather or Excel")
    named = SEPARATOR.match(text)
    if named:
        source = Source(path, text[named.end() :], named[1].decode(), 1)
    else:
        above = _above(text, set() if header is False else set(known))
        text = text[sum(map(len, above)) :]
        source = Source(path, text, _separator(text), len(above))
        told += _left_out(len(above))
    names, columns, width = _columns(source)
    if len(text) > LARGE and not importlib.util.find_spec("polars"):
        told.append(f"polars would have read it some ten times as fast: {INSTALL}")
    return _table(source, names, columns, width, header, set(known), told)


def _left_out(lines: int) -> list[str]:
    """What is said of lines above a table."""
    return [f"{count(lines, 'line')} above the table left out"] if lines else []


def fail(path: str, line: int, column: int, what: str) -> NoReturn:
    raise TableError([f"{path}:{line}:{column}: {what}"])


# ---- bytes ------------------------------------------------------------------------------------------------------


def _bytes(path: str) -> bytes:
    """The bytes of a file or a pipe. A pipe into which nobody writes is an error, because reading would never end."""
    if path == "-":
        if sys.stdin is None:
            raise TableError(["-: stdin is closed, so there is no table to read"])
        return sys.stdin.buffer.read()
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISREG(kind):
            return Path(path).read_bytes()
    except FileNotFoundError:
        fail(path, 1, 1, "there is no such file; check the name and the folder")
    if stat.S_ISDIR(kind):
        fail(path, 1, 1, "this is a folder; give a file in it")
    if not stat.S_ISFIFO(kind):
        fail(path, 1, 1, "this is a device and not a file; give a file with a table")
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a blocking open would wait for a writer
    with open(handle, "rb", buffering=0) as pipe:
        start = pipe.read(1)  # None if a writer has not written yet, b"" if there is no writer
        if start == b"":
            fail(path, 1, 1, "nobody writes into this pipe; give a file with a table")
        os.set_blocking(handle, True)
        return (start or b"") + pipe.readall()


def _unpacked(path: str, content: bytes) -> bytes:
    """The content of a packed file. A zip archive must hold one table; one that is an Excel file is left as it is."""
    import bz2  # here, since these take longer to import than most tables to be read
    import gzip
    import lzma
    import zipfile
    import zlib

    try:
        for magic, unpack in ((b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ", lzma.decompress)):
            if content.startswith(magic):
                return unpack(content)
        if content.startswith(b"PK\x03\x04"):
            archive = zipfile.ZipFile(io.BytesIO(content))
            names = archive.namelist()
            if "[Content_Types].xml" in names:
                return content
            files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX")]
            if len(files) != 1:
                listed = ", ".join(files[:5]) + (", …" if len(files) > 5 else "")
                fail(path, 1, 1, f"the archive holds {len(files)} files ({listed}); unpack it and give one of them")
            return archive.read(files[0])
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        fail(path, 1, 1, f"this packed file is damaged or protected: {error}; pack it again")
    return content


def _decoded(content: bytes) -> tuple[bytes, list[str]]:
    """The text in UTF-8 without a byte order mark, and what was decided."""
    for mark, name in ((codecs.BOM_UTF8, "UTF-8"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):
        if content.startswith(mark):
            if name == "UTF-8":
                content = content[len(mark) :]
                break
            return content.decode("utf-16", errors="replace").removeprefix("\ufeff").encode(), ["read as UTF-16"]
    start = content[:1000]
    for zeros, name in ((start[1::2], "utf-16-le"), (start[::2], "utf-16-be")):
        if len(start) > 3 and zeros.count(0) > 0.6 * len(zeros):
            return content.decode(name, errors="replace").encode(), ["read as UTF-16"]
    told = []
    if not content.isascii():
        try:
            content.decode()
        except UnicodeDecodeError:
            content, name = _western(content)
            told = [f"it is not UTF-8, so it was read as {name}"]
    if b"\r" in content and b"\n" not in content:
        content = content.replace(b"\r", b"\n")  # as old Macs wrote it
    return content, told


def _western(content: bytes) -> tuple[bytes, str]:
    """Text in one byte a letter, in UTF-8, and the name of its letters.

    Bytes that Latin-1 has for control characters, which no table holds, are € and quotation marks as Windows writes.
    """
    if re.search(rb"[\x80-\x9f]", content):
        with contextlib.suppress(UnicodeDecodeError):  # five of them are no letters there either
            return content.decode("cp1252").encode(), "Windows-1252"
    return content.decode("latin-1").encode(), "Latin-1"


# ---- text ---------------------------------------------------------------------------------------------------------


def _above(text: bytes, known: set[str]) -> list[bytes]:
    """The lines above the table: those before the known names, or else comments, which begin with #.

    What begins with # and has as many cells as the row after the comments is no comment: a header, or data.
    """
    lines = text[:SAMPLE].splitlines(keepends=True)
    comments = next((i for i, line in enumerate(lines) if not line.startswith(b"#")), 0)

    def cells(i: int, first: int) -> list[str]:
        """Those of a line, with the separator of the table if that begins with the line `first`."""
        mark = _separator(b"".join(lines[first:]))
        return [cell.strip() for cell in next(csv.reader([lines[i].decode(errors="ignore")], delimiter=mark), [])]

    with contextlib.suppress(csv.Error):
        named = _names_in((cells(i, i) for i in range(min(len(lines), MOST_ABOVE))), known)
        if named is not None:
            return lines[:named]
        if comments:
            widths = [len(cells(i, comments)) for i in range(comments + 1)]
            return lines[: widths.index(widths[-1])]
    return lines[:comments]


def _names_in(rows: Iterable[Sequence[str]], known: set[str]) -> int | None:
    """The first row, if it has a known name, or a later one with half of them under rows with less in them; else None.

    Numbers are no names here, and a name among the data is not under such rows.
    """
    names, most = {name for name in known if number(name) != number(name)}, 0
    for i, row in enumerate(rows if names else ()):
        found, filled = len(names.intersection(row)), sum(map(bool, row))
        if found and (i == 0 or (2 * found >= len(names) and filled > most)):
            return i
        most = max(most, filled)
    return None


def _separator(text: bytes) -> str:
    """What stands between the columns, by the first lines: what each has equally often, else what the first has."""
    sample = re.sub('"[^"]*"', '"', text[:SAMPLE].decode(errors="ignore"))
    lines = [line for line in sample.splitlines() if line.strip()]
    lines = (lines if len(text) <= SAMPLE else lines[:-1] or lines)[:30]
    if not lines:
        return ","
    for mark in SEPARATORS:
        counts = {line.count(mark) for line in lines[1:] or lines}  # the first may name fewer columns
        if len(counts) == 1 and 0 not in counts and (mark in lines[0] or counts == {1}):
            return mark
    most = max((",", "\t", ";", "|"), key=lines[0].count)
    if most in lines[0]:
        return most
    return " " if all(" " in line.strip() for line in lines[1:] or lines) else ","


def _columns(source: Source) -> tuple[list[str], list[Cells], int]:
    """The cells of the first row, the columns of the other rows, and their width.

    The first row may be shorter: by one, as R writes it, or as scikit-learn's files begin.
    """
    many = source.data.count(b"\n") >= MANY
    if many and source.separator != " " and importlib.util.find_spec("polars"):
        found = _by_polars(source)
        if found:
            return found
    rows = list(source.parsed())
    if not rows:
        fail(source.path, 1, 1, "the file is empty; expected rows of values with a separator between them")
    first = rows[0][1]
    others = [cells for _, cells in rows[1:]]
    width = Counter(map(len, others)).most_common(1)[0][0] if others else len(first)
    if not (len(first) == width - 1 or _counts(first, len(others), width)):
        width = len(first)
    wrong = [(line, cells) for line, cells in rows[1:] if len(cells) != width]
    if wrong:
        problems = []
        for line, cells in wrong[:MOST_TOLD]:
            found_here = count(len(cells), "column") if cells else "an empty line"
            place = f"{source.path}:{line}:{min(len(cells), width) + 1}"
            problems.append(f"{place}: {found_here}, but the first row has {width}; make them equal")
        if len(wrong) > MOST_TOLD:
            problems[-1] += f" (and so in {len(wrong) - MOST_TOLD:,} more rows)"
        raise TableError(problems)
    return first, [Texts(cells) for cells in zip(*others)], width


def _by_polars(source: Source) -> tuple[list[str], list[Cells], int] | None:
    """The same by polars, several times as fast; None where Python's csv has to look, since rows differ in length."""
    import polars

    text = source.data
    if text[-2:].isspace():  # blank lines at the end
        text = text.rstrip(b"\r\n \t" if source.separator != "\t" else b"\r\n ")
    try:
        first, second, *_ = source.head()
        start = int(b'"' not in text[: text.find(b"\n")] and len(first) != len(second))  # the first row is shorter
        frame = polars.read_csv(
            io.BytesIO(text), separator=source.separator, has_header=False, infer_schema_length=0, skip_rows=start
        )
    except Exception:  # of any kind: Python's csv then reads the text, or says what is wrong with it
        return None
    marks = text.count(source.separator.encode()) - (_first_marks(text, source.separator) if start else 0)
    if b'"' in text:
        marks -= sum(int(series.str.count_matches(source.separator, literal=True).sum()) for series in frame)
    if marks != frame.height * (frame.width - 1) or frame.width == 1:
        return None  # a row is shorter, which polars fills with nothing; or it may be empty
    cells = polars.all().fill_null("")
    frame = frame.select(cells.str.strip_chars() if b" " in text or b"\t" in text or not text.isascii() else cells)
    columns = [series if start else series[1:] for series in frame]
    height = len(columns[0])
    if start and not (len(first) == frame.width - 1 or _counts(first, height, frame.width)):
        return None
    return first, [Polars(series) for series in columns], frame.width


def _first_marks(text: bytes, separator: str) -> int:
    """How many separators the first line has."""
    return text[: text.find(b"\n")].count(separator.encode())


def _counts(first: Sequence[str], rows: int, width: int) -> bool:
    """Whether a first row counts rows and columns of features, as those of scikit-learn's own files do."""
    return len(first) >= 2 and [cell.strip() for cell in first[:2]] == [str(rows), str(width - 1)]


def _table(
    source: Source,
    first: list[str],
    columns: list[Cells],
    width: int,
    header: bool | None,
    known: set[str],
    told: list[str],
) -> Table:
    first = [cell.strip() for cell in first]
    if all(len(cell) > 1 and cell[0] == cell[-1] == "'" for cell in first if cell):
        first = [cell[1:-1] for cell in first]
    if source.separator != ",":
        told = [*told, f"{SEPARATORS.get(source.separator, 'spaces')} separate the columns"]
    comma = {";": True, "\t": True, ",": False}.get(source.separator)
    at = 1
    if len(first) == width - 1 and columns and _blank(columns[-1]):
        columns, width = columns[:-1], width - 1  # each row ends in a separator, but for the first
        told = [*told, TRAILING]
    if _counts(first, len(columns[0]) if columns else 0, width) and len(first) != width:
        told.append("the first line counts rows and columns, and was left out")
        return Table(source.path, _numbered(width), columns, False, told, comma, source, at)
    if len(first) == width - 1:
        first = ["", *first]  # R leaves the name of the row names out
    if len(known) == 1:  # a single number may be that of a column, as in --target 3
        with contextlib.suppress(ValueError):
            known = set() if -width <= int(next(iter(known))) < width else known
    if header is None:
        header = bool(known & set(first)) or _is_header(first, columns)
    if not header:
        if columns:
            columns = [_with_first(cell, column) for cell, column in zip(first, columns)]
        else:
            columns = [Texts([cell]) for cell in first]
        return Table(source.path, _numbered(width), columns, False, told, comma, source, 0)
    if not columns:
        fail(source.path, source.above + 2, 1, "there are no rows under the header; add one row or more")
    while len(columns) > 1 and not first[-1] and _blank(columns[-1]):  # each row ends in a separator
        columns, first = columns[:-1], first[:-1]
        told = [*told, *([] if TRAILING in told else [TRAILING])]
    return Table(source.path, _names(source.path, first, source.above + 1), columns, True, told, comma, source, at)


def _blank(column: Cells) -> bool:
    """Whether nothing at all stands in a column."""
    return column.distinct()[0] == [""]


def _numbered(width: int) -> list[str]:
    return [str(i + 1) for i in range(width)]


def _with_first(cell: str, column: Cells) -> Cells:
    """The column with one more cell at its beginning."""
    if isinstance(column, Polars):
        import polars

        return Polars(polars.concat([polars.Series([cell], dtype=polars.String), column.series.rename("")]))
    assert isinstance(column, Texts)
    return Texts([cell, *column.cells])


def _is_header(first: list[str], columns: list[Cells]) -> bool:
    """Whether the first row names the columns.

    It does if text stands over numbers or dates, or if its numbers count the columns. Over columns of text only, it
    does if all its cells are text, and none of them stands below it again.
    """
    texts = [bool(cell) and cell.lower() not in MISSING and number(cell) != number(cell) for cell in first]
    if not columns or all(not cell for cell in first):
        return all(texts)
    head = np.arange(min(1000, len(columns[0])))
    below = [column.take(head).distinct()[0] for column in columns]
    kinds = [[word for word in words if word.lower() not in MISSING] for words in below]
    if _counts_columns(first, kinds):
        return True
    if not any(texts):
        return False
    numeric = [bool(words) and sum(number(word) == number(word) for word in words) > len(words) / 2 for words in kinds]
    if any(text and under for text, under in zip(texts, numeric)):
        return True
    like = [under or sum(map(_like_number, words[:100])) > len(words[:100]) / 2 for words, under in zip(kinds, numeric)]
    if any(text and under and not _like_number(cell) for text, under, cell in zip(texts, like, first)):
        return True
    again = any(text and cell in words for text, cell, words in zip(texts, first, below))
    digits = any(any(c.isdigit() for c in w) for words in kinds for w in words[:20])
    named = not any(any(c.isdigit() for c in cell) for cell, text in zip(first, texts) if text)
    over_numbers = any(like)  # numbers or dates in the first row stand over such: rows of data
    return not again and len(set(first)) == len(first) and not over_numbers and (named or not digits)


def _counts_columns(first: list[str], kinds: list[list[str]]) -> bool:
    """Whether the numbers of a first row go up by one, over columns of others: years, or a frame's 0, 1, 2, …"""
    over = [(int(cell), words) for cell, words in zip(first, kinds) if re.fullmatch(r"\d{1,9}", cell)]
    values = [value for value, _ in over]
    if len(values) < sum(number(cell) == number(cell) for cell in first) or len(values) < 2:
        return False
    if values != [*range(values[0], values[0] + len(values))]:
        return False
    under = [word for _, words in over for word in words]
    numbers = np.array([written.parsed(word, "," in word and "." not in word) for word in under], np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return False
    whole, years = (numbers == np.floor(numbers)).mean(), ((YEARS[0] <= numbers) & (numbers <= YEARS[1])).mean()
    return bool((len(values) > 2 and whole < 0.5) or (YEARS[0] <= values[0] and values[-1] <= YEARS[1] and years < 0.5))


def _like_number(cell: str) -> bool:
    """Whether a cell holds a number, however it is written, or a date."""
    numbers = (written.parsed(cell), written.parsed(cell, comma=True))
    return any(each == each for each in numbers) or any(written.date(cell, first) for first in (False, True))


def _names(path: str, first: list[str], line: int = 1) -> list[str]:
    """The names of the columns, on this line; the first one may have none, as row names and an index have not."""
    met: dict[str, int] = {}
    problems = []
    names = ["row names" if not name and i == 0 and "row names" not in first else name for i, name in enumerate(first)]
    for i, name in enumerate(names):
        if not name:
            names[i] = name = f"column {i + 1}"
        if name in met:
            what = f"column {met[name] + 1} is called {shown(name)} too; give each its own name"
            problems.append(f"{path}:{line}:{i + 1}: {what}")
        met.setdefault(name, i)
    if problems:
        raise TableError(problems)
    return names


# ---- frames -------------------------------------------------------------------------------------------------------


def _of_polars(path: str, content: bytes, kind: str, header: bool | None, known: set[str]) -> Table:
    """A Parquet, Feather or Excel file. Of these, only an Excel file may have no header."""
    name = {"parquet": "Parquet", "ipc": "Feather", "excel": "Excel"}[kind]
    sheets: Sequence[str] = ()
    told: list[str] = []
    try:
        import polars

        if kind == "excel":
            importlib.import_module("fastexcel")
        readers: dict[str, Callable[..., Any]] = {"parquet": polars.read_parquet, "ipc": polars.read_ipc}
    except ImportError as error:
        raise ImportError(f"{path}: to read a file of {name}, install what it needs: {INSTALL}") from error
    try:
        if kind == "excel":
            sheets, sheet = _sheets(content, set() if header is False else known)
            if sheet:
                sheets, told = [], [f"read from the sheet {shown(sheet)}"]
            above = _rows_above(content, sheet, known) if known and header is not False else 0
            options = {"read_options": {"header_row": above}} if above else {}
            frame = _excel(content, sheet, **options)
            told += _left_out(above)
            if not above and not _is_header_of(content, sheet, frame, header, known):
                frame = _excel(content, sheet, has_header=False)
                return Table(path, _numbered(frame.width), [cells_of(column) for column in frame], False, told)
        else:
            frame = readers[kind](io.BytesIO(content))
    except Exception as error:
        fail(path, 1, 1, f"this {name} file cannot be read: {str(error).splitlines()[0]}; write it again, or as CSV")
    table = _of_frame(path, frame)
    table.told += told
    table.sheets = sheets
    return table


def _excel(content: bytes, sheet: str | None, **options: Any) -> Any:
    """A sheet of an Excel file, or the first, as a frame; without what the reader logs of columns without a value."""
    import polars

    log = logging.getLogger("fastexcel")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        return polars.read_excel(io.BytesIO(content), sheet_name=sheet, **options)
    finally:
        log.setLevel(level)


def _top(content: bytes, sheet: str | None) -> list[list[str]]:
    """The first rows of a sheet, as they stand there."""
    some = {"n_rows": MOST_ABOVE}
    how: Any = {"has_header": False, "drop_empty_rows": False, "raise_if_empty": False, "read_options": some}
    return [[_text(value) for value in row] for row in _excel(content, sheet, **how).rows()]


def _sheets(content: bytes, known: set[str]) -> tuple[list[str], str | None]:
    """The names of an Excel file's sheets; and that which alone has half of the known names, if it is not the first."""
    sheets = importlib.import_module("fastexcel").read_excel(content).sheet_names
    names = {name for name in known if number(name) != number(name)}
    if len(sheets) < 2 or not names:
        return sheets, None
    found = [s for s in sheets if any(2 * len(names.intersection(row)) >= len(names) for row in _top(content, s))]
    return sheets, found[0] if len(found) == 1 and found != sheets[:1] else None


def _rows_above(content: bytes, sheet: str | None, known: set[str]) -> int:
    """How many rows of an Excel file stand above the known names."""
    return _names_in(_top(content, sheet), known) or 0


def _is_header_of(content: bytes, sheet: str | None, frame: Any, header: bool | None, known: set[str]) -> bool:
    """Whether the first row of an Excel file, which its frame has as names, are the names of the columns."""
    if header is not None:
        return header
    top = _excel(content, sheet, has_header=False, read_options={"n_rows": 1})  # as the cells are
    first = [_text(value) for value in top.row(0)]
    return bool(known & set(first)) or not frame.height or _is_header(first, [cells_of(column) for column in frame])


def _of_array(array: np.ndarray) -> Table:
    """An array of any dtype (N, columns), which has no header."""
    return Table("table", _numbered(array.shape[1]), [cells_of(column) for column in array.T], False)


def _of_frame(path: str, frame: Any) -> Table:
    """A DataFrame, or another mapping of names to columns."""
    columns = getattr(frame, "columns", None)
    names = list(columns) if columns is not None else list(frame) if isinstance(frame, Mapping) else None
    if names is None:
        raise TypeError(
            f"a table is the name of a file, a DataFrame or a mapping of names to columns, not {type(frame).__name__}"
        )
    for name in names:
        value = frame[name]
        if isinstance(value, (str, bytes)) or not np.iterable(value):
            raise TypeError(f"the column {name!r} is one value: a column is a list of them, such as [{value!r}]")
    if not names or not len(frame[names[0]]):
        raise TableError([f"{path}: there are no {'rows' if names else 'columns'} in it; give one or more"])
    cells = [cells_of(frame[name]) for name in names]
    lengths = {len(column) for column in cells}
    if len(lengths) > 1:
        raise TableError([f"{path}: its columns have different lengths, {sorted(lengths)}; make them equal"])
    known = _names(path, list(map(str, names)))
    return Table(path, known, cells, True, categorical=[k for k, n in zip(known, names) if _is_categorical(frame[n])])


def _is_categorical(column: Any) -> bool:
    return str(getattr(column, "dtype", "")).lower().startswith(("category", "categorical", "enum"))


def cells_of(column: Any) -> Cells:
    """The cells of a column of a frame, or of an array (N,)."""
    dtype = str(getattr(column, "dtype", ""))
    if hasattr(column, "to_list") and dtype.lower().startswith(("int", "uint", "float")):
        values = np.asarray(column.to_numpy())
        if values.dtype == object:  # with pandas.NA
            values = np.array([np.nan if value != value or value is None else value for value in values], np.float64)
        return Numbers(values)
    if not hasattr(column, "to_list") and np.asarray(column).dtype.kind in "iuf":
        return Numbers(np.asarray(column))
    if dtype.lower().startswith(("timedelta", "duration")):
        values = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column).astype("m8[ns]")
        return Numbers(values / np.timedelta64(1, "s"), "seconds")  # (N,), NaN for NaT
    listed = column.to_list() if hasattr(column, "to_list") else list(column)
    known = [value for value in listed if value is not None]
    if known and all(isinstance(value, timedelta) for value in known):
        seconds = [np.nan if value is None else value.total_seconds() for value in listed]
        return Numbers(np.array(seconds, np.float64), "seconds")
    return Texts([_text(value) for value in listed])


def _text(value: Any) -> str:
    if value is None or value is NotImplemented:
        return ""
    try:
        if bool(value != value):  # NaN, NaT
            return ""
    except TypeError:  # pandas.NA
        return ""
    return str(value).strip()


# ---- words --------------------------------------------------------------------------------------------------------


def shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")


def listed(names: Sequence[str]) -> str:
    """The first ten names, with commas between them."""
    cut = [name if len(name) <= 40 else name[:39] + "…" for name in names[:10]]
    return ", ".join([*cut, *(["…"] if len(names) > 10 else [])])


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
