"""What a column is taken as, what its target is, and the numbers that stand in its place."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import write

import nnlite as nl
from nnlite import tables
from nnlite.tables import columns, written
from nnlite.tables.cells import Numbers, Texts
from nnlite.tables.columns import decide
from nnlite.tables.notation import Notation

pytestmark = pytest.mark.usefixtures("empty_folder")


def column(cells: list[str], name: str = "a", first: bool = False, comma: bool = False, wanted: str = "", rows=None):
    found = decide(
        name, Texts(cells), np.arange(len(cells)) if rows is None else rows, first, Notation(likely=comma), wanted
    )
    x, told = found.encode(Texts(cells))
    assert x.shape == (len(cells), len(found.features))
    assert tables.Decisions.of(json.loads(json.dumps(notes(found)))).columns == [found]
    return found, x, told


def notes(column: tables.Column) -> dict[str, object]:
    return tables.Decisions([column.name], [column], None, True).notes()


@pytest.mark.parametrize(
    ("cells", "comma", "values"),
    [
        (["1", "2.5", "-3e2"], False, [1, 2.5, -300]),
        (["$1,234.50", "$2", "($3)"], False, [1234.5, 2, -3]),
        (["12 %", "7%", "-3.5 %"], False, [12, 7, -3.5]),
        (["1.234,50 €", "2", "3,5"], True, [1234.5, 2, 3.5]),
        (["1,5", "2,25", "1.000"], True, [1.5, 2.25, 1000]),
        (["1 234 567", "1'234", "−5"], False, [1234567, 1234, -5]),
        (["1,5", "2", "0,25"], False, [1.5, 2, 0.25]),
        (["1,500", "2,000", "12,250,000"], False, [1500, 2000, 12250000]),
    ],
)
def test_numbers_as_people_write_them(cells: list[str], comma: bool, values: list[float]) -> None:
    found, x, _ = column(cells, comma=comma)
    assert found.kind == "number" and x[:, 0].tolist() == values


def test_what_is_no_number() -> None:
    for text in ("1,5,6", "x", "1 2", "", "12 km", "1,23,4"):
        assert np.isnan(written.parsed(text)), text
    assert np.isnan(written.parsed("1.5", comma=True))
    assert column(["007", "012", "007", "100"])[0].kind == "category", "codes"


@pytest.mark.parametrize("mark", ["NA", "n.a.", "-nan", "-1.#IND", "#DIV/0!", "#VALUE!", "\\N", "."])
def test_how_a_missing_value_is_written(mark: str) -> None:
    """By R, people, C, Windows, Excel, a database and SAS."""
    found, _, told = column(["1.5", mark, "3", "4.5"] * 5)
    assert (found.kind, found.missing, told) == ("number", 5, [])
    found, _, told = column(["x", mark, "y", "z"] * 5)
    assert (found.kind, found.features, told) == ("category", [*(f"a is {c}" for c in "xyz"), "a is missing"], [])


def test_a_missing_number_is_the_median_and_a_column_says_so() -> None:
    found, x, told = column(["1", "NA", "3", "?", "10", "nan"])
    assert (found.kind, found.missing, found.features) == ("number", 3, ["a", "a is missing"]) and told == []
    assert x.tolist() == [[1, 0], [3, 1], [3, 0], [3, 1], [10, 0], [3, 1]]
    x, told = found.encode(Texts(["", "2", "x"]))
    assert x.tolist() == [[3, 1], [2, 0], [3, 1]] and told == [
        "a: no number in 1 of 3 cells, such as 'x'; taken as missing"
    ]


def test_fills_and_categories_come_from_the_rows_to_learn_from() -> None:
    found, _, _ = column(["1", "2", "3", "900", "", "900"], rows=np.arange(3))
    assert found.fill == 2 and not found.flag, "the gap lies in another row"
    found, x, told = column(["red", "blue", "red", "blue", "green"], rows=np.arange(4))
    assert found.values == ["blue", "red"] and told == [
        "a: 1 value never seen in training, such as 'green', in 1 of 5 cells; taken as missing"
    ]
    assert x[4].tolist() == [0], "as the most frequent"


def test_a_few_cells_that_are_no_numbers() -> None:
    found, x, _ = column([*map(str, range(40)), "l.7"])
    assert found.kind == "number" and "'l.7': missing" in found.why and x[-1].tolist() == [19.5, 1]


def test_one_word_that_stands_for_a_gap() -> None:
    found, x, told = column(["3", "unknown", "5", "9", "Unknown", "7", "NA"] * 9)
    assert isinstance(found, tables.Number) and (found.gap, found.missing, told) == ("unknown", 27, [])
    assert "18 of its cells are no numbers, such as 'unknown': missing" in found.why
    assert x[:3].tolist() == [[3, 0], [6, 1], [5, 0]]
    assert found.encode(Texts(["UNKNOWN"]))[1] == [], "no cell is a number, and none has to be"
    assert found.encode(Texts(["1", "unknown", "x"]))[1] == [
        "a: no number in 1 of 3 cells, such as 'x'; taken as missing"
    ]
    older = notes(found)
    del older["columns"][0]["gap"]  # type: ignore[index]
    (old,) = tables.Decisions.of(older).columns
    assert old.encode(Texts(["1", "unknown"]))[1] == [
        "a: no number in 1 of 2 cells, such as 'unknown'; taken as missing"
    ]
    for cells in (["3", "low", "5", "high"], ["3", "low", "low", "5", "low"], ["0", "1", "yes"], ["3", "3", "x"]):
        assert column(cells * 9)[0].kind == "category", cells


@pytest.mark.parametrize(
    ("cells", "unit", "values", "why"),
    [
        (
            ["12.5 km/h", "7km/h", "", "1,234 km/h"],
            "km/h",
            [12.5, 7, 12.5, 1234],
            "in 'km/h', filled with the median, 12.5",
        ),
        (["23 °C", "-5 °C", "−7°C"], "°C", [23, -5, -7], "in '°C'"),
        (["12,5 m²", "7 m²", "0,25 m²"], "m²", [12.5, 7, 0.25], "decimal commas, in 'm²'"),
        (["10,000+", "500+", "5+"], "+", [10000, 500, 5], "in '+'"),
        (["5 ft", "6 ft", "x"] + ["7 ft"] * 18, "ft", [5, 6, 7] + [7] * 18, None),
        (["5 ft", "unknown", "7 ft", "8 ft"] * 5, "ft", [5, 7, 7, 8] * 5, None),
        (["1.5 Mio. €", "2 Mio. €", "3 Mio. €"], "Mio. €", [1.5, 2, 3], "in 'Mio. €'"),
    ],
)
def test_numbers_with_a_unit_behind_them(cells: list[str], unit: str, values: list[float], why: str | None) -> None:
    found, x, _ = column(cells)
    assert isinstance(found, tables.Number) and (found.unit, x[:, 0].tolist()) == (unit, values)
    assert why is None or found.why == why


@pytest.mark.parametrize(
    "cells",
    [
        ["1st", "2nd", "3rd", "4th"],
        ["9th", "10th", "11th", "12th"],
        ["5A", "6B", "7A"],
        ["10 yards", "12 feet", "14 feet"],
        ["36 months", "60 months"],
        ["A 1", "A 2", "A 3"],
        ["1-2", "2-3", "3-4"],
        ["05 km", "06 km", "07 km"],
    ],
)
def test_what_has_no_single_unit_is_a_category(cells: list[str]) -> None:
    assert column([*cells, *cells[:2]] * 9)[0].kind == "category"


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["€110.5M", "€565K", "€0", "€1.25M"], [110.5e6, 565e3, 0, 1.25e6]),
        (["900", "1.2K", "3.4M", "2B"], [900, 1200, 3.4e6, 2e9]),
        (["900", "1.2K", "340", "15K"], [900, 1200, 340, 15000]),
        (["1,5 Mn", "0,75 bn", "1.200,5 Mn", "2 Mn"], [1.5e6, 0.75e9, 1200.5e6, 2e6]),
        (["512MB", "1TB", "1,024MB", "64 B"], [512e6, 1e12, 1024e6, 64]),
        (["-$3K", "-2.5M", "$7K", "8"], [-3000, -2.5e6, 7000, 8]),
        (["€139K", "€565K", "€1,200K", "€80K"], [139e3, 565e3, 1200e3, 80e3]),
        (["1.2M", "3.4K", "5.6M", "7.8K"] * 8 + ["9X"], [1.2e6, 3400, 5.6e6, 7800]),
    ],
)
def test_powers_of_ten_behind_numbers(cells: list[str], values: list[float]) -> None:
    found, x, _ = column(cells)
    assert isinstance(found, tables.Number) and found.unit in written.EXPONENTS
    assert found.why.endswith(f"powers of ten such as {found.unit}") or "9X" in cells or "," in found.why
    assert x[:4, 0].tolist() == pytest.approx(values, rel=1e-15)
    if found.unit == written.AMOUNTS:
        later = found.encode(Texts(["1.5K", "700", "2M", "139,000"]))
        assert later[0][:, 0].tolist() == [1500, 700, 2e6, 139_000], "in a later table"


@pytest.mark.parametrize(
    ("cells", "unit"),
    [
        (["12M", "24M", "2T", "3T"], None),  # sizes of toddlers
        (["100m", "1500m", "5k", "10k"], None),
        (["12K", "7M", "3B", "20K"], None),  # seats
        (["5m", "3km", "2m", "7km"], None),
        (["10M", "12L", "9K", "8M"], None),
        (["5K", "10K", "42K", "21K"], "K"),
        (["300 K", "273 K", "100.5 K", "250 K"], "K"),
        (["8GB", "16GB", "32GB", "64GB"], "GB"),
        (["1.5M€", "2.5M€", "3M€", "4M€"], "M€"),
        ([*map(str, range(1, 60)), "12B", "7K"], ""),  # houses
        ([*map(str, range(1, 60)), "112B", "7K"], ""),
        (["1,234e5", "2,500e3", "3,125e4", "0,5"], ""),
    ],
)
def test_letters_that_are_no_powers_of_ten(cells: list[str], unit: str | None) -> None:
    found = column(cells * 5)[0]
    assert found.kind == "category" if unit is None else getattr(found, "unit", None) == unit


def test_signs_beside_powers_of_ten() -> None:
    assert "'$' and '€' beside some of them" in column(["€1.2M", "$565K", "€3.5M", "$250K"])[0].why
    assert column(["1,234e5", "2,500e3", "0,5"])[1][:2, 0].tolist() == [123_400, 2500]


def test_a_unit_of_two_numbers_if_asked_for() -> None:
    assert column(["36 months", "60 months"] * 9, wanted="number")[1][:2, 0].tolist() == [36, 60]


def test_infinite_numbers_are_gaps() -> None:
    found, x, told = column([*map(str, range(19)), "inf", "", "-Infinity"], rows=np.arange(1, 22))
    assert isinstance(found, tables.Number) and found.missing == 3
    assert found.why == "2 of its cells are infinite: missing, filled with the median, 9.5"
    assert x[18:].tolist() == [[18, 0], [9.5, 1], [9.5, 1], [9.5, 1]]
    assert told == ["a: no number in 2 of 22 cells, such as 'inf'; taken as missing"]
    assert decide("a", Numbers(np.array([1, 2, np.inf])), np.arange(3)).kind == "number"


def test_categories() -> None:
    found, x, _ = column(["x", "y", "z", "x", "y", "z", "NA"])
    assert found.features == ["a is x", "a is y", "a is z", "a is missing"]
    assert x[[0, 6]].tolist() == [[1, 0, 0, 0], [1, 0, 0, 1]]
    for words in (("yes", "no"), ("True", "False"), ("T", "F")):
        found, x, _ = column([*words, *words])
        assert found.why == "yes or no" and x.shape == (4, 1) and sorted(x[:2, 0]) == [0, 1]


def test_two_values_beside_rarer_ones_have_a_column_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two values alone, the second tells both apart."""
    monkeypatch.setattr(columns, "MOST_VALUES", 2)
    found, x, _ = column([*"aaaaabbbbbcc"])
    assert found.features == ["a is a", "a is b"] and x[[0, 5, 10]].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert column([*"aaaaabbbbb"])[0].features == ["a is b"]


@pytest.mark.parametrize(("rare", "classes"), [(2, ["0", "1", "2"]), (1, None)])
def test_whole_numbers_of_which_one_is_rare_count_something(rare: int, classes: list[str] | None) -> None:
    cells = ["0"] * (60 - rare) + ["1"] * 40 + ["2"] * rare
    assert target(cells)[1] == classes


def test_rows_are_held_back_by_the_seed() -> None:
    table = {"x": np.arange(40.0) ** 1.5, "y": np.arange(40.0) * 1.1}
    one, same, other = (nl.tables.prepare(table, "y", seed=seed).split.y_test.ravel().tolist() for seed in (0, 0, 1))
    assert one == same != other


def test_categories_of_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [f"v{i}" for i in range(1100) for _ in range(2)] + ["v1099"] * 100
    found, x, told = column([*cells, "only once"])
    assert len(found.features) == 1000 and found.others and x[-1].sum() == 0 and told == []
    assert "a is v1099" in found.features and found.why == "text, 1,101 values, the rarest 101 as one"
    assert len(column([f"country {i % 190}" for i in range(600)])[0].features) == 190
    monkeypatch.setattr(columns, "MOST_NUMBERS", 60)
    assert len(column(cells, wanted="category")[0].features) == 50, "so many always"
    monkeypatch.setattr(columns, "MOST_NUMBERS", 2000 * len(cells))
    assert len(column(cells * 4, wanted="category")[0].features) == 500


@pytest.mark.parametrize(
    ("cells", "name", "first", "why"),
    [
        (["7"] * 20, "a", False, "always the same"),
        (["7", "7.0"] * 10, "a", False, "always the same"),
        (["x"] * 20, "a", False, "always the same"),
        (["NA"] * 20, "a", False, "has no value"),
        ([str(i) for i in range(1, 21)], "a", False, "counts the rows"),
        ([f"n{i}" for i in range(20)], "row names", True, "names the rows"),
        ([str(7 * i % 23) for i in range(20)], "patient_id", False, "an identifier: every row has another one"),
        ([f"n{i}" for i in range(20)], "a", False, "every value is another: names or free text"),
        ([f"n{i % 19}" for i in range(20)], "a", False, "text: 19 different values in 20 rows"),
        (["inf", "-inf"] * 10, "a", False, "has no number in the rows to learn from"),
        ([*map(str, range(19)), "1e200"], "a", False, "has numbers too large to be squared"),
        ([str(2**70 + 3 * i) for i in range(20)], "a", False, "differs only after the 16th digit"),
    ],
)
def test_what_is_left_out_with_a_word(cells: list[str], name: str, first: bool, why: str) -> None:
    found, x, _ = column(cells, name, first)
    assert (found.kind, found.why, x.shape[1]) == ("left out", why, 0)


@pytest.mark.parametrize(("learnt", "held"), [("7", "8"), ("x", "y"), ("2020-01-01", "2020-02-01"), ("5 km", "6 km")])
def test_what_differs_only_in_rows_held_back(learnt: str, held: str) -> None:
    found, x, _ = column([learnt] * 20 + [held] * 3, rows=np.arange(20))
    assert (found.why, x.shape[1]) == ("always the same in the rows to learn from", 0)


def test_a_column_that_only_counts_can_be_asked_for() -> None:
    rows = {"x": range(20), "name": [f"n{i}" for i in range(20)], "y": ["a", "b"] * 10}
    with pytest.raises(tables.TableError) as found:
        tables.prepare(rows, "y")
    assert str(found.value) == (
        "table:1:1: no column is left to learn from: x counts the rows; "
        "name every value is another: names or free text; --numeric x takes it all the same (in Python, numeric=['x'])"
    )
    assert tables.prepare(rows, "y", numeric=["x"]).decisions.features == ["x"]
    with pytest.raises(tables.TableError, match=r"no column is left to learn from: x as asked; [^;]*free text$"):
        tables.prepare(rows, "y", ignore=["x"])


def test_numbers_that_were_asked_for() -> None:
    assert column(["x", "y"] * 9, wanted="number")[0].why == "has no number in the rows to learn from"
    found, x, _ = column(["007", "012", "x"], wanted="number")
    assert found.kind == "number" and x[:, 0].tolist() == [7, 12, 9.5]
    assert column(["1", "2", "1"], wanted="category")[0].features == ["a is 2"]


def test_what_only_looks_like_it() -> None:
    assert column([str(3 * i + 5) for i in range(20)])[0].kind == "number"
    assert column([str(i % 4) for i in range(20)], "id")[0].kind == "number"
    assert column([str(i) for i in range(1, 6)])[0].kind == "number", "too few rows to tell"


@pytest.mark.parametrize(
    ("text", "day_first", "expected"),
    [
        ("2012-01-02", False, "2012-01-02T00:00:00"),
        ("2012/1/2", False, "2012-01-02T00:00:00"),
        ("2012-01", False, "2012-01-01T00:00:00"),
        ("2012-01-01T06:16:41Z", False, "2012-01-01T06:16:41"),
        ("2012-01-01 06:16:41.5+01:00", False, "2012-01-01T06:16:41"),
        ("3/4/2012", False, "2012-03-04T00:00:00"),
        ("3/4/2012", True, "2012-04-03T00:00:00"),
        ("31.12.99", True, "1999-12-31T00:00:00"),
        ("1/2/05 11:30 PM", False, "2005-01-02T23:30:00"),
        ("Jan 1 2000", False, "2000-01-01T00:00:00"),
        ("March 5, 2001", False, "2001-03-05T00:00:00"),
        ("1-Feb-70", False, "1970-02-01T00:00:00"),
        ("08:30", False, "1970-01-01T08:30:00"),
        ("11:30:15 PM", True, "1970-01-01T23:30:15"),
        ("12:30 PM", False, "1970-01-01T12:30:00"),
        ("12:05 AM", False, "1970-01-01T00:05:00"),
    ],
)
def test_dates(text: str, day_first: bool, expected: str) -> None:
    found = written.date(text, day_first)
    assert found is not None and found.isoformat() == expected


def test_what_is_no_date() -> None:
    for text in ("2012-13-01", "31/31/2012", "Foo 1 2000", "12", "1.5", "2012-02-30", "24:00", "8:5", ""):
        assert written.date(text) is None and written.date(text, True) is None, text


def test_a_column_of_dates() -> None:
    found, x, _ = column([f"{day}/{month}/2012" for month in range(1, 13) for day in (1, 2, 3, 5, 14)])
    assert found.kind == "date" and found.day_first and found.wheels == ["year", "week"] and x.shape == (60, 5)
    assert x[0, 0] == 15340, "days since 1970"
    sunday = np.flatnonzero((x[:, 0] + 4) % 7 == 0)
    np.testing.assert_allclose(x[sunday, 3:], [[0, 1]] * len(sunday), atol=1e-9)
    days = [f"2012-{month:02}-{day:02}" for month in range(1, 13) for day in (1, 2, 3, 5, 14)]
    assert column(["2012-01-01 00:00", "2012-01-01 06:00", "2012-01-01 12:00"])[0].wheels == ["day"]
    for slip in ("0000-00-00", "unknown"):  # before the dates and after them, also in the order of the alphabet
        for cells in ([slip, *days], [*days, slip]):
            assert column(cells)[0].kind == "date", slip
    found, x, _ = column(["08:30", "12:00", "", "23:15:30"])
    assert (found.kind, found.why) == ("date", "time of day, filled with the median") and found.wheels == ["day"]
    np.testing.assert_allclose(x[1], [0.5, 0, 0, -1], atol=1e-9)  # noon is half a turn from midnight
    found, x, _ = column(["2012-01-01", "", "2012-01-03"])
    assert found.features[:2] == ["a", "a is missing"] and x[1].tolist()[:2] == [15340, 1]


def test_dates_as_whole_numbers() -> None:
    days = [f"2015{month:02}{day:02}" for month in range(1, 13) for day in (1, 9, 28)]
    plain = column([f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in days])[1]
    frame = np.array([float(day) for day in days])
    for cells in (Texts(days), Numbers(frame), Numbers(frame.astype(np.int64)), Texts([f"{day}.0" for day in days])):
        found = decide("a", cells, np.arange(len(cells)))
        assert found.kind == "date" and found.why == "days since 1970, place in year, of numbers such as 20150131"
        np.testing.assert_array_equal(found.encode(cells)[0], plain)
    found, x, _ = column([*days, "", "20151341"])
    assert isinstance(found, tables.Date) and found.missing == 2 and x[-2:, 1].tolist() == [1, 1]
    later, told = found.encode(Numbers(np.array([20150131, np.nan, 5])))
    assert later[:2, 0].tolist() == [16466, found.fill] and told == [
        "a: no date in 1 of 3 cells, such as '5'; taken as missing"
    ]
    assert column(days, wanted="number")[1][0, 0] == 20150101
    months = [f"2015{month:02}00" for month in range(1, 13)]  # no days
    for others in (days[:19], days[:9] * 3, [*days, "20151341", "5", "7"], months * 3, [f"1{day[1:]}" for day in days]):
        assert column(others)[0].kind == "number", others


def test_dates_at_one_place_of_the_year_have_no_seasons() -> None:
    """Of annual dates, leap years alone move the place. Scaled, any other date would be larger than all numbers."""
    annual = [f"{year}-05-17" for year in range(1960, 2020)]
    found, x, _ = column([*annual, ""])
    assert found.wheels == [] and x.shape == (61, 2)
    assert x[60].tolist() == [x[29, 0], 1], "filled with a date that is there, and not with the middle of two"
    assert column([f"2012-{month:02}-01 12:00" for month in range(1, 13)])[0].wheels == ["year"], "always noon"
    assert column([f"{year}-{month}-17" for year in range(1960, 2020) for month in ("05", "06")])[0].wheels == ["year"]


# ---- the target -----------------------------------------------------------------------------------------------------


def target(cells: list[str], task: str | None = None, header: str = "x,y\n") -> tuple[list[float], list[str] | None]:
    rng = np.random.Generator(np.random.PCG64(0))
    text = header + "".join(f'{number:.6f},"{cell}"\n' for number, cell in zip(rng.random(len(cells)), cells))
    table = tables.read(write("t.csv", text), True)
    found = tables.choose_target(table, "y", task)
    return found.values(table["y"], table.notation).tolist(), found.classes


def test_what_a_target_is() -> None:
    assert target(["b", "a", "b"]) == ([1, 0, 1], ["a", "b"])
    assert target(["10", "9", "10", "9"]) == ([1, 0, 1, 0], ["9", "10"])
    assert target(["1", "2", "3", "4"]) == ([1, 2, 3, 4], None)
    assert target(["1", "2", "3", "4"], "classification") == ([0, 1, 2, 3], ["1", "2", "3", "4"])
    assert target(["0.5", "1.5", "0.5", "1.5"]) == ([0.5, 1.5, 0.5, 1.5], None)
    assert target(["$1,000", "$2,500", "$700"] * 5) == ([1000, 2500, 700] * 5, None)
    assert target(["yes", "no"] * 5)[1] == ["no", "yes"]


def test_codes_are_classes_and_counts_are_numbers() -> None:
    assert target(["1", "2", "3", "5"] * 9)[1] == ["1", "2", "3", "5"]
    assert target(["3", "4", "5"] * 9)[1] is None, "codes begin at 0 or 1"
    assert target(["0", "1", "2", "12"] * 9)[1] is None, "codes have no large gaps"
    counts = ["0"] * 100 + ["1"] * 60 + ["2"] * 20 + ["3"] * 2
    assert target(counts)[1] is None and target(counts, "classification")[1] == ["0", "1", "2", "3"]
    assert target(["0", "1"] * 5, "regression") == ([0, 1] * 5, None)
    assert target([str(i) for i in range(50)] * 2)[1] is None


def test_numbers_with_a_unit_are_a_target_if_there_are_many() -> None:
    assert target([f"{n} lbs" for n in range(150, 180)] * 2)[0][:2] == [150, 151]
    assert target([f"€{n}K" for n in range(500, 520)] + ["€1.5M", "€0"])[0][-3:] == [519_000, 1.5e6, 0]
    assert target([f"{n}K" for n in range(300, 330)] * 3 + ["900", "850"])[0][-3:] == [329_000, 900, 850]
    assert target(["5,5 lbs", "6,25 lbs", "7,5 lbs"] * 3, "regression")[0][:3] == [5.5, 6.25, 7.5]


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["5 lbs", "6 lbs", "7 lbs"] * 3, None),
        ([f"0{n} lbs" for n in range(50, 90)] * 3, None),
        ([f"{n} lbs" for n in range(150, 180)] * 3 + ["light", "heavy", "light"] * 40, None),
        ([f"€{n}.5M" for n in range(1, 30)] * 3 + ["n.b.", "€500K"], None),
        (["1.5K", "2.5M"] * 9, "classification"),
    ],
)
def test_classes_keep_their_units(cells: list[str], task: str | None) -> None:
    found, classes = target(cells, task)
    assert classes == sorted({*cells}) and min(found) >= 0


def test_labels_stay_as_they_are_written() -> None:
    assert target(["007", "012", "007"])[1] == ["007", "012"]
    assert target(["1", "1.0", "2", "1", "2.0", "2.0"])[1] == ["1", "2.0"]
    ids = [2**53, 2**53 + 1, 2**64 + 1]
    found = target([str(number) for number in ids] * 3, "classification")
    assert found == ([0, 1, 2] * 3, [str(number) for number in ids]), "two that are the same float"


def test_na_is_never_a_class_and_none_may_be_one() -> None:
    assert target(["a", "NA", "b", "", "?", "NaN", "a"]) == ([0, -1, 1, -1, -1, -1, 0], ["a", "b"])
    assert target(["none", "mild", "none", "mild"])[1] == ["mild", "none"]
    assert np.isnan(target(["1.5", "NA", "2.5", "4"])[0][1])


@pytest.mark.parametrize(
    ("cells", "task", "told"),
    [
        ([f"n{i}" for i in range(20)], None, "2:2: the target 'y' names the rows"),
        ([str(i) for i in range(20)], None, "2:2: the target 'y' only counts or names the rows; give another with"),
        (["1.5", "l.7", "2.5"], None, "3:2: the text 'l.7' in a target of numbers"),
        (["a", "b", "a"], "regression", "2:2: the text 'a' in a target of numbers"),
        (["1", "1.5", "2"], "classification", "3:2: '1.5' is no class, which is a text or a whole number; try --task"),
        (["x", "x", "x", "NA"], None, "2:2: the target holds one class only, 'x'"),
        (["1.5"] * 3, None, "2:2: the target holds one class only, '1.5'"),
        (["x", "NA", "y"], None, "4:2: too few rows"),
        (["", "NA", "?"], None, "2:2: column 2 ('y') has no value in any row; the last column with values is 'x'"),
        (["1", "2", "3e200"], None, "4:2: '3e200' is too large to be squared; give the target 'y' in another unit"),
        (["2020-01-01", "2021-02-03"] * 2, None, "2:2: the target 'y' holds dates or times, which cannot be predicted"),
        (
            ["1/2/20", "13/2/20", "5/5/20"],
            "regression",
            "2:2: the target 'y' holds dates or times, which cannot be predicted",
        ),
        (["1.5", "1.50"] * 3, "regression", "2:2: the target is always the same"),
        ([str(2**70 + i) for i in range(9)], "regression", "2:2: the target differs only after the 16th digit"),
    ],
)
def test_a_target_that_cannot_be_learned(cells: list[str], task: str | None, told: str) -> None:
    with pytest.raises(tables.TableError) as found:
        target(cells, task)
    assert str(found.value).startswith(f"t.csv:{told}")


def test_dates_are_classes_if_asked_for() -> None:
    assert target(["2020-01-01", "2021-02-03"] * 2, "classification")[0] == [0, 1, 0, 1]


# ---- a whole table --------------------------------------------------------------------------------------------------


def people(rows: int = 60) -> str:
    rng = np.random.Generator(np.random.PCG64(0))
    age, town = rng.integers(20, 80, rows), rng.choice(["Rome", "Oslo", "Bonn"], rows)
    lines = []
    for i, (a, t) in enumerate(zip(age, town)):
        state = "NA" if i % 20 == 7 else "ok" if a > 50 else "no"
        lines.append(f'{i},{"" if i % 9 == 4 else a},{t},"${a * 100:,}",{state}')
    return write("people.csv", "\n".join(["id,age,town,income,state", *lines]) + "\n")


def test_preparing_splits_decides_and_tells() -> None:
    found = tables.prepare(people(), "state")
    towns = [f"town is {town}" for town in ("Bonn", "Oslo", "Rome")]
    assert found.decisions.features == ["age", "age is missing", *towns, "income"]
    assert found.decisions.groups == {"age": [0, 1], "town": [2, 3, 4], "income": [5]}
    assert found.told == ["left out: 3 rows without a value of 'state'"]
    assert len(found.split.x_train) == 46 and len(found.split.x_test) == 11
    assert abs(found.split.y_train.mean() - found.split.y_test.mean()) < 0.05, "stratified"
    shown = str(found.decisions).splitlines()
    assert shown[0].split() == ["column", "taken", "as", "missing", "why"]
    assert shown[1].split() == ["id", "left", "out", "counts", "the", "rows"] and "target: class" in shown[-1]


def test_preparing_as_asked() -> None:
    found = tables.prepare(people(), "state", categorical=["age"], ignore=["income"], numeric=["id"]).decisions
    kinds = {column.name: column.kind for column in found.columns}
    assert kinds == {"id": "number", "age": "category", "town": "category", "income": "left out"}
    found = tables.prepare(people(), "state", drop_missing=True)
    assert "age is missing" not in found.decisions.features and found.told[1] == "left out: 7 rows that miss a value"


def test_a_task_that_is_not_known() -> None:
    for task in ("classify", "Classification", ""):
        with pytest.raises(ValueError, match=f"^task='{task}' is not known; choose one of 'classification', 'regress"):
            tables.prepare(people(), "state", task)


def test_names_of_columns_are_a_list() -> None:
    for option in ("categorical", "numeric", "ignore"):
        with pytest.raises(TypeError, match=rf"^{option} must be a list of names such as \['age'\], not 'age'"):
            tables.prepare(people(), "state", **{option: "age"})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=f"^{option} must be a list of names"):
            nl.TableRegressor(**{option: "ab"}).fit({"a": range(9), "b": range(9), "c": range(9)}, range(9))


def test_a_column_is_asked_for_as_one_kind() -> None:
    with pytest.raises(tables.TableError, match=r"1:1: the column 'age' is asked for both as category and as left out"):
        tables.prepare(people(), "state", categorical=["age"], ignore=["age"])


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(tables.TableError) as found:
        tables.prepare(people(), "stat", ignore=["x"], categorical=["y"])
    assert [problem.partition(";")[0] for problem in found.value.problems] == [
        f"people.csv:1:1: no column is called {name!r}" for name in ("stat", "y", "x")
    ]


def test_a_later_table_may_have_other_columns_in_another_order() -> None:
    decisions = tables.prepare(people(), "state").decisions
    later = {"town": ["Rome", "Paris"], "extra": [1, 2], "income": ["$1", "2"], "age": [30, None]}
    x, told = decisions.encode(tables.read(later))
    assert x.tolist() == [[30, 0, 0, 0, 1, 1], [decisions.columns[1].fill, 1, *x[1, 2:5], 2]]
    assert told[0] == "ignored: extra" and told[1].startswith("town: 1 value never seen in training, such as 'Paris'")
    with pytest.raises(tables.TableError) as found:
        decisions.encode(tables.read({"town": ["Rome"]}))
    assert [problem.split(": ")[1].split(",")[0] for problem in found.value.problems] == [
        "there is no column 'age'",
        "there is no column 'income'",
    ]


def test_many_columns_are_compared_once() -> None:
    """20,000 columns, each compared with all others, would make 200 million comparisons."""
    compared = []

    class Name(str):
        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = [Name(f"c{i}") for i in range(500)]
    table = tables.Table("t", names, [Texts(["1", "2"]) for _ in names], True)
    decisions = tables.decide(table, None)
    turned = tables.Table("t", names[::-1], table.columns[::-1], True)
    assert decisions.encode(turned)[0].shape == (2, 500) and len(decisions.groups) == 500
    assert len(compared) < 5000


def test_notes_of_another_kind_are_refused() -> None:
    notes = tables.prepare(people(), "state").decisions.notes()
    assert tables.Decisions.of(json.loads(json.dumps(notes))).notes() == notes
    for wrong in ({}, notes | {"columns": [{"kind": "magic"}]}, notes | {"columns": 3}, notes | {"target": {"x": 1}}):
        with pytest.raises(ValueError, match="no notes of decisions"):
            tables.Decisions.of(wrong)
