"""Tables: what a CSV file is read as, what its target is, and scales that are folded into a network's weights."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import write

import nnlite as nl
from nnlite.cli import tables

pytestmark = pytest.mark.usefixtures("empty_folder")

# ---- reading CSV --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2,0\n3,4,1\n",
        "\ufeffa,b,c\n1,2,0\n3,4,1\n",
        "a,b,c\r\n1,2,0\r\n3,4,1\r\n",
        '"a",b,"c"\n" 1",2.0,"0"\n3,4e0,1',
        "a,b,c\n1, 2 ,0\n3,4,1\n\n\n",
    ],
)
def test_the_same_table_written_in_many_ways(text: str) -> None:
    table = tables.read_csv(write("t.csv", text))
    assert table.x.tolist() == [[1, 2], [3, 4]] and table.y == ["0", "1"]
    assert (table.features, table.target, table.lines[0]) == (["a", "b"], "c", 2)


def test_a_header_is_told_by_text_over_the_features() -> None:
    assert tables.read_csv(write("t.csv", "1,2,yes\n3,4,no\n")).features is None
    assert tables.read_csv(write("t.csv", "1,x,yes\n3,4,no\n")).features == ["1", "x"]
    assert tables.read_csv(write("t.csv", "yes,1\nno,2\n"), target="0").y == ["yes", "no"]


def test_a_newline_in_quotes_is_part_of_the_cell_and_of_the_line_count() -> None:
    table = tables.read_csv(write("t.csv", 'a,kind\n1,"two\nlines"\n2,one\n'))
    assert table.y == ["two\nlines", "one"] and table.lines == [2, 4]
    with pytest.raises(ValueError, match=r"^t\.csv:4:1: the text 'x'"):
        tables.read_csv(write("t.csv", 'a,kind\n1,"two\nlines"\nx,one\n'))


def test_what_a_target_is() -> None:
    def target(cells: list[str], loss: str | None = None) -> tuple[list[float], list[str] | None]:
        text = "x,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))
        y, names = tables.target(tables.read_csv(write("t.csv", text)), loss)
        return y.ravel().tolist(), names

    assert target(["b", "a", "b"]) == ([1, 0, 1], ["a", "b"])
    assert target(["10", "9", "10", "9"]) == ([1, 0, 1, 0], ["9", "10"])
    assert target(["1", "2", "3", "4"]) == ([1, 2, 3, 4], None)
    assert target(["1", "2", "3", "4"], "cce") == ([0, 1, 2, 3], ["1", "2", "3", "4"])
    assert target(["0.5", "1.5", "0.5", "1.5"]) == ([0.5, 1.5, 0.5, 1.5], None)
    assert target([str(i) for i in range(50)] * 2)[1] is None
    with pytest.raises(ValueError, match=r"^t\.csv:3:2: loss 'bce' is for classes"):
        target(["1", "1.5", "2"], "bce")


def target(text: str) -> tuple[list[float], list[str] | None]:
    y, names = tables.target(tables.read_csv(write("t.csv", text)))
    return y.ravel().tolist(), names


@pytest.mark.parametrize("word", ["NA", "n/a", "?", "null", "-", ""])
def test_a_missing_value_in_the_first_row_makes_no_header(word: str) -> None:
    with pytest.raises(ValueError, match=r"^t\.csv:1:2: "):
        tables.read_csv(write("t.csv", f"5.1,{word},1.4,rose\n4.9,3.0,1.4,lily\n"))
    assert tables.read_csv(write("t.csv", f"a,{word or 'b'},c\n1,2,3\n")).features == ["a", word or "b"]


def test_a_header_of_numbers_is_not_taken_for_a_class() -> None:
    with pytest.raises(ValueError, match=r"^t\.csv:1:3: this may be a header of numbers, or the only row of the class"):
        target("2019,2020,kind\n1,2,rose\n3,4,lily\n5,6,rose\n7,8,lily\n")
    assert target("1,2,rose\n3,4,lily\n5,6,rose\n7,8,lily\n")[1] == ["lily", "rose"]
    assert target("y,2020,kind\n1,2,rose\n3,4,lily\n5,6,lily\n")[1] == ["lily", "rose"], "a header, and a single rose"
    assert target("1,2,rose\n3,4,lily\n5,6,moss\n")[1] == ["lily", "moss", "rose"]


def test_a_header_of_numbers_that_the_model_or_the_target_names() -> None:
    text = "2019,2020,2021\n1,2,3\n4,5,6\n"
    assert tables.read_csv(write("t.csv", text), target="2021").target == "2021"
    assert tables.read_csv(write("t.csv", text), None, features=["2020", "2019", "2021"]).x.shape == (2, 3)
    assert tables.read_csv(write("t.csv", text), None).x.shape == (3, 3)
    assert tables.read_csv(write("t.csv", text), target="2").features is None, "a column's number"


def test_classes_that_are_the_same_float_are_two() -> None:
    ids = [2**53, 2**53 + 1, 2**64 + 1]
    text = "a,b\n" + "".join(f"{i},{number}\n" for i, number in enumerate(ids * 3))
    assert target(text) == ([0, 1, 2] * 3, [str(number) for number in ids])
    assert target("a,b\n1,1.0\n2,1\n3,1e0\n4,-0.0\n5,0\n6,2e0\n") == ([1, 1, 1, 0, 0, 2], ["0", "1", "2"])


def test_many_columns_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """20,000 columns, each compared with all others, would make 200 million comparisons."""
    compared = []

    class Name(str):
        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    names = [Name(f"c{i}") for i in range(500)]
    tables._check_names("t.csv", 1, names)
    table = tables.Table("t.csv", np.arange(500.0)[None], [], names, None, [2], -1)
    assert tables.select(table, names[::-1], 500)[0].tolist() == list(range(499, -1, -1))
    assert len(compared) < 5000


def test_a_long_list_of_names_is_cut_short() -> None:
    names = [f"feature {i}" for i in range(1000)]
    table = tables.Table("t.csv", np.zeros((1, 1000)), [], [*names[1:], "x" * 1000], None, [2], -1)
    with pytest.raises(ValueError, match=r"^t\.csv:1:1000: the model knows no feature 'xxx.*feature 9, …$") as found:
        tables.select(table, names, 1000)
    assert len(str(found.value)) < 300


def test_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo("pipe")
    with pytest.raises(ValueError, match=r"^pipe:1:1: nobody writes into this pipe"):
        tables.read_csv("pipe")
    with pytest.raises(ValueError, match=r"^/dev/zero:1:1: this is a device"):
        tables.read_csv("/dev/zero")
    with subprocess.Popen(["sh", "-c", "exec > pipe; sleep 0.2; printf '1,2\\n3,4\\n'; sleep 0.2; printf '5,6'"]):
        reader = os.open("pipe", os.O_RDONLY)  # lets the writer open it
        assert tables.read_csv("pipe").x.tolist() == [[1], [3], [5]]
        os.close(reader)


# ---- one size for all columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[4, 1], [4, 6, 1], [4, 6, 5, 1]])
def test_folding_changes_no_prediction(sizes: list[int], tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    x = rng.normal([0, 1e6, 5, -3], [1, 1, 1e-4, 1e3], (50, 4))
    x[:, 2] = 0.1  # constant, and 0.1 has rounding in its mean
    y = rng.normal(300, 20, (50, 1))
    x_scale, y_scale = tables.Scale.of(x), tables.Scale.of(y)
    assert x_scale.deviation[2] == 1
    net = nl.mlp(sizes, "tanh", device="numpy", dtype="float64")
    nl.Trainer(net, optimizer=nl.Adam(0.01)).fit(x_scale.apply(x), y_scale.apply(y), epochs=3, progress=False)
    before = net.predict(x_scale.apply(x)) * y_scale.deviation + y_scale.mean
    tables.fold(net, x_scale, y_scale)
    net.save(tmp_path / "m.safetensors")
    after = nl.load(tmp_path / "m.safetensors", device="numpy").predict(x)
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_folding_leaves_a_softmax_alone() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    x = rng.normal([0, 1e3], [1, 9], (20, 2))
    scale = tables.Scale.of(x)
    net = nl.mlp([2, 5, 3], output="softmax", device="numpy", dtype="float64")
    before = net.predict(scale.apply(x))
    tables.fold(net, scale)
    np.testing.assert_allclose(net.predict(x), before, rtol=1e-9)


def test_a_scale_keeps_its_digits_where_the_spread_is_small_beside_the_mean() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    x = rng.normal([1.7e9, -1e6, 0.0], [1e-3, 1e-6, 1.0], (300_000, 3))
    exact = (x - x.mean(axis=0, dtype=np.longdouble)).astype(np.longdouble)
    scale = tables.Scale.of(x)
    np.testing.assert_allclose(scale.deviation, np.sqrt((exact * exact).mean(axis=0)).astype(float), rtol=1e-6)
    assert (np.abs(scale.apply(x).mean(axis=0)) < 1e-3).all()


def test_numbers_too_large_to_be_squared() -> None:
    with pytest.raises(ValueError, match="column 2 has numbers too large"):
        tables.Scale.of(np.array([[1.0, 1e300], [2.0, -1e300]]))
