"""A value is the same however it is written: in a file, in a frame, in capitals, as a number."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import write

from nnlite import tables
from nnlite.tables import values
from nnlite.tables.cells import Texts

pytestmark = pytest.mark.usefixtures("empty_folder")
YES = ["true", "TRUE", "True", "yes", "Y", "t", "on", "1", "1.0"]
NO = ["false", "FALSE", "False", "no", "N", "f", "off", "0", "0.0"]


def encoded(decisions: tables.Decisions, data: object) -> tuple[list[list[float]], list[str]]:
    x, told = decisions.encode(tables.read(data))
    return x.tolist(), told


@pytest.mark.parametrize(
    "learnt",
    [
        ["true", "false"],
        ["No", "Yes"],
        ["F", "T"],
        [True, False],
        np.array([True, False]),
        ["1", "0"],
        [1, 0],
        ["true", "false", "TRUE", "1", "0"],
        ["yes", "no", "True", "false"],
    ],
    ids=str,
)
def test_yes_and_no_are_the_same_however_they_are_written(learnt: list[object]) -> None:
    rows = {"a": list(learnt) * 12}
    decisions = tables.decide(tables.read(rows), None)
    assert len(decisions.features) == 1
    for yes, no in zip(YES, NO):
        assert encoded(decisions, {"a": [yes, no]}) == ([[1], [0]], []), (yes, no)
    for data in (
        {"a": [True, False]},
        {"a": np.array([1, 0])},
        {"a": np.array([1.0, 0.0])},
        {"a": np.array([True, 0])},
    ):
        assert encoded(decisions, data) == ([[1], [0]], [])


def test_what_is_not_yes_or_no_stays_as_it_is() -> None:
    for words in (["NO", "SE", "DK"], ["yes", "no", "maybe"], ["N", "F", "T"], ["0", "1", "n"], ["0", "1"]):
        assert values.merged(dict.fromkeys(words, 1), values.spellings(dict.fromkeys(words, 1))) == dict.fromkeys(
            words, 1
        )
    assert values.places_of(["no", "TRUE"], ["NO", "SE"]) == [-1, -1]
    column = tables.decide(tables.read({"a": ["0.5", "1", "7"] * 9}), None).columns[0]
    _, told = column.encode(Texts(["true", "1"]))
    assert told == ["a: no number in 1 of 2 cells, such as 'true'; taken as missing"], "the column has other numbers"


def test_codes_are_whole_numbers_too() -> None:
    write("codes.csv", "code,y\n" + "01,a\n02,b\n10,c\n" * 9)
    decisions = tables.prepare("codes.csv").decisions
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    for cells in (["01", "02", "10"], [1, 2, 10], np.array([1.0, 2, 10]), ["1", "2.0", "10"]):
        assert encoded(decisions, {"code": cells}) == (expected, [])
    assert values.places_of(["1", "01", "001"], ["01", "1"]) == [1, 0, -1], "001 may be both"
    assert values.places_of(["9007199254740993"], ["9007199254740992", "9007199254740993"]) == [1]
    assert values.places_of(["9007199254740992"], ["9007199254740993"]) == [-1], "the same float, another number"


def test_classes_that_are_yes_and_no() -> None:
    text = "".join(f"{i % 7},{['true', 'False', 'TRUE', 'false'][i % 4]}\n" for i in range(40))
    table = tables.read(write("t.csv", "x,y\n" + text))
    target = tables.choose_target(table, "y")
    assert target.classes == ["False", "TRUE"]
    assert target.values(table["y"], table.notation).tolist() == [1, 0] * 20
    assert target.values(Texts(["1", "no", "?"])).tolist() == [1, 0, -1]
    with pytest.raises(tables.TableError, match="one class only"):
        tables.choose_target(tables.read(write("t.csv", "x,y\n1,true\n2,TRUE\n3,True\n")), "y")
