"""A later table may write its numbers in another way than the one that was learnt from."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import write

from nnlite import tables
from nnlite.tables import notation
from nnlite.tables.cells import Texts

pytestmark = pytest.mark.usefixtures("empty_folder")
NAN = np.nan


def decided(**columns: list[str]) -> tables.Decisions:
    return tables.decide(tables.read(columns), None)


@pytest.mark.parametrize(
    ("learnt", "later", "expected"),
    [
        (["0.25", "1.5", "3"], ["0,25", "1,5", "3"], [0.25, 1.5, 3]),
        (["0,25", "1,5", "3"], ["0.25", "1.5", "3"], [0.25, 1.5, 3]),
        (["0.25", "1.5", "3"], ["0,123", "-0,456"], [0.123, -0.456]),
        (["1234.5", "2", "3"], ["1,234.5", "$2", "1,000"], [1234.5, 2, 1000]),
        (["1234.5", "2", "3"], ["1.234,5", "2 €", "1.000"], [1234.5, 2, 1000]),
        (["1.234,5", "2", "3"], ["1.234", "2.345"], [1234, 2345]),
        (["1.234,5", "2", "3"], ["1.234", "2.34"], [1.234, 2.34]),
        (["$1,234", "$2", "$3"], ["1,234", "2"], [1234, 2]),
        (["1", "2", "3"], ["(5)", "−6"], [-5, -6]),
    ],
)
def test_numbers_are_read_as_the_later_table_writes_them(
    learnt: list[str], later: list[str], expected: list[float]
) -> None:
    x, _ = decided(a=learnt).encode(tables.read({"a": later}))
    np.testing.assert_array_equal(x[:, 0], expected)


def test_the_other_columns_tell_what_one_does_not() -> None:
    decisions = decided(a=["0.25", "1.5", "30"] * 4, b=["4", "50", "6.5"] * 4)
    for b, expected in (("0,5", 1.234), ("1.000,5", 1.234), ("0.5", 1234), ("1,000.5", 1234)):
        x, told = decisions.encode(tables.read({"a": ["1,234"] * 2, "b": [b, "7"]}))
        assert x[0, 0] == expected and not told
    with pytest.raises(tables.TableError, match=r"1:1: no cell of 'a' is a number, .*'1,234'"):
        decisions.encode(tables.read({"a": ["1,234"] * 2, "b": ["1", "7"]}))
    found = tables.decide(tables.read({"a": ["1,234", "5,678"] * 9, "b": ["0,5", "1,5", "2"] * 6}), None)
    assert found.encode(tables.read({"a": ["1,234"], "b": ["0,5"]}))[0].tolist() == [[1.234, 0.5]], "in training too"


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("slip", ["", "unknown"])
def test_plain_numbers_stay_plain_whatever_separates_the_columns(separator: str, slip: str) -> None:
    rows = [f"{k + 1}.5{k:02}{separator}{2 * k + 2}.12{k % 10}" for k in range(30)]
    write("t.csv", "\n".join([f"a{separator}y", *rows, f"{slip}{separator}1.125"]))
    found = tables.prepare("t.csv", "y", test=0.2)
    assert found.split.x_train[:, 0].max() < 32 and found.split.y_train.max() < 70


def test_another_column_tells_how_plain_numbers_of_the_training_are_meant() -> None:
    rows = [f"{k + 1}.5{k:02};0,{k}5;{2 * k + 2}.12{k % 10}" for k in range(30)]
    write("t.csv", "\n".join(["a;b;y", *rows]))
    found = tables.prepare("t.csv", "y")
    assert found.decisions.columns[0].why == found.decisions.columns[1].why == "decimal commas"
    assert found.decisions.target and found.decisions.target.why == "numbers, 30 values, decimal commas"
    assert found.split.x_train[:, 0].min() > 1000 and found.split.y_train.min() > 1000
    assert found.split.x_train[:, 1].max() < 1


@pytest.mark.parametrize(
    ("learnt", "separator", "later", "expected", "doubt"),
    [
        ("0,5", ";", "6,669", 6.669, ""),
        ("0,5", ",", "6.669", 6.669, ""),
        ("0,5", ",", "6.669 €", 6.669, ""),
        ("0,5", ",", '"6,669"', 6.669, ""),
        ("0,5", "\t", "6.669", 6669, "'6.669' taken as 6669; nothing tells that it is not 6.669"),
        ("0.5", ";", "6,669", 6.669, "'6,669' taken as 6.669; nothing tells that it is not 6669"),
        ("0.5", ",", '"6,669"', 6669, "'6,669' taken as 6669; nothing tells that it is not 6.669"),
        ("0.5", ";", "6.669", 6.669, ""),
        ("0.5", ",", "6.669 €", 6.669, ""),
        ("$1,234.5", ";", "6,669", 6669, ""),
    ],
)
def test_the_separator_tells_what_the_cells_do_not(
    learnt: str, separator: str, later: str, expected: float, doubt: str
) -> None:
    decisions = decided(a=[learnt, "3", "4"])
    write("t.csv", f"a{separator}b\n{later}{separator}x\n{later}{separator}x\n")
    x, told = decisions.encode_cells(tables.read("t.csv"))
    assert x[:, 0].tolist() == [expected] * 2
    assert [line for line in told if "nothing tells" in line] == ([f"a: {doubt}"] if doubt else [])


def test_one_slip_does_not_turn_a_column() -> None:
    column = decided(a=["1.234,5", "2", "3"] * 9)
    x, told = column.encode(tables.read({"a": ["1.234"] * 40 + ["0.5"]}))
    assert set(x[:40, 0]) == {1234} and told == ["a: no number in 1 of 41 cells, such as '0.5'; taken as missing"]


def test_a_column_of_which_nothing_can_be_read_is_refused() -> None:
    write("t.csv", "a,d,y\n" + "".join(f"{i / 3},2020-01-{i + 1:02},{'uv'[i % 2]}\n" for i in range(20)))
    decisions = tables.prepare("t.csv").decisions
    write("new.csv", "d,a\nsoon,\nlater,five\n")
    with pytest.raises(tables.TableError) as found:
        decisions.encode(tables.read("new.csv"))
    assert found.value.problems == [
        f"new.csv:{at} is a {kind}, which the model reads there: {text!r}; write {kind}s, or leave cells empty"
        for at, kind, text in (("3:2: no cell of 'a'", "number", "five"), ("2:1: no cell of 'd'", "date", "soon"))
    ]
    x, told = decisions.encode(tables.read({"a": [None, ""], "d": ["2020-01-02", "NA"]}))
    assert np.isfinite(x).all() and not told, "nothing is written there"


def test_dates_in_the_other_order() -> None:
    found = decided(d=[f"{month}/{day}/2020" for month in (1, 2, 3) for day in range(1, 28)])
    column = found.columns[0]
    assert isinstance(column, tables.Date) and not column.day_first
    assert column.numbers(Texts(["5/2/2020", "25/4/2020"])).tolist() == [18297, 18377], "5 February, 25 April"
    slip = column.numbers(Texts(["5/2/2020"] * 40 + ["25/4/2020"]))
    assert slip[0] == 18384 and np.isnan(slip[-1]), "one slip does not turn a column"
    assert column.numbers(Texts(["5/2/2020", "4/25/2020"])).tolist() == [18384, 18377], "2 May"


DAY, MONTH, OPEN = ["25/3/2021", "9/4/2021"], ["3/25/2021", "4/9/2021"], ["a", "b"]


def test_the_other_columns_tell_the_order_of_dates() -> None:
    start = [f"{1 + i % 12}/{1 + i % 7}/2020" for i in range(40)]  # the second is 2/2, the eighth 8/1
    for other, day_first, why in (
        (DAY, True, ", day before month"),
        (MONTH, False, ""),
        (OPEN, False, ", month before day (assumed)"),
    ):
        table = tables.read({"start": start, "other": other * 20})
        found = tables.decide(table, None)
        assert found.columns[0].why == f"days since 1970, place in year and week{why}"
        assert found.encode(table)[0][7, 0] == (18269 if day_first else 18475), "8 January or 1 August"
        for later, turned in ((DAY, True), (MONTH, False), (OPEN, day_first)):
            if (other is OPEN) == (later is OPEN):  # else the second column is of another kind
                x, _ = found.encode(tables.read({"start": ["8/1/2020"] * 2, "other": later}))
                assert x[0, 0] == (18269 if turned else 18475)


def test_columns_with_dates_in_different_orders_do_not_tell_each_others() -> None:
    found = decided(start=[*MONTH, "8/1/2020"] * 9, end=[*DAY, "8/1/2020"] * 9)
    start, end = found.columns
    assert (
        isinstance(start, tables.Date) and isinstance(end, tables.Date) and (start.day_first, end.day_first) == (0, 1)
    )
    x, _ = found.encode(tables.read({"start": ["8/1/2020"], "end": ["25/3/2020"]}))
    assert x[0, 0] == 18475, "1 August, as in training"


@pytest.mark.parametrize(
    ("learnt", "later", "told"),
    [
        (["5 %", "50 %", "7 %"], ["5 %", "1,5 %"], []),
        (["5 %", "50 %", "7 %"], ["0.5", "0.25"], ["a: written without a sign, and in training with '%' beside it"]),
        (["5", "50", "7"], ["5 %", "6 %"], ["a: written with '%' beside it, and in training without a sign"]),
        (["$5", "$50", "$7"], ["€5", "€6"], ["a: written with '€' beside it, and in training with '$' beside it"]),
        (["$5", "$50", "$7"], ["5", "6"], []),
        (["€ 5", "€ 50", "€ 7"], ["5 EUR", "6 EUR"], []),
        (["£5", "£50", "£7"], ["5 GBP", "£6"], []),
        (["¥5", "¥50", "¥7"], ["5 JPY"], []),
        (["$5", "$50", "$7"], ["5 USD"], []),
        (["5 %", "50 %", "7 %"], ["", "NA"], []),
        (["5 km", "50 km", "7 km"], ["5 km", "6km", "7"], []),
        (["5 km", "50 km", "7 km"], ["5", "6"], []),
        (["5 km", "50 km", "7 km"], ["", "NA"], []),
        (["5 Mio. €", "50 Mio. €", "7 Mio. €"], ["5 Mio. €"], []),
        (["5 km", "50 km", "7 km"], ["5 mi"], ["a: written with 'mi' beside it, and in training with 'km' beside it"]),
        (["5 km", "50 km", "7 km"], ["$5"], ["a: written with '$' beside it, and in training with 'km' beside it"]),
    ],
)
def test_other_signs_are_told(learnt: list[str], later: list[str], told: list[str]) -> None:
    _, found = decided(a=learnt).encode(tables.read({"a": later}))
    assert found == [f"{line}; the number is taken as it stands" for line in told]


def test_a_unit_behind_numbers_in_a_later_table() -> None:
    decisions = decided(a=["5 km", "50.5 km", "7 km"])
    x, told = decisions.encode(tables.read({"a": ["5,5 km", "6 km", "7 mi"]}))
    assert x[:, 0].tolist() == [5.5, 6, 7] and told == [
        "a: no number in 1 of 3 cells, such as '7 mi'; taken as missing"
    ]
    x, told = decisions.encode(tables.read({"a": np.array([5.5, 6])}))
    assert x[:, 0].tolist() == [5.5, 6] and not told
    with pytest.raises(tables.TableError, match="no cell of 'a' is a number"):
        decisions.encode(tables.read({"a": ["5 mi", "6 m"]}))
    with pytest.raises(tables.TableError, match="no cell of 'a' is a number"):
        decided(a=["5", "6", "8"]).encode(tables.read({"a": ["5 mi", "6 mi"]}))


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (["5 %", "0.5", "7 %"], "'%'"),
        (["5 %", "$5", "7 %"], "'$' and '%'"),
        (["$5", "€50", "7"], "'$' and '€'"),
        (["5 %", "0", "7 %"], ""),
        (["5 %", "NA", "7 %"], ""),
        (["$5", "50", "7"], ""),
        (["€5", "50 EUR", "7"], ""),
    ],
)
def test_signs_beside_some_numbers_only_are_told(cells: list[str], told: str) -> None:
    why = decided(a=cells).columns[0].why
    assert (f"with {told} beside some of them, taken as they stand" in why) == bool(told)
    assert ("beside some" in why) == bool(told)


def test_what_a_table_says() -> None:
    assert notation.of_table([Texts(["1.5"]), Texts(["x", "1,234"])]).commas is False
    assert notation.of_table([Texts(["1,5"]), Texts(["x", "1,234"])]).commas is True
    assert notation.of_table([Texts(["1,5"]), Texts(["1.5"])]).commas is None
    assert notation.of_table([Texts(["1,234", "12", "x"])]).commas is None
