"""Reading: the same table in many forms of file, with polars and without; every mistake with its line and remedy."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib.util
import io
import lzma
import os
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers import POSIX, write

from nnlite import tables
from nnlite.tables import reading

pytestmark = pytest.mark.usefixtures("empty_folder")

TEXT = "a,b,c\n1,2,x\n3,4,y\n"
CELLS = [["1", "3"], ["2", "4"], ["x", "y"]]


def zipped(text: str, *names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, text)
    return file.getvalue()


@pytest.fixture(params=["csv", "polars"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two that cut text into cells."""
    if request.param == "polars":
        pytest.importorskip("polars")
        monkeypatch.setattr(reading, "MANY", 0)
    else:
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "polars" else found(name))
    return request.param


def cells(table: tables.Table) -> list[list[str]]:
    found = [column.distinct() for column in table.columns]
    return [[words[code] for code in codes] for words, codes in found]


FORMS = {
    "commas": TEXT,
    "BOM": "\ufeff" + TEXT,
    "Windows": TEXT.replace("\n", "\r\n"),
    "an old Mac": TEXT.replace("\n", "\r"),
    "quotes": '"a",b,"c"\n" 1",2,"x"\n"3",4,y',
    "blanks": "a, b ,c\n1, 2 ,x\n3,4 ,y\n\n\n",
    "semicolons": TEXT.replace(",", ";"),
    "tabs": TEXT.replace(",", "\t"),
    "bars": TEXT.replace(",", "|"),
    "spaces": "a  b c\n  1   2 x\n  3   4 y\n",
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "gzip": gzip.compress(TEXT.encode()),
    "bzip2": bz2.compress(TEXT.encode()),
    "xz": lzma.compress(TEXT.encode()),
    "zip": zipped(TEXT, "t.csv", "__MACOSX/t.csv"),
}


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_the_same_table_in_many_forms(content: str | bytes, reader: str) -> None:
    table = tables.read(write("t", content))
    assert table.names == ["a", "b", "c"] and table.header and cells(table) == CELLS
    assert table.columns[0].numbers().tolist() == [1, 3]


def sheet(rows: list[list[object]]) -> bytes:
    """An Excel file of one sheet."""
    return workbook(s=rows)


def workbook(**sheets: list[list[object]]) -> bytes:
    """An Excel file with the least that one must have."""

    def cell(value: object) -> str:
        if value is None:
            return "<c/>"
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>' if isinstance(value, str) else f"<c><v>{value}</v></c>"

    main, office = "http://schemas.openxmlformats.org", "application/vnd.openxmlformats-officedocument.spreadsheetml"
    relations = f'xmlns="{main}/package/2006/relationships"'
    kind = f"{main}/officeDocument/2006/relationships"
    numbers = range(1, len(sheets) + 1)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{main}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{office}.sheet.main+xml"/>'
        + "".join(
            f'<Override PartName="/xl/worksheets/sheet{i}.xml" ContentType="{office}.worksheet+xml"/>' for i in numbers
        )
        + "</Types>",
        "_rels/.rels": f"<Relationships {relations}>"
        f'<Relationship Id="r1" Type="{kind}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}/spreadsheetml/2006/main" xmlns:r="{kind}">'
        "<sheets>"
        + "".join(f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"/>' for i, name in zip(numbers, sheets))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships {relations}>"
        + "".join(
            f'<Relationship Id="r{i}" Type="{kind}/worksheet" Target="worksheets/sheet{i}.xml"/>' for i in numbers
        )
        + "</Relationships>",
    }
    for i, rows in zip(numbers, sheets.values()):
        lines = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
        data = f'<worksheet xmlns="{main}/spreadsheetml/2006/main"><sheetData>{lines}</sheetData></worksheet>'
        parts[f"xl/worksheets/sheet{i}.xml"] = data
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["parquet", "feather", "excel"])
def test_files_of_frames(kind: str) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, None, 3], "b": [0.5, 2.0, None], "c": ["x", None, "007"]})
    if kind == "parquet":
        frame.write_parquet("t")
    elif kind == "feather":
        frame.write_ipc("t")
    else:
        pytest.importorskip("fastexcel")
        write("t", sheet([["a", "b", "c"], [1, 0.5, "x"], [None, 2.0, None], [3, None, "007"]]))
    table = tables.read("t")
    assert table.names == ["a", "b", "c"] and cells(table)[2] == ["x", "", "007"]
    np.testing.assert_array_equal(table["a"].numbers(), [1, np.nan, 3])
    with pytest.raises(
        ValueError, match=r"^t:1:1: this (\w+ file cannot be read|packed file is damaged).*; (write|pack) it again"
    ):
        tables.read(write("t", Path("t").read_bytes()[:100]))


ROWS: list[list[object]] = [[0, 1, "p"], [0.5, 1, "q"], [1, 2, "p"]]


def test_the_first_row_of_an_excel_file_may_be_data() -> None:
    pytest.importorskip("fastexcel")
    expected = [["0", "0.5", "1"], ["1", "1", "2"], ["p", "q", "p"]]
    for header in (None, False):
        table = tables.read(write("t", sheet(ROWS)), header)
        assert (table.names, table.header, cells(table)) == (["1", "2", "3"], False, expected)
    named = write("t", sheet([[2019, 2020, "y"], *ROWS]))
    for header in (None, True):
        table = tables.read(named, header)
        assert (table.names, table.header, cells(table)) == (["2019", "2020", "y"], True, expected)
    assert tables.read(named, False).rows == 4
    words = write("t", sheet([["p", "q"], ["q", "p"], ["p", "p"]]))
    assert tables.read(words).rows == 3 and tables.read(words, known=["q"]).names == ["p", "q"]


def test_rows_above_a_table_in_an_excel_file() -> None:
    pytest.importorskip("fastexcel")
    titled = write("t", sheet([["Trial 7", None], [None, None], ["a", "kind"], [1.5, "no"], [2, "yes"]]))
    table = tables.read(titled, known=["kind"])
    assert (table.names, table.told) == (["a", "kind"], ["2 lines above the table left out"])
    assert cells(table) == [["1.5", "2"], ["no", "yes"]] and table["a"].numbers().tolist() == [1.5, 2]
    assert tables.read(titled, False, ["kind"]).rows == 4 and not tables.read(titled, known=["7"]).told


def test_the_sheet_of_an_excel_file_that_has_the_target() -> None:
    pytest.importorskip("fastexcel")
    note: list[list[object]] = [["about", "by"], ["a trial", "Kim"]]
    data: list[list[object]] = [["Trial 7", None], ["a", "kind"], [1.5, "no"], [2, "yes"]]
    write("t", workbook(notes=note, empty=[], data=data))
    table = tables.read("t", known=["kind"])
    assert (table.names, table.rows) == (["a", "kind"], 2)
    assert table.told == ["read from the sheet 'data'", "1 line above the table left out"]
    assert tables.read("t", known=["a", "kind", "z"]).names == ["a", "kind"], "half of a model's columns"
    assert tables.read("t", known=["a", "x", "y", "z"]).names == tables.read("t").names == ["about", "by"]
    for name in ("x", "by"):
        assert tables.read("t", known=[name]).told == []
    with pytest.raises(
        tables.TableError, match=r"no column is called 'x'; the table has 'about', 'by', on the first of "
    ):
        tables.prepare("t", "x")
    write("t", workbook(notes=note, data=data, more=data))
    with pytest.raises(tables.TableError, match=r"called 'kind'.*, on the first of the sheets notes, data, more;"):
        tables.prepare("t", "kind")


def test_a_column_of_an_excel_file_without_a_value_is_no_news() -> None:
    """In a process of its own, since the reader's words go past Python's sys.stderr."""
    pytest.importorskip("fastexcel")
    write("t", sheet([["a", "b", "c"], [1, None, "x"], [2, None, "y"]]))
    code = "from nnlite import tables; print(tables.read('t').names)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("['a', 'b', 'c']\n", "")


def test_parquet_without_polars_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r'^t: to read a file of Parquet, .*: pip install "nnlite\[tables\]"$'):
        tables.read(write("t", b"PAR1" + bytes(10)))


def test_frames_and_mappings() -> None:
    pandas = pytest.importorskip("pandas")
    columns = {"a": [1, 2, 3], "b": [0.5, None, 2.0], "c": ["x", None, "007"], "d": [True, False, True]}
    for frame in (pandas.DataFrame(columns), columns):
        table = tables.read(frame)
        assert table.names == list("abcd") and cells(table)[2] == ["x", "", "007"]
        np.testing.assert_array_equal(table["b"].numbers(), [0.5, np.nan, 2.0])
        assert cells(table)[3] == ["True", "False", "True"]
    day = pandas.DataFrame({"a": pandas.to_datetime(["2012-01-01", None]), "b": pandas.array([1, None], "Int64")})
    assert cells(tables.read(day))[0] == ["2012-01-01 00:00:00", ""]
    np.testing.assert_array_equal(tables.read(day)["b"].numbers(), [1, np.nan])
    gap = tables.read(pandas.DataFrame({"a": [1, None, 2], "b": [1.5, 2, 1e300]}))
    assert cells(gap) == [["1", "", "2"], ["1.5", "2", "1e+300"]], "a gap makes floats of whole numbers"
    with pytest.raises(TypeError, match="or a mapping of names to columns, not int"):
        tables.read(7)
    with pytest.raises(ValueError, match="different lengths"):
        tables.read({"a": [1, 2], "b": [1]})


@pytest.mark.parametrize("value", [1.5, "red", None, np.float64(2)], ids=["number", "text", "nothing", "of NumPy"])
def test_one_value_is_no_column(value: object) -> None:
    """A text would be taken for a column of its letters."""
    for cells in ({"a": value}, {"b": [1, 2], "a": value}):
        with pytest.raises(TypeError, match=r"^the column 'a' is one value: a column is a list of them, such as \["):
            tables.read(cells)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert cells(tables.read("-")) == CELLS


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "SEP=;\r\n"])
def test_a_first_line_that_names_the_separator(first: str, reader: str) -> None:
    """As programs write it for Excel: it is no row, and counts as a line."""
    table = tables.read(write("t", first + "a,b;c\n1,5;x\n2,5;y\n"))
    assert table.names == ["a,b", "c"] and cells(table) == [["1,5", "2,5"], ["x", "y"]]
    assert table.place(1, 0) == "t:4:1" and table.comma
    with pytest.raises(tables.TableError, match=r"^t:3:2: 1 column, but the first row has 2"):
        tables.read(write("t", first + "a;b\n1\n1;2\n3;4\n"))


def test_latin_1_is_said(reader: str) -> None:
    table = tables.read(write("t", "a,b\n1,café\n2,x\n".encode("latin-1")))
    assert cells(table)[1] == ["café", "x"] and table.told == ["it is not UTF-8, so it was read as Latin-1"]


def test_windows_letters(reader: str) -> None:
    """As Excel writes them, where the signs of euros and quotation marks are bytes that Latin-1 has no letter for."""
    text = "price;words\n1.234,50 €;“it’s”\n12,00 €;café\n"
    table = tables.read(write("t", text.encode("cp1252")))
    assert table.told == ["it is not UTF-8, so it was read as Windows-1252", "semicolons separate the columns"]
    assert cells(table) == [["1.234,50 €", "12,00 €"], ["“it’s”", "café"]]
    rows = "".join(f"{price};{i}\n" for i, price in enumerate(["1.234,50 €", "12,00 €", "5,10 €"] * 2))
    assert tables.prepare(write("t", f"price;y\n{rows}".encode("cp1252"))).decisions.columns[0].kind == "number"
    kept = tables.read(write("t", b"a,b\n1,\x81\xe9\n2,x\n"))  # no letter of Windows
    assert kept.told == ["it is not UTF-8, so it was read as Latin-1"] and cells(kept)[1] == ["\x81é", "x"]


@pytest.mark.parametrize("text", [",a\n1,5\n2,6\n", '"a"\n"1",5\n"2",6\n', '"a"\n"1" 5\n"2" 6\n'])
def test_row_names_without_a_name(text: str, reader: str) -> None:
    """As pandas, R's write.csv and R's write.table write them."""
    table = tables.read(write("t", text))
    assert table.names == ["row names", "a"] and cells(table) == [["1", "2"], ["5", "6"]]


def test_the_first_line_of_scikit_learns_files(reader: str) -> None:
    table = tables.read(write("t", "2,2,malignant,benign\n1.5,2,0\n3,4,1\n"))
    assert not table.header and cells(table) == [["1.5", "3"], ["2", "4"], ["0", "1"]]


HEADERS = {
    "text over numbers": ("a,b\n1,2\n3,4\n", True),
    "numbers": ("1,2\n3,4\n", False),
    "text in each row": ("1,2,yes\n3,4,no\n", False),
    "one name over a number": ("1,x,yes\n3,4,no\n", True),
    "text only": ("colour,kind\nred,a\nblue,b\nred,a\n", True),
    "text only, the first row comes again": ("red,a\nblue,b\nred,a\n", False),
    "years over a table": ("land,2019,2020\nTogo,1,2\nMali,3,4\n", True),
    "years over decimal commas": ("land;2019;2020\nTogo;1,5;2,5\nMali;3,5;4,0\n", True),
    "years over years": ("Togo,2019,2020\nMali,2001,2009\n", False),
    "years that do not follow each other": ("Togo,2019,2021\nMali,3,4\n", False),
    "a frame of an array": ("0,1,2\n0.5,0.1,3\n1.5,0.2,4\n", True),
    "whole numbers over whole numbers": ("0,1,2\n5,1,3\n4,2,4\n", False),
    "missing in the first row": ("5.1,NA,1.4,rose\n4.9,3.0,1.4,lily\n", False),
    "a row of mixed data": ("39,State-gov,Bachelors,<=50K\n50,Self-emp,Masters,>50K\n", False),
}


@pytest.mark.parametrize(("text", "header"), HEADERS.values(), ids=HEADERS)
def test_what_a_header_is(text: str, header: bool, reader: str) -> None:
    path = write("t", text)
    assert tables.read(path).header is header
    assert tables.read(path, True).header and not tables.read(path, False).header
    assert tables.read(path, False).rows == text.count("\n")


def test_a_name_that_is_known_makes_a_header(reader: str) -> None:
    path = write("t", "19,20\n1,2\n3,4\n")
    assert not tables.read(path).header and tables.read(path, known=["20"]).header


ABOVE = {
    "comments": ("# by Kim\n# in mm; 2024\na,kind\n1,no\n2,yes\n", [], 2),
    "a comment that is a header": ("# by Kim\n# a,kind\n1,no\n2,yes\n", [], 1),
    "colors": ("color,kind\n#ff0000,no\nred,yes\n", [], 0),
    "colors in every row": ("#,kind\n#ff0000,no\n#0000ff,yes\nred,no\n", [], 0),
    "a column called #": ("#,kind\n7,no\n9,yes\n", [], 0),
    "a title over a known name": ("Trial 7\n\na;kind\n1;no\n2;yes\n", ["kind"], 2),
    "a title in cells": ("Trial 7,\n,\na,kind\n1,no\n2,yes\n", ["kind"], 2),
    "a known name in the first row": ("kind,a\na,1\nb,2\n", ["a"], 0),
    "a value in the place of a name": ("color,kind\nred,no\nblue,yes\n", ["yes"], 0),
    "comments and a known name": ("# by Kim, in 2024, at sea\na,kind\n1,no\n2,yes\n", ["kind"], 1),
    "one of many known names": ("x,y\n1,no\na,yes\n", ["a", "kind", "z"], 0),
    "a known number": ("a,kind\n1,no\n2,yes\n", ["2"], 0),
}


@pytest.mark.parametrize(("text", "known", "lines"), ABOVE.values(), ids=ABOVE)
def test_lines_above_a_table(text: str, known: list[str], lines: int, reader: str) -> None:
    table = tables.read(write("t", text), True, known)
    said = [f"{lines} line{'s' * (lines > 1)} above the table left out"] if lines else []
    assert [told for told in table.told if "above" in told] == said
    assert table.rows == text.count("\n") - lines - 1
    assert table.place(0, 1) == f"t:{lines + 2}:2"


def test_mistakes_below_comments_have_the_lines_of_the_file(reader: str) -> None:
    for text, told in (("a,b\n1,2\n3\n", "t:4:2: 1 column"), ("a,a\n1,2\n", "t:2:2: column 1"), ("a,b\n", "t:3:1: ")):
        with pytest.raises(tables.TableError) as found:
            tables.read(write("t", "# by Kim in 2024\n" + text), header=True)
        assert str(found.value).startswith(told)


def test_the_number_of_a_column_makes_no_header(reader: str) -> None:
    path = write("t", "1,2,3\n4,5,6\n")
    assert not tables.read(path, known=["2"]).header and tables.read(path, known=["3"]).header


def test_a_large_file_asks_for_polars(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE", 10)
    told = tables.read(write("t", TEXT)).told
    assert bool(told) is (reader == "csv") and all('pip install "nnlite[tables]"' in line for line in told)


def test_quotes_hide_separators_and_newlines(reader: str) -> None:
    table = tables.read(write("t", 'a,kind\n1,"two\nlines, and ""more"""\n2,one\n'))
    assert cells(table)[1] == ['two\nlines, and "more"', "one"]
    assert table.place(0, 1) == "t:2:2" and table.place(1, 0) == "t:4:1"


WRONG = {
    "empty": ("", "1:1: the file is empty"),
    "blank": ("\n\n", "1:1: the file is empty"),
    "only a BOM": ("\ufeff", "1:1: the file is empty"),
    "too long": ("a,b\n1,2\n1,2,3\n4,5\n", "3:3: 3 columns, but the first row has 2; make them equal"),
    "too short": ("a,b,c\n1,2,3\n1,2\n4,5,6\n", "3:3: 2 columns, but the first row has 3"),
    "blank between": ("a,b\n1,2\n\n1,3\n", "3:1: an empty line"),
    "open quotation": ('a,b\n1,"2\n3,4\n', "2:1: not a row of a CSV file"),
    "a name twice": ("a,a,b\n0,1,2\n", "1:2: column 1 is called 'a' too"),
    "a damaged archive": (gzip.compress(TEXT.encode())[:-5], "1:1: this packed file is damaged"),
    "a NumPy array": (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'shape': (1,), }\n" + bytes(8), "1:1: this is not text"),
    "a file of HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(range(256)), "1:1: this is not text; give a table as text"),
    "records of JSON": ('[{"a": 1, "b": 0},\n {"a": 2, "b": 1}]', "1:1: this is JSON; give a table as text"),
    "lines of JSON": ('{"a": 1, "b": 0}\n{"a": 2, "b": 1}\n', "1:1: this is JSON"),
    "two files in an archive": (zipped(TEXT, "t.csv", "u.csv"), "1:1: the archive holds 2 files (t.csv, u.csv)"),
}


@pytest.mark.parametrize(("content", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_file(content: str | bytes, told: str, reader: str) -> None:
    with pytest.raises(tables.TableError) as found:
        tables.read(write("t", content))
    assert str(found.value).startswith(f"t:{told}")


def test_all_rows_of_another_length_are_told_at_once(reader: str) -> None:
    with pytest.raises(tables.TableError) as found:
        tables.read(write("t", "a,b\n1,2\n" + "1\n3,4\n" * 9 + "3,4\n"))
    assert [problem.split(":")[1] for problem in found.value.problems] == ["3", "5", "7", "9", "11"]
    assert found.value.problems[-1].endswith("(and so in 4 more rows)")


@POSIX
def test_pipes_and_devices() -> None:
    os.mkfifo("pipe")
    with pytest.raises(ValueError, match=r"^pipe:1:1: nobody writes into this pipe"):
        tables.read("pipe")
    with pytest.raises(ValueError, match=r"^/dev/zero:1:1: this is a device"):
        tables.read("/dev/zero")
    with pytest.raises(ValueError, match=r"^\.:1:1: this is a folder"):
        tables.read(".")
    with pytest.raises(ValueError, match=r"^no:1:1: there is no such file"):
        tables.read("no")
    with subprocess.Popen(["sh", "-c", "exec > pipe; sleep 0.2; printf '1,2\\n3,4\\n'; sleep 0.2; printf '5,6'"]):
        handle = os.open("pipe", os.O_RDONLY)  # lets the writer open it
        assert cells(tables.read("pipe"))[0] == ["1", "3", "5"]
        os.close(handle)


def test_polars_and_csv_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of every kind, at random: both readers find the same table, or refuse it."""
    pytest.importorskip("polars")
    rng = np.random.Generator(np.random.PCG64(0))
    words = ["1", " 2", "", "NA", "x y", '"a,b"', '"q""q"', "1e5", "007", "é", "-", "nan", "inf", '"n\nn"', "'", "1_0"]
    found = importlib.util.find_spec
    for _ in range(150):
        width = int(rng.integers(1, 5))
        rows = [[str(rng.choice(words)) for _ in range(width)] for _ in range(int(rng.integers(1, 8)))]
        text = "\n".join(",".join(row) for row in rows) + "\n" * int(rng.integers(0, 3))
        seen = []
        monkeypatch.setattr(reading, "MANY", 0)
        for hidden in (False, True):
            monkeypatch.setattr(
                importlib.util, "find_spec", lambda name, hidden=hidden: None if hidden else found(name)
            )
            try:
                table = tables.read(write("t", text), False)
                seen.append((cells(table), [str(column.numbers().tolist()) for column in table.columns]))
            except tables.TableError as error:
                seen.append(str(error))
        assert seen[0] == seen[1], text


def test_polars_is_used_for_many_rows_if_it_is_there() -> None:
    pytest.importorskip("polars")
    for lines, kind in ((reading.MANY, reading.Polars), (reading.MANY - 1, reading.Texts)):
        table = tables.read(write("t", "a,b\n" + "1,x\n" * (lines - 1)))
        assert type(table.columns[0]) is kind and table.rows == lines - 1


# ---- what only seems to be a header, or a column ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    ["2020-01-{:02},no", "{:02}/01/2021,yes", "1/{}/21,no", "2020-01-{:02}T12:00:00Z,x1", "$ {}.50,no", '"0,{}",n'],
)
def test_a_header_over_dates_and_over_numbers_with_signs(row: str) -> None:
    rows = [row.format(day) for day in range(1, 20)]
    found = tables.read(write("t.csv", "\n".join(["d1,t", *rows])))
    assert found.header and found.names == ["d1", "t"]
    found = tables.read(write("t.csv", "\n".join(rows)))
    assert not found.header and found.rows == 19
    wide = "name,Jan 2020,50%\nann,1,2\nbob,3,4\n"
    assert tables.read(write("t.csv", wide)).names == ["name", "Jan 2020", "50%"], "dates may be names too"


@pytest.mark.parametrize("header", ["a,t,", "a,t", "a,t,,"])
def test_separators_at_the_ends_of_rows(header: str) -> None:
    marks = "," * max(1, header.count(",") - 1)
    text = header + "\n" + "".join(f"{i},{'xy'[i % 2]}{marks}\n" for i in range(3, 30))
    found = tables.read(write("t.csv", text))
    assert found.names == ["a", "t"] and found.told == [
        "the last column has neither a name nor a value, and was left out"
    ]
    assert tables.prepare("t.csv").decisions.target.name == "t"  # type: ignore[union-attr]
    assert tables.read(write("t.csv", "a,t,u\n1,x,\n2,y,\n")).names == ["a", "t", "u"], "it has a name"


def test_durations_are_seconds() -> None:
    days = np.array([86400, 30, "NaT"], "m8[s]")
    columns = [days, [timedelta(days=1), timedelta(seconds=30), None]]
    for library in ("pandas", "polars"):
        with contextlib.suppress(ImportError):
            columns.append(importlib.import_module(library).Series(days.astype("m8[ns]")))
    for column in columns:
        cells = tables.read({"a": column})["a"]
        np.testing.assert_array_equal(cells.numbers(), [86400, 30, np.nan])
        found = tables.decide(tables.read({"a": column}), None).columns[0]
        assert isinstance(found, tables.Number) and (found.unit, found.why[:7]) == ("seconds", "seconds")
