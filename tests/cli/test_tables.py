"""Tables: what a CSV file is read as, what its target is, and scales that are folded into a network's weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nnlite as nl
from nnlite.cli import tables


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str | bytes) -> str:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


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


def test_numbers_too_large_to_be_squared() -> None:
    with pytest.raises(ValueError, match="column 2 has numbers too large"):
        tables.Scale.of(np.array([[1.0, 1e300], [2.0, -1e300]]))
